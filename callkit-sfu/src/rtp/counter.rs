//! Arithmetic on the 16 and 32 bit counters of RTP, and their extension to 64 bits.

/// Whether `a` follows `b` on the 16 bit circle (RFC 1982). Half a circle away counts as older.
#[must_use]
pub const fn newer16(a: u16, b: u16) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 0x8000
}

/// Whether `a` follows `b` on the 32 bit circle.
#[must_use]
pub const fn newer32(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 0x8000_0000
}

/// Where extended numbers start: one round up, so that packets older than the first do not underflow.
const FIRST_ROUND: u64 = 1 << 16;

/// Extends 16 bit sequence numbers to 64 bits by taking the reading nearest to the highest seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unwrapper {
    highest: Option<u64>,
}

impl Unwrapper {
    /// An unwrapper that has noted `highest`.
    #[must_use]
    pub const fn at(highest: u64) -> Self {
        Self {
            highest: Some(highest),
        }
    }

    /// The highest extended number noted.
    #[must_use]
    pub const fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// The extended reading of `sequence`, without noting it.
    #[must_use]
    pub const fn peek(&self, sequence: u16) -> u64 {
        let Some(highest) = self.highest else {
            return FIRST_ROUND + sequence as u64;
        };
        let ahead = sequence.wrapping_sub(highest as u16);
        if ahead < 0x8000 {
            highest + ahead as u64
        } else {
            // The first round leaves room for one step back; further back is older than anything kept.
            highest.saturating_sub(0x1_0000 - ahead as u64)
        }
    }

    /// The extended reading of `sequence`; the highest one is noted.
    pub const fn note(&mut self, sequence: u16) -> u64 {
        let extended = self.peek(sequence);
        match self.highest {
            Some(highest) if highest >= extended => {}
            _ => self.highest = Some(extended),
        }
        extended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_is_newer_for_half_a_circle() {
        assert!(newer16(1, 0) && newer16(0, 65535) && newer16(0x7fff, 0));
        assert!(!newer16(0, 0) && !newer16(0x8000, 0) && !newer16(65535, 0));
        assert!(newer32(0, u32::MAX) && !newer32(u32::MAX, 0));
    }

    #[test]
    fn reordering_around_the_wrap_keeps_the_round() {
        let mut unwrapper = Unwrapper::default();
        let first = unwrapper.note(65534);
        assert_eq!(unwrapper.note(0), first + 2);
        assert_eq!(unwrapper.note(65535), first + 1);
        assert_eq!(unwrapper.highest(), Some(first + 2));
    }

    proptest! {
        #[test]
        fn extended_numbers_follow_any_walk_of_small_steps(start: u16, steps in prop::collection::vec(-3000i64..3000, 1..400)) {
            let mut unwrapper = Unwrapper::default();
            let base = unwrapper.note(start);
            let mut at = base as i64;
            for step in steps {
                // Never further than half a circle behind the highest, nor before the first round.
                let highest = unwrapper.highest().unwrap() as i64;
                at = (at + step).clamp(highest - 30_000, highest + 30_000).max(1);
                prop_assert_eq!(unwrapper.note(at as u16), at as u64);
            }
        }
    }
}
