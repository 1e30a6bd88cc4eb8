//! Whether the queue on the way to a receiver grows: the delay-based half of congestion control
//! (draft-ietf-rmcat-gcc-02 sections 5.2 to 5.4, with the least-squares trend line in place of the Kalman
//! filter, as browsers do).
//!
//! Packets sent within a burst form a group. The difference between how far groups were apart when they
//! arrived and when they were sent is summed up; the slope of that sum over the last groups, compared with a
//! threshold that follows the usual variation of the path, says what the queue does.

/// Packets sent within this time of the first belong to one group, in microseconds: browsers pace bursts of
/// that length.
const BURST: u64 = 5_000;
/// Groups that the slope is taken over.
const WINDOW: usize = 20;
/// Weight of the past in the smoothed delay.
const SMOOTHING: f64 = 0.9;
/// Slope to threshold scale.
const GAIN: f64 = 4.0;
/// How fast the threshold follows a larger and a smaller variation (gcc section 5.4).
const FOLLOW_UP: f64 = 0.0087;
const FOLLOW_DOWN: f64 = 0.039;
/// Bounds of the threshold, in ms.
const THRESHOLD: (f64, f64) = (6.0, 600.0);
/// A deviation this far beyond the threshold is an event, not variation: the threshold does not follow it.
const OUTLIER: f64 = 15.0;
/// Time for which the slope must be above the threshold, in ms.
const OVERUSE_TIME: f64 = 10.0;
/// A difference larger than this says that the clock or the path changed, in microseconds.
const JUMP: i64 = 3_000_000;

/// What the queue does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Usage {
    /// It keeps its length.
    #[default]
    Normal,
    /// It grows: more is sent than gets through.
    Over,
    /// It shrinks.
    Under,
}

/// A group of packets sent together. Times in microseconds, of the sender's and the receiver's clock.
#[derive(Debug, Clone, Copy)]
struct Group {
    first_sent: u64,
    last_sent: u64,
    first_arrived: i64,
    last_arrived: i64,
}

/// See the module.
#[derive(Debug)]
pub struct Trend {
    group: Option<Group>,
    before: Option<Group>,
    start: Option<i64>,
    sum: f64,
    smoothed: f64,
    points: [(f64, f64); WINDOW],
    count: u32,
    threshold: f64,
    last_update: Option<i64>,
    over_for: Option<f64>,
    over_count: u32,
    previous: f64,
    usage: Usage,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            group: None,
            before: None,
            start: None,
            sum: 0.0,
            smoothed: 0.0,
            points: [(0.0, 0.0); WINDOW],
            count: 0,
            threshold: 12.5,
            last_update: None,
            over_for: None,
            over_count: 0,
            previous: 0.0,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    /// What the queue does.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// Forgets the delays so far; what is usual on the path is kept.
    pub fn restart(&mut self) {
        *self = Self {
            threshold: self.threshold,
            ..Self::default()
        };
    }

    /// Takes in a packet that was sent and arrived at these times, in the order of sending.
    pub fn arrived(&mut self, sent: u64, arrived: i64) {
        let Some(group) = &mut self.group else {
            self.group = Some(Group::of(sent, arrived));
            return;
        };
        if sent < group.first_sent {
            // Reordered into an earlier group.
            return;
        }
        let burst = arrived - group.last_arrived <= BURST as i64
            && arrived.saturating_sub(group.last_arrived) < (sent.saturating_sub(group.last_sent)) as i64
            && arrived - group.first_arrived < 100_000;
        if sent - group.first_sent <= BURST || burst {
            group.last_sent = group.last_sent.max(sent);
            group.last_arrived = group.last_arrived.max(arrived);
            return;
        }
        let done = *group;
        self.group = Some(Group::of(sent, arrived));
        if let Some(before) = self.before {
            self.difference(before, done);
        }
        self.before = Some(done);
    }

    fn difference(&mut self, before: Group, group: Group) {
        let arrived = group.last_arrived - before.last_arrived;
        let Some(sent) = group.last_sent.checked_sub(before.last_sent) else {
            return;
        };
        let sent = sent as i64;
        if arrived < 0 {
            return;
        }
        if (arrived - sent).abs() > JUMP {
            self.restart();
            return;
        }
        let delta = (arrived - sent) as f64 / 1000.0;
        let start = *self.start.get_or_insert(group.last_arrived);
        self.sum += delta;
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.sum;
        let at = (group.last_arrived - start) as f64 / 1000.0;
        self.points[self.count as usize % WINDOW] = (at, self.smoothed);
        self.count += 1;
        let slope = if self.count as usize >= WINDOW {
            self.slope().unwrap_or(self.previous)
        } else {
            0.0
        };
        self.detect(slope, sent as f64 / 1000.0, group.last_arrived);
    }

    /// Least squares over the window; `None` if all points have the same time.
    fn slope(&self) -> Option<f64> {
        let count = WINDOW as f64;
        let (x, y) = self
            .points
            .iter()
            .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        let (x, y) = (x / count, y / count);
        let (mut over, mut under) = (0.0, 0.0);
        for point in &self.points {
            over += (point.0 - x) * (point.1 - y);
            under += (point.0 - x) * (point.0 - x);
        }
        (under > 0.0).then_some(over / under)
    }

    fn detect(&mut self, slope: f64, sent_delta: f64, now: i64) {
        let modified = f64::from(self.count.min(60)) * slope * GAIN;
        if modified > self.threshold {
            let time = self.over_for.map_or(sent_delta / 2.0, |time| time + sent_delta);
            self.over_for = Some(time);
            self.over_count += 1;
            if time > OVERUSE_TIME && self.over_count > 1 && slope >= self.previous {
                self.over_for = Some(0.0);
                self.over_count = 0;
                self.usage = Usage::Over;
            }
        } else {
            self.over_for = None;
            self.over_count = 0;
            self.usage = if modified < -self.threshold {
                Usage::Under
            } else {
                Usage::Normal
            };
        }
        self.previous = slope;
        self.follow(modified, now);
    }

    /// Moves the threshold towards the variation seen, so that a noisy path is not taken for a full one and
    /// other flows in the queue do not starve this one.
    fn follow(&mut self, modified: f64, now: i64) {
        let elapsed = self
            .last_update
            .map_or(0.0, |last| (now - last) as f64 / 1000.0)
            .clamp(0.0, 100.0);
        self.last_update = Some(now);
        let size = modified.abs();
        if size > self.threshold + OUTLIER {
            return;
        }
        let pace = if size < self.threshold {
            FOLLOW_DOWN
        } else {
            FOLLOW_UP
        };
        let moved = self.threshold + pace * (size - self.threshold) * elapsed;
        self.threshold = moved.clamp(THRESHOLD.0, THRESHOLD.1);
    }
}

impl Group {
    const fn of(sent: u64, arrived: i64) -> Self {
        Self {
            first_sent: sent,
            last_sent: sent,
            first_arrived: arrived,
            last_arrived: arrived,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use callkit_core::id::IdSource;

    /// Feeds `count` packets, one each 10 ms, delayed by `delay` microseconds of the packet's number.
    fn feed(trend: &mut Trend, from: u64, count: u64, mut delay: impl FnMut(u64) -> i64) -> bool {
        let mut over = false;
        for number in from..from + count {
            let sent = number * 10_000;
            trend.arrived(sent, sent as i64 + delay(number));
            over |= trend.usage() == Usage::Over;
        }
        over
    }

    #[test]
    fn a_growing_queue_is_noticed_within_half_a_second_and_a_constant_one_is_not() {
        let mut trend = Trend::default();
        assert!(!feed(&mut trend, 0, 200, |_| 50_000));
        // Twice as much is sent as gets through.
        assert!(feed(&mut trend, 200, 50, |number| 50_000
            + (number as i64 - 200) * 10_000));
        feed(&mut trend, 250, 100, |number| {
            550_000 - (number as i64 - 250) * 2_000
        });
        assert_eq!(trend.usage(), Usage::Under);
    }

    #[test]
    fn jitter_is_not_taken_for_a_growing_queue() {
        let mut random = IdSource::seeded(5);
        let mut trend = Trend::default();
        feed(&mut trend, 0, 500, |_| (random.next_u64() % 30_000) as i64);
        let mut over = 0;
        for number in 500..5000 {
            over += u32::from(feed(&mut trend, number, 1, |_| {
                (random.next_u64() % 30_000) as i64
            }));
        }
        assert!(over < 45, "{over} of 4500");
    }

    #[test]
    fn p19_no_order_of_times_breaks_it() {
        let mut random = IdSource::seeded(9);
        let mut trend = Trend::default();
        for _ in 0..10_000 {
            let sent = random.next_u64() % 10_000_000_000;
            let arrived = (random.next_u64() >> 20) as i64 - (1 << 42);
            trend.arrived(sent, arrived);
            assert!(trend.threshold.is_finite() && trend.sum.is_finite());
        }
        assert!(
            !feed(&mut trend, 2_000_000, 100, |_| 0),
            "and it is usable afterwards"
        );
    }
}
