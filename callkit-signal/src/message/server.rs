//! What the server sends.

use callkit_core::id::{CallId, OfferId, SessionId};
use callkit_core::redact::Private;
use serde::{Deserialize, Serialize};

use super::codes;
use super::ice::IceServer;
use super::quality::QualityView;
use super::view::{ActiveCallView, AgentView, CallView, ChatView, OfferView, QueueView, You};

/// A frame from the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "messages are made, serialised and dropped; boxing gains nothing"
)]
pub enum ServerMessage {
    /// The first frame of a connection.
    Hello {
        /// Always `callkit.v1`.
        protocol: String,
        /// Changes with each start of the server.
        instance: String,
        /// What the client has to keep to.
        limits: Limits,
    },
    /// The session is open.
    Welcome {
        /// The session.
        session: SessionId,
        /// The secret that resumes it; valid for this session only.
        resume_token: Private<String>,
        /// The number of the last event; the snapshot contains its effect.
        seq: u64,
        /// Everything the client has to know now.
        snapshot: Snapshot,
    },
    /// The session goes on; the events after `last_seq` follow.
    Resumed {
        /// The session.
        session: SessionId,
        /// The number of the newest event.
        seq: u64,
    },
    /// `auth` or `resume` was not accepted. The connection closes after `auth`; after `resume` the client
    /// may send `auth` on the same connection.
    Refused {
        /// Why.
        code: Refusal,
        /// For developers, in English.
        message: String,
    },
    /// Answer to `ping`.
    Pong {
        /// The number of the newest event.
        seq: u64,
    },
    /// The request was carried out.
    Ok {
        /// Its number.
        re: u64,
        /// What it gave.
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// The request was not carried out.
    Error {
        /// Its number; absent if the frame had none that could be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        re: Option<u64>,
        /// Why.
        #[serde(flatten)]
        error: ErrorBody,
    },
    /// Something happened.
    Event(EventFrame),
    /// The server closes this connection, with the reason.
    Closing {
        /// Why.
        code: Refusal,
    },
}

/// An event and its number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventFrame {
    /// Number in the session, from 1, without gaps.
    pub seq: u64,
    /// What happened.
    pub event: Event,
}

/// What a client has to keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest frame that the client may send, bytes.
    pub max_frame: u32,
    /// The client pings at least this often, milliseconds.
    pub ping_interval_ms: u32,
    /// Either side is taken for dead after this silence, milliseconds.
    pub silence_timeout_ms: u32,
    /// A session can be resumed this long after its connection was lost, milliseconds.
    pub resume_window_ms: u32,
}

/// Why a connection is refused or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// The token is not valid.
    InvalidToken,
    /// The token was valid once: get a new one.
    ExpiredToken,
    /// The session cannot be resumed: open a new one with `auth`.
    SessionUnknown,
    /// Events the client misses are no longer kept: open a new session with `auth`.
    TooFarBehind,
    /// The first frame was not `auth` or `resume`, or did not come in time.
    AuthRequired,
    /// A newer connection of the same person took over.
    Replaced,
    /// A frame was too large.
    TooLarge,
    /// Too many frames in too short a time.
    RateLimited,
    /// The client does not read.
    SlowConsumer,
    /// Nothing came for too long.
    Silent,
    /// A frame that is not a message of this protocol.
    Malformed,
    /// The server is stopping.
    ServerStopping,
    /// The server is full or its sign-in is unavailable.
    Unavailable,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 13] = [
        Self::InvalidToken,
        Self::ExpiredToken,
        Self::SessionUnknown,
        Self::TooFarBehind,
        Self::AuthRequired,
        Self::Replaced,
        Self::TooLarge,
        Self::RateLimited,
        Self::SlowConsumer,
        Self::Silent,
        Self::Malformed,
        Self::ServerStopping,
        Self::Unavailable,
    ];

    /// The code on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidToken => "invalid_token",
            Self::ExpiredToken => "expired_token",
            Self::SessionUnknown => "session_unknown",
            Self::TooFarBehind => "too_far_behind",
            Self::AuthRequired => "auth_required",
            Self::Replaced => "replaced",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::SlowConsumer => "slow_consumer",
            Self::Silent => "silent",
            Self::Malformed => "malformed",
            Self::ServerStopping => "server_stopping",
            Self::Unavailable => "unavailable",
        }
    }

    /// What to tell a developer.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::InvalidToken => "the token is not valid",
            Self::ExpiredToken => "the token has expired",
            Self::SessionUnknown => "no such session: send auth",
            Self::TooFarBehind => "missed events are not kept any longer: send auth",
            Self::AuthRequired => "the first frame must be auth or resume, in time",
            Self::Replaced => "a newer connection took over",
            Self::TooLarge => "a frame was too large",
            Self::RateLimited => "too many frames",
            Self::SlowConsumer => "the client does not read",
            Self::Silent => "nothing came for too long",
            Self::Malformed => "not a message of this protocol",
            Self::ServerStopping => "the server is stopping",
            Self::Unavailable => "try again later",
        }
    }
}

/// What a request gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing more to say; the change follows as an event.
    Done,
    /// `call.start`: the call, new or already open.
    Call {
        /// The call as the customer may see it.
        call: CallView,
    },
    /// `media.offer` and `media.restart`.
    Media {
        /// The SDP answer.
        sdp: String,
    },
    /// `media.servers`.
    Servers {
        /// The servers; none if clients have to reach the media ports themselves.
        ice_servers: Vec<IceServer>,
        /// For how long the credentials open new connections, milliseconds. What is open by then goes on.
        expires_in_ms: u64,
    },
    /// `chat.send`: the line as it was kept.
    Chat {
        /// The line.
        message: ChatView,
    },
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Stable code for programs; the list is in docs/protocol.md.
    pub code: String,
    /// For developers, in English; no personal data.
    pub message: String,
    /// Whether the same request may succeed later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
}

impl ErrorBody {
    /// An answer with one of [`codes`]; `message` is for developers and holds no personal data. Whether it
    /// is retryable follows from the code.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        let retryable = codes::ALL
            .iter()
            .any(|(known, retryable)| *known == code && *retryable);
        Self {
            code: code.to_owned(),
            message: message.into(),
            retryable,
        }
    }
}

/// All that a client has to know when its session opens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Who the client is.
    pub you: You,
    /// Staff: one's own state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentView>,
    /// Staff: the offer that rings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<OfferView>,
    /// The open call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallView>,
    /// The last call, if none is open and it ended a short while ago: why it is over, for a page whose session was
    /// lost meanwhile. The server keeps it for two minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<CallView>,
    /// The chat of the open call; only its end if it is long ([`MAX_SNAPSHOT_CHAT`](super::MAX_SNAPSHOT_CHAT)).
    #[serde(default)]
    pub chat: Vec<ChatView>,
    /// Staff: the queues one serves.
    #[serde(default)]
    pub queues: Vec<QueueView>,
    /// Supervisors: the talks that one may supervise, at most [`MAX_LISTED_CALLS`](super::MAX_LISTED_CALLS);
    /// of more, those that began last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ActiveCallView>,
}

/// What can happen. Each event carries the whole new state of its subject, so a client that knows the
/// latest one knows all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
#[non_exhaustive]
pub enum Event {
    /// The call of the client changed: phase, place, participants, links, media.
    #[serde(rename = "call")]
    Call {
        /// The call.
        call: CallView,
    },
    /// Staff: a call rings.
    #[serde(rename = "offer.new")]
    OfferNew {
        /// The offer.
        offer: OfferView,
    },
    /// Staff: it rings no longer.
    #[serde(rename = "offer.closed")]
    OfferClosed {
        /// Which offer.
        offer: OfferId,
        /// `accepted`, `declined`, `missed` or `canceled`.
        outcome: String,
        /// Why, when canceled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
    /// Staff: one's own presence, activity or link changed.
    #[serde(rename = "agent")]
    Agent {
        /// The new state.
        agent: AgentView,
    },
    /// Staff: a queue changed.
    #[serde(rename = "queue")]
    Queue {
        /// The new state.
        queue: QueueView,
    },
    /// Supervisors: a talk began, or is supervised by somebody else than before.
    #[serde(rename = "calls.changed")]
    CallsChanged {
        /// The talk.
        call: ActiveCallView,
    },
    /// Supervisors: a talk ended, or went back to the queue.
    #[serde(rename = "calls.gone")]
    CallsGone {
        /// Which one.
        call: CallId,
    },
    /// A line of chat, one's own included.
    #[serde(rename = "chat")]
    Chat {
        /// The line.
        message: ChatView,
    },
    /// Measured quality, every few seconds: to staff of everybody in the call, to a customer only their own.
    #[serde(rename = "quality")]
    Quality {
        /// Which call.
        call: CallId,
        /// Each measured participant.
        participants: Vec<QualityView>,
    },
    /// What the receivers of your media can use; send that and no more. Only when it changed.
    #[serde(rename = "media.demand")]
    MediaDemand {
        /// Which call.
        call: CallId,
        /// Of your camera.
        camera: CameraDemand,
        /// Of your shared screen.
        screen: ScreenDemand,
    },
}

/// What to send of a camera.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraDemand {
    /// The rids of the simulcast layers that somebody needs, lowest first: of `l`, `m`, `h`.
    pub layers: Vec<String>,
    /// Most that they may take together, bits per second.
    pub max_bitrate: u64,
}

/// What to send of a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreenDemand {
    /// Whether anybody's connection takes it.
    pub send: bool,
    /// Most that it may take, bits per second.
    pub max_bitrate: u64,
}
