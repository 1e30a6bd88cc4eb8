//! [`Deframer`]: messages out of a byte stream (RFC 8656 section 3.1, RFC 8489 section 6.2.2): STUN by its
//! length, ChannelData by its length and padded to four bytes.

use super::{FIRST_CHANNEL, LAST_CHANNEL};

/// Longest frame: a media packet in a Send indication has about 1300 bytes, the longest DTLS datagram 1500.
/// Whoever sends more does not carry media of ours.
pub(super) const MAX_FRAME: usize = 4096;

/// The stream is not STUN or ChannelData, or a frame is too long. There is no way to find the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadStream;

/// Collects the bytes of one connection.
#[derive(Debug, Default)]
pub struct Deframer {
    /// Never longer than one frame and what a read added.
    bytes: Vec<u8>,
}

impl Deframer {
    /// Takes `bytes` and hands each complete frame, without padding, to `handle`.
    ///
    /// # Errors
    /// [`BadStream`]: close the connection.
    pub fn push(&mut self, bytes: &[u8], mut handle: impl FnMut(&[u8])) -> Result<(), BadStream> {
        self.bytes.extend_from_slice(bytes);
        let mut start = 0;
        while let Some((frame, padded)) = span(&self.bytes[start..])? {
            let Some(rest) = self.bytes.get(start..start + padded) else {
                break;
            };
            handle(&rest[..frame]);
            start += padded;
        }
        self.bytes.drain(..start);
        Ok(())
    }
}

/// Length of the first frame, without and with padding, once its head is there.
fn span(bytes: &[u8]) -> Result<Option<(usize, usize)>, BadStream> {
    let [first, _, high, low, ..] = bytes else {
        return match bytes {
            [first, ..] if !is_head(*first) => Err(BadStream),
            _ => Ok(None),
        };
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let frame = match first {
        0..=3 if length % 4 == 0 => super::message::HEADER + length,
        first if is_head(*first) && *first > 3 => super::CHANNEL_HEADER + length,
        _ => return Err(BadStream),
    };
    if frame > MAX_FRAME {
        return Err(BadStream);
    }
    Ok(Some((frame, frame.next_multiple_of(4))))
}

fn is_head(first: u8) -> bool {
    matches!(first, 0..=3 | FIRST_CHANNEL..=LAST_CHANNEL)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, BadStream> {
        let (mut deframer, mut found) = (Deframer::default(), Vec::new());
        for chunk in chunks {
            deframer.push(chunk, |frame| found.push(frame.to_vec()))?;
        }
        Ok(found)
    }

    fn channel(data: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x40, 1, 0, data.len() as u8];
        frame.extend(data);
        frame
    }

    fn stun(attributes: usize) -> Vec<u8> {
        let mut frame = vec![0, 1, 0, attributes as u8];
        frame.resize(HEADER + attributes, 7);
        frame
    }

    use super::super::message::HEADER;

    #[test]
    fn what_is_no_turn_stream_is_told_at_its_first_byte() {
        for bad in [b"GET / HTTP/1.1\r\n".as_slice(), &[22, 3, 1], &[0x3f], &[0x80, 0]] {
            assert_eq!(frames(&[bad]), Err(BadStream), "{bad:?}");
        }
        assert_eq!(
            frames(&[&[0, 1, 0, 3]]),
            Err(BadStream),
            "a STUN length that is no multiple of four"
        );
        assert_eq!(
            frames(&[&[0x40, 0, 0xff, 0xff]]),
            Err(BadStream),
            "longer than any media packet"
        );
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_however_the_stream_is_cut(
            sizes in prop::collection::vec((any::<bool>(), 0_usize..60), 1..8),
            cuts in prop::collection::vec(1_usize..40, 1..40),
        ) {
            let sent: Vec<Vec<u8>> = sizes
                .iter()
                .map(|(is_stun, size)| if *is_stun { stun(size / 4 * 4) } else { channel(&vec![9; *size]) })
                .collect();
            let mut stream = Vec::new();
            for frame in &sent {
                stream.extend(frame);
                stream.resize(stream.len().next_multiple_of(4), 0);
            }
            let (mut chunks, mut rest) = (Vec::new(), stream.as_slice());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, left) = rest.split_at(rest.len().min(*cut));
                chunks.push(chunk);
                rest = left;
            }
            prop_assert_eq!(frames(&chunks), Ok(sent));
        }

        #[test]
        fn no_stream_makes_it_keep_more_than_a_frame(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..30)) {
            let mut deframer = Deframer::default();
            for chunk in &chunks {
                if deframer.push(chunk, |_| {}).is_err() { break; }
                prop_assert!(deframer.bytes.len() < MAX_FRAME + 4);
            }
        }
    }
}
