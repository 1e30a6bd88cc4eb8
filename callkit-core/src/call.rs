//! The call record: what is known of a request of a customer, from asking to history.
//!
//! `Call 1-n Segment 1-n Offer`: every metric derives from these rows, nothing is counted by hand.
//! Which transitions exist is decided in `callkit-routing`; this is their vocabulary.

use serde::{Deserialize, Serialize};

use crate::agent::Link;
use crate::id::{AgentId, CallId, CustomerId, OfferId, ParticipantId, QueueId};
use crate::redact::Private;
use crate::time::Timestamp;

/// At most this many people in a call (R7.1).
pub const MAX_PARTICIPANTS: usize = 3;

/// Whose side of the call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "party", content = "agent")]
pub enum Party {
    /// The customer.
    Customer,
    /// A member of staff.
    Agent(AgentId),
}

/// How a supervisor takes part in a call. Each mode is heard by more people than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuperviseMode {
    /// Sees and hears the others; nobody sees or hears the supervisor, and the customer does not know.
    Listen,
    /// As `Listen`, but the agent hears the supervisor.
    Whisper,
    /// A participant like the others.
    Barge,
}

/// The part of somebody who supervises a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervision {
    /// In which mode.
    pub mode: SuperviseMode,
    /// The supervisor's media. In `Grace` before it is up for the first time, too.
    #[serde(flatten)]
    pub link: Link,
}

/// Who is calling, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Stable identity.
    pub id: CustomerId,
    /// Name to show, if given.
    pub name: Option<Private<String>>,
    /// Whether the name comes from a verified source or was typed by the visitor.
    pub verified: bool,
}

/// Why a call ended. The text forms are public: webhooks, history and both pages carry them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndReason {
    /// The customer hung up in the call.
    Customer,
    /// The agent hung up in the call.
    Agent,
    /// The customer left while waiting.
    Abandoned,
    /// The customer's connection did not come back.
    CustomerLost,
    /// The agent's connection did not come back.
    AgentLost,
    /// Neither connection came back.
    BothLost,
    /// The longest wait of the queue was reached.
    QueueTimeout,
    /// The queue was full.
    QueueFull,
    /// Media could not be set up.
    MediaFailed,
    /// Ended by the system or an administrator.
    System,
    /// A supervisor left a call that goes on. Told to that supervisor only; no call ends for it.
    SupervisorLeft,
}

/// How an offer ended; exactly one per offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
#[non_exhaustive]
pub enum OfferOutcome {
    /// The agent took the call.
    Accepted,
    /// The agent declined.
    Declined,
    /// The agent let it ring until the deadline.
    Missed,
    /// The offer was taken back; costs the agent nothing.
    Canceled {
        /// Why.
        cause: CancelCause,
    },
}

/// Why an offer was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CancelCause {
    /// The customer left or lost the connection.
    CustomerLeft,
    /// The agent went away while it rang.
    AgentAway,
    /// The agent's connection was lost.
    Unreachable,
    /// The server was restarted.
    Restart,
    /// An administrator or the system ended the call.
    System,
}

/// A call offered to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Identity and fencing token.
    pub id: OfferId,
    /// To whom.
    pub agent: AgentId,
    /// When it began to ring.
    pub offered_at: Timestamp,
    /// Until when it may be accepted.
    pub deadline: Timestamp,
    /// How it ended; `None` while it rings.
    pub outcome: Option<OfferOutcome>,
    /// When it ended.
    pub closed_at: Option<Timestamp>,
    /// Why this agent: candidates, scores and exclusions at the moment of the decision.
    pub because: Explanation,
}

/// Why a decision was taken, kept with the offer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Explanation {
    /// The policy that decided.
    pub policy: String,
    /// The agents considered, in order of preference, the chosen one first; a long list is cut.
    pub candidates: Vec<Candidate>,
    /// How many further candidates were cut off.
    #[serde(default)]
    pub more_candidates: u32,
    /// Agents of the queue that could not get the call, with the reason; a long list is cut.
    pub excluded: Vec<Exclusion>,
    /// How many further exclusions were cut off.
    #[serde(default)]
    pub more_excluded: u32,
}

/// An agent who could have got the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Who.
    pub agent: AgentId,
    /// The policy's score; its unit is the policy's (longest idle: milliseconds).
    pub score: i64,
}

/// An agent who could not get the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// Who.
    pub agent: AgentId,
    /// Why not.
    pub reason: ExclusionReason,
}

/// Why an agent could not get a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExclusionReason {
    /// Presence is not Available.
    NotAvailable,
    /// Another presence is pending.
    PresencePending,
    /// Busy with another offer, call or wrap-up.
    Busy,
    /// The console is not connected.
    NotConnected,
    /// In cool-down after a miss or a decline.
    CoolingDown,
    /// Declined or missed this call while another agent is eligible.
    AlreadyRefused,
}

/// A stay in one queue, ending with an answer or without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Which queue.
    pub queue: QueueId,
    /// When the call entered it.
    pub enqueued_at: Timestamp,
    /// Who took the call.
    pub agent: Option<AgentId>,
    /// When the offer was accepted.
    pub accepted_at: Option<Timestamp>,
    /// When media of both sides was up: the end of the wait.
    pub connected_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The offers made.
    pub offers: Vec<Offer>,
}

/// A person in a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// Identity, kept over reconnections.
    pub id: ParticipantId,
    /// Whose side.
    #[serde(flatten)]
    pub party: Party,
    /// When the person became part of the call.
    pub joined_at: Timestamp,
    /// When media first flowed.
    pub media_at: Option<Timestamp>,
    /// When the person left.
    pub left_at: Option<Timestamp>,
    /// Set for a supervisor, who is neither the customer nor the agent of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervising: Option<Supervision>,
}

/// Where a call stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
#[non_exhaustive]
pub enum CallState {
    /// Waiting for an agent.
    Queued {
        /// The waiting page's connection; in `Grace` the place is kept and the call is not offered.
        customer: Link,
    },
    /// Ringing at an agent.
    Offering {
        /// The open offer.
        offer: OfferId,
        /// To whom.
        agent: AgentId,
    },
    /// Accepted; media is being set up.
    Connecting {
        /// Who accepted.
        agent: AgentId,
        /// When setting up is given up.
        deadline: Timestamp,
        /// Whether the customer's media is up.
        customer_media: bool,
        /// Whether the agent's media is up.
        agent_media: bool,
    },
    /// Talking.
    Active {
        /// Who talks with the customer.
        agent: AgentId,
        /// When both sides' media was up for the first time.
        since: Timestamp,
        /// The customer's media.
        customer_link: Link,
        /// The agent's media.
        agent_link: Link,
    },
    /// Over.
    Ended {
        /// When.
        at: Timestamp,
        /// Why.
        reason: EndReason,
    },
}

/// All that is stored of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Identity.
    pub id: CallId,
    /// Number of changes; the store refuses a write that skips one.
    pub version: u64,
    /// Number of the last event of this call; gap-free from 1.
    pub event_seq: u64,
    /// Number of the last chat message of this call.
    pub chat_seq: u64,
    /// Who is calling.
    pub customer: Customer,
    /// The queue it is in, or was answered from.
    pub queue: QueueId,
    /// Higher goes first.
    pub priority: u8,
    /// When the customer asked.
    pub created_at: Timestamp,
    /// The age of the place in the queue: set once, kept over refused offers and lost connections.
    pub enqueued_at: Timestamp,
    /// Where it stands.
    pub state: CallState,
    /// Agents who declined or missed this call in the present pass.
    pub refused_by: Vec<AgentId>,
    /// Stays in queues, the present one last.
    pub segments: Vec<Segment>,
    /// People in the call, past and present.
    pub participants: Vec<Participant>,
}

impl CallRecord {
    /// Whether the call is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.state, CallState::Ended { .. })
    }

    /// The present participant of `party`, if any.
    #[must_use]
    pub fn participant(&self, party: &Party) -> Option<&Participant> {
        self.participants
            .iter()
            .rev()
            .find(|participant| participant.party == *party && participant.left_at.is_none())
    }

    /// The present supervisor and the mode and link of the supervision, if there is one.
    #[must_use]
    pub fn supervisor(&self) -> Option<(&Participant, Supervision)> {
        self.participants
            .iter()
            .rev()
            .filter(|one| one.left_at.is_none())
            .find_map(|one| Some((one, one.supervising?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples;

    #[test]
    fn a_record_from_before_supervision_loads_and_is_written_as_it_was() {
        let call = samples::joined(samples::call(1), &samples::agent_id("irina"));
        let text = serde_json::to_string(&call).unwrap();
        assert!(!text.contains("supervising"), "{text}");
        assert_eq!(serde_json::from_str::<CallRecord>(&text).unwrap(), call);
    }

    #[test]
    fn a_supervisor_and_the_link_survive_text_and_are_not_the_agent() {
        let mut call = samples::joined(samples::call(1), &samples::agent_id("irina"));
        let mut third = call.participants[1].clone();
        third.party = Party::Agent(samples::agent_id("maria"));
        for link in [
            Link::Up,
            Link::Down,
            Link::Grace {
                since: call.created_at,
                deadline: call.created_at,
            },
        ] {
            let mode = SuperviseMode::Whisper;
            third.supervising = Some(Supervision { mode, link });
            call.participants.truncate(2);
            call.participants.push(third.clone());
            let text = serde_json::to_string(&call).unwrap();
            let read: CallRecord = serde_json::from_str(&text).unwrap();
            assert_eq!(read, call, "{text}");
            let (one, own) = read.supervisor().unwrap();
            assert_eq!((&one.party, own.link), (&third.party, link));
        }
        third.left_at = Some(call.created_at);
        call.participants[2] = third;
        assert_eq!(call.supervisor(), None, "who has left");
    }
}
