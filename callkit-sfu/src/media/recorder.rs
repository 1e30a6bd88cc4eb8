//! Arrival times of a publisher's packets by their transport-wide number, reported back to its bandwidth
//! estimator.

use std::time::{Duration, Instant};

use crate::rtp::Unwrapper;
use crate::rtp::transport_cc::{TICK_MICROS, write_feedback};

/// Time from the first unreported packet to its report. Longer makes the sender's estimate sluggish,
/// shorter costs packets.
const INTERVAL: Duration = Duration::from_millis(60);
/// Arrivals remembered: several intervals of the fastest publisher.
const WINDOW: u64 = 1024;
/// How far behind the newest a late packet still moves the next report back.
const LATE: u64 = 500;

/// Records arrivals of one participant; all its streams share the numbers.
#[derive(Debug)]
pub struct ArrivalRecorder {
    epoch: Instant,
    numbers: Unwrapper,
    /// Low half of the arrival in ticks since the epoch plus one, by number modulo the window; 0 means not
    /// arrived. It wraps after twelve days.
    arrivals: Box<[u32]>,
    /// Ticks of the arrival noted last.
    latest: u64,
    next: u64,
    number: u8,
    due: Option<Instant>,
}

impl ArrivalRecorder {
    /// Reports times since `epoch`.
    #[must_use]
    pub fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            numbers: Unwrapper::default(),
            arrivals: vec![0; WINDOW as usize].into_boxed_slice(),
            latest: 0,
            next: 0,
            number: 0,
            due: None,
        }
    }

    /// When to call [`poll`](Self::poll).
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes note of an arrival.
    pub fn note(&mut self, now: Instant, sequence: u16) {
        let number = self.numbers.peek(sequence);
        match self.numbers.highest() {
            None => self.next = number,
            Some(highest) if number > highest => {
                if number - highest >= WINDOW {
                    // The sender was away or jumped; nothing useful can be said about the hole.
                    self.arrivals.fill(0);
                    self.next = number;
                } else {
                    for skipped in highest + 1..number {
                        self.arrivals[(skipped % WINDOW) as usize] = 0;
                    }
                    self.arrivals[(number % WINDOW) as usize] = 0;
                }
                self.next = self.next.max((number + 1).saturating_sub(WINDOW));
            }
            Some(highest) if highest - number > LATE => return,
            Some(_) => {}
        }
        self.numbers.note(sequence);
        let slot = &mut self.arrivals[(number % WINDOW) as usize];
        if *slot != 0 {
            // A duplicate: the first arrival counts.
            return;
        }
        let ticks = now.saturating_duration_since(self.epoch).as_micros() as u64 / TICK_MICROS;
        // The one value in four billion that would read as nothing is a quarter of a millisecond late.
        *slot = ((ticks + 1) as u32).max(1);
        self.latest = ticks + 1;
        self.next = self.next.min(number);
        if self.due.is_none() {
            self.due = Some(now + INTERVAL);
        }
    }

    /// Writes the feedback due at `now` into `buffer`, packet by packet, and hands each to `send`.
    pub fn poll(
        &mut self,
        now: Instant,
        sender: u32,
        media: u32,
        buffer: &mut [u8],
        mut send: impl FnMut(&[u8]),
    ) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        let Some(highest) = self.numbers.highest() else {
            return;
        };
        while self.next <= highest {
            let arrivals = (self.next..=highest).map(|number| {
                let slot = self.arrivals[(number % WINDOW) as usize];
                // All that is remembered is less than half a round older than the latest.
                let age = (self.latest as u32).wrapping_sub(slot);
                (slot != 0).then(|| self.latest.saturating_sub(u64::from(age) + 1))
            });
            let (length, covered) =
                write_feedback(buffer, sender, media, self.next as u16, self.number, arrivals);
            if covered == 0 {
                // The buffer cannot even take one status.
                self.next = highest + 1;
                return;
            }
            self.next += covered as u64;
            if length > 0 {
                self.number = self.number.wrapping_add(1);
                send(&buffer[..length]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::rtcp::{Compound, Rtcp};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn reported(recorder: &mut ArrivalRecorder, now: Instant) -> Vec<(u16, Option<i64>)> {
        let mut buffer = [0u8; 1200];
        let mut all = Vec::new();
        recorder.poll(now, 1, 2, &mut buffer, |packet| {
            let Some(Rtcp::TransportCc(feedback)) = Compound::new(packet).next() else {
                panic!()
            };
            all.extend(
                feedback
                    .statuses()
                    .map(|status| (status.sequence, status.arrival)),
            );
        });
        all
    }

    #[test]
    fn a_report_follows_the_first_arrival_by_the_interval_and_silence_follows_the_last() {
        let start = crate::media::moment();
        let mut recorder = ArrivalRecorder::new(start);
        assert_eq!(recorder.due(), None);
        recorder.note(start, 5);
        recorder.note(start + Duration::from_millis(10), 7);
        assert_eq!(recorder.due(), Some(start + INTERVAL));
        assert!(reported(&mut recorder, start + Duration::from_millis(59)).is_empty());
        assert_eq!(
            reported(&mut recorder, start + INTERVAL),
            [(5, Some(0)), (6, None), (7, Some(40))]
        );
        assert_eq!(recorder.due(), None);
    }

    #[test]
    fn p18_duplicates_keep_the_first_arrival_and_late_packets_are_reported_again_from_there() {
        let start = crate::media::moment();
        let at = |millis| start + Duration::from_millis(millis);
        let mut recorder = ArrivalRecorder::new(start);
        recorder.note(at(0), 65_535);
        recorder.note(at(5), 65_535);
        recorder.note(at(6), 1);
        assert_eq!(
            reported(&mut recorder, at(60)),
            [(65_535, Some(0)), (0, None), (1, Some(24))]
        );
        recorder.note(at(70), 0);
        assert_eq!(reported(&mut recorder, at(130)), [(0, Some(280)), (1, Some(24))]);
    }

    #[test]
    fn p18_a_jump_of_the_numbers_starts_over() {
        let start = crate::media::moment();
        let mut recorder = ArrivalRecorder::new(start);
        recorder.note(start, 1);
        recorder.note(start, 20_000);
        recorder.note(start, 2);
        assert_eq!(reported(&mut recorder, start + INTERVAL), [(20_000, Some(0))]);
    }

    proptest! {
        #[test]
        fn p18_every_arrival_is_reported_with_its_time(
            first: u16, events in prop::collection::vec((0u16..30, 0u64..40_000, prop::bool::weighted(0.9)), 1..300)
        ) {
            let start = crate::media::moment();
            let mut recorder = ArrivalRecorder::new(start);
            let (mut sequence, mut micros) = (first, 0);
            let (mut expected, mut got) = (BTreeMap::new(), BTreeMap::new());
            for (step, wait, arrives) in events {
                sequence = sequence.wrapping_add(1 + step);
                micros += wait;
                let now = start + Duration::from_micros(micros);
                got.extend(reported(&mut recorder, now).into_iter().filter_map(|(number, at)| Some((number, at?))));
                if arrives {
                    recorder.note(now, sequence);
                    expected.insert(sequence, (micros / TICK_MICROS) as i64);
                }
            }
            let end = start + Duration::from_micros(micros) + INTERVAL;
            got.extend(reported(&mut recorder, end).into_iter().filter_map(|(number, at)| Some((number, at?))));
            prop_assert_eq!(got, expected);
        }
    }
}
