//! Synthetic peers, for tests and for measurements.
//!
//! [`SyntheticClient`] is what a browser is to the server, without I/O and without media engine: it offers,
//! checks connectivity, does the DTLS handshake as client and seals and opens packets. [`MediaPeer`] adds a camera
//! and a voice and counts what arrives; with feature `swarm`, `Swarm` runs many of them over real sockets. [`Link`]
//! is a network between such peers and the server.

mod client;
mod link;
mod offer;
mod peer;
mod publish;
mod receive;
#[cfg(feature = "swarm")]
mod swarm;
mod totals;

pub use client::{ClientEvent, SyntheticClient};
pub use link::{Link, LinkCounters, LinkSettings};
pub use offer::{
    AnswerView, CAMERA_PAYLOAD, ClientSsrcs, MICROPHONE_PAYLOAD, MID_EXTENSION, OfferOptions, SlotLine,
    TRANSPORT_CC_EXTENSION, offer,
};
pub use peer::{Epoch, MediaPeer, Outbox, PeerNotice, Tally};
pub use publish::MediaShape;
#[cfg(feature = "swarm")]
pub use swarm::{Seat, Swarm, SwarmConfig, SwarmError};
pub use totals::{Histogram, Own, Received, Sent, Totals};
