//! What was sent to a receiver under which transport-wide number, until it is acknowledged. A ring of
//! fixed size: nothing is allocated per packet.

use crate::rtp::Unwrapper;

/// Packets remembered. At 1000 packets a second two seconds: feedback for older ones is of no use.
const REMEMBERED: usize = 2048;

/// A packet that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Extended transport-wide number.
    pub number: u64,
    /// When, in microseconds since the estimator began.
    pub at: u64,
    /// Bytes, with headers.
    pub size: u16,
    /// The probe that it was part of; 0 is none.
    pub probe: u8,
}

/// What a feedback means for a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrived, and that is news. `was_missing`: an earlier feedback had it as lost.
    Arrived {
        /// The packet.
        sent: Sent,
        /// An earlier feedback did not have it.
        was_missing: bool,
    },
    /// It had not arrived, and that is news.
    Missing,
    /// Known already, or not ours (P-18: duplicates and numbers never sent).
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Missing,
    Done,
}

/// One remembered packet, packed: the ring is the largest part of a receiver's estimator.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Low half of the extended number; with the ring place it is enough to tell one from another.
    number: u32,
    /// Microseconds since the start, low half: wraps after 71 minutes, far more than is remembered.
    at: u32,
    size: u16,
    probe: u8,
    state: State,
}

/// The packets last sent to one receiver.
#[derive(Debug)]
pub struct History {
    entries: Box<[Entry]>,
    /// Number sent last.
    numbers: Unwrapper,
    /// When the last packet was sent.
    last_at: u64,
}

impl Default for History {
    fn default() -> Self {
        let none = Entry {
            number: 0,
            at: 0,
            size: 0,
            probe: 0,
            state: State::Done,
        };
        Self {
            entries: vec![none; REMEMBERED].into_boxed_slice(),
            numbers: Unwrapper::default(),
            last_at: 0,
        }
    }
}

impl History {
    /// Remembers a packet at the cost of the oldest. `at` does not go back.
    #[inline]
    pub fn sent(&mut self, at: u64, number: u16, size: u16, probe: u8) {
        let number = self.numbers.note(number);
        self.last_at = at;
        self.entries[number as usize % REMEMBERED] = Entry {
            number: number as u32,
            at: at as u32,
            size,
            probe,
            state: State::Open,
        };
    }

    /// When the last packet was sent; 0 before the first.
    #[must_use]
    pub const fn last_at(&self) -> u64 {
        self.last_at
    }

    /// Takes note of what a feedback says about `number`.
    pub fn feedback(&mut self, number: u16, arrived: bool) -> Fate {
        let Some(highest) = self.numbers.highest() else {
            return Fate::Nothing;
        };
        let number = self.numbers.peek(number);
        if number > highest || highest - number >= REMEMBERED as u64 {
            return Fate::Nothing;
        }
        let entry = &mut self.entries[number as usize % REMEMBERED];
        if entry.number != number as u32 || entry.state == State::Done {
            return Fate::Nothing;
        }
        let was_missing = entry.state == State::Missing;
        if !arrived {
            entry.state = State::Missing;
            return if was_missing { Fate::Nothing } else { Fate::Missing };
        }
        entry.state = State::Done;
        let ago = (self.last_at as u32).wrapping_sub(entry.at);
        Fate::Arrived {
            sent: Sent {
                number,
                at: self.last_at - u64::from(ago).min(self.last_at),
                size: entry.size,
                probe: entry.probe,
            },
            was_missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p18_each_packet_is_news_once_and_strangers_never() {
        let mut history = History::default();
        assert_eq!(history.feedback(7, true), Fate::Nothing);
        for number in 0..3000u32 {
            history.sent(u64::from(number) * 1000, (65_000 + number) as u16, 100, 0);
        }
        let last = (65_000 + 2999u32) as u16;
        assert_eq!(history.feedback(last.wrapping_add(1), true), Fate::Nothing);
        assert_eq!(history.feedback(last.wrapping_sub(2100), true), Fate::Nothing);
        assert_eq!(history.feedback(last.wrapping_sub(5), false), Fate::Missing);
        assert_eq!(history.feedback(last.wrapping_sub(5), false), Fate::Nothing);
        let Fate::Arrived { sent, was_missing } = history.feedback(last.wrapping_sub(5), true) else {
            panic!("it arrived late")
        };
        assert!(was_missing);
        assert_eq!((sent.at, sent.size), (2_994_000, 100));
        assert_eq!(history.feedback(last.wrapping_sub(5), true), Fate::Nothing);
        assert_eq!(history.feedback(last.wrapping_sub(5), false), Fate::Nothing);
    }

    #[test]
    fn send_times_survive_the_wrap_of_what_is_stored() {
        let mut history = History::default();
        let late = 3 * (u64::from(u32::MAX) + 1) - 500;
        history.sent(late, 1, 10, 0);
        history.sent(late + 1000, 2, 10, 0);
        let Fate::Arrived { sent, .. } = history.feedback(1, true) else {
            panic!()
        };
        assert_eq!(sent.at, late);
    }
}
