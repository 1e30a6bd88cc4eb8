//! Signaling of calls: the `callkit.v1` protocol and how it is carried.

pub mod codec;
#[cfg(feature = "ws")]
pub mod hub;
pub mod message;
pub mod session;
pub mod transport;
