//! How a person's connection did in a call: the words that pages, history and operators share, and the
//! samples that are kept with the call.
//!
//! The figures are judged in `callkit-sfu` (its `quality` module); docs/quality.md has the formulas.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::call::Party;
use crate::id::{CallId, ParticipantId};
use crate::time::Timestamp;

/// How it is for somebody in a call, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Level {
    /// Nothing to say. What is not known counts as good.
    #[default]
    Good,
    /// Noticeable.
    Fair,
    /// Disturbing.
    Poor,
    /// Video is stopped so that the sound stays whole.
    VideoPaused,
    /// The computer does not keep up with its own video.
    LocalCpu,
    /// The microphone is on and gives nothing.
    NoSound,
}

impl Level {
    /// How much it matters: of several, the one with the highest is told. What a person can do something
    /// about, and what takes picture or sound away, comes first.
    #[must_use]
    pub const fn severity(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Fair => 1,
            Self::LocalCpu => 2,
            Self::Poor => 3,
            Self::VideoPaused => 4,
            Self::NoSound => 5,
        }
    }
}

/// What a level below good comes from, seen from the person that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// The way between this person and the server.
    Network,
    /// The server.
    Server,
    /// This person's computer or devices.
    Computer,
}

/// How it was for one person from `at` until that person's next sample or the end of the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QualitySample {
    /// In which call.
    pub call: CallId,
    /// About whom.
    pub participant: ParticipantId,
    /// Whose side.
    #[serde(flatten)]
    pub party: Party,
    /// Since when.
    pub at: Timestamp,
    /// In one word.
    pub level: Level,
    /// 0 to 100.
    pub score: u8,
    /// What it comes from, if it is below good and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Packets lost on the way to the server, in 1/1000.
    pub loss_up_permille: u16,
    /// Packets lost on the way from the server, in 1/1000.
    pub loss_down_permille: u16,
    /// Round trip to the server, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<u32>,
    /// Variation of the arrival times at the server, milliseconds.
    pub jitter_ms: u32,
    /// Received from the person, kilobits per second.
    pub up_kbps: u32,
    /// Sent to the person, kilobits per second.
    pub down_kbps: u32,
}

/// Samples kept of one call; later ones are left out. An hour of three people, each changing every 5 s.
pub const MAX_SAMPLES: usize = 2160;
/// A sample is written at least this often, also when nothing changes.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(30);
