//! Trying more than is sent: a short burst of padding at a higher rate shows whether the path takes it.
//!
//! What is forwarded decides how much is sent, so without this a receiver whose line recovered would stay
//! with the small picture for ever: nothing larger was ever tried.

/// Length of a burst, in microseconds. Shorter is lost in the jitter, longer fills queues.
const LENGTH: u64 = 45_000;
/// Padding is sent in steps of this length, in microseconds.
const STEP: u64 = 5_000;
/// Bytes of a burst at least: five packets of padding.
const MIN_BYTES: u64 = 5 * 280;
/// Bytes of a burst at most: 45 ms at 9 Mbit/s.
const MAX_BYTES: u64 = 50_000;
/// How long the feedback on a burst may take, in microseconds.
const PATIENCE: u64 = 1_500_000;
/// Distance of bursts: after one that got through, after the first that did not, and at most.
const AFTER_SUCCESS: u64 = 100_000;
const AFTER_FAILURE: u64 = 1_500_000;
const LONGEST_WAIT: u64 = 4_000_000;

/// See the module. Times in microseconds.
#[derive(Debug, Default)]
pub struct Prober {
    burst: Option<Burst>,
    last_id: u8,
    not_before: u64,
    wait: u64,
}

#[derive(Debug, Clone, Copy)]
struct Burst {
    id: u8,
    /// Bits per second aimed at.
    rate: f64,
    begin: u64,
    wanted: u64,
    sent: Tally,
    arrived: Tally,
    ended: Option<u64>,
}

/// Packets over time. Times as given: of the sender for what was sent, of the receiver for what arrived.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    packets: u32,
    bytes: u64,
    first: i64,
    last: i64,
    first_size: u64,
    last_size: u64,
}

impl Tally {
    fn add(&mut self, at: i64, size: u64) {
        if self.packets == 0 || at < self.first {
            (self.first, self.first_size) = (at, size);
        }
        if self.packets == 0 || at >= self.last {
            (self.last, self.last_size) = (at, size);
        }
        self.packets += 1;
        self.bytes += size;
    }
}

impl Prober {
    /// The probe that packets sent now belong to; 0 is none.
    #[must_use]
    #[inline]
    pub fn current(&self) -> u8 {
        match &self.burst {
            Some(burst) if burst.ended.is_none() => burst.id,
            Some(_) | None => 0,
        }
    }

    /// Whether a burst is on its way or its feedback is awaited.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.burst.is_some()
    }

    /// No burst before `at`.
    pub fn hold_until(&mut self, at: u64) {
        self.not_before = self.not_before.max(at);
    }

    /// Something changed that makes trying at once worth it.
    pub const fn hurry(&mut self, at: u64) {
        self.not_before = at;
        self.wait = 0;
    }

    /// Starts a burst at `rate` bits per second if it is time for one.
    pub fn start(&mut self, now: u64, rate: f64) {
        if self.burst.is_some() || now < self.not_before {
            return;
        }
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let bytes = (rate * LENGTH as f64 / 8e6) as u64;
        self.burst = Some(Burst {
            id: self.last_id,
            rate,
            begin: now,
            wanted: bytes.clamp(MIN_BYTES, MAX_BYTES),
            sent: Tally::default(),
            arrived: Tally::default(),
            ended: None,
        });
    }

    /// When [`padding`](Self::padding) has something to say.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        let burst = self.burst.as_ref()?;
        match burst.ended {
            Some(ended) => Some(ended + PATIENCE),
            None if burst.sent.packets == 0 => Some(burst.begin),
            None => Some(burst.sent.last as u64 + STEP),
        }
    }

    /// Bytes of padding to send at `now`; 0 for nothing.
    pub fn padding(&mut self, now: u64) -> u64 {
        let Some(burst) = &mut self.burst else { return 0 };
        if let Some(ended) = burst.ended {
            if now >= ended + PATIENCE {
                self.failed(now);
            }
            return 0;
        }
        if burst.sent.bytes >= burst.wanted {
            burst.ended = Some(now);
            return 0;
        }
        let planned = (burst.rate * (now - burst.begin) as f64 / 8e6) as u64;
        planned
            .clamp(burst.sent.bytes.max(1), burst.wanted)
            .saturating_sub(burst.sent.bytes)
    }

    /// Nothing can be sent as padding.
    pub fn give_up(&mut self, now: u64) {
        self.failed(now);
    }

    /// A packet of the burst was sent.
    #[inline]
    pub fn sent(&mut self, now: u64, size: u16) {
        if let Some(burst) = &mut self.burst
            && burst.ended.is_none()
        {
            burst.sent.add(now as i64, u64::from(size));
            if burst.sent.bytes >= burst.wanted {
                burst.ended = Some(now);
            }
        }
    }

    /// A packet of probe `id` arrived.
    pub fn arrived(&mut self, id: u8, arrived: i64, size: u16) {
        if let Some(burst) = &mut self.burst
            && burst.id == id
        {
            burst.arrived.add(arrived, u64::from(size));
        }
    }

    /// The rate that the path was seen to take, once all of the burst is reported on. `past` says that
    /// something sent after the burst has been reported on. `estimate` is what it is compared with.
    pub fn result(&mut self, now: u64, past: bool, estimate: f64) -> Option<f64> {
        let burst = self.burst.as_ref()?;
        burst.ended?;
        if burst.arrived.packets < burst.sent.packets && !past {
            return None;
        }
        let (sent, arrived) = (burst.sent, burst.arrived);
        let whole = arrived.packets >= 4 && arrived.bytes * 10 >= sent.bytes * 8;
        let rate = whole.then(|| rate_of(sent, arrived)).flatten();
        match rate {
            Some(rate) if rate > estimate * 1.05 => {
                self.burst = None;
                self.wait = 0;
                self.not_before = now + AFTER_SUCCESS;
            }
            Some(_) | None => self.failed(now),
        }
        rate
    }

    fn failed(&mut self, now: u64) {
        self.burst = None;
        self.wait = (self.wait * 2).clamp(AFTER_FAILURE, LONGEST_WAIT);
        self.not_before = now + self.wait;
    }
}

/// The slower of sending and arriving; `None` if it cannot be told.
fn rate_of(sent: Tally, arrived: Tally) -> Option<f64> {
    let sent_for = (sent.last - sent.first) as f64;
    let arrived_for = (arrived.last - arrived.first) as f64;
    if sent_for <= 0.0 || arrived_for <= 0.0 || arrived_for > 1e6 {
        return None;
    }
    let sent_rate = (sent.bytes - sent.last_size) as f64 * 8e6 / sent_for;
    let arrived_rate = (arrived.bytes - arrived.first_size) as f64 * 8e6 / arrived_for;
    if arrived_rate > 2.0 * sent_rate {
        // A queue let go of it at once: says nothing about the rate.
        return None;
    }
    // Slower on arrival: this is the capacity, and a little less leaves the queue empty.
    Some(if arrived_rate < 0.9 * sent_rate {
        0.95 * arrived_rate
    } else {
        sent_rate.min(arrived_rate)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends one burst through a bottleneck and returns what it says, and the bytes.
    fn burst(prober: &mut Prober, from: u64, rate: f64, capacity: f64) -> (Option<f64>, u64) {
        prober.start(from, rate);
        let (mut now, mut bytes, mut free) = (from, 0, 0.0_f64);
        while prober.current() != 0 {
            let mut left = prober.padding(now);
            while left > 0 {
                let size = 280u16;
                prober.sent(now, size);
                bytes += u64::from(size);
                left = left.saturating_sub(u64::from(size));
                free = free.max(now as f64) + f64::from(size) * 8e6 / capacity;
                prober.arrived(prober.last_id, free as i64 + 20_000, size);
            }
            now += 1000;
        }
        (prober.result(now, true, rate / 2.0), bytes)
    }

    #[test]
    fn a_burst_measures_the_smaller_of_its_rate_and_the_capacity() {
        for (rate, capacity, low, high) in [
            (1e6, 1e8, 0.8e6, 1.3e6),
            (4e6, 1e8, 3.4e6, 4.6e6),
            (4e6, 2.5e6, 2.0e6, 2.6e6),
            (6e5, 1e8, 4e5, 9e5),
        ] {
            let (found, bytes) = burst(&mut Prober::default(), 1_000_000, rate, capacity);
            let found = found.unwrap();
            assert!((low..=high).contains(&found), "{found} of {rate} at {capacity}");
            assert!(bytes <= MAX_BYTES + 280, "{bytes}");
        }
    }

    #[test]
    fn failures_space_out_and_stay_within_the_recovery_time() {
        let mut prober = Prober::default();
        let (mut now, mut starts) = (0, Vec::new());
        while now < 30_000_000 {
            prober.start(now, 1e6);
            if prober.current() != 0 {
                starts.push(now);
                burst(&mut prober, now, 1e6, 3e5);
                assert!(!prober.is_busy());
            }
            now += 10_000;
        }
        let gaps: Vec<u64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap <= LONGEST_WAIT + 100_000), "{gaps:?}");
        assert!(gaps[2..].iter().all(|gap| *gap >= 3_900_000), "{gaps:?}");
    }

    #[test]
    fn p19_a_burst_that_is_never_reported_on_ends() {
        let mut prober = Prober::default();
        prober.start(0, 1e6);
        prober.sent(0, 30_000);
        assert_eq!(prober.result(10, false, 1.0), None);
        assert!(prober.is_busy());
        assert_eq!(prober.padding(PATIENCE + 1), 0);
        assert!(!prober.is_busy());
    }
}
