//! Quality on the wire: what a page measures (`media.report`) and what people are shown (`quality`).

use callkit_core::id::ParticipantId;
pub use callkit_core::quality::Level as QualityLevel;
use serde::{Deserialize, Serialize};

use super::codes;
use super::server::ErrorBody;

/// Tracks in one direction of a report: four sources, the camera in up to three layers, or two slots of
/// four.
pub const MAX_REPORTED_TRACKS: usize = 8;
/// Longest name of a codec, in bytes.
const MAX_CODEC: usize = 16;
/// Longest span of a report, milliseconds: an hour of sleep is not one measurement.
const MAX_SPAN_MS: u32 = 60_000;

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackSource {
    /// The person's voice.
    Microphone,
    /// The person's picture.
    Camera,
    /// A shared screen or window.
    Screen,
    /// The sound of a shared tab or screen.
    ScreenAudio,
}

/// How packets reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// UDP, straight to the server.
    Direct,
    /// TCP, straight to the server.
    Tcp,
    /// Through a TURN server.
    Relay,
}

/// Why an encoder sends less than it was asked to (W3C webrtc-stats, `qualityLimitationReason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitedBy {
    /// It does not.
    None,
    /// The computer is busy.
    Cpu,
    /// The line.
    Bandwidth,
    /// Something else.
    Other,
}

/// What a page measured since its last report. Whatever a browser does not tell is left out or `null`:
/// unknown, never bad.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MediaReport {
    /// The time that the figures cover, milliseconds, 1 to 60000.
    pub span_ms: u32,
    /// Round trip of the selected candidate pair, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<u32>,
    /// What the browser believes it can send, bits per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_up: Option<u32>,
    /// How packets reach the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathKind>,
    /// What is sent; simulcast layers one by one. At most 8.
    #[serde(default)]
    pub sent: Vec<SentTrack>,
    /// What is received. At most 8.
    #[serde(default)]
    pub received: Vec<ReceivedTrack>,
}

/// A track that a page sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SentTrack {
    /// What it carries.
    pub source: TrackSource,
    /// Bits per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<u32>,
    /// Frames per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<u16>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u16>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u16>,
    /// Such as `VP8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// Why it sends less than it was asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<LimitedBy>,
    /// Sound: the level, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<f32>,
    /// Sound: how long the level has not moved although the track is live and not muted, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub still_ms: Option<u32>,
    /// Whether it is switched on. Off, it says nothing about quality.
    #[serde(default = "yes")]
    pub on: bool,
}

/// A track that a page receives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceivedTrack {
    /// In which slot, 0 or 1.
    pub slot: u8,
    /// What it carries.
    pub source: TrackSource,
    /// Bits per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<u32>,
    /// Packets lost, percent of those expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_percent: Option<f32>,
    /// Variation of arrival times, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<u32>,
    /// Mean time in the jitter buffer, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer_ms: Option<u32>,
    /// Sound: samples made up for lost ones, percent; silence that was made up is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concealed_percent: Option<f32>,
    /// Sound: the level, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<f32>,
    /// Frames shown per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<u16>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u16>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u16>,
    /// Such as `VP8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// Time for which the picture stood still, milliseconds of the span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze_ms: Option<u32>,
    /// Frames that were decoded too late to be shown, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_percent: Option<f32>,
}

const fn yes() -> bool {
    true
}

impl MediaReport {
    /// Checks the limits that the types do not carry.
    ///
    /// # Errors
    /// The answer to the request if it breaks one.
    pub fn check(&self) -> Result<(), ErrorBody> {
        let wrong = |what: &str| Err(ErrorBody::new(codes::MALFORMED, what));
        if self.span_ms == 0 || self.span_ms > MAX_SPAN_MS {
            return wrong("span_ms must be 1 to 60000");
        }
        if self.sent.len() > MAX_REPORTED_TRACKS || self.received.len() > MAX_REPORTED_TRACKS {
            return wrong("at most 8 tracks in each direction");
        }
        let shares = self
            .received
            .iter()
            .flat_map(|track| [track.loss_percent, track.concealed_percent, track.dropped_percent]);
        if !shares.flatten().all(|share| (0.0..=100.0).contains(&share)) {
            return wrong("a percentage must be 0 to 100");
        }
        let levels =
            (self.sent.iter().map(|track| track.level)).chain(self.received.iter().map(|track| track.level));
        if !levels.flatten().all(|level| (0.0..=1.0).contains(&level)) {
            return wrong("a level must be 0 to 1");
        }
        if self.received.iter().any(|track| track.slot > 1) {
            return wrong("slot must be 0 or 1");
        }
        let codecs = (self.sent.iter().map(|track| &track.codec))
            .chain(self.received.iter().map(|track| &track.codec));
        // Shown to others: a word, nothing that could be taken for anything else.
        let is_word = |codec: &String| {
            (1..=MAX_CODEC).contains(&codec.len())
                && codec
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        };
        if !codecs.flatten().all(is_word) {
            return wrong("codec must be 1 to 16 letters, digits, - or .");
        }
        Ok(())
    }
}

/// What a level below good comes from, as the reader would say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QualityCause {
    /// The reader's own way to the server.
    YourNetwork,
    /// Somebody else's way to the server.
    TheirNetwork,
    /// The server.
    Server,
    /// The reader's own computer or devices.
    ThisComputer,
    /// Somebody else's computer or devices.
    TheirComputer,
}

/// Which way a track goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackDirection {
    /// From the participant to the server.
    Up,
    /// From the server to the participant.
    Down,
}

/// How one track does. Staff only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrackView {
    /// Which way.
    pub direction: TrackDirection,
    /// What it carries.
    pub source: TrackSource,
    /// Downwards: whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ParticipantId>,
    /// 0 to 100.
    pub score: u8,
    /// Video that is stopped to keep the sound whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Bits per second.
    pub bitrate: u32,
    /// Packets lost, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_percent: Option<f32>,
    /// Variation of arrival times, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<u32>,
    /// Frames per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<u16>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u16>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u16>,
    /// Such as `VP8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// Upwards, video: why the encoder sends less than it was asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<LimitedBy>,
    /// Downwards, video: time for which the picture stood still, milliseconds per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze_ms_per_min: Option<u32>,
    /// Downwards, sound: samples made up for lost ones, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concealed_percent: Option<f32>,
}

/// Measured quality of one participant's connection to the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityView {
    /// Whose.
    pub participant: ParticipantId,
    /// Summary.
    pub level: QualityLevel,
    /// 0 to 100.
    pub score: u8,
    /// What a level below good comes from, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<QualityCause>,
    /// Packets lost on the way to the server, percent.
    pub loss_up_percent: f32,
    /// Packets lost on the way from the server, percent.
    pub loss_down_percent: f32,
    /// Round trip between the participant and the server, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<u32>,
    /// Variation of the arrival times at the server, milliseconds.
    #[serde(default)]
    pub jitter_ms: u32,
    /// Bits per second received from the participant.
    pub bitrate_up: u32,
    /// Bits per second sent to the participant.
    pub bitrate_down: u32,
    /// How packets travel, as the page says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathKind>,
    /// Staff only: track by track.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tracks: Vec<TrackView>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> MediaReport {
        let json = r#"{
            "span_ms": 4000, "path": "relay", "rtt_ms": null,
            "sent": [{ "source": "camera", "codec": "VP8", "limited_by": "none" }],
            "received": [{ "slot": 0, "source": "microphone", "loss_percent": 2.5, "level": 0.25 }]
        }"#;
        serde_json::from_str(json).expect("what a browser does not tell may be left out")
    }

    #[test]
    fn what_a_browser_does_not_tell_may_be_left_out() {
        let report = report();
        assert_eq!(report.check(), Ok(()));
        assert_eq!(
            (report.rtt_ms, report.sent[0].fps, report.sent[0].on),
            (None, None, true)
        );
    }

    #[test]
    fn a_report_beyond_its_limits_is_refused() {
        let breaks: [fn(&mut MediaReport); 8] = [
            |report| report.span_ms = 0,
            |report| report.span_ms = MAX_SPAN_MS + 1,
            |report| report.sent = vec![report.sent[0].clone(); MAX_REPORTED_TRACKS + 1],
            |report| report.received[0].slot = 2,
            |report| report.received[0].loss_percent = Some(100.5),
            |report| report.received[0].level = Some(f32::NAN),
            |report| report.sent[0].codec = Some("<b>".to_owned()),
            |report| report.sent[0].codec = Some("V".repeat(MAX_CODEC + 1)),
        ];
        for (at, spoil) in breaks.iter().enumerate() {
            let mut report = report();
            spoil(&mut report);
            assert!(report.check().is_err(), "limit {at}");
        }
    }
}
