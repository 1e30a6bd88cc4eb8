//! [`MemoryAuth`]: a fixed list of staff with passwords, for tests and first steps.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::auth::{AuthError, AuthProvider, Credential, Principal};
use crate::redact::Secret;
use crate::time::Timestamp;

/// Staff held in memory with their passwords in the clear. Not for production: use a provider that keeps
/// hashes or asks the company's identity provider.
#[derive(Debug, Default)]
pub struct MemoryAuth {
    staff: BTreeMap<String, (Secret<String>, Principal)>,
}

impl MemoryAuth {
    /// Adds a member of staff who signs in as `user`.
    #[must_use]
    pub fn with_user(mut self, user: &str, password: &str, principal: Principal) -> Self {
        self.staff
            .insert(user.to_owned(), (Secret::new(password.to_owned()), principal));
        self
    }
}

#[async_trait]
impl AuthProvider for MemoryAuth {
    async fn authenticate(&self, _now: Timestamp, credential: &Credential) -> Result<Principal, AuthError> {
        let Credential::Password { user, password } = credential else {
            return Err(AuthError::Unsupported);
        };
        match self.staff.get(user) {
            Some((known, principal)) if known.matches(password.expose().as_bytes()) => Ok(principal.clone()),
            Some(_) | None => Err(AuthError::Invalid),
        }
    }
}
