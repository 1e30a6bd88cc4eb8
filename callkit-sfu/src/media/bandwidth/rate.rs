//! How fast packets arrive, and the rate that follows from it and from the state of the queue: additive and
//! multiplicative increase, multiplicative decrease (draft-ietf-rmcat-gcc-02 section 5.5).

use super::trend::Usage;

/// Width of a bucket of [`Meter`], in microseconds.
const BUCKET: i64 = 50_000;
const BUCKETS: usize = 16;
/// Buckets of one measurement: 300 ms. Shorter follows single key frames, longer reacts late to a fall.
const MEASURED: usize = 6;

/// Share of the arriving rate that is kept when the queue grows (gcc section 5.5: beta).
const DECREASE: f64 = 0.85;
/// Growth per second while the capacity is not known (gcc section 5.5: eta).
const INCREASE: f64 = 1.08;
/// Growth ends at this multiple of what arrives: what was not tried is not known.
const UNTRIED: f64 = 1.5;
/// Share of the arriving rate that counts as proven.
const PROVEN: f64 = 0.95;
/// Bits of a full packet: the step of the additive increase per response time.
const PACKET: f64 = 1200.0 * 8.0;

/// Bytes over time in buckets.
#[derive(Debug, Default)]
pub struct Meter {
    bytes: [u32; BUCKETS],
    newest: i64,
    first: Option<i64>,
}

impl Meter {
    /// Takes in `bytes` at a time in microseconds. What is older than the buckets is left out.
    #[inline]
    pub fn add(&mut self, at: i64, bytes: u16) {
        let bucket = at.div_euclid(BUCKET);
        if self.first.is_none() {
            self.first = Some(bucket);
            self.newest = bucket;
        }
        if bucket > self.newest {
            self.advance(bucket);
        } else if self.newest - bucket >= BUCKETS as i64 {
            if self.newest - bucket > 1000 {
                // The clock was set back.
                *self = Self::default();
            }
            return;
        }
        let place = bucket.rem_euclid(BUCKETS as i64) as usize;
        self.bytes[place] = self.bytes[place].saturating_add(u32::from(bytes));
    }

    /// Lets time pass without bytes.
    pub fn advance_to(&mut self, at: i64) {
        let bucket = at.div_euclid(BUCKET);
        if self.first.is_some() && bucket > self.newest {
            self.advance(bucket);
        }
    }

    fn advance(&mut self, bucket: i64) {
        for skipped in (self.newest + 1..=bucket).rev().take(BUCKETS) {
            self.bytes[skipped.rem_euclid(BUCKETS as i64) as usize] = 0;
        }
        self.newest = bucket;
    }

    /// Bits per second over the last 300 ms of complete buckets; `None` before there are as many.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        self.rate_before(0)
    }

    /// As [`rate`](Self::rate), for the 300 ms before those.
    #[must_use]
    pub fn earlier_rate(&self) -> Option<f64> {
        self.rate_before(MEASURED)
    }

    fn rate_before(&self, skip: usize) -> Option<f64> {
        let last = self.newest - 1 - skip as i64;
        let first = last - (MEASURED as i64 - 1);
        if self.first.is_none_or(|begin| begin >= first) {
            return None;
        }
        let bytes: u64 = (first..=last)
            .map(|bucket| u64::from(self.bytes[bucket.rem_euclid(BUCKETS as i64) as usize]))
            .sum();
        Some(bytes as f64 * 8.0 * 1_000_000.0 / (BUCKET as f64 * MEASURED as f64))
    }
}

/// What the rate is derived from.
#[derive(Debug, Clone, Copy)]
pub struct Observation {
    /// When, in seconds since the start.
    pub now: f64,
    /// What the queue does.
    pub usage: Usage,
    /// Bits per second that arrive.
    pub acked: Option<f64>,
    /// As `acked`, 300 ms earlier.
    pub acked_before: Option<f64>,
    /// Bits per second that were sent at about the same time.
    pub sent: Option<f64>,
    /// Round trip, in seconds.
    pub rtt: f64,
}

/// The delay-based rate.
#[derive(Debug)]
pub struct Rate {
    target: f64,
    updated: Option<f64>,
    decreased: Option<f64>,
    capacity: Option<Capacity>,
    /// Highest arriving rate lately: pauses between bursts do not stop the growth.
    peak: f64,
}

/// What the path was seen to carry when its queue grew.
#[derive(Debug, Clone, Copy)]
struct Capacity {
    mean: f64,
    deviation: f64,
}

impl Capacity {
    fn note(known: Option<Self>, acked: f64) -> Self {
        let sample = acked / 1000.0;
        let Some(known) = known else {
            return Self {
                mean: sample,
                deviation: 0.4,
            };
        };
        const WEIGHT: f64 = 0.05;
        let mean = (1.0 - WEIGHT) * known.mean + WEIGHT * sample;
        let error = mean - sample;
        let deviation = (1.0 - WEIGHT) * known.deviation + WEIGHT * error * error / mean.max(1.0);
        Self {
            mean,
            deviation: deviation.clamp(0.4, 2.5),
        }
    }

    /// Where a rate stands to it: below, about there, above.
    fn compare(self, acked: f64) -> std::cmp::Ordering {
        let sample = acked / 1000.0;
        let width = 3.0 * (self.deviation * self.mean).sqrt();
        if sample < self.mean - width {
            std::cmp::Ordering::Less
        } else if sample > self.mean + width {
            std::cmp::Ordering::Greater
        } else {
            std::cmp::Ordering::Equal
        }
    }
}

impl Rate {
    /// Starts at `target` bits per second.
    #[must_use]
    pub const fn new(target: f64) -> Self {
        Self {
            target,
            updated: None,
            decreased: None,
            capacity: None,
            peak: 0.0,
        }
    }

    /// Bits per second.
    #[must_use]
    pub const fn target(&self) -> f64 {
        self.target
    }

    /// When it was last lowered because the queue grew.
    #[must_use]
    pub const fn decreased(&self) -> Option<f64> {
        self.decreased
    }

    /// Keeps the rate within `bounds`.
    pub const fn clamp(&mut self, low: f64, high: f64) {
        self.target = self.target.clamp(low, high);
    }

    /// A probe got through at `rate`.
    pub const fn raise(&mut self, rate: f64) {
        self.target = self.target.max(rate);
    }

    /// Nothing is heard from the receiver: less is sent until it is.
    pub const fn fade(&mut self, share: f64) {
        self.target *= share;
    }

    /// Takes in what was observed.
    pub fn update(&mut self, seen: Observation) {
        let elapsed = self
            .updated
            .map_or(0.0, |updated| seen.now - updated)
            .clamp(0.0, 1.0);
        self.updated = Some(seen.now);
        if let Some(acked) = seen.acked {
            // Half of a peak is forgotten within 1.5 s.
            self.peak = (self.peak * 0.63_f64.powf(elapsed)).max(acked);
            if self.capacity.is_some_and(|known| known.compare(acked).is_gt()) {
                self.capacity = None;
            }
        }
        match seen.usage {
            Usage::Over => self.decrease(seen),
            Usage::Normal => self.increase(seen, elapsed),
            Usage::Under => {}
        }
    }

    fn decrease(&mut self, seen: Observation) {
        let Some(acked) = seen.acked else { return };
        let since = self.decreased.map_or(f64::MAX, |last| seen.now - last);
        // A new rate shows after a round trip.
        if since < seen.rtt.clamp(0.05, 0.2) && acked > 0.5 * self.target {
            return;
        }
        if self.capacity.is_some_and(|known| known.compare(acked).is_lt()) {
            self.capacity = None;
        }
        let idle = seen.sent.is_some_and(|sent| sent < acked * 1.2);
        let carried = if idle && acked < 0.5 * self.target {
            // All that was sent arrived: somebody else filled the queue, and how much of the path is left
            // is not known. Lower step by step.
            acked.max(0.8 * self.target)
        } else {
            self.capacity = Some(Capacity::note(self.capacity, acked));
            acked
        };
        self.target = self.target.min(DECREASE * carried);
        self.decreased = Some(seen.now);
        self.peak = acked;
    }

    fn increase(&mut self, seen: Observation, elapsed: f64) {
        let limit = UNTRIED * self.peak + 10_000.0;
        if self.target < limit {
            let grown = if self.capacity.is_some() {
                let response = seen.rtt + 0.1;
                self.target + (PACKET / response).max(4_000.0) * elapsed
            } else {
                self.target * INCREASE.powf(elapsed) + 1_000.0 * elapsed
            };
            self.target = grown.min(limit);
        }
        let settled = self.decreased.is_none_or(|last| seen.now - last > 0.5);
        if let (true, Some(acked), Some(before)) = (settled, seen.acked, seen.acked_before) {
            self.target = self.target.max(PROVEN * acked.min(before));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(now: f64, usage: Usage, acked: f64) -> Observation {
        Observation {
            now,
            usage,
            acked: Some(acked),
            acked_before: Some(acked),
            sent: Some(acked),
            rtt: 0.05,
        }
    }

    #[test]
    fn a_meter_counts_complete_buckets_only() {
        let mut meter = Meter::default();
        for packet in 0..100 {
            meter.add(packet * 10_000, 125);
        }
        // 100 bytes a centisecond are 100 kbit/s.
        assert_eq!(meter.rate(), Some(100_000.0));
        assert_eq!(meter.earlier_rate(), Some(100_000.0));
        meter.advance_to(1_150_000);
        assert_eq!(meter.rate(), Some(50_000.0));
        meter.advance_to(9_000_000);
        assert_eq!(meter.rate(), Some(0.0));
        meter.add(-900_000_000, 1);
        meter.add(-900_000_000, 1);
        assert_eq!(meter.rate(), None, "a clock that was set starts anew");
    }

    #[test]
    fn growth_ends_at_what_was_tried() {
        let mut rate = Rate::new(300_000.0);
        for step in 0..3000 {
            rate.update(seen(f64::from(step) / 10.0, Usage::Normal, 400_000.0));
        }
        assert!(
            (590_000.0..=611_000.0).contains(&rate.target()),
            "{}",
            rate.target()
        );
    }

    #[test]
    fn what_arrives_is_proven_at_once_and_a_growing_queue_takes_less_than_arrives() {
        let mut rate = Rate::new(300_000.0);
        rate.update(seen(0.0, Usage::Normal, 2_000_000.0));
        assert!(rate.target() >= 1_900_000.0);
        let full = Observation {
            sent: Some(2_500_000.0),
            ..seen(1.0, Usage::Over, 500_000.0)
        };
        rate.update(full);
        assert_eq!(rate.target(), 425_000.0);
        rate.update(Observation { now: 1.01, ..full });
        assert_eq!(rate.target(), 425_000.0, "once per round trip");
    }

    #[test]
    fn p19_a_queue_that_others_fill_does_not_end_in_what_little_is_sent() {
        let mut rate = Rate::new(2_000_000.0);
        rate.update(seen(0.0, Usage::Over, 40_000.0));
        assert!(rate.target() > 1_000_000.0, "{}", rate.target());
    }

    #[test]
    fn p19_silence_and_zero_rates_are_no_dead_state() {
        let mut rate = Rate::new(300_000.0);
        for step in 0..100 {
            let usage = [Usage::Over, Usage::Under, Usage::Normal][step as usize % 3];
            rate.update(Observation {
                rtt: 0.0,
                ..seen(f64::from(step), usage, 0.0)
            });
            rate.clamp(30_000.0, 1e7);
        }
        assert!(rate.target() >= 30_000.0);
        rate.update(seen(200.0, Usage::Normal, 900_000.0));
        assert!(rate.target() >= 855_000.0);
    }
}
