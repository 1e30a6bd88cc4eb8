//! The agent record: three axes that are never merged (presence, activity, link).
//!
//! One field that means two things, or has two writers, is how contact centres end up offering calls to
//! people who left. So: the person sets [`Presence`], the dispatcher sets [`Activity`], the connection
//! sets [`Link`].

use serde::{Deserialize, Serialize};

use crate::id::{AgentId, CallId, OfferId, QueueId};
use crate::redact::Private;
use crate::time::Timestamp;

/// What the person says about being there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "status")]
#[non_exhaustive]
pub enum Presence {
    /// Not at work.
    #[default]
    Offline,
    /// Ready for calls.
    Available,
    /// At work, not for calls.
    Away {
        /// Why, as chosen by the agent ("lunch").
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Set by the dispatcher after missed offers, cleared by the person.
    NotResponding,
}

/// What the agent is doing, set only by the dispatcher. Each variant but `Idle` has a live owner.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum Activity {
    /// Free.
    #[default]
    Idle,
    /// An offer rings.
    Reserved {
        /// The offer.
        offer: OfferId,
        /// The offered call.
        call: CallId,
    },
    /// Accepted; media is being set up.
    Connecting {
        /// The call.
        call: CallId,
    },
    /// Talking.
    InCall {
        /// The call.
        call: CallId,
    },
    /// The third in somebody else's call.
    Supervising {
        /// The call.
        call: CallId,
    },
    /// Finishing up after a call.
    WrapUp {
        /// The call that ended.
        call: CallId,
        /// When it ends by itself, if it does.
        deadline: Option<Timestamp>,
    },
}

impl Activity {
    /// The call that the agent is bound to, if any.
    #[must_use]
    pub fn call(&self) -> Option<CallId> {
        match self {
            Self::Idle => None,
            Self::Reserved { call, .. }
            | Self::Connecting { call }
            | Self::InCall { call }
            | Self::Supervising { call }
            | Self::WrapUp { call, .. } => Some(*call),
        }
    }
}

/// Health of a person's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "link")]
pub enum Link {
    /// Connected.
    Up,
    /// Lost; the place is kept until the deadline.
    Grace {
        /// When the loss started.
        since: Timestamp,
        /// When it becomes final.
        deadline: Timestamp,
    },
    /// Gone.
    #[default]
    Down,
}

impl Link {
    /// When a lost link becomes final.
    #[must_use]
    pub const fn deadline(self) -> Option<Timestamp> {
        match self {
            Self::Grace { deadline, .. } => Some(deadline),
            Self::Up | Self::Down => None,
        }
    }
}

/// What the company configures about an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentProfile {
    /// Identity, equal to the sign-in name.
    pub id: AgentId,
    /// Name shown to customers and colleagues.
    pub name: Private<String>,
    /// The queues whose calls the agent may get.
    pub queues: Vec<QueueId>,
}

/// The stored state of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Who.
    pub id: AgentId,
    /// Number of changes; the store refuses a write that skips one.
    pub version: u64,
    /// The person's axis.
    pub presence: Presence,
    /// When `presence` was set.
    pub presence_since: Timestamp,
    /// A presence chosen while busy, applied when the work is done.
    pub pending_presence: Option<Presence>,
    /// The dispatcher's axis.
    pub activity: Activity,
    /// When `activity` was entered.
    pub activity_since: Timestamp,
    /// The connection's axis.
    pub link: Link,
    /// End of the last work, last becoming available, or last missed or declined offer, whichever is
    /// latest. Never goes back.
    pub idle_since: Timestamp,
    /// No offers before this time.
    pub cooldown_until: Option<Timestamp>,
    /// Offers missed in a row.
    pub misses: u32,
}
