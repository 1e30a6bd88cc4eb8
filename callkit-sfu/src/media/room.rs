//! The room: up to three participants, who is in which slot, and when something is due. Packets are
//! forwarded in `forward`, RTCP is answered in `feedback`.

use std::time::{Duration, Instant};

use callkit_core::id::ParticipantId;

use super::adapt::Upstream;
use super::bandwidth::Limits;
use super::clock::{NtpTime, ServerClock};
use super::downlink::Downlinks;
use super::grant::{Grant, is_received};
use super::reception::Reception;
use super::stats::{Direction, PeerStats};
use super::uplink::Uplinks;
use crate::layout::{Egress, MediaLayout, PeerIndex, SLOTS};

/// Most people in a call (R7.1).
pub const MAX_PARTICIPANTS: usize = SLOTS + 1;
/// Distance of reports while media flows (RFC 3550 section 6.2, as browsers do for video).
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// The first report comes sooner, so that the round trip is known early.
pub(super) const FIRST_REPORT: Duration = Duration::from_millis(250);

/// What a room has to be told from outside.
#[derive(Debug)]
pub struct RoomConfig {
    /// Decides where sequence numbers and timestamps start.
    pub seed: u64,
    /// NTP time of the moment given to [`Room::new`].
    pub ntp: NtpTime,
    /// Bytes of payload kept of a publisher's camera for retransmission, from its first packet on; twice that
    /// of a shared screen. At 2 Mbit/s 128 KiB are half a second: less fails to repair on long paths, more is
    /// memory per participant.
    pub retransmission_bytes: usize,
    /// Bounds of what receivers' connections are taken to carry.
    pub bandwidth: Limits,
}

impl RoomConfig {
    /// The usual settings.
    #[must_use]
    pub fn new(seed: u64, ntp: NtpTime) -> Self {
        Self {
            seed,
            ntp,
            retransmission_bytes: 128 * 1024,
            bandwidth: Limits::default(),
        }
    }
}

/// Why somebody cannot come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinRefused {
    /// There are three in the room.
    #[error("the room is full")]
    Full,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: ParticipantId,
    pub(super) grant: Grant,
    pub(super) ready: bool,
    pub(super) uplinks: Uplinks,
    pub(super) downlinks: Downlinks,
    pub(super) rtt: Option<Duration>,
    pub(super) report_due: Option<Instant>,
    /// Since when it can be sent to.
    pub(super) since: Instant,
    /// What it was told to send.
    pub(super) upstream: Upstream,
    /// The SSRC that our feedback to this participant comes from.
    pub(super) local_ssrc: u32,
}

/// A call's media: takes packets and tells an [`Egress`] what to send.
#[derive(Debug)]
pub struct Room {
    pub(super) config: RoomConfig,
    pub(super) clock: ServerClock,
    pub(super) peers: [Option<Box<Peer>>; MAX_PARTICIPANTS],
    pub(super) next_ring: u32,
    next_run: u32,
    random: u64,
    /// When allocation was last done and is next; `None` while nothing flows.
    pub(super) adapted: Instant,
    pub(super) adapt_due: Option<Instant>,
    /// Something changed since the last decision that makes it wrong.
    pub(super) is_unsettled: bool,
    /// Nothing is due before this moment.
    wake: Option<Instant>,
}

impl Room {
    /// An empty room.
    #[must_use]
    pub fn new(now: Instant, config: RoomConfig) -> Self {
        Self {
            clock: ServerClock {
                epoch: now,
                ntp: config.ntp,
            },
            peers: [const { None }; MAX_PARTICIPANTS],
            next_ring: 0,
            next_run: 0,
            random: config.seed,
            adapted: now,
            adapt_due: None,
            is_unsettled: false,
            wake: None,
            config,
        }
    }

    /// Who is in the room.
    pub fn participants(&self) -> impl Iterator<Item = (PeerIndex, ParticipantId)> + '_ {
        let peers = self.peers.iter().enumerate();
        peers.filter_map(|(index, peer)| peer.as_ref().map(|peer| (PeerIndex(index), peer.id)))
    }

    /// Whether nobody is in the room.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.peers.iter().all(Option::is_none)
    }

    /// Who is in the slots of `peer`.
    #[must_use]
    pub fn slots(&self, peer: PeerIndex) -> [Option<ParticipantId>; SLOTS] {
        let Some(peer) = self.peer(peer) else {
            return [None; SLOTS];
        };
        std::array::from_fn(|slot| {
            peer.downlinks.slots[slot]
                .occupant
                .and_then(|occupant| self.peer(occupant))
                .map(|peer| peer.id)
        })
    }

    /// The counters of `peer`; zero for a place that nobody has.
    #[must_use]
    pub fn stats(&self, peer: PeerIndex) -> PeerStats {
        let Some(peer) = self.peer(peer) else {
            return PeerStats::default();
        };
        let mut up = peer.uplinks.totals;
        for (source, stream) in peer.uplinks.streams() {
            let reception: &Reception = &stream.reception;
            let given_up = stream.nack.as_ref().map_or(0, |nack| nack.given_up());
            up.lost += reception.lost();
            up.unrepaired += given_up;
            worst(
                &mut up,
                reception.fraction_lost(),
                reception.jitter(),
                source.clock_rate(),
            );
        }
        let mut down = peer.downlinks.totals;
        for track in peer.downlinks.tracks() {
            down.lost += i64::from(track.report.lost);
            worst(
                &mut down,
                track.report.fraction_lost,
                track.report.jitter,
                track.spec.source.clock_rate(),
            );
        }
        PeerStats {
            up,
            down,
            rtt: peer.rtt,
            drops: peer.uplinks.drops,
        }
    }

    /// Lets a participant in, with the layout that was negotiated. The same participant again replaces his
    /// transport: he keeps his place, and what the others receive goes on in the same slots. Nothing is
    /// sent to him before [`ready`](Self::ready).
    ///
    /// # Errors
    /// [`JoinRefused::Full`] if three others are in the room.
    pub fn join(
        &mut self,
        now: Instant,
        id: ParticipantId,
        layout: MediaLayout,
        grant: Grant,
    ) -> Result<PeerIndex, JoinRefused> {
        let place = self
            .peers
            .iter()
            .position(|peer| peer.as_ref().is_some_and(|peer| peer.id == id));
        let place = place
            .or_else(|| self.peers.iter().position(Option::is_none))
            .ok_or(JoinRefused::Full)?;
        let index = PeerIndex(place);

        let local_ssrc = layout.downlinks.first().map_or(1, |downlink| downlink.ssrc);
        let uplinks = Uplinks::new(layout.uplinks, now, self.next_run);
        self.next_run = self.next_run.wrapping_add(1 << 20);
        let random = &mut self.random;
        let limits = self.config.bandwidth;
        let mut downlinks = Downlinks::new(layout.downlinks, limits, &mut || split_mix(random));
        match self.peers[place].take() {
            Some(before) => {
                for (slot, before) in downlinks.slots.iter_mut().zip(&before.downlinks.slots) {
                    slot.occupant = before.occupant;
                    slot.last = before.last;
                }
            }
            None => {
                for (other, peer) in self.others(index) {
                    if is_received(peer.grant, id) {
                        downlinks.assign(other, peer.id);
                    }
                }
            }
        }
        self.peers[place] = Some(Box::new(Peer {
            id,
            grant,
            ready: false,
            uplinks,
            downlinks,
            rtt: None,
            report_due: None,
            since: now,
            upstream: Upstream::default(),
            local_ssrc,
        }));
        self.place_at_others(index);
        self.is_unsettled = true;
        self.adapt_soon(now);
        Ok(index)
    }

    /// Changes what a participant may send to the others. What they receive of it starts with a key frame.
    /// Who receives nothing of him has no place for him: [`slots`](Self::slots) of the others may change.
    pub fn set_grant(&mut self, peer: PeerIndex, grant: Grant) {
        let Some(state) = self.peer_mut(peer) else { return };
        state.grant = grant;
        self.place_at_others(peer);
        self.is_unsettled = true;
        self.arm(Some(self.adapted));
        self.adapt_due = Some(self.adapted);
    }

    /// Gives `peer` a slot at each other who receives something of him, and at nobody else.
    fn place_at_others(&mut self, peer: PeerIndex) {
        let Some((id, grant)) = self.peer(peer).map(|state| (state.id, state.grant)) else {
            return;
        };
        for (place, other) in self.peers.iter_mut().enumerate() {
            let Some(other) = other.as_deref_mut().filter(|_| place != peer.0) else {
                continue;
            };
            if is_received(grant, other.id) {
                other.downlinks.assign(peer, id);
                if let Some(slot) = other.downlinks.slot_of(peer) {
                    slot.stop();
                }
            } else {
                other.downlinks.release(peer);
            }
        }
    }

    /// Everybody but `peer`.
    pub(super) fn others(&self, peer: PeerIndex) -> impl Iterator<Item = (PeerIndex, &Peer)> {
        let peers = self.peers.iter().enumerate();
        peers.filter_map(move |(place, other)| {
            Some((PeerIndex(place), other.as_deref()?)).filter(|(place, _)| *place != peer)
        })
    }

    /// The participant can be sent to: it gets key frames of what it is to see.
    pub fn ready(&mut self, now: Instant, peer: PeerIndex, egress: &mut impl Egress) {
        if let Some(state) = self.peer_mut(peer) {
            state.ready = true;
            state.since = now;
            self.choose(now, peer);
            self.adapt_soon(now);
            self.refresh_received(now, peer, egress);
        }
    }

    /// The participant cannot be sent to for the time being.
    pub fn unready(&mut self, _now: Instant, peer: PeerIndex, _egress: &mut impl Egress) {
        if let Some(peer) = self.peer_mut(peer) {
            peer.ready = false;
            for slot in &mut peer.downlinks.slots {
                slot.stop();
            }
        }
    }

    /// The participant's network path changed and packets were probably lost in both directions: key
    /// frames are asked of him and of those he receives.
    pub fn path_changed(&mut self, now: Instant, peer: PeerIndex, egress: &mut impl Egress) {
        if let Some(bandwidth) = self
            .peer_mut(peer)
            .and_then(|peer| peer.downlinks.bandwidth.as_mut())
        {
            bandwidth.path_changed(now);
        }
        self.refresh_sent(now, peer, egress);
        self.refresh_received(now, peer, egress);
    }

    /// The participant is gone. His slots at the others are free, and his again if he comes back.
    pub fn leave(&mut self, now: Instant, peer: PeerIndex, _egress: &mut impl Egress) {
        let Some(place) = self.peers.get_mut(peer.0) else {
            return;
        };
        if place.take().is_none() {
            return;
        }
        for other in self.peers.iter_mut().flatten() {
            other.downlinks.release(peer);
        }
        if self.is_empty() {
            self.wake = None;
        } else {
            self.adapt_soon(now);
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant, egress: &mut impl Egress) {
        if self.wake.is_none_or(|wake| wake > now) {
            return;
        }
        for index in (0..MAX_PARTICIPANTS).map(PeerIndex) {
            self.ask_again(now, index, egress);
            self.report(now, index, egress);
            self.pad(now, index, egress);
        }
        self.adapt(now, egress);
        let dues = self.peers.iter().flatten().flat_map(|peer| {
            [
                peer.uplinks.due(now),
                peer.report_due,
                peer.downlinks.padding_due(),
            ]
        });
        self.wake = dues.chain([self.adapt_due]).flatten().min();
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` while nothing flows.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }

    pub(super) fn peer(&self, peer: PeerIndex) -> Option<&Peer> {
        self.peers.get(peer.0)?.as_deref()
    }

    pub(super) fn peer_mut(&mut self, peer: PeerIndex) -> Option<&mut Peer> {
        self.peers.get_mut(peer.0)?.as_deref_mut()
    }

    /// Two different participants.
    pub(super) fn pair_mut(&mut self, first: PeerIndex, second: PeerIndex) -> Option<(&mut Peer, &mut Peer)> {
        match self.peers.get_disjoint_mut([first.0, second.0]) {
            Ok([Some(first), Some(second)]) => Some((first, second)),
            Ok(_) | Err(_) => None,
        }
    }

    /// Makes sure that [`handle_timeout`](Self::handle_timeout) is called at `due` or earlier.
    pub(super) fn arm(&mut self, due: Option<Instant>) {
        if let Some(due) = due {
            self.wake = Some(self.wake.map_or(due, |wake| wake.min(due)));
        }
    }
}

fn worst(direction: &mut Direction, fraction_lost: u8, jitter: u32, rate: u32) {
    direction.fraction_lost = direction.fraction_lost.max(f32::from(fraction_lost) / 256.0);
    let jitter = Duration::from_micros(u64::from(jitter) * 1_000_000 / u64::from(rate));
    direction.jitter = direction.jitter.max(jitter);
}

/// SplitMix64: good enough to spread starting numbers, which are no secret.
const fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
