//! [`Transport`]: agent, DTLS server and SRTP of one participant put together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callkit_core::id::IdSource;

use super::dtls::{DtlsEvent, DtlsIdentity, DtlsServer, HandshakeFailure};
use super::ice::{IceAgent, IceCredentials, StunReject, Transaction};
use super::srtp::{Profile, SrtpError, SrtpSession};
use super::{Path, Remote};
use crate::sdp::{Fingerprint, Offer};

/// What the shard has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportEvent {
    /// Packets go to a new path; `first` is the first path at all.
    PathSelected {
        /// Whether there was none before.
        first: bool,
    },
    /// Media can flow.
    Connected(Profile),
    /// The client said goodbye.
    Closed,
    /// The handshake failed for good.
    Failed(HandshakeFailure),
}

/// What came of an authentic check, or of an authentic answer to one of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckOutcome {
    /// A change of path, if it made one.
    pub event: Option<TransportEvent>,
    /// An address that is no longer accepted because this one took its place.
    pub displaced: Option<Remote>,
    /// A user name fragment that a restart replaced.
    pub retired: Option<String>,
}

/// A restart is for another certificate than the transport was made for: it is not the same client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate is another one")]
pub struct OtherCertificate;

/// Counted drops of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransportStats {
    /// Packets opened.
    pub opened: u64,
    /// Packets that were not authentic, and malformed ones.
    pub not_authentic: u64,
    /// Packets received before.
    pub replayed: u64,
    /// Media before the handshake, or after its end.
    pub no_keys: u64,
    /// Connectivity checks of our own.
    pub own_checks: u64,
    /// Of those, answered ones.
    pub own_answers: u64,
    /// Addresses that were examined because authentic media came from them.
    pub probes: u64,
}

/// One participant's transport.
#[derive(Debug)]
pub struct Transport {
    ice: IceAgent,
    dtls: DtlsServer,
    srtp: Option<SrtpSession>,
    stats: TransportStats,
    last_received: Instant,
    last_media: Option<Instant>,
    rtt: Option<Duration>,
    expected: Fingerprint,
}

impl Transport {
    /// The transport for who sent `offer`.
    #[must_use]
    pub fn new(
        now: Instant,
        offer: &Offer,
        credentials: IceCredentials,
        identity: Arc<DtlsIdentity>,
    ) -> Self {
        let ice = IceAgent::new(credentials, theirs(offer), identity.provider());
        Self::assemble(now, ice, identity, offer.fingerprint)
    }

    fn assemble(now: Instant, ice: IceAgent, identity: Arc<DtlsIdentity>, expected: Fingerprint) -> Self {
        Self {
            ice,
            dtls: DtlsServer::new(identity, expected),
            srtp: None,
            stats: TransportStats::default(),
            last_received: now,
            last_media: None,
            rtt: None,
            expected,
        }
    }

    /// The agent: credentials, selected path, validated addresses.
    #[must_use]
    pub fn ice(&self) -> &IceAgent {
        &self.ice
    }

    /// The SRTP session, once connected.
    pub fn srtp_mut(&mut self) -> Option<&mut SrtpSession> {
        self.srtp.as_mut()
    }

    /// Whether media can flow.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.srtp.is_some()
    }

    /// When an authentic packet of any kind was last received.
    #[must_use]
    pub fn last_received(&self) -> Instant {
        self.last_received
    }

    /// When RTP was last received.
    #[must_use]
    pub fn last_media(&self) -> Option<Instant> {
        self.last_media
    }

    /// The drops.
    #[must_use]
    pub fn stats(&self) -> TransportStats {
        self.stats
    }

    /// The round-trip time to the client as the last answered check of ours took it.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Handles a connectivity check; `reply` gets the response for the path it came on.
    ///
    /// # Errors
    /// [`StunReject`]: counted, dropped, not answered.
    pub fn handle_stun(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &[u8],
        reply: impl FnOnce(&[u8]),
    ) -> Result<CheckOutcome, StunReject> {
        let first = self.is_first_path();
        let check = self.ice.handle(now, path, datagram)?;
        self.last_received = now;
        reply(&check.reply);
        let event = check.selected.then_some(TransportEvent::PathSelected { first });
        if check.selected && self.is_connected() {
            self.ice.keep_consent();
        }
        Ok(CheckOutcome {
            event,
            displaced: check.displaced,
            retired: check.retired,
        })
    }

    /// Handles an answer to a check of ours.
    ///
    /// # Errors
    /// [`StunReject`]: counted, dropped.
    pub fn handle_answer(
        &mut self,
        now: Instant,
        path: Path,
        id: Transaction,
        datagram: &[u8],
    ) -> Result<CheckOutcome, StunReject> {
        let first = self.is_first_path();
        let answer = self.ice.handle_answer(now, path, id, datagram)?;
        self.last_received = now;
        self.rtt = Some(answer.rtt);
        self.stats.own_answers += 1;
        if answer.selected && self.is_connected() {
            self.ice.keep_consent();
        }
        Ok(CheckOutcome {
            event: answer.selected.then_some(TransportEvent::PathSelected { first }),
            displaced: answer.displaced,
            retired: None,
        })
    }

    /// Before the handshake the path may change without anything being lost.
    fn is_first_path(&self) -> bool {
        self.ice.selected().is_none() && !self.is_connected()
    }

    /// Takes the credentials of an ICE restart. DTLS and SRTP go on as they are. Returns our user name fragment
    /// of an earlier restart that never came about.
    ///
    /// # Errors
    /// [`OtherCertificate`]; nothing has changed then.
    pub fn restart(
        &mut self,
        offer: &Offer,
        ours: IceCredentials,
    ) -> Result<Option<String>, OtherCertificate> {
        if offer.fingerprint != self.expected {
            return Err(OtherCertificate);
        }
        Ok(self.ice.restart(ours, theirs(offer)))
    }

    /// Examines `path`, which an authentic packet came on although no check has. Returns the name of the
    /// question, if one is asked.
    pub fn probe(&mut self, now: Instant, path: Path, random: &mut IdSource) -> Option<Transaction> {
        let asked = self.ice.probe(now, path, random)?;
        self.stats.probes += 1;
        Some(asked)
    }

    /// Stops sending until the client checks again.
    pub fn suspend(&mut self) {
        self.ice.suspend();
    }

    /// The path to `remote` is gone for good.
    pub fn forget(&mut self, now: Instant, remote: Remote) -> Option<TransportEvent> {
        self.ice
            .forget(now, remote)
            .then_some(TransportEvent::PathSelected { first: false })
    }

    /// Handles a DTLS datagram from a validated path.
    pub fn handle_dtls(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Option<TransportEvent> {
        let event = self.dtls.handle(now, datagram);
        // DTLS before its end is not authentic: it does not keep a participant alive.
        if self.is_connected() {
            self.ice.received(now, path.end());
        }
        self.apply(event?)
    }

    fn apply(&mut self, event: DtlsEvent) -> Option<TransportEvent> {
        Some(match event {
            DtlsEvent::Connected(session) => {
                let profile = session.profile();
                self.srtp = Some(session);
                self.ice.keep_consent();
                TransportEvent::Connected(profile)
            }
            DtlsEvent::Closed => {
                self.srtp = None;
                TransportEvent::Closed
            }
            DtlsEvent::Failed(failure) => {
                self.srtp = None;
                TransportEvent::Failed(failure)
            }
        })
    }

    /// Opens an SRTP packet from a validated path in place.
    #[inline]
    pub fn open_rtp<'a>(&mut self, now: Instant, path: Path, packet: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let opened = self.srtp.as_mut().map(|session| session.open_rtp(packet));
        let len = self.opened(now, path, opened)?;
        self.last_media = Some(now);
        Some(&mut packet[..len])
    }

    /// Opens an SRTCP packet from a validated path in place.
    #[inline]
    pub fn open_rtcp<'a>(&mut self, now: Instant, path: Path, packet: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let opened = self.srtp.as_mut().map(|session| session.open_rtcp(packet));
        let len = self.opened(now, path, opened)?;
        Some(&mut packet[..len])
    }

    fn opened(
        &mut self,
        now: Instant,
        path: Path,
        opened: Option<Result<usize, SrtpError>>,
    ) -> Option<usize> {
        match opened {
            Some(Ok(len)) => {
                self.stats.opened += 1;
                self.last_received = now;
                self.ice.received(now, path.end());
                Some(len)
            }
            Some(Err(SrtpError::Replayed)) => {
                self.stats.replayed += 1;
                None
            }
            Some(Err(_)) => {
                self.stats.not_authentic += 1;
                None
            }
            None => {
                self.stats.no_keys += 1;
                None
            }
        }
    }

    /// Performs what is due.
    pub fn handle_timeout(&mut self, now: Instant, random: &mut IdSource) -> Option<TransportEvent> {
        self.ice.handle_timeout(now, random);
        let event = self.dtls.handle_timeout(now);
        self.apply(event?)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = [self.ice.poll_timeout(), self.dtls.poll_timeout()];
        own.into_iter().flatten().min()
    }

    /// The next datagram that the transport itself has to send: a check of ours, or DTLS on the selected path.
    /// DTLS without a path is lost, as any datagram may be.
    pub fn poll_transmit(&mut self) -> Option<(Path, Bytes)> {
        if let Some((path, check)) = self.ice.poll_transmit() {
            self.stats.own_checks += 1;
            return Some((path, Bytes::from(check)));
        }
        while let Some(datagram) = self.dtls.poll_transmit() {
            if let Some(path) = self.ice.selected() {
                return Some((path, datagram.freeze()));
            }
        }
        None
    }

    /// Says goodbye to the client; the farewell is then in [`poll_transmit`](Self::poll_transmit).
    pub fn close(&mut self, now: Instant) {
        self.dtls.close(now);
        self.srtp = None;
    }
}

/// The client's ICE credentials.
fn theirs(offer: &Offer) -> IceCredentials {
    IceCredentials {
        ufrag: offer.ufrag.clone(),
        pwd: offer.pwd.clone(),
    }
}
