//! Who somebody is ([`AuthProvider`]) and what they may do ([`AccessPolicy`]).

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::BoxError;
use crate::call::{CallRecord, Party};
use crate::id::{AgentId, CustomerId};
use crate::redact::{Private, Secret};
use crate::time::Timestamp;

/// What a member of staff may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaffRole {
    /// Takes calls.
    Operator,
    /// Takes calls and looks after operators.
    Supervisor,
    /// Runs the installation.
    Admin,
}

/// Somebody whose identity was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum Principal {
    /// A customer or visitor.
    Customer {
        /// Stable identity.
        id: CustomerId,
        /// Name to show, if given.
        name: Option<Private<String>>,
        /// Whether the name was verified by the embedding platform.
        verified: bool,
    },
    /// A member of staff.
    Staff {
        /// Stable identity.
        id: AgentId,
        /// Name to show.
        name: Private<String>,
        /// What they may be.
        role: StaffRole,
    },
}

impl Principal {
    /// The side of a call that this principal can be.
    #[must_use]
    pub fn party(&self) -> Party {
        match self {
            Self::Customer { .. } => Party::Customer,
            Self::Staff { id, .. } => Party::Agent(id.clone()),
        }
    }
}

/// What somebody shows to prove who they are.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Credential {
    /// Name and password of a member of staff.
    Password {
        /// Sign-in name.
        user: String,
        /// Password.
        password: Secret<String>,
    },
    /// A token issued earlier.
    Bearer(Secret<String>),
}

/// Why a credential was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// Wrong or unknown; deliberately says no more, whether the user exists included.
    #[error("the credential is not valid")]
    Invalid,
    /// Was valid once; get a new one.
    #[error("the credential has expired")]
    Expired,
    /// This provider does not handle this kind of credential.
    #[error("this kind of credential is not supported")]
    Unsupported,
    /// The provider cannot be reached: nobody gets in.
    #[error("the sign-in service is unavailable")]
    Unavailable(#[source] BoxError),
}

/// Checks credentials.
///
/// # Contract
/// Answers who the holder is, or refuses. Unavailable means refused: there is no default principal.
/// Unknown user and wrong password are the same answer in about the same time.
///
/// # Cancellation
/// Dropping the future has no effect on later calls.
///
/// # Security
/// A wrong `Ok` lets a stranger in. Neither the credential nor the reason of a refusal may be logged.
///
/// # Implementing
/// Run [`auth_provider_conformance!`](crate::auth_provider_conformance) (feature `testing`) on it.
#[async_trait]
pub trait AuthProvider: fmt::Debug + Send + Sync + 'static {
    /// Who holds `credential`.
    async fn authenticate(&self, now: Timestamp, credential: &Credential) -> Result<Principal, AuthError>;
}

#[async_trait]
impl<A: AuthProvider + ?Sized> AuthProvider for Arc<A> {
    async fn authenticate(&self, now: Timestamp, credential: &Credential) -> Result<Principal, AuthError> {
        (**self).authenticate(now, credential).await
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Action<'a> {
    /// Ask for a call.
    StartCall,
    /// Set one's own presence, get offers.
    TakeCalls,
    /// Talk, chat and hang up in this call.
    TakePart(&'a CallRecord),
    /// Read the record and chat of this call.
    ReadCall(&'a CallRecord),
    /// See this call among those that can be supervised, listen to it, whisper, join in.
    Supervise(&'a CallRecord),
}

/// The action is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not allowed")]
pub struct Denied;

/// Decides what a principal may do. Pure: equal arguments, equal answers.
pub trait AccessPolicy: fmt::Debug + Send + Sync + 'static {
    /// Whether `who` may do `action`.
    ///
    /// # Errors
    /// [`Denied`] if not.
    fn check(&self, who: &Principal, action: &Action<'_>) -> Result<(), Denied>;
}

/// The policy of the reference server: customers see their own calls, operators the calls they took part
/// in, supervisors and administrators read and supervise all; nobody takes part in a call they are not in.
#[derive(Debug, Clone, Copy, Default)]
pub struct RolePolicy;

impl AccessPolicy for RolePolicy {
    fn check(&self, who: &Principal, action: &Action<'_>) -> Result<(), Denied> {
        let allowed = match (who, action) {
            (Principal::Customer { .. }, Action::StartCall) => true,
            (Principal::Customer { id, .. }, Action::TakePart(call) | Action::ReadCall(call)) => {
                call.customer.id == *id
            }
            (Principal::Customer { .. }, Action::TakeCalls | Action::Supervise(_)) => false,
            (Principal::Staff { .. }, Action::TakeCalls) => true,
            (Principal::Staff { .. }, Action::StartCall) => false,
            (Principal::Staff { .. }, Action::TakePart(call)) => call.participant(&who.party()).is_some(),
            (Principal::Staff { role, .. }, Action::Supervise(_)) => *role >= StaffRole::Supervisor,
            (Principal::Staff { role, .. }, Action::ReadCall(call)) => {
                *role >= StaffRole::Supervisor || call.participants.iter().any(|one| one.party == who.party())
            }
        };
        if allowed { Ok(()) } else { Err(Denied) }
    }
}
