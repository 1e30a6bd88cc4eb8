//! [`ManualClock`]: time that passes only when a test says so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::time::{Clock, Timestamp};

/// A clock that stands still until [`advance`](Self::advance).
#[derive(Debug)]
pub struct ManualClock {
    origin: Instant,
    start: Timestamp,
    elapsed_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant cannot be made without asking the machine once"
    )]
    pub fn new(start: Timestamp) -> Self {
        Self {
            origin: Instant::now(),
            start,
            elapsed_ms: AtomicU64::new(0),
        }
    }

    /// Lets `by` pass.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.elapsed_ms.fetch_add(millis, Ordering::SeqCst);
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.start + self.elapsed()
    }

    fn monotonic(&self) -> Instant {
        self.origin + self.elapsed()
    }
}
