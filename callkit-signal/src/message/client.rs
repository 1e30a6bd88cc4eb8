//! What a page sends.

use callkit_core::call::SuperviseMode;
use callkit_core::chat::MAX_CHAT_CHARS;
use callkit_core::id::{CallId, OfferId, QueueId, SessionId};
use callkit_core::redact::{Private, Secret};
use serde::{Deserialize, Serialize};

use super::codes;
use super::quality::MediaReport;
use super::server::ErrorBody;
use super::view::MediaState;

/// A frame from the client. Read and written by [`codec`](crate::codec).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClientMessage {
    /// Opens a session. The first frame, unless it is `resume`.
    Auth {
        /// A ticket or token issued by the HTTP API.
        token: Secret<String>,
        /// What the client is.
        client: ClientInfo,
    },
    /// Continues a session after its connection was lost.
    Resume {
        /// The session.
        session: SessionId,
        /// The secret given in `welcome`.
        resume_token: Secret<String>,
        /// The last event that arrived.
        last_seq: u64,
    },
    /// Shows that the client is alive and what it has got.
    Ping {
        /// The last event that arrived; earlier ones are not kept any longer.
        last_seq: u64,
    },
    /// Confirms events between pings.
    Ack {
        /// The last event that arrived.
        last_seq: u64,
    },
    /// Asks for something; answered by `ok` or `error` with the same number.
    Request(RequestFrame),
}

/// A request with the number that its answer carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RequestFrame {
    /// Chosen by the client, unique in its session and growing, at most 2^53 - 1. Sent again after a lost
    /// connection, the request is carried out once.
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub request: Request,
}

/// What the client is; for statistics and support, never for decisions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientInfo {
    /// Name of the client library.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum Request {
    /// Customer: enter the queue.
    #[serde(rename = "call.start")]
    CallStart {
        /// Which queue.
        queue: QueueId,
    },
    /// Either side: end the call; the customer while waiting: leave the queue.
    #[serde(rename = "call.hangup")]
    CallHangup {
        /// Which call.
        call: CallId,
    },
    /// Agent: take the offered call.
    #[serde(rename = "offer.accept")]
    OfferAccept {
        /// Which offer.
        offer: OfferId,
    },
    /// Agent: leave the offered call to somebody else.
    #[serde(rename = "offer.decline")]
    OfferDecline {
        /// Which offer.
        offer: OfferId,
    },
    /// Agent: say whether one is there.
    #[serde(rename = "presence.set")]
    PresenceSet {
        /// The choice.
        #[serde(flatten)]
        presence: PresenceChoice,
    },
    /// Either side: bring media up, or up again after a failure, with a fresh offer.
    #[serde(rename = "media.offer")]
    MediaOffer {
        /// Which call.
        call: CallId,
        /// The SDP offer, in the layout of docs/protocol.md.
        sdp: String,
    },
    /// Either side: find the path of running media anew, after a change of network, with an offer that has new
    /// ICE credentials and is else as before.
    #[serde(rename = "media.restart")]
    MediaRestart {
        /// Which call.
        call: CallId,
        /// The SDP offer of the restart.
        sdp: String,
    },
    /// Either side: which STUN and TURN servers to use. Customers while they have an open call.
    #[serde(rename = "media.servers")]
    MediaServers {},
    /// Either side: tell the others what is switched on.
    #[serde(rename = "media.state")]
    MediaStateSet {
        /// Which call.
        call: CallId,
        /// What is on.
        #[serde(flatten)]
        media: MediaState,
    },
    /// Either side: what the page measured, every few seconds while media is up.
    #[serde(rename = "media.report")]
    MediaReport {
        /// Which call.
        call: CallId,
        /// The figures since the last report.
        report: MediaReport,
    },
    /// Either side: write a line of chat.
    #[serde(rename = "chat.send")]
    ChatSend {
        /// Which call.
        call: CallId,
        /// The author's key: sent again after a lost connection, the line is kept once.
        client_id: String,
        /// 1 to 4000 characters.
        text: Private<String>,
    },
    /// Supervisor: become the third in a talk, or, being it, go on in another mode. Answered once the mode is
    /// in force. `media.offer` follows.
    #[serde(rename = "supervise.join")]
    SuperviseJoin {
        /// Which call.
        call: CallId,
        /// How.
        mode: SuperviseMode,
    },
    /// Supervisor: leave; the call goes on.
    #[serde(rename = "supervise.leave")]
    SuperviseLeave {
        /// Which call.
        call: CallId,
    },
}

/// Longest `client_id` of a line of chat, in bytes.
pub const MAX_CLIENT_ID: usize = 64;
/// Longest reason for being away, in Unicode scalar values.
pub const MAX_AWAY_REASON: usize = 100;

impl Request {
    /// The `type` of every request.
    pub const TYPES: [&str; 13] = [
        "call.start",
        "call.hangup",
        "offer.accept",
        "offer.decline",
        "presence.set",
        "media.offer",
        "media.restart",
        "media.servers",
        "media.state",
        "media.report",
        "chat.send",
        "supervise.join",
        "supervise.leave",
    ];

    /// Checks the limits that the types do not carry.
    ///
    /// # Errors
    /// The answer to the request if it breaks one.
    pub fn check(&self) -> Result<(), ErrorBody> {
        match self {
            Self::ChatSend { client_id, text, .. } => {
                if client_id.is_empty() || client_id.len() > MAX_CLIENT_ID {
                    return Err(ErrorBody::new(
                        codes::CHAT_INVALID,
                        "client_id must have 1 to 64 bytes",
                    ));
                }
                if text.expose().is_empty() || text.expose().chars().count() > MAX_CHAT_CHARS {
                    return Err(ErrorBody::new(
                        codes::CHAT_INVALID,
                        "text must have 1 to 4000 characters",
                    ));
                }
                Ok(())
            }
            Self::PresenceSet {
                presence: PresenceChoice::Away { reason: Some(reason) },
            } if reason.chars().count() > MAX_AWAY_REASON => Err(ErrorBody::new(
                codes::MALFORMED,
                "reason must have at most 100 characters",
            )),
            Self::MediaReport { report, .. } => report.check(),
            Self::CallStart { .. }
            | Self::CallHangup { .. }
            | Self::OfferAccept { .. }
            | Self::OfferDecline { .. }
            | Self::PresenceSet { .. }
            | Self::MediaOffer { .. }
            | Self::MediaRestart { .. }
            | Self::MediaServers {}
            | Self::MediaStateSet { .. }
            | Self::SuperviseJoin { .. }
            | Self::SuperviseLeave { .. } => Ok(()),
        }
    }
}

/// The presences that a person can choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "presence", rename_all = "snake_case")]
pub enum PresenceChoice {
    /// Ready for calls.
    Available,
    /// At work, not for calls.
    Away {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Not at work.
    Offline,
}

impl PresenceChoice {
    /// The same as the agent record has it.
    #[must_use]
    pub fn to_presence(&self) -> callkit_core::agent::Presence {
        use callkit_core::agent::Presence;
        match self {
            Self::Available => Presence::Available,
            Self::Away { reason } => Presence::Away {
                reason: reason.clone(),
            },
            Self::Offline => Presence::Offline,
        }
    }
}
