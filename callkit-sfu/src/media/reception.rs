//! What arrived of one stream: duplicates, late packets, numbers of padding packets taken out, and the
//! figures of a receiver report.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtp::Unwrapper;
use crate::rtp::rtcp::Block;

/// Sequence numbers remembered to tell duplicates. More than a second of the fastest stream.
const WINDOW: u64 = 1024;
/// Old packets in a row after which the sender is taken to have started its numbers anew.
const RESTART_AFTER: u32 = 32;
/// Padding packets remembered one by one; a packet older than all of them cannot be renumbered.
const PADDING_MEMORY: usize = 128;

/// What a sequence number turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Seen before.
    Duplicate,
    /// First time, with its extended number.
    New(u64),
    /// As `New`, after the sender started its numbers anew: nothing before it continues.
    Restarted(u64),
    /// Too far behind to know.
    TooOld,
}

/// The sequence numbers of one stream.
#[derive(Debug)]
pub struct ReceiveWindow {
    numbers: Unwrapper,
    seen: [u64; (WINDOW / 64) as usize],
    old_in_a_row: u32,
    /// Numbers of padding packets in ascending order, and how many there were before them.
    padding: VecDeque<u64>,
    padding_before: u64,
    /// Highest number that is no longer in `padding`.
    forgotten: u64,
}

impl Default for ReceiveWindow {
    fn default() -> Self {
        Self::new()
    }
}

impl ReceiveWindow {
    /// Nothing received yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            numbers: Unwrapper::default(),
            seen: [0; (WINDOW / 64) as usize],
            old_in_a_row: 0,
            padding: VecDeque::new(),
            padding_before: 0,
            forgotten: 0,
        }
    }

    /// Highest extended number received.
    #[must_use]
    pub const fn highest(&self) -> Option<u64> {
        self.numbers.highest()
    }

    /// Takes note of `sequence`.
    pub fn accept(&mut self, sequence: u16) -> Arrival {
        let number = self.numbers.peek(sequence);
        let Some(highest) = self.numbers.highest() else {
            self.numbers.note(sequence);
            self.mark(number);
            return Arrival::New(number);
        };
        if number > highest {
            for skipped in (highest + 1..=number).take(WINDOW as usize) {
                self.clear(skipped);
            }
            if number - highest > WINDOW {
                self.seen = [0; (WINDOW / 64) as usize];
            }
            self.numbers.note(sequence);
        } else if highest - number >= WINDOW {
            self.old_in_a_row += 1;
            if self.old_in_a_row < RESTART_AFTER {
                return Arrival::TooOld;
            }
            // The same number one round later: still ascending for everything that was derived.
            let number = (highest & !0xffff) + 0x1_0000 + u64::from(sequence);
            self.numbers = Unwrapper::at(number);
            self.seen = [0; (WINDOW / 64) as usize];
            self.old_in_a_row = 0;
            self.mark(number);
            return Arrival::Restarted(number);
        } else if self.is_marked(number) {
            self.old_in_a_row = 0;
            return Arrival::Duplicate;
        }
        self.old_in_a_row = 0;
        self.mark(number);
        Arrival::New(number)
    }

    /// The number of a packet after the padding packets before it are taken out. `None` if it is too old
    /// to tell.
    #[must_use]
    pub fn compact(&self, number: u64) -> Option<u64> {
        if number <= self.forgotten {
            return None;
        }
        let before = match self.padding.back() {
            None => 0,
            Some(last) if *last < number => self.padding.len(),
            Some(_) => self.padding.partition_point(|padding| *padding < number),
        };
        Some(number - self.padding_before - before as u64)
    }

    /// Takes a padding packet out of the numbering. Refused (`false`) unless it is the newest of the stream:
    /// what followed it has been passed on under numbers that leave room for it.
    pub fn remove(&mut self, number: u64) -> bool {
        if self.numbers.highest() != Some(number) {
            return false;
        }
        if self.padding.is_empty() {
            // Once, with the first: most streams have none.
            self.padding.reserve_exact(PADDING_MEMORY);
        }
        if self.padding.len() == PADDING_MEMORY
            && let Some(oldest) = self.padding.pop_front()
        {
            self.padding_before += 1;
            self.forgotten = oldest;
        }
        self.padding.push_back(number);
        true
    }

    fn mark(&mut self, number: u64) {
        let place = number % WINDOW;
        self.seen[(place / 64) as usize] |= 1 << (place % 64);
    }

    fn clear(&mut self, number: u64) {
        let place = number % WINDOW;
        self.seen[(place / 64) as usize] &= !(1 << (place % 64));
    }

    const fn is_marked(&self, number: u64) -> bool {
        let place = number % WINDOW;
        self.seen[(place / 64) as usize] >> (place % 64) & 1 == 1
    }
}

/// Reception figures of one stream (RFC 3550 appendix A.3 and A.8). Retransmissions are not counted: the
/// report is about what the network lost.
#[derive(Debug, Default)]
pub struct Reception {
    first: Option<u64>,
    highest: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    fraction_lost: u8,
    /// Arrival and timestamp of the last packet in order, and the jitter in 1/16 timestamp units.
    last: Option<(Instant, u32)>,
    jitter: u64,
}

/// A change of transit time beyond this says that the sender paused or changed its clock, not that the
/// network varied.
const TRANSIT_JUMP: Duration = Duration::from_secs(5);

impl Reception {
    /// Takes note of a packet with extended `number` and `timestamp` in units of `rate` Hz.
    pub fn note(&mut self, now: Instant, number: u64, timestamp: u32, rate: u32) {
        self.received += 1;
        if self.first.is_none() {
            self.first = Some(number);
        }
        if number < self.highest {
            return;
        }
        self.highest = number;
        if let Some((before, previous)) = self.last {
            // All packets of one video frame have one timestamp but leave one after the other.
            if previous == timestamp {
                return;
            }
            let passed = units(now.saturating_duration_since(before), rate);
            let transit = passed
                .wrapping_sub(i64::from(timestamp.wrapping_sub(previous) as i32))
                .unsigned_abs();
            if transit < units(TRANSIT_JUMP, rate).unsigned_abs() {
                self.jitter += transit;
                self.jitter -= (self.jitter - transit + 8) / 16;
            }
        }
        self.last = Some((now, timestamp));
    }

    /// Packets received, without retransmissions.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Packets lost in all; negative if duplicates outweigh losses.
    #[must_use]
    pub fn lost(&self) -> i64 {
        self.expected() as i64 - self.received as i64
    }

    /// Share lost between the last two reports, in 1/256.
    #[must_use]
    pub const fn fraction_lost(&self) -> u8 {
        self.fraction_lost
    }

    /// Interarrival jitter in timestamp units.
    #[must_use]
    pub const fn jitter(&self) -> u32 {
        (self.jitter / 16) as u32
    }

    fn expected(&self) -> u64 {
        self.first
            .map_or(0, |first| (self.highest + 1).saturating_sub(first))
    }

    /// A report block about the time since the block before; `None` if nothing was expected in it.
    pub fn block(&mut self, ssrc: u32) -> Option<Block> {
        let expected = self.expected();
        let interval = expected.saturating_sub(self.expected_before);
        if interval == 0 && self.received == self.received_before {
            return None;
        }
        let got = self.received - self.received_before;
        let lost = interval.saturating_sub(got);
        self.fraction_lost = (lost * 256)
            .checked_div(interval)
            .map_or(0, |share| share.min(255) as u8);
        self.expected_before = expected;
        self.received_before = self.received;
        Some(Block {
            ssrc,
            fraction_lost: self.fraction_lost,
            lost: self.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            // Extended numbers start one round up.
            highest: self.highest.wrapping_sub(1 << 16) as u32,
            jitter: self.jitter(),
            last_report: 0,
            delay: 0,
        })
    }
}

fn units(duration: Duration, rate: u32) -> i64 {
    (duration.as_micros() as i64).saturating_mul(i64::from(rate)) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_number_is_new_once() {
        let mut window = ReceiveWindow::new();
        let Arrival::New(first) = window.accept(65_000) else {
            panic!()
        };
        assert_eq!(window.accept(65_000), Arrival::Duplicate);
        assert_eq!(window.accept(65_010), Arrival::New(first + 10));
        assert_eq!(window.accept(65_005), Arrival::New(first + 5));
        assert_eq!(window.accept(65_005), Arrival::Duplicate);
        assert_eq!(
            window.accept(65_010u16.wrapping_add(2000)),
            Arrival::New(first + 2010)
        );
        assert_eq!(window.accept(65_011), Arrival::TooOld);
        assert_eq!(
            window.accept(65_010u16.wrapping_add(1500)),
            Arrival::New(first + 1510)
        );
    }

    #[test]
    fn a_sender_that_starts_anew_is_followed_after_a_run_of_old_numbers() {
        let mut window = ReceiveWindow::new();
        window.accept(40_000);
        let before = window.highest().unwrap();
        let arrivals: Vec<_> = (0..40u16).map(|at| window.accept(20_000 + at)).collect();
        assert_eq!(arrivals[30], Arrival::TooOld);
        let Arrival::Restarted(number) = arrivals[31] else {
            panic!("{:?}", arrivals[31])
        };
        assert!(number > before);
        assert_eq!(arrivals[32], Arrival::New(number + 1));
    }

    #[test]
    fn p11_padding_leaves_no_gap_and_late_padding_keeps_its_number() {
        let mut window = ReceiveWindow::new();
        let number = |arrival| match arrival {
            Arrival::New(number) => number,
            other => panic!("{other:?}"),
        };
        let first = number(window.accept(10));
        let padding = number(window.accept(11));
        assert!(window.remove(padding));
        let next = number(window.accept(12));
        assert_eq!(window.compact(next), Some(first + 1));
        assert_eq!(window.compact(first), Some(first));
        let newest = number(window.accept(14));
        let late = number(window.accept(13));
        assert!(!window.remove(late));
        assert_eq!(window.compact(newest), Some(first + 3));
    }

    proptest! {
        #[test]
        fn compaction_never_gives_a_number_twice(
            start: u16, kinds in prop::collection::vec(0u8..4, 1..600), swaps in prop::collection::vec(0usize..600, 0..60)
        ) {
            let mut order: Vec<usize> = (0..kinds.len()).collect();
            for swap in swaps {
                if swap + 1 < order.len() {
                    order.swap(swap, swap + 1);
                }
            }
            let mut window = ReceiveWindow::new();
            let mut out = Vec::new();
            for at in order {
                let Arrival::New(number) = window.accept(start.wrapping_add(at as u16)) else {
                    return Err(TestCaseError::fail("no duplicates were sent"));
                };
                if kinds[at] == 0 && window.remove(number) {
                    continue;
                }
                if let Some(compact) = window.compact(number) {
                    out.push((at, compact));
                }
            }
            out.sort_unstable();
            for pair in out.windows(2) {
                prop_assert!(pair[0].1 < pair[1].1, "{:?}", pair);
            }
        }
    }

    #[test]
    fn p23_loss_and_jitter_follow_the_formulas() {
        let mut reception = Reception::default();
        let start = crate::media::moment();
        for at in 0..100u64 {
            if at % 10 == 9 {
                continue;
            }
            // Every other packet is 2 ms late: 180 units at 90 kHz.
            let late = Duration::from_millis((at % 2) * 2);
            let now = start + Duration::from_millis(at * 20) + late;
            reception.note(now, 70_000 + at, (at * 1800) as u32, 90_000);
        }
        let block = reception.block(5).unwrap();
        assert_eq!((block.lost, block.fraction_lost), (9, (9 * 256 / 99) as u8));
        assert!((140..=180).contains(&block.jitter), "{}", block.jitter);
        assert_eq!(reception.block(5), None);
        reception.note(start + Duration::from_secs(2), 70_100, 180_000, 90_000);
        let block = reception.block(5).unwrap();
        assert_eq!((block.lost, block.fraction_lost), (10, 128));
    }

    #[test]
    fn p23_a_pause_of_the_sender_is_not_jitter() {
        let mut reception = Reception::default();
        let start = crate::media::moment();
        reception.note(start, 100_000, 0, 48_000);
        reception.note(start + Duration::from_secs(60), 100_001, 960, 48_000);
        assert_eq!(reception.jitter(), 0);
    }
}
