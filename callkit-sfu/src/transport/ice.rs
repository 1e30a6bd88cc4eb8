//! The ICE-lite agent (RFC 8445 section 2.5): answers authenticated checks and selects the path.
//!
//! Path selection: the first valid check selects; later a nomination (USE-CANDIDATE) from elsewhere does,
//! or any valid check once the selected path has been silent for 300 ms. Firefox never nominates again
//! after a network change, so nomination alone would leave it on a dead path. Checks that are not
//! authentic are counted and never answered: no reply, no reflection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callkit_core::id::IdSource;
use callkit_core::redact::Secret;
use rtc_crypto::RTCCryptoProvider;
use rtc_stun::attributes::{ATTR_MESSAGE_INTEGRITY, ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message};
use rtc_stun::xoraddr::XorMappedAddress;

use super::Path;

/// A path that was silent for this long gives way to any valid check from elsewhere. Shorter, and two
/// interfaces of one client would take the path from each other; longer, and a call stays mute after a
/// network change.
const SILENT_PATH: Duration = Duration::from_millis(300);
/// Validated addresses per participant. A client has a handful of candidate pairs.
const MAX_PATHS: usize = 8;
/// Longest check that is looked at; browsers stay below 150 bytes.
const MAX_CHECK: usize = 600;
const HEADER: usize = 20;

/// Our short-term credentials for one participant (RFC 8839 section 5.4).
#[derive(Debug, Clone)]
pub struct IceCredentials {
    /// Finds the participant among all of the shard.
    pub ufrag: String,
    /// Proves that a check comes from who has our answer.
    pub pwd: Secret<String>,
}

impl IceCredentials {
    /// Random credentials: 80 bits of name, 160 bits of password.
    #[must_use]
    pub fn random(random: &mut IdSource) -> Self {
        Self {
            ufrag: ice_chars(random, 16),
            pwd: Secret::new(ice_chars(random, 32)),
        }
    }
}

fn ice_chars(random: &mut IdSource, count: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut text = String::with_capacity(count);
    let mut bits = 0_u128;
    for index in 0..count {
        if index % 24 == 0 {
            bits = random.next_u128();
        }
        text.push(char::from(ALPHABET[(bits & 31) as usize]));
        bits >>= 5;
    }
    text
}

/// Why a STUN datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StunReject {
    /// Not a well-formed STUN message, or without a valid FINGERPRINT.
    Malformed,
    /// Not a binding request.
    NotARequest,
    /// USERNAME is not `ours:theirs`.
    WrongUser,
    /// MESSAGE-INTEGRITY is missing or wrong.
    NotAuthentic,
}

/// An authentic check.
#[derive(Debug)]
pub struct Check {
    /// The reply, for the path that the check came on.
    pub reply: Vec<u8>,
    /// Whether this check made its path the selected one.
    pub selected: bool,
    /// An address that is no longer valid because a newer one took its place.
    pub displaced: Option<SocketAddr>,
}

/// The agent of one participant.
#[derive(Debug)]
pub struct IceAgent {
    credentials: IceCredentials,
    /// The USERNAME that valid checks carry.
    user: String,
    crypto: CryptoProvider,
    selected: Option<Selected>,
    /// Remote addresses with a valid check, least recently checked first.
    validated: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Selected {
    path: Path,
    last_received: Instant,
}

/// The crypto provider with a Debug form, which the foreign trait lacks.
#[derive(Clone)]
pub(super) struct CryptoProvider(pub(super) Arc<dyn RTCCryptoProvider>);

impl std::fmt::Debug for CryptoProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

impl IceAgent {
    /// An agent that answers checks of the client with `remote_ufrag`.
    #[must_use]
    pub fn new(credentials: IceCredentials, remote_ufrag: &str, crypto: Arc<dyn RTCCryptoProvider>) -> Self {
        let user = format!("{}:{remote_ufrag}", credentials.ufrag);
        Self {
            credentials,
            user,
            crypto: CryptoProvider(crypto),
            selected: None,
            validated: Vec::new(),
        }
    }

    /// Our user name fragment.
    #[must_use]
    pub fn ufrag(&self) -> &str {
        &self.credentials.ufrag
    }

    /// The path to send on.
    #[must_use]
    pub fn selected(&self) -> Option<Path> {
        self.selected.as_ref().map(|selected| selected.path)
    }

    /// The addresses from which packets are accepted.
    #[must_use]
    pub fn validated(&self) -> &[SocketAddr] {
        &self.validated
    }

    /// Notes that an authentic packet came on `path`.
    pub fn received(&mut self, now: Instant, remote: SocketAddr) {
        if let Some(selected) = &mut self.selected
            && selected.path.remote == remote
        {
            selected.last_received = now;
        }
    }

    /// Handles a STUN datagram that came on `path`.
    ///
    /// # Errors
    /// [`StunReject`]: to be counted and dropped.
    pub fn handle(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Result<Check, StunReject> {
        let request = self.authenticate(datagram)?;
        let authentic = request
            .attributes
            .0
            .iter()
            .take_while(|one| one.typ != ATTR_MESSAGE_INTEGRITY);
        let nominated = authentic.clone().any(|one| one.typ == ATTR_USE_CANDIDATE);
        let reply = self.reply(&request, path).ok_or(StunReject::Malformed)?;
        let displaced = self.validate(path.remote);
        let selected = self.select(now, path, nominated);
        Ok(Check {
            reply,
            selected,
            displaced,
        })
    }

    fn authenticate(&self, datagram: &[u8]) -> Result<Message, StunReject> {
        // The length has to be exact: FINGERPRINT is looked for at the end of the datagram.
        let length = datagram
            .get(2..4)
            .map_or(0, |bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])));
        if datagram.len() > MAX_CHECK || datagram.len() != HEADER + length || length % 4 != 0 {
            return Err(StunReject::Malformed);
        }
        let mut message = Message {
            raw: datagram.to_vec(),
            ..Message::default()
        };
        message.decode().map_err(|_| StunReject::Malformed)?;
        FINGERPRINT.check(&message).map_err(|_| StunReject::Malformed)?;
        if message.typ != BINDING_REQUEST {
            return Err(StunReject::NotARequest);
        }
        let user = message.get(ATTR_USERNAME).map_err(|_| StunReject::WrongUser)?;
        if user != self.user.as_bytes() {
            return Err(StunReject::WrongUser);
        }
        // What follows MESSAGE-INTEGRITY is not covered by it (RFC 8489 section 14.5), the name must be.
        let covered = message
            .attributes
            .0
            .iter()
            .take_while(|one| one.typ != ATTR_MESSAGE_INTEGRITY);
        if !covered.clone().any(|one| one.typ == ATTR_USERNAME) {
            return Err(StunReject::NotAuthentic);
        }
        let key = self.credentials.pwd.expose().as_bytes();
        MessageIntegrity::check(&mut message, key, self.crypto.0.crypto())
            .map_err(|_| StunReject::NotAuthentic)?;
        Ok(message)
    }

    fn reply(&self, request: &Message, path: Path) -> Option<Vec<u8>> {
        let integrity = MessageIntegrity::new_short_term_integrity_with_provider(
            self.credentials.pwd.expose().clone(),
            self.crypto.0.crypto(),
        );
        let mapped = XorMappedAddress {
            ip: path.remote.ip(),
            port: path.remote.port(),
        };
        let mut reply = Message::new();
        reply
            .build(&[
                Box::new(request.transaction_id),
                Box::new(BINDING_SUCCESS),
                Box::new(mapped),
                Box::new(integrity),
                Box::new(FINGERPRINT),
            ])
            .ok()?;
        Some(reply.raw)
    }

    /// Makes `remote` the most recently validated address.
    fn validate(&mut self, remote: SocketAddr) -> Option<SocketAddr> {
        self.validated.retain(|known| *known != remote);
        self.validated.push(remote);
        if self.validated.len() <= MAX_PATHS {
            return None;
        }
        let in_use = self.selected().map(|path| path.remote);
        let oldest = self.validated.iter().position(|known| Some(*known) != in_use)?;
        Some(self.validated.remove(oldest))
    }

    fn select(&mut self, now: Instant, path: Path, nominated: bool) -> bool {
        match &mut self.selected {
            Some(selected) if selected.path == path => {
                selected.last_received = now;
                false
            }
            Some(selected)
                if !nominated && now.saturating_duration_since(selected.last_received) <= SILENT_PATH =>
            {
                false
            }
            _ => {
                self.selected = Some(Selected {
                    path,
                    last_received: now,
                });
                true
            }
        }
    }
}

/// The part of USERNAME before the colon: whose check it is. Reads without allocating; nothing is
/// authenticated by it.
#[must_use]
pub fn addressee(datagram: &[u8]) -> Option<&str> {
    const USERNAME: u16 = 6;
    if datagram.len() > MAX_CHECK || datagram.get(..2)? != [0, 1] {
        return None;
    }
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
