//! For tests (feature `testing`): the conformance suite of transports, a clock that follows tokio's, tokens
//! that are a table.

pub mod transport;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use async_trait::async_trait;
use callkit_core::auth::Principal;
use callkit_core::redact::Secret;
use callkit_core::time::{Clock, Timestamp};

use crate::hub::TokenVerifier;
use crate::message::Refusal;

/// A clock that follows tokio's time, so that a paused runtime pauses it as well.
#[derive(Debug)]
pub struct TokioClock {
    origin: tokio::time::Instant,
    start: Timestamp,
}

impl TokioClock {
    /// A clock that shows `start` now.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self {
            origin: tokio::time::Instant::now(),
            start,
        }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.start + self.origin.elapsed()
    }

    fn monotonic(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// Tokens that are a table; every other token is invalid.
#[derive(Debug, Default)]
pub struct MemoryTokens {
    known: Mutex<BTreeMap<String, Result<Principal, Refusal>>>,
}

impl MemoryTokens {
    /// Lets `token` be `result`.
    pub fn set(&self, token: &str, result: Result<Principal, Refusal>) {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token.to_owned(), result);
    }

    /// As [`set`](Self::set), for building.
    #[must_use]
    pub fn with(self, token: &str, principal: Principal) -> Self {
        self.set(token, Ok(principal));
        self
    }
}

#[async_trait]
impl TokenVerifier for MemoryTokens {
    async fn verify(&self, _now: Timestamp, token: &Secret<String>) -> Result<Principal, Refusal> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(token.expose())
            .cloned()
            .unwrap_or(Err(Refusal::InvalidToken))
    }
}
