//! Datagrams in a TCP stream: two bytes of length before each (RFC 4571 section 2, RFC 6544 section 10.1).

/// Longest frame that is taken: an Ethernet frame, as over UDP.
pub const MAX_FRAME: usize = 1500;
/// Bytes before each datagram.
pub const FRAME_HEADER: usize = 2;

/// A frame is longer than [`MAX_FRAME`]: whatever is at the other end, it does not speak this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame is too long")]
pub struct FrameTooLong;

/// Cuts a stream into datagrams. What is whole in a piece is handed out in place; only the rest is kept.
#[derive(Debug, Default)]
pub struct Deframer {
    partial: Vec<u8>,
}

impl Deframer {
    /// Takes the next piece of the stream and hands out what is whole.
    ///
    /// # Errors
    /// [`FrameTooLong`]: the stream cannot be read on.
    pub fn push(&mut self, piece: &mut [u8], mut take: impl FnMut(&mut [u8])) -> Result<(), FrameTooLong> {
        let mut rest = piece;
        while !self.partial.is_empty() {
            let wanted = match length(&self.partial)? {
                Some(length) => FRAME_HEADER + length,
                None => FRAME_HEADER,
            };
            let missing = wanted - self.partial.len();
            if missing == 0 {
                // An empty frame is nothing.
                if wanted > FRAME_HEADER {
                    take(&mut self.partial[FRAME_HEADER..]);
                }
                self.partial.clear();
                break;
            }
            if rest.is_empty() {
                return Ok(());
            }
            let (head, tail) = rest.split_at_mut(missing.min(rest.len()));
            self.partial.extend_from_slice(head);
            rest = tail;
        }
        while let Some(length) = length(rest)? {
            if rest.len() < FRAME_HEADER + length {
                break;
            }
            let (frame, tail) = rest.split_at_mut(FRAME_HEADER + length);
            if length > 0 {
                take(&mut frame[FRAME_HEADER..]);
            }
            rest = tail;
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }
}

/// The length of the frame that `bytes` begin with; `None` if too little of it is there to tell.
fn length(bytes: &[u8]) -> Result<Option<usize>, FrameTooLong> {
    let Some(header) = bytes.first_chunk::<FRAME_HEADER>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*header));
    if length > MAX_FRAME {
        return Err(FrameTooLong);
    }
    Ok(Some(length))
}

/// Appends `datagram` as a frame; nothing if it is longer than a frame can say.
pub fn write_frame(out: &mut Vec<u8>, datagram: &[u8]) {
    if let Ok(length) = u16::try_from(datagram.len()) {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(datagram);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn datagrams_come_out_as_they_went_in_however_the_stream_is_cut(
            datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..40),
            cuts in prop::collection::vec(1_usize..700, 1..60),
        ) {
            let mut stream = Vec::new();
            for datagram in &datagrams {
                write_frame(&mut stream, datagram);
                // An empty frame is nothing.
                write_frame(&mut stream, &[]);
            }
            let (mut deframer, mut out, mut rest) = (Deframer::default(), Vec::new(), &mut stream[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, tail) = rest.split_at_mut((*cut).min(rest.len()));
                deframer.push(piece, |datagram| out.push(datagram.to_vec())).unwrap();
                rest = tail;
            }
            out.retain(|datagram| !datagram.is_empty());
            prop_assert_eq!(out, datagrams);
        }

        #[test]
        fn any_stream_is_survived_and_little_of_it_kept(pieces: Vec<Vec<u8>>) {
            let mut deframer = Deframer::default();
            for mut piece in pieces {
                if deframer.push(&mut piece, |datagram| assert!(datagram.len() <= MAX_FRAME)).is_err() {
                    break;
                }
                prop_assert!(deframer.partial.len() < FRAME_HEADER + MAX_FRAME);
            }
        }
    }

    #[test]
    fn what_does_not_speak_this_is_recognised_by_its_first_bytes() {
        for greeting in [&b"GET / HTTP/1.1\r\n"[..], &[22, 3, 1, 2, 0], b"SSH-2.0"] {
            let mut deframer = Deframer::default();
            assert_eq!(deframer.push(&mut greeting.to_vec(), |_| {}), Err(FrameTooLong));
        }
    }
}
