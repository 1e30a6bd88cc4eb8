//! Synthetic peers, for tests and for measurements.
//!
//! [`SyntheticClient`] is what a browser is to the server, without I/O and without media engine: it offers,
//! checks connectivity, does the DTLS handshake as client and seals and opens packets.

mod client;
mod offer;

pub use client::{ClientEvent, SyntheticClient};
pub use offer::{
    AnswerView, CAMERA_PAYLOAD, ClientSsrcs, MICROPHONE_PAYLOAD, MID_EXTENSION, OfferOptions, SlotLine, offer,
};
