//! A checked view of an RTP packet (RFC 3550 section 5.1, header extensions of RFC 8285) and the writer
//! of the headers that we send.

/// Fixed part of the header in bytes.
const FIXED: usize = 12;
/// Profile of one-byte extension headers.
const ONE_BYTE: u16 = 0xbede;

/// Bytes that are not the packet they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed packet")]
pub struct Malformed;

/// Whether a packet of the RTP port is RTCP (RFC 5761 section 4): packet types 192 to 223.
#[must_use]
pub fn is_rtcp(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|kind| (192..=223).contains(kind))
}

/// Bytes before the payload: fixed part, contributing sources, header extension. Valid for protected
/// packets too, because SRTP leaves the header in clear. `None` if the packet is shorter or not version 2.
#[must_use]
pub fn header_length(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut length = FIXED + usize::from(first & 0x0f) * 4;
    if first & 0x10 != 0 {
        let words = packet.get(length + 2..length + 4)?;
        length += 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4;
    }
    (length <= packet.len()).then_some(length)
}

/// A plain RTP packet whose lengths have been checked.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    payload: usize,
    payload_end: usize,
}

impl<'a> Packet<'a> {
    /// Checks version, header lengths and padding.
    ///
    /// # Errors
    /// [`Malformed`] if a length leads outside of `bytes` or the padding count is zero or too large.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let payload = header_length(bytes).ok_or(Malformed)?;
        if bytes.len() < FIXED {
            return Err(Malformed);
        }
        let mut payload_end = bytes.len();
        if bytes[0] & 0x20 != 0 {
            let padding = usize::from(bytes[bytes.len() - 1]);
            if padding == 0 || padding > bytes.len() - payload {
                return Err(Malformed);
            }
            payload_end -= padding;
        }
        Ok(Self {
            bytes,
            payload,
            payload_end,
        })
    }

    /// The marker bit: end of a video frame, start of a talk spurt.
    #[must_use]
    pub const fn marker(&self) -> bool {
        self.bytes[1] & 0x80 != 0
    }

    /// Payload type, 0 to 127.
    #[must_use]
    pub const fn payload_type(&self) -> u8 {
        self.bytes[1] & 0x7f
    }

    /// Sequence number.
    #[must_use]
    pub const fn sequence(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    /// Timestamp in units of the payload's clock.
    #[must_use]
    pub const fn timestamp(&self) -> u32 {
        u32::from_be_bytes([self.bytes[4], self.bytes[5], self.bytes[6], self.bytes[7]])
    }

    /// Synchronization source.
    #[must_use]
    pub const fn ssrc(&self) -> u32 {
        u32::from_be_bytes([self.bytes[8], self.bytes[9], self.bytes[10], self.bytes[11]])
    }

    /// The payload without padding; empty for a packet of padding only.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.payload..self.payload_end]
    }

    /// Whole packet length in bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The value of header extension `id`, if present. Id 0 is padding and never found.
    #[must_use]
    pub fn extension(&self, id: u8) -> Option<&'a [u8]> {
        if id == 0 {
            return None;
        }
        self.extensions()
            .find_map(|(found, value)| (found == id).then_some(value))
    }

    /// All header extensions as (id, value). An element that leads outside of the block ends the list.
    #[must_use]
    pub fn extensions(&self) -> ExtensionIter<'a> {
        if self.bytes[0] & 0x10 == 0 {
            return ExtensionIter {
                rest: &[],
                one_byte: true,
            };
        }
        let start = FIXED + usize::from(self.bytes[0] & 0x0f) * 4;
        let profile = u16::from_be_bytes([self.bytes[start], self.bytes[start + 1]]);
        let block = &self.bytes[start + 4..self.payload];
        if profile == ONE_BYTE {
            ExtensionIter {
                rest: block,
                one_byte: true,
            }
        } else if profile & 0xfff0 == 0x1000 {
            ExtensionIter {
                rest: block,
                one_byte: false,
            }
        } else {
            ExtensionIter {
                rest: &[],
                one_byte: true,
            }
        }
    }
}

/// Iterates over header extensions; see [`Packet::extensions`].
#[derive(Debug, Clone)]
pub struct ExtensionIter<'a> {
    rest: &'a [u8],
    one_byte: bool,
}

impl<'a> Iterator for ExtensionIter<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            if first == 0 {
                self.rest = rest;
                continue;
            }
            let (id, length, rest) = if self.one_byte {
                // Id 15 stops the reading (RFC 8285 section 4.2).
                if first >> 4 == 15 {
                    self.rest = &[];
                    return None;
                }
                (first >> 4, usize::from(first & 0x0f) + 1, rest)
            } else {
                let (&length, rest) = rest.split_first()?;
                (first, usize::from(length), rest)
            };
            let Some((value, rest)) = rest.split_at_checked(length) else {
                self.rest = &[];
                return None;
            };
            self.rest = rest;
            // A one-byte element with id 0 and a length is padding that claims a value.
            if id != 0 {
                return Some((id, value));
            }
        }
    }
}

/// The header of a packet that we send: no contributing sources, at most the transport-wide number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// The marker bit.
    pub marker: bool,
    /// Payload type agreed with the receiver.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// The receiver's SSRC for this m-line.
    pub ssrc: u32,
    /// Extension id and transport-wide sequence number, if agreed.
    pub transport_cc: Option<(u8, u16)>,
}

impl Outgoing {
    /// Bytes of the longest header written.
    pub const MAX_LENGTH: usize = FIXED + 8;

    /// Bytes of this header.
    #[must_use]
    pub const fn length(&self) -> usize {
        if self.transport_cc.is_some() {
            FIXED + 8
        } else {
            FIXED
        }
    }

    /// Writes the header to the start of `buffer` and returns its length, or `None` if it does not fit.
    pub fn write(&self, buffer: &mut [u8]) -> Option<usize> {
        // Put together in registers and stored in two pieces: sealing reads the header in long words right away,
        // which a processor can do without waiting only for what was stored as long.
        let first: u8 = if self.transport_cc.is_some() { 0x90 } else { 0x80 };
        let second = (u8::from(self.marker) << 7) | (self.payload_type & 0x7f);
        let fixed = u128::from(first) << 88
            | u128::from(second) << 80
            | u128::from(self.sequence) << 64
            | u128::from(self.timestamp) << 32
            | u128::from(self.ssrc);
        let length = self.length();
        let head = buffer.get_mut(..length)?;
        if let Some((id, number)) = self.transport_cc {
            // One-byte form: profile, one word, id and length-1, the number, one byte of padding.
            let element = u32::from((id << 4) | 1) << 24 | u32::from(number) << 8;
            let long = fixed << 32 | u128::from(u32::from(ONE_BYTE) << 16 | 1);
            head[..16].copy_from_slice(&long.to_be_bytes());
            head[16..].copy_from_slice(&element.to_be_bytes());
        } else {
            head.copy_from_slice(&fixed.to_be_bytes()[4..]);
        }
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_written_header_reads_back() {
        let head = Outgoing {
            marker: true,
            payload_type: 96,
            sequence: 65535,
            timestamp: 0xdead_beef,
            ssrc: 7,
            transport_cc: Some((3, 0x1234)),
        };
        let mut bytes = [0u8; 64];
        let length = head.write(&mut bytes).unwrap();
        bytes[length..length + 3].copy_from_slice(b"abc");
        let packet = Packet::parse(&bytes[..length + 3]).unwrap();
        assert_eq!(
            (
                packet.marker(),
                packet.payload_type(),
                packet.sequence(),
                packet.timestamp(),
                packet.ssrc()
            ),
            (true, 96, 65535, 0xdead_beef, 7)
        );
        assert_eq!(packet.extension(3), Some(&[0x12, 0x34][..]));
        assert_eq!(packet.payload(), b"abc");
        assert_eq!(head.write(&mut [0u8; 19]), None);
    }

    #[test]
    fn both_extension_forms_are_read_and_padding_skipped() {
        let one = [
            0x90, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0xbe, 0xde, 0, 2, 0x10, b'a', 0, 0x21, b'b', b'c', 0, 0,
            b'x',
        ];
        let packet = Packet::parse(&one).unwrap();
        let found: Vec<_> = packet.extensions().collect();
        assert_eq!(found, [(1, &b"a"[..]), (2, &b"bc"[..])]);
        assert_eq!(packet.payload(), b"x");
        let two = [
            0x90, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0x10, 0, 0, 2, 1, 0, 20, 2, b'b', b'c', 0, 0, b'x',
        ];
        let packet = Packet::parse(&two).unwrap();
        assert_eq!(packet.extension(20), Some(&b"bc"[..]));
        assert_eq!(packet.extension(1), Some(&b""[..]));
        assert_eq!(packet.extension(0), None);
    }

    #[test]
    fn p11_padding_is_removed_and_impossible_padding_is_refused() {
        let mut bytes = [0x80u8; 20];
        bytes[0] = 0xa0;
        for (last, expected) in [(8, Some(0)), (1, Some(7)), (0, None), (9, None)] {
            bytes[19] = last;
            let length = Packet::parse(&bytes).ok().map(|packet| packet.payload().len());
            assert_eq!(length, expected, "padding {last}");
        }
    }

    #[test]
    fn truncated_headers_are_refused() {
        let full = [
            0x91, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4, 0xbe, 0xde, 0, 1, 0x10, b'a', 0, 0,
        ];
        assert!(Packet::parse(&full).is_ok());
        for length in 0..full.len() {
            assert!(Packet::parse(&full[..length]).is_err(), "{length}");
        }
        let mut version = full;
        version[0] = 0x51;
        assert!(Packet::parse(&version).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), first in 0x80u8..0xc0) {
            crate::rtp::fuzz::rtp(&bytes);
            let mut bytes = bytes;
            if let Some(start) = bytes.first_mut() {
                *start = first;
            }
            crate::rtp::fuzz::rtp(&bytes);
        }
    }
}
