//! [`MediaPeer`]: a participant with camera and voice, without I/O: what a [`SyntheticClient`] sends and gets once
//! it is connected.

use std::time::{Duration, Instant};

use callkit_core::id::IdSource;

use super::client::{ClientEvent, SyntheticClient};
use super::offer::TRANSPORT_CC_EXTENSION;
use super::publish::{MediaShape, Publisher};
use super::receive::Receiver;
use super::totals::{Histogram, Own, Sent, Totals};
use crate::layout::Source;
use crate::media::recorder::ArrivalRecorder;
use crate::rtp::Packet;
use crate::rtp::rtcp::{Block, Compound, Rtcp, Writer};
use crate::transport::{PacketKind, classify};

/// Time between two compounds of reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Longest datagram with what sealing adds.
const DATAGRAM: usize = 1500;
/// Compounds stay below a packet of video.
const COMPOUND: usize = 1200;
/// Seconds from 1900 to 1970 (RFC 868).
const NTP_OFFSET: u64 = 2_208_988_800;

/// Datagrams that are to be sent now, in one buffer that is kept.
#[derive(Debug, Default)]
pub struct Outbox {
    buffer: Vec<u8>,
    used: usize,
    lengths: Vec<usize>,
}

impl Outbox {
    /// Room for one datagram.
    fn room(&mut self) -> &mut [u8] {
        let end = self.used + DATAGRAM;
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        &mut self.buffer[self.used..end]
    }

    fn commit(&mut self, length: usize) {
        self.used += length;
        self.lengths.push(length);
    }

    fn push(&mut self, datagram: &[u8]) {
        if let Some(to) = self.room().get_mut(..datagram.len()) {
            to.copy_from_slice(datagram);
            self.commit(datagram.len());
        }
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The datagrams in order.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = 0;
        self.lengths.iter().map(move |length| {
            at += length;
            &self.buffer[at - length..at]
        })
    }

    /// The datagrams in runs of equal length, of which the last may be shorter: what one send of the kernel takes.
    pub fn runs(&self, max: usize) -> impl Iterator<Item = (&[u8], usize)> {
        let (mut next, mut at) = (0, 0);
        std::iter::from_fn(move || {
            let segment = *self.lengths.get(next)?;
            let (mut count, mut bytes) = (0, 0);
            for length in self.lengths[next..].iter().take(max.max(1)) {
                if *length > segment {
                    break;
                }
                bytes += length;
                count += 1;
                if *length < segment {
                    break;
                }
            }
            next += count;
            at += bytes;
            Some((&self.buffer[at - bytes..at], segment))
        })
    }

    /// Forgets the datagrams.
    pub fn clear(&mut self) {
        self.used = 0;
        self.lengths.clear();
    }
}

/// What a participant notices about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerNotice {
    /// The transport is up.
    Connected,
    /// The first packet of another participant.
    Hears,
    /// The server said goodbye.
    Closed,
    /// The handshake failed.
    Failed,
}

/// What all participants of a swarm have in common.
#[derive(Debug, Clone, Copy)]
pub struct Epoch {
    /// The moment that times in packets count from.
    pub start: Instant,
    /// The same as time since 1970.
    pub unix: Duration,
}

/// Counters and histograms that peers of one thread share.
#[derive(Debug, Default)]
pub struct Tally {
    /// Everything of peers that are gone, and what is not kept per peer.
    pub(super) totals: Totals,
}

/// See the module.
#[derive(Debug)]
pub struct MediaPeer {
    client: SyntheticClient,
    shape: MediaShape,
    random: IdSource,
    epoch: Epoch,
    /// Others who should get what this one sends.
    listeners: u64,
    publishers: [Option<Publisher>; 2],
    receivers: Vec<Receiver>,
    recorder: ArrivalRecorder,
    transport: u16,
    report: Option<Instant>,
    hears: bool,
    connected: bool,
    ended: bool,
}

impl MediaPeer {
    /// `client` with what it sends; `listeners` others should get it.
    #[must_use]
    pub fn new(
        client: SyntheticClient,
        shape: MediaShape,
        random: IdSource,
        epoch: Epoch,
        listeners: usize,
    ) -> Self {
        Self {
            client,
            shape,
            random,
            epoch,
            listeners: listeners as u64,
            publishers: [None, None],
            receivers: Vec::new(),
            recorder: ArrivalRecorder::new(epoch.start),
            transport: 0,
            report: None,
            hears: false,
            connected: false,
            ended: false,
        }
    }

    /// The client inside: to offer and to take the answer.
    pub fn client(&mut self) -> &mut SyntheticClient {
        &mut self.client
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let publishers = self.publishers.iter().flatten().map(Publisher::due);
        let nacks = self.receivers.iter().filter_map(|one| one.nack.as_ref()?.due());
        publishers
            .chain(nacks)
            .chain(self.client.poll_timeout())
            .chain(self.recorder.due())
            .chain(self.report)
            .min()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant, tally: &mut Tally, out: &mut Outbox) {
        if self.client.poll_timeout().is_some_and(|due| due <= now) {
            self.client.handle_timeout(now);
        }
        self.drain(out);
        self.publish(now, tally, out);
        self.ask_again(now, tally, out);
        if self.recorder.due().is_some_and(|due| due <= now) {
            let media = self.receivers.first().map_or(0, Receiver::ssrc);
            let sender = self.client.ssrcs().camera;
            let (recorder, client) = (&mut self.recorder, &mut self.client);
            let mut buffer = [0; COMPOUND];
            recorder.poll(now, sender, media, &mut buffer, |feedback| {
                seal_rtcp(client, feedback, out);
            });
        }
        if self.report.is_some_and(|due| due <= now) {
            self.report = Some(now + REPORT_INTERVAL);
            self.send_reports(now, out);
        }
    }

    /// Whatever the client itself has to send: checks and handshakes.
    fn drain(&mut self, out: &mut Outbox) {
        while let Some(datagram) = self.client.poll_transmit() {
            out.push(&datagram);
        }
    }

    fn publish(&mut self, now: Instant, tally: &mut Tally, out: &mut Outbox) {
        let sent: &mut Sent = &mut tally.totals.sent;
        for publisher in self.publishers.iter_mut().flatten() {
            while let Some(unit) = publisher.begin(now) {
                sent.frames += u64::from(!publisher.is_audio());
                for index in 0..unit.count {
                    self.transport = self.transport.wrapping_add(1);
                    let made = now.saturating_duration_since(self.epoch.start).as_nanos() as u64;
                    let buffer = out.room();
                    let Some(length) = publisher.packet(unit, index, made, self.transport, buffer) else {
                        continue;
                    };
                    let Some(sealed) = self.client.seal_rtp(buffer, length) else {
                        continue;
                    };
                    out.commit(sealed);
                    sent.media_bytes += length as u64;
                    sent.owed += self.listeners;
                    if publisher.is_audio() {
                        sent.audio_packets += 1;
                    } else {
                        sent.video_packets += 1;
                    }
                }
            }
        }
    }

    fn ask_again(&mut self, now: Instant, tally: &mut Tally, out: &mut Outbox) {
        let sender = self.client.ssrcs().camera;
        for receiver in &mut self.receivers {
            let ssrc = receiver.ssrc();
            if let Some(nack) = receiver.nack.as_mut()
                && nack.due().is_some_and(|due| due <= now)
            {
                let mut missing = [0; 64];
                let mut count = 0;
                nack.poll(now, None, |number| {
                    if let Some(place) = missing.get_mut(count) {
                        *place = number;
                        count += 1;
                    }
                });
                if count > 0 {
                    let mut buffer = [0; COMPOUND];
                    let mut writer = Writer::new(&mut buffer);
                    writer.nack(sender, ssrc, missing[..count].iter().copied());
                    tally.totals.own.nacks += count as u64;
                    seal_rtcp(&mut self.client, writer.finish(), out);
                }
            }
            if receiver.take_pli(now) {
                let mut buffer = [0; 64];
                let mut writer = Writer::new(&mut buffer);
                writer.pli(sender, ssrc);
                tally.totals.own.plis += 1;
                seal_rtcp(&mut self.client, writer.finish(), out);
            }
        }
    }

    fn send_reports(&mut self, now: Instant, out: &mut Outbox) {
        let unix = self.epoch.unix + now.saturating_duration_since(self.epoch.start);
        let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
        let ntp = ((unix.as_secs() + NTP_OFFSET) << 32) | fraction;
        let mut buffer = [0; COMPOUND];
        let mut writer = Writer::new(&mut buffer);
        for publisher in self.publishers.iter().flatten() {
            publisher.report(now, ntp, &mut writer);
        }
        let mut blocks = [Block::default(); 8];
        let mut count = 0;
        for block in self.receivers.iter_mut().filter_map(|one| one.report(now)) {
            if let Some(place) = blocks.get_mut(count) {
                *place = block;
                count += 1;
            }
        }
        let sender = self
            .publishers
            .iter()
            .flatten()
            .next()
            .map_or_else(|| self.client.ssrcs().camera, Publisher::ssrc);
        if count > 0 {
            writer.receiver_report(sender, &blocks[..count]);
        }
        // A participant who neither sends nor gets anything has nothing to report.
        if writer.written() == 0 {
            return;
        }
        writer.cname(sender, b"me");
        seal_rtcp(&mut self.client, writer.finish(), out);
    }

    /// Handles a datagram that the kernel received at `arrived`. The datagram is opened in place.
    pub fn handle(
        &mut self,
        now: Instant,
        arrived: Instant,
        datagram: &mut [u8],
        tally: &mut Tally,
        out: &mut Outbox,
    ) -> Option<PeerNotice> {
        let notice = match classify(datagram) {
            PacketKind::Rtp => match self.client.open(datagram) {
                Some(length) => self.media(now, arrived, &datagram[..length], &mut tally.totals.delay),
                None => {
                    tally.totals.own.not_authentic += 1;
                    None
                }
            },
            PacketKind::Rtcp => {
                match self.client.open(datagram) {
                    Some(length) => self.control(now, &datagram[..length], tally, out),
                    None => tally.totals.own.not_authentic += 1,
                }
                None
            }
            _ => {
                let event = self.client.handle(now, datagram);
                self.drain(out);
                event.and_then(|event| self.changed(now, &event, &mut tally.totals.own))
            }
        };
        self.ask_again(now, tally, out);
        notice
    }

    fn changed(&mut self, now: Instant, event: &ClientEvent, own: &mut Own) -> Option<PeerNotice> {
        match event {
            ClientEvent::Connected(_) => {
                self.connected = true;
                self.start(now);
                Some(PeerNotice::Connected)
            }
            ClientEvent::Closed => {
                own.closed += 1;
                self.stop();
                Some(PeerNotice::Closed)
            }
            ClientEvent::Failed => {
                own.failed += 1;
                self.stop();
                Some(PeerNotice::Failed)
            }
            _ => None,
        }
    }

    fn start(&mut self, now: Instant) {
        let (shape, ssrcs) = (self.shape, self.client.ssrcs());
        self.publishers = [Source::Microphone, Source::Camera].map(|source| {
            let random = IdSource::seeded(self.random.next_u64());
            Publisher::new(source, shape, ssrcs, now, random)
        });
        let slots = self.client.server().map(|server| server.slots.clone());
        for (place, slot) in slots.unwrap_or_default().into_iter().enumerate() {
            let is_audio = Source::ALL[place % Source::ALL.len()].is_audio();
            self.receivers.push(Receiver::new(slot.ssrc, slot.rtx, is_audio));
        }
        self.report = Some(now + REPORT_INTERVAL);
    }

    fn stop(&mut self) {
        self.ended = true;
        self.connected = false;
        self.publishers = [None, None];
        self.report = None;
    }

    fn media(
        &mut self,
        now: Instant,
        arrived: Instant,
        plain: &[u8],
        delay: &mut Histogram,
    ) -> Option<PeerNotice> {
        let packet = Packet::parse(plain).ok()?;
        if let Some(&[high, low]) = packet.extension(TRANSPORT_CC_EXTENSION) {
            self.recorder.note(now, u16::from_be_bytes([high, low]));
        }
        let receiver = self.receivers.iter_mut().find(|one| one.takes(packet.ssrc()))?;
        let arrived_ns = arrived.saturating_duration_since(self.epoch.start).as_nanos() as u64;
        receiver.handle(now, arrived_ns, &packet, delay);
        (!std::mem::replace(&mut self.hears, true)).then_some(PeerNotice::Hears)
    }

    fn control(&mut self, now: Instant, compound: &[u8], tally: &mut Tally, out: &mut Outbox) {
        for packet in Compound::new(compound) {
            match packet {
                Rtcp::SenderReport(report) => {
                    let known = self.receivers.iter_mut().find(|one| one.ssrc() == report.ssrc());
                    if let Some(receiver) = known {
                        receiver.note_report(now, report.ntp());
                    }
                }
                Rtcp::Pli { media } => self.keyframe(media, tally),
                Rtcp::Fir(fir) => {
                    for target in fir.targets() {
                        self.keyframe(target, tally);
                    }
                }
                Rtcp::Nack(nack) => {
                    let Some(publisher) = self
                        .publishers
                        .iter_mut()
                        .flatten()
                        .find(|one| one.ssrc() == nack.media())
                    else {
                        continue;
                    };
                    for sequence in nack.sequences() {
                        let number = self.transport.wrapping_add(1);
                        let buffer = out.room();
                        let Some(length) = publisher.repeat(sequence, number, buffer) else {
                            continue;
                        };
                        if let Some(sealed) = self.client.seal_rtp(buffer, length) {
                            self.transport = number;
                            out.commit(sealed);
                            tally.totals.sent.repeated += 1;
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn keyframe(&mut self, ssrc: u32, tally: &mut Tally) {
        if let Some(publisher) = self
            .publishers
            .iter_mut()
            .flatten()
            .find(|one| one.ssrc() == ssrc && !one.is_audio())
        {
            publisher.want_keyframe();
            tally.totals.sent.plis_answered += 1;
        }
    }

    /// Says goodbye.
    pub fn close(&mut self, now: Instant, out: &mut Outbox) {
        self.client.close(now);
        self.stop();
        self.drain(out);
    }

    /// Adds what this participant counted.
    pub fn add_to(&self, totals: &mut Totals) {
        totals.participants += 1;
        totals.connected += u64::from(self.connected);
        for receiver in self.receivers.iter().filter(|one| one.is_active()) {
            if receiver.is_audio() {
                totals.audio += receiver.totals;
                totals.jitter.note(receiver.jitter());
            } else {
                totals.video += receiver.totals;
            }
        }
    }

    /// Whether the server or a failed handshake ended it.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended
    }
}

fn seal_rtcp(client: &mut SyntheticClient, compound: &[u8], out: &mut Outbox) {
    let room = out.room();
    let Some(to) = room.get_mut(..compound.len()) else {
        return;
    };
    to.copy_from_slice(compound);
    if let Some(sealed) = client.seal_rtcp(room, compound.len()) {
        out.commit(sealed);
    }
}
