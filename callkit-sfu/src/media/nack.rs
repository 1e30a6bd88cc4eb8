//! Asking the publisher for lost video packets again: which, when and how often.
//!
//! A gap is asked for after a tolerance that follows the reordering seen on this path, then once per round
//! trip with growing distance, and given up after a fixed number of tries. What comes back over the
//! retransmission stream closes the gap like the original.

use std::time::{Duration, Instant};

/// Missing packets tracked; a larger hole is left to a key frame.
pub const MAX_MISSING: usize = 256;
/// Most requests for one packet. With the growing distance they span more than ten round trips.
const MAX_TRIES: u8 = 8;
/// No decoder waits longer for a packet.
const MAX_AGE: Duration = Duration::from_secs(2);
/// Bounds of the reordering tolerance. Lower asks needlessly on Wi-Fi, higher delays each repair.
const TOLERANCE: (Duration, Duration) = (Duration::from_millis(8), Duration::from_millis(80));
/// Round trip before one is measured.
const ASSUMED_RTT: Duration = Duration::from_millis(100);
/// Bounds of the distance between two requests for the same packet.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Requests due within this time go out together.
const TOGETHER: Duration = Duration::from_millis(4);

#[derive(Debug, Clone, Copy)]
struct Missing {
    number: u64,
    /// Since when, and when to ask next, in microseconds since the epoch of the generator: wraps after 71 minutes,
    /// and nothing is missing for longer than [`MAX_AGE`].
    since: u32,
    next: u32,
    tries: u8,
}

/// What a packet meant to the gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// Nothing was missing, or what is missing is being asked for.
    Tracked,
    /// A packet that had been asked for is there.
    Repaired,
    /// The hole is too large: only a key frame helps.
    TooLarge,
}

/// The gaps of one stream.
#[derive(Debug)]
pub struct NackGenerator {
    /// Ascending by number, never more than [`MAX_MISSING`]; takes its memory with the first gap.
    missing: Vec<Missing>,
    epoch: Option<Instant>,
    tolerance: Duration,
    relaxed: Option<Instant>,
    due: Option<Instant>,
    given_up: u64,
}

impl Default for NackGenerator {
    fn default() -> Self {
        Self::new()
    }
}

impl NackGenerator {
    /// No gaps.
    #[must_use]
    pub fn new() -> Self {
        Self {
            missing: Vec::new(),
            epoch: None,
            tolerance: TOLERANCE.0,
            relaxed: None,
            due: None,
            given_up: 0,
        }
    }

    /// Forgets all gaps.
    pub fn clear(&mut self) {
        self.missing.clear();
        self.due = None;
    }

    /// Packets that were never repaired.
    #[must_use]
    pub const fn given_up(&self) -> u64 {
        self.given_up
    }

    /// When to call [`poll`](Self::poll).
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes note of a new packet `number` when `highest` was the highest before it. `retransmitted` says
    /// that it came on request, so that its delay says nothing about reordering.
    pub fn note(&mut self, now: Instant, highest: Option<u64>, number: u64, retransmitted: bool) -> Gap {
        let Some(highest) = highest else {
            return Gap::Tracked;
        };
        if number > highest {
            let gap = (number - highest - 1) as usize;
            if gap == 0 {
                return Gap::Tracked;
            }
            if gap > MAX_MISSING - self.missing.len() {
                self.given_up += (self.missing.len() + gap) as u64;
                self.clear();
                return Gap::TooLarge;
            }
            let next = now + self.tolerance;
            let (since, next_at) = (self.micros(now), self.micros(next));
            if self.missing.capacity() == 0 {
                self.missing.reserve_exact(MAX_MISSING);
            }
            self.missing.extend((highest + 1..number).map(|number| Missing {
                number,
                since,
                next: next_at,
                tries: 0,
            }));
            self.due = Some(self.due.map_or(next, |due| due.min(next)));
            return Gap::Tracked;
        }
        let Ok(place) = self
            .missing
            .binary_search_by_key(&number, |missing| missing.number)
        else {
            return Gap::Tracked;
        };
        let missing = self.missing.remove(place);
        if self.missing.is_empty() {
            self.due = None;
        }
        if !retransmitted {
            let late = since(missing.since, self.micros(now)) * 5 / 4;
            self.tolerance = self.tolerance.max(late).min(TOLERANCE.1);
            self.relaxed = Some(now);
        }
        if missing.tries > 0 {
            Gap::Repaired
        } else {
            Gap::Tracked
        }
    }

    /// Gives the numbers to ask for at `now`, in ascending order.
    pub fn poll(&mut self, now: Instant, rtt: Option<Duration>, mut ask: impl FnMut(u16)) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        if self
            .relaxed
            .is_none_or(|relaxed| now.saturating_duration_since(relaxed) > Duration::from_secs(1))
        {
            self.relaxed = Some(now);
            self.tolerance = (self.tolerance * 9 / 10).max(TOLERANCE.0);
        }
        let first_retry = (rtt.unwrap_or(ASSUMED_RTT) * 5 / 4).clamp(RETRY.0, RETRY.1);
        let before = self.missing.len();
        let at = self.micros(now);
        self.missing.retain_mut(|missing| {
            if until(at, missing.next) > TOGETHER {
                return true;
            }
            let age = since(missing.since, at);
            if missing.tries >= MAX_TRIES || age > MAX_AGE {
                return false;
            }
            ask(missing.number as u16);
            // Half a retry more each time: a path that does not answer is not made worse.
            let retry = (first_retry + first_retry * u32::from(missing.tries) / 2).min(RETRY.1);
            missing.next = at.wrapping_add(retry.as_micros() as u32);
            missing.tries += 1;
            true
        });
        self.given_up += (before - self.missing.len()) as u64;
        let next = self.missing.iter().map(|missing| until(at, missing.next)).min();
        self.due = next.map(|next| now + next);
    }

    /// `moment` in microseconds since the epoch, which the first one called for becomes.
    fn micros(&mut self, moment: Instant) -> u32 {
        let epoch = *self.epoch.get_or_insert(moment);
        moment.saturating_duration_since(epoch).as_micros() as u32
    }
}

/// Time from `earlier` to `now`, in microseconds of the circle.
fn since(earlier: u32, now: u32) -> Duration {
    Duration::from_micros(u64::from(now.wrapping_sub(earlier)))
}

/// Time from `now` to `later`; zero if that has passed.
fn until(now: u32, later: u32) -> Duration {
    let ahead = later.wrapping_sub(now) as i32;
    Duration::from_micros(u64::try_from(ahead).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn ask(nack: &mut NackGenerator, now: Instant) -> Vec<u16> {
        let mut asked = Vec::new();
        nack.poll(now, Some(ms(40)), |number| asked.push(number));
        asked
    }

    #[test]
    fn a_gap_is_asked_for_after_the_tolerance_and_again_after_a_round_trip() {
        let start = crate::media::moment();
        let mut nack = NackGenerator::new();
        assert_eq!(nack.note(start, Some(100), 103, false), Gap::Tracked);
        assert!(ask(&mut nack, start).is_empty());
        assert_eq!(ask(&mut nack, start + ms(8)), [101, 102]);
        assert!(ask(&mut nack, start + ms(40)).is_empty());
        assert_eq!(nack.note(start + ms(50), Some(103), 101, true), Gap::Repaired);
        assert_eq!(ask(&mut nack, start + ms(58)), [102]);
    }

    #[test]
    fn no_packet_is_asked_for_more_often_than_the_bound_and_silence_follows() {
        let mut now = crate::media::moment();
        let mut nack = NackGenerator::new();
        nack.note(now, Some(100), 102, false);
        let mut asked = 0;
        while let Some(due) = nack.due() {
            assert!(due > now);
            now = due;
            asked += ask(&mut nack, now).len();
        }
        assert!(asked <= usize::from(MAX_TRIES) && asked > 3, "{asked}");
        assert_eq!(nack.given_up(), 1);
    }

    #[test]
    fn a_hole_beyond_the_bound_is_left_to_a_key_frame() {
        let now = crate::media::moment();
        let mut nack = NackGenerator::new();
        assert_eq!(
            nack.note(now, Some(1000), 1001 + MAX_MISSING as u64, false),
            Gap::Tracked
        );
        assert_eq!(
            nack.note(
                now,
                Some(1001 + MAX_MISSING as u64),
                1300 + MAX_MISSING as u64,
                false
            ),
            Gap::TooLarge
        );
        assert_eq!(nack.due(), None);
    }

    #[test]
    fn p14_reordering_alone_is_hardly_ever_asked_for() {
        let start = crate::media::moment();
        let mut nack = NackGenerator::new();
        let mut random = callkit_core::id::IdSource::seeded(14);
        // 300 packets a second for 20 s, 5 % of them up to 30 ms late, none lost.
        let mut arrivals: Vec<(Instant, u64)> = (0..6000u64)
            .map(|at| {
                let late = if random.next_u64().is_multiple_of(20) {
                    random.next_u64() % 30_000
                } else {
                    0
                };
                (start + Duration::from_micros(at * 3333 + late), 70_000 + at)
            })
            .collect();
        arrivals.sort_unstable();
        let (mut highest, mut asked) = (None, 0);
        for (now, number) in arrivals {
            while let Some(due) = nack.due().filter(|due| *due <= now) {
                asked += ask(&mut nack, due).len();
            }
            nack.note(now, highest, number, false);
            highest = highest.max(Some(number));
        }
        assert!(asked < 60, "{asked} of 6000 asked for in vain");
    }

    proptest! {
        #[test]
        fn any_order_of_numbers_keeps_the_bounds(numbers in prop::collection::vec(1u64..2000, 1..500)) {
            let mut now = crate::media::moment();
            let mut nack = NackGenerator::new();
            let mut highest = None;
            for number in numbers {
                now += ms(3);
                nack.note(now, highest, number, number % 2 == 0);
                highest = highest.max(Some(number));
                let asked = ask(&mut nack, now);
                prop_assert!(asked.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(nack.missing.len() <= MAX_MISSING);
                prop_assert!(nack.missing.windows(2).all(|pair| pair[0].number < pair[1].number));
                prop_assert!(nack.due().is_none_or(|due| due > now));
            }
        }
    }
}
