//! RTCP of the [`Room`]: what participants report and ask for, and what we report and ask of them.

use std::time::Instant;

use super::clock::{ClockChange, StreamClock};
use super::downlink::Request;
use super::room::{MAX_PARTICIPANTS, REPORT_INTERVAL, Room};
use super::uplink::MAX_LAYERS;
use crate::layout::{Egress, PeerIndex, SLOTS, Source};
use crate::rtp::rtcp::{Block, Compound, Nack, Rtcp, SenderReport, Writer};

/// Longest compound that we write: fits a datagram on any path, sealed.
const MAX_COMPOUND: usize = 1200;
/// Names that receivers group sound and picture of a slot by (RFC 3550 section 6.5.1).
const CNAMES: [&[u8]; SLOTS] = [b"slot-0", b"slot-1"];

impl Room {
    /// Takes in a decrypted RTCP compound of `peer`.
    pub fn handle_rtcp(&mut self, now: Instant, peer: PeerIndex, compound: &[u8], egress: &mut impl Egress) {
        for packet in Compound::new(compound) {
            match packet {
                Rtcp::Bye(bye) => bye.sources().for_each(|ssrc| self.source_ended(peer, ssrc)),
                Rtcp::Fir(fir) => fir
                    .targets()
                    .for_each(|ssrc| self.picture_lost(now, peer, ssrc, egress)),
                Rtcp::Nack(nack) => self.packets_lost(now, peer, nack, egress),
                Rtcp::TransportCc(feedback) => self.arrivals_reported(now, peer, &feedback),
                // We number what we send, which tells more.
                Rtcp::ReceiverEstimate { .. } | Rtcp::Other { .. } => {}
                Rtcp::Pli { media } => self.picture_lost(now, peer, media, egress),
                Rtcp::ReceiverReport(report) => self.reported(now, peer, report.blocks()),
                Rtcp::SenderReport(report) => {
                    self.sender_clock(now, peer, report);
                    self.reported(now, peer, report.blocks());
                }
            }
        }
    }

    /// Asks for key frames of everything that `peer` receives.
    pub(super) fn refresh_received(&mut self, now: Instant, peer: PeerIndex, egress: &mut impl Egress) {
        let Some(state) = self.peer(peer) else { return };
        let occupants: [Option<PeerIndex>; SLOTS] =
            std::array::from_fn(|slot| state.downlinks.slots[slot].occupant);
        for publisher in occupants.into_iter().flatten() {
            for source in Source::ALL {
                self.request_keyframe(peer, publisher, source);
            }
            self.ask_for_keyframes(now, publisher, egress);
        }
    }

    /// Asks `peer` for key frames of what it sends.
    pub(super) fn refresh_sent(&mut self, now: Instant, peer: PeerIndex, egress: &mut impl Egress) {
        for receiver in (0..MAX_PARTICIPANTS)
            .map(PeerIndex)
            .filter(|receiver| *receiver != peer)
        {
            for source in Source::ALL {
                self.request_keyframe(receiver, peer, source);
            }
        }
        self.ask_for_keyframes(now, peer, egress);
    }

    fn picture_lost(&mut self, now: Instant, peer: PeerIndex, ssrc: u32, egress: &mut impl Egress) {
        let Some(state) = self.peer_mut(peer) else { return };
        let Some((publisher, source)) = state.downlinks.origin(ssrc) else {
            return;
        };
        state.downlinks.totals.keyframe_requests += 1;
        self.request_keyframe(peer, publisher, source);
        self.ask_for_keyframes(now, publisher, egress);
    }

    /// Notes that `receiver` needs a key frame of a publisher's source: of the layer it shows and of the
    /// one it should show.
    fn request_keyframe(&mut self, receiver: PeerIndex, origin: PeerIndex, source: Source) {
        if source.is_audio() {
            return;
        }
        let Some((receiver, publisher)) = self.pair_mut(receiver, origin) else {
            return;
        };
        if !super::grant::allowed(publisher.grant, receiver.id, source) {
            return;
        }
        let target = receiver
            .downlinks
            .track_of(origin, source)
            .and_then(|track| track.shown());
        let shown = receiver
            .downlinks
            .tracks()
            .filter_map(|track| track.rewriter.fed_by());
        let shown: [Option<u32>; SLOTS * 4] = collect(shown);
        let Some(line) = publisher.uplinks.line_mut(source) else {
            return;
        };
        for (layer, stream) in line.streams.iter_mut().enumerate() {
            if stream.ssrc.is_some() && (target == Some(layer) || shown.contains(&Some(stream.run))) {
                stream.keyframes.request();
            }
        }
    }

    /// Sends the key frame requests to `publisher` that are due.
    pub(super) fn ask_for_keyframes(&mut self, now: Instant, publisher: PeerIndex, egress: &mut impl Egress) {
        let Some(peer) = self.peer_mut(publisher) else {
            return;
        };
        let mut buffer = [0; 12 * MAX_LAYERS * Source::ALL.len()];
        let mut writer = Writer::new(&mut buffer);
        let (local, mut sent, mut due) = (peer.local_ssrc, 0, None::<Instant>);
        for (_, stream) in peer.uplinks.streams_mut() {
            let Some(ssrc) = stream.ssrc else { continue };
            if stream.keyframes.poll(now) && writer.pli(local, ssrc) {
                sent += 1;
            }
            due = earlier(due, stream.keyframes.due(now));
        }
        peer.uplinks.totals.keyframe_requests += sent;
        if sent > 0 {
            egress.send_rtcp(publisher, writer.finish());
        }
        self.arm(due);
    }

    fn source_ended(&mut self, peer: PeerIndex, ssrc: u32) {
        if let Some(peer) = self.peer_mut(peer)
            && let Some((_, stream)) = peer.uplinks.media(ssrc)
        {
            stream.last_packet = None;
            if let Some(nack) = &mut stream.nack {
                nack.clear();
            }
        }
    }

    fn packets_lost(&mut self, now: Instant, peer: PeerIndex, nack: Nack<'_>, egress: &mut impl Egress) {
        let ssrc = nack.media();
        let Some((publisher, source)) = self.peer(peer).and_then(|peer| peer.downlinks.origin(ssrc)) else {
            return;
        };
        let Some((receiver, publisher)) = self.pair_mut(peer, publisher) else {
            return;
        };
        let ring = publisher.uplinks.line(source).and_then(|line| line.ring.as_ref());
        let find = |kept| ring.and_then(|ring| ring.find(kept));
        let request = Request {
            now,
            rtt: receiver.rtt,
            to: peer,
            ssrc,
        };
        receiver.downlinks.resend(request, nack.sequences(), find, egress);
    }

    fn reported(&mut self, now: Instant, peer: PeerIndex, blocks: impl Iterator<Item = Block>) {
        let clock = self.clock;
        let Some(peer) = self.peer_mut(peer) else { return };
        for block in blocks {
            let Some(track) = peer
                .downlinks
                .tracks_mut()
                .find(|track| track.spec.ssrc == block.ssrc)
            else {
                continue;
            };
            track.report = block;
            if let Some(rtt) = clock.round_trip(now, block.last_report, block.delay) {
                // Smoothed as TCP does (RFC 6298): one late report does not change the retry pace much.
                peer.rtt = Some(peer.rtt.map_or(rtt, |known| (known * 7 + rtt) / 8));
            }
        }
    }

    fn sender_clock(&mut self, now: Instant, publisher: PeerIndex, report: SenderReport<'_>) {
        let server = self.clock.at(now);
        let Some(peer) = self.peer_mut(publisher) else {
            return;
        };
        let Some((place, stream)) = peer.uplinks.media(report.ssrc()) else {
            return;
        };
        let learned = stream.clock.is_none();
        let clock = StreamClock {
            ntp: report.ntp(),
            rtp: report.rtp(),
            arrived: now,
        };
        stream.clock = Some(clock);
        if peer.uplinks.clock.note(server, report.ntp()) == ClockChange::Jumped {
            for (_, stream) in peer.uplinks.streams_mut() {
                stream.clock = None;
            }
            if let Some(stream) = peer.uplinks.stream_mut(place) {
                stream.clock = Some(clock);
            }
        }
        if learned {
            // Receivers can line this stream up from now on.
            for index in (0..MAX_PARTICIPANTS)
                .map(PeerIndex)
                .filter(|index| *index != publisher)
            {
                if let Some(peer) = self.peer_mut(index)
                    && peer.report_due.is_some()
                {
                    peer.report_due = Some(now);
                    self.arm(Some(now));
                }
            }
        }
    }

    /// Asks `index` for lost packets and key frames, and reports arrivals to it, as far as due.
    pub(super) fn ask_again(&mut self, now: Instant, index: PeerIndex, egress: &mut impl Egress) {
        let Some(peer) = self.peer_mut(index) else { return };
        let (local, rtt) = (peer.local_ssrc, peer.rtt);
        let mut buffer = [0; MAX_COMPOUND];
        let mut asked = 0;
        for (_, stream) in peer.uplinks.streams_mut() {
            let (Some(ssrc), Some(nack)) = (stream.ssrc, stream.nack.as_mut()) else {
                continue;
            };
            if nack.due().is_none_or(|due| due > now) {
                continue;
            }
            let mut numbers = [0u16; super::nack::MAX_MISSING];
            let mut count = 0;
            nack.poll(now, rtt, |number| {
                if let Some(place) = numbers.get_mut(count) {
                    *place = number;
                    count += 1;
                }
            });
            let mut writer = Writer::new(&mut buffer);
            writer.nack(local, ssrc, numbers[..count].iter().copied());
            asked += count as u64;
            if writer.written() > 0 {
                egress.send_rtcp(index, writer.finish());
            }
        }
        peer.uplinks.totals.nacks += asked;
        // The choice of a media SSRC in transport-wide feedback has no meaning, but it should exist.
        let media = peer
            .uplinks
            .streams()
            .find_map(|(_, stream)| stream.ssrc)
            .unwrap_or_default();
        peer.uplinks
            .recorder
            .poll(now, local, media, &mut buffer, |feedback| {
                egress.send_rtcp(index, feedback)
            });
        self.ask_for_keyframes(now, index, egress);
    }

    /// Sends `index` sender reports of what it receives and a receiver report of what it sends, if due.
    pub(super) fn report(&mut self, now: Instant, index: PeerIndex, egress: &mut impl Egress) {
        let Some(peer) = self.peer(index) else { return };
        if peer.report_due.is_none_or(|due| due > now) {
            return;
        }
        let mut buffer = [0; MAX_COMPOUND];
        let mut writer = Writer::new(&mut buffer);
        let mut busy = false;
        for (slot, cname) in CNAMES.iter().enumerate() {
            for source in Source::ALL {
                busy |= self.sender_report(now, index, slot, source, cname, &mut writer);
            }
        }
        let Some(peer) = self.peer_mut(index) else { return };
        let mut blocks = [Block::default(); MAX_LAYERS * Source::ALL.len()];
        let mut count = 0;
        for (_, stream) in peer.uplinks.streams_mut() {
            let Some(mut block) = stream.ssrc.and_then(|ssrc| stream.reception.block(ssrc)) else {
                continue;
            };
            if let Some(clock) = stream.clock {
                block.last_report = (clock.ntp >> 16) as u32;
                let held = now.saturating_duration_since(clock.arrived).as_micros() * 65_536 / 1_000_000;
                block.delay = held as u32;
            }
            blocks[count] = block;
            count += 1;
        }
        busy |= count > 0;
        if count > 0 || writer.written() > 0 {
            writer.receiver_report(peer.local_ssrc, &blocks[..count]);
            egress.send_rtcp(index, writer.finish());
        }
        peer.report_due = busy.then(|| now + REPORT_INTERVAL);
    }

    /// Writes the sender report of one m-line: our time, and the timestamp that the publisher's clock says
    /// the m-line has at that time (P-24). Returns whether anything was sent on it since the last report.
    fn sender_report(
        &mut self,
        now: Instant,
        index: PeerIndex,
        slot: usize,
        source: Source,
        cname: &[u8],
        writer: &mut Writer<'_>,
    ) -> bool {
        let ntp = self.clock.at(now);
        let Some(receiver) = self.peer_mut(index) else {
            return false;
        };
        let place = &mut receiver.downlinks.slots[slot];
        let occupant = place.occupant;
        let Some(track) = &mut place.tracks[source.index()] else {
            return false;
        };
        let (busy, fed_by) = (std::mem::take(&mut track.active), track.rewriter.fed_by());
        let (ssrc, packets, octets) = (track.spec.ssrc, track.packets, track.octets);
        let shift = track.rewriter.translate(0);
        if !busy {
            return false;
        }
        let Some(uplinks) = occupant
            .and_then(|publisher| self.peer(publisher))
            .map(|peer| &peer.uplinks)
        else {
            return true;
        };
        let stream = uplinks
            .line(source)
            .and_then(|line| line.streams.iter().find(|stream| Some(stream.run) == fed_by));
        let clock = stream
            .and_then(|stream| stream.clock)
            .zip(uplinks.clock.publisher_time(ntp));
        if let Some(((clock, moment), shift)) = clock.zip(shift) {
            let timestamp = clock.rtp_at(moment, source.clock_rate()).wrapping_add(shift);
            writer.sender_report(ssrc, ntp.bits(), timestamp, packets, octets);
            writer.cname(ssrc, cname);
        }
        true
    }
}

fn earlier(first: Option<Instant>, second: Option<Instant>) -> Option<Instant> {
    match (first, second) {
        (Some(first), Some(second)) => Some(first.min(second)),
        (first, second) => first.or(second),
    }
}

fn collect<const N: usize>(values: impl Iterator<Item = u32>) -> [Option<u32>; N] {
    let mut all = [None; N];
    for (place, value) in all.iter_mut().zip(values) {
        *place = Some(value);
    }
    all
}
