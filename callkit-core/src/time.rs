//! Time as an argument: [`Timestamp`] in records and decisions, [`Clock`] for the drivers that supply it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, as told by a [`Clock`]: steady within a process, so deadlines made
/// of it do not move when the wall clock is set; close to civil time, so it can be stored and shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// `millis` after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// Tells the time to drivers. Decisions never hold one: they take `now`.
///
/// # Contract
/// Neither method ever goes back within a process, whatever happens to the machine's wall clock.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The steady timestamp for records and control-plane deadlines.
    fn now(&self) -> Timestamp;
    /// The monotonic instant for the media plane.
    fn monotonic(&self) -> Instant;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn monotonic(&self) -> Instant {
        (**self).monotonic()
    }
}

/// The machine's clock: civil time once, at construction, and the monotonic clock from there on.
#[derive(Debug, Clone)]
pub struct SystemClock {
    started: Instant,
    started_at: Timestamp,
}

impl SystemClock {
    /// A clock that starts at the machine's civil time.
    #[must_use]
    pub fn new() -> Self {
        Self::not_before(Timestamp::default())
    }

    /// A clock that starts at the machine's civil time or at `floor`, whichever is later: after a restart
    /// with the wall clock set back, stored deadlines still lie ahead of stored starts.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that asks the machine"
    )]
    pub fn not_before(floor: Timestamp) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Timestamp::default() + wall;
        Self {
            started: Instant::now(),
            started_at: wall.max(floor),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.started_at + self.started.elapsed()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that asks the machine"
    )]
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_over_a_restart_does_not_go_behind_what_was_stored() {
        let floor = Timestamp::from_millis(u64::MAX / 2);
        assert!(SystemClock::not_before(floor).now() >= floor);
    }

    #[test]
    fn time_between_timestamps_never_goes_negative() {
        let (early, late) = (Timestamp::from_millis(5), Timestamp::from_millis(9));
        assert_eq!(late.since(early), Duration::from_millis(4));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
