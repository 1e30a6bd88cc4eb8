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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc_crypto::providers::RingProvider;
    use rtc_stun::attributes::RawAttribute;
    use rtc_stun::message::TransactionId;

    use super::*;
    use crate::media::moment;

    fn credentials() -> IceCredentials {
        IceCredentials {
            ufrag: "ours".to_owned(),
            pwd: Secret::new("password-of-this-agent-1234".to_owned()),
        }
    }

    fn agent() -> IceAgent {
        IceAgent::new(credentials(), "theirs", Arc::new(RingProvider::new()))
    }

    fn path(port: u16) -> Path {
        Path::udp(SocketAddr::from(([192, 0, 2, 1], port)), None)
    }

    fn check(user: &str, pwd: &str, nominate: bool) -> Vec<u8> {
        let provider = RingProvider::new();
        let integrity =
            MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), provider.crypto());
        let name = RawAttribute {
            typ: ATTR_USERNAME,
            length: user.len() as u16,
            value: user.into(),
        };
        let mut request = Message::new();
        request
            .build(&[
                Box::new(TransactionId([3; 12])),
                Box::new(BINDING_REQUEST),
                Box::new(name),
            ])
            .unwrap();
        if nominate {
            request.add(ATTR_USE_CANDIDATE, &[]);
        }
        request.build_on(&integrity);
        request.raw
    }

    trait BuildOn {
        fn build_on(&mut self, integrity: &MessageIntegrity<'_>);
    }

    impl BuildOn for Message {
        fn build_on(&mut self, integrity: &MessageIntegrity<'_>) {
            use rtc_stun::message::Setter as _;
            integrity.add_to(self).unwrap();
            FINGERPRINT.add_to(self).unwrap();
        }
    }

    fn valid(nominate: bool) -> Vec<u8> {
        check("ours:theirs", credentials().pwd.expose(), nominate)
    }

    #[test]
    fn the_first_valid_check_selects_and_the_reply_is_authentic() {
        let (mut agent, now) = (agent(), moment());
        let outcome = agent.handle(now, path(1), &valid(false)).unwrap();
        assert!(outcome.selected);
        assert_eq!(agent.selected(), Some(path(1)));
        let mut reply = Message {
            raw: outcome.reply,
            ..Message::default()
        };
        reply.decode().unwrap();
        assert_eq!(
            (reply.typ, reply.transaction_id),
            (BINDING_SUCCESS, TransactionId([3; 12]))
        );
        FINGERPRINT.check(&reply).unwrap();
        let pwd = credentials();
        MessageIntegrity::check(
            &mut reply,
            pwd.pwd.expose().as_bytes(),
            RingProvider::new().crypto(),
        )
        .unwrap();
    }

    #[test]
    fn a_path_in_use_gives_way_to_a_nomination_or_after_silence_only() {
        let (mut agent, now) = (agent(), moment());
        let after = |millis| now + Duration::from_millis(millis);
        agent.handle(now, path(1), &valid(true)).unwrap();
        assert!(!agent.handle(after(200), path(2), &valid(false)).unwrap().selected);
        agent.received(after(250), path(1).remote);
        assert!(!agent.handle(after(500), path(2), &valid(false)).unwrap().selected);
        assert!(agent.handle(after(600), path(2), &valid(false)).unwrap().selected);
        assert!(agent.handle(after(601), path(3), &valid(true)).unwrap().selected);
        assert_eq!(agent.selected(), Some(path(3)));
    }

    #[test]
    fn what_is_not_authentic_is_named_and_changes_nothing() {
        let (mut agent, now) = (agent(), moment());
        let pwd = credentials();
        let cases = [
            (check("ours:theirs", "wrong", true), StunReject::NotAuthentic),
            (
                check("ours:others", pwd.pwd.expose(), true),
                StunReject::WrongUser,
            ),
            (
                check("yours:theirs", pwd.pwd.expose(), true),
                StunReject::WrongUser,
            ),
            (valid(true)[..40].to_vec(), StunReject::Malformed),
            ([valid(true), vec![0; 4]].concat(), StunReject::Malformed),
            (vec![0; 20], StunReject::Malformed),
        ];
        for (datagram, expected) in cases {
            assert_eq!(agent.handle(now, path(1), &datagram).err(), Some(expected));
        }
        assert!(agent.selected().is_none() && agent.validated().is_empty());
    }

    #[test]
    fn a_nomination_behind_the_integrity_does_not_count() {
        let (mut agent, now) = (agent(), moment());
        agent.handle(now, path(1), &valid(true)).unwrap();
        let mut message = Message {
            raw: valid(false),
            ..Message::default()
        };
        message.decode().unwrap();
        // Without the fingerprint, with a nomination behind the integrity, with a fresh fingerprint.
        let kept: Vec<u8> = message.raw[..message.raw.len() - 8].to_vec();
        let mut forged = Message {
            raw: kept,
            ..Message::default()
        };
        forged.length = forged.raw.len() as u32 - 20;
        forged.write_length();
        forged.add(ATTR_USE_CANDIDATE, &[]);
        rtc_stun::message::Setter::add_to(&FINGERPRINT, &mut forged).unwrap();
        let outcome = agent.handle(now, path(2), &forged.raw);
        assert!(outcome.is_ok_and(|outcome| !outcome.selected));
    }

    #[test]
    fn the_number_of_addresses_is_bounded_and_the_selected_one_stays() {
        let (mut agent, now) = (agent(), moment());
        agent.handle(now, path(1), &valid(true)).unwrap();
        for port in 2..40 {
            agent.handle(now, path(port), &valid(false)).unwrap();
        }
        assert_eq!(agent.validated().len(), MAX_PATHS);
        assert!(agent.validated().contains(&path(1).remote));
    }

    #[test]
    fn the_addressee_is_read_without_trusting_lengths() {
        assert_eq!(addressee(&valid(true)), Some("ours"));
        let mut cut = valid(true);
        cut[23] = 255;
        assert_eq!(addressee(&cut), None);
    }

    proptest! {
        #[test]
        fn a_check_with_changed_bytes_is_never_taken(
            at in any::<prop::sample::Index>(),
            change in 1_u8..,
            port: u16,
        ) {
            let mut datagram = valid(true);
            let at = at.index(datagram.len());
            datagram[at] ^= change;
            let _ = addressee(&datagram);
            prop_assert!(agent().handle(moment(), path(port), &datagram).is_err());
        }

        #[test]
        fn any_bytes_are_survived(mut datagram: Vec<u8>) {
            let _ = addressee(&datagram);
            prop_assert!(agent().handle(moment(), path(1), &datagram).is_err());
            datagram.splice(..0, [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
            let _ = addressee(&datagram);
            prop_assert!(agent().handle(moment(), path(1), &datagram).is_err());
        }
    }
}
