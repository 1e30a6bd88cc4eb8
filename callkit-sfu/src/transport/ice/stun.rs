//! STUN binding messages of ICE (RFC 8489, RFC 8445 section 7): reading with bounds, checking, writing.

use callkit_core::redact::Secret;
use rtc_crypto::RTCCrypto;
use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLED, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME,
    RawAttribute,
};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, TransactionId};
use rtc_stun::xoraddr::XorMappedAddress;

use super::StunReject;
use crate::transport::Path;

/// Longest message that is looked at; browsers stay below 150 bytes.
const MAX_MESSAGE: usize = 600;
const HEADER: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Peer-reflexive, first preference, component 1 (RFC 8445 section 5.1.2.1): what our own checks announce.
const CHECK_PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// Names one of our requests and its answer.
pub type Transaction = [u8; 12];

/// What a STUN datagram is, by its header alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StunKind<'a> {
    /// A binding request for the agent with this user name fragment.
    Request(&'a str),
    /// An answer to a request of ours.
    Answer(Transaction),
    /// Anything else.
    Other,
}

/// Reads whose a datagram is, without allocating; nothing is authenticated by it.
#[must_use]
pub fn peek(datagram: &[u8]) -> StunKind<'_> {
    if datagram.len() > MAX_MESSAGE || datagram.get(4..8) != Some(&MAGIC_COOKIE[..]) {
        return StunKind::Other;
    }
    match datagram.get(..2) {
        Some([0, 1]) => addressee(datagram).map_or(StunKind::Other, StunKind::Request),
        Some([1, 1]) => datagram
            .get(8..HEADER)
            .and_then(|id| id.try_into().ok())
            .map_or(StunKind::Other, StunKind::Answer),
        _ => StunKind::Other,
    }
}

/// The part of USERNAME before the colon.
fn addressee(datagram: &[u8]) -> Option<&str> {
    const USERNAME: u16 = 6;
    let mut rest = datagram.get(HEADER..)?;
    while let [kind_high, kind_low, length_high, length_low, value @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        if u16::from_be_bytes([*kind_high, *kind_low]) == USERNAME {
            return std::str::from_utf8(value.get(..length)?).ok()?.split(':').next();
        }
        rest = value.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn decode(datagram: &[u8]) -> Result<Message, StunReject> {
    // The length has to be exact: FINGERPRINT is looked for at the end of the datagram.
    let length = datagram
        .get(2..4)
        .map_or(0, |bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])));
    if datagram.len() > MAX_MESSAGE || datagram.len() != HEADER + length || length % 4 != 0 {
        return Err(StunReject::Malformed);
    }
    let mut message = Message {
        raw: datagram.to_vec(),
        ..Message::default()
    };
    message.decode().map_err(|_| StunReject::Malformed)?;
    FINGERPRINT.check(&message).map_err(|_| StunReject::Malformed)?;
    Ok(message)
}

/// A well-formed binding request, not yet authentic.
#[derive(Debug)]
pub(super) struct Request(Message);

impl Request {
    pub(super) fn read(datagram: &[u8]) -> Result<Self, StunReject> {
        let message = decode(datagram)?;
        if message.typ == BINDING_REQUEST {
            Ok(Self(message))
        } else {
            Err(StunReject::NotARequest)
        }
    }

    /// Whether USERNAME is `user`, somewhere that MESSAGE-INTEGRITY may cover.
    pub(super) fn is_for(&self, user: &str) -> bool {
        self.0
            .get(ATTR_USERNAME)
            .is_ok_and(|found| found == user.as_bytes())
    }

    /// Checks MESSAGE-INTEGRITY; tells whether the request nominates its path.
    pub(super) fn authenticate(
        &mut self,
        pwd: &Secret<String>,
        crypto: &dyn RTCCrypto,
    ) -> Result<bool, StunReject> {
        // What follows MESSAGE-INTEGRITY is not covered by it (RFC 8489 section 14.5), the name must be.
        let covered = || {
            let attributes = self.0.attributes.0.iter();
            attributes.take_while(|one| one.typ != ATTR_MESSAGE_INTEGRITY)
        };
        if !covered().any(|one| one.typ == ATTR_USERNAME) {
            return Err(StunReject::NotAuthentic);
        }
        let nominates = covered().any(|one| one.typ == ATTR_USE_CANDIDATE);
        MessageIntegrity::check(&mut self.0, pwd.expose().as_bytes(), crypto)
            .map_err(|_| StunReject::NotAuthentic)?;
        Ok(nominates)
    }

    /// The response, for `path`.
    pub(super) fn reply(&self, path: Path, pwd: &Secret<String>, crypto: &dyn RTCCrypto) -> Option<Vec<u8>> {
        let integrity =
            MessageIntegrity::new_short_term_integrity_with_provider(pwd.expose().clone(), crypto);
        let mapped = XorMappedAddress {
            ip: path.remote.ip(),
            port: path.remote.port(),
        };
        let mut reply = Message::new();
        reply
            .build(&[
                Box::new(self.0.transaction_id),
                Box::new(BINDING_SUCCESS),
                Box::new(mapped),
                Box::new(integrity),
                Box::new(FINGERPRINT),
            ])
            .ok()?;
        Some(reply.raw)
    }
}

/// A request of ours, as the controlled agent that we are (RFC 8445 section 7.1).
pub(super) fn request(
    id: Transaction,
    user: &str,
    pwd: &Secret<String>,
    tie_breaker: u64,
    crypto: &dyn RTCCrypto,
) -> Option<Vec<u8>> {
    let attribute = |typ, value: &[u8]| {
        Some(RawAttribute {
            typ,
            length: u16::try_from(value.len()).ok()?,
            value: value.to_vec(),
        })
    };
    let integrity = MessageIntegrity::new_short_term_integrity_with_provider(pwd.expose().clone(), crypto);
    let mut request = Message::new();
    request
        .build(&[
            Box::new(TransactionId(id)),
            Box::new(BINDING_REQUEST),
            Box::new(attribute(ATTR_USERNAME, user.as_bytes())?),
            Box::new(attribute(ATTR_ICE_CONTROLLED, &tie_breaker.to_be_bytes())?),
            Box::new(attribute(ATTR_PRIORITY, &CHECK_PRIORITY.to_be_bytes())?),
            Box::new(integrity),
            Box::new(FINGERPRINT),
        ])
        .ok()?;
    Some(request.raw)
}

/// Checks that `datagram` is a success response made with `pwd`.
pub(super) fn check_answer(
    datagram: &[u8],
    pwd: &Secret<String>,
    crypto: &dyn RTCCrypto,
) -> Result<(), StunReject> {
    let mut message = decode(datagram)?;
    if message.typ != BINDING_SUCCESS {
        return Err(StunReject::Malformed);
    }
    MessageIntegrity::check(&mut message, pwd.expose().as_bytes(), crypto)
        .map_err(|_| StunReject::NotAuthentic)
}
