//! The port through which the server uses the media plane, its vocabulary, and an in-memory implementation.
//!
//! [`MediaPlane`] says who may be in which room; [`SfuEvent`]s say how they are. With feature `net`,
//! `Sfu` is the implementation that carries media.

mod config;
mod memory;
#[cfg(feature = "net")]
mod placement;
#[cfg(feature = "net")]
mod sfu;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callkit_core::id::{ParticipantId, RoomId};

pub use config::{MediaTimeouts, SfuConfig, TcpListen};
pub use memory::{MediaCall, MemoryMediaPlane};
#[cfg(feature = "net")]
pub use sfu::{Sfu, SfuError};

pub use crate::quality::Quality;

use crate::layout::SLOTS;
use crate::media::{Demand, Grant};
use crate::sdp::SdpError;
use crate::transport::HandshakeFailure;

/// Who is shown in a participant's receiving places.
pub type Slots = [Option<ParticipantId>; SLOTS];

/// A participant who wants in, or back in.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// The room; it comes into being with its first participant.
    pub room: RoomId,
    /// Who. One who is in the room already gets a new transport and keeps the place.
    pub participant: ParticipantId,
    /// The browser's offer.
    pub offer: String,
    /// Whom the participant may hear and be heard by.
    pub grant: Grant,
}

/// A participant whose path is to be found anew (ICE restart, RFC 8445 section 9).
#[derive(Debug, Clone)]
pub struct RestartRequest {
    /// The room.
    pub room: RoomId,
    /// Who.
    pub participant: ParticipantId,
    /// The browser's offer with new ICE credentials, else as before.
    pub offer: String,
}

/// A participant who is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The answer for the browser.
    pub answer: String,
    /// Who is in the receiving places.
    pub slots: Slots,
}

/// Why somebody did not get in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The offer is refused: the page has to be changed.
    #[error("the offer is refused")]
    Offer(#[from] SdpError),
    /// The room has its three participants (R7.1).
    #[error("the room is full")]
    RoomFull,
    /// The server has as many participants as it is configured for.
    #[error("the media plane is at capacity")]
    AtCapacity,
    /// The media plane does not keep up: try again in a second.
    #[error("the media plane is overloaded")]
    Overloaded,
    /// There is no transport to restart, or it is of another certificate or layout: join anew.
    #[error("the transport cannot be restarted")]
    CannotRestart,
    /// The room failed while joining; join again, into a fresh room.
    #[error("the room failed")]
    RoomFailed,
    /// The media plane is shutting down.
    #[error("the media plane has stopped")]
    Stopped,
}

impl JoinError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Overloaded | Self::AtCapacity | Self::RoomFailed)
    }
}

/// Why media was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossCause {
    /// The client said goodbye: the page was closed or gave up this connection.
    Closed,
    /// Nothing was received for a while; it may come back by itself.
    Silent,
}

/// What happened to a participant or a room. Order per room is the order of happening.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SfuEvent {
    /// The participant's media flows. Once per join.
    MediaUp {
        /// The room.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
    },
    /// Nothing comes from the participant. The place is kept until `leave`.
    MediaLost {
        /// The room.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
        /// Why.
        cause: LossCause,
        /// How long nothing has come already when this is noticed.
        silent_for: Duration,
    },
    /// A silent participant is back on the same transport.
    MediaRestored {
        /// The room.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
    },
    /// The participant is reached by another path, after a change of network.
    PathChanged {
        /// The room.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
    },
    /// Who is in the participant's receiving places has changed; the page shows it.
    Slots {
        /// The room.
        room: RoomId,
        /// Whose places.
        participant: ParticipantId,
        /// Who is in them.
        slots: Slots,
    },
    /// What the receivers of this participant can use; its page sends that and no more. Only when it changed.
    Demand {
        /// The room.
        room: RoomId,
        /// Who should send it.
        participant: ParticipantId,
        /// What.
        demand: Demand,
    },
    /// How the connection does, every two seconds. Left out when the receiver of events is slow.
    Quality {
        /// The room.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
        /// How.
        quality: Quality,
    },
    /// The participant's transport could not be set up; only a new join helps.
    HandshakeFailed {
        /// The room.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
        /// Why.
        reason: HandshakeFailure,
    },
    /// The room is gone with everybody in it: a defect of ours. Joining again opens it afresh.
    RoomFailed {
        /// The room.
        room: RoomId,
    },
}

impl SfuEvent {
    /// The room it is about.
    #[must_use]
    pub fn room(&self) -> RoomId {
        match self {
            Self::MediaUp { room, .. }
            | Self::MediaLost { room, .. }
            | Self::MediaRestored { room, .. }
            | Self::PathChanged { room, .. }
            | Self::Slots { room, .. }
            | Self::Demand { room, .. }
            | Self::Quality { room, .. }
            | Self::HandshakeFailed { room, .. }
            | Self::RoomFailed { room } => *room,
        }
    }
}

/// Carries the media of calls.
///
/// # Contract
/// - **Join** puts a participant into a room, which comes into being with its first participant. A
///   participant who is in the room already gets a new transport in the same place; the old one is closed.
/// - **Leave** and **close** are idempotent; after they return, no event for what is gone is produced,
///   though one produced before may still be in the queue.
/// - Events come by a queue that is handed out once, when the plane is made.
///
/// # Cancellation
/// A dropped `join` may have happened: `leave` undoes it either way.
///
/// # Security
/// A participant hears and is heard by exactly whom the grant allows, whatever the page sends.
#[async_trait]
pub trait MediaPlane: fmt::Debug + Send + Sync + 'static {
    /// Whether a new room would be taken just now. What is refused here is refused before calls that are under
    /// way suffer from it; rooms that exist take their participants in any case.
    ///
    /// # Errors
    /// [`JoinError::Overloaded`] or [`JoinError::AtCapacity`].
    fn admits(&self) -> Result<(), JoinError>;

    /// Puts a participant into a room.
    async fn join(&self, request: JoinRequest) -> Result<Joined, JoinError>;

    /// Changes what a participant may send to the others. When it returns, the new grant is in force: no
    /// packet that it forbids is forwarded any more. Somebody who is not in the room gets a grant on joining.
    async fn set_grant(&self, room: RoomId, participant: ParticipantId, grant: Grant);

    /// Restarts ICE of a participant and gives the answer. Media, keys and places go on; what worked is used
    /// until what is new does. [`JoinError::CannotRestart`] if only a new join helps.
    async fn restart(&self, request: RestartRequest) -> Result<String, JoinError>;

    /// Takes a participant out of a room.
    async fn leave(&self, room: RoomId, participant: ParticipantId);

    /// Takes everybody out of a room.
    async fn close_room(&self, room: RoomId);
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: MediaPlane + ?Sized> MediaPlane for Arc<M> {
    fn admits(&self) -> Result<(), JoinError> {
        (**self).admits()
    }

    async fn join(&self, request: JoinRequest) -> Result<Joined, JoinError> {
        (**self).join(request).await
    }

    async fn set_grant(&self, room: RoomId, participant: ParticipantId, grant: Grant) {
        (**self).set_grant(room, participant, grant).await;
    }

    async fn restart(&self, request: RestartRequest) -> Result<String, JoinError> {
        (**self).restart(request).await
    }

    async fn leave(&self, room: RoomId, participant: ParticipantId) {
        (**self).leave(room, participant).await;
    }

    async fn close_room(&self, room: RoomId) {
        (**self).close_room(room).await;
    }
}
