//! Synthetic peers, for tests and for measurements.
//!
//! [`SyntheticClient`] is what a browser is to the server, without I/O and without media engine: it offers,
//! checks connectivity, does the DTLS handshake as client and seals and opens packets. [`Link`] is a network between
//! such peers and the server.

mod client;
mod link;
mod offer;

pub use client::{ClientEvent, SyntheticClient};
pub use link::{Link, LinkCounters, LinkSettings};
pub use offer::{
    AnswerView, CAMERA_PAYLOAD, ClientSsrcs, MICROPHONE_PAYLOAD, MID_EXTENSION, OfferOptions, SlotLine, offer,
};
