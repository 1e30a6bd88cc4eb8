//! The public event catalogue: what happened, in the order it happened, once per id.
//!
//! Events are written in the transaction of the transition that caused them (transactional outbox), with
//! a gap-free number per call. Consumers get each at least once and drop repeats by [`EventId`].

use serde::{Deserialize, Serialize};

use crate::agent::Presence;
use crate::call::{EndReason, OfferOutcome, Party, SuperviseMode};
use crate::id::{AgentId, CallId, CustomerId, EventId, OfferId, QueueId};
use crate::time::Timestamp;

/// An event with its identity and place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventEnvelope {
    /// Identity; repeats carry the same.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// The call it belongs to and its number there, from 1 without gaps.
    pub call: Option<CallPosition>,
    /// What happened.
    pub kind: EventKind,
}

/// Place of an event in its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallPosition {
    /// The call.
    pub id: CallId,
    /// Number of the event in the call.
    pub seq: u64,
}

/// What happened. No personal data: consumers look that up with their own rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum EventKind {
    /// A customer entered a queue.
    #[serde(rename = "call.queued")]
    CallQueued {
        /// Which queue.
        queue: QueueId,
        /// Who.
        customer: CustomerId,
    },
    /// A call began to ring at an agent.
    #[serde(rename = "call.offered")]
    CallOffered {
        /// The offer.
        offer: OfferId,
        /// To whom.
        agent: AgentId,
    },
    /// An offer ended.
    #[serde(rename = "offer.closed")]
    OfferClosed {
        /// The offer.
        offer: OfferId,
        /// To whom.
        agent: AgentId,
        /// How.
        #[serde(flatten)]
        outcome: OfferOutcome,
    },
    /// Both sides' media is up: the talk begins.
    #[serde(rename = "call.started")]
    CallStarted {
        /// Who answered.
        agent: AgentId,
    },
    /// A side's connection was lost; its place is kept.
    #[serde(rename = "call.link_lost")]
    LinkLost {
        /// Whose.
        #[serde(flatten)]
        party: Party,
    },
    /// A side is back.
    #[serde(rename = "call.link_restored")]
    LinkRestored {
        /// Whose.
        #[serde(flatten)]
        party: Party,
    },
    /// The call went back to its place in the queue.
    #[serde(rename = "call.requeued")]
    CallRequeued {
        /// Which queue.
        queue: QueueId,
    },
    /// A supervisor has become the third participant.
    #[serde(rename = "call.supervisor_joined")]
    SupervisorJoined {
        /// Who.
        agent: AgentId,
        /// How.
        mode: SuperviseMode,
    },
    /// A supervisor goes on in another mode.
    #[serde(rename = "call.supervisor_mode")]
    SupervisorMode {
        /// Who.
        agent: AgentId,
        /// The new mode.
        mode: SuperviseMode,
    },
    /// A supervisor is no longer in the call.
    #[serde(rename = "call.supervisor_left")]
    SupervisorLeft {
        /// Who.
        agent: AgentId,
        /// Why.
        cause: LeaveCause,
    },
    /// The call is over.
    #[serde(rename = "call.ended")]
    CallEnded {
        /// Why.
        reason: EndReason,
    },
    /// An agent's presence changed.
    #[serde(rename = "agent.presence")]
    AgentPresence {
        /// Who.
        agent: AgentId,
        /// The new presence.
        presence: Presence,
    },
}

/// Why a supervisor is no longer in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeaveCause {
    /// The supervisor's wish.
    Left,
    /// The supervisor's media did not come up or did not come back.
    Lost,
    /// The call ended, or went back to the queue.
    CallOver,
}
