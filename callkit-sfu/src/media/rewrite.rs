//! Continuity of one m-line towards its receiver: whatever the source (another layer, a publisher that
//! came back, another publisher in the slot), sequence numbers, timestamps and picture counters go on.

use std::time::Instant;

use super::codec::Frame;

/// Least step of the timestamp when the source changes, as a share of a second.
const MIN_STEP: u32 = 100;
/// How far a computed timestamp may lead what arrival times say, in seconds.
const MAX_LEAD: u32 = 1;

/// Rewrites the numbers of packets for one receiving m-line.
#[derive(Debug)]
pub struct Rewriter {
    rate: u32,
    feed: Option<Feed>,
    /// Extended numbers sent last. They start above one round, so that a late first packet has a place.
    number: u64,
    timestamp: u32,
    sent_at: Option<Instant>,
    picture: u16,
    tl0: u8,
}

/// The source that an m-line is fed by, and how its numbers are moved.
#[derive(Debug, Clone, Copy)]
struct Feed {
    stream: u32,
    start: u64,
    number_shift: u64,
    timestamp_shift: u32,
    picture_shift: u16,
    tl0_shift: u8,
}

/// The numbers of a packet as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// Extended sequence number.
    pub number: u64,
    /// Timestamp.
    pub timestamp: u32,
    /// What to add to picture ids.
    pub picture_shift: u16,
    /// What to add to TL0PICIDX.
    pub tl0_shift: u8,
}

impl Rewriter {
    /// Nothing sent. `random` decides where numbers start (RFC 3550 section 5.1); the first sequence number
    /// is below 2^15, so that losses at the start do not mislead SRTP about the rollover (RFC 3711 3.3.1).
    #[must_use]
    pub const fn new(rate: u32, random: u64) -> Self {
        Self {
            rate,
            feed: None,
            number: (1 << 16) + (random & 0x7fff),
            timestamp: (random >> 32) as u32,
            sent_at: None,
            picture: (random >> 16) as u16 & 0x7fff,
            tl0: (random >> 24) as u8,
        }
    }

    /// The stream that feeds this m-line.
    #[must_use]
    pub fn fed_by(&self) -> Option<u32> {
        self.feed.map(|feed| feed.stream)
    }

    /// Extended number sent last.
    #[must_use]
    pub const fn last_number(&self) -> u64 {
        self.number
    }

    /// Timestamp sent last.
    #[must_use]
    pub const fn last_timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Ends the feed; the next one continues the numbers.
    pub const fn stop(&mut self) {
        self.feed = None;
    }

    /// The timestamp as sent for the source's `timestamp`, if there is a feed.
    #[must_use]
    pub fn translate(&self, timestamp: u32) -> Option<u32> {
        self.feed.map(|feed| timestamp.wrapping_add(feed.timestamp_shift))
    }

    /// Feeds the m-line from `stream`, starting with the packet of these numbers. `exact` is the timestamp
    /// that sender reports say it should have; without it the time since the last packet decides (P-13).
    pub fn start(
        &mut self,
        now: Instant,
        stream: u32,
        number: u64,
        timestamp: u32,
        frame: &Frame,
        exact: Option<u32>,
    ) {
        let out_timestamp = match self.sent_at {
            None => self.timestamp,
            Some(sent_at) => {
                let elapsed =
                    now.saturating_duration_since(sent_at).as_micros() * u128::from(self.rate) / 1_000_000;
                // A pause of hours leads around the circle, which receivers of a paused stream accept.
                let elapsed = elapsed as u32;
                let step = elapsed.max(self.rate / MIN_STEP);
                let latest = elapsed.saturating_add(self.rate * MAX_LEAD);
                // A layer often starts with the picture that the other layer has just shown.
                let ahead = exact.map(|exact| exact.wrapping_sub(self.timestamp) as i32);
                let ahead = ahead
                    .filter(|ahead| *ahead > -(self.rate as i32) && i64::from(*ahead) <= i64::from(latest));
                self.timestamp
                    .wrapping_add(ahead.map_or(step, |ahead| ahead.max(1) as u32))
            }
        };
        let picture_shift = frame
            .picture_id
            .map_or(0, |id| self.picture.wrapping_add(1).wrapping_sub(id.value));
        let tl0_shift = frame
            .tl0
            .map_or(0, |tl0| self.tl0.wrapping_add(1).wrapping_sub(tl0.value));
        let next = self.number + 1;
        self.feed = Some(Feed {
            stream,
            start: number,
            number_shift: next.wrapping_sub(number),
            timestamp_shift: out_timestamp.wrapping_sub(timestamp),
            picture_shift,
            tl0_shift,
        });
    }

    /// The numbers to send a packet of the feed with. `None` without a feed, or if the packet belongs
    /// before its start.
    pub fn rewrite(&mut self, now: Instant, number: u64, timestamp: u32, frame: &Frame) -> Option<Rewritten> {
        let feed = self.feed?;
        if number < feed.start {
            return None;
        }
        let rewritten = Rewritten {
            number: number.wrapping_add(feed.number_shift),
            timestamp: timestamp.wrapping_add(feed.timestamp_shift),
            picture_shift: feed.picture_shift,
            tl0_shift: feed.tl0_shift,
        };
        if rewritten.number > self.number {
            self.number = rewritten.number;
            self.timestamp = rewritten.timestamp;
            self.sent_at = Some(now);
            if let Some(id) = frame.picture_id {
                self.picture = id.value.wrapping_add(feed.picture_shift) & (id.modulus() - 1);
            }
            if let Some(tl0) = frame.tl0 {
                self.tl0 = tl0.value.wrapping_add(feed.tl0_shift);
            }
        }
        Some(rewritten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Codec;
    use proptest::prelude::*;
    use std::time::Duration;

    fn vp8(picture: u16, tl0: u8) -> Frame {
        let [high, low] = (0x8000 | picture).to_be_bytes();
        Frame::read(Codec::Vp8, &[0x90, 0xc0, high, low, tl0, 0])
    }

    #[test]
    fn p12_picture_counters_continue_over_a_switch_at_the_wrap() {
        let now = crate::media::moment();
        let mut rewriter = Rewriter::new(90_000, 0);
        let send = |rewriter: &mut Rewriter, number, picture: u16, tl0: u8| {
            let frame = vp8(picture, tl0);
            let out = rewriter.rewrite(now, number, 0, &frame).unwrap();
            (
                picture.wrapping_add(out.picture_shift) & 0x7fff,
                tl0.wrapping_add(out.tl0_shift),
            )
        };
        rewriter.start(now, 1, 500, 0, &vp8(0x7ffe, 254), None);
        let first = send(&mut rewriter, 500, 0x7ffe, 254);
        let second = send(&mut rewriter, 501, 0x7fff, 255);
        let third = send(&mut rewriter, 502, 0, 0);
        assert_eq!(second, ((first.0 + 1) & 0x7fff, first.1.wrapping_add(1)));
        assert_eq!(third, ((first.0 + 2) & 0x7fff, first.1.wrapping_add(2)));
        rewriter.start(now, 2, 9, 0, &vp8(77, 5), None);
        assert_eq!(
            send(&mut rewriter, 9, 77, 5),
            ((first.0 + 3) & 0x7fff, first.1.wrapping_add(3))
        );
        // A late packet of before does not move the counters.
        assert_eq!(rewriter.rewrite(now, 8, 0, &vp8(76, 4)), None);
        assert_eq!(
            send(&mut rewriter, 10, 78, 6),
            ((first.0 + 4) & 0x7fff, first.1.wrapping_add(4))
        );
    }

    #[test]
    fn p13_a_timestamp_that_sender_reports_make_impossible_is_not_used() {
        let start = crate::media::moment();
        let frame = Frame::default();
        let later = start + Duration::from_millis(100);
        for (exact, expected) in [
            (Some(9_500), 9_500),
            (Some(0u32.wrapping_sub(5)), 1),
            (Some(0u32.wrapping_sub(100_000)), 9_000),
            (Some(200_000), 9_000),
            (None, 9_000),
        ] {
            let mut rewriter = Rewriter::new(90_000, 0);
            rewriter.start(start, 1, 100, 5, &frame, None);
            let first = rewriter.rewrite(start, 100, 5, &frame).unwrap();
            rewriter.start(
                later,
                2,
                7,
                1_000_000,
                &frame,
                exact.map(|exact| first.timestamp.wrapping_add(exact)),
            );
            let next = rewriter.rewrite(later, 7, 1_000_000, &frame).unwrap();
            assert_eq!(next.timestamp.wrapping_sub(first.timestamp), expected);
            assert_eq!(next.number, first.number + 1);
        }
    }

    proptest! {
        #[test]
        fn numbers_are_never_sent_twice(
            feeds in prop::collection::vec((any::<u32>(), 70_000u64..200_000, prop::collection::vec(0u64..40, 1..40)), 1..10)
        ) {
            let now = crate::media::moment();
            let mut rewriter = Rewriter::new(90_000, 12345);
            let mut seen = std::collections::BTreeSet::new();
            for (stream, base, ahead) in feeds {
                rewriter.start(now, stream, base, 0, &Frame::default(), None);
                let mut given = std::collections::BTreeSet::new();
                for ahead in ahead {
                    if given.insert(ahead) {
                        let out = rewriter.rewrite(now, base + ahead, 0, &Frame::default()).unwrap();
                        prop_assert!(seen.insert(out.number));
                    }
                }
            }
        }
    }
}
