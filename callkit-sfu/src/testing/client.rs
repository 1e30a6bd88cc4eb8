//! [`SyntheticClient`]: one client of the SFU without I/O.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use callkit_core::id::IdSource;
use callkit_core::redact::Secret;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, RawAttribute,
};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter, TransactionId};

use super::offer::{AnswerView, ClientSsrcs, MID_EXTENSION, OfferOptions, offer};
use crate::layout::Source;
use crate::sdp::Fingerprint;
use crate::transport::dtls::HandshakeEnd;
use crate::transport::srtp::{Profile, RTCP_TRAILER, RTP_TRAILER, Role, SrtpSession};
use crate::transport::{DtlsIdentity, IceCredentials, PacketKind, classify};

/// Time between checks, as Chromium has it.
const CHECK_INTERVAL: Duration = Duration::from_millis(2500);
/// Time between checks until the first is answered.
const FIRST_CHECKS: Duration = Duration::from_millis(50);
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2);

/// What a client notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// The handshake is done.
    Connected(Profile),
    /// A plain RTP packet.
    Rtp(Vec<u8>),
    /// A plain RTCP packet.
    Rtcp(Vec<u8>),
    /// The server said goodbye.
    Closed,
    /// The handshake failed.
    Failed,
}

/// See the module.
pub struct SyntheticClient {
    identity: Arc<DtlsIdentity>,
    announced: Fingerprint,
    credentials: IceCredentials,
    random: IdSource,
    ssrcs: ClientSsrcs,
    profiles: Vec<SrtpProtectionProfile>,
    mtu: usize,
    server: Option<AnswerView>,
    endpoint: Endpoint,
    session: Option<SrtpSession>,
    outgoing: VecDeque<Vec<u8>>,
    next_check: Option<Instant>,
    check_interval: Duration,
    nominates: bool,
    answers: bool,
    reachable: bool,
}

impl std::fmt::Debug for SyntheticClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyntheticClient")
            .field("connected", &self.session.is_some())
            .finish_non_exhaustive()
    }
}

impl SyntheticClient {
    /// A client with `identity`; SSRCs and credentials follow from `random`.
    #[must_use]
    pub fn new(identity: Arc<DtlsIdentity>, mut random: IdSource) -> Self {
        let ssrcs = ClientSsrcs {
            microphone: random.next_u64() as u32 | 1,
            camera: random.next_u64() as u32 | 1,
            camera_rtx: random.next_u64() as u32 | 1,
        };
        Self {
            announced: identity.fingerprint(),
            identity,
            credentials: IceCredentials::random(&mut random),
            random,
            ssrcs,
            // The order of Chromium.
            profiles: vec![
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            ],
            mtu: 1200,
            server: None,
            endpoint: Endpoint::new(SERVER, TransportProtocol::UDP, None),
            session: None,
            outgoing: VecDeque::new(),
            next_check: None,
            check_interval: CHECK_INTERVAL,
            nominates: true,
            answers: true,
            reachable: false,
        }
    }

    /// A client that cannot do GCM.
    #[must_use]
    pub fn without_gcm(mut self) -> Self {
        self.profiles.truncate(1);
        self
    }

    /// Cuts handshake messages into fragments of `mtu` bytes, as a ClientHello with post-quantum keys is.
    #[must_use]
    pub fn with_mtu(mut self, mtu: usize) -> Self {
        self.mtu = mtu;
        self
    }

    /// Announces `fingerprint` instead of the one of its certificate.
    #[must_use]
    pub fn announcing(mut self, fingerprint: Fingerprint) -> Self {
        self.announced = fingerprint;
        self
    }

    /// Checks as Firefox does: seldom, and without nominating.
    #[must_use]
    pub fn checking_like_firefox(mut self) -> Self {
        self.check_interval = Duration::from_secs(6);
        self.nominates = false;
        self
    }

    /// Does not answer checks of the server.
    #[must_use]
    pub fn without_answers(mut self) -> Self {
        self.answers = false;
        self
    }

    /// Starts an ICE restart: an offer with new credentials, everything else as it was.
    pub fn restart(&mut self) -> String {
        self.credentials = IceCredentials::random(&mut self.random);
        self.offer()
    }

    /// The SSRCs that it declares.
    #[must_use]
    pub fn ssrcs(&self) -> ClientSsrcs {
        self.ssrcs
    }

    /// The offer.
    #[must_use]
    pub fn offer(&self) -> String {
        self.offer_with(&["VP8", "H264"])
    }

    /// The offer with these video codecs.
    #[must_use]
    pub fn offer_with(&self, video: &[&str]) -> String {
        offer(&OfferOptions {
            ufrag: &self.credentials.ufrag,
            pwd: self.credentials.pwd.expose(),
            fingerprint: self.announced,
            ssrcs: self.ssrcs,
            video,
        })
    }

    /// Takes the answer and starts checking. Returns what it says, or `None` if it cannot be read.
    pub fn accept(&mut self, now: Instant, answer: &str) -> Option<&AnswerView> {
        self.server = AnswerView::parse(answer);
        self.next_check = Some(now);
        self.server.as_ref()
    }

    /// The answer.
    #[must_use]
    pub fn server(&self) -> Option<&AnswerView> {
        self.server.as_ref()
    }

    /// Whether media can be sent.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.session.is_some()
    }

    /// The next datagram for the server.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            self.outgoing.push_back(transmit.message.to_vec());
        }
        self.outgoing.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let dtls = if self.session.is_none() {
            self.endpoint.poll_timeout(&SERVER)
        } else {
            None
        };
        self.next_check.into_iter().chain(dtls).min()
    }

    /// Checks connectivity and repeats handshake flights.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_check.is_some_and(|due| due <= now) {
            self.check();
            self.next_check = Some(
                now + if self.reachable {
                    self.check_interval
                } else {
                    FIRST_CHECKS
                },
            );
        }
        if self.session.is_none() && self.endpoint.poll_timeout(&SERVER).is_some_and(|due| due <= now) {
            // A handshake that is given up shows as one that never completes.
            let _ = self.endpoint.handle_timeout(SERVER, now);
        }
    }

    /// Queues a connectivity check, at once.
    pub fn check(&mut self) {
        let id = self.random.next_u128();
        let Some(request) = self.server.as_ref().and_then(|server| {
            let user = format!("{}:{}", server.ufrag, self.credentials.ufrag);
            self.request(id, &user, &server.pwd)
        }) else {
            return;
        };
        self.outgoing.push_back(request);
    }

    /// A check that does not nominate, not queued.
    pub fn probe_without_nomination(&mut self) -> Option<Vec<u8>> {
        let nominates = std::mem::replace(&mut self.nominates, false);
        self.check();
        self.nominates = nominates;
        self.outgoing.pop_back()
    }

    fn request(&self, transaction: u128, user: &str, pwd: &Secret<String>) -> Option<Vec<u8>> {
        let provider = self.identity.provider();
        let attribute = |typ, value: &[u8]| RawAttribute {
            typ,
            length: value.len() as u16,
            value: value.to_vec(),
        };
        let mut id = [0; 12];
        id.copy_from_slice(&transaction.to_be_bytes()[..12]);
        let integrity =
            MessageIntegrity::new_short_term_integrity_with_provider(pwd.expose().clone(), provider.crypto());
        let mut parts: Vec<Box<dyn Setter + '_>> = vec![
            Box::new(TransactionId(id)),
            Box::new(BINDING_REQUEST),
            Box::new(attribute(ATTR_USERNAME, user.as_bytes())),
            Box::new(attribute(ATTR_ICE_CONTROLLING, &[7; 8])),
            Box::new(attribute(ATTR_PRIORITY, &[0x6e, 0, 0, 0xff])),
        ];
        if self.nominates {
            parts.push(Box::new(attribute(ATTR_USE_CANDIDATE, &[])));
        }
        parts.push(Box::new(integrity));
        parts.push(Box::new(FINGERPRINT));
        let mut request = Message::new();
        request.build(&parts).ok()?;
        Some(request.raw)
    }

    /// Handles a datagram from the server.
    pub fn handle(&mut self, now: Instant, datagram: &[u8]) -> Option<ClientEvent> {
        match classify(datagram) {
            PacketKind::Stun => self.checked(now, datagram),
            PacketKind::Dtls => self.handshake(now, datagram),
            PacketKind::Rtp => {
                let mut packet = datagram.to_vec();
                let len = self.session.as_mut()?.open_rtp(&mut packet).ok()?;
                packet.truncate(len);
                Some(ClientEvent::Rtp(packet))
            }
            PacketKind::Rtcp => {
                let mut packet = datagram.to_vec();
                let len = self.session.as_mut()?.open_rtcp(&mut packet).ok()?;
                packet.truncate(len);
                Some(ClientEvent::Rtcp(packet))
            }
            PacketKind::Unknown => None,
        }
    }

    fn checked(&mut self, now: Instant, datagram: &[u8]) -> Option<ClientEvent> {
        let server = self.server.as_ref()?;
        let mut reply = Message {
            raw: datagram.to_vec(),
            ..Message::default()
        };
        reply.decode().ok()?;
        FINGERPRINT.check(&reply).ok()?;
        let provider = self.identity.provider();
        if reply.typ == BINDING_REQUEST {
            let answer = self.answer(reply)?;
            self.outgoing.push_back(answer);
            return None;
        }
        MessageIntegrity::check(&mut reply, server.pwd.expose().as_bytes(), provider.crypto()).ok()?;
        if reply.typ == BINDING_SUCCESS && !self.reachable {
            self.reachable = true;
            self.next_check = Some(now + self.check_interval);
            let mismatch = Arc::new(AtomicBool::new(false));
            let config = self
                .identity
                .handshake(
                    server.fingerprint,
                    mismatch,
                    self.profiles.clone(),
                    HandshakeEnd {
                        role: Role::Client,
                        mtu: self.mtu,
                    },
                )
                .ok()?;
            self.endpoint.connect(now, SERVER, config, None).ok()?;
        }
        None
    }

    /// The answer to a check of the server, which has to know our password.
    fn answer(&self, mut request: Message) -> Option<Vec<u8>> {
        if !self.answers {
            return None;
        }
        let provider = self.identity.provider();
        let pwd = self.credentials.pwd.expose();
        MessageIntegrity::check(&mut request, pwd.as_bytes(), provider.crypto()).ok()?;
        let integrity =
            MessageIntegrity::new_short_term_integrity_with_provider(pwd.clone(), provider.crypto());
        let mut reply = Message::new();
        reply
            .build(&[
                Box::new(request.transaction_id),
                Box::new(BINDING_SUCCESS),
                Box::new(integrity),
                Box::new(FINGERPRINT),
            ])
            .ok()?;
        Some(reply.raw)
    }

    fn handshake(&mut self, now: Instant, datagram: &[u8]) -> Option<ClientEvent> {
        if !self.reachable {
            return None;
        }
        let Ok(events) = self.endpoint.read(now, SERVER, None, BytesMut::from(datagram)) else {
            return self.session.is_none().then_some(ClientEvent::Failed);
        };
        let mut outcome = None;
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => {
                    let state = self.endpoint.get_connection_state(SERVER)?;
                    let profile = match state.srtp_protection_profile() {
                        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Profile::Gcm128,
                        _ => Profile::Sha1_80,
                    };
                    let length = profile.keying_material();
                    let material = state
                        .export_keying_material("EXTRACTOR-dtls_srtp", &[], length)
                        .ok()?;
                    let provider = self.identity.provider();
                    self.session =
                        SrtpSession::new(profile, material.as_ref(), Role::Client, provider.crypto());
                    outcome = Some(ClientEvent::Connected(profile));
                }
                EndpointEvent::PeerClosed => {
                    self.session = None;
                    outcome = Some(ClientEvent::Closed);
                }
                _ => {}
            }
        }
        outcome
    }

    /// Seals the plain RTP packet in the first `len` bytes of `buffer`, which has [`RTP_TRAILER`] bytes more;
    /// the sealed length. `None` before the handshake.
    pub fn seal_rtp(&mut self, buffer: &mut [u8], len: usize) -> Option<usize> {
        self.session.as_mut()?.seal_rtp(buffer, len).ok()
    }

    /// As [`seal_rtp`](Self::seal_rtp) for RTCP, with [`RTCP_TRAILER`] bytes more.
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Option<usize> {
        self.session.as_mut()?.seal_rtcp(buffer, len).ok()
    }

    /// Opens a media packet of the server in place; the plain length. `None` if it is not one, or not authentic.
    pub fn open(&mut self, datagram: &mut [u8]) -> Option<usize> {
        let session = self.session.as_mut()?;
        match classify(datagram) {
            PacketKind::Rtp => session.open_rtp(datagram).ok(),
            PacketKind::Rtcp => session.open_rtcp(datagram).ok(),
            _ => None,
        }
    }

    /// Seals and queues a plain RTP packet. Nothing happens before the handshake.
    pub fn send_rtp(&mut self, plain: &[u8]) {
        let mut packet = plain.to_vec();
        packet.resize(plain.len() + RTP_TRAILER, 0);
        let sealed = self
            .session
            .as_mut()
            .and_then(|session| session.seal_rtp(&mut packet, plain.len()).ok());
        if let Some(len) = sealed {
            packet.truncate(len);
            self.outgoing.push_back(packet);
        }
    }

    /// Seals and queues a plain RTCP packet.
    pub fn send_rtcp(&mut self, plain: &[u8]) {
        let mut packet = plain.to_vec();
        packet.resize(plain.len() + RTCP_TRAILER, 0);
        let sealed = self
            .session
            .as_mut()
            .and_then(|session| session.seal_rtcp(&mut packet, plain.len()).ok());
        if let Some(len) = sealed {
            packet.truncate(len);
            self.outgoing.push_back(packet);
        }
    }

    /// A plain RTP packet of `source` with the mid extension, as browsers send it at first.
    #[must_use]
    pub fn rtp(&self, source: Source, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let (kind, ssrc) = match source {
            Source::Microphone | Source::ScreenAudio => (super::MICROPHONE_PAYLOAD, self.ssrcs.microphone),
            Source::Camera | Source::Screen => (super::CAMERA_PAYLOAD, self.ssrcs.camera),
        };
        let mid = b'0' + source.index() as u8;
        let mut packet = vec![0x90, 0x80 | kind];
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0xbe, 0xde, 0, 1, MID_EXTENSION << 4, mid, 0, 0]);
        packet.extend(payload);
        packet
    }

    /// Says goodbye.
    pub fn close(&mut self, now: Instant) {
        drop(self.endpoint.stop(now, SERVER));
        self.session = None;
    }
}
