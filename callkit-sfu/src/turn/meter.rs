//! Limits on who has not proven anything, and on how much an allocation carries.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use callkit_core::time::Timestamp;

/// Answers to strangers from one source: enough for a hundred people behind one NAT who connect at once,
/// too few to flood somebody whose address is forged (80 bytes each).
const PER_SOURCE: Rate = Rate {
    per_second: 50,
    burst: 200,
};
/// Answers to strangers in all: 320 kB/s of replies at most, whatever the number of forged sources.
const IN_ALL: Rate = Rate {
    per_second: 4000,
    burst: 8000,
};
/// Sources that are told apart; further ones share one allowance.
const MAX_SOURCES: usize = 4096;
/// Between two searches for sources that can be forgotten: each looks at all of them.
const SWEEP: Duration = Duration::from_secs(1);

/// How much, per second and at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) per_second: u64,
    pub(super) burst: u64,
}

/// A token bucket in thousandths, so that milliseconds add whole numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    milli: u64,
    at: Timestamp,
}

impl Bucket {
    pub(super) fn full(rate: Rate, now: Timestamp) -> Self {
        Self {
            milli: rate.burst.saturating_mul(1000),
            at: now,
        }
    }

    fn fill(&mut self, rate: Rate, now: Timestamp) {
        let elapsed = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        let more = elapsed.saturating_mul(rate.per_second);
        self.milli = self
            .milli
            .saturating_add(more)
            .min(rate.burst.saturating_mul(1000));
        self.at = now;
    }

    /// Takes `amount`, if it is there.
    pub(super) fn take(&mut self, rate: Rate, now: Timestamp, amount: u64) -> bool {
        self.fill(rate, now);
        match self.milli.checked_sub(amount.saturating_mul(1000)) {
            Some(left) => {
                self.milli = left;
                true
            }
            None => false,
        }
    }

    fn is_full(&mut self, rate: Rate, now: Timestamp) -> bool {
        self.fill(rate, now);
        self.milli == rate.burst * 1000
    }
}

/// What strangers may have answered.
#[derive(Debug)]
pub(super) struct StrangerMeter {
    sources: HashMap<IpAddr, Bucket>,
    others: Bucket,
    all: Bucket,
    swept: Timestamp,
}

impl StrangerMeter {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            sources: HashMap::new(),
            others: Bucket::full(PER_SOURCE, now),
            all: Bucket::full(IN_ALL, now),
            swept: now,
        }
    }

    /// Whether one more answer goes to `source`.
    pub(super) fn take(&mut self, now: Timestamp, source: IpAddr) -> bool {
        let source = network(source);
        let is_full = self.sources.len() >= MAX_SOURCES;
        if is_full && now.since(self.swept) >= SWEEP {
            self.swept = now;
            self.sources.retain(|_, bucket| !bucket.is_full(PER_SOURCE, now));
        }
        let bucket = if self.sources.len() < MAX_SOURCES || self.sources.contains_key(&source) {
            self.sources
                .entry(source)
                .or_insert_with(|| Bucket::full(PER_SOURCE, now))
        } else {
            &mut self.others
        };
        bucket.take(PER_SOURCE, now, 1) && self.all.take(IN_ALL, now, 1)
    }
}

/// The network that limits are for: one person has a whole /64 of IPv6.
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_source_gets_its_burst_and_then_its_rate() {
        let mut meter = StrangerMeter::new(at(0));
        let source = IpAddr::from([192, 0, 2, 1]);
        let answered = (0..1000).filter(|_| meter.take(at(0), source)).count();
        assert_eq!(answered as u64, PER_SOURCE.burst);
        let answered = (0..1000).filter(|_| meter.take(at(1000), source)).count();
        assert_eq!(answered as u64, PER_SOURCE.per_second);
        assert!(meter.take(at(1000), IpAddr::from([192, 0, 2, 2])));
    }

    #[test]
    fn forged_sources_cost_no_more_memory_and_answers_than_the_limits() {
        let mut meter = StrangerMeter::new(at(0));
        let sources = (0_u32..100_000).map(|number| IpAddr::from(number.to_be_bytes()));
        let answered = sources.filter(|source| meter.take(at(0), *source)).count();
        assert!(answered as u64 <= IN_ALL.burst);
        assert!(meter.sources.len() <= MAX_SOURCES);
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network(ip("2001:db8::1")), network(ip("2001:db8::ffff:2")));
        assert_ne!(network(ip("2001:db8::1")), network(ip("2001:db8:0:1::1")));
        assert_eq!(network(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }
}
