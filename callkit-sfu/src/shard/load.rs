//! How busy a shard is by its own measurement, and when that is too much for new calls.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Distance of measurements.
const WINDOW: Duration = Duration::from_millis(500);
/// Share of the limit below which an overload is over. Nearer, and refusing and taking would alternate.
const RECOVERED: f64 = 0.8;
/// Measurements in a row that have to be below it.
const CALM_WINDOWS: u32 = 4;
/// One datagram in so many may be dropped by the kernel before that counts as overload.
const TOLERATED_DROPS: u64 = 1000;

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Load {
    /// Share of a core, smoothed.
    pub(crate) busy: f64,
    /// Datagrams received per second.
    pub(crate) datagrams: u32,
    /// Whether new calls would harm the old ones.
    pub(crate) is_over: bool,
}

/// What others see of it.
#[derive(Debug, Default)]
pub(crate) struct SharedLoad {
    datagrams: AtomicU32,
    is_over: AtomicBool,
}

impl SharedLoad {
    pub(crate) fn set(&self, load: Load) {
        self.datagrams.store(load.datagrams, Ordering::Relaxed);
        self.is_over.store(load.is_over, Ordering::Relaxed);
    }

    pub(crate) fn datagrams(&self) -> u32 {
        self.datagrams.load(Ordering::Relaxed)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// Turns counters of the thread into [`Load`].
#[derive(Debug)]
pub(crate) struct LoadMeter {
    /// Share of a core at which new calls are refused.
    limit: f64,
    since: Instant,
    cpu: Duration,
    datagrams: u64,
    dropped: u32,
    load: Load,
    calm: u32,
}

impl LoadMeter {
    /// Nothing measured. New calls are refused from `limit` of a core on.
    pub(crate) fn new(now: Instant, limit: f64) -> Self {
        Self {
            limit,
            since: now,
            cpu: Duration::ZERO,
            datagrams: 0,
            dropped: 0,
            load: Load::default(),
            calm: 0,
        }
    }

    /// When the next [`sample`](Self::sample) is due, `datagrams` having been received since the start; `None`
    /// while there is nothing to measure.
    pub(crate) fn due(&self, datagrams: u64) -> Option<Instant> {
        let was_idle = self.load.datagrams == 0 && self.load.busy < 0.01 && !self.load.is_over;
        (!was_idle || datagrams != self.datagrams).then(|| self.since + WINDOW)
    }

    /// Takes the counters since the start of the thread: processor time, datagrams received, datagrams that the kernel
    /// dropped.
    pub(crate) fn sample(&mut self, now: Instant, cpu: Duration, datagrams: u64, dropped: u32) -> Load {
        let window = now.saturating_duration_since(self.since).max(WINDOW);
        let busy = cpu.saturating_sub(self.cpu).div_duration_f64(window);
        let (received, lost) = (
            datagrams.saturating_sub(self.datagrams),
            u64::from(dropped.wrapping_sub(self.dropped)),
        );
        (self.since, self.cpu, self.datagrams, self.dropped) = (now, cpu, datagrams, dropped);
        self.load.busy = f64::midpoint(self.load.busy, busy);
        self.load.datagrams = (received as f64 / window.as_secs_f64()) as u32;
        let loses = lost * TOLERATED_DROPS > received;
        if self.load.busy >= self.limit || loses {
            self.calm = 0;
            self.load.is_over = true;
        } else if self.load.is_over && self.load.busy < self.limit * RECOVERED {
            self.calm += 1;
            self.load.is_over = self.calm < CALM_WINDOWS;
        } else {
            self.calm = 0;
        }
        self.load
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thread {
        meter: LoadMeter,
        now: Instant,
        cpu: Duration,
        datagrams: u64,
        dropped: u32,
    }

    impl Thread {
        fn new() -> Self {
            let now = crate::media::moment();
            Self {
                meter: LoadMeter::new(now, 0.9),
                now,
                cpu: Duration::ZERO,
                datagrams: 0,
                dropped: 0,
            }
        }

        fn run(&mut self, windows: u32, busy: f64, dropped: u32) -> Load {
            let mut load = Load::default();
            for _ in 0..windows {
                self.now += WINDOW;
                self.cpu += WINDOW.mul_f64(busy);
                self.datagrams += 10_000;
                self.dropped += dropped;
                load = self
                    .meter
                    .sample(self.now, self.cpu, self.datagrams, self.dropped);
            }
            load
        }
    }

    #[test]
    fn overload_starts_at_the_limit_and_ends_well_below_it_and_not_at_once() {
        let mut thread = Thread::new();
        assert!(!thread.run(20, 0.85, 0).is_over);
        assert!(thread.run(10, 0.99, 0).is_over);
        assert!(
            thread.run(60, 0.8, 0).is_over,
            "between the limits nothing changes"
        );
        assert!(thread.run(CALM_WINDOWS - 1, 0.3, 0).is_over);
        assert!(!thread.run(1, 0.3, 0).is_over);
    }

    #[test]
    fn a_peak_of_one_window_is_no_overload() {
        let mut thread = Thread::new();
        thread.run(10, 0.4, 0);
        assert!(!thread.run(1, 1.0, 0).is_over);
    }

    #[test]
    fn datagrams_that_are_not_taken_in_time_are_an_overload_whatever_the_share() {
        let mut thread = Thread::new();
        assert!(!thread.run(5, 0.2, 9).is_over);
        assert!(thread.run(1, 0.2, 20).is_over);
        assert!(!thread.run(CALM_WINDOWS, 0.2, 0).is_over);
    }

    #[test]
    fn an_idle_thread_is_not_woken_to_measure_and_is_not_busy_for_ever() {
        let mut thread = Thread::new();
        thread.run(10, 1.0, 0);
        let mut windows = 0;
        while let Some(due) = thread.meter.due(thread.datagrams) {
            thread.now = due;
            let load = thread
                .meter
                .sample(thread.now, thread.cpu, thread.datagrams, thread.dropped);
            windows += 1;
            assert!(windows < 30, "{load:?}");
        }
        assert!(!thread.meter.load.is_over);
    }
}
