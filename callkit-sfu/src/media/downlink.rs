//! What a participant receives: two slots of four m-lines, each with numbers of its own that never break.

use std::time::{Duration, Instant};

use callkit_core::id::ParticipantId;

use super::allocation::Choice;
use super::bandwidth::{Bandwidth, Limits};
use super::cache::{Kept, ResendLog, Sent};
use super::rewrite::{Rewriter, Rewritten};
use super::stats::Direction;
use super::uplink::Incoming;
use crate::layout::{Codec, Downlink, Egress, Extensions, PeerIndex, SLOTS, Source};
use crate::rtp::rtcp::Block;
use crate::rtp::{Outgoing, Unwrapper};

/// Packets that one NACK may bring back: bounds the work for a hostile one.
const MAX_RESENDS_PER_NACK: usize = 128;
/// Padding of one packet: what its one byte of length can say (RFC 3550 section 5.1).
const PADDING: usize = 255;

/// One receiving m-line.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) spec: Downlink,
    pub(super) rewriter: Rewriter,
    log: Option<ResendLog>,
    rtx_sequence: u16,
    /// Since the start: what a sender report says.
    pub(super) packets: u32,
    pub(super) octets: u32,
    /// Something was sent since the last sender report.
    pub(super) active: bool,
    /// The receiver's last report block.
    pub(super) report: Block,
    /// What of it the connection takes; without meaning for sound.
    pub(super) choice: Choice,
}

/// One of the two places for others.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) occupant: Option<PeerIndex>,
    /// Who was here last: he gets the place again.
    pub(super) last: Option<ParticipantId>,
    pub(super) tracks: [Option<Track>; 4],
}

/// Everything that a participant receives.
#[derive(Debug)]
pub(super) struct Downlinks {
    pub(super) slots: [Slot; SLOTS],
    transport_cc: u16,
    /// A transport-wide number was agreed, so that the receiver reports arrivals.
    is_numbered: bool,
    limits: Limits,
    /// What the connection takes; begins with the first packet.
    pub(super) bandwidth: Option<Box<Bandwidth>>,
    /// The estimate that was allocated last.
    pub(super) allocated: u64,
    pub(super) totals: Direction,
}

/// How sending one packet to one receiver ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// So many bytes went out.
    Sent(usize),
    Oversized,
    Unreachable,
}

/// A request for retransmission.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) now: Instant,
    pub(super) rtt: Option<Duration>,
    /// Who asks.
    pub(super) to: PeerIndex,
    /// Our SSRC that is asked for.
    pub(super) ssrc: u32,
}

impl Downlinks {
    /// The state of `layout`'s receiving m-lines.
    pub(super) fn new(layout: Vec<Downlink>, limits: Limits, random: &mut impl FnMut() -> u64) -> Self {
        let is_numbered = layout
            .iter()
            .any(|spec| transport_cc(&spec.extensions, 0).is_some());
        let mut slots = [(); SLOTS].map(|()| Slot {
            occupant: None,
            last: None,
            tracks: [const { None }; 4],
        });
        for spec in layout {
            let Some(slot) = slots.get_mut(spec.slot) else {
                continue;
            };
            let place = spec.source.index();
            slot.tracks[place] = Some(Track {
                rewriter: Rewriter::new(spec.source.clock_rate(), random()),
                log: None,
                rtx_sequence: random() as u16 & 0x7fff,
                packets: 0,
                octets: 0,
                active: false,
                report: Block::default(),
                choice: Choice::default(),
                spec,
            });
        }
        Self {
            slots,
            transport_cc: 0,
            is_numbered,
            limits,
            bandwidth: None,
            allocated: 0,
            totals: Direction::default(),
        }
    }

    /// Takes note for the estimate of the connection that the packet numbered last went out with `length`
    /// bytes.
    #[inline]
    pub(super) fn account(&mut self, now: Instant, length: usize) {
        if !self.is_numbered {
            return;
        }
        let limits = self.limits;
        self.bandwidth
            .get_or_insert_with(|| Box::new(Bandwidth::new(now, limits)))
            .sent(now, self.transport_cc.wrapping_sub(1), length);
    }

    /// When padding is to be sent to learn what the connection takes.
    pub(super) fn padding_due(&self) -> Option<Instant> {
        self.bandwidth.as_ref()?.due()
    }

    /// Sends `bytes` of padding as packets of padding only on a retransmission stream: they carry numbers of
    /// their own, so nothing is missing when one is lost. Returns whether that is possible.
    pub(super) fn pad(
        &mut self,
        now: Instant,
        to: PeerIndex,
        bytes: usize,
        egress: &mut impl Egress,
    ) -> bool {
        let mut left = bytes;
        while left > 0 {
            match self.pad_one(now, to, egress) {
                Some(length) => left = left.saturating_sub(length),
                None => return false,
            }
        }
        true
    }

    fn pad_one(&mut self, now: Instant, to: PeerIndex, egress: &mut impl Egress) -> Option<usize> {
        let number = self.transport_cc;
        let repairable = |track: &&mut Track| track.rtx().is_some();
        let track = self
            .tracks_mut()
            .filter(repairable)
            .max_by_key(|track| (track.active, track.packets))?;
        let (ssrc, payload_type) = track.rtx()?;
        let head = Outgoing {
            marker: false,
            payload_type,
            sequence: track.rtx_sequence,
            timestamp: track.rewriter.last_timestamp(),
            ssrc,
            transport_cc: transport_cc(&track.spec.extensions, number),
        };
        let buffer = egress.rtp_buffer(to)?;
        let start = head.write(buffer)?;
        let padding = buffer.get_mut(start..start + PADDING)?;
        padding.fill(0);
        padding[PADDING - 1] = PADDING as u8;
        buffer[0] |= 0x20;
        let length = start + PADDING;
        egress.send_rtp(to, length);
        track.rtx_sequence = track.rtx_sequence.wrapping_add(1);
        self.transport_cc = number.wrapping_add(1);
        self.totals.packets += 1;
        self.totals.bytes += length as u64;
        self.account(now, length);
        Some(length)
    }

    /// Gives `peer` the slot that `who` had last, or else a free one.
    pub(super) fn assign(&mut self, peer: PeerIndex, who: ParticipantId) {
        if self.slots.iter().any(|slot| slot.occupant == Some(peer)) {
            return;
        }
        let free = |slot: &&mut Slot| slot.occupant.is_none();
        // Leaving a place to the one who had it before costs nothing while there is another.
        let rank = |slot: &&mut Slot| (slot.last != Some(who), slot.last.is_some());
        if let Some(slot) = self.slots.iter_mut().filter(free).min_by_key(rank) {
            slot.occupant = Some(peer);
            slot.last = Some(who);
        }
    }

    /// Frees the slot of `peer`; its m-lines keep their numbers for whoever comes.
    pub(super) fn release(&mut self, peer: PeerIndex) {
        for slot in self.slots.iter_mut().filter(|slot| slot.occupant == Some(peer)) {
            slot.occupant = None;
            slot.stop();
        }
    }

    pub(super) fn slot_of(&mut self, peer: PeerIndex) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.occupant == Some(peer))
    }

    /// The m-line `source` on which `peer` is received.
    pub(super) fn track_of(&mut self, peer: PeerIndex, source: Source) -> Option<&mut Track> {
        self.slot_of(peer)?.tracks[source.index()].as_mut()
    }

    /// As [`track_of`](Self::track_of), to look at.
    pub(super) fn seen_as(&self, peer: PeerIndex, source: Source) -> Option<&Track> {
        let slot = self.slots.iter().find(|slot| slot.occupant == Some(peer))?;
        slot.tracks[source.index()].as_ref()
    }

    pub(super) fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.slots.iter().flat_map(|slot| slot.tracks.iter().flatten())
    }

    pub(super) fn tracks_mut(&mut self) -> impl Iterator<Item = &mut Track> {
        self.slots
            .iter_mut()
            .flat_map(|slot| slot.tracks.iter_mut().flatten())
    }

    /// Who is received on the m-line with our SSRC `ssrc`, and as what.
    pub(super) fn origin(&self, ssrc: u32) -> Option<(PeerIndex, Source)> {
        self.slots.iter().find_map(|slot| {
            let track = slot
                .tracks
                .iter()
                .flatten()
                .find(|track| track.spec.ssrc == ssrc)?;
            Some((slot.occupant?, track.spec.source))
        })
    }

    /// Sends a packet of the publisher in the slot at `peer`'s place with the numbers of `rewritten`.
    pub(super) fn send(
        &mut self,
        peer: PeerIndex,
        to: PeerIndex,
        incoming: &Incoming<'_>,
        rewritten: Rewritten,
        payload_types: PayloadTypes,
        egress: &mut impl Egress,
    ) -> Delivery {
        let number = self.transport_cc;
        let Some(track) = self.track_of(peer, incoming.place.source) else {
            return Delivery::Unreachable;
        };
        let head = Outgoing {
            marker: incoming.marker,
            payload_type: payload_types.media,
            sequence: rewritten.number as u16,
            timestamp: rewritten.timestamp,
            ssrc: track.spec.ssrc,
            transport_cc: transport_cc(&track.spec.extensions, number),
        };
        let Some(buffer) = egress.rtp_buffer(to) else {
            return Delivery::Unreachable;
        };
        let payload = incoming.payload;
        let Some(start) = head.write(buffer) else {
            return Delivery::Oversized;
        };
        let length = if payload.is_empty() {
            // A padding packet: one byte that counts itself.
            buffer[0] |= 0x20;
            buffer[start] = 1;
            start + 1
        } else {
            let Some(body) = buffer.get_mut(start..start + payload.len()) else {
                return Delivery::Oversized;
            };
            body.copy_from_slice(payload);
            incoming
                .frame
                .shift(body, rewritten.picture_shift, rewritten.tl0_shift);
            start + payload.len()
        };
        egress.send_rtp(to, length);
        track.packets = track.packets.wrapping_add(1);
        track.octets = track.octets.wrapping_add(payload.len() as u32);
        track.active = true;
        self.transport_cc = number.wrapping_add(1);
        self.totals.packets += 1;
        self.totals.bytes += length as u64;
        Delivery::Sent(length)
    }

    /// Sends packets again that `request` asks for and `find` still has the payload of.
    pub(super) fn resend<'r>(
        &mut self,
        request: Request,
        asked: impl Iterator<Item = u16>,
        find: impl Fn(Kept) -> Option<&'r [u8]>,
        egress: &mut impl Egress,
    ) {
        let mut sent_now = 0;
        for sequence in asked {
            self.totals.nacks += 1;
            if sent_now == MAX_RESENDS_PER_NACK {
                continue;
            }
            match self.resend_one(request, sequence, &find, egress) {
                Some(()) => sent_now += 1,
                None => self.totals.unrepaired += 1,
            }
        }
    }

    fn resend_one<'r>(
        &mut self,
        request: Request,
        sequence: u16,
        find: &impl Fn(Kept) -> Option<&'r [u8]>,
        egress: &mut impl Egress,
    ) -> Option<()> {
        let number = self.transport_cc;
        let track = self.tracks_mut().find(|track| track.spec.ssrc == request.ssrc)?;
        let extended = Unwrapper::at(track.rewriter.last_number()).peek(sequence);
        let sent = track.log.as_mut()?.resend(request.now, request.rtt, extended)?;
        let payload = find(sent.kept)?;
        let head = Outgoing {
            marker: sent.marker,
            payload_type: sent.rtx_payload_type,
            sequence: track.rtx_sequence,
            timestamp: sent.timestamp,
            ssrc: track.spec.rtx_ssrc?,
            transport_cc: transport_cc(&track.spec.extensions, number),
        };
        let buffer = egress.rtp_buffer(request.to)?;
        let start = head.write(buffer)?;
        buffer
            .get_mut(start..start + 2)?
            .copy_from_slice(&sequence.to_be_bytes());
        let end = start + 2 + payload.len();
        let body = buffer.get_mut(start + 2..end)?;
        body.copy_from_slice(payload);
        super::codec::Frame::read(sent.codec, payload).shift(body, sent.picture_shift, sent.tl0_shift);
        egress.send_rtp(request.to, end);
        track.rtx_sequence = track.rtx_sequence.wrapping_add(1);
        self.transport_cc = number.wrapping_add(1);
        self.totals.packets += 1;
        self.totals.bytes += end as u64;
        self.totals.retransmissions += 1;
        self.account(request.now, end);
        Some(())
    }
}

impl Slot {
    /// Ends the feeds; the next packets start with a key frame.
    pub(super) fn stop(&mut self) {
        for track in self.tracks.iter_mut().flatten() {
            track.rewriter.stop();
            track.choice = Choice::default();
        }
    }
}

/// The payload types of a codec as agreed with the receiver.
#[derive(Debug, Clone, Copy)]
pub(super) struct PayloadTypes {
    pub(super) media: u8,
    rtx: Option<u8>,
}

impl Track {
    /// The layer to forward; sound has one that is always forwarded.
    pub(super) const fn shown(&self) -> Option<usize> {
        if self.spec.source.is_audio() {
            Some(0)
        } else {
            self.choice.shown
        }
    }

    /// SSRC and payload type of retransmissions, if they are agreed.
    fn rtx(&self) -> Option<(u32, u8)> {
        let payload_type = self.spec.payloads.iter().find_map(|payload| payload.rtx)?;
        Some((self.spec.rtx_ssrc?, payload_type))
    }

    /// The payload types agreed for `codec`.
    pub(super) fn payload_types(&self, codec: Codec) -> Option<PayloadTypes> {
        let agreed = self.spec.payloads.iter().find(|payload| payload.codec == codec)?;
        Some(PayloadTypes {
            media: agreed.media,
            rtx: agreed.rtx,
        })
    }

    /// Whether packets with these payload types can be sent again. Without a retransmission stream they
    /// cannot: the same sequence number sealed twice would repeat the nonce (RFC 7714 section 8.1).
    pub(super) const fn can_resend(&self, payload_types: PayloadTypes) -> bool {
        payload_types.rtx.is_some() && self.spec.rtx_ssrc.is_some()
    }

    /// Remembers a packet for retransmission.
    pub(super) fn remember(
        &mut self,
        now: Instant,
        incoming: &Incoming<'_>,
        rewritten: Rewritten,
        payload_types: PayloadTypes,
        kept: Kept,
    ) {
        let Some(rtx_payload_type) = payload_types.rtx else {
            return;
        };
        self.log
            .get_or_insert_with(|| ResendLog::new(now))
            .remember(Sent {
                number: rewritten.number,
                timestamp: rewritten.timestamp,
                kept,
                picture_shift: rewritten.picture_shift,
                tl0_shift: rewritten.tl0_shift,
                marker: incoming.marker,
                codec: incoming.codec,
                rtx_payload_type,
            });
    }
}

const fn transport_cc(extensions: &Extensions, number: u16) -> Option<(u8, u16)> {
    // The one-byte form takes ids 1 to 14.
    if matches!(extensions.transport_cc, 1..=14) {
        Some((extensions.transport_cc, number))
    } else {
        None
    }
}
