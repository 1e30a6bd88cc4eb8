//! The DTLS server of one participant, over the sans-I/O endpoint of `rtc-dtls` (RFC 5764).
//!
//! It prefers AES-128-GCM, checks the client's certificate against the fingerprint of the offer, yields
//! the SRTP keys once and tells when the client closes. What the foreign stack does not bound (handshake
//! fragments and queued records of somebody who has a valid path but no good intentions) is bounded here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc_crypto::{HashAlgorithm, RTCCryptoProvider};
use rtc_dtls::config::{
    ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig, VerifyPeerCertificateFn,
};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;

use super::hello::{HelloReader, MESSAGE_HEADER, PROFILE_GCM_128, Peek, fragment_span};
use super::srtp::{Profile, Role, SrtpSession};
use crate::sdp::Fingerprint;

/// Pause before a flight is repeated for the first time; each later pause is twice as long. The second of
/// RFC 6347 section 4.2.4.1 would be felt as a second without picture at every lost datagram.
const FIRST_REPEAT: Duration = Duration::from_millis(100);
/// What the stack is told. It knows fixed intervals only, and gives up after seven: its clock is put forward to
/// the moment it waits for whenever ours says that a flight is due. Seven of ours are 12.7 s.
const STACK_INTERVAL: Duration = Duration::from_millis(100);
/// Exporter label of RFC 5764 section 4.2.
const EXPORTER: &str = "EXTRACTOR-dtls_srtp";
/// Datagrams that a handshake may take; a browser needs four, with losses perhaps twenty.
const MAX_DATAGRAMS: u32 = 256;
/// Plain handshake fragments; bounds the reassembly of the stack, which keeps and walks all of them.
const MAX_PLAIN_FRAGMENTS: u32 = 256;
/// Encrypted handshake records: the Finished message and its repetitions.
const MAX_SEALED_RECORDS: u32 = 16;
/// Plain handshake fragments after the handshake: a client that missed our last flight repeats its own.
const MAX_LATE_FRAGMENTS: u32 = 64;
/// Longest handshake message; a certificate chain of a browser has below 1 KiB.
const MAX_MESSAGE: usize = 16 * 1024;

/// The address the endpoint knows the client by. One constant: a change of path is not its business.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// One end of a handshake.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandshakeEnd {
    pub(crate) role: Role,
    /// Handshake messages are cut into fragments of this many bytes.
    pub(crate) mtu: usize,
}

/// What a path with IPv6 and a tunnel carries.
const SERVER_END: HandshakeEnd = HandshakeEnd {
    role: Role::Server,
    mtu: 1200,
};

/// The server's certificate and crypto provider, made once per process.
#[derive(Clone)]
pub struct DtlsIdentity {
    certificate: Certificate,
    fingerprint: Fingerprint,
    provider: Arc<dyn RTCCryptoProvider>,
}

/// The certificate cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the DTLS certificate cannot be generated")]
pub struct IdentityError(#[source] Error);

impl std::fmt::Debug for DtlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DtlsIdentity({})", self.fingerprint)
    }
}

impl DtlsIdentity {
    /// A fresh self-signed ECDSA P-256 certificate.
    ///
    /// # Errors
    /// [`IdentityError`] if the system has no randomness.
    pub fn generate() -> Result<Self, IdentityError> {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(rtc_crypto::providers::RingProvider::new());
        // The name says nothing about the installation: the certificate is sent to everyone.
        let certificate = Certificate::generate_self_signed(vec!["callkit".to_owned()], provider.crypto())
            .map_err(IdentityError)?;
        let der = certificate
            .certificate
            .first()
            .ok_or(IdentityError(Error::ErrNoCertificates))?;
        let fingerprint = fingerprint(&*provider, der.as_ref()).map_err(IdentityError)?;
        Ok(Self {
            certificate,
            fingerprint,
            provider,
        })
    }

    /// What the answer announces.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The crypto provider.
    #[must_use]
    pub fn provider(&self) -> Arc<dyn RTCCryptoProvider> {
        Arc::clone(&self.provider)
    }

    /// A handshake configuration that accepts exactly the certificate with `expected`.
    pub(crate) fn handshake(
        &self,
        expected: Fingerprint,
        mismatch: Arc<AtomicBool>,
        profiles: Vec<SrtpProtectionProfile>,
        end: HandshakeEnd,
    ) -> Result<Arc<HandshakeConfig>, Error> {
        let provider = self.provider();
        let verify: VerifyPeerCertificateFn = Arc::new(move |chain: &[Vec<u8>], _| {
            let der = chain.first().ok_or(Error::ErrNonCertificate)?;
            if fingerprint(&*provider, der)? == expected {
                return Ok(());
            }
            mismatch.store(true, Ordering::Relaxed);
            Err(Error::ErrNoMatchingCertificateFingerprint)
        });
        let config = ConfigBuilder::default()
            .with_crypto_provider(self.provider())
            .with_certificates(vec![self.certificate.clone()])
            .with_srtp_protection_profiles(profiles)
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            // There is no chain to verify: the fingerprint is the whole identity (RFC 8122 section 6.2).
            .with_insecure_skip_verify(true)
            .with_verify_peer_certificate(Some(verify))
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .with_flight_interval(STACK_INTERVAL)
            .with_mtu(end.mtu)
            .build(end.role == Role::Client, None)?;
        Ok(Arc::new(config))
    }
}

fn fingerprint(provider: &dyn RTCCryptoProvider, der: &[u8]) -> Result<Fingerprint, Error> {
    let digest = provider
        .crypto()
        .hash(HashAlgorithm::Sha256, der)
        .map_err(|error| Error::Crypto(error.to_string()))?;
    let digest = digest
        .as_slice()
        .try_into()
        .map_err(|_| Error::Crypto("SHA-256 of wrong length".to_owned()))?;
    Ok(Fingerprint(digest))
}

/// Why a handshake failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// The client's certificate is not the one that the offer announced.
    #[error("fingerprint_mismatch")]
    FingerprintMismatch,
    /// No SRTP profile, cipher or extension in common.
    #[error("incompatible")]
    Incompatible,
    /// The client did not answer.
    #[error("timed_out")]
    TimedOut,
    /// More datagrams or fragments than a handshake has.
    #[error("abusive")]
    Abusive,
}

/// What came of a datagram.
#[derive(Debug)]
pub enum DtlsEvent {
    /// The handshake is done; media can be opened and sealed.
    Connected(SrtpSession),
    /// The client said goodbye (close_notify).
    Closed,
    /// The handshake failed; nothing more is taken.
    Failed(HandshakeFailure),
}

enum State {
    /// Reading the first ClientHello.
    Hello(HelloReader),
    /// The endpoint has it.
    Running {
        connected: bool,
    },
    Over,
}

/// The DTLS server of one participant.
pub struct DtlsServer {
    identity: Arc<DtlsIdentity>,
    expected: Fingerprint,
    mismatch: Arc<AtomicBool>,
    endpoint: Endpoint,
    state: State,
    budget: Budget,
    repeat: Option<Repeat>,
}

/// When a flight is repeated.
#[derive(Debug, Clone, Copy)]
struct Repeat {
    /// The moment that the stack waits for.
    stack: Instant,
    due: Instant,
    pause: Duration,
}

impl std::fmt::Debug for DtlsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.state {
            State::Hello(_) => "DtlsServer(hello)",
            State::Running { connected: false } => "DtlsServer(handshake)",
            State::Running { connected: true } => "DtlsServer(connected)",
            State::Over => "DtlsServer(over)",
        })
    }
}

impl DtlsServer {
    /// A server that accepts the client whose certificate has the fingerprint `expected`.
    #[must_use]
    pub fn new(identity: Arc<DtlsIdentity>, expected: Fingerprint) -> Self {
        Self {
            identity,
            expected,
            mismatch: Arc::new(AtomicBool::new(false)),
            endpoint: Endpoint::new(PEER, TransportProtocol::UDP, None),
            state: State::Hello(HelloReader::default()),
            budget: Budget::default(),
            repeat: None,
        }
    }

    /// Handles a DTLS datagram from a validated path; replies are then in [`poll_transmit`](Self::poll_transmit).
    pub fn handle(&mut self, now: Instant, datagram: &[u8]) -> Option<DtlsEvent> {
        let event = self.take(now, datagram);
        self.arm(now);
        event
    }

    fn take(&mut self, now: Instant, datagram: &[u8]) -> Option<DtlsEvent> {
        match &mut self.state {
            State::Over => None,
            State::Running { .. } => self.feed(now, datagram),
            // A handshake begins with a handshake record (type 22); anything else would end the reading of profiles.
            State::Hello(_) if datagram.first() != Some(&22) => None,
            State::Hello(reader) => {
                let profiles = match reader.push(datagram) {
                    Peek::Incomplete => return None,
                    Peek::Profiles(offered) if offered.contains(&PROFILE_GCM_128) => {
                        vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm]
                    }
                    Peek::Profiles(_) => vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80],
                    Peek::Unreadable => vec![
                        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
                    ],
                };
                let held = std::mem::take(reader).into_held();
                self.state = State::Running { connected: false };
                let mismatch = Arc::clone(&self.mismatch);
                let Ok(config) = self
                    .identity
                    .handshake(self.expected, mismatch, profiles, SERVER_END)
                else {
                    return self.fail(HandshakeFailure::Incompatible);
                };
                self.endpoint.set_server_config(Some(config));
                held.iter().find_map(|datagram| self.feed(now, datagram))
            }
        }
    }

    fn feed(&mut self, now: Instant, datagram: &[u8]) -> Option<DtlsEvent> {
        let State::Running { connected } = self.state else {
            return None;
        };
        match self.budget.spend(datagram, connected) {
            Verdict::Pass => {}
            Verdict::Drop => return None,
            Verdict::Exhausted if connected => return None,
            Verdict::Exhausted => return self.fail(HandshakeFailure::Abusive),
        }
        let events = match self.endpoint.read(now, PEER, None, BytesMut::from(datagram)) {
            Ok(events) => events,
            Err(error) => {
                // Errors of single records are to be ignored (RFC 6347 section 4.1.2.7); these are verdicts.
                let failure = if self.mismatch.load(Ordering::Relaxed) {
                    HandshakeFailure::FingerprintMismatch
                } else {
                    incompatible(&error)?
                };
                return if connected { None } else { self.fail(failure) };
            }
        };
        let mut outcome = None;
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => {
                    let Some(session) = self.session() else {
                        return self.fail(HandshakeFailure::Incompatible);
                    };
                    self.state = State::Running { connected: true };
                    outcome = Some(DtlsEvent::Connected(session));
                }
                EndpointEvent::PeerClosed => {
                    self.state = State::Over;
                    return Some(DtlsEvent::Closed);
                }
                // Nobody negotiated data channels.
                _ => {}
            }
        }
        outcome
    }

    fn fail(&mut self, failure: HandshakeFailure) -> Option<DtlsEvent> {
        self.state = State::Over;
        self.repeat = None;
        Some(DtlsEvent::Failed(failure))
    }

    fn session(&self) -> Option<SrtpSession> {
        let state = self.endpoint.get_connection_state(PEER)?;
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Profile::Gcm128,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Profile::Sha1_80,
            _ => return None,
        };
        let material = state
            .export_keying_material(EXPORTER, &[], profile.keying_material())
            .ok()?;
        SrtpSession::new(
            profile,
            material.as_ref(),
            Role::Server,
            self.identity.provider.crypto(),
        )
    }

    /// Follows the stack: a flight that it sent is repeated after the shortest pause.
    fn arm(&mut self, now: Instant) {
        let stack = match self.state {
            State::Running { connected: false } => self.endpoint.poll_timeout(&PEER),
            _ => None,
        };
        let known = self.repeat.filter(|repeat| Some(repeat.stack) == stack);
        self.repeat = known.or_else(|| {
            stack.map(|stack| Repeat {
                stack,
                due: now + FIRST_REPEAT,
                pause: FIRST_REPEAT,
            })
        });
    }

    /// Repeats a flight that is due.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<DtlsEvent> {
        let repeat = self.repeat.filter(|repeat| repeat.due <= now)?;
        if self.endpoint.handle_timeout(PEER, repeat.stack).is_err() {
            self.repeat = None;
            return self.fail(HandshakeFailure::TimedOut);
        }
        let pause = repeat.pause * 2;
        self.repeat = self.endpoint.poll_timeout(&PEER).map(|stack| Repeat {
            stack,
            due: now + pause,
            pause,
        });
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.repeat.map(|repeat| repeat.due)
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<BytesMut> {
        self.endpoint.poll_transmit().map(|transmit| transmit.message)
    }

    /// Says goodbye to the client, if the handshake was done.
    pub fn close(&mut self, now: Instant) {
        if matches!(self.state, State::Running { connected: true }) {
            // The connection is given back to who stops it; nobody needs it.
            drop(self.endpoint.stop(now, PEER));
        }
        self.repeat = None;
        self.state = State::Over;
    }
}

/// Errors that end a handshake: no retransmission will change them.
fn incompatible(error: &Error) -> Option<HandshakeFailure> {
    matches!(
        error,
        Error::ErrCipherSuiteNoIntersection
            | Error::ErrNoSupportedEllipticCurves
            | Error::ErrServerNoMatchingSrtpProfile
            | Error::ErrServerRequiredButNoClientEms
            | Error::ErrUnsupportedProtocolVersion
            | Error::ErrClientCertificateRequired
            | Error::ErrClientCertificateNotVerified
            | Error::ErrNoCertificates
            | Error::ErrAlertFatalOrClose
    )
    .then_some(HandshakeFailure::Incompatible)
}

/// What a participant may make the DTLS stack store and walk through.
#[derive(Debug, Default)]
struct Budget {
    datagrams: u32,
    fragments: u32,
    sealed: u32,
    late_fragments: u32,
}

enum Verdict {
    Pass,
    Drop,
    Exhausted,
}

impl Budget {
    fn spend(&mut self, datagram: &[u8], connected: bool) -> Verdict {
        const RECORD_HEADER: usize = 13;
        const CHANGE_CIPHER_SPEC: u8 = 20;
        const ALERT: u8 = 21;
        const HANDSHAKE: u8 = 22;
        self.datagrams += u32::from(!connected);
        if self.datagrams > MAX_DATAGRAMS {
            return Verdict::Exhausted;
        }
        let mut within = true;
        let mut rest = datagram;
        while !rest.is_empty() {
            let Some((header, tail)) = rest.split_at_checked(RECORD_HEADER) else {
                return Verdict::Drop;
            };
            let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
            let Some((record, tail)) = tail.split_at_checked(length) else {
                return Verdict::Drop;
            };
            rest = tail;
            let is_plain = header[3..5] == [0, 0];
            match header[0] {
                HANDSHAKE if is_plain => {
                    let Some(count) = plain_fragments(record) else {
                        return Verdict::Drop;
                    };
                    let (spent, most) = if connected {
                        (&mut self.late_fragments, MAX_LATE_FRAGMENTS)
                    } else {
                        (&mut self.fragments, MAX_PLAIN_FRAGMENTS)
                    };
                    *spent = spent.saturating_add(count);
                    within &= *spent <= most;
                }
                HANDSHAKE => {
                    self.sealed = self.sealed.saturating_add(1);
                    within &= self.sealed <= MAX_SEALED_RECORDS;
                }
                // A goodbye counts for nothing, so that one always gets through: but only under the keys.
                // Without them anybody could write it.
                ALERT if connected && is_plain => return Verdict::Drop,
                CHANGE_CIPHER_SPEC | ALERT => {}
                // Nobody negotiated data.
                _ if connected => return Verdict::Drop,
                _ => {}
            }
        }
        if within { Verdict::Pass } else { Verdict::Exhausted }
    }
}

/// The number of handshake fragments in a plain record; `None` if one lies about its size.
fn plain_fragments(mut record: &[u8]) -> Option<u32> {
    let mut count = 0;
    while !record.is_empty() {
        let (header, tail) = record.split_at_checked(MESSAGE_HEADER)?;
        let (total, offset, length) = fragment_span(header)?;
        if total > MAX_MESSAGE || offset + length > total || (length == 0 && total != 0) {
            return None;
        }
        record = tail.split_at_checked(length)?.1;
        count += 1;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::moment;

    /// A plain handshake record with one fragment.
    fn fragment(kind: u8, total: usize, offset: usize, data: &[u8]) -> Vec<u8> {
        let three = |value: usize| u32::try_from(value).unwrap().to_be_bytes()[1..].to_vec();
        let mut message = vec![kind];
        message.extend(three(total));
        message.extend([0, 0]);
        message.extend(three(offset));
        message.extend(three(data.len()));
        message.extend(data);
        let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0];
        record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
        record.extend(message);
        record
    }

    fn server() -> DtlsServer {
        DtlsServer::new(Arc::new(DtlsIdentity::generate().unwrap()), Fingerprint([1; 32]))
    }

    #[test]
    fn endless_fragments_end_the_handshake_instead_of_filling_memory() {
        let (mut server, now) = (server(), moment());
        let mut failed = None;
        for offset in 0..MAX_DATAGRAMS as usize + 20 {
            if let Some(DtlsEvent::Failed(failure)) = server.handle(now, &fragment(11, 9000, offset, &[0])) {
                failed = Some(failure);
            }
        }
        assert_eq!(failed, Some(HandshakeFailure::Abusive));
        assert!(server.handle(now, &fragment(11, 9000, 0, &[0])).is_none());
    }

    #[test]
    fn fragments_that_lie_about_their_size_are_not_given_to_the_stack() {
        assert_eq!(plain_fragments(&fragment(1, 10, 0, &[0; 10])[13..]), Some(1));
        assert_eq!(plain_fragments(&fragment(1, 10, 5, &[0; 10])[13..]), None);
        assert_eq!(plain_fragments(&fragment(1, 0, 7, &[])[13..]), None);
        assert_eq!(plain_fragments(&fragment(1, 10, 3, &[])[13..]), None);
        assert_eq!(
            plain_fragments(&fragment(1, MAX_MESSAGE + 1, 0, &[0; 4])[13..]),
            None
        );
    }

    /// A record of kind `kind` with one byte, under keys or not.
    fn record(kind: u8, epoch: u8) -> Vec<u8> {
        vec![kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    }

    #[test]
    fn a_goodbye_passes_after_any_number_of_handshake_records_but_never_in_the_clear() {
        let mut budget = Budget::default();
        for _ in 0..1000 {
            budget.spend(&fragment(11, 9000, 0, &[0]), true);
            budget.spend(&record(22, 1), true);
        }
        assert!(matches!(budget.spend(&record(22, 1), true), Verdict::Exhausted));
        assert!(matches!(budget.spend(&record(21, 1), true), Verdict::Pass));
        assert!(matches!(budget.spend(&record(21, 0), true), Verdict::Drop));
        assert!(matches!(budget.spend(&record(23, 1), true), Verdict::Drop));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_datagrams_are_survived(
            datagrams in prop::collection::vec((20_u8..64, any::<Vec<u8>>()), 0..40),
            fragments in prop::collection::vec((any::<u8>(), 0_usize..40, 0_usize..40, any::<Vec<u8>>()), 0..40),
        ) {
            let (mut server, now) = (server(), moment());
            for (kind, total, offset, data) in fragments {
                let _ = server.handle(now, &fragment(kind, total, offset, &data));
            }
            for (kind, mut datagram) in datagrams {
                datagram.insert(0, kind);
                let _ = server.handle(now, &datagram);
            }
            while server.poll_transmit().is_some() {}
        }
    }
}
