//! Forwarding: what arrives from a participant goes to the others, rewritten for each. Without I/O, without
//! a clock, and without allocation per packet once a stream flows.
//!
//! | module | owns |
//! |---|---|
//! | [`room`] | participants, slots, timers; its packet path and its RTCP are files of their own |
//! | [`allocation`] | what of the video a receiver gets; `adapt` does it for the room |
//! | [`bandwidth`] | how much each receiver's connection takes |
//! | [`cache`] | what is kept for retransmission |
//! | [`codec`] | key frames and picture counters in payloads |
//! | [`demand`] | what a publisher should send |
//! | [`clock`] | NTP time of the server and of publishers |
//! | [`grant`] | who may hear and see whom |
//! | [`keyframe`] | throttled key frame requests |
//! | [`nack`] | asking for lost packets |
//! | [`reception`] | duplicates, padding taken out of the numbering, receiver report figures |
//! | [`recorder`] | transport-wide arrival feedback |
//! | [`rewrite`] | continuous numbers towards a receiver |
//! | [`stats`], `tracks` | counters of participants and of their tracks |

mod adapt;
pub mod allocation;
pub mod bandwidth;
pub mod cache;
pub mod clock;
pub mod codec;
pub mod demand;
mod downlink;
mod feedback;
mod forward;
pub mod grant;
pub mod keyframe;
pub mod nack;
pub mod reception;
pub mod recorder;
pub mod rewrite;
pub mod room;
pub mod stats;
#[cfg(test)]
mod tests;
mod tracks;
mod uplink;

pub use clock::NtpTime;
pub use demand::{CameraDemand, Demand, ScreenDemand};
pub use grant::{Grant, allowed};
pub use room::{JoinRefused, MAX_PARTICIPANTS, Room, RoomConfig};
pub use stats::{Direction, Drops, PeerStats};
pub use tracks::TrackStats;

/// Some moment for tests; what follows is virtual time.
#[cfg(test)]
pub(crate) fn moment() -> std::time::Instant {
    use callkit_core::time::Clock as _;
    callkit_core::testing::ManualClock::new(callkit_core::time::Timestamp::from_millis(0)).monotonic()
}
