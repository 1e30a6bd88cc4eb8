//! A participant on a shard: its transport and where its connection stands.

use std::time::{Duration, Instant};

use callkit_core::id::{ParticipantId, RoomId};

use super::batch::{LaneHint, SendBatch};
use crate::control::{LossCause, MediaTimeouts, SfuEvent, Slots};
use crate::layout::{Egress, MAX_PACKET, MediaLayout, PeerIndex};
use crate::quality::Meter;
use crate::sdp::CodecSet;
use crate::transport::{HandshakeFailure, Transport};

/// Media counts as flowing if the last packet of any kind came this soon after the last media packet.
const MEDIA_GAP: Duration = Duration::from_secs(2);

/// Where a participant's connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The transport is being set up.
    Handshaking {
        /// When that is given up.
        deadline: Instant,
    },
    /// The handshake is done, media was not seen yet.
    Settling {
        /// When it counts as up without.
        until: Instant,
    },
    /// Media is up.
    Up,
    /// Nothing comes; the transport is kept for a while.
    Silent,
    /// There is no transport any more; the place is kept.
    Gone,
}

/// One participant.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) serial: u64,
    pub(super) participant: ParticipantId,
    pub(super) index: PeerIndex,
    pub(super) transport: Transport,
    pub(super) phase: Phase,
    /// What the receiver of events knows.
    pub(super) slots: Slots,
    pub(super) quality: Meter,
    pub(super) lane: LaneHint,
    pub(super) seal_failures: u64,
    pub(super) agreed: Box<Agreed>,
    /// The transport is not given up before this moment: it is being restarted.
    pub(super) keep_until: Option<Instant>,
}

/// What the participant's negotiation gave, for an ICE restart.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) layout: MediaLayout,
    /// The video codecs that were asked for.
    pub(super) codecs: CodecSet,
    /// Number of the SDP session and of its last description.
    pub(super) session: u64,
    pub(super) version: u32,
}

impl Peer {
    /// The SSRCs that the participant said it would send with.
    pub(super) fn announced(&self) -> impl Iterator<Item = u32> {
        let pairs = self.agreed.layout.uplinks.iter().flat_map(|line| &line.ssrcs);
        pairs.flat_map(|(media, rtx)| std::iter::once(*media).chain(*rtx))
    }

    /// How long nothing may come before it means something.
    fn patience(&self, timeouts: &MediaTimeouts) -> Duration {
        let last = self.transport.last_received();
        let flowing = self
            .transport
            .last_media()
            .is_some_and(|media| last.saturating_duration_since(media) < MEDIA_GAP);
        if flowing {
            timeouts.silent
        } else if self.transport.ice().answers() {
            timeouts.silent_idle
        } else {
            timeouts.silent_unanswering
        }
    }

    /// When a silent transport is given up.
    fn given_up(&self, timeouts: &MediaTimeouts) -> Instant {
        let kept = self.transport.last_received() + timeouts.keep_transport;
        self.keep_until.map_or(kept, |until| kept.max(until))
    }

    /// When sending to a silent participant stops; `None` if it has.
    fn consent_ends(&self, timeouts: &MediaTimeouts) -> Option<Instant> {
        let selected = self.transport.ice().selected();
        selected.map(|_| self.transport.last_received() + timeouts.consent)
    }

    /// When [`advance`](Self::advance) has something to do.
    pub(super) fn poll_timeout(&self, timeouts: &MediaTimeouts) -> Option<Instant> {
        let silent_at = self.transport.last_received() + self.patience(timeouts);
        let quality_at = self.quality.at() + timeouts.quality;
        let own = match self.phase {
            Phase::Handshaking { deadline } => deadline,
            Phase::Settling { until } => until.min(silent_at),
            Phase::Up => silent_at.min(quality_at),
            Phase::Silent => {
                let given_up = self.given_up(timeouts);
                self.consent_ends(timeouts)
                    .map_or(given_up, |ends| ends.min(given_up))
            }
            Phase::Gone => return None,
        };
        Some(
            self.transport
                .poll_timeout()
                .map_or(own, |transport| transport.min(own)),
        )
    }

    /// Moves the phase on as time passes.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        timeouts: &MediaTimeouts,
        room: RoomId,
    ) -> Option<SfuEvent> {
        let participant = self.participant;
        let silent = now >= self.transport.last_received() + self.patience(timeouts);
        match self.phase {
            Phase::Handshaking { deadline } if now >= deadline => {
                self.phase = Phase::Gone;
                // What was given up does not come up later.
                self.transport.close(now);
                Some(SfuEvent::HandshakeFailed {
                    room,
                    participant,
                    reason: HandshakeFailure::TimedOut,
                })
            }
            Phase::Settling { .. } | Phase::Up if silent => {
                self.phase = Phase::Silent;
                Some(SfuEvent::MediaLost {
                    room,
                    participant,
                    cause: LossCause::Silent,
                    silent_for: now.saturating_duration_since(self.transport.last_received()),
                })
            }
            Phase::Settling { until } if now >= until => self.came_up(room),
            Phase::Silent if now >= self.given_up(timeouts) => {
                self.phase = Phase::Gone;
                None
            }
            Phase::Silent if self.consent_ends(timeouts).is_some_and(|ends| now >= ends) => {
                self.transport.suspend();
                None
            }
            _ => None,
        }
    }

    /// Media was seen, or enough time passed without.
    pub(super) fn came_up(&mut self, room: RoomId) -> Option<SfuEvent> {
        self.phase = Phase::Up;
        Some(SfuEvent::MediaUp {
            room,
            participant: self.participant,
        })
    }

    /// An authentic packet came. Cheap for the common case.
    #[inline]
    pub(super) fn heard(&mut self, room: RoomId, is_media: bool) -> Option<SfuEvent> {
        match self.phase {
            Phase::Up => None,
            Phase::Settling { .. } if is_media => self.came_up(room),
            Phase::Silent => {
                self.phase = Phase::Up;
                Some(SfuEvent::MediaRestored {
                    room,
                    participant: self.participant,
                })
            }
            _ => None,
        }
    }
}

/// The room's way to its participants: seals into the send batch.
#[derive(Debug)]
pub(super) struct RoomEgress<'a> {
    pub(super) peers: &'a mut [Peer],
    pub(super) batch: &'a mut SendBatch,
}

impl Egress for RoomEgress<'_> {
    #[inline]
    fn rtp_buffer(&mut self, to: PeerIndex) -> Option<&mut [u8]> {
        let peer = self
            .peers
            .iter_mut()
            .find(|peer| peer.index == to && peer.transport.is_connected())?;
        let path = peer.transport.ice().selected()?;
        self.batch
            .buffer(path, &mut peer.lane)
            .map(|buffer| &mut buffer[..MAX_PACKET])
    }

    #[inline]
    fn send_rtp(&mut self, to: PeerIndex, len: usize) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.index == to) else {
            return;
        };
        let (Some(session), Some(buffer)) = (peer.transport.srtp_mut(), self.batch.open_buffer()) else {
            return;
        };
        match session.seal_rtp(buffer, len) {
            Ok(sealed) => self.batch.commit(sealed),
            Err(_) => peer.seal_failures += 1,
        }
    }

    fn send_rtcp(&mut self, to: PeerIndex, compound: &[u8]) {
        let Self { peers, batch } = self;
        let Some(peer) = peers.iter_mut().find(|peer| peer.index == to) else {
            return;
        };
        let Some(path) = peer.transport.ice().selected() else {
            return;
        };
        let Some(session) = peer.transport.srtp_mut() else {
            return;
        };
        let Some(buffer) = batch.buffer(path, &mut peer.lane) else {
            return;
        };
        let Some(plain) = buffer.get_mut(..compound.len()) else {
            return;
        };
        plain.copy_from_slice(compound);
        match session.seal_rtcp(buffer, compound.len()) {
            Ok(sealed) => batch.commit(sealed),
            Err(_) => peer.seal_failures += 1,
        }
    }
}
