//! RTCP compound packets: an iterator that borrows and a writer into a given buffer. RFC 3550 section 6
//! (SR, RR, SDES, BYE), RFC 4585 (NACK, PLI), RFC 5104 (FIR), transport-wide feedback,
//! draft-alvestrand-rmcat-remb-03 (REMB).

use super::transport_cc::Feedback;

const SR: u8 = 200;
const RR: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const BLOCK: usize = 24;
/// Name of REMB among the application layer feedback (draft-alvestrand-rmcat-remb-03 section 2.2).
const REMB: &[u8] = b"REMB";

/// One packet of a compound.
#[derive(Debug, Clone, Copy)]
pub enum Rtcp<'a> {
    /// The listed sources have ended.
    Bye(Bye<'a>),
    /// Full intra requests.
    Fir(Fir<'a>),
    /// Lost packets are asked for again.
    Nack(Nack<'a>),
    /// Not understood; skipped.
    Other {
        /// RTCP packet type.
        kind: u8,
    },
    /// A decoder lost its picture.
    Pli {
        /// The SSRC whose picture is lost.
        media: u32,
    },
    /// What a receiver's connection takes, in bits per second.
    ReceiverEstimate {
        /// The total of all streams.
        bitrate: u64,
    },
    /// What a receiver got.
    ReceiverReport(ReceiverReport<'a>),
    /// What a sender sent, and the clock to read its timestamps by.
    SenderReport(SenderReport<'a>),
    /// Arrival times by transport-wide number.
    TransportCc(Feedback<'a>),
}

/// Iterates over the packets of a compound; ends at the first impossible length.
#[derive(Debug, Clone)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Reads `bytes`, a whole decrypted RTCP datagram.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Rtcp<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.rest.get(..4)?;
        let length = 4 + usize::from(be16(header, 2)) * 4;
        let (first, kind) = (header[0], header[1]);
        if first >> 6 != 2 || length > self.rest.len() {
            self.rest = &[];
            return None;
        }
        let (packet, rest) = self.rest.split_at(length);
        self.rest = rest;
        let mut body = &packet[4..];
        if first & 0x20 != 0 {
            let padding = usize::from(packet[length - 1]);
            let Some(kept) = body.len().checked_sub(padding) else {
                self.rest = &[];
                return None;
            };
            body = &body[..kept];
        }
        Some(read(first & 0x1f, kind, body).unwrap_or(Rtcp::Other { kind }))
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn read(count: u8, kind: u8, body: &[u8]) -> Option<Rtcp<'_>> {
    let items = usize::from(count);
    Some(match (kind, count) {
        (SR, _) => {
            let (head, blocks) = body.split_at_checked(24)?;
            let blocks = blocks.get(..items * BLOCK)?;
            Rtcp::SenderReport(SenderReport { head, blocks })
        }
        (RR, _) => {
            let (_, blocks) = body.split_at_checked(4)?;
            Rtcp::ReceiverReport(ReceiverReport {
                blocks: blocks.get(..items * BLOCK)?,
            })
        }
        (BYE, _) => Rtcp::Bye(Bye {
            sources: body.get(..items * 4)?,
        }),
        (TRANSPORT_FEEDBACK, 1) if body.len() >= 8 => Rtcp::Nack(Nack { body }),
        (TRANSPORT_FEEDBACK, 15) => Rtcp::TransportCc(Feedback::parse(body)?),
        (PAYLOAD_FEEDBACK, 1) if body.len() >= 8 => Rtcp::Pli { media: be32(body, 4) },
        (PAYLOAD_FEEDBACK, 4) => Rtcp::Fir(Fir {
            entries: body.get(8..)?,
        }),
        (PAYLOAD_FEEDBACK, 15) if body.get(8..12) == Some(REMB) && body.len() >= 16 => {
            let exponent = u32::from(body[13] >> 2);
            let mantissa = be32(body, 12) & 0x3_ffff;
            Rtcp::ReceiverEstimate {
                bitrate: u64::from(mantissa).saturating_mul(1 << exponent.min(62)),
            }
        }
        _ => return None,
    })
}

/// Sender report (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy)]
pub struct SenderReport<'a> {
    head: &'a [u8],
    blocks: &'a [u8],
}

impl<'a> SenderReport<'a> {
    /// The sender.
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        be32(self.head, 0)
    }

    /// The sender's NTP clock, 32.32 fixed point seconds.
    #[must_use]
    pub fn ntp(&self) -> u64 {
        (u64::from(be32(self.head, 4)) << 32) | u64::from(be32(self.head, 8))
    }

    /// The RTP timestamp of the same instant.
    #[must_use]
    pub fn rtp(&self) -> u32 {
        be32(self.head, 12)
    }

    /// What the sender received.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + use<'a> {
        blocks(self.blocks)
    }
}

/// Receiver report (RFC 3550 section 6.4.2).
#[derive(Debug, Clone, Copy)]
pub struct ReceiverReport<'a> {
    blocks: &'a [u8],
}

impl<'a> ReceiverReport<'a> {
    /// What was received.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + use<'a> {
        blocks(self.blocks)
    }
}

fn blocks<'a>(bytes: &'a [u8]) -> impl Iterator<Item = Block> + use<'a> {
    bytes.chunks_exact(BLOCK).map(|block| {
        let lost = be32(block, 4);
        Block {
            ssrc: be32(block, 0),
            fraction_lost: (lost >> 24) as u8,
            // 24 bits with a sign: duplicates can make the loss negative.
            lost: ((lost << 8) as i32) >> 8,
            highest: be32(block, 8),
            jitter: be32(block, 12),
            last_report: be32(block, 16),
            delay: be32(block, 20),
        }
    })
}

/// A report block (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Block {
    /// The source reported on.
    pub ssrc: u32,
    /// Share lost since the report before, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost in all; may be negative.
    pub lost: i32,
    /// Extended highest sequence number received.
    pub highest: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report received; 0 if none.
    pub last_report: u32,
    /// Time since that report arrived, in 1/65536 s.
    pub delay: u32,
}

/// Generic NACK (RFC 4585 section 6.2.1).
#[derive(Debug, Clone, Copy)]
pub struct Nack<'a> {
    body: &'a [u8],
}

impl<'a> Nack<'a> {
    /// The source that packets are asked of.
    #[must_use]
    pub fn media(&self) -> u32 {
        be32(self.body, 4)
    }

    /// The sequence numbers asked for.
    pub fn sequences(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.body[8..].chunks_exact(4).flat_map(|entry| {
            let (first, mask) = (be16(entry, 0), be16(entry, 2));
            let following = (0..16u16).filter(move |bit| mask >> bit & 1 == 1);
            std::iter::once(first).chain(following.map(move |bit| first.wrapping_add(bit + 1)))
        })
    }
}

/// Full intra request (RFC 5104 section 4.3.1).
#[derive(Debug, Clone, Copy)]
pub struct Fir<'a> {
    entries: &'a [u8],
}

impl<'a> Fir<'a> {
    /// The sources that a key frame is asked of.
    pub fn targets(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.entries.chunks_exact(8).map(|entry| be32(entry, 0))
    }
}

/// Goodbye (RFC 3550 section 6.6).
#[derive(Debug, Clone, Copy)]
pub struct Bye<'a> {
    sources: &'a [u8],
}

impl<'a> Bye<'a> {
    /// The sources that ended.
    pub fn sources(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.sources.chunks_exact(4).map(|source| be32(source, 0))
    }
}

/// Writes a compound into a buffer. Each method writes a whole packet or, if there is no room for it,
/// nothing and returns `false`.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    length: usize,
}

impl<'b> Writer<'b> {
    /// Writes to the start of `buffer`.
    #[must_use]
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, length: 0 }
    }

    /// Bytes written.
    #[must_use]
    pub const fn written(&self) -> usize {
        self.length
    }

    /// The compound.
    #[must_use]
    pub fn finish(self) -> &'b [u8] {
        &self.buffer[..self.length]
    }

    /// Room for a packet of `words` 32 bit words after the header, with the header written.
    fn open(&mut self, count: u8, kind: u8, words: usize) -> Option<&mut [u8]> {
        let length = 4 + words * 4;
        let packet = self.buffer.get_mut(self.length..self.length + length)?;
        packet[0] = 0x80 | count;
        packet[1] = kind;
        packet[2..4].copy_from_slice(&(words as u16).to_be_bytes());
        self.length += length;
        Some(&mut packet[4..])
    }

    /// A sender report without report blocks.
    pub fn sender_report(&mut self, ssrc: u32, ntp: u64, rtp: u32, packets: u32, octets: u32) -> bool {
        let Some(body) = self.open(0, SR, 6) else {
            return false;
        };
        body[0..4].copy_from_slice(&ssrc.to_be_bytes());
        body[4..12].copy_from_slice(&ntp.to_be_bytes());
        body[12..16].copy_from_slice(&rtp.to_be_bytes());
        body[16..20].copy_from_slice(&packets.to_be_bytes());
        body[20..24].copy_from_slice(&octets.to_be_bytes());
        true
    }

    /// A receiver report of at most 31 blocks; more are left out.
    pub fn receiver_report(&mut self, sender: u32, blocks: &[Block]) -> bool {
        let blocks = &blocks[..blocks.len().min(31)];
        let Some(body) = self.open(blocks.len() as u8, RR, 1 + blocks.len() * 6) else {
            return false;
        };
        body[0..4].copy_from_slice(&sender.to_be_bytes());
        for (block, to) in blocks.iter().zip(body[4..].chunks_exact_mut(BLOCK)) {
            let lost = (block.lost.clamp(-0x80_0000, 0x7f_ffff) as u32) & 0x00ff_ffff;
            to[0..4].copy_from_slice(&block.ssrc.to_be_bytes());
            to[4..8].copy_from_slice(&((u32::from(block.fraction_lost) << 24) | lost).to_be_bytes());
            to[8..12].copy_from_slice(&block.highest.to_be_bytes());
            to[12..16].copy_from_slice(&block.jitter.to_be_bytes());
            to[16..20].copy_from_slice(&block.last_report.to_be_bytes());
            to[20..24].copy_from_slice(&block.delay.to_be_bytes());
        }
        true
    }

    /// One source description chunk with a CNAME of at most 255 bytes (RFC 3550 section 6.5.1).
    pub fn cname(&mut self, ssrc: u32, name: &[u8]) -> bool {
        let name = &name[..name.len().min(255)];
        // SSRC, item type, item length, name, at least one zero, padded to a word.
        let words = (4 + 2 + name.len() + 1).div_ceil(4);
        let Some(body) = self.open(1, SDES, words) else {
            return false;
        };
        body.fill(0);
        body[0..4].copy_from_slice(&ssrc.to_be_bytes());
        body[4] = 1;
        body[5] = name.len() as u8;
        body[6..6 + name.len()].copy_from_slice(name);
        true
    }

    /// Asks for `sequences` of `media` again. They should be in ascending order, so that they pack well;
    /// what does not fit is left out.
    pub fn nack(&mut self, sender: u32, media: u32, sequences: impl Iterator<Item = u16>) -> bool {
        let start = self.length;
        let Some(body) = self.open(1, TRANSPORT_FEEDBACK, 2) else {
            return false;
        };
        body[0..4].copy_from_slice(&sender.to_be_bytes());
        body[4..8].copy_from_slice(&media.to_be_bytes());
        let mut entry: Option<(u16, u16)> = None;
        let mut whole = true;
        for sequence in sequences {
            if let Some((first, mask)) = &mut entry {
                let ahead = sequence.wrapping_sub(*first);
                match ahead {
                    0 => continue,
                    1..=16 => {
                        *mask |= 1 << (ahead - 1);
                        continue;
                    }
                    _ => whole &= self.nack_entry(*first, *mask),
                }
            }
            entry = Some((sequence, 0));
        }
        if let Some((first, mask)) = entry {
            whole &= self.nack_entry(first, mask);
        }
        if self.length == start + 12 {
            // Nothing was asked for.
            self.length = start;
            return whole;
        }
        let words = ((self.length - start) / 4 - 1) as u16;
        self.buffer[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
        true
    }

    fn nack_entry(&mut self, first: u16, mask: u16) -> bool {
        let Some(entry) = self.buffer.get_mut(self.length..self.length + 4) else {
            return false;
        };
        entry[0..2].copy_from_slice(&first.to_be_bytes());
        entry[2..4].copy_from_slice(&mask.to_be_bytes());
        self.length += 4;
        true
    }

    /// Asks `media` for a key frame.
    pub fn pli(&mut self, sender: u32, media: u32) -> bool {
        let Some(body) = self.open(1, PAYLOAD_FEEDBACK, 2) else {
            return false;
        };
        body[0..4].copy_from_slice(&sender.to_be_bytes());
        body[4..8].copy_from_slice(&media.to_be_bytes());
        true
    }

    /// Asks `media` for a key frame by a full intra request; `number` changes with each new request.
    pub fn fir(&mut self, sender: u32, media: u32, number: u8) -> bool {
        let Some(body) = self.open(4, PAYLOAD_FEEDBACK, 4) else {
            return false;
        };
        body.fill(0);
        body[0..4].copy_from_slice(&sender.to_be_bytes());
        body[8..12].copy_from_slice(&media.to_be_bytes());
        body[12] = number;
        true
    }

    /// Says that all of `media` together (at most 32) should take no more than `bitrate` bits per second.
    pub fn remb(&mut self, sender: u32, bitrate: u64, media: &[u32]) -> bool {
        let media = &media[..media.len().min(32)];
        let Some(body) = self.open(15, PAYLOAD_FEEDBACK, 4 + media.len()) else {
            return false;
        };
        // 18 bits of mantissa, 6 of exponent; rounded down.
        let exponent = (64 - bitrate.leading_zeros()).saturating_sub(18);
        let mantissa = (bitrate >> exponent) as u32;
        body[0..4].copy_from_slice(&sender.to_be_bytes());
        body[4..8].fill(0);
        body[8..12].copy_from_slice(REMB);
        let head = (media.len() as u32) << 24 | exponent << 18 | mantissa;
        body[12..16].copy_from_slice(&head.to_be_bytes());
        for (ssrc, to) in media.iter().zip(body[16..].chunks_exact_mut(4)) {
            to.copy_from_slice(&ssrc.to_be_bytes());
        }
        true
    }

    /// Says that `ssrc` ends.
    pub fn bye(&mut self, ssrc: u32) -> bool {
        let Some(body) = self.open(1, BYE, 1) else {
            return false;
        };
        body[0..4].copy_from_slice(&ssrc.to_be_bytes());
        true
    }

    /// Appends a packet written by `fill`, which gets the free space and returns the bytes it used (a
    /// multiple of 4, or 0 for nothing).
    pub fn raw(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let free = &mut self.buffer[self.length..];
        let room = free.len();
        let used = fill(free).min(room);
        self.length += used;
        used != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn only(bytes: &[u8]) -> Rtcp<'_> {
        let mut packets = Compound::new(bytes);
        let first = packets.next().expect("one packet");
        assert!(packets.next().is_none());
        first
    }

    #[test]
    fn reports_survive_writing_and_reading() {
        let block = Block {
            ssrc: 9,
            fraction_lost: 25,
            lost: -3,
            highest: 0x0001_0002,
            jitter: 77,
            last_report: 0xaabb_ccdd,
            delay: 65536,
        };
        let mut buffer = [0u8; 256];
        let mut writer = Writer::new(&mut buffer);
        assert!(writer.sender_report(5, 0x0102_0304_0506_0708, 99, 10, 1000));
        assert!(writer.receiver_report(5, &[block, Block { lost: 7, ..block }]));
        assert!(writer.cname(5, b"slot-0"));
        assert!(writer.bye(5));
        let packets: Vec<_> = Compound::new(writer.finish()).collect();
        let [
            Rtcp::SenderReport(sr),
            Rtcp::ReceiverReport(rr),
            Rtcp::Other { kind: SDES },
            Rtcp::Bye(bye),
        ] = packets[..]
        else {
            panic!("{packets:?}")
        };
        assert_eq!((sr.ssrc(), sr.ntp(), sr.rtp()), (5, 0x0102_0304_0506_0708, 99));
        assert_eq!(sr.blocks().count(), 0);
        assert_eq!(
            rr.blocks().collect::<Vec<_>>(),
            [block, Block { lost: 7, ..block }]
        );
        assert_eq!(bye.sources().collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn key_frame_requests_survive_writing_and_reading() {
        let mut buffer = [0u8; 64];
        let mut writer = Writer::new(&mut buffer);
        assert!(writer.pli(1, 2) && writer.fir(1, 3, 200));
        let packets: Vec<_> = Compound::new(writer.finish()).collect();
        let [Rtcp::Pli { media: 2 }, Rtcp::Fir(fir)] = packets[..] else {
            panic!("{packets:?}")
        };
        assert_eq!(fir.targets().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn bitrates_survive_within_their_precision() {
        for bitrate in [0, 1, 40_000, 262_143, 262_144, 2_345_678, 10_000_000, u64::MAX] {
            let mut buffer = [0u8; 64];
            let mut writer = Writer::new(&mut buffer);
            assert!(writer.remb(1, bitrate, &[7, 8]));
            assert_eq!(writer.written(), 28);
            let Rtcp::ReceiverEstimate { bitrate: read } = only(writer.finish()) else {
                panic!()
            };
            assert!(
                read <= bitrate && bitrate - read <= bitrate >> 17,
                "{bitrate} {read}"
            );
        }
    }

    #[test]
    fn padding_of_a_packet_is_not_part_of_it() {
        // A NACK of one entry, padded by four bytes.
        let bytes = [0xa1, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 9, 0, 0, 0, 0, 0, 4];
        let Rtcp::Nack(nack) = only(&bytes) else { panic!() };
        assert_eq!(nack.sequences().collect::<Vec<_>>(), [9]);
        let mut broken = bytes;
        broken[19] = 200;
        assert!(Compound::new(&broken).next().is_none());
    }

    #[test]
    fn a_full_buffer_gets_whole_packets_only() {
        let mut buffer = [0u8; 20];
        let mut writer = Writer::new(&mut buffer);
        assert!(writer.pli(1, 2));
        assert!(!writer.pli(1, 3));
        assert!(!writer.sender_report(1, 2, 3, 4, 5));
        assert_eq!(writer.written(), 12);
        let mut small = [0u8; 16];
        let mut writer = Writer::new(&mut small);
        assert!(writer.nack(1, 2, [5u16, 100, 200].into_iter()));
        let Rtcp::Nack(nack) = only(writer.finish()) else {
            panic!()
        };
        assert_eq!(nack.sequences().collect::<Vec<_>>(), [5]);
        let mut writer = Writer::new(&mut small);
        writer.nack(1, 2, std::iter::empty());
        assert_eq!(writer.written(), 0);
    }

    proptest! {
        #[test]
        fn nacks_ask_for_exactly_what_was_given(start: u16, steps in prop::collection::vec(1u16..60, 1..100)) {
            let mut sequence = start;
            let wanted: Vec<u16> = steps.iter().map(|step| { sequence = sequence.wrapping_add(*step); sequence }).collect();
            let mut buffer = [0u8; 1000];
            let mut writer = Writer::new(&mut buffer);
            prop_assert!(writer.nack(1, 2, wanted.iter().copied()));
            let Rtcp::Nack(nack) = only(writer.finish()) else { panic!() };
            prop_assert_eq!(nack.media(), 2);
            prop_assert_eq!(nack.sequences().collect::<Vec<_>>(), wanted);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            crate::rtp::fuzz::rtcp(&bytes);
        }

        #[test]
        fn any_body_of_a_known_kind_is_read_without_panic(
            count in 0u8..32, kind in 199u8..208, body in prop::collection::vec(any::<u8>(), 0..40), padded: bool
        ) {
            let words = body.len() / 4;
            let mut bytes = vec![0x80 | u8::from(padded) << 5 | count, kind, 0, words as u8];
            bytes.extend(&body[..words * 4]);
            crate::rtp::fuzz::rtcp(&bytes);
        }
    }
}
