//! A token bucket in whole milliseconds.

use callkit_core::time::Timestamp;

/// Allows `per_second` on average and `burst` at once.
#[derive(Debug, Clone)]
pub(super) struct TokenBucket {
    /// Thousandths of a token, so that one millisecond at one per second is one unit.
    level: u64,
    filled_at: Timestamp,
    per_second: u32,
    burst: u32,
}

impl TokenBucket {
    pub(super) fn new(now: Timestamp, per_second: u32, burst: u32) -> Self {
        Self {
            level: u64::from(burst) * 1000,
            filled_at: now,
            per_second,
            burst,
        }
    }

    /// Takes one token; `false` if there is none.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        let elapsed = u64::try_from(now.since(self.filled_at).as_millis()).unwrap_or(u64::MAX);
        let gained = elapsed.saturating_mul(u64::from(self.per_second));
        self.level = self
            .level
            .saturating_add(gained)
            .min(u64::from(self.burst) * 1000);
        self.filled_at = self.filled_at.max(now);
        let Some(rest) = self.level.checked_sub(1000) else {
            return false;
        };
        self.level = rest;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Timestamp::from_millis(1_000);
        let mut bucket = TokenBucket::new(start, 50, 100);
        assert_eq!((0..150).filter(|_| bucket.take(start)).count(), 100);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..150).filter(|_| bucket.take(later)).count(), 50);
        assert!(!bucket.take(start), "time that seems to go back gives nothing");
    }
}
