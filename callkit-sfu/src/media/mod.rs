//! Forwarding: what arrives from a participant goes to the others, rewritten for each. Without I/O, without
//! a clock, and without allocation per packet once a stream flows.
//!
//! | module | owns |
//! |---|---|
//! | [`codec`] | key frames and picture counters in payloads |
//! | [`clock`] | NTP time of the server and of publishers |
//! | [`grant`] | who may hear and see whom |
//! | [`keyframe`] | throttled key frame requests |
//! | [`nack`] | asking for lost packets |
//! | [`reception`] | duplicates, padding taken out of the numbering, receiver report figures |
//! | [`recorder`] | transport-wide arrival feedback |

pub mod clock;
pub mod codec;
pub mod grant;
pub mod keyframe;
pub mod nack;
pub mod reception;
pub mod recorder;

pub use grant::{Grant, allowed};

/// Some moment for tests; what follows is virtual time.
#[cfg(test)]
pub(crate) fn moment() -> std::time::Instant {
    use callkit_core::time::Clock as _;
    callkit_core::testing::ManualClock::new(callkit_core::time::Timestamp::from_millis(0)).monotonic()
}
