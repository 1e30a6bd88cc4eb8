//! [`Link`]: one direction of an emulated network link, without I/O and in whatever time it is given.
//!
//! A packet first has to survive loss (independent, or in bursts after Gilbert and Elliott), then waits for the
//! bottleneck (a rate with a queue of bounded length), then travels for the delay and its variation. The same
//! seed and the same calls give the same result.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use callkit_core::id::IdSource;

/// What a link does to packets. The default does nothing to them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkSettings {
    /// Travel time.
    pub delay: Duration,
    /// Largest deviation from it, evenly spread to both sides.
    pub jitter: Duration,
    /// Whether packets may overtake each other by jitter.
    pub reorder: bool,
    /// Share of packets that are lost one by one, 0 to 1.
    pub loss: f64,
    /// Chance per packet that a burst of losses begins, 0 to 1 (Gilbert-Elliott: good to bad).
    pub burst_start: f64,
    /// Chance per packet that it ends, 0 to 1 (bad to good); all packets in a burst are lost.
    pub burst_end: f64,
    /// Bits per second through the bottleneck; 0 is without limit.
    pub rate: u64,
    /// Longest wait in front of the bottleneck; what would wait longer is dropped.
    pub queue: Duration,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reorder: false,
            loss: 0.0,
            burst_start: 0.0,
            burst_end: 1.0,
            rate: 0,
            queue: Duration::from_millis(200),
        }
    }
}

/// What became of the packets so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCounters {
    /// Given to the link.
    pub sent: u64,
    /// Come out of it.
    pub delivered: u64,
    /// Lost on the way.
    pub lost: u64,
    /// Dropped in front of the bottleneck.
    pub dropped: u64,
}

#[derive(Debug)]
struct Travelling<P> {
    due: Instant,
    /// Keeps the order of packets that are due together.
    number: u64,
    packet: P,
}

impl<P> PartialEq for Travelling<P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<P> Eq for Travelling<P> {}

impl<P> PartialOrd for Travelling<P> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> Ord for Travelling<P> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Link<P> {
    /// May be changed at any time; holds for packets sent afterwards.
    pub settings: LinkSettings,
    random: IdSource,
    in_burst: bool,
    /// When the bottleneck has sent what it was given.
    busy_until: Option<Instant>,
    /// When the last packet comes out, for links that keep the order.
    last_due: Option<Instant>,
    travelling: BinaryHeap<Reverse<Travelling<P>>>,
    counters: LinkCounters,
}

impl<P> Link<P> {
    /// A link whose chances follow from `seed`.
    #[must_use]
    pub fn new(settings: LinkSettings, seed: u64) -> Self {
        Self {
            settings,
            random: IdSource::seeded(seed),
            in_burst: false,
            busy_until: None,
            last_due: None,
            travelling: BinaryHeap::new(),
            counters: LinkCounters::default(),
        }
    }

    /// What became of the packets so far.
    #[must_use]
    pub const fn counters(&self) -> LinkCounters {
        self.counters
    }

    /// Gives the link a packet of `size` bytes.
    pub fn send(&mut self, now: Instant, size: usize, packet: P) {
        self.counters.sent += 1;
        if self.is_lost() {
            self.counters.lost += 1;
            return;
        }
        let Some(through) = self.bottleneck(now, size) else {
            self.counters.dropped += 1;
            return;
        };
        let spread = self.settings.jitter.mul_f64(2.0 * self.chance());
        let travel = (self.settings.delay + spread).saturating_sub(self.settings.jitter);
        let mut due = through + travel;
        if !self.settings.reorder {
            due = self.last_due.map_or(due, |last| last.max(due));
            self.last_due = Some(due);
        }
        self.travelling.push(Reverse(Travelling {
            due,
            number: self.counters.sent,
            packet,
        }));
    }

    /// The next packet that has arrived.
    pub fn receive(&mut self, now: Instant) -> Option<P> {
        if self.due()? > now {
            return None;
        }
        self.counters.delivered += 1;
        self.travelling.pop().map(|Reverse(arrived)| arrived.packet)
    }

    /// When the next packet arrives.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.travelling.peek().map(|Reverse(next)| next.due)
    }

    fn is_lost(&mut self) -> bool {
        let turn = self.chance();
        self.in_burst = if self.in_burst {
            turn >= self.settings.burst_end
        } else {
            turn < self.settings.burst_start
        };
        let alone = self.chance() < self.settings.loss;
        self.in_burst || alone
    }

    /// When the packet is through the bottleneck; `None` if there is no room to wait.
    fn bottleneck(&mut self, now: Instant, size: usize) -> Option<Instant> {
        if self.settings.rate == 0 {
            self.busy_until = None;
            return Some(now);
        }
        let start = self.busy_until.map_or(now, |busy| busy.max(now));
        if start.saturating_duration_since(now) > self.settings.queue {
            return None;
        }
        let nanos = size as u64 * 8 * 1_000_000_000 / self.settings.rate;
        let end = start + Duration::from_nanos(nanos);
        self.busy_until = Some(end);
        Some(end)
    }

    /// Evenly spread in 0 to 1.
    fn chance(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::moment;

    fn run(settings: LinkSettings, packets: u32, every: Duration) -> (Vec<(Duration, u32)>, LinkCounters) {
        let (start, mut link) = (moment(), Link::new(settings, 7));
        let mut arrived = Vec::new();
        for number in 0..packets {
            link.send(start + every * number, 1250, number);
        }
        while let Some(due) = link.due() {
            arrived.extend(link.receive(due).map(|number| (due - start, number)));
        }
        (arrived, link.counters())
    }

    #[test]
    fn a_perfect_link_delivers_at_once_and_in_order() {
        let every = Duration::from_millis(1);
        let (arrived, counters) = run(LinkSettings::default(), 100, every);
        assert!(
            arrived
                .iter()
                .enumerate()
                .all(|(at, (when, number))| at == *number as usize && *when == every * *number)
        );
        assert_eq!((counters.delivered, counters.lost, counters.dropped), (100, 0, 0));
    }

    #[test]
    fn losses_are_as_frequent_as_asked_and_bursts_as_long() {
        let every = Duration::from_millis(1);
        let single = LinkSettings {
            loss: 0.1,
            ..LinkSettings::default()
        };
        let (_, counters) = run(single, 100_000, every);
        assert!((9_500..10_500).contains(&counters.lost), "{}", counters.lost);
        let bursts = LinkSettings {
            burst_start: 0.01,
            burst_end: 0.25,
            ..LinkSettings::default()
        };
        let (arrived, counters) = run(bursts, 100_000, every);
        let gaps = arrived
            .windows(2)
            .filter(|pair| pair[1].1 > pair[0].1 + 1)
            .count();
        let mean = counters.lost as f64 / gaps as f64;
        assert!((3.7..4.3).contains(&mean), "bursts of {mean} packets");
    }

    #[test]
    fn a_bottleneck_lets_its_rate_through_and_drops_what_would_wait_too_long() {
        // 10 Mbit/s offered to 1 Mbit/s for a second.
        let narrow = LinkSettings {
            rate: 1_000_000,
            queue: Duration::from_millis(100),
            ..LinkSettings::default()
        };
        let (arrived, counters) = run(narrow, 1000, Duration::from_millis(1));
        assert!((108..=112).contains(&arrived.len()), "{}", arrived.len());
        assert_eq!(counters.dropped + counters.delivered, 1000);
    }

    #[test]
    fn jitter_spreads_the_delay_and_reorders_only_if_told() {
        let mut settings = LinkSettings {
            delay: Duration::from_millis(50),
            jitter: Duration::from_millis(20),
            ..LinkSettings::default()
        };
        let every = Duration::from_millis(5);
        let in_order = |arrived: &[(Duration, u32)]| arrived.windows(2).all(|pair| pair[0].1 < pair[1].1);
        let (arrived, _) = run(settings, 1000, every);
        assert!(in_order(&arrived));
        settings.reorder = true;
        let (arrived, _) = run(settings, 1000, every);
        assert!(!in_order(&arrived));
        for (when, number) in arrived {
            let travel = when - every * number;
            assert!(
                (Duration::from_millis(30)..=Duration::from_millis(70)).contains(&travel),
                "{travel:?}"
            );
        }
    }
}
