//! What a role may see of calls, agents and queues. What is not here does not leave the server.

use callkit_core::agent::{Activity, Presence};
use callkit_core::call::{EndReason, SuperviseMode};
use callkit_core::id::{AgentId, CallId, CustomerId, MessageId, OfferId, ParticipantId, QueueId};
use callkit_core::redact::Private;
use serde::{Deserialize, Serialize};

/// Whose side somebody is on, as the other side sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The customer.
    Customer,
    /// A member of staff.
    Operator,
    /// A member of staff who may supervise; in a call, its third participant.
    Supervisor,
}

/// Who the client is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct You {
    /// The side.
    pub role: Role,
    /// Staff: the sign-in name. Customer: the customer id.
    pub id: String,
    /// The name that others see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Private<String>>,
}

/// Where a call stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Waiting; a call that rings at an agent is still waiting for its customer.
    Queued {
        /// Place, from 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<u32>,
        /// Whether anybody of the queue is on shift.
        staffed: bool,
    },
    /// Accepted: both sides send `media.offer` now.
    Connecting,
    /// Talking.
    Active {
        /// Duration so far, milliseconds.
        for_ms: u64,
    },
    /// Over.
    Ended {
        /// Why.
        reason: EndReason,
        /// Time talked, milliseconds; 0 if it never came to that.
        talked_ms: u64,
    },
}

/// A call as one of its participants sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallView {
    /// Identity.
    pub id: CallId,
    /// The queue.
    pub queue: QueueId,
    /// Grows with each change: an older view is dropped.
    pub version: u64,
    /// Where it stands.
    #[serde(flatten)]
    pub phase: Phase,
    /// Who is in it, oneself included.
    pub participants: Vec<ParticipantView>,
}

/// Health of a participant's media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "link")]
pub enum LinkView {
    /// Not connected yet.
    Connecting,
    /// Connected.
    Up,
    /// Lost; the place is kept for a while.
    Reconnecting {
        /// How much longer, milliseconds.
        for_ms: u64,
        /// For how long already, milliseconds.
        #[serde(default)]
        lost_for_ms: u64,
        /// What became of the person, as far as the server can tell yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<LinkCause>,
    },
}

/// What became of a person whose media is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkCause {
    /// The page is gone: closed, reloaded, crashed. A reload comes back within seconds.
    LeftPage,
    /// Neither media nor signaling arrives: no network, or the computer sleeps.
    NoNetwork,
    /// The page is there and signals; only media does not get through.
    MediaOnly,
}

/// What a participant has switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MediaState {
    /// The microphone is on.
    pub microphone: bool,
    /// The camera is on.
    pub camera: bool,
    /// A screen is shared.
    pub screen: bool,
    /// More about the microphone, from clients that tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub microphone_state: Option<DeviceState>,
    /// More about the camera, from clients that tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera_state: Option<DeviceState>,
}

/// A device as the others are shown it: whether it was the person who switched it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// There is none, it was unplugged, or the browser may not use it.
    Missing,
    /// The operating system, the browser or a switch on the device silences it; the person left it on.
    MutedBySystem,
    /// Switched off by the person.
    Off,
    /// In use.
    On,
}

/// A person in a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParticipantView {
    /// Identity, kept over reconnections.
    pub id: ParticipantId,
    /// The side.
    pub role: Role,
    /// Whether it is the reader.
    pub you: bool,
    /// Name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Private<String>>,
    /// Which receiving slot of the reader carries this participant's media.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u8>,
    /// The connection.
    #[serde(flatten)]
    pub link: LinkView,
    /// What is switched on.
    pub media: MediaState,
    /// Staff only: who the customer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// Whether the name comes from a verified source.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub verified: bool,
    /// Staff only: how a supervisor takes part. The customer is shown a supervisor in barge only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervising: Option<SuperviseMode>,
}

/// A talk that can be supervised, as a supervisor sees it in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveCallView {
    /// Identity.
    pub id: CallId,
    /// The queue.
    pub queue: QueueId,
    /// Who talks with the customer.
    pub agent: AgentId,
    /// The agent's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<Private<String>>,
    /// Who is calling.
    pub customer: CustomerId,
    /// The customer's name, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Private<String>>,
    /// Duration so far, milliseconds.
    pub for_ms: u64,
    /// Who supervises it already: such a call is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervisor: Option<AgentId>,
}

/// A call that rings at an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfferView {
    /// The offer.
    pub id: OfferId,
    /// The call.
    pub call: CallId,
    /// The queue.
    pub queue: QueueId,
    /// Who is calling.
    pub customer: CustomerId,
    /// The customer's name, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Private<String>>,
    /// Whether the name comes from a verified source.
    pub verified: bool,
    /// How long the customer has waited, milliseconds.
    pub waited_ms: u64,
    /// How much longer it rings, milliseconds.
    pub expires_in_ms: u64,
    /// How long it rings in all, milliseconds.
    pub ring_ms: u64,
}

/// An agent's own state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentView {
    /// Who.
    pub id: AgentId,
    /// Grows with each change.
    pub version: u64,
    /// The person's axis.
    pub presence: Presence,
    /// How long already, milliseconds.
    pub presence_for_ms: u64,
    /// Chosen while busy; applied when the work is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_presence: Option<Presence>,
    /// The dispatcher's axis.
    pub activity: Activity,
    /// How long already, milliseconds.
    pub activity_for_ms: u64,
}

/// A queue as staff sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueView {
    /// Which.
    pub id: QueueId,
    /// Name to show.
    pub name: String,
    /// Calls waiting, ringing ones included.
    pub waiting: u32,
    /// How long the oldest has waited, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_wait_ms: Option<u64>,
    /// Agents that could take a call now.
    pub available: u32,
}

/// A line of chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatView {
    /// Identity.
    pub id: MessageId,
    /// The call.
    pub call: CallId,
    /// Position in the call's chat, from 1.
    pub seq: u64,
    /// Who wrote it.
    pub from: Role,
    /// Whether the reader wrote it.
    pub mine: bool,
    /// The author's key, only for the author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The text.
    pub text: Private<String>,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// An ended call in a list (HTTP API).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Identity.
    pub id: CallId,
    /// The queue.
    pub queue: QueueId,
    /// Who called.
    pub customer: CustomerId,
    /// The customer's name, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Private<String>>,
    /// Who answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// When the customer asked, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When both sides' media was up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
}
