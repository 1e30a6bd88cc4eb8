//! How frames travel: the ports [`SignalTransport`] and [`SignalListener`] and their implementations.

mod memory;
#[cfg(feature = "ws")]
mod ws;

use std::fmt;
use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use callkit_core::BoxError;
use callkit_core::redact::Private;

pub use memory::{MemoryLink, MemoryListener, MemoryTransport};
#[cfg(feature = "ws")]
pub use ws::{WebSocketTransport, WsListener, connect_websocket};

use crate::message::Refusal;

/// The other end of a connection.
#[derive(Debug, Clone, Default)]
pub struct PeerInfo {
    /// Its address, if the transport has such a thing. Personal data.
    pub address: Option<Private<SocketAddr>>,
}

/// Why a connection is closed by this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Nothing more to say.
    Normal,
    /// With the reason that its last frame gave.
    Refused(Refusal),
}

impl CloseReason {
    /// The WebSocket close code (RFC 6455 section 7.4): for tools that watch connections. A client goes
    /// by the last frame.
    #[must_use]
    pub const fn websocket_code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::Refused(Refusal::ServerStopping) => 1001,
            Self::Refused(Refusal::TooLarge) => 1009,
            Self::Refused(Refusal::Unavailable) => 1013,
            Self::Refused(_) => 4000,
        }
    }

    /// The same as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "",
            Self::Refused(refusal) => refusal.as_str(),
        }
    }
}

/// Why a frame could not be received or sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The peer sent a frame above the limit. The connection can still be told why it is closed.
    #[error("a frame is too large")]
    TooLarge,
    /// The peer broke the rules of the transport. The connection can still be told why it is closed.
    #[error("the peer broke the rules of the transport")]
    Protocol,
    /// The connection is gone.
    #[error("the connection is lost")]
    Lost(#[source] BoxError),
    /// This side has closed it.
    #[error("the connection is closed")]
    Closed,
}

/// One ordered connection of frames.
///
/// # Contract
/// - Frames arrive whole, in order, at most once; those sent before an orderly close arrive.
/// - `Ok` of [`send`](Self::send) means handed over, not delivered.
/// - A frame longer than [`MAX_FRAME`](crate::message::MAX_FRAME) is not received by the server's side:
///   [`TransportError::TooLarge`], and memory for it is not taken.
/// - [`send`](Self::send) waits while the peer does not read; the caller bounds the time.
///
/// # Cancellation
/// A dropped [`recv`](Self::recv) loses no frame. After a dropped `send` the connection is only good for
/// being dropped.
///
/// # Security
/// The peer is not authenticated by the transport. Its address is personal data.
///
/// # Implementing
/// Run [`signal_transport_conformance!`](crate::signal_transport_conformance) (feature `testing`) on it.
#[async_trait]
pub trait SignalTransport: fmt::Debug + Send + 'static {
    /// The other end.
    fn peer(&self) -> &PeerInfo;

    /// The next frame; `None` when the peer has closed in an orderly way.
    async fn recv(&mut self) -> Result<Option<Bytes>, TransportError>;

    /// Sends a frame.
    async fn send(&mut self, frame: Bytes) -> Result<(), TransportError>;

    /// Says good-bye. Closing again does nothing.
    async fn close(&mut self, reason: CloseReason) -> Result<(), TransportError>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: SignalTransport + ?Sized> SignalTransport for Box<T> {
    fn peer(&self) -> &PeerInfo {
        (**self).peer()
    }

    async fn recv(&mut self) -> Result<Option<Bytes>, TransportError> {
        (**self).recv().await
    }

    async fn send(&mut self, frame: Bytes) -> Result<(), TransportError> {
        (**self).send(frame).await
    }

    async fn close(&mut self, reason: CloseReason) -> Result<(), TransportError> {
        (**self).close(reason).await
    }
}

/// Where connections come from.
///
/// # Contract
/// An error concerns one connection, not the listener, unless it is [`TransportError::Closed`].
///
/// # Cancellation
/// A dropped `accept` loses at most a connection that was not handed out yet.
#[async_trait]
pub trait SignalListener: fmt::Debug + Send + 'static {
    /// The next connection.
    async fn accept(&mut self) -> Result<Box<dyn SignalTransport>, TransportError>;
}
