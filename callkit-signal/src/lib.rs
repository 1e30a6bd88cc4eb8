//! Signaling of calls: the `callkit.v1` protocol and how it is carried.

pub mod codec;
pub mod message;
