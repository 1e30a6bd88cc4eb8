//! STUN messages as the server reads and writes them (RFC 8489 sections 5 and 14, RFC 8656 section 18).

use std::net::{IpAddr, SocketAddr};

use rtc_crypto::RTCCrypto;
use rtc_stun::attributes::{
    ATTR_CHANNEL_NUMBER, ATTR_DATA, ATTR_DONT_FRAGMENT, ATTR_ERROR_CODE, ATTR_EVEN_PORT, ATTR_FINGERPRINT,
    ATTR_LIFETIME, ATTR_MESSAGE_INTEGRITY, ATTR_NONCE, ATTR_REALM, ATTR_REQUESTED_ADDRESS_FAMILY,
    ATTR_REQUESTED_TRANSPORT, ATTR_RESERVATION_TOKEN, ATTR_UNKNOWN_ATTRIBUTES, ATTR_USERNAME,
    ATTR_XOR_PEER_ADDRESS, ATTR_XOR_RELAYED_ADDRESS, ATTR_XORMAPPED_ADDRESS, AttrType,
};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_INDICATION, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, METHOD_DATA, Message,
    MessageType, Method, Setter as _, TransactionId,
};
use rtc_stun::xoraddr::XorMappedAddress;

/// Bytes before the attributes.
pub(super) const HEADER: usize = 20;
/// Longest request that is looked at; browsers stay below 250 bytes.
const MAX_REQUEST: usize = 1024;
/// Addresses in one CreatePermission. Ours has a handful to give.
pub(super) const MAX_PEERS: usize = 16;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// First bytes of a Send indication (RFC 8656 section 11.1).
const SEND_INDICATION: [u8; 2] = [0x00, 0x16];

/// Attributes that a request may have. Others below 0x8000 are refused (RFC 8489 section 14.11 says 420).
/// DONT-FRAGMENT asks for what is so anyway: relayed datagrams do not leave the machine.
const UNDERSTOOD: [AttrType; 12] = [
    ATTR_USERNAME,
    ATTR_MESSAGE_INTEGRITY,
    ATTR_CHANNEL_NUMBER,
    ATTR_LIFETIME,
    ATTR_XOR_PEER_ADDRESS,
    ATTR_REALM,
    ATTR_NONCE,
    ATTR_REQUESTED_ADDRESS_FAMILY,
    ATTR_EVEN_PORT,
    ATTR_REQUESTED_TRANSPORT,
    ATTR_DONT_FRAGMENT,
    ATTR_RESERVATION_TOKEN,
];

/// The error codes in use, with their reasons (RFC 8489 section 14.8, RFC 8656 section 19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    BadRequest,
    Unauthorized,
    Forbidden,
    UnknownAttribute,
    AllocationMismatch,
    StaleNonce,
    FamilyNotSupported,
    WrongCredentials,
    UnsupportedTransport,
    FamilyMismatch,
    QuotaReached,
    InsufficientCapacity,
}

impl Refusal {
    fn code_and_reason(self) -> (u16, &'static str) {
        match self {
            Self::BadRequest => (400, "Bad Request"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Forbidden => (403, "Forbidden"),
            Self::UnknownAttribute => (420, "Unknown Attribute"),
            Self::AllocationMismatch => (437, "Allocation Mismatch"),
            Self::StaleNonce => (438, "Stale Nonce"),
            Self::FamilyNotSupported => (440, "Address Family not Supported"),
            Self::WrongCredentials => (441, "Wrong Credentials"),
            Self::UnsupportedTransport => (442, "Unsupported Transport Protocol"),
            Self::FamilyMismatch => (443, "Peer Address Family Mismatch"),
            Self::QuotaReached => (486, "Allocation Quota Reached"),
            Self::InsufficientCapacity => (508, "Insufficient Capacity"),
        }
    }
}

/// A well-formed request.
#[derive(Debug)]
pub(super) struct Request {
    message: Message,
    /// Attributes that count: those before MESSAGE-INTEGRITY (RFC 8489 section 14.5), else all.
    covered: usize,
}

impl Request {
    /// Reads a datagram or frame. `None` for what is not worth an answer.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let [_, _, high, low, ..] = bytes else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        // The length has to be exact: FINGERPRINT is looked for at the end of the datagram.
        if bytes.len() > MAX_REQUEST || bytes.len() != HEADER + length || length % 4 != 0 {
            return None;
        }
        let mut message = Message {
            raw: bytes.to_vec(),
            ..Message::default()
        };
        message.decode().ok()?;
        if message.typ.class != CLASS_REQUEST {
            return None;
        }
        let attributes = &message.attributes.0;
        let signed = attributes
            .iter()
            .position(|one| one.typ == ATTR_MESSAGE_INTEGRITY);
        let covered = signed.unwrap_or(attributes.len());
        if attributes.iter().any(|one| one.typ == ATTR_FINGERPRINT) {
            FINGERPRINT.check(&message).ok()?;
        }
        Some(Self { message, covered })
    }

    pub(super) fn method(&self) -> Method {
        self.message.typ.method
    }

    pub(super) fn transaction(&self) -> TransactionId {
        self.message.transaction_id
    }

    pub(super) fn is_signed(&self) -> bool {
        self.covered < self.message.attributes.0.len()
            && self.message.attributes.0[self.covered].typ == ATTR_MESSAGE_INTEGRITY
    }

    pub(super) fn get(&self, kind: AttrType) -> Option<&[u8]> {
        self.all(kind).next()
    }

    fn all(&self, kind: AttrType) -> impl Iterator<Item = &[u8]> {
        let covered = &self.message.attributes.0[..self.covered];
        covered
            .iter()
            .filter(move |one| one.typ == kind)
            .map(|one| one.value.as_slice())
    }

    /// Whether MESSAGE-INTEGRITY was made with `key`.
    pub(super) fn is_signed_with(&mut self, key: &[u8], crypto: &dyn RTCCrypto) -> bool {
        MessageIntegrity::check(&mut self.message, key, crypto).is_ok()
    }

    /// The attributes that a server has to understand and ours does not.
    pub(super) fn not_understood(&self) -> Vec<u16> {
        let covered = &self.message.attributes.0[..self.covered];
        covered
            .iter()
            .filter(|one| one.typ.required() && !UNDERSTOOD.contains(&one.typ))
            .map(|one| one.typ.value())
            .collect()
    }

    /// The peers of CreatePermission and ChannelBind. `None` if one is malformed or there are too many.
    pub(super) fn peers(&self) -> Option<Vec<SocketAddr>> {
        let peers: Option<Vec<_>> = self
            .all(ATTR_XOR_PEER_ADDRESS)
            .take(MAX_PEERS + 1)
            .map(|value| unmask(value, self.transaction()))
            .collect();
        peers.filter(|peers| peers.len() <= MAX_PEERS)
    }
}

/// An answer being written.
#[derive(Debug)]
pub(super) struct Answer {
    message: Message,
    has_fingerprint: bool,
}

impl Answer {
    pub(super) fn success(request: &Request) -> Self {
        Self::new(request, CLASS_SUCCESS_RESPONSE)
    }

    pub(super) fn error(request: &Request, refusal: Refusal) -> Self {
        let (code, reason) = refusal.code_and_reason();
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend(reason.as_bytes());
        let mut answer = Self::new(request, CLASS_ERROR_RESPONSE);
        answer.message.add(ATTR_ERROR_CODE, &value);
        if refusal == Refusal::UnknownAttribute {
            let unknown: Vec<u8> = request
                .not_understood()
                .iter()
                .take(8)
                .flat_map(|kind| kind.to_be_bytes())
                .collect();
            answer.message.add(ATTR_UNKNOWN_ATTRIBUTES, &unknown);
        }
        answer
    }

    fn new(request: &Request, class: rtc_stun::message::MessageClass) -> Self {
        let mut message = Message::new();
        message.transaction_id = request.transaction();
        message.typ = MessageType::new(request.method(), class);
        message.write_header();
        let has_fingerprint = request
            .message
            .attributes
            .0
            .iter()
            .any(|one| one.typ == ATTR_FINGERPRINT);
        Self {
            message,
            has_fingerprint,
        }
    }

    /// How to authenticate.
    pub(super) fn challenge(mut self, realm: &str, nonce: &str) -> Self {
        self.message.add(ATTR_REALM, realm.as_bytes());
        self.message.add(ATTR_NONCE, nonce.as_bytes());
        self
    }

    pub(super) fn mapped(self, client: SocketAddr) -> Self {
        self.address(ATTR_XORMAPPED_ADDRESS, client)
    }

    pub(super) fn relayed(self, relayed: SocketAddr) -> Self {
        self.address(ATTR_XOR_RELAYED_ADDRESS, relayed)
    }

    fn address(mut self, kind: AttrType, address: SocketAddr) -> Self {
        let masked = XorMappedAddress {
            ip: address.ip(),
            port: address.port(),
        };
        // Fails only for an address of neither family.
        let _ = masked.add_to_as(&mut self.message, kind);
        self
    }

    /// LIFETIME, seconds.
    pub(super) fn lifetime(mut self, seconds: u32) -> Self {
        self.message.add(ATTR_LIFETIME, &seconds.to_be_bytes());
        self
    }

    /// The bytes, signed with `key` if there is one, with a fingerprint if the request had one.
    pub(super) fn finish(mut self, signature: Option<(&[u8], &dyn RTCCrypto)>) -> Vec<u8> {
        if let Some((key, crypto)) = signature {
            let integrity = MessageIntegrity::new_raw_integrity_with_provider(key, crypto);
            // Without a signature the client does not accept the answer, which is safe.
            let _ = integrity.add_to(&mut self.message);
        }
        if self.has_fingerprint {
            let _ = FINGERPRINT.add_to(&mut self.message);
        }
        self.message.raw
    }
}

/// The peer of a Send indication and where its data is (RFC 8656 section 11.2). Without allocating: it is
/// the form of media until a channel is bound.
pub(super) fn send_indication(bytes: &[u8]) -> Option<(SocketAddr, std::ops::Range<usize>)> {
    let (header, mut rest) = bytes.split_at_checked(HEADER)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[..2] != SEND_INDICATION || header[4..8] != COOKIE || rest.len() != length {
        return None;
    }
    let mut transaction = TransactionId::default();
    transaction.0.copy_from_slice(&header[8..]);
    let (mut peer, mut data) = (None, None);
    while let [kind_high, kind_low, length_high, length_low, value @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        let start = bytes.len() - value.len();
        let content = value.get(..length)?;
        match AttrType(u16::from_be_bytes([*kind_high, *kind_low])) {
            ATTR_XOR_PEER_ADDRESS if peer.is_none() => peer = Some(unmask(content, transaction)?),
            ATTR_DATA if data.is_none() => data = Some(start..start + length),
            ATTR_XOR_PEER_ADDRESS | ATTR_DATA | ATTR_DONT_FRAGMENT => {}
            unknown if unknown.required() => return None,
            _ => {}
        }
        rest = value.get(length.next_multiple_of(4)..)?;
    }
    Some((peer?, data?))
}

/// A Data indication (RFC 8656 section 11.3).
pub(super) fn data_indication(peer: SocketAddr, data: &[u8], transaction: TransactionId) -> Vec<u8> {
    let mut message = Message::new();
    message.transaction_id = transaction;
    message.typ = MessageType::new(METHOD_DATA, CLASS_INDICATION);
    message.write_header();
    let masked = XorMappedAddress {
        ip: peer.ip(),
        port: peer.port(),
    };
    let _ = masked.add_to_as(&mut message, ATTR_XOR_PEER_ADDRESS);
    message.add(ATTR_DATA, data);
    message.raw
}

/// Whether the bytes claim to be a Send indication.
pub(super) fn is_send_indication(bytes: &[u8]) -> bool {
    bytes.starts_with(&SEND_INDICATION)
}

/// Reads an XOR-ed address (RFC 8489 section 14.2).
fn unmask(value: &[u8], transaction: TransactionId) -> Option<SocketAddr> {
    let [_, family, port_high, port_low, ip @ ..] = value else {
        return None;
    };
    let port = u16::from_be_bytes([port_high ^ COOKIE[0], port_low ^ COOKIE[1]]);
    let ip = match (family, ip.len()) {
        (1, 4) => IpAddr::from(std::array::from_fn::<u8, 4, _>(|at| ip[at] ^ COOKIE[at])),
        (2, 16) => IpAddr::from(std::array::from_fn::<u8, 16, _>(|at| match at {
            0..=3 => ip[at] ^ COOKIE[at],
            _ => ip[at] ^ transaction.0[at - 4],
        })),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}
