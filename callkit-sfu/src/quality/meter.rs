//! [`Meter`]: counters of the media engine turned into the figures of an interval.
//!
//! Few packets say little: silence suppression sends two or three a second, and one lost of five is not a
//! line that loses 20 %. So loss is told over at least 20 expected packets; while there are fewer it is
//! unknown, and what did not come together within 10 s is forgotten.

use std::time::{Duration, Instant};

use callkit_core::id::ParticipantId;

use super::figures::{Quality, TrackQuality, Way};
use crate::layout::Source;
use crate::media::{PeerStats, TrackStats};

/// Expected packets that loss is told over.
const ENOUGH: u64 = 20;
/// How long to wait for them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures one participant.
#[derive(Debug, Clone)]
pub struct Meter {
    at: Instant,
    before: PeerStats,
    tracks: Vec<TrackMeter>,
    up: Share,
    down: Share,
}

#[derive(Debug, Clone)]
struct TrackMeter {
    way: Way,
    source: Source,
    from: Option<ParticipantId>,
    before: TrackStats,
    /// Downwards: numbers that we left out and that the receiver has not reported as lost yet.
    left_out: u64,
    share: Share,
}

/// Loss that waits until it says enough.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    expected: u64,
    lost: u64,
    waiting: Duration,
    /// Told until the next one is known, or has become old.
    told: Option<f32>,
}

impl Share {
    fn add(&mut self, elapsed: Duration, expected: u64, lost: u64) -> Option<f32> {
        self.expected += expected;
        self.lost += lost;
        self.waiting += elapsed;
        if self.expected >= ENOUGH {
            let share = self.lost.min(self.expected) as f32 / self.expected as f32;
            *self = Self {
                told: Some(share),
                ..Self::default()
            };
        } else if self.waiting >= PATIENCE {
            *self = Self::default();
        }
        self.told
    }
}

impl Meter {
    /// Measures from `now` on.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            at: now,
            before: PeerStats::default(),
            tracks: Vec::new(),
            up: Share::default(),
            down: Share::default(),
        }
    }

    /// When it was measured last.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// Starts the interval anew, after nothing was measured for a while.
    pub const fn restart(&mut self, now: Instant) {
        self.at = now;
    }

    /// The figures since the last call, which was due after `every`.
    pub fn measure(
        &mut self,
        now: Instant,
        every: Duration,
        stats: &PeerStats,
        tracks: impl Iterator<Item = TrackStats>,
    ) -> Quality {
        let elapsed = now.saturating_duration_since(self.at);
        let (mut up, mut down) = ((0, 0), (0, 0));
        let mut known = std::mem::take(&mut self.tracks);
        let mut figures = Vec::new();
        for stats in tracks {
            let same =
                |one: &TrackMeter| (one.way, one.source, one.from) == (stats.way, stats.source, stats.from);
            let mut meter = match known.iter().position(same) {
                Some(place) => known.swap_remove(place),
                None => TrackMeter {
                    way: stats.way,
                    source: stats.source,
                    from: stats.from,
                    before: TrackStats {
                        packets: 0,
                        ..stats.clone()
                    },
                    left_out: 0,
                    share: Share::default(),
                },
            };
            let (expected, lost, quality) = meter.measure(elapsed, stats);
            let way = match quality.way {
                Way::Up => &mut up,
                Way::Down => &mut down,
            };
            *way = (way.0 + expected, way.1 + lost);
            self.tracks.push(meter);
            if quality.packets > 0 || quality.paused {
                figures.push(quality);
            }
        }
        let rate = |bytes: u64, before: u64| {
            let bits = bytes.saturating_sub(before).saturating_mul(8);
            (bits as f64 / elapsed.as_secs_f64().max(0.001)) as u64
        };
        let stayed = |now: u64, before: u64, expected: u64| {
            (now.saturating_sub(before) as f32 / expected.max(ENOUGH) as f32).min(1.0)
        };
        // A gap of more than an interval says that nothing was due, not that the server was late.
        let late = if elapsed < every * 2 {
            elapsed.saturating_sub(every)
        } else {
            Duration::ZERO
        };
        let quality = Quality {
            uplink_loss: self.up.add(elapsed, up.0, up.1).unwrap_or_default(),
            downlink_loss: self.down.add(elapsed, down.0, down.1).unwrap_or_default(),
            uplink_unrepaired: stayed(stats.up.unrepaired, self.before.up.unrepaired, up.0),
            downlink_unrepaired: stayed(stats.down.unrepaired, self.before.down.unrepaired, down.0),
            rtt: stats.rtt,
            jitter: stats.up.jitter,
            uplink_bps: rate(stats.up.bytes, self.before.up.bytes),
            downlink_bps: rate(stats.down.bytes, self.before.down.bytes),
            late,
            tracks: figures,
        };
        self.before = *stats;
        self.at = now;
        quality
    }
}

impl TrackMeter {
    /// Expected and lost packets, and the figures.
    fn measure(&mut self, elapsed: Duration, stats: TrackStats) -> (u64, u64, TrackQuality) {
        // A new stream on the track counts from zero again.
        let before = if stats.packets < self.before.packets || stats.expected < self.before.expected {
            self.left_out = 0;
            TrackStats {
                packets: 0,
                bytes: 0,
                expected: stats.expected,
                lost: stats.lost,
                left_out: stats.left_out,
                ..stats.clone()
            }
        } else {
            self.before.clone()
        };
        let expected = stats.expected - before.expected;
        let reported = u64::try_from(stats.lost - before.lost).unwrap_or_default();
        // What never reached us cannot be lost on the way from us; late packets fill gaps again.
        let gaps = stats.left_out - before.left_out;
        self.left_out = self.left_out.saturating_add_signed(gaps);
        let excused = self.left_out.min(reported);
        self.left_out -= excused;
        let lost = (reported - excused).min(expected);
        let expected = expected - excused.min(expected);

        let bits = stats.bytes.saturating_sub(before.bytes).saturating_mul(8);
        let quality = TrackQuality {
            way: stats.way,
            source: stats.source,
            from: stats.from,
            bps: (bits as f64 / elapsed.as_secs_f64().max(0.001)) as u64,
            packets: u32::try_from(stats.packets - before.packets).unwrap_or(u32::MAX),
            loss: self.share.add(elapsed, expected, lost),
            jitter: stats.jitter,
            paused: stats.paused,
            layers_missed: stats.layers_missed,
            available_bps: stats.available_bps,
        };
        self.before = stats;
        (expected, lost, quality)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(2);

    fn track(way: Way, packets: u64, lost: i64) -> TrackStats {
        TrackStats {
            way,
            source: Source::Microphone,
            from: None,
            packets,
            bytes: packets * 100,
            expected: packets + lost.unsigned_abs(),
            lost,
            left_out: 0,
            jitter: None,
            paused: false,
            layers_missed: 0,
            available_bps: None,
        }
    }

    /// Measures one track after another, one interval each.
    fn measure(steps: &[TrackStats]) -> Vec<Quality> {
        let start = crate::media::moment();
        let mut meter = Meter::new(start);
        (1..)
            .zip(steps)
            .map(|(at, stats)| {
                let tracks = std::iter::once(stats.clone());
                meter.measure(start + EVERY * at, EVERY, &PeerStats::default(), tracks)
            })
            .collect()
    }

    #[test]
    fn loss_and_rates_are_those_of_the_interval() {
        let figures = measure(&[
            track(Way::Up, 100, 0),
            track(Way::Up, 190, 10),
            track(Way::Up, 290, 10),
        ]);
        assert_eq!(figures[1].uplink_loss, 0.1);
        assert_eq!(figures[1].tracks[0].bps, 90 * 100 * 8 / 2);
        assert_eq!(figures[2].uplink_loss, 0.0);
    }

    #[test]
    fn p37_a_lost_packet_of_silence_suppression_is_not_a_lossy_line() {
        // Five packets in two seconds, one of them lost; then nothing at all, muted.
        let mut steps: Vec<_> = (1..=3)
            .map(|at| track(Way::Up, at * 4, i64::try_from(at).unwrap().min(1)))
            .collect();
        steps.extend(vec![track(Way::Up, 12, 1); 10]);
        for (at, quality) in measure(&steps).iter().enumerate() {
            assert!(quality.uplink_loss < 0.08, "{at}: {}", quality.uplink_loss);
        }
    }

    #[test]
    fn what_was_lost_before_it_reached_us_is_not_lost_on_the_way_from_us() {
        let down = |packets, lost, left_out| TrackStats {
            left_out,
            expected: packets + u64::try_from(lost).unwrap(),
            ..track(Way::Down, packets, lost)
        };
        // The receiver's report is an interval behind our gaps.
        let figures = measure(&[
            down(100, 0, 0),
            down(190, 0, 10),
            down(290, 10, 10),
            down(380, 20, 10),
        ]);
        let losses: Vec<_> = figures.iter().map(|quality| quality.downlink_loss).collect();
        assert_eq!(&losses[..3], [0.0; 3]);
        assert_eq!(losses[3], 0.1);
    }

    #[test]
    fn a_stream_that_starts_anew_is_measured_from_there() {
        let figures = measure(&[
            track(Way::Up, 1000, 300),
            track(Way::Up, 50, 0),
            track(Way::Up, 150, 0),
        ]);
        assert_eq!((figures[1].uplink_loss, figures[2].uplink_loss), (0.0, 0.0));
        assert_eq!(figures[2].tracks[0].packets, 100);
    }

    #[test]
    fn a_late_server_shows_and_a_pause_does_not() {
        let start = crate::media::moment();
        let mut meter = Meter::new(start);
        let mut late = |at| {
            let none = std::iter::empty();
            meter
                .measure(
                    start + Duration::from_millis(at),
                    EVERY,
                    &PeerStats::default(),
                    none,
                )
                .late
        };
        assert_eq!(late(2000), Duration::ZERO);
        assert_eq!(late(4080), Duration::from_millis(80));
        assert_eq!(late(60_000), Duration::ZERO);
    }
}
