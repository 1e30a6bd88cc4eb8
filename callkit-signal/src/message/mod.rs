//! The wire messages of `callkit.v1`: one catalogue, serialised as JSON text frames.
//!
//! ```text
//! server: hello                       first frame after the upgrade
//! client: auth | resume               within 5 s, nothing else before it
//! server: welcome | resumed | refused
//! client: request {id, ..}    ->  server: ok {re} | error {re}
//! server: event {seq, ..}             numbered without gaps; the client acknowledges in ping / ack
//! client: ping {last_seq}     ->  server: pong
//! ```
//!
//! Evolution is additive: a client ignores fields and event types that it does not know; the server
//! answers an unknown request type with `error{code: "unknown_type"}`, it does not close.

mod client;
pub mod codes;
mod ice;
mod quality;
mod server;
mod view;

pub use client::{
    ClientInfo, ClientMessage, MAX_AWAY_REASON, MAX_CLIENT_ID, PresenceChoice, Request, RequestFrame,
};
pub use ice::IceServer;
pub use quality::{
    LimitedBy, MAX_REPORTED_TRACKS, MediaReport, PathKind, QualityCause, QualityLevel, QualityView,
    ReceivedTrack, SentTrack, TrackDirection, TrackSource, TrackView,
};
pub use server::{
    CameraDemand, ErrorBody, Event, EventFrame, Limits, Outcome, Refusal, ScreenDemand, ServerMessage,
    Snapshot,
};
pub use view::{
    ActiveCallView, AgentView, CallView, ChatView, DeviceState, HistoryEntry, LinkCause, LinkView,
    MediaState, OfferView, ParticipantView, Phase, QueueView, Role, You,
};

/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "callkit.v1";
/// Longest frame that a client may send, in bytes. An SDP offer of the documented layout has about 10 KiB.
pub const MAX_FRAME: usize = 64 * 1024;
/// Longest frame that a client has to be able to take, in bytes: `welcome` carries the chat of the call.
pub const MAX_SERVER_FRAME: usize = 1024 * 1024;
/// Most bytes of chat in a snapshot, as JSON; of a longer chat the oldest lines are left out.
pub const MAX_SNAPSHOT_CHAT: usize = 512 * 1024;
/// Most talks in a supervisor's snapshot: together with the longest chat they fit into a frame.
pub const MAX_LISTED_CALLS: usize = 500;
