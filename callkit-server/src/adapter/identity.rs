//! [`Identity`]: who is at the other end of a request or a connection. Issues and checks visitor tokens,
//! staff sessions and one-time tickets.
//!
//! | what | carried in | valid | survives a restart |
//! |---|---|---|---|
//! | visitor token | `auth.token` | 12 h | yes: signed |
//! | staff session | cookie | 12 h, until sign-out or a new password | yes: signed |
//! | staff ticket | `auth.token` | 30 s, once | no |

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callkit_core::auth::{AuthError, AuthProvider, Credential, Principal, StaffRole};
use callkit_core::id::{AgentId, CustomerId, IdSource};
use callkit_core::redact::{Private, Secret};
use callkit_core::time::{Clock, Timestamp};
use callkit_signal::hub::TokenVerifier;
use callkit_signal::message::Refusal;
use ring::digest;
use serde::{Deserialize, Serialize};

use crate::adapter::signing::{KeyFileError, SigningKey, entropy};

/// How long a visitor token and a staff session are valid.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// How long a staff ticket is valid: enough for a page to open its WebSocket.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(30);
/// Tickets kept at the same time; beyond it the oldest one is dropped, and its page asks again.
const MAX_TICKETS: usize = 10_000;
/// Signed-out sessions kept until they expire; beyond it the one that expires first is dropped.
const MAX_REVOKED: usize = 10_000;
const VISITOR: &str = "ckv1";
const STAFF: &str = "cks1";

/// What a directory knows of a member of staff.
#[derive(Debug, Clone)]
pub struct StaffEntry {
    /// Who.
    pub principal: Principal,
    /// Changes when sessions opened earlier must end: a new password.
    pub stamp: Secret<String>,
}

/// Looks members of staff up, so that a session ends with the account. Implemented by providers that know
/// their people; without one a session is good for its lifetime.
pub trait StaffDirectory: fmt::Debug + Send + Sync + 'static {
    /// The present entry of `id`; `None` ends all sessions of `id`.
    fn find(&self, id: &AgentId) -> Option<StaffEntry>;
}

/// A visitor's token and what it says.
#[derive(Debug)]
pub struct VisitorToken {
    /// For `auth.token`.
    pub token: Secret<String>,
    /// Who the visitor is from here on.
    pub customer: CustomerId,
    /// When it ends.
    pub expires_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct VisitorClaims {
    sub: CustomerId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Private<String>>,
    exp: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct StaffClaims {
    sid: u64,
    sub: AgentId,
    name: Private<String>,
    role: StaffRole,
    exp: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stamp: Option<String>,
}

#[derive(Debug)]
struct Ticket {
    principal: Principal,
    expires_at: Timestamp,
}

#[derive(Debug)]
struct Inner {
    ids: IdSource,
    tickets: BTreeMap<String, Ticket>,
    /// Tickets in the order they were issued, which is the order they expire in; those that were used are
    /// here until then.
    issued: VecDeque<(Timestamp, String)>,
    revoked: BTreeMap<(Timestamp, u64), ()>,
}

/// Issues and checks what people show to prove who they are.
#[derive(Debug)]
pub struct Identity {
    key: SigningKey,
    auth: Arc<dyn AuthProvider>,
    directory: Option<Arc<dyn StaffDirectory>>,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

impl Identity {
    /// Checks passwords with `auth` and signs with `key`.
    ///
    /// # Errors
    /// [`KeyFileError::Entropy`].
    pub fn new(
        key: SigningKey,
        auth: Arc<dyn AuthProvider>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KeyFileError> {
        let ids = IdSource::from_entropy(entropy()?);
        let inner = Inner {
            ids,
            tickets: BTreeMap::new(),
            issued: VecDeque::new(),
            revoked: BTreeMap::new(),
        };
        Ok(Self {
            key,
            auth,
            directory: None,
            clock,
            inner: Mutex::new(inner),
        })
    }

    /// Ends staff sessions with the accounts in `directory`.
    #[must_use]
    pub fn with_directory(mut self, directory: Arc<dyn StaffDirectory>) -> Self {
        self.directory = Some(directory);
        self
    }

    /// The time that lifetimes are measured by.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A token for a new anonymous visitor.
    #[must_use]
    pub fn issue_visitor(&self, name: Option<Private<String>>) -> VisitorToken {
        let customer = self.lock().ids.next_id();
        let expires_at = self.clock.now() + SESSION_LIFETIME;
        let token = self.key.sign(
            VISITOR,
            &VisitorClaims {
                sub: customer,
                name,
                exp: expires_at,
            },
        );
        VisitorToken {
            token: Secret::new(token),
            customer,
            expires_at,
        }
    }

    /// Checks name and password of a member of staff and opens a session; gives who it is and the cookie's
    /// value.
    ///
    /// # Errors
    /// [`AuthError`] as the provider gives it; customers cannot sign in here.
    pub async fn sign_in(&self, credential: &Credential) -> Result<(Principal, Secret<String>), AuthError> {
        let now = self.clock.now();
        let principal = self.auth.authenticate(now, credential).await?;
        let Principal::Staff { id, name, role } = &principal else {
            return Err(AuthError::Unsupported);
        };
        let stamp = match &self.directory {
            Some(directory) => Some(fingerprint(&directory.find(id).ok_or(AuthError::Invalid)?)),
            None => None,
        };
        let claims = StaffClaims {
            sid: self.lock().ids.next_u64(),
            sub: id.clone(),
            name: name.clone(),
            role: *role,
            exp: now + SESSION_LIFETIME,
            stamp,
        };
        let cookie = self.key.sign(STAFF, &claims);
        Ok((principal, Secret::new(cookie)))
    }

    /// Who holds the staff session `cookie`.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] or [`AuthError::Expired`].
    pub fn staff_session(&self, cookie: &str) -> Result<Principal, AuthError> {
        let claims = self.staff_claims(cookie)?;
        let Some(directory) = &self.directory else {
            return Ok(Principal::Staff {
                id: claims.sub,
                name: claims.name,
                role: claims.role,
            });
        };
        let entry = directory.find(&claims.sub).ok_or(AuthError::Expired)?;
        if claims.stamp.as_deref() != Some(fingerprint(&entry).as_str()) {
            return Err(AuthError::Expired);
        }
        Ok(entry.principal)
    }

    /// The name of a member of staff, if there is a directory that knows it.
    #[must_use]
    pub fn staff_name(&self, id: &AgentId) -> Option<Private<String>> {
        match self.directory.as_ref()?.find(id)?.principal {
            Principal::Staff { name, .. } => Some(name),
            _ => None,
        }
    }

    fn staff_claims(&self, cookie: &str) -> Result<StaffClaims, AuthError> {
        let claims: StaffClaims = self.key.open(STAFF, cookie).ok_or(AuthError::Invalid)?;
        if claims.exp <= self.clock.now() || self.lock().revoked.contains_key(&(claims.exp, claims.sid)) {
            return Err(AuthError::Expired);
        }
        Ok(claims)
    }

    /// Ends the staff session `cookie`, if it is one.
    pub fn sign_out(&self, cookie: &str) {
        let Ok(claims) = self.staff_claims(cookie) else {
            return;
        };
        let now = self.clock.now();
        let mut inner = self.lock();
        inner.revoked.retain(|(expires_at, _), ()| *expires_at > now);
        if inner.revoked.len() >= MAX_REVOKED {
            inner.revoked.pop_first();
        }
        inner.revoked.insert((claims.exp, claims.sid), ());
    }

    /// A ticket that opens one signaling session as `principal`.
    ///
    /// # Errors
    /// [`KeyFileError::Entropy`].
    pub fn issue_ticket(&self, principal: Principal) -> Result<Secret<String>, KeyFileError> {
        let ticket = format!("ckt1.{}", URL_SAFE_NO_PAD.encode(entropy()?));
        let now = self.clock.now();
        let mut inner = self.lock();
        while inner
            .issued
            .front()
            .is_some_and(|(expires_at, _)| *expires_at <= now)
            || inner.issued.len() >= MAX_TICKETS
        {
            let oldest = inner.issued.pop_front();
            oldest.and_then(|(_, text)| inner.tickets.remove(&text));
        }
        let expires_at = now + TICKET_LIFETIME;
        inner.issued.push_back((expires_at, ticket.clone()));
        inner.tickets.insert(
            ticket.clone(),
            Ticket {
                principal,
                expires_at,
            },
        );
        Ok(Secret::new(ticket))
    }

    /// Who shows `token` as `auth.token`: a ticket, which is used up by it, or a visitor token.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] or [`AuthError::Expired`].
    pub fn verify_token(&self, now: Timestamp, token: &str) -> Result<Principal, AuthError> {
        if let Some(ticket) = self.lock().tickets.remove(token) {
            return if ticket.expires_at > now {
                Ok(ticket.principal)
            } else {
                Err(AuthError::Expired)
            };
        }
        let claims: VisitorClaims = self.key.open(VISITOR, token).ok_or(AuthError::Invalid)?;
        if claims.exp <= now {
            return Err(AuthError::Expired);
        }
        Ok(Principal::Customer {
            id: claims.sub,
            name: claims.name,
            verified: false,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is a single insert or remove, so a panic elsewhere leaves the maps whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TokenVerifier for Identity {
    async fn verify(&self, now: Timestamp, token: &Secret<String>) -> Result<Principal, Refusal> {
        self.verify_token(now, token.expose())
            .map_err(|error| match error {
                AuthError::Expired => Refusal::ExpiredToken,
                AuthError::Unavailable(_) => Refusal::Unavailable,
                _ => Refusal::InvalidToken,
            })
    }
}

/// Tells entries with different stamps apart without giving the stamp away.
fn fingerprint(entry: &StaffEntry) -> String {
    let hash = digest::digest(&digest::SHA256, entry.stamp.expose().as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..12])
}

#[cfg(test)]
mod tests {
    use callkit_core::memory::MemoryAuth;
    use callkit_core::testing::ManualClock;

    use super::*;

    fn irina() -> Principal {
        Principal::Staff {
            id: AgentId::new("irina").unwrap(),
            name: Private::new("Irina".to_owned()),
            role: StaffRole::Operator,
        }
    }

    fn identity(key: u8) -> (Arc<ManualClock>, Identity) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
        let auth = Arc::new(MemoryAuth::default().with_user("irina", "secret", irina()));
        let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        (
            clock,
            Identity::new(SigningKey::from_bytes(&[key; 32]), auth, shared).unwrap(),
        )
    }

    fn password(text: &str) -> Credential {
        Credential::Password {
            user: "irina".to_owned(),
            password: Secret::new(text.to_owned()),
        }
    }

    #[derive(Debug)]
    struct Directory(Option<&'static str>);

    impl StaffDirectory for Directory {
        fn find(&self, _id: &AgentId) -> Option<StaffEntry> {
            self.0.map(|stamp| StaffEntry {
                principal: irina(),
                stamp: Secret::new(stamp.to_owned()),
            })
        }
    }

    #[test]
    fn a_visitor_token_outlives_the_process_but_not_its_twelve_hours() {
        let (clock, first) = identity(1);
        let (_, second) = identity(1);
        let issued = first.issue_visitor(Some(Private::new("Anna".to_owned())));
        let who = second.verify_token(second.now(), issued.token.expose()).unwrap();
        assert!(matches!(who, Principal::Customer { id, verified: false, .. } if id == issued.customer));
        assert!(matches!(
            identity(2).1.verify_token(first.now(), issued.token.expose()),
            Err(AuthError::Invalid)
        ));
        clock.advance(SESSION_LIFETIME);
        assert!(matches!(
            first.verify_token(first.now(), issued.token.expose()),
            Err(AuthError::Expired)
        ));
    }

    #[test]
    fn a_ticket_works_once_and_for_thirty_seconds() {
        let (clock, identity) = identity(1);
        let ticket = identity.issue_ticket(irina()).unwrap();
        assert_eq!(
            identity.verify_token(identity.now(), ticket.expose()).unwrap(),
            irina()
        );
        assert!(identity.verify_token(identity.now(), ticket.expose()).is_err());
        let late = identity.issue_ticket(irina()).unwrap();
        clock.advance(TICKET_LIFETIME);
        assert!(matches!(
            identity.verify_token(identity.now(), late.expose()),
            Err(AuthError::Expired)
        ));
    }

    #[test]
    fn tickets_are_bounded_and_the_oldest_goes_first() {
        let (_, identity) = identity(1);
        let first = identity.issue_ticket(irina()).unwrap();
        let second = identity.issue_ticket(irina()).unwrap();
        for _ in 0..MAX_TICKETS - 1 {
            identity.issue_ticket(irina()).unwrap();
        }
        assert!(identity.verify_token(identity.now(), first.expose()).is_err());
        assert!(identity.verify_token(identity.now(), second.expose()).is_ok());
    }

    #[test]
    fn neither_kind_of_token_is_taken_for_the_other() {
        callkit_core::testing::block_on(async {
            let (_, identity) = identity(1);
            let (_, cookie) = identity.sign_in(&password("secret")).await.unwrap();
            assert!(identity.verify_token(identity.now(), cookie.expose()).is_err());
            let visitor = identity.issue_visitor(None);
            assert!(identity.staff_session(visitor.token.expose()).is_err());
            assert_eq!(identity.staff_session(cookie.expose()).unwrap(), irina());
        });
    }

    #[test]
    fn a_session_ends_with_sign_out_and_with_its_time() {
        callkit_core::testing::block_on(async {
            let (clock, identity) = identity(1);
            let (_, cookie) = identity.sign_in(&password("secret")).await.unwrap();
            let (_, other) = identity.sign_in(&password("secret")).await.unwrap();
            identity.sign_out(cookie.expose());
            assert!(matches!(
                identity.staff_session(cookie.expose()),
                Err(AuthError::Expired)
            ));
            assert!(identity.staff_session(other.expose()).is_ok());
            clock.advance(SESSION_LIFETIME);
            assert!(matches!(
                identity.staff_session(other.expose()),
                Err(AuthError::Expired)
            ));
            assert!(identity.sign_in(&password("wrong")).await.is_err());
        });
    }

    #[test]
    fn a_session_ends_with_the_account_and_with_a_new_password() {
        callkit_core::testing::block_on(async {
            let with = |stamp| identity(1).1.with_directory(Arc::new(Directory(stamp)));
            let (_, cookie) = with(Some("a")).sign_in(&password("secret")).await.unwrap();
            assert!(with(Some("a")).staff_session(cookie.expose()).is_ok());
            assert!(with(Some("b")).staff_session(cookie.expose()).is_err());
            assert!(with(None).staff_session(cookie.expose()).is_err());
        });
    }
}
