//! [`Throttle`]: how often something may be tried per key. Pure; a token bucket per key, keys bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use callkit_core::time::Timestamp;

/// Keys remembered at the same time. Beyond it the fullest bucket, the one with the least to remember, goes.
const MAX_KEYS: usize = 10_000;

/// A bucket's size and how fast it fills.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Attempts at once.
    pub(super) burst: u32,
    /// One more attempt after this time.
    pub(super) refill: Duration,
}

impl Limits {
    /// Failed sign-ins of one account, from anywhere: 10, then one in 10 s. Guessing gets 8640 tries a day; a
    /// person who mistypes waits seconds; a stranger cannot lock the account for long.
    pub(super) const SIGN_IN_ACCOUNT: Self = Self {
        burst: 10,
        refill: Duration::from_secs(10),
    };
    /// Failed sign-ins from one address: 30, then one in 2 s. An office behind one address arrives at nine.
    pub(super) const SIGN_IN_ADDRESS: Self = Self {
        burst: 30,
        refill: Duration::from_secs(2),
    };
    /// New visitors from one address: 60, then one in a second.
    pub(super) const VISITOR_ADDRESS: Self = Self {
        burst: 60,
        refill: Duration::from_secs(1),
    };
}

/// Counts attempts per key.
#[derive(Debug)]
pub(super) struct Throttle<K> {
    limits: Limits,
    /// When the bucket of each key is full again; an attempt moves that by one refill.
    buckets: BTreeMap<K, Timestamp>,
    /// The same by time, so that room is made without looking at all keys.
    by_time: BTreeSet<(Timestamp, K)>,
}

impl<K: Ord + Clone> Throttle<K> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            buckets: BTreeMap::new(),
            by_time: BTreeSet::new(),
        }
    }

    /// Takes an attempt of `key`, or says how long until there is one.
    pub(super) fn take(&mut self, now: Timestamp, key: &K) -> Result<(), Duration> {
        let full_at = self.buckets.get(key).map_or(now, |known| *known).max(now);
        let capacity = self.limits.refill * self.limits.burst;
        let used = full_at.since(now) + self.limits.refill;
        if used > capacity {
            return Err(used - capacity);
        }
        self.forget(key);
        self.make_room(now);
        self.remember(key.clone(), full_at + self.limits.refill);
        Ok(())
    }

    /// Gives an attempt of `key` back: it succeeded.
    pub(super) fn give_back(&mut self, now: Timestamp, key: &K) {
        let Some(full_at) = self.forget(key) else { return };
        let left = full_at.since(now).saturating_sub(self.limits.refill);
        if !left.is_zero() {
            self.remember(key.clone(), now + left);
        }
    }

    fn remember(&mut self, key: K, full_at: Timestamp) {
        self.by_time.insert((full_at, key.clone()));
        self.buckets.insert(key, full_at);
    }

    fn forget(&mut self, key: &K) -> Option<Timestamp> {
        let (key, full_at) = self.buckets.remove_entry(key)?;
        self.by_time.remove(&(full_at, key));
        Some(full_at)
    }

    /// Forgets buckets that are full, and the fullest one if there is no room otherwise.
    fn make_room(&mut self, now: Timestamp) {
        while self.by_time.first().is_some_and(|(full_at, _)| *full_at <= now)
            || self.buckets.len() >= MAX_KEYS
        {
            let Some((_, key)) = self.by_time.pop_first() else {
                return;
            };
            self.buckets.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        burst: 3,
        refill: Duration::from_secs(10),
    };
    const START: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn after_a_burst_attempts_come_back_one_by_one() {
        let mut throttle = Throttle::new(LIMITS);
        for _ in 0..3 {
            assert_eq!(throttle.take(START, &"a"), Ok(()));
        }
        assert_eq!(throttle.take(START, &"a"), Err(Duration::from_secs(10)));
        assert_eq!(throttle.take(START, &"b"), Ok(()), "another key has its own");
        let later = START + Duration::from_secs(10);
        assert_eq!(throttle.take(later, &"a"), Ok(()));
        assert_eq!(throttle.take(later, &"a"), Err(Duration::from_secs(10)));
    }

    #[test]
    fn a_success_costs_nothing() {
        let mut throttle = Throttle::new(LIMITS);
        for _ in 0..100 {
            assert_eq!(throttle.take(START, &"a"), Ok(()));
            throttle.give_back(START, &"a");
        }
        assert!(throttle.buckets.is_empty() && throttle.by_time.is_empty());
    }

    #[test]
    fn a_flood_of_keys_takes_bounded_memory_and_forgets_the_guilty_last() {
        let mut throttle = Throttle::new(LIMITS);
        for _ in 0..3 {
            throttle.take(START, &0).unwrap();
        }
        for key in 1..MAX_KEYS * 2 {
            throttle.take(START, &key).unwrap();
        }
        assert!(throttle.buckets.len() <= MAX_KEYS && throttle.by_time.len() == throttle.buckets.len());
        assert!(throttle.take(START, &0).is_err());
    }
}
