//! [`Transport`]: agent, DTLS server and SRTP of one participant put together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::Path;
use super::dtls::{DtlsEvent, DtlsIdentity, DtlsServer, HandshakeFailure};
use super::ice::{IceAgent, IceCredentials, StunReject};
use super::srtp::{Profile, SrtpError, SrtpSession};
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

/// What came of an authentic check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckOutcome {
    /// A change of path, if it made one.
    pub event: Option<TransportEvent>,
    /// An address that is no longer accepted because this one took its place.
    pub displaced: Option<SocketAddr>,
}

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
        let ice = IceAgent::new(credentials, &offer.ufrag, identity.provider());
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
        let first = self.ice.selected().is_none();
        let check = self.ice.handle(now, path, datagram)?;
        self.last_received = now;
        reply(&check.reply);
        let event = check.selected.then_some(TransportEvent::PathSelected { first });
        Ok(CheckOutcome {
            event,
            displaced: check.displaced,
        })
    }

    /// Handles a DTLS datagram from a validated path.
    pub fn handle_dtls(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Option<TransportEvent> {
        let event = self.dtls.handle(now, datagram);
        // DTLS before its end is not authentic: it does not keep a participant alive.
        if self.is_connected() {
            self.ice.received(now, path.remote);
        }
        self.apply(event?)
    }

    fn apply(&mut self, event: DtlsEvent) -> Option<TransportEvent> {
        Some(match event {
            DtlsEvent::Connected(session) => {
                let profile = session.profile();
                self.srtp = Some(session);
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
                self.ice.received(now, path.remote);
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
    pub fn handle_timeout(&mut self, now: Instant) -> Option<TransportEvent> {
        let event = self.dtls.handle_timeout(now);
        self.apply(event?)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.dtls.poll_timeout()
    }

    /// The next DTLS datagram to send on the selected path; those without a path are lost, as any datagram
    /// may be.
    pub fn poll_transmit(&mut self) -> Option<(Path, Bytes)> {
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
