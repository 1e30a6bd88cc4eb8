//! [`Throttle`]: how often something may be tried per key. Pure; a token bucket per key, keys bounded.

use std::collections::BTreeMap;
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

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// The bucket is full at this time; each attempt moves it by one refill.
    full_at: Timestamp,
}

/// Counts attempts per key.
#[derive(Debug)]
pub(super) struct Throttle<K> {
    limits: Limits,
    buckets: BTreeMap<K, Bucket>,
}

impl<K: Ord + Clone> Throttle<K> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            buckets: BTreeMap::new(),
        }
    }

    /// Takes an attempt of `key`, or says how long until there is one.
    pub(super) fn take(&mut self, now: Timestamp, key: &K) -> Result<(), Duration> {
        let full_at = self
            .buckets
            .get(key)
            .map_or(now, |bucket| bucket.full_at)
            .max(now);
        let capacity = self.limits.refill * self.limits.burst;
        let used = full_at.since(now);
        if used + self.limits.refill > capacity {
            return Err(used + self.limits.refill - capacity);
        }
        if !self.buckets.contains_key(key) {
            self.make_room(now);
        }
        self.buckets.insert(
            key.clone(),
            Bucket {
                full_at: full_at + self.limits.refill,
            },
        );
        Ok(())
    }

    /// Gives an attempt of `key` back: it succeeded.
    pub(super) fn give_back(&mut self, now: Timestamp, key: &K) {
        let Some(bucket) = self.buckets.get_mut(key) else {
            return;
        };
        let left = bucket.full_at.since(now).saturating_sub(self.limits.refill);
        if left.is_zero() {
            self.buckets.remove(key);
        } else {
            bucket.full_at = now + left;
        }
    }

    fn make_room(&mut self, now: Timestamp) {
        if self.buckets.len() < MAX_KEYS {
            return;
        }
        self.buckets.retain(|_, bucket| bucket.full_at > now);
        if self.buckets.len() >= MAX_KEYS {
            let fullest = self
                .buckets
                .iter()
                .min_by_key(|(_, bucket)| bucket.full_at)
                .map(|(key, _)| key.clone());
            fullest.and_then(|key| self.buckets.remove(&key));
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
        assert!(throttle.buckets.is_empty());
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
        assert!(throttle.buckets.len() <= MAX_KEYS);
        assert!(throttle.take(START, &0).is_err());
    }
}
