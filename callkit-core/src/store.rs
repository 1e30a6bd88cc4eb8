//! [`SessionStore`]: where calls, agents, chat, quality and events are kept, a transition and its events together
//! or not at all.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::BoxError;
use crate::agent::AgentRecord;
use crate::call::CallRecord;
use crate::chat::ChatMessage;
use crate::event::EventEnvelope;
use crate::id::{AgentId, CallId, CustomerId};
use crate::quality::QualitySample;
use crate::time::Timestamp;

/// A record after a change, with the version that the change was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change<T> {
    /// The stored version must be this; 0 means that there is no such record yet.
    pub expect: u64,
    /// The new record; its `version` is above `expect`.
    pub next: T,
}

/// What one or several transitions changed. All of it is written, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Changed calls, each at most once.
    pub calls: Vec<Change<CallRecord>>,
    /// Changed agents, each at most once.
    pub agents: Vec<Change<AgentRecord>>,
    /// New chat messages.
    pub chat: Vec<ChatMessage>,
    /// New events, in the order they happened.
    pub events: Vec<EventEnvelope>,
    /// New samples of quality.
    #[serde(default)]
    pub quality: Vec<QualitySample>,
}

impl Commit {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
            && self.agents.is_empty()
            && self.chat.is_empty()
            && self.events.is_empty()
            && self.quality.is_empty()
    }
}

/// What a dispatcher is rebuilt from after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenState {
    /// Calls that have not ended, oldest place first.
    pub calls: Vec<CallRecord>,
    /// All agents, by id.
    pub agents: Vec<AgentRecord>,
    /// The latest time found in any event, as a floor for the clock.
    pub latest: Timestamp,
}

/// Which calls to list. All conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Only calls that this agent took part in.
    pub agent: Option<AgentId>,
    /// Only calls of this customer.
    pub customer: Option<CustomerId>,
    /// Only ended calls if true, only open ones if false.
    pub ended: Option<bool>,
}

/// Which part of a list: newest first, starting after `before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Only calls created before this one (the last of the previous page).
    pub before: Option<CallId>,
    /// At most this many; implementations cap it at 200.
    pub limit: u32,
}

/// The largest page that a store gives.
pub const MAX_PAGE: u32 = 200;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A record is not at the expected version: reload and decide again.
    #[error("a record changed since it was read")]
    Conflict,
    /// Try again later; nothing was written.
    #[error("the store is unavailable")]
    Unavailable {
        /// When to try again, if known.
        retry_after: Option<Duration>,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// Give up: the store is broken or holds what cannot be read.
    #[error("the store failed while {during}")]
    Backend {
        /// What it was doing.
        during: &'static str,
        /// The cause.
        #[source]
        source: BoxError,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Keeps calls, agents, chat, samples of quality and the event outbox.
///
/// # Contract
/// - **Atomic**: [`commit`](Self::commit) writes everything or nothing, also when the process dies in it.
/// - **Durable**: after `Ok` the commit survives kill -9. Effects are performed only after that.
/// - **Fenced**: a record whose stored version differs from `expect` refuses the whole commit with
///   [`StoreError::Conflict`].
/// - **Ordered**: events keep the order of commits and the order within a commit.
/// - **Idempotent chat**: a message whose `(call, from, client_id)` is already kept is an error of the
///   caller and refuses the commit with `Conflict`.
///
/// # Cancellation
/// A dropped `commit` may or may not have been written; the caller treats its records as unknown and
/// reloads.
///
/// # Security
/// Records hold personal data. An implementation never puts their contents into errors or logs.
///
/// # Implementing
/// Run [`session_store_conformance!`](crate::session_store_conformance) (feature `testing`) on it.
#[async_trait]
pub trait SessionStore: fmt::Debug + Send + Sync + 'static {
    /// Writes all of `commit` or nothing.
    async fn commit(&self, commit: &Commit) -> Result<(), StoreError>;

    /// All that is needed to go on after a restart.
    async fn load_open(&self) -> Result<OpenState, StoreError>;

    /// One call, open or ended.
    async fn call(&self, id: CallId) -> Result<Option<CallRecord>, StoreError>;

    /// Calls, newest first.
    async fn calls(&self, filter: &HistoryFilter, page: PageRequest) -> Result<Vec<CallRecord>, StoreError>;

    /// The chat of a call, in order.
    async fn chat(&self, call: CallId) -> Result<Vec<ChatMessage>, StoreError>;

    /// The samples of quality of a call, by time.
    async fn quality(&self, call: CallId) -> Result<Vec<QualitySample>, StoreError>;

    /// Events after outbox position `after` (0 = from the start), each with its position, at most `limit`.
    async fn events(&self, after: u64, limit: u32) -> Result<Vec<(u64, EventEnvelope)>, StoreError>;
}

macro_rules! forward_session_store {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<S: SessionStore + ?Sized> SessionStore for $wrapper {
            async fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
                (**self).commit(commit).await
            }

            async fn load_open(&self) -> Result<OpenState, StoreError> {
                (**self).load_open().await
            }

            async fn call(&self, id: CallId) -> Result<Option<CallRecord>, StoreError> {
                (**self).call(id).await
            }

            async fn calls(&self, filter: &HistoryFilter, page: PageRequest) -> Result<Vec<CallRecord>, StoreError> {
                (**self).calls(filter, page).await
            }

            async fn chat(&self, call: CallId) -> Result<Vec<ChatMessage>, StoreError> {
                (**self).chat(call).await
            }

            async fn quality(&self, call: CallId) -> Result<Vec<QualitySample>, StoreError> {
                (**self).quality(call).await
            }

            async fn events(&self, after: u64, limit: u32) -> Result<Vec<(u64, EventEnvelope)>, StoreError> {
                (**self).events(after, limit).await
            }
        }
    )*};
}
forward_session_store!(Arc<S>, Box<S>);
