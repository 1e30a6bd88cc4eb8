//! [`RoutingPolicy`]: which of the agents who can get a call should. One file per policy.
//!
//! The dispatcher decides who *can* (queue, presence, activity, link, cool-down, refused before) and which
//! call goes first; a policy only puts those agents in order.

use std::fmt;
use std::sync::Arc;

use callkit_core::call::{CallRecord, Candidate};
use callkit_core::id::{AgentId, CallId, CustomerId, QueueId};
use callkit_core::time::Timestamp;

mod longest_idle;

pub use longest_idle::LongestIdle;

/// A call that waits, as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingCall {
    /// Identity.
    pub id: CallId,
    /// Where it waits.
    pub queue: QueueId,
    /// Who calls.
    pub customer: CustomerId,
    /// Higher goes first.
    pub priority: u8,
    /// The age of its place.
    pub enqueued_at: Timestamp,
}

impl WaitingCall {
    /// What a policy may know of `call`.
    #[must_use]
    pub fn of(call: &CallRecord) -> Self {
        Self {
            id: call.id,
            queue: call.queue.clone(),
            customer: call.customer.id,
            priority: call.priority,
            enqueued_at: call.enqueued_at,
        }
    }
}

/// An agent who can get the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentView<'a> {
    /// Who.
    pub id: &'a AgentId,
    /// Free since.
    pub idle_since: Timestamp,
}

/// All agents who can get the call, in no order that a policy may rely on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolSnapshot<'a> {
    /// The agents.
    pub agents: Vec<AgentView<'a>>,
}

/// Puts the agents who can get a call in order of preference.
///
/// # Contract
/// - **Pure**: equal arguments give equal answers, on any machine, at any time.
/// - **Independent of order**: the order of the pool does not matter; ties are broken by agent id.
/// - **Within the pool**: names agents of the pool only, each once. The dispatcher ignores others.
/// - **Cut, not changed**: `at_most` only shortens the answer; the best come first whatever it is.
/// - **Work conserving**: names at least one agent of a pool that is not empty. A policy that names nobody
///   leaves the call waiting until something in its queue changes.
///
/// # Security
/// A policy sees no personal data.
///
/// # Implementing
/// Run `testing::check_policy` (feature `testing`) on it.
pub trait RoutingPolicy: fmt::Debug + Send + Sync + 'static {
    /// A short stable name, kept with each decision.
    fn name(&self) -> &str;

    /// The best `at_most` candidates, best first, with the score that put them there.
    fn rank(
        &self,
        now: Timestamp,
        call: &WaitingCall,
        pool: &PoolSnapshot<'_>,
        at_most: usize,
    ) -> Vec<Candidate>;
}

impl<P: RoutingPolicy + ?Sized> RoutingPolicy for Arc<P> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn rank(
        &self,
        now: Timestamp,
        call: &WaitingCall,
        pool: &PoolSnapshot<'_>,
        at_most: usize,
    ) -> Vec<Candidate> {
        (**self).rank(now, call, pool, at_most)
    }
}
