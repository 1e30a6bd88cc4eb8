//! Transport-wide feedback, RTCP 205/15 (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1):
//! reading and writing. When to send it is decided by the recorder in [`media`](crate::media).

/// Resolution of arrival times: 250 microseconds.
pub const TICK_MICROS: u64 = 250;
/// Ticks in one unit of the reference time (64 ms).
const REFERENCE_TICKS: i64 = 256;
/// Most packets that one feedback reports on; bounds the working memory of the writer.
pub const MAX_STATUSES: usize = 512;

/// A feedback packet whose chunks and deltas are all present.
#[derive(Debug, Clone, Copy)]
pub struct Feedback<'a> {
    media: u32,
    base: u16,
    count: u16,
    reference: u32,
    number: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

/// What a feedback says about one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Transport-wide sequence number.
    pub sequence: u16,
    /// Arrival in ticks of 250 us on the receiver's clock (24 bit reference, so it wraps after 12 days);
    /// `None` if it had not arrived.
    pub arrival: Option<i64>,
}

impl<'a> Feedback<'a> {
    /// Reads the body of the packet, after the RTCP header and without padding.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let (head, rest) = body.split_at_checked(16)?;
        let count = u16::from_be_bytes([head[10], head[11]]);
        let mut symbols = 0usize;
        let mut delta_bytes = 0usize;
        let mut chunk_bytes = 0usize;
        while symbols < usize::from(count) {
            let chunk = rest.get(chunk_bytes..chunk_bytes + 2)?;
            chunk_bytes += 2;
            let expanded = Chunk::new([chunk[0], chunk[1]]);
            // The last chunk may hold more symbols than are left; those mean nothing.
            let used = expanded.length.min(usize::from(count) - symbols);
            delta_bytes += expanded.delta_bytes(used);
            symbols += used;
        }
        let (chunks, deltas) = rest.split_at(chunk_bytes);
        Some(Self {
            media: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            base: u16::from_be_bytes([head[8], head[9]]),
            count,
            reference: u32::from_be_bytes([0, head[12], head[13], head[14]]),
            number: head[15],
            chunks,
            deltas: deltas.get(..delta_bytes)?,
        })
    }

    /// A media source of the feedback; its choice has no meaning.
    #[must_use]
    pub const fn media(&self) -> u32 {
        self.media
    }

    /// The first transport-wide number reported on.
    #[must_use]
    pub const fn base(&self) -> u16 {
        self.base
    }

    /// Running number of feedback packets.
    #[must_use]
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// One status for each reported packet, in order of its number.
    #[must_use]
    pub fn statuses(&self) -> StatusIter<'a> {
        // The reference time is 24 bits with a sign.
        let reference = i64::from(((self.reference << 8) as i32) >> 8);
        StatusIter {
            sequence: self.base,
            left: self.count,
            chunks: self.chunks,
            chunk: Chunk {
                bits: 0,
                length: 0,
                kind: ChunkKind::Run,
            },
            at: 0,
            deltas: self.deltas,
            arrival: reference * REFERENCE_TICKS,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum ChunkKind {
    Run,
    OneBit,
    TwoBit,
}

#[derive(Debug, Clone, Copy)]
struct Chunk {
    bits: u16,
    length: usize,
    kind: ChunkKind,
}

impl Chunk {
    const fn new(bytes: [u8; 2]) -> Self {
        let bits = u16::from_be_bytes(bytes);
        let (kind, length) = match bits >> 14 {
            0 | 1 => (ChunkKind::Run, (bits & 0x1fff) as usize),
            2 => (ChunkKind::OneBit, 14),
            _ => (ChunkKind::TwoBit, 7),
        };
        Self { bits, length, kind }
    }

    const fn symbol(&self, at: usize) -> u8 {
        (match self.kind {
            ChunkKind::Run => (self.bits >> 13) & 3,
            ChunkKind::OneBit => (self.bits >> (13 - at)) & 1,
            ChunkKind::TwoBit => (self.bits >> (12 - 2 * at)) & 3,
        }) as u8
    }

    fn delta_bytes(&self, used: usize) -> usize {
        match self.kind {
            ChunkKind::Run => used * usize::from(self.symbol(0) % 3),
            // 3 is reserved: no delta.
            ChunkKind::OneBit | ChunkKind::TwoBit => {
                (0..used).map(|at| usize::from(self.symbol(at) % 3)).sum()
            }
        }
    }
}

/// Iterates over the statuses of a [`Feedback`].
#[derive(Debug, Clone)]
pub struct StatusIter<'a> {
    sequence: u16,
    left: u16,
    chunks: &'a [u8],
    chunk: Chunk,
    at: usize,
    deltas: &'a [u8],
    arrival: i64,
}

impl Iterator for StatusIter<'_> {
    type Item = Status;

    fn next(&mut self) -> Option<Status> {
        self.left = self.left.checked_sub(1)?;
        while self.at == self.chunk.length {
            let (bytes, rest) = self.chunks.split_at_checked(2)?;
            self.chunks = rest;
            self.chunk = Chunk::new([bytes[0], bytes[1]]);
            self.at = 0;
        }
        let symbol = self.chunk.symbol(self.at);
        self.at += 1;
        let delta = match symbol {
            1 => {
                let (bytes, rest) = self.deltas.split_at_checked(1)?;
                self.deltas = rest;
                Some(i64::from(bytes[0]))
            }
            2 => {
                let (bytes, rest) = self.deltas.split_at_checked(2)?;
                self.deltas = rest;
                Some(i64::from(i16::from_be_bytes([bytes[0], bytes[1]])))
            }
            _ => None,
        };
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let arrival = delta.map(|delta| {
            self.arrival += delta;
            self.arrival
        });
        Some(Status { sequence, arrival })
    }
}

/// Writes one feedback packet to the start of `buffer`: statuses from number `base` on, one for each item
/// of `arrivals` (ticks of 250 us since a fixed moment, `None` if not arrived).
///
/// Returns the bytes written and how many statuses they cover. It covers fewer than given when the buffer
/// is full, after [`MAX_STATUSES`], or when an arrival is too far from the one before to be expressed;
/// the rest belongs into a further packet. Nothing is written unless a packet arrived: (0, n) says that
/// the first n statuses are all losses that no arrival follows.
pub fn write_feedback(
    buffer: &mut [u8],
    sender: u32,
    media: u32,
    base: u16,
    number: u8,
    arrivals: impl Iterator<Item = Option<u64>>,
) -> (usize, usize) {
    // Header, sender, media, base and count, reference and number.
    const HEAD: usize = 20;
    let mut symbols = [0u8; MAX_STATUSES];
    let mut deltas = [0u8; MAX_STATUSES * 2];
    let (mut count, mut delta_bytes, mut last_arrived) = (0usize, 0usize, 0usize);
    let mut reference: Option<i64> = None;
    let mut previous = 0i64;
    for arrival in arrivals.take(MAX_STATUSES) {
        if let Some(arrival) = arrival {
            let arrival = arrival as i64;
            if reference.is_none() {
                let start = arrival.div_euclid(REFERENCE_TICKS);
                reference = Some(start);
                previous = start * REFERENCE_TICKS;
            }
            let delta = arrival - previous;
            let size = if (0..=255).contains(&delta) { 1 } else { 2 };
            // Upper bound: seven symbols to a chunk, up to three bytes of padding.
            let needed = HEAD + (count + 1).div_ceil(7) * 2 + delta_bytes + size + 3;
            let Ok(wide) = i16::try_from(delta) else { break };
            if needed > buffer.len() {
                break;
            }
            symbols[count] = size as u8;
            if size == 1 {
                deltas[delta_bytes] = delta as u8;
            } else {
                deltas[delta_bytes..delta_bytes + 2].copy_from_slice(&wide.to_be_bytes());
            }
            delta_bytes += size;
            previous = arrival;
            last_arrived = count + 1;
        }
        count += 1;
    }
    let Some(reference) = reference else {
        return (0, count);
    };
    // Losses behind the last arrival are left to the next feedback: they may still come.
    let count = last_arrived;
    let mut length = HEAD;
    let mut at = 0;
    while at < count {
        let run = symbols[at..count]
            .iter()
            .take_while(|symbol| **symbol == symbols[at])
            .count();
        let chunk = if run > 7 {
            at += run;
            // A run is at most MAX_STATUSES, less than the 13 bits of its length.
            (u16::from(symbols[at - 1]) << 13) | run as u16
        } else {
            let some = &symbols[at..count.min(at + 7)];
            at += some.len();
            some.iter().enumerate().fold(0xc000, |chunk, (place, symbol)| {
                chunk | (u16::from(*symbol) << (12 - 2 * place))
            })
        };
        buffer[length..length + 2].copy_from_slice(&chunk.to_be_bytes());
        length += 2;
    }
    buffer[length..length + delta_bytes].copy_from_slice(&deltas[..delta_bytes]);
    length += delta_bytes;
    let padding = length.next_multiple_of(4) - length;
    buffer[length..length + padding].fill(0);
    length += padding;
    if padding > 0 {
        buffer[length - 1] = padding as u8;
    }
    buffer[0] = 0x8f | if padding > 0 { 0x20 } else { 0 };
    buffer[1] = 205;
    buffer[2..4].copy_from_slice(&((length / 4 - 1) as u16).to_be_bytes());
    buffer[4..8].copy_from_slice(&sender.to_be_bytes());
    buffer[8..12].copy_from_slice(&media.to_be_bytes());
    buffer[12..14].copy_from_slice(&base.to_be_bytes());
    buffer[14..16].copy_from_slice(&(count as u16).to_be_bytes());
    buffer[16..19].copy_from_slice(&(reference as u32).to_be_bytes()[1..]);
    buffer[19] = number;
    (length, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::rtcp::{Compound, Rtcp};
    use proptest::prelude::*;

    fn round(base: u16, arrivals: &[Option<u64>]) -> (usize, Vec<Status>) {
        let mut buffer = [0u8; 1200];
        let (length, covered) = write_feedback(&mut buffer, 1, 2, base, 3, arrivals.iter().copied());
        if length == 0 {
            return (covered, Vec::new());
        }
        let Some(Rtcp::TransportCc(feedback)) = Compound::new(&buffer[..length]).next() else {
            panic!()
        };
        assert_eq!(
            (feedback.media(), feedback.number(), feedback.base()),
            (2, 3, base)
        );
        (covered, feedback.statuses().collect())
    }

    #[test]
    fn p18_base_above_half_the_circle_and_across_the_wrap() {
        let arrivals: Vec<_> = (0..10u64).map(|at| (at != 3).then_some(5000 + at * 4)).collect();
        let (covered, statuses) = round(65530, &arrivals);
        assert_eq!(covered, 10);
        assert_eq!(statuses[9].sequence, 3);
        assert_eq!(statuses[3].arrival, None);
        assert_eq!(statuses[9].arrival, Some(5036));
    }

    #[test]
    fn p18_reference_time_wraps_at_24_bits_without_disturbing_differences() {
        let start = (1u64 << 24) * 256 - 10;
        let (_, statuses) = round(0, &[Some(start), Some(start + 20), Some(start + 40)]);
        let at: Vec<_> = statuses.iter().map(|status| status.arrival.unwrap()).collect();
        assert_eq!((at[1] - at[0], at[2] - at[1]), (20, 20));
    }

    #[test]
    fn p18_a_delta_that_does_not_fit_starts_another_packet() {
        let (covered, statuses) = round(7, &[Some(100), None, Some(100 + 40_000)]);
        assert_eq!((covered, statuses.len()), (1, 1));
        let (covered, statuses) = round(7, &[Some(40_000), Some(8_000)]);
        assert_eq!(covered, 2);
        assert_eq!(statuses[1].arrival, Some(8_000));
    }

    #[test]
    fn p18_count_overrun_is_refused() {
        // Count 100, but only one chunk of seven symbols.
        let body = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 100, 0, 0, 1, 0, 0xc0, 0];
        assert!(Feedback::parse(&body).is_none());
        // A run of received packets without their deltas.
        let body = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 1, 0, 0x20, 5, 1, 2];
        assert!(Feedback::parse(&body).is_none());
    }

    #[test]
    fn a_run_of_zero_length_does_not_hang() {
        let body = [
            0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0xc0, 0,
        ];
        let feedback = Feedback::parse(&body).unwrap();
        assert_eq!(feedback.statuses().count(), 1);
    }

    proptest! {
        #[test]
        fn feedback_says_what_was_recorded(
            base: u16,
            start in 0u64..1 << 30,
            steps in prop::collection::vec(prop::option::weighted(0.8, -2000i64..8000), 1..500)
        ) {
            let mut at = start as i64 + 1_000_000;
            let arrivals: Vec<_> = steps.iter().map(|step| step.map(|step| { at += step; at as u64 })).collect();
            let (covered, statuses) = round(base, &arrivals);
            prop_assert!(covered == arrivals.len() || covered == 0 || statuses.len() == covered);
            for (place, status) in statuses.iter().enumerate() {
                prop_assert_eq!(status.sequence, base.wrapping_add(place as u16));
                let wrapped = arrivals[place].map(|at| ((at as i64) << 32) >> 32);
                prop_assert_eq!(status.arrival.map(|at| (at << 32) >> 32), wrapped);
            }
        }
    }
}
