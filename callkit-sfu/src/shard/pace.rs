//! [`Pace`]: whether to let datagrams gather before the next look at the socket.
//!
//! When a datagram comes every hundred microseconds, being woken for each costs several times what forwarding it
//! does. From that rate on the thread rests for a fixed short time instead, and finds a few at once: what network
//! cards do with interrupts. With little traffic each datagram wakes it at once; with much there is
//! always one waiting, and it does not rest.

use std::time::{Duration, Instant};

/// The rest. All of it is delay in the worst case; half of it on average.
const PAUSE: Duration = Duration::from_micros(250);
/// Datagrams that have to be expected in a rest for it to be worth while.
const WORTH: f64 = 2.0;
/// Share of the time that the thread works beyond which it does not rest: datagrams gather while it works.
const TOO_BUSY: f64 = 0.5;
/// Time over which rate and share are taken.
const WINDOW: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    start: Option<Instant>,
    datagrams: u64,
    worked: Duration,
    /// Of the last full window.
    gathering: bool,
    /// The last look found nothing: the sender may have stopped.
    dry: bool,
}

impl Pace {
    /// The thread worked on `datagrams` from `from` to `to`.
    pub(super) fn note(&mut self, from: Instant, to: Instant, datagrams: u64) {
        self.dry = datagrams == 0;
        self.datagrams += datagrams;
        self.worked += to.saturating_duration_since(from);
        let start = *self.start.get_or_insert(from);
        let window = to.saturating_duration_since(start);
        if window < WINDOW {
            return;
        }
        let expected = self.datagrams as f64 * PAUSE.div_duration_f64(window);
        let busy = self.worked.div_duration_f64(window);
        self.gathering = expected >= WORTH && busy < TOO_BUSY;
        *self = Self {
            start: Some(to),
            datagrams: 0,
            worked: Duration::ZERO,
            ..*self
        };
    }

    /// How long to rest before the next look, or `None` to be woken by the next datagram.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        let fresh = self
            .start
            .is_some_and(|start| now.saturating_duration_since(start) <= WINDOW * 2);
        (self.gathering && fresh && !self.dry).then_some(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The decision after `looks` looks at a distance, each with so many datagrams of so much work.
    fn after(distance: Duration, datagrams: u64, work: Duration) -> Option<Duration> {
        let (mut pace, mut now) = (Pace::default(), crate::media::moment());
        for _ in 0..1000 {
            pace.note(now, now + work, datagrams);
            now += distance;
        }
        pace.pause(now)
    }

    #[test]
    fn a_few_calls_are_forwarded_at_once_and_many_gather() {
        let micros = Duration::from_micros;
        assert_eq!(after(micros(2500), 1, micros(30)), None);
        assert_eq!(after(micros(100), 1, micros(20)), Some(PAUSE));
    }

    #[test]
    fn a_busy_thread_does_not_rest() {
        let micros = Duration::from_micros;
        assert_eq!(after(micros(1000), 100, micros(700)), None);
        assert_eq!(after(micros(1000), 60, micros(400)), Some(PAUSE));
    }

    #[test]
    fn who_finds_nothing_waits_for_the_next_datagram() {
        let micros = Duration::from_micros;
        let (mut pace, mut now) = (Pace::default(), crate::media::moment());
        for _ in 0..1000 {
            pace.note(now, now + micros(20), 1);
            now += micros(100);
        }
        assert!(pace.pause(now).is_some());
        pace.note(now, now, 0);
        assert_eq!(pace.pause(now), None);
        pace.note(now, now + micros(20), 1);
        assert_eq!(pace.pause(now + Duration::from_secs(1)), None);
    }
}
