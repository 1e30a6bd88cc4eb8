//! [`SourceLimits`]: how much cryptography a source may cause before it has proved itself.
//!
//! Only what would cost cryptography is limited: a check for a real user name fragment, media with a real SSRC.
//! Everything else from unknown addresses ends at one table look-up, and charging that to the source would let
//! made-up datagrams lock out those who share its address. What proves authentic is not charged.

use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Attempts at once: an office that comes back from a power cut.
const BURST: u32 = 512;
/// Time after which a source gets one more attempt: 200 in a second, which is a thousandth of a core.
const REFILL: Duration = Duration::from_millis(5);
/// Sources that are remembered, in sets of [`WAYS`].
const SETS: usize = 512;
const WAYS: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    source: u64,
    left: u32,
    refilled: Instant,
}

/// A table of fixed size: an attack from many addresses pushes out who has used least, and never grows it.
#[derive(Debug)]
pub(super) struct SourceLimits {
    /// Made with the first attempt.
    buckets: Vec<Option<Bucket>>,
    key: u64,
}

impl SourceLimits {
    /// `key` is random: who does not know it cannot choose sources that share a set.
    pub(super) fn new(key: u64) -> Self {
        Self {
            buckets: Vec::new(),
            key,
        }
    }

    /// Takes one attempt; `false` if the source has none left.
    pub(super) fn take(&mut self, now: Instant, source: IpAddr) -> bool {
        let bucket = self.bucket(now, source);
        bucket.left = bucket.left.saturating_sub(1);
        bucket.left > 0
    }

    /// The attempt was authentic after all.
    pub(super) fn give_back(&mut self, now: Instant, source: IpAddr) {
        let bucket = self.bucket(now, source);
        bucket.left = (bucket.left + 1).min(BURST);
    }

    fn bucket(&mut self, now: Instant, source: IpAddr) -> &mut Bucket {
        if self.buckets.is_empty() {
            self.buckets = vec![None; SETS * WAYS];
        }
        let source = self.digest(source);
        let set = (source % SETS as u64) as usize * WAYS;
        let ways = &mut self.buckets[set..set + WAYS];
        for bucket in ways.iter_mut().flatten() {
            let steps = now.saturating_duration_since(bucket.refilled).as_millis() / REFILL.as_millis();
            let steps = u32::try_from(steps).unwrap_or(u32::MAX);
            bucket.left = bucket.left.saturating_add(steps).min(BURST);
            bucket.refilled += REFILL * steps.min(1 << 20);
            if bucket.left == BURST {
                bucket.refilled = now;
            }
        }
        let known = ways
            .iter()
            .position(|way| way.is_some_and(|bucket| bucket.source == source));
        // A free place, or that of who has used least.
        let place = known.unwrap_or_else(|| {
            let left = |way: &Option<Bucket>| way.map_or(u32::MAX, |bucket| bucket.left);
            let (place, _) = ways
                .iter()
                .enumerate()
                .max_by_key(|(_, way)| left(way))
                .unwrap_or((0, &None));
            ways[place] = None;
            place
        });
        ways[place].get_or_insert(Bucket {
            source,
            left: BURST,
            refilled: now,
        })
    }

    /// IPv4 addresses count alone; of IPv6 the network, for a host has all of its addresses.
    fn digest(&self, source: IpAddr) -> u64 {
        let bits = match source {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64 | 1 << 63,
        };
        // The finalizer of SplitMix64: every bit of the source decides on every bit of the set.
        let mut hash = bits ^ self.key;
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::moment;

    fn v4(last: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000_u32 + last).to_be_bytes())
    }

    #[test]
    fn a_source_has_a_burst_and_then_its_rate() {
        let (mut limits, now) = (SourceLimits::new(7), moment());
        let burst = (0..2000).filter(|_| limits.take(now, v4(1))).count();
        assert_eq!(burst, BURST as usize - 1);
        let later = now + Duration::from_secs(1);
        let more = (0..2000).filter(|_| limits.take(later, v4(1))).count();
        assert!((195..=205).contains(&more), "{more} attempts in a second");
        assert!(limits.take(now, v4(2)), "another source is another's business");
    }

    #[test]
    fn what_was_authentic_costs_nothing() {
        let (mut limits, now) = (SourceLimits::new(7), moment());
        for _ in 0..10_000 {
            assert!(limits.take(now, v4(1)));
            limits.give_back(now, v4(1));
        }
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let (mut limits, now) = (SourceLimits::new(7), moment());
        let address = |host: u128| IpAddr::from(((0x2001_0db8_u128 << 96) | host).to_be_bytes());
        let passed = (0..2000).filter(|host| limits.take(now, address(*host))).count();
        assert_eq!(passed, BURST as usize - 1);
    }

    #[test]
    fn a_million_sources_do_not_grow_the_table() {
        let (mut limits, now) = (SourceLimits::new(7), moment());
        for source in 0..1_000_000 {
            limits.take(now, v4(source));
        }
        assert_eq!(limits.buckets.len(), SETS * WAYS);
        assert_eq!(limits.buckets.capacity(), SETS * WAYS);
    }
}
