//! What the checker is shown: the records, and what they mean by the letter of the rules.

use std::cmp::Reverse;

use callkit_core::agent::{Activity, AgentRecord, Link, Presence};
use callkit_core::call::{CallRecord, CallState};
use callkit_core::id::{AgentId, CallId};
use callkit_core::time::Timestamp;
use callkit_routing::Dispatcher;

/// The records at one moment.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) calls: Vec<&'a CallRecord>,
    pub(crate) agents: Vec<&'a AgentRecord>,
}

impl<'a> View<'a> {
    pub(crate) fn of(dispatcher: &'a Dispatcher) -> Self {
        Self {
            calls: dispatcher.open_calls().collect(),
            agents: dispatcher.agents().collect(),
        }
    }

    pub(crate) fn agent(&self, id: &AgentId) -> Option<&'a AgentRecord> {
        self.agents.iter().find(|agent| agent.id == *id).copied()
    }

    pub(crate) fn call(&self, id: CallId) -> Option<&'a CallRecord> {
        self.calls.iter().find(|call| call.id == id).copied()
    }
}

/// The order of service.
pub(crate) fn place(call: &CallRecord) -> (Reverse<u8>, Timestamp, CallId) {
    (Reverse(call.priority), call.enqueued_at, call.id)
}

/// Whether the call has a place in a queue.
pub(crate) fn waits(call: &CallRecord) -> bool {
    matches!(call.state, CallState::Queued { .. } | CallState::Offering { .. })
}

/// Whether the call waits and its customer is there.
pub(crate) fn offerable(call: &CallRecord) -> bool {
    matches!(call.state, CallState::Queued { customer: Link::Up })
}

/// Routable by the letter of the rule (2.1 of the reference), the cool-down being over once it is cleared.
pub(crate) fn routable(agent: &AgentRecord) -> bool {
    agent.presence == Presence::Available
        && agent.activity == Activity::Idle
        && agent.link == Link::Up
        && agent.cooldown_until.is_none()
        && agent.pending_presence.is_none()
}
