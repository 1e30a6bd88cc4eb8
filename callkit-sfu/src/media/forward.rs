//! The packet path of the [`Room`]: one packet in, a rewritten copy to each receiver.

use std::time::Instant;

use super::cache::{Kept, PayloadRing};
use super::downlink::{Delivery, PayloadTypes, Track};
use super::grant::allowed;
use super::room::{FIRST_REPORT, MAX_PARTICIPANTS, Peer, Room};
use super::uplink::{Incoming, Uplinks};
use crate::layout::{Egress, PeerIndex, Source};
use crate::rtp::Packet;

/// What becomes of a packet at one receiver.
enum Verdict {
    Forward(PayloadTypes),
    /// Nothing, and nothing is wrong: another layer is shown, or the receiver is not there yet.
    Pass,
    AwaitKeyframe,
    NotAgreed,
    Refused,
}

impl Room {
    /// Takes in a decrypted RTP packet of `peer` and forwards it to the others.
    pub fn handle_rtp(&mut self, now: Instant, peer: PeerIndex, packet: &mut [u8], egress: &mut impl Egress) {
        let Some(publisher) = self.peer_mut(peer) else {
            return;
        };
        let Ok(packet) = Packet::parse(packet) else {
            publisher.uplinks.drops.malformed += 1;
            return;
        };
        let incoming = publisher.uplinks.receive(now, &packet);
        let report_due = *publisher.report_due.get_or_insert(now + FIRST_REPORT);
        let recorder_due = publisher.uplinks.recorder.due();
        self.arm(Some(report_due));
        self.arm(recorder_due);
        let Some(incoming) = incoming else {
            // Padding is not forwarded, but it may have shown that something before it is missing.
            let due = self.peer(peer).and_then(|peer| peer.uplinks.due(now));
            self.arm(due);
            return;
        };

        if self.is_unsettled || (incoming.is_first && !incoming.place.source.is_audio()) {
            self.choose_again(now);
        }
        self.keep_adapting(now);
        let mut kept = None;
        for to in (0..MAX_PARTICIPANTS).map(PeerIndex) {
            if to != peer {
                self.forward_to(now, peer, to, &incoming, &mut kept, egress);
            }
        }

        let Some(stream) = self
            .peer_mut(peer)
            .and_then(|peer| peer.uplinks.stream_mut(incoming.place))
        else {
            return;
        };
        let nack_due = stream.nack.as_ref().and_then(|nack| nack.due());
        let keyframe_due = stream.keyframes.due(now);
        self.arm(nack_due);
        if keyframe_due.is_some_and(|due| due <= now) {
            self.ask_for_keyframes(now, peer, egress);
        } else {
            self.arm(keyframe_due);
        }
    }

    fn forward_to(
        &mut self,
        now: Instant,
        from: PeerIndex,
        to: PeerIndex,
        incoming: &Incoming<'_>,
        kept: &mut Option<Kept>,
        egress: &mut impl Egress,
    ) {
        let (ring_id, ring_size) = (&mut self.next_ring, self.config.retransmission_bytes);
        let Ok([Some(publisher), Some(receiver)]) = self.peers.get_disjoint_mut([from.0, to.0]) else {
            return;
        };
        let (publisher, receiver): (&mut Peer, &mut Peer) = (publisher, receiver);
        let types = match decide(now, publisher, receiver, from, incoming) {
            Verdict::Forward(types) => types,
            Verdict::Pass => return,
            Verdict::AwaitKeyframe => {
                publisher.uplinks.drops.no_keyframe += 1;
                if let Some(stream) = publisher.uplinks.stream_mut(incoming.place) {
                    stream.keyframes.request();
                }
                return;
            }
            Verdict::NotAgreed => {
                publisher.uplinks.drops.not_agreed += 1;
                return;
            }
            Verdict::Refused => {
                publisher.uplinks.drops.refused += 1;
                return;
            }
        };
        let Some(track) = receiver.downlinks.track_of(from, incoming.place.source) else {
            return;
        };
        let rewritten = track
            .rewriter
            .rewrite(now, incoming.number, incoming.timestamp, &incoming.frame);
        let Some(rewritten) = rewritten else { return };

        if !incoming.place.source.is_audio() && !incoming.payload.is_empty() && track.can_resend(types) {
            if kept.is_none() {
                *kept = keep(&mut publisher.uplinks, incoming, ring_id, ring_size);
            }
            if let Some(kept) = *kept {
                track.remember(now, incoming, rewritten, types, kept);
            }
        }
        match receiver
            .downlinks
            .send(from, to, incoming, rewritten, types, egress)
        {
            Delivery::Sent(length) => {
                receiver.downlinks.account(now, length);
                let due = *receiver.report_due.get_or_insert(now + FIRST_REPORT);
                self.arm(Some(due));
            }
            Delivery::Oversized => publisher.uplinks.drops.oversized += 1,
            Delivery::Unreachable => publisher.uplinks.drops.unreachable += 1,
        }
    }
}

/// Decides about a packet for one receiver, and starts the m-line's feed if this is the packet to start
/// with.
fn decide(
    now: Instant,
    publisher: &Peer,
    receiver: &mut Peer,
    from: PeerIndex,
    incoming: &Incoming<'_>,
) -> Verdict {
    let place = incoming.place;
    if !receiver.ready {
        return Verdict::Pass;
    }
    if !allowed(publisher.grant, receiver.id, place.source) {
        return Verdict::Refused;
    }
    let Some(track) = receiver.downlinks.track_of(from, place.source) else {
        return Verdict::Pass;
    };
    let Some(types) = track.payload_types(incoming.codec) else {
        return Verdict::NotAgreed;
    };
    if track.rewriter.fed_by() == Some(incoming.run) {
        return Verdict::Forward(types);
    }
    if incoming.payload.is_empty() || track.shown() != Some(place.layer) {
        return Verdict::Pass;
    }
    if !incoming.frame.starts_keyframe {
        return Verdict::AwaitKeyframe;
    }
    let exact = same_moment(&publisher.uplinks, track, incoming);
    track.rewriter.start(
        now,
        incoming.run,
        incoming.number,
        incoming.timestamp,
        &incoming.frame,
        exact,
    );
    Verdict::Forward(types)
}

/// The timestamp that the m-line's present feed has at the moment of a packet of another layer, by the
/// sender reports of both.
fn same_moment(uplinks: &Uplinks, track: &Track, incoming: &Incoming<'_>) -> Option<u32> {
    let source = incoming.place.source;
    let streams = &uplinks.line(source)?.streams;
    let clock_of = |run| {
        streams
            .iter()
            .find(|stream| stream.run == run)
            .and_then(|stream| stream.clock)
    };
    let before = clock_of(track.rewriter.fed_by()?)?;
    let moment = clock_of(incoming.run)?.ntp_of(incoming.timestamp, source.clock_rate());
    track
        .rewriter
        .translate(before.rtp_at(moment, source.clock_rate()))
}

/// Keeps the payload for retransmission to any receiver.
fn keep(uplinks: &mut Uplinks, incoming: &Incoming<'_>, ring_id: &mut u32, size: usize) -> Option<Kept> {
    let source = incoming.place.source;
    // A key frame of a shared screen alone can be larger than what a camera sends in a second.
    let size = if source == Source::Screen { size * 2 } else { size };
    let line = uplinks.line_mut(source)?;
    let ring = line.ring.get_or_insert_with(|| {
        *ring_id = ring_id.wrapping_add(1);
        PayloadRing::new(*ring_id, size)
    });
    ring.keep(incoming.payload)
}
