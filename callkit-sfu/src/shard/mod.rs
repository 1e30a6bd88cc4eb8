//! Rooms and their participants on one thread.
//!
//! [`Shard`] decides without I/O: datagrams, commands and time in; a [`SendBatch`] and [`SfuEvent`]s out.
//! With feature `net`, `driver` gives it a socket, a mailbox and a thread. A room lives whole on one shard,
//! so nothing here is shared or locked.
//!
//! Rules:
//! - A datagram belongs to whoever its user name fragment says (STUN) or whose validated address it comes
//!   from (everything else). The rest is counted and dropped, never answered.
//! - Timers are a heap with one entry per room; a room is looked at when a packet touched it or its time has
//!   come. Idle rooms cost nothing.
//! - A panic ends the room it happened in, and no other.

mod batch;
mod directory;
#[cfg(feature = "net")]
pub(crate) mod driver;
mod limit;
#[cfg(feature = "net")]
pub(crate) mod load;
#[cfg(feature = "net")]
mod pace;
mod peer;
mod room;
#[cfg(feature = "net")]
mod socket;
mod stats;
#[cfg(feature = "net")]
mod sys;
#[cfg(feature = "net")]
mod tcp;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use callkit_core::id::{IdSource, ParticipantId, RoomId};
use callkit_core::time::Timestamp;

pub use batch::{DatagramSink, SendBatch};
#[cfg(feature = "net")]
pub(crate) use socket::{ShardSocket, open as open_socket};
pub use stats::{Drops, RunLengths, ShardStats};
#[cfg(feature = "net")]
pub(crate) use tcp::TcpPlane;

use crate::control::{JoinError, Joined, MediaTimeouts, SfuEvent};
use crate::media::{Grant, NtpTime, RoomConfig};
use crate::sdp::{AnswerConfig, Candidate, CodecSet, Fingerprint, Offer};
use crate::transport::ice::{StunKind, Transaction, peek};
use crate::transport::{
    CheckOutcome, DtlsIdentity, IceCredentials, PacketKind, Path, StunReject, Transport, classify,
};
use directory::{Directory, PeerKey};
use limit::SourceLimits;
use room::{Received, RoomSlot};

/// Longest datagram of a participant: an Ethernet frame.
const MAX_DATAGRAM: usize = 1500;

/// What a shard has to know of the configuration.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// Where the shard's sockets are reached, most preferred first.
    pub candidates: Vec<Candidate>,
    /// Video codecs, most preferred first.
    pub video: CodecSet,
    /// When silence means something.
    pub timeouts: MediaTimeouts,
    /// Participants at most.
    pub max_participants: usize,
    /// A moment on the media clock and what it is in civil time: sender reports tell both.
    pub epoch: (Instant, Timestamp),
}

impl ShardConfig {
    fn ntp(&self, now: Instant) -> NtpTime {
        let (moment, civil) = self.epoch;
        let civil = Duration::from_millis(civil.as_millis());
        NtpTime::from_unix(civil + now.saturating_duration_since(moment))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    identity: Arc<DtlsIdentity>,
    random: IdSource,
    rooms: Vec<Option<Box<RoomSlot>>>,
    by_id: HashMap<RoomId, usize>,
    directory: Directory,
    limits: SourceLimits,
    timers: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    /// Rooms whose timer may have changed.
    dirty: Vec<usize>,
    events: VecDeque<SfuEvent>,
    /// The room that is being worked on: the one that a panic ends.
    current: Option<usize>,
    next_serial: u64,
    participants: usize,
    stats: ShardStats,
}

impl Shard {
    /// A shard without rooms.
    #[must_use]
    pub fn new(config: ShardConfig, identity: Arc<DtlsIdentity>, mut random: IdSource) -> Self {
        let limits = SourceLimits::new(random.next_u64());
        Self {
            config,
            identity,
            random,
            rooms: Vec::new(),
            by_id: HashMap::new(),
            directory: Directory::default(),
            limits,
            timers: BinaryHeap::new(),
            dirty: Vec::new(),
            events: VecDeque::new(),
            current: None,
            next_serial: 0,
            participants: 0,
            stats: ShardStats::default(),
        }
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> ShardStats {
        let mut stats = self.stats;
        stats.rooms = self.by_id.len();
        stats.participants = self.participants;
        for room in self.rooms.iter().flatten() {
            room.add_to(&mut stats);
        }
        stats
    }

    /// The fingerprint of our certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.identity.fingerprint()
    }

    /// Handles a datagram; `datagram` is opened in place.
    pub fn handle_datagram(&mut self, now: Instant, path: Path, datagram: &mut [u8], batch: &mut SendBatch) {
        self.stats.datagrams_in += 1;
        self.guarded(batch, |shard, batch| match classify(datagram) {
            PacketKind::Stun => shard.handle_stun(now, path, datagram, batch),
            PacketKind::Unknown => shard.stats.drops.unknown_kind += 1,
            kind => match shard.directory.at(path.end()) {
                Some(key) => shard.handle_packet(now, kind, key, path, datagram, batch),
                None => shard.handle_stranger(now, kind, path, datagram, batch),
            },
        });
    }

    fn handle_packet(
        &mut self,
        now: Instant,
        kind: PacketKind,
        key: PeerKey,
        path: Path,
        datagram: &mut [u8],
        batch: &mut SendBatch,
    ) {
        let Some(room) = self.enter(key.room) else { return };
        let received = room.handle_packet(now, kind, key.serial, path, datagram, batch);
        if received == Received::Unreached {
            self.probe(now, key, path, batch);
        }
        self.leave_room();
    }

    /// Handles a datagram from an address that no check came from. Media of somebody who is in a call means that
    /// the client has changed its network: it is taken if it is authentic, and the address is asked for itself.
    /// Nothing is sent to it but that question until the answer comes.
    fn handle_stranger(
        &mut self,
        now: Instant,
        kind: PacketKind,
        path: Path,
        datagram: &mut [u8],
        batch: &mut SendBatch,
    ) {
        let at = match kind {
            PacketKind::Rtp => 8,
            PacketKind::Rtcp => 4,
            PacketKind::Dtls | PacketKind::Stun | PacketKind::Unknown => {
                self.stats.drops.unknown_source += 1;
                return;
            }
        };
        let ssrc = datagram.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        let keys = ssrc.map_or_else(Default::default, |ssrc| {
            self.directory.announced(u32::from_be_bytes(ssrc))
        });
        let mut copy = [0; MAX_DATAGRAM];
        let Some(copy) = copy.get_mut(..datagram.len()) else {
            self.stats.drops.unknown_source += 1;
            return;
        };
        for key in keys.into_iter().flatten() {
            if !self.limits.take(now, path.remote.ip()) {
                self.stats.drops.limited += 1;
                return;
            }
            // Opening spoils what it cannot open.
            copy.copy_from_slice(datagram);
            let Some(room) = self.enter(key.room) else {
                continue;
            };
            let received = room.handle_packet(now, kind, key.serial, path, copy, batch);
            if received != Received::Nothing {
                self.limits.give_back(now, path.remote.ip());
                self.stats.from_new_address += 1;
                self.probe(now, key, path, batch);
            }
            self.leave_room();
            if received != Received::Nothing {
                return;
            }
        }
        self.stats.drops.unknown_source += 1;
    }

    /// Asks the participant `key`, in the room that is being worked on, whether it is at `path`.
    fn probe(&mut self, now: Instant, key: PeerKey, path: Path, batch: &mut SendBatch) {
        let Some(room) = self.rooms.get_mut(key.room).and_then(Option::as_deref_mut) else {
            return;
        };
        if let Some(id) = room.probe(now, key.serial, path, &mut self.random, batch) {
            self.directory.asking(now, id, key);
        }
    }

    fn handle_stun(&mut self, now: Instant, path: Path, datagram: &[u8], batch: &mut SendBatch) {
        match peek(datagram) {
            StunKind::Request(ufrag) => match self.directory.named(ufrag) {
                Some(key) => self.handle_check(now, key, path, datagram, batch),
                None => self.stats.drops.stun_unknown_user += 1,
            },
            StunKind::Answer(id) => {
                let asked = self.directory.asked(id);
                match asked.or_else(|| self.directory.at(path.end())) {
                    Some(key) => self.handle_answer(now, key, path, id, datagram, batch),
                    None => self.stats.drops.unknown_source += 1,
                }
            }
            StunKind::Other => self.stats.drops.stun_malformed += 1,
        }
    }

    fn handle_check(
        &mut self,
        now: Instant,
        key: PeerKey,
        path: Path,
        datagram: &[u8],
        batch: &mut SendBatch,
    ) {
        let holder = self.directory.at(path.end());
        let is_new = holder != Some(key);
        if is_new && !self.limits.take(now, path.remote.ip()) {
            self.stats.drops.limited += 1;
            return;
        }
        // A check says who sends it, not whence: with a made-up source it would take somebody's address.
        if let Some(holder) = holder.filter(|_| is_new)
            && let Some(room) = self.rooms.get(holder.room).and_then(Option::as_deref)
            && room.is_using(now, holder.serial, path.end())
        {
            self.stats.drops.address_in_use += 1;
            return;
        }
        let Some(room) = self.enter(key.room) else { return };
        let outcome = room.handle_stun(now, key.serial, path, datagram, batch);
        if is_new && outcome.is_ok() {
            self.limits.give_back(now, path.remote.ip());
        }
        self.note_check(key, path, outcome);
        self.leave_room();
    }

    fn handle_answer(
        &mut self,
        now: Instant,
        key: PeerKey,
        path: Path,
        id: Transaction,
        datagram: &[u8],
        batch: &mut SendBatch,
    ) {
        let Some(room) = self.enter(key.room) else { return };
        let outcome = room.handle_answer(now, key.serial, path, id, datagram, batch);
        self.note_check(key, path, outcome);
        self.leave_room();
    }

    fn note_check(&mut self, key: PeerKey, path: Path, outcome: Result<CheckOutcome, StunReject>) {
        let drops = &mut self.stats.drops;
        match outcome {
            Ok(outcome) => self.directory.checked(key, path.end(), &outcome),
            Err(StunReject::Malformed | StunReject::NotARequest) => drops.stun_malformed += 1,
            Err(StunReject::WrongUser) => drops.stun_unknown_user += 1,
            Err(StunReject::NotAuthentic | StunReject::NotAsked) => drops.stun_not_authentic += 1,
        }
    }

    /// What carried `path` is gone for good: a TCP connection was closed.
    pub fn path_closed(&mut self, now: Instant, path: Path, batch: &mut SendBatch) {
        self.guarded(batch, |shard, batch| {
            let Some(key) = shard.directory.at(path.end()) else {
                return;
            };
            shard.directory.forget(path.end(), key);
            let Some(room) = shard.enter(key.room) else { return };
            room.path_closed(now, key.serial, path, batch);
            shard.leave_room();
        });
    }

    /// Whether an authentic check has come on `path`.
    #[must_use]
    pub fn knows(&self, path: Path) -> bool {
        self.directory.at(path.end()).is_some()
    }

    /// Gives a participant's transport the credentials of an ICE restart and returns the answer.
    ///
    /// # Errors
    /// [`JoinError::CannotRestart`] if there is no transport, or it is of another certificate or layout;
    /// nothing has changed then.
    pub fn restart(
        &mut self,
        now: Instant,
        id: RoomId,
        participant: ParticipantId,
        offer: &Offer,
        batch: &mut SendBatch,
    ) -> Result<String, JoinError> {
        self.guarded(batch, |shard, _| {
            let place = *shard.by_id.get(&id).ok_or(JoinError::CannotRestart)?;
            let credentials = IceCredentials::random(&mut shard.random);
            shard.current = Some(place);
            let room = shard.rooms[place].as_deref_mut().ok_or(JoinError::RoomFailed)?;
            let restarted = room.restart(now, participant, offer, credentials.clone(), &mut shard.random);
            let answer = restarted.map(|restarted| {
                let key = PeerKey {
                    room: place,
                    serial: restarted.serial,
                };
                if let Some(unused) = restarted.unused {
                    shard.directory.retire(&unused, key);
                }
                let answer = restarted.negotiated.answer(&AnswerConfig {
                    ufrag: &credentials.ufrag,
                    pwd: &credentials.pwd,
                    fingerprint: shard.identity.fingerprint(),
                    candidates: &shard.config.candidates,
                    session: restarted.session,
                    version: restarted.version,
                });
                shard.directory.name(credentials.ufrag, key);
                answer
            });
            shard.leave_room();
            answer
        })
        .unwrap_or(Err(JoinError::RoomFailed))
    }

    /// Puts a participant into a room, or gives one who is there a new transport.
    ///
    /// # Errors
    /// [`JoinError`]; nothing has changed then.
    pub fn join(
        &mut self,
        now: Instant,
        id: RoomId,
        participant: ParticipantId,
        offer: &Offer,
        grant: Grant,
        batch: &mut SendBatch,
    ) -> Result<Joined, JoinError> {
        self.guarded(batch, |shard, batch| {
            shard.try_join(now, id, participant, offer, grant, batch)
        })
        .unwrap_or(Err(JoinError::RoomFailed))
    }

    fn try_join(
        &mut self,
        now: Instant,
        id: RoomId,
        participant: ParticipantId,
        offer: &Offer,
        grant: Grant,
        batch: &mut SendBatch,
    ) -> Result<Joined, JoinError> {
        if self.participants >= self.config.max_participants {
            return Err(JoinError::AtCapacity);
        }
        let place = match self.by_id.get(&id) {
            Some(place) => *place,
            None => self.open_room(now, id),
        };
        let credentials = IceCredentials::random(&mut self.random);
        let serial = self.next_serial;
        self.next_serial += 1;
        self.current = Some(place);
        let config = &self.config;
        let Some(room) = self.rooms[place].as_deref_mut() else {
            return Err(JoinError::RoomFailed);
        };
        let negotiated = room.negotiate(participant, offer, &config.video, &mut self.random);
        let result = negotiated.map_err(JoinError::Offer).and_then(|negotiated| {
            let session = self.random.next_u64();
            let answer = negotiated.answer(&AnswerConfig {
                ufrag: &credentials.ufrag,
                pwd: &credentials.pwd,
                fingerprint: self.identity.fingerprint(),
                candidates: &config.candidates,
                session,
                version: 1,
            });
            let ufrag = credentials.ufrag.clone();
            let transport = Transport::new(now, offer, credentials, Arc::clone(&self.identity));
            let deadline = now + config.timeouts.handshake;
            let old = room.join(
                now,
                participant,
                serial,
                negotiated,
                session,
                grant,
                transport,
                deadline,
                batch,
            )?;
            Ok((answer, ufrag, old))
        });
        let joined = result.map(|(answer, ufrag, old)| {
            match old {
                Some(old) => {
                    let serial = old.serial;
                    self.stats.add(&old);
                    self.directory.remove(PeerKey { room: place, serial }, &old);
                }
                None => self.participants += 1,
            }
            let key = PeerKey { room: place, serial };
            self.directory.name(ufrag, key);
            if let Some(peer) = room.peers().iter().find(|peer| peer.serial == serial) {
                self.directory.announce(peer, key);
            }
            Joined {
                answer,
                slots: room.slots(participant),
            }
        });
        if room.is_empty() {
            self.drop_room(place);
        }
        self.leave_room();
        joined
    }

    /// Changes what a participant may send to the others, from the next packet on.
    pub fn set_grant(&mut self, id: RoomId, participant: ParticipantId, grant: Grant, batch: &mut SendBatch) {
        self.guarded(batch, |shard, _| {
            let Some(place) = shard.by_id.get(&id).copied() else {
                return;
            };
            let Some(room) = shard.enter(place) else { return };
            room.set_grant(participant, grant);
            shard.leave_room();
        });
    }

    /// Takes a participant out of a room.
    pub fn leave(&mut self, now: Instant, id: RoomId, participant: ParticipantId, batch: &mut SendBatch) {
        self.guarded(batch, |shard, batch| {
            let Some(place) = shard.by_id.get(&id).copied() else {
                return;
            };
            let Some(room) = shard.enter(place) else { return };
            if let Some(peer) = room.leave(now, participant, batch) {
                let serial = peer.serial;
                shard.stats.add(&peer);
                shard.directory.remove(PeerKey { room: place, serial }, &peer);
                shard.participants -= 1;
            }
            if shard.rooms[place].as_deref().is_some_and(RoomSlot::is_empty) {
                shard.drop_room(place);
            }
            shard.leave_room();
        });
    }

    /// Takes everybody out of a room.
    pub fn close_room(&mut self, now: Instant, id: RoomId, batch: &mut SendBatch) {
        let Some(place) = self.by_id.get(&id).copied() else {
            return;
        };
        if let Some(room) = self.rooms[place].as_deref_mut() {
            room.say_goodbye(now, batch);
        }
        self.drop_room(place);
        self.events.retain(|event| event.room() != id);
    }

    /// Closes all rooms.
    pub fn close(&mut self, now: Instant, batch: &mut SendBatch) {
        let all: Vec<RoomId> = self.rooms.iter().flatten().map(|room| room.id).collect();
        for id in all {
            self.close_room(now, id, batch);
        }
    }

    /// Performs what is due.
    pub fn handle_timeout(&mut self, now: Instant, batch: &mut SendBatch) {
        while let Some(Reverse((due, place, serial))) = self.timers.peek().copied() {
            if due > now {
                break;
            }
            self.timers.pop();
            self.guarded(batch, |shard, batch| {
                let timeouts = shard.config.timeouts.clone();
                shard.current = Some(place);
                let random = &mut shard.random;
                if let Some(room) = shard.rooms.get_mut(place).and_then(Option::as_deref_mut)
                    && room.serial == serial
                    && room.armed == Some(due)
                {
                    room.armed = None;
                    room.handle_timeout(now, &timeouts, random, batch);
                }
                shard.leave_room();
            });
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due. Call after a batch of other calls.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        while let Some(place) = self.dirty.pop() {
            let Some(room) = self.rooms[place].as_deref_mut() else {
                continue;
            };
            room.dirty = false;
            let next = room.poll_timeout(&self.config.timeouts);
            // A later time needs no new entry: the old one fires, finds nothing due and re-arms.
            if let Some(next) = next
                && room.armed.is_none_or(|armed| next < armed)
            {
                room.armed = Some(next);
                self.timers.push(Reverse((next, place, room.serial)));
            }
        }
        self.timers.peek().map(|Reverse((due, ..))| *due)
    }

    /// The next event, in order.
    pub fn poll_event(&mut self) -> Option<SfuEvent> {
        self.events.pop_front()
    }

    fn open_room(&mut self, now: Instant, id: RoomId) -> usize {
        let free = self.rooms.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            self.rooms.push(None);
            self.rooms.len() - 1
        });
        let serial = self.next_serial;
        self.next_serial += 1;
        let media = RoomConfig::new(self.random.next_u64(), self.config.ntp(now));
        self.rooms[place] = Some(Box::new(RoomSlot::new(
            now,
            id,
            serial,
            self.config.timeouts.settle,
            media,
        )));
        self.by_id.insert(id, place);
        place
    }

    fn drop_room(&mut self, place: usize) {
        let Some(room) = self.rooms[place].take() else {
            return;
        };
        self.by_id.remove(&room.id);
        room.add_to(&mut self.stats);
        for peer in room.peers() {
            self.directory.remove(
                PeerKey {
                    room: place,
                    serial: peer.serial,
                },
                peer,
            );
            self.participants -= 1;
        }
    }

    /// Starts work on a room; it will be asked for its timer and events.
    fn enter(&mut self, place: usize) -> Option<&mut RoomSlot> {
        let room = self.rooms.get_mut(place)?.as_deref_mut()?;
        self.current = Some(place);
        Some(room)
    }

    /// Ends work on the current room: collects its events, notes that its timer may have changed.
    fn leave_room(&mut self) {
        let Some(place) = self.current.take() else { return };
        let Some(room) = self.rooms[place].as_deref_mut() else {
            return;
        };
        self.events.extend(room.events.drain(..));
        if !room.dirty {
            room.dirty = true;
            self.dirty.push(place);
        }
    }

    /// Runs `work`; a panic in it ends the current room. `None` if it panicked.
    fn guarded<T>(
        &mut self,
        batch: &mut SendBatch,
        work: impl FnOnce(&mut Self, &mut SendBatch) -> T,
    ) -> Option<T> {
        // Unwind safety: the room that was worked on is dropped; what is outside of rooms is changed in
        // single steps that cannot panic half-way.
        match catch_unwind(AssertUnwindSafe(|| work(self, batch))) {
            Ok(result) => {
                self.current = None;
                Some(result)
            }
            Err(_) => {
                self.stats.rooms_failed += 1;
                if let Some(place) = self.current.take() {
                    let id = self.rooms[place].as_deref().map(|room| room.id);
                    self.drop_room(place);
                    if let Some(room) = id {
                        tracing::error!(%room, "a room failed and was closed");
                        self.events.push_back(SfuEvent::RoomFailed { room });
                    }
                }
                None
            }
        }
    }
}
