//! What is kept for retransmission: payloads once per publisher's source, and per receiver how each packet
//! was rewritten. Both have a fixed size and are allocated when the first packet is kept.

use std::time::{Duration, Instant};

use crate::layout::Codec;

/// Packets remembered per receiving video m-line: at 200 packets a second 1.3 s, and more than a publisher's ring
/// has room for. A power of two.
const REMEMBERED: u64 = 256;
/// Most retransmissions of one packet to one receiver: bounds what NACKs can amplify. At 10 % loss five
/// leave one packet in a million unrepaired.
const MAX_RESENDS: u8 = 5;
/// A repeated request within this time crossed our answer, whatever the round trip.
const MIN_RESEND_DISTANCE: Duration = Duration::from_millis(10);

/// A ring of payloads of one publisher's source, as they came in.
#[derive(Debug)]
pub struct PayloadRing {
    id: u32,
    bytes: Box<[u8]>,
    /// Bytes ever taken, gaps at the wrap included.
    head: u64,
}

/// Where a payload is in a [`PayloadRing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    ring: u32,
    position: u64,
    length: u16,
}

impl PayloadRing {
    /// A ring of `size` bytes; `id` tells it from all other rings of the room.
    #[must_use]
    pub fn new(id: u32, size: usize) -> Self {
        Self {
            id,
            bytes: vec![0; size].into_boxed_slice(),
            head: 0,
        }
    }

    /// Keeps a copy of `payload` at the cost of the oldest. `None` if it is larger than the ring.
    pub fn keep(&mut self, payload: &[u8]) -> Option<Kept> {
        let (size, length) = (self.bytes.len(), payload.len());
        if length > size || size == 0 {
            return None;
        }
        let mut at = (self.head % size as u64) as usize;
        if at + length > size {
            self.head += (size - at) as u64;
            at = 0;
        }
        self.bytes[at..at + length].copy_from_slice(payload);
        let kept = Kept {
            ring: self.id,
            position: self.head,
            length: u16::try_from(length).ok()?,
        };
        self.head += length as u64;
        Some(kept)
    }

    /// The payload, if it is still there.
    #[must_use]
    pub fn find(&self, kept: Kept) -> Option<&[u8]> {
        let size = self.bytes.len() as u64;
        if kept.ring != self.id || self.head - kept.position > size {
            return None;
        }
        let at = (kept.position % size) as usize;
        self.bytes.get(at..at + usize::from(kept.length))
    }
}

/// How a packet was sent to a receiver, so that it can be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Extended sequence number sent.
    pub number: u64,
    /// Timestamp sent.
    pub timestamp: u32,
    /// The payload before rewriting.
    pub kept: Kept,
    /// How picture ids were moved.
    pub picture_shift: u16,
    /// How TL0PICIDX was moved.
    pub tl0_shift: u8,
    /// The marker bit.
    pub marker: bool,
    /// What the payload is.
    pub codec: Codec,
    /// Payload type of its retransmission.
    pub rtx_payload_type: u8,
}

/// A remembered packet, packed: these logs are what a receiver costs most.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Where the payload starts in its ring.
    position: u64,
    /// Low half of the extended number; the other half is that of the number asked for, or the packet is older than
    /// anything that is remembered.
    number: u32,
    timestamp: u32,
    ring: u32,
    resent_at_ms: u32,
    length: u16,
    picture_shift: u16,
    tl0_shift: u8,
    rtx_payload_type: u8,
    codec: Codec,
    marker: bool,
    resends: u8,
    is_taken: bool,
}

impl Entry {
    const EMPTY: Self = Self {
        position: 0,
        number: 0,
        timestamp: 0,
        ring: 0,
        resent_at_ms: 0,
        length: 0,
        picture_shift: 0,
        tl0_shift: 0,
        rtx_payload_type: 0,
        codec: Codec::Opus,
        marker: false,
        resends: 0,
        is_taken: false,
    };

    const fn of(sent: &Sent) -> Self {
        Self {
            position: sent.kept.position,
            number: sent.number as u32,
            timestamp: sent.timestamp,
            ring: sent.kept.ring,
            resent_at_ms: 0,
            length: sent.kept.length,
            picture_shift: sent.picture_shift,
            tl0_shift: sent.tl0_shift,
            rtx_payload_type: sent.rtx_payload_type,
            codec: sent.codec,
            marker: sent.marker,
            resends: 0,
            is_taken: true,
        }
    }

    const fn sent(&self, number: u64) -> Sent {
        Sent {
            number,
            timestamp: self.timestamp,
            kept: Kept {
                ring: self.ring,
                position: self.position,
                length: self.length,
            },
            picture_shift: self.picture_shift,
            tl0_shift: self.tl0_shift,
            marker: self.marker,
            codec: self.codec,
            rtx_payload_type: self.rtx_payload_type,
        }
    }
}

/// The packets last sent on one m-line.
#[derive(Debug)]
pub struct ResendLog {
    epoch: Instant,
    entries: Box<[Entry]>,
}

impl ResendLog {
    /// Nothing sent; `epoch` is any moment not later than the first retransmission.
    #[must_use]
    pub fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            entries: vec![Entry::EMPTY; REMEMBERED as usize].into_boxed_slice(),
        }
    }

    /// Remembers a packet at the cost of the oldest.
    pub fn remember(&mut self, sent: Sent) {
        self.entries[(sent.number % REMEMBERED) as usize] = Entry::of(&sent);
    }

    /// The packet with extended `number`, if it may be sent again at `now`: it is remembered, was not sent
    /// again too often, nor so recently that the request crossed the answer.
    pub fn resend(&mut self, now: Instant, rtt: Option<Duration>, number: u64) -> Option<Sent> {
        let entry = &mut self.entries[(number % REMEMBERED) as usize];
        if !entry.is_taken || entry.number != number as u32 || entry.resends >= MAX_RESENDS {
            return None;
        }
        let now_ms = now.saturating_duration_since(self.epoch).as_millis() as u32;
        let distance = rtt.unwrap_or_default().max(MIN_RESEND_DISTANCE).as_millis() as u32;
        if entry.resends > 0 && now_ms.wrapping_sub(entry.resent_at_ms) < distance {
            return None;
        }
        entry.resends += 1;
        entry.resent_at_ms = now_ms;
        Some(entry.sent(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(number: u64) -> Sent {
        Sent {
            number,
            timestamp: 0,
            kept: Kept::default(),
            picture_shift: 0,
            tl0_shift: 0,
            marker: false,
            codec: Codec::Vp8,
            rtx_payload_type: 97,
        }
    }

    #[test]
    fn a_packet_is_resent_a_few_times_and_not_while_the_answer_is_under_way() {
        let start = crate::media::moment();
        let rtt = Some(Duration::from_millis(50));
        let mut log = ResendLog::new(start);
        log.remember(sent(1000));
        let times: Vec<u64> = (0..1000)
            .step_by(10)
            .filter(|at| {
                log.resend(start + Duration::from_millis(*at), rtt, 1000)
                    .is_some()
            })
            .collect();
        assert_eq!(times, [0, 50, 100, 150, 200]);
        assert!(log.resend(start, rtt, 1000 + REMEMBERED).is_none());
        log.remember(sent(1000 + REMEMBERED));
        assert!(log.resend(start, rtt, 1000).is_none());
    }

    #[test]
    fn what_is_remembered_of_a_packet_comes_back_whole() {
        let start = crate::media::moment();
        let (mut ring, mut log) = (PayloadRing::new(9, 1000), ResendLog::new(start));
        assert!(log.resend(start, None, 0).is_none(), "an empty log has nothing");
        let whole = Sent {
            number: (7 << 32) + 5,
            timestamp: 0xdead_beef,
            kept: ring.keep(&[1; 300]).unwrap(),
            picture_shift: 0x7ffe,
            tl0_shift: 200,
            marker: true,
            codec: Codec::Vp9,
            rtx_payload_type: 99,
        };
        log.remember(whole);
        assert_eq!(log.resend(start, None, whole.number), Some(whole));
        assert_eq!(log.resend(start, None, whole.number + REMEMBERED), None);
        assert!(size_of::<Entry>() <= 40, "{}", size_of::<Entry>());
    }

    #[test]
    fn a_ring_of_another_publisher_never_answers() {
        let mut ring = PayloadRing::new(1, 100);
        let kept = ring.keep(b"abc").unwrap();
        assert_eq!(ring.find(kept), Some(&b"abc"[..]));
        let mut other = PayloadRing::new(2, 100);
        other.keep(b"xyz");
        assert_eq!(other.find(kept), None);
        assert_eq!(ring.keep(&[0; 101]), None);
    }

    proptest! {
        #[test]
        fn a_kept_payload_is_found_whole_or_not_at_all(lengths in prop::collection::vec(0usize..120, 1..200)) {
            let mut ring = PayloadRing::new(1, 500);
            let mut all = Vec::new();
            for (at, length) in lengths.iter().enumerate() {
                let payload = vec![at as u8; *length];
                all.push((ring.keep(&payload).unwrap(), payload));
                for (kept, payload) in &all {
                    if let Some(found) = ring.find(*kept) {
                        prop_assert_eq!(found, &payload[..]);
                    }
                }
                // At least what fits after a gap at the wrap is there.
                let mut total = 0;
                for (kept, payload) in all.iter().rev() {
                    total += payload.len();
                    if total + 120 > 500 { break }
                    prop_assert!(ring.find(*kept).is_some());
                }
            }
        }
    }
}
