//! [`Input`]: everything that can happen to the dispatcher, and [`Refused`]: why it did not.

use callkit_core::agent::Presence;
use callkit_core::call::{Customer, EndReason, OfferOutcome, Party, SuperviseMode};
use callkit_core::id::{AgentId, CallId, CustomerId, OfferId, QueueId};
use callkit_core::redact::Private;
use serde::{Deserialize, Serialize};

/// Longest reason of being away, in Unicode scalar values.
pub const MAX_AWAY_REASON_CHARS: usize = 100;
/// Longest `client_id` of a chat message, in bytes: room for a UUID and a prefix.
pub const MAX_CLIENT_ID_BYTES: usize = 64;
/// Chat messages kept per call. At one line per second it takes a quarter of an hour of pasting to get
/// there; more is a program, not a talk.
pub const MAX_CHAT_MESSAGES: usize = 1000;
/// Bytes of chat text kept per call; bounds the memory that one open call can take.
pub const MAX_CHAT_BYTES: usize = 512 * 1024;

/// Something happened. Serialisable, so that a log of inputs replays a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "input")]
pub enum Input {
    /// A customer asks for a call; the page is connected.
    RequestCall {
        /// Who.
        customer: Customer,
        /// Where.
        queue: QueueId,
        /// Higher goes first; 255 is kept for calls that have to be answered again and counts as 254.
        priority: u8,
    },
    /// The customer's signaling came up or was lost.
    CustomerLink {
        /// The call.
        call: CallId,
        /// Whether it is up.
        up: bool,
    },
    /// An agent's signaling came up (any console) or was lost (all consoles).
    AgentLink {
        /// Who.
        agent: AgentId,
        /// Whether it is up.
        up: bool,
    },
    /// An agent says how it is about calls.
    SetPresence {
        /// Who.
        agent: AgentId,
        /// The wish; applied when the present work is done.
        presence: Presence,
    },
    /// An agent takes the offered call.
    Accept {
        /// Who.
        agent: AgentId,
        /// The offer, as fencing token.
        offer: OfferId,
    },
    /// An agent does not want the offered call.
    Decline {
        /// Who.
        agent: AgentId,
        /// The offer.
        offer: OfferId,
    },
    /// One side ends the call.
    HangUp {
        /// The call.
        call: CallId,
        /// Whose wish.
        by: Party,
    },
    /// Media of one side flows, for the first time or again.
    MediaUp {
        /// The call.
        call: CallId,
        /// Whose.
        party: Party,
    },
    /// Media of one side stopped flowing.
    MediaLost {
        /// The call.
        call: CallId,
        /// Whose.
        party: Party,
    },
    /// Media of one side cannot be set up.
    MediaFailed {
        /// The call.
        call: CallId,
        /// Whose.
        party: Party,
    },
    /// A line of chat.
    Chat {
        /// The call.
        call: CallId,
        /// Who wrote it.
        from: Party,
        /// The author's key: the same message sent again is kept once.
        client_id: String,
        /// What was written.
        text: Private<String>,
    },
    /// An administrator or the system ends the call.
    EndCall {
        /// The call.
        call: CallId,
        /// The reason to keep.
        reason: EndReason,
    },
    /// An agent has finished the notes.
    WrapUpDone {
        /// Who.
        agent: AgentId,
    },
    /// A supervisor wants to be the third in a talk, or, being it, to go on in another mode. Whether the
    /// person may supervise this call is the caller's to check.
    SuperviseJoin {
        /// Who.
        agent: AgentId,
        /// The call.
        call: CallId,
        /// How.
        mode: SuperviseMode,
    },
    /// A supervisor leaves; the call goes on.
    SuperviseLeave {
        /// Who.
        agent: AgentId,
        /// The call.
        call: CallId,
    },
    /// A deadline may have passed.
    Tick,
}

/// Why an input was not followed. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// There is no such call, or it has ended.
    #[error("there is no such open call")]
    UnknownCall,
    /// There is no such agent.
    #[error("there is no such agent")]
    UnknownAgent,
    /// There is no such queue.
    #[error("there is no such queue")]
    UnknownQueue,
    /// The customer has an open call; one at a time.
    #[error("customer {customer} already has the open call {call}")]
    AlreadyCalling {
        /// Who.
        customer: CustomerId,
        /// The open call.
        call: CallId,
    },
    /// As many calls wait as the queue allows.
    #[error("the queue is full")]
    QueueFull,
    /// The offer is over or never was this agent's: stop ringing, show what became of the call.
    #[error("the offer is no longer open")]
    OfferClosed {
        /// The call, if it is still open.
        call: Option<CallId>,
        /// Who has the call, if anybody.
        owner: Option<AgentId>,
        /// How the offer ended; `None` if unknown, or past its deadline and not yet closed.
        outcome: Option<OfferOutcome>,
    },
    /// Only somebody in the call can do that.
    #[error("not a participant of the call")]
    NotInCall,
    /// The agent's console has to be connected for that.
    #[error("the console is not connected")]
    NotConnected,
    /// This presence is not a person's to choose, or its reason is too long.
    #[error("not a presence that can be chosen")]
    InvalidPresence,
    /// The agent is not in wrap-up.
    #[error("there is no wrap-up to finish")]
    NotInWrapUp,
    /// The chat text is empty or too long, or its key is.
    #[error("the chat message is empty or too long")]
    InvalidChat,
    /// Only a call in which two people talk can be supervised.
    #[error("nobody talks in this call yet")]
    NotTalking,
    /// The agent has an offer, a call of his own or something to finish.
    #[error("busy with something else")]
    Busy,
    /// There are three in the call (R7.1).
    #[error("the call has as many participants as it may have")]
    CallFull,
    /// Who listens or whispers does not write: the customer would learn of it.
    #[error("a supervisor writes only after joining in")]
    MayNotWrite,
    /// The chat of the call has reached its limit.
    #[error("the chat of the call is full")]
    ChatFull,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_inputs_survives_text() {
        let agent = AgentId::new("irina").unwrap();
        let call = CallId::from(7);
        let customer = Customer {
            id: CustomerId::from(1),
            name: Some(Private::new("Anna".to_owned())),
            verified: true,
        };
        let text = Private::new("hello".to_owned());
        for input in [
            Input::RequestCall {
                customer,
                queue: QueueId::new("main").unwrap(),
                priority: 3,
            },
            Input::SetPresence {
                agent: agent.clone(),
                presence: Presence::Away { reason: None },
            },
            Input::Accept {
                agent: agent.clone(),
                offer: OfferId::from(9),
            },
            Input::HangUp {
                call,
                by: Party::Agent(agent),
            },
            Input::Chat {
                call,
                from: Party::Customer,
                client_id: "1".to_owned(),
                text,
            },
            Input::EndCall {
                call,
                reason: EndReason::System,
            },
            Input::SuperviseJoin {
                agent: AgentId::new("maria").unwrap(),
                call,
                mode: SuperviseMode::Whisper,
            },
            Input::SuperviseLeave {
                agent: AgentId::new("maria").unwrap(),
                call,
            },
            Input::Tick,
        ] {
            let line = serde_json::to_string(&input).unwrap();
            assert_eq!(serde_json::from_str::<Input>(&line).unwrap(), input, "{line}");
        }
    }
}
