//! Reads the SRTP profiles out of a ClientHello before the DTLS server sees it (RFC 5764 section 4.1.1).
//!
//! The DTLS crate takes the client's first profile that we also have, and Chromium lists
//! AES_CM_128_HMAC_SHA1_80 first. So the list is read here and the server is configured with the one
//! profile that we want. A hello with post-quantum key shares spans several datagrams: they are held back
//! until it is whole.

/// AEAD_AES_128_GCM (RFC 7714 section 14.2).
pub(super) const PROFILE_GCM_128: u16 = 7;

const RECORD_HEADER: usize = 13;
const HANDSHAKE: u8 = 22;
/// Length of a handshake message header in DTLS.
pub(super) const MESSAGE_HEADER: usize = 12;
const CLIENT_HELLO: u8 = 1;
/// Longest ClientHello that is put together; with X25519MLKEM768 it has about 1.6 KiB.
const MAX_HELLO: usize = 8 * 1024;
/// Datagrams held back at most.
const MAX_HELD: usize = 8;

/// What is known of the hello.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Peek {
    /// More datagrams are needed.
    Incomplete,
    /// The profiles offered; empty without `use_srtp`.
    Profiles(Vec<u16>),
    /// Cannot be read: no hello, or out of bounds.
    Unreadable,
}

/// Collects the first ClientHello.
#[derive(Debug, Default)]
pub(super) struct HelloReader {
    body: Vec<u8>,
    filled: Vec<bool>,
    held: Vec<Vec<u8>>,
}

impl HelloReader {
    /// Takes a datagram and tells what is known after it.
    pub(super) fn push(&mut self, datagram: &[u8]) -> Peek {
        if self.held.len() == MAX_HELD {
            return Peek::Unreadable;
        }
        self.held.push(datagram.to_vec());
        if self.collect(datagram).is_none() {
            return Peek::Unreadable;
        }
        if self.filled.is_empty() || self.filled.contains(&false) {
            return Peek::Incomplete;
        }
        profiles(&self.body).map_or(Peek::Unreadable, Peek::Profiles)
    }

    /// The datagrams taken, in order, for the DTLS server.
    pub(super) fn into_held(self) -> Vec<Vec<u8>> {
        self.held
    }

    fn collect(&mut self, datagram: &[u8]) -> Option<()> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let header = rest.get(..RECORD_HEADER)?;
            let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
            let mut record = rest.get(RECORD_HEADER..RECORD_HEADER + length)?;
            if header[0] != HANDSHAKE {
                return None;
            }
            while !record.is_empty() {
                record = self.fragment(record)?;
            }
            rest = &rest[RECORD_HEADER + length..];
        }
        Some(())
    }

    /// Takes one handshake fragment (RFC 6347 section 4.2.2) and returns what follows it.
    fn fragment<'a>(&mut self, record: &'a [u8]) -> Option<&'a [u8]> {
        let header = record.get(..MESSAGE_HEADER)?;
        let (total, offset, length) = fragment_span(header)?;
        let data = record.get(MESSAGE_HEADER..MESSAGE_HEADER + length)?;
        if header[0] != CLIENT_HELLO || total == 0 || total > MAX_HELLO || offset + length > total {
            return None;
        }
        if self.filled.is_empty() {
            self.body = vec![0; total];
            self.filled = vec![false; total];
        } else if self.filled.len() != total {
            return None;
        }
        self.body[offset..offset + length].copy_from_slice(data);
        self.filled[offset..offset + length].fill(true);
        Some(&record[MESSAGE_HEADER + length..])
    }
}

fn big_endian(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |value, byte| (value << 8) | usize::from(*byte))
}

/// Length of the message, offset and length of this fragment (RFC 6347 section 4.2.2), unchecked; `None` if the
/// header is cut short.
pub(super) fn fragment_span(header: &[u8]) -> Option<(usize, usize, usize)> {
    let header = header.get(..MESSAGE_HEADER)?;
    Some((
        big_endian(&header[1..4]),
        big_endian(&header[6..9]),
        big_endian(&header[9..12]),
    ))
}

/// A cursor over length-prefixed fields.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        self.take(bytes).map(big_endian)
    }

    fn vector(&mut self, length_bytes: usize) -> Option<Self> {
        let length = self.number(length_bytes)?;
        self.take(length).map(Fields)
    }
}

/// The profiles in the `use_srtp` extension of a ClientHello body; empty without the extension.
fn profiles(body: &[u8]) -> Option<Vec<u16>> {
    const USE_SRTP: usize = 14;
    let mut hello = Fields(body);
    hello.take(2 + 32)?;
    hello.vector(1)?; // session id
    hello.vector(1)?; // cookie
    hello.vector(2)?; // cipher suites
    hello.vector(1)?; // compression methods
    if hello.0.is_empty() {
        return Some(Vec::new());
    }
    let mut extensions = hello.vector(2)?;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let mut value = extensions.vector(2)?;
        if kind == USE_SRTP {
            let list = value.vector(2)?;
            return Some(
                list.0
                    .chunks_exact(2)
                    .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                    .collect(),
            );
        }
    }
    Some(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(profiles: &[u16], padding: usize) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([7; 32]);
        body.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
        let mut srtp = u16::try_from(profiles.len() * 2).unwrap().to_be_bytes().to_vec();
        srtp.extend(profiles.iter().flat_map(|one| one.to_be_bytes()));
        srtp.push(0);
        let mut extensions = Vec::new();
        for (kind, value) in [(21_u16, vec![0; padding]), (14, srtp)] {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            extensions.extend(value);
        }
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        body
    }

    fn record(body: &[u8], offset: usize, length: usize) -> Vec<u8> {
        let three = |value: usize| u32::try_from(value).unwrap().to_be_bytes()[1..].to_vec();
        let mut message = vec![CLIENT_HELLO];
        message.extend(three(body.len()));
        message.extend([0, 0]);
        message.extend(three(offset));
        message.extend(three(length));
        message.extend(&body[offset..offset + length]);
        let mut record = vec![HANDSHAKE, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
        record.extend(message);
        record
    }

    #[test]
    fn profiles_of_a_hello_in_one_datagram_are_read() {
        let body = hello(&[1, 7, 8], 0);
        assert_eq!(
            HelloReader::default().push(&record(&body, 0, body.len())),
            Peek::Profiles(vec![1, 7, 8])
        );
    }

    #[test]
    fn a_hello_over_several_datagrams_is_put_together_in_any_order() {
        let body = hello(&[1, 7], 1500);
        let mut reader = HelloReader::default();
        assert_eq!(
            reader.push(&record(&body, 1000, body.len() - 1000)),
            Peek::Incomplete
        );
        assert_eq!(reader.push(&record(&body, 0, 600)), Peek::Incomplete);
        assert_eq!(reader.push(&record(&body, 500, 500)), Peek::Profiles(vec![1, 7]));
        assert_eq!(reader.into_held().len(), 3);
    }

    #[test]
    fn what_is_no_hello_or_too_much_is_unreadable() {
        assert_eq!(HelloReader::default().push(&[22, 1, 2]), Peek::Unreadable);
        assert_eq!(HelloReader::default().push(&[23; 40]), Peek::Unreadable);
        let body = hello(&[7], 900);
        let mut reader = HelloReader::default();
        for _ in 0..MAX_HELD {
            assert_eq!(reader.push(&record(&body, 0, 1)), Peek::Incomplete);
        }
        assert_eq!(reader.push(&record(&body, 0, body.len())), Peek::Unreadable);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(datagrams: Vec<Vec<u8>>) {
            let mut reader = HelloReader::default();
            for datagram in &datagrams {
                reader.push(datagram);
            }
        }

        #[test]
        fn any_hello_body_is_survived(body: Vec<u8>) {
            let _ = profiles(&body);
        }
    }
}
