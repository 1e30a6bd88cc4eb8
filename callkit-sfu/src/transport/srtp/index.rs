//! Packet indexes: which rollover a sequence number belongs to, and what was seen before.

use super::{MAX_STREAMS, SrtpError};

/// Indexes that are remembered. Retransmissions and bursts come far out of order; the 64 of RFC 3711
/// section 3.3.2 is a minimum and loses them.
const WINDOW: u64 = 1024;
const WORDS: usize = (WINDOW / 64) as usize;

/// The window of indexes seen for one SSRC.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// Highest index seen.
    highest: u64,
    /// Bit `index % WINDOW` for each index in `(highest - WINDOW, highest]`.
    seen: [u64; WORDS],
}

impl Window {
    fn starting_at(index: u64) -> Self {
        let mut window = Self {
            highest: index,
            seen: [0; WORDS],
        };
        window.set(index);
        window
    }

    /// Whether `index` is neither seen nor too old.
    fn is_fresh(&self, index: u64) -> bool {
        if index > self.highest {
            return true;
        }
        let (word, bit) = Self::position(index);
        self.highest - index < WINDOW && self.seen[word] & bit == 0
    }

    fn mark(&mut self, index: u64) {
        if index > self.highest {
            let gap = index - self.highest;
            if gap >= WINDOW {
                self.seen = [0; WORDS];
            } else {
                for skipped in self.highest + 1..index {
                    let (word, bit) = Self::position(skipped);
                    self.seen[word] &= !bit;
                }
            }
            self.highest = index;
        }
        self.set(index);
    }

    fn set(&mut self, index: u64) {
        let (word, bit) = Self::position(index);
        self.seen[word] |= bit;
    }

    fn position(index: u64) -> (usize, u64) {
        let at = index % WINDOW;
        ((at / 64) as usize, 1 << (at % 64))
    }
}

/// The windows of all SSRCs of a direction.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// SSRC and window side by side: a packet finds both in one place of memory.
    windows: Vec<(u32, Window)>,
    /// Where the last one was found: packets of a picture come one after the other.
    last: usize,
}

/// An index that is fresh, not yet marked: state advances only after authentication.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    ssrc: u32,
    /// Place of the SSRC; `None` for its first packet.
    place: Option<usize>,
    pub(super) index: u64,
}

impl Streams {
    /// The 48-bit index of an RTP packet (RFC 3711 section 3.3.1 and appendix A).
    pub(super) fn rtp(&self, ssrc: u32, sequence: u16) -> Result<Candidate, SrtpError> {
        self.candidate(ssrc, |window| {
            let Some(window) = window else {
                return Some(u64::from(sequence));
            };
            let (roc, last) = (window.highest >> 16, (window.highest & 0xffff) as u16);
            let ahead = sequence.wrapping_sub(last);
            let roc = if ahead < 0x8000 {
                // Ahead; past zero it is in the next rollover.
                if sequence < last { roc + 1 } else { roc }
            } else if sequence > last {
                // Behind, from before the last rollover; there is nothing before the first.
                roc.checked_sub(1)?
            } else {
                roc
            };
            (roc <= u64::from(u32::MAX)).then_some((roc << 16) | u64::from(sequence))
        })
    }

    /// An SRTCP index, which is explicit.
    pub(super) fn rtcp(&self, ssrc: u32, index: u32) -> Result<Candidate, SrtpError> {
        self.candidate(ssrc, |_| Some(u64::from(index)))
    }

    fn candidate(
        &self,
        ssrc: u32,
        index: impl FnOnce(Option<&Window>) -> Option<u64>,
    ) -> Result<Candidate, SrtpError> {
        let is_it = |(known, _): &(u32, Window)| *known == ssrc;
        let place = if self.windows.get(self.last).is_some_and(is_it) {
            Some(self.last)
        } else {
            self.windows.iter().position(is_it)
        };
        if place.is_none() && self.windows.len() == MAX_STREAMS {
            return Err(SrtpError::TooManyStreams);
        }
        let window = place.map(|place| &self.windows[place].1);
        let index = index(window).ok_or(SrtpError::Replayed)?;
        if window.is_some_and(|window| !window.is_fresh(index)) {
            return Err(SrtpError::Replayed);
        }
        Ok(Candidate { ssrc, place, index })
    }

    /// Marks an authenticated candidate as seen. The first packet of an SSRC allocates its window.
    pub(super) fn accept(&mut self, candidate: Candidate) {
        match candidate.place {
            Some(place) => {
                self.windows[place].1.mark(candidate.index);
                self.last = place;
            }
            None => self
                .windows
                .push((candidate.ssrc, Window::starting_at(candidate.index))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn see(streams: &mut Streams, sequence: u16) -> Result<u64, SrtpError> {
        let candidate = streams.rtp(1, sequence)?;
        streams.accept(candidate);
        Ok(candidate.index)
    }

    #[test]
    fn the_rollover_counter_follows_over_the_wrap_in_both_directions() {
        let mut streams = Streams::default();
        assert_eq!(see(&mut streams, 65_534), Ok(65_534));
        assert_eq!(see(&mut streams, 1), Ok(65_537));
        assert_eq!(see(&mut streams, 65_535), Ok(65_535));
        assert_eq!(see(&mut streams, 0), Ok(65_536));
        assert_eq!(see(&mut streams, 0), Err(SrtpError::Replayed));
    }

    #[test]
    fn nothing_is_before_the_first_rollover() {
        let mut streams = Streams::default();
        assert_eq!(see(&mut streams, 3), Ok(3));
        assert_eq!(see(&mut streams, 65_000), Err(SrtpError::Replayed));
    }

    #[test]
    fn the_number_of_streams_is_bounded() {
        let mut streams = Streams::default();
        for ssrc in 0..MAX_STREAMS as u32 {
            let candidate = streams.rtp(ssrc, 1).unwrap();
            streams.accept(candidate);
        }
        assert!(matches!(streams.rtp(9999, 1), Err(SrtpError::TooManyStreams)));
        assert!(streams.rtp(0, 2).is_ok());
    }

    proptest! {
        /// Reference: a set of everything seen and a plain definition of "too old".
        #[test]
        fn the_window_agrees_with_a_set(steps in prop::collection::vec(-1500_i64..1500, 1..400)) {
            let mut streams = Streams::default();
            let mut seen = BTreeSet::new();
            let mut at = 100_000_i64;
            for step in steps {
                at = (at + step).max(0);
                let index = u32::try_from(at).unwrap();
                let highest = seen.iter().next_back().copied().unwrap_or(0);
                let expected = !seen.contains(&index) && (seen.is_empty() || index + 1024 > highest);
                let candidate = streams.rtcp(5, index);
                prop_assert_eq!(candidate.is_ok(), expected);
                if let Ok(candidate) = candidate {
                    streams.accept(candidate);
                    seen.insert(index);
                }
            }
        }
    }
}
