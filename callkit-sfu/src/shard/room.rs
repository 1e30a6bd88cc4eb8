//! A room on a shard: the media engine and the transports of its participants.

use std::time::{Duration, Instant};

use callkit_core::id::{IdSource, ParticipantId, RoomId};

use super::batch::{LaneHint, SendBatch};
use super::peer::{Agreed, Peer, Phase, RoomEgress};
use super::stats::ShardStats;
use crate::control::{JoinError, LossCause, MediaTimeouts, SfuEvent, Slots};
use crate::layout::SLOTS;
use crate::media::{Grant, JoinRefused, Room, RoomConfig};
use crate::quality::Meter;
use crate::sdp::{CodecSet, Negotiated, Offer, SdpError, negotiate};
use crate::transport::ice::Transaction;
use crate::transport::{
    CheckOutcome, IceCredentials, PacketKind, Path, Remote, StunReject, Transport, TransportEvent,
};

/// An address that somebody is reached at is not given to another for this long after the last authentic packet.
const IN_USE: Duration = Duration::from_secs(3);
/// A transport that is being restarted is not given up for this long.
const RESTART_GRACE: Duration = Duration::from_secs(15);

/// What a datagram was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// Not authentic, or not known to be.
    Nothing,
    /// Authentic.
    Authentic,
    /// Authentic, from a participant who has no path to be reached on.
    Unreached,
}

/// What a restart gives.
#[derive(Debug)]
pub(super) struct Restarted {
    pub(super) serial: u64,
    pub(super) negotiated: Negotiated,
    pub(super) session: u64,
    pub(super) version: u32,
    /// Our user name fragment of an earlier restart that never came about.
    pub(super) unused: Option<String>,
}

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
    #[cfg(test)]
    pub(super) poisoned_timer: bool,
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
            #[cfg(test)]
            poisoned_timer: false,
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

    /// Takes the credentials of an ICE restart: same certificate, same layout, everything else goes on.
    pub(super) fn restart(
        &mut self,
        now: Instant,
        participant: ParticipantId,
        offer: &Offer,
        credentials: IceCredentials,
        random: &mut IdSource,
    ) -> Result<Restarted, JoinError> {
        let peer = self.peers.iter_mut().find(|peer| peer.participant == participant);
        let peer = peer
            .filter(|peer| peer.phase != Phase::Gone)
            .ok_or(JoinError::CannotRestart)?;
        let mut negotiated =
            negotiate(offer, &peer.agreed.codecs, None, random).map_err(|_| JoinError::CannotRestart)?;
        if !negotiated.resume(&peer.agreed.layout) {
            return Err(JoinError::CannotRestart);
        }
        let unused = peer
            .transport
            .restart(offer, credentials)
            .map_err(|_| JoinError::CannotRestart)?;
        peer.agreed.version += 1;
        peer.keep_until = peer.keep_until.max(Some(now + RESTART_GRACE));
        Ok(Restarted {
            serial: peer.serial,
            negotiated,
            session: peer.agreed.session,
            version: peer.agreed.version,
            unused,
        })
    }

    /// Takes a participant in. Returns who had the place before.
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
        session: u64,
        grant: Grant,
        transport: Transport,
        deadline: Instant,
        batch: &mut SendBatch,
    ) -> Result<Option<Peer>, JoinError> {
        let Negotiated {
            layout,
            video,
            asked: codecs,
            ..
        } = negotiated;
        let agreed = Box::new(Agreed {
            layout: layout.clone(),
            codecs,
            session,
            version: 1,
        });
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
            quality: Meter::new(now),
            lane: LaneHint::default(),
            seal_failures: 0,
            agreed,
            keep_until: None,
        });
        self.tell_slots();
        Ok(old)
    }

    /// Changes what a participant may send to the others.
    pub(super) fn set_grant(&mut self, participant: ParticipantId, grant: Grant) {
        let Some(peer) = self.peers.iter().find(|peer| peer.participant == participant) else {
            return;
        };
        let index = peer.index;
        self.media.set_grant(index, grant);
        self.tell_slots();
    }

    /// Takes a participant out.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        participant: ParticipantId,
        batch: &mut SendBatch,
    ) -> Option<Peer> {
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

    fn remove(&mut self, now: Instant, participant: ParticipantId, batch: &mut SendBatch) -> Option<Peer> {
        let place = self
            .peers
            .iter()
            .position(|peer| peer.participant == participant)?;
        let mut peer = self.peers.remove(place);
        peer.transport.close(now);
        send_own(&mut peer.transport, batch);
        Some(peer)
    }

    /// Tells all clients that it is over.
    pub(super) fn say_goodbye(&mut self, now: Instant, batch: &mut SendBatch) {
        for peer in &mut self.peers {
            peer.transport.close(now);
            send_own(&mut peer.transport, batch);
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
    ) -> Result<CheckOutcome, StunReject> {
        let place = self.place(serial).ok_or(StunReject::WrongUser)?;
        let peer = &mut self.peers[place];
        // Not answering is how the client learns that this transport is over.
        if peer.phase == Phase::Gone {
            return Err(StunReject::WrongUser);
        }
        let outcome = peer
            .transport
            .handle_stun(now, path, datagram, |reply| batch.push(path, reply))?;
        self.checked(now, place, &outcome, batch);
        Ok(outcome)
    }

    /// Handles an answer to a check of ours.
    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        serial: u64,
        path: Path,
        id: Transaction,
        datagram: &[u8],
        batch: &mut SendBatch,
    ) -> Result<CheckOutcome, StunReject> {
        let place = self.place(serial).ok_or(StunReject::NotAsked)?;
        let peer = &mut self.peers[place];
        if peer.phase == Phase::Gone {
            return Err(StunReject::NotAsked);
        }
        let outcome = peer.transport.handle_answer(now, path, id, datagram)?;
        self.checked(now, place, &outcome, batch);
        Ok(outcome)
    }

    fn checked(&mut self, now: Instant, place: usize, outcome: &CheckOutcome, batch: &mut SendBatch) {
        let heard = self.peers[place].heard(self.id, false);
        self.events.extend(heard);
        if let Some(event) = outcome.event {
            self.apply(now, place, event, batch);
        }
    }

    /// Whether the participant `serial` is reached at `remote` and was heard from there lately.
    pub(super) fn is_using(&self, now: Instant, serial: u64, remote: Remote) -> bool {
        let Some(place) = self.place(serial) else {
            return false;
        };
        let peer = &self.peers[place];
        let ice = peer.transport.ice();
        peer.phase != Phase::Gone
            && ice.selected().is_some_and(|path| path.end() == remote)
            && ice
                .last_received()
                .is_some_and(|last| now.saturating_duration_since(last) < IN_USE)
    }

    /// Asks the participant `serial` whether it is at `path`. Returns the name of the question, if one is asked.
    pub(super) fn probe(
        &mut self,
        now: Instant,
        serial: u64,
        path: Path,
        random: &mut IdSource,
        batch: &mut SendBatch,
    ) -> Option<Transaction> {
        let place = self.place(serial)?;
        let transport = &mut self.peers[place].transport;
        let asked = transport.probe(now, path, random);
        send_own(transport, batch);
        asked
    }

    /// What carried `path` of the participant `serial` is gone.
    pub(super) fn path_closed(&mut self, now: Instant, serial: u64, path: Path, batch: &mut SendBatch) {
        let Some(place) = self.place(serial) else { return };
        if let Some(event) = self.peers[place].transport.forget(now, path.end()) {
            self.apply(now, place, event, batch);
        }
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
    ) -> Received {
        let Some(place) = self.place(serial) else {
            return Received::Nothing;
        };
        #[cfg(test)]
        assert!(!self.poisoned, "a test wants this room to fail");
        let peer = &mut self.peers[place];
        let index = peer.index;
        let received = match peer.transport.ice().selected() {
            Some(_) => Received::Authentic,
            None => Received::Unreached,
        };
        match kind {
            PacketKind::Rtp => {
                let Some(plain) = peer.transport.open_rtp(now, path, datagram) else {
                    return Received::Nothing;
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
                    return Received::Nothing;
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
                send_own(&mut peer.transport, batch);
                if let Some(event) = event {
                    self.apply(now, place, event, batch);
                }
                return Received::Nothing;
            }
            PacketKind::Stun | PacketKind::Unknown => return Received::Nothing,
        }
        received
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
                peer.quality.restart(now);
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
                        silent_for: Duration::ZERO,
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
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        timeouts: &MediaTimeouts,
        random: &mut IdSource,
        batch: &mut SendBatch,
    ) {
        #[cfg(test)]
        assert!(!self.poisoned_timer, "a test wants this room to fail");
        for place in 0..self.peers.len() {
            let peer = &mut self.peers[place];
            let event = peer.transport.handle_timeout(now, random);
            send_own(&mut peer.transport, batch);
            if let Some(event) = event {
                self.apply(now, place, event, batch);
            }
            let peer = &mut self.peers[place];
            let before = peer.phase;
            self.events.extend(peer.advance(now, timeouts, self.id));
            if peer.phase == Phase::Gone && before == Phase::Silent {
                peer.transport.close(now);
                send_own(&mut peer.transport, batch);
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
        self.tell_demand();
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn poll_timeout(&self, timeouts: &MediaTimeouts) -> Option<Instant> {
        let peers = self.peers.iter().filter_map(|peer| peer.poll_timeout(timeouts));
        peers.chain(self.media.poll_timeout()).min()
    }

    /// Passes on what publishers should send.
    fn tell_demand(&mut self) {
        while let Some((participant, demand)) = self.media.poll_demand() {
            self.events.push(SfuEvent::Demand {
                room: self.id,
                participant,
                demand,
            });
        }
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
        if peer.phase != Phase::Up || now < peer.quality.at() + every {
            return;
        }
        let stats = self.media.stats(peer.index);
        let tracks = self.media.tracks(now, peer.index);
        let quality = peer.quality.measure(now, every, &stats, tracks);
        self.events.push(SfuEvent::Quality {
            room: self.id,
            participant: peer.participant,
            quality,
        });
    }

    fn place(&self, serial: u64) -> Option<usize> {
        self.peers.iter().position(|peer| peer.serial == serial)
    }

    /// Adds what the present participants have counted.
    pub(super) fn add_to(&self, stats: &mut ShardStats) {
        for peer in &self.peers {
            stats.add(peer);
        }
    }
}

/// Queues what the transport itself has to say.
fn send_own(transport: &mut Transport, batch: &mut SendBatch) {
    while let Some((path, datagram)) = transport.poll_transmit() {
        batch.push(path, &datagram);
    }
}
