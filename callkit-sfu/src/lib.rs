//! Selective forwarding for calls of up to three people.
//!
//! ```text
//!  UDP socket ─► shard ─► transport (ICE-lite, DTLS, SRTP) ─► media room ─► transport ─► send batch ─► socket
//!                  ▲ mailbox                                     decides who gets what
//!                control (join, leave, close)                      without I/O and without a clock
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`layout`] | the fixed m-lines of the one negotiation; the contract between transport and media |
//! | [`sdp`] | reading the browser's offer, writing our answer |
//! | [`transport`] | one participant's ICE-lite agent, DTLS server and SRTP contexts, without I/O |
//! | [`rtp`] | RTP and RTCP in place |
//! | [`media`] | the room: streams, forwarding, retransmission, feedback |
//! | [`shard`] | rooms and their participants on one thread; with feature `net` its UDP socket |
//! | [`control`] | the port that the server uses, and an in-memory implementation of it |
//! | `testing` | (feature `testing`) a synthetic client |
//!
//! A packet is handled from arrival to departure by the thread that received it, without a lock. Queues
//! and operators are unknown here.

pub mod control;
pub mod layout;
pub mod media;
pub mod quality;
pub mod rtp;
pub mod sdp;
pub mod shard;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transport;
pub mod turn;
