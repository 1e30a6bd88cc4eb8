//! What is measured: by us per participant and track, and by the participant's page.

use std::time::Duration;

use callkit_core::id::ParticipantId;

use crate::layout::Source;

/// Which way media goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the participant to us.
    Up,
    /// From us to the participant.
    Down,
}

/// How a participant's connection does, over the last two seconds where not said otherwise.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Quality {
    /// Share of the participant's packets that did not arrive at the server, 0 to 1, before repair. Over at
    /// least 20 packets; 0 while there are fewer.
    pub uplink_loss: f32,
    /// Share of our packets that did not arrive at the participant, as it reports, 0 to 1, before repair. What
    /// was lost before it reached us is not in it. Over at least 20 packets.
    pub downlink_loss: f32,
    /// Share of the participant's packets that stayed lost, 0 to 1.
    pub uplink_unrepaired: f32,
    /// Share of our packets that were asked for and could not be sent again, 0 to 1.
    pub downlink_unrepaired: f32,
    /// Round-trip time, once known.
    pub rtt: Option<Duration>,
    /// Variation of the arrival time of the participant's packets; the worst of the streams.
    pub jitter: Duration,
    /// Received from the participant, bits per second.
    pub uplink_bps: u64,
    /// Sent to the participant, bits per second.
    pub downlink_bps: u64,
    /// How late the server did what was due: more than some milliseconds say that it is short of CPU.
    pub late: Duration,
    /// Track by track, those on which something flows or should.
    pub tracks: Vec<TrackQuality>,
}

/// How one track does.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackQuality {
    /// Which way.
    pub way: Way,
    /// What it carries.
    pub source: Source,
    /// Downwards: whose it is.
    pub from: Option<ParticipantId>,
    /// Payload and headers, bits per second.
    pub bps: u64,
    /// Packets in the interval, retransmissions left out.
    pub packets: u32,
    /// Share lost on this way before repair, 0 to 1; `None` if too few packets were expected to tell.
    pub loss: Option<f32>,
    /// Variation of the arrival time, as the end of this way measures it; `None` before the first report.
    pub jitter: Option<Duration>,
    /// Video that is not sent to the participant to keep the sound whole.
    pub paused: bool,
    /// Downwards: how many better simulcast layers the publisher sends.
    pub layers_missed: u8,
    /// Downwards, video: bits per second that the connection leaves for it; `None` without a known limit.
    pub available_bps: Option<u64>,
}

/// What a participant's page measured since its last report, as far as it is judged. `None`: unknown.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// The time that the figures cover.
    pub span: Duration,
    /// Round-trip time of the selected path.
    pub rtt: Option<Duration>,
    /// What is sent.
    pub sent: Vec<SentFigures>,
    /// What is received.
    pub received: Vec<ReceivedFigures>,
}

/// A track that a page sends.
#[derive(Debug, Clone, PartialEq)]
pub struct SentFigures {
    /// What it carries.
    pub source: Source,
    /// Whether it is switched on.
    pub on: bool,
    /// Frames per second.
    pub fps: Option<u16>,
    /// Whether the computer is what limits the encoder.
    pub cpu_limited: bool,
    /// For how long a microphone's level has not moved.
    pub still: Option<Duration>,
}

/// A track that a page receives.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceivedFigures {
    /// Whose it is.
    pub from: ParticipantId,
    /// What it carries.
    pub source: Source,
    /// Sound that was made up for lost sound, percent.
    pub concealed_percent: Option<f32>,
    /// Time for which the picture stood still, of the span.
    pub freeze: Option<Duration>,
    /// Frames shown per second.
    pub fps: Option<u16>,
    /// Frames decoded too late to be shown, percent.
    pub dropped_percent: Option<f32>,
}
