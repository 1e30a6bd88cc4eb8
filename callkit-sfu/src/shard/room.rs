//! A room on a shard: the media engine and the transports of its participants.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callkit_core::id::{IdSource, ParticipantId, RoomId};

use super::batch::{LaneHint, SendBatch};
use super::peer::{Peer, Phase, QualityClock, RoomEgress};
use super::stats::ShardStats;
use crate::control::{JoinError, LossCause, MediaTimeouts, Quality, SfuEvent, Slots};
use crate::layout::SLOTS;
use crate::media::{Grant, JoinRefused, Room, RoomConfig};
use crate::sdp::{CodecSet, Negotiated, Offer, SdpError, negotiate};
use crate::transport::{PacketKind, Path, StunReject, Transport, TransportEvent};

/// See the module.
#[derive(Debug)]
pub(super) struct RoomSlot {
    pub(super) id: RoomId,
    pub(super) serial: u64,
    media: Room,
    peers: Vec<Peer>,
    /// What everybody who is in can do; the first is what is sent.
    video: Option<CodecSet>,
    /// Time after the handshake until media counts as up without any.
    settle: Duration,
    pub(super) events: Vec<SfuEvent>,
    /// The time of the room's entry in the timer heap.
    pub(super) armed: Option<Instant>,
    pub(super) dirty: bool,
    #[cfg(test)]
    pub(super) poisoned: bool,
}

impl RoomSlot {
    pub(super) fn new(now: Instant, id: RoomId, serial: u64, settle: Duration, media: RoomConfig) -> Self {
        Self {
            id,
            serial,
            media: Room::new(now, media),
            peers: Vec::new(),
            video: None,
            settle,
            events: Vec::new(),
            armed: None,
            dirty: false,
            #[cfg(test)]
            poisoned: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    pub(super) fn peers(&self) -> &[Peer] {
        &self.peers
    }

    pub(super) fn slots(&self, participant: ParticipantId) -> Slots {
        let peer = self.peers.iter().find(|peer| peer.participant == participant);
        peer.map_or([None; SLOTS], |peer| self.media.slots(peer.index))
    }

    /// Agrees on codecs: what the server forwards, the offerer can do and the others in the room can do.
    pub(super) fn negotiate(
        &self,
        participant: ParticipantId,
        offer: &Offer,
        configured: &CodecSet,
        random: &mut IdSource,
    ) -> Result<Negotiated, SdpError> {
        let alone = self.peers.iter().all(|peer| peer.participant == participant);
        let common = self.video.as_ref().filter(|_| !alone);
        // The others already send the first codec of the room; they cannot be told to change.
        let must = common.and_then(|set| set.as_slice().first().copied());
        negotiate(offer, common.unwrap_or(configured), must, random)
    }

    /// Takes a participant in. Returns the transport that it replaces.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site; a struct would only repeat the names"
    )]
    pub(super) fn join(
        &mut self,
        now: Instant,
        participant: ParticipantId,
        serial: u64,
        negotiated: Negotiated,
        grant: Grant,
        transport: Transport,
        deadline: Instant,
        batch: &mut SendBatch,
    ) -> Result<Option<(u64, Transport)>, JoinError> {
        let Negotiated { layout, video, .. } = negotiated;
        let index = self
            .media
            .join(now, participant, layout, grant)
            .map_err(|refused| match refused {
                JoinRefused::Full => JoinError::RoomFull,
            })?;
        let old = self.remove(now, participant, batch);
        self.video = Some(video);
        let slots = self.media.slots(index);
        self.peers.push(Peer {
            serial,
            participant,
            index,
            transport,
            phase: Phase::Handshaking { deadline },
            slots,
            quality: QualityClock {
                at: now,
                up_bytes: 0,
                down_bytes: 0,
            },
            lane: LaneHint::default(),
            seal_failures: 0,
        });
        self.tell_slots();
        Ok(old)
    }

    /// Takes a participant out.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        participant: ParticipantId,
        batch: &mut SendBatch,
    ) -> Option<(u64, Transport)> {
        let index = self
            .peers
            .iter()
            .find(|peer| peer.participant == participant)?
            .index;
        let removed = self.remove(now, participant, batch);
        self.media.leave(
            now,
            index,
            &mut RoomEgress {
                peers: &mut self.peers,
                batch,
            },
        );
        self.tell_slots();
        removed
    }

    fn remove(
        &mut self,
        now: Instant,
        participant: ParticipantId,
        batch: &mut SendBatch,
    ) -> Option<(u64, Transport)> {
        let place = self
            .peers
            .iter()
            .position(|peer| peer.participant == participant)?;
        let mut peer = self.peers.remove(place);
        peer.transport.close(now);
        send_dtls(&mut peer.transport, batch);
        Some((peer.serial, peer.transport))
    }

    /// Tells all clients that it is over.
    pub(super) fn say_goodbye(&mut self, now: Instant, batch: &mut SendBatch) {
        for peer in &mut self.peers {
            peer.transport.close(now);
            send_dtls(&mut peer.transport, batch);
        }
    }

    /// Handles a connectivity check for the participant `serial`.
    pub(super) fn handle_stun(
        &mut self,
        now: Instant,
        serial: u64,
        path: Path,
        datagram: &[u8],
        batch: &mut SendBatch,
    ) -> Result<Option<SocketAddr>, StunReject> {
        let place = self.place(serial).ok_or(StunReject::WrongUser)?;
        let peer = &mut self.peers[place];
        // Not answering is how the client learns that this transport is over.
        if peer.phase == Phase::Gone {
            return Err(StunReject::WrongUser);
        }
        let outcome = peer
            .transport
            .handle_stun(now, path, datagram, |reply| batch.push(path, reply))?;
        self.events.extend(peer.heard(self.id, false));
        if let Some(event) = outcome.event {
            self.apply(now, place, event, batch);
        }
        Ok(outcome.displaced)
    }

    /// Handles a datagram from a validated address of the participant `serial`.
    pub(super) fn handle_packet(
        &mut self,
        now: Instant,
        kind: PacketKind,
        serial: u64,
        path: Path,
        datagram: &mut [u8],
        batch: &mut SendBatch,
    ) {
        let Some(place) = self.place(serial) else { return };
        #[cfg(test)]
        assert!(!self.poisoned, "a test wants this room to fail");
        let peer = &mut self.peers[place];
        let index = peer.index;
        match kind {
            PacketKind::Rtp => {
                let Some(plain) = peer.transport.open_rtp(now, path, datagram) else {
                    return;
                };
                self.events.extend(peer.heard(self.id, true));
                self.media.handle_rtp(
                    now,
                    index,
                    plain,
                    &mut RoomEgress {
                        peers: &mut self.peers,
                        batch,
                    },
                );
            }
            PacketKind::Rtcp => {
                let Some(plain) = peer.transport.open_rtcp(now, path, datagram) else {
                    return;
                };
                self.events.extend(peer.heard(self.id, false));
                self.media.handle_rtcp(
                    now,
                    index,
                    plain,
                    &mut RoomEgress {
                        peers: &mut self.peers,
                        batch,
                    },
                );
            }
            PacketKind::Dtls => {
                let event = peer.transport.handle_dtls(now, path, datagram);
                send_dtls(&mut peer.transport, batch);
                if let Some(event) = event {
                    self.apply(now, place, event, batch);
                }
            }
            PacketKind::Stun | PacketKind::Unknown => {}
        }
    }

    fn apply(&mut self, now: Instant, place: usize, event: TransportEvent, batch: &mut SendBatch) {
        let (room, peer) = (self.id, &mut self.peers[place]);
        let (participant, index) = (peer.participant, peer.index);
        match event {
            TransportEvent::PathSelected { first: true } => {}
            TransportEvent::PathSelected { first: false } => {
                self.events.push(SfuEvent::PathChanged { room, participant });
                self.media.path_changed(
                    now,
                    index,
                    &mut RoomEgress {
                        peers: &mut self.peers,
                        batch,
                    },
                );
            }
            TransportEvent::Connected(profile) => {
                tracing::debug!(%room, %participant, ?profile, "transport is up");
                peer.phase = Phase::Settling {
                    until: now + self.settle,
                };
                peer.quality.at = now;
                self.media.ready(
                    now,
                    index,
                    &mut RoomEgress {
                        peers: &mut self.peers,
                        batch,
                    },
                );
            }
            TransportEvent::Closed => {
                let was_up = matches!(peer.phase, Phase::Settling { .. } | Phase::Up | Phase::Silent);
                peer.phase = Phase::Gone;
                if was_up {
                    self.events.push(SfuEvent::MediaLost {
                        room,
                        participant,
                        cause: LossCause::Closed,
                    });
                }
                self.media.unready(
                    now,
                    index,
                    &mut RoomEgress {
                        peers: &mut self.peers,
                        batch,
                    },
                );
            }
            TransportEvent::Failed(reason) => {
                peer.phase = Phase::Gone;
                self.events.push(SfuEvent::HandshakeFailed {
                    room,
                    participant,
                    reason,
                });
            }
        }
    }

    /// Performs what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant, timeouts: &MediaTimeouts, batch: &mut SendBatch) {
        for place in 0..self.peers.len() {
            let peer = &mut self.peers[place];
            let event = peer.transport.handle_timeout(now);
            send_dtls(&mut peer.transport, batch);
            if let Some(event) = event {
                self.apply(now, place, event, batch);
            }
            let peer = &mut self.peers[place];
            let before = peer.phase;
            self.events.extend(peer.advance(now, timeouts, self.id));
            if peer.phase == Phase::Gone && before == Phase::Silent {
                peer.transport.close(now);
                send_dtls(&mut peer.transport, batch);
                let index = peer.index;
                self.media.unready(
                    now,
                    index,
                    &mut RoomEgress {
                        peers: &mut self.peers,
                        batch,
                    },
                );
            }
            self.tell_quality(now, timeouts.quality, place);
        }
        self.media.handle_timeout(
            now,
            &mut RoomEgress {
                peers: &mut self.peers,
                batch,
            },
        );
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn poll_timeout(&self, timeouts: &MediaTimeouts) -> Option<Instant> {
        let peers = self.peers.iter().filter_map(|peer| peer.poll_timeout(timeouts));
        peers.chain(self.media.poll_timeout()).min()
    }

    fn tell_slots(&mut self) {
        for peer in &mut self.peers {
            let slots = self.media.slots(peer.index);
            if slots != peer.slots {
                peer.slots = slots;
                self.events.push(SfuEvent::Slots {
                    room: self.id,
                    participant: peer.participant,
                    slots,
                });
            }
        }
    }

    fn tell_quality(&mut self, now: Instant, every: Duration, place: usize) {
        let peer = &mut self.peers[place];
        let elapsed = now.saturating_duration_since(peer.quality.at);
        if peer.phase != Phase::Up || elapsed < every {
            return;
        }
        let stats = self.media.stats(peer.index);
        let rate = |bytes: u64, before: u64| {
            let bits = bytes.saturating_sub(before).saturating_mul(8);
            (bits as f64 / elapsed.as_secs_f64()) as u64
        };
        let quality = Quality {
            uplink_loss: stats.up.fraction_lost,
            downlink_loss: stats.down.fraction_lost,
            rtt: stats.rtt,
            jitter: stats.up.jitter,
            uplink_bps: rate(stats.up.bytes, peer.quality.up_bytes),
            downlink_bps: rate(stats.down.bytes, peer.quality.down_bytes),
        };
        peer.quality = QualityClock {
            at: now,
            up_bytes: stats.up.bytes,
            down_bytes: stats.down.bytes,
        };
        self.events.push(SfuEvent::Quality {
            room: self.id,
            participant: peer.participant,
            quality,
        });
    }

    fn place(&self, serial: u64) -> Option<usize> {
        self.peers.iter().position(|peer| peer.serial == serial)
    }

    /// Adds the drops of the present participants.
    pub(super) fn add_drops_to(&self, stats: &mut ShardStats) {
        for peer in &self.peers {
            stats.drops.add(&peer.transport.stats());
            stats.drops.seal_failed += peer.seal_failures;
        }
    }
}

/// Queues what the DTLS server has to say.
fn send_dtls(transport: &mut Transport, batch: &mut SendBatch) {
    while let Some((path, datagram)) = transport.poll_transmit() {
        batch.push(path, &datagram);
    }
}
