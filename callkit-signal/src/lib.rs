//! Signaling of calls: the `callkit.v1` protocol and how it is carried.

#[cfg(feature = "ws")]
pub mod client;
pub mod codec;
#[cfg(feature = "ws")]
pub mod hub;
pub mod message;
pub mod session;
#[cfg(all(feature = "testing", feature = "ws"))]
pub mod testing;
pub mod transport;
