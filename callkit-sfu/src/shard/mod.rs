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
#[cfg(feature = "net")]
pub(crate) mod driver;
mod peer;
mod room;
#[cfg(feature = "net")]
mod socket;
mod stats;
#[cfg(feature = "net")]
mod sys;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use callkit_core::id::{IdSource, ParticipantId, RoomId};
use callkit_core::time::Timestamp;

pub use batch::{DatagramSink, SendBatch};
#[cfg(feature = "net")]
pub(crate) use socket::open as open_socket;
pub use stats::{Drops, ShardStats};

use crate::control::{JoinError, Joined, MediaTimeouts, SfuEvent};
use crate::media::{Grant, NtpTime, RoomConfig};
use crate::sdp::{AnswerConfig, CodecSet, Fingerprint, Offer};
use crate::transport::ice::addressee;
use crate::transport::{DtlsIdentity, IceCredentials, PacketKind, Path, StunReject, Transport, classify};
use room::RoomSlot;

/// What a shard has to know of the configuration.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// Where the shard's socket is reached.
    pub candidates: Vec<SocketAddr>,
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

/// A participant, for the tables of addresses and names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PeerKey {
    room: usize,
    /// Unique over the life of the shard: an entry that outlived its peer finds nobody.
    serial: u64,
}

/// Where datagrams are looked up.
#[derive(Debug, Default)]
struct Directory {
    by_ufrag: HashMap<String, PeerKey>,
    by_address: HashMap<SocketAddr, PeerKey>,
}

impl Directory {
    fn remove(&mut self, key: PeerKey, transport: &Transport) {
        self.by_ufrag.remove(transport.ice().ufrag());
        for address in transport.ice().validated() {
            // The address may be another's by now.
            if self.by_address.get(address) == Some(&key) {
                self.by_address.remove(address);
            }
        }
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
    pub fn new(config: ShardConfig, identity: Arc<DtlsIdentity>, random: IdSource) -> Self {
        Self {
            config,
            identity,
            random,
            rooms: Vec::new(),
            by_id: HashMap::new(),
            directory: Directory::default(),
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
            room.add_drops_to(&mut stats);
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
            kind => {
                let Some(key) = shard.directory.by_address.get(&path.remote).copied() else {
                    shard.stats.drops.unknown_source += 1;
                    return;
                };
                if let Some(room) = shard.enter(key.room) {
                    room.handle_packet(now, kind, key.serial, path, datagram, batch);
                }
                shard.leave_room();
            }
        });
    }

    fn handle_stun(&mut self, now: Instant, path: Path, datagram: &[u8], batch: &mut SendBatch) {
        let Some(ufrag) = addressee(datagram) else {
            self.stats.drops.stun_malformed += 1;
            return;
        };
        let Some(key) = self.directory.by_ufrag.get(ufrag).copied() else {
            self.stats.drops.stun_unknown_user += 1;
            return;
        };
        let Some(room) = self.enter(key.room) else { return };
        match room.handle_stun(now, key.serial, path, datagram, batch) {
            Ok(displaced) => {
                if let Some(address) = displaced
                    && self.directory.by_address.get(&address) == Some(&key)
                {
                    self.directory.by_address.remove(&address);
                }
                // The newest authentic check owns the address: a browser may reuse its port for a new call.
                self.directory.by_address.insert(path.remote, key);
            }
            Err(StunReject::Malformed | StunReject::NotARequest) => self.stats.drops.stun_malformed += 1,
            Err(StunReject::WrongUser) => self.stats.drops.stun_unknown_user += 1,
            Err(StunReject::NotAuthentic) => self.stats.drops.stun_not_authentic += 1,
        }
        self.leave_room();
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
            let answer = negotiated.answer(&AnswerConfig {
                ufrag: &credentials.ufrag,
                pwd: &credentials.pwd,
                fingerprint: self.identity.fingerprint(),
                candidates: &config.candidates,
                session: self.random.next_u64(),
            });
            let ufrag = credentials.ufrag.clone();
            let transport = Transport::new(now, offer, credentials, Arc::clone(&self.identity));
            let deadline = now + config.timeouts.handshake;
            let old = room.join(
                now,
                participant,
                serial,
                negotiated,
                grant,
                transport,
                deadline,
                batch,
            )?;
            Ok((answer, ufrag, old))
        });
        let joined = result.map(|(answer, ufrag, old)| {
            self.directory
                .by_ufrag
                .insert(ufrag, PeerKey { room: place, serial });
            match old {
                Some((serial, transport)) => {
                    self.stats.drops.add(&transport.stats());
                    self.directory.remove(PeerKey { room: place, serial }, &transport);
                }
                None => self.participants += 1,
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

    /// Takes a participant out of a room.
    pub fn leave(&mut self, now: Instant, id: RoomId, participant: ParticipantId, batch: &mut SendBatch) {
        self.guarded(batch, |shard, batch| {
            let Some(place) = shard.by_id.get(&id).copied() else {
                return;
            };
            let Some(room) = shard.enter(place) else { return };
            if let Some((serial, transport)) = room.leave(now, participant, batch) {
                shard.stats.drops.add(&transport.stats());
                shard
                    .directory
                    .remove(PeerKey { room: place, serial }, &transport);
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
                let Some(room) = shard.enter(place) else { return };
                if room.serial == serial && room.armed == Some(due) {
                    room.armed = None;
                    room.handle_timeout(now, &timeouts, batch);
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
        room.add_drops_to(&mut self.stats);
        for peer in room.peers() {
            self.directory.remove(
                PeerKey {
                    room: place,
                    serial: peer.serial,
                },
                &peer.transport,
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
