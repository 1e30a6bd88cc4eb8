//! A call in virtual time: people with a microphone, a camera whose encoder does what it is asked, and a
//! receiver that reports, asks again and decodes, behind emulated networks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::world::{EXTENSIONS, Sender, Wire, down_ssrc, layout, ms, participant};
use crate::layout::{PeerIndex, SLOTS, Source};
use crate::media::{Demand, Grant, NtpTime, Room, RoomConfig};
use crate::rtp::rtcp::{Block, Compound, Rtcp, Writer};
use crate::rtp::transport_cc::{TICK_MICROS, write_feedback};
use crate::rtp::{Packet, Unwrapper};
use crate::testing::{Link, LinkSettings};

/// Frames of a camera per second.
const FPS: u64 = 25;
const MTU: usize = 1100;
const RIDS: [&str; 3] = ["l", "m", "h"];
/// What the browser's page configures for each layer.
const BITRATES: [f64; 3] = [150_000.0, 500_000.0, 1_500_000.0];

/// One layer of a camera.
#[derive(Debug)]
struct Encoder {
    sender: Sender,
    is_active: bool,
    wants_key: bool,
    most: f64,
    rate: f64,
    /// Bytes that a key frame was too large by, taken from the next frames.
    debt: f64,
    queue: Vec<(Instant, Vec<u8>)>,
}

/// What a video frame became at a receiver.
#[derive(Debug)]
struct Frame {
    first: u64,
    count: u64,
    is_key: bool,
    missing: usize,
}

/// One received video m-line.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    numbers: Unwrapper,
    missing: BTreeMap<u64, (Instant, Option<Instant>, u8)>,
    frames: BTreeMap<u64, Frame>,
    next: Option<u64>,
    stuck: Option<Instant>,
    asked: Option<Instant>,
    pub(super) begun: u64,
    pub(super) decoded: u64,
    pub(super) times: Vec<Instant>,
    pub(super) bytes: Vec<(Instant, usize)>,
    /// The layer of the frame decoded last.
    pub(super) layer: Option<usize>,
    pub(super) plis: u64,
    pub(super) nacks: u64,
}

/// A direction of somebody's network; RTP is told from RTCP beside the packet.
type Way = Link<(bool, Vec<u8>)>;

/// Someone in the call.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) who: u64,
    pub(super) index: PeerIndex,
    pub(super) up: Way,
    pub(super) down: Way,
    /// One of so many packets on the way up is overtaken, by the way that it takes.
    pub(super) late: Option<(u64, Way)>,
    microphone: Sender,
    camera: Vec<Encoder>,
    pub(super) screen: Option<f64>,
    screen_encoder: Option<Encoder>,
    pub(super) remb: Option<u64>,
    pub(super) demand: Option<Demand>,
    told: Vec<(Instant, Demand)>,
    /// By slot and source: camera and screen.
    pub(super) video: [[Decoder; 2]; SLOTS],
    /// Content numbers of the sound received, by slot.
    pub(super) audio: [Vec<u32>; SLOTS],
    arrivals: BTreeMap<u64, u64>,
    transport: Unwrapper,
    reported: u64,
    reports: Vec<Block>,
    pub(super) padding: u64,
    transport_number: u16,
    pub(super) audio_sent: u64,
    /// Requests for retransmission that reached the publisher.
    pub(super) nacked: u64,
    pub(super) key_requests: Vec<Instant>,
    pub(super) up_packets: u64,
}

/// The call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) room: Room,
    pub(super) wire: Wire,
    pub(super) people: Vec<Person>,
    /// Sound packets that came in from publishers and went out to receivers.
    pub(super) audio_in: u64,
    pub(super) audio_out: u64,
    millis: u64,
}

fn good() -> LinkSettings {
    LinkSettings {
        delay: ms(20),
        ..LinkSettings::default()
    }
}

impl Encoder {
    fn new(sender: Sender, most: f64, is_active: bool) -> Self {
        Self {
            sender,
            is_active,
            wants_key: true,
            most,
            rate: 100_000.0_f64.min(most),
            debt: 0.0,
            queue: Vec::new(),
        }
    }

    /// Encodes a frame of `fps` per second at `target`, which the rate falls to at once and climbs to.
    fn encode(&mut self, now: Instant, layer: usize, target: f64) {
        let target = target.min(self.most);
        self.rate = target.min(self.rate * 1.05);
        let usual = self.rate / FPS as f64 / 8.0;
        let key = std::mem::take(&mut self.wants_key);
        let size = if key {
            self.debt += 3.0 * usual;
            4.0 * usual
        } else {
            let paid = (0.3 * usual).min(self.debt);
            self.debt -= paid;
            usual - paid
        };
        let count = (size as usize).div_ceil(MTU).max(1);
        let each = (size as usize / count).max(20);
        let packets = self.sender.frame(key, layer as u8, count, each);
        // Paced to two and a half times the rate, as browsers do.
        let span = Duration::from_secs_f64(size * 8.0 / (2.5 * self.rate).max(1.0)).min(ms(35));
        for (place, packet) in packets.into_iter().enumerate() {
            self.queue
                .push((now + span * place as u32 / count as u32, packet));
        }
    }
}

impl Decoder {
    /// A packet of the media stream or, with its original number, of the retransmission.
    fn packet(&mut self, now: Instant, sequence: u16, payload: &[u8]) {
        let before = self.numbers.highest();
        let number = self.numbers.note(sequence);
        if let Some(before) = before {
            for skipped in before + 1..number {
                self.missing.insert(skipped, (now, None, 0));
            }
            if number <= before && self.missing.remove(&number).is_none() {
                return;
            }
        }
        self.bytes.push((now, payload.len()));
        // After the descriptor: key, layer, index, count.
        let Some(&[key, layer, index, count]) = payload.get(6..10) else {
            return;
        };
        let first = number - u64::from(index);
        if self.next.is_some_and(|next| first < next) {
            return;
        }
        let begun = &mut self.begun;
        let frame = self.frames.entry(first).or_insert_with(|| {
            *begun += 1;
            Frame {
                first,
                count: u64::from(count),
                is_key: key == 1,
                missing: usize::from(count),
            }
        });
        frame.missing -= 1;
        self.layer = Some(usize::from(layer));
        self.decode(now);
    }

    fn decode(&mut self, now: Instant) {
        loop {
            // A key frame is shown as soon as it is whole; any other frame only after the one before it.
            let is_next = |frame: &&Frame| frame.is_key || self.next == Some(frame.first);
            let ready = self
                .frames
                .values()
                .find(|frame| frame.missing == 0 && is_next(frame));
            let Some((first, count)) = ready.map(|frame| (frame.first, frame.count)) else {
                break;
            };
            let end = first + count;
            self.frames = self.frames.split_off(&end);
            self.missing = self.missing.split_off(&end);
            self.next = Some(end);
            self.decoded += 1;
            self.times.push(now);
            self.stuck = None;
        }
        if self.stuck.is_none() && !self.frames.is_empty() {
            self.stuck = Some(now);
        } else if self.frames.is_empty() {
            self.stuck = None;
        }
    }

    /// What to ask for: lost packets, and whether a key frame.
    fn ask(&mut self, now: Instant) -> (Vec<u16>, bool) {
        let mut wanted = Vec::new();
        self.missing.retain(|number, (since, last, tries)| {
            if now - *since > ms(1500) || *tries >= 10 {
                return false;
            }
            let due = last.map_or(*since + ms(15), |last| last + ms(60));
            if due <= now && wanted.len() < 60 {
                (*last, *tries) = (Some(now), *tries + 1);
                wanted.push(*number as u16);
            }
            true
        });
        self.nacks += wanted.len() as u64;
        let blocked = self.stuck.is_some_and(|since| now - since > ms(500));
        let key = blocked && self.asked.is_none_or(|asked| now - asked > ms(500));
        if key {
            self.asked = Some(now);
            self.plis += 1;
        }
        (wanted, key)
    }

    /// Frames decoded in a time.
    pub(super) fn frames_between(&self, from: Instant, to: Instant) -> usize {
        self.times.iter().filter(|at| **at >= from && **at < to).count()
    }

    /// Bits per second that arrived in a time.
    pub(super) fn rate_between(&self, from: Instant, to: Instant) -> f64 {
        let bytes: usize = self
            .bytes
            .iter()
            .filter(|(at, _)| *at >= from && *at < to)
            .map(|(_, bytes)| bytes)
            .sum();
        bytes as f64 * 8.0 / (to - from).as_secs_f64()
    }
}

impl Person {
    fn numbered(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        bytes[17..19].copy_from_slice(&self.transport_number.to_be_bytes());
        self.transport_number = self.transport_number.wrapping_add(1);
        bytes
    }

    /// What of the camera is sent: layers and the bits per second for each.
    fn targets(&self) -> [f64; 3] {
        let total = self
            .remb
            .map_or(f64::MAX, |remb| (remb as f64 - 40_000.0).max(30_000.0));
        let mut left = total;
        if let Some(most) = self.screen {
            left = (left - most).max(30_000.0);
        }
        let mut targets = [0.0; 3];
        let asked = self
            .demand
            .as_ref()
            .map_or(f64::MAX, |demand| demand.camera.max_bitrate as f64);
        let mut left = left.min(asked);
        for (target, layer) in targets.iter_mut().zip(&self.camera) {
            if layer.is_active {
                *target = layer.most.min(left);
                left = (left - *target).max(0.0);
            }
        }
        targets
    }

    fn send(&mut self, now: Instant, millis: u64) {
        if millis.is_multiple_of(20) {
            let bytes = self.microphone.sound(80);
            let bytes = self.numbered(bytes);
            self.audio_sent += 1;
            self.up.send(now, bytes.len() + 40, (true, bytes));
        }
        let targets = self.targets();
        if (millis + 7 * self.who).is_multiple_of(1000 / FPS) {
            for (layer, encoder) in self.camera.iter_mut().enumerate() {
                if encoder.is_active && targets[layer] >= 20_000.0 {
                    encoder.encode(now, layer, targets[layer]);
                }
            }
            if let (Some(encoder), Some(most)) = (&mut self.screen_encoder, self.screen) {
                let cap = self.remb.map_or(f64::MAX, |remb| remb as f64 - 40_000.0);
                encoder.encode(now, 0, most.min(cap));
            }
        }
        let mut out = Vec::new();
        for encoder in self.camera.iter_mut().chain(&mut self.screen_encoder) {
            let due = encoder.queue.partition_point(|(at, _)| *at <= now);
            out.extend(encoder.queue.drain(..due).map(|(_, bytes)| bytes));
        }
        for bytes in out {
            let bytes = self.numbered(bytes);
            self.up_packets += 1;
            match &mut self.late {
                Some((every, late)) if self.up_packets.is_multiple_of(*every) => {
                    late.send(now, bytes.len() + 40, (true, bytes));
                }
                _ => self.up.send(now, bytes.len() + 40, (true, bytes)),
            }
        }
    }

    fn arrived(&mut self, now: Instant) -> Option<(bool, Vec<u8>)> {
        let late = self.late.as_mut().and_then(|(_, late)| late.receive(now));
        late.or_else(|| self.up.receive(now))
    }

    /// RTCP from the room.
    fn told(&mut self, now: Instant, compound: &[u8]) {
        for packet in Compound::new(compound) {
            match packet {
                Rtcp::Pli { media } => {
                    self.key_requests.push(now);
                    for encoder in self.camera.iter_mut().chain(&mut self.screen_encoder) {
                        encoder.wants_key |= encoder.sender.ssrc == media;
                    }
                }
                Rtcp::Nack(nack) => {
                    for sequence in nack.sequences() {
                        self.nacked += 1;
                        let mut encoders = self.camera.iter_mut().chain(&mut self.screen_encoder);
                        let found = encoders.find(|encoder| encoder.sender.ssrc == nack.media());
                        if let Some(bytes) = found.and_then(|encoder| encoder.sender.again(sequence)) {
                            let bytes = self.numbered(bytes);
                            self.up.send(now, bytes.len() + 40, (true, bytes));
                        }
                    }
                }
                Rtcp::ReceiverEstimate { bitrate } => self.remb = Some(bitrate),
                Rtcp::SenderReport(report) => self.reports.push(Block {
                    ssrc: report.ssrc(),
                    last_report: (report.ntp() >> 16) as u32,
                    ..Block::default()
                }),
                _ => {}
            }
        }
    }

    /// RTP from the room.
    fn received(&mut self, start: Instant, now: Instant, bytes: &[u8]) {
        let packet = Packet::parse(bytes).expect("the room sends valid packets");
        let number = packet.extension(EXTENSIONS.transport_cc).expect("numbered");
        let number = self.transport.note(u16::from_be_bytes([number[0], number[1]]));
        let ticks = (now - start).as_micros() as u64 / TICK_MICROS;
        self.arrivals.insert(number, ticks);
        for slot in 0..SLOTS {
            if packet.ssrc() == down_ssrc(self.who, slot, Source::Microphone) {
                self.audio[slot].push(Sender::content(packet.payload()));
            }
            for (place, source) in [Source::Camera, Source::Screen].into_iter().enumerate() {
                let ssrc = down_ssrc(self.who, slot, source);
                let decoder = &mut self.video[slot][place];
                if packet.ssrc() == ssrc && !packet.payload().is_empty() {
                    decoder.packet(now, packet.sequence(), packet.payload());
                } else if packet.ssrc() == ssrc + 1 {
                    match packet.payload().split_first_chunk() {
                        Some((&[high, low], payload)) => {
                            decoder.packet(now, u16::from_be_bytes([high, low]), payload);
                        }
                        None => self.padding += 1,
                    }
                }
            }
        }
    }

    /// What the receiving side says.
    fn report(&mut self, now: Instant, millis: u64) {
        let mut buffer = [0; 1400];
        let mut writer = Writer::new(&mut buffer);
        if millis.is_multiple_of(20) {
            for slot in 0..SLOTS {
                for (place, source) in [Source::Camera, Source::Screen].into_iter().enumerate() {
                    let ssrc = down_ssrc(self.who, slot, source);
                    let (numbers, key) = self.video[slot][place].ask(now);
                    writer.nack(1, ssrc, numbers.into_iter());
                    if key {
                        writer.pli(1, ssrc);
                    }
                }
            }
        }
        if !self.reports.is_empty() {
            let blocks = std::mem::take(&mut self.reports);
            writer.receiver_report(1, &blocks);
        }
        if millis.is_multiple_of(60)
            && let Some((&last, _)) = self.arrivals.last_key_value()
        {
            let base = self.reported.max(last.saturating_sub(400));
            let base = if self.reported == 0 {
                *self.arrivals.first_key_value().expect("not empty").0
            } else {
                base
            };
            let arrivals = &self.arrivals;
            writer.raw(|free| {
                let limit = free.len().min(1000);
                let known = (base..=last).map(|number| arrivals.get(&number).copied());
                write_feedback(&mut free[..limit], 1, 2, base as u16, 0, known).0
            });
            // A little is reported again: what was overtaken.
            self.reported = last.saturating_sub(10).max(base);
            self.arrivals = self.arrivals.split_off(&base);
        }
        if writer.written() > 0 {
            let bytes = writer.finish().to_vec();
            self.up.send(now, bytes.len() + 40, (false, bytes));
        }
    }
}

impl Call {
    pub(super) fn new() -> Self {
        let start = crate::media::moment();
        let ntp = NtpTime::from_unix(Duration::from_secs(1_790_000_000));
        Self {
            start,
            now: start,
            room: Room::new(start, RoomConfig::new(7, ntp)),
            wire: Wire::default(),
            people: Vec::new(),
            audio_in: 0,
            audio_out: 0,
            millis: 0,
        }
    }

    /// People 1 to `count` with cameras.
    pub(super) fn of(count: u64) -> Self {
        let mut call = Self::new();
        for who in 1..=count {
            call.enter(who, Grant::Full);
        }
        call
    }

    pub(super) fn enter(&mut self, who: u64, grant: Grant) {
        let index = self
            .room
            .join(self.now, participant(who), layout(who, &RIDS), grant)
            .expect("there is a place");
        self.room.ready(self.now, index, &mut self.wire);
        let ssrc = 20_000 * who as u32;
        let camera = RIDS
            .into_iter()
            .zip(BITRATES)
            .enumerate()
            .map(|(place, (rid, most))| {
                let sender = Sender::new(who, Source::Camera, Some(rid), ssrc + 10 * place as u32);
                Encoder::new(sender, most, rid == "h")
            });
        self.people.push(Person {
            who,
            index,
            up: Link::new(good(), 2 * who),
            down: Link::new(good(), 2 * who + 1),
            late: None,
            microphone: Sender::new(who, Source::Microphone, None, ssrc + 50),
            camera: camera.collect(),
            screen: None,
            screen_encoder: None,
            remb: None,
            demand: None,
            told: Vec::new(),
            video: Default::default(),
            audio: Default::default(),
            arrivals: BTreeMap::new(),
            transport: Unwrapper::default(),
            reported: 0,
            reports: Vec::new(),
            padding: 0,
            transport_number: 0,
            audio_sent: 0,
            nacked: 0,
            key_requests: Vec::new(),
            up_packets: 0,
        });
    }

    /// Person `who` shares a screen of `rate` bits per second.
    pub(super) fn share(&mut self, who: usize, rate: f64) {
        let ssrc = 20_000 * who as u32 + 60;
        let sender = Sender::new(who as u64, Source::Screen, None, ssrc);
        let person = &mut self.people[who - 1];
        person.screen = Some(rate);
        person.screen_encoder = Some(Encoder::new(sender, 4_000_000.0, true));
    }

    /// The browser of `who` switches a layer off by itself, for good.
    pub(super) fn stop_layer(&mut self, who: usize, layer: usize) {
        self.people[who - 1].camera[layer].most = 0.0;
    }

    /// What person `who` receives in `slot` of a camera.
    pub(super) fn camera(&self, who: usize, slot: usize) -> &Decoder {
        &self.people[who - 1].video[slot][0]
    }

    /// The rids of the camera of `who` that are on.
    pub(super) fn active(&self, who: usize) -> Vec<&'static str> {
        let layers = self.people[who - 1].camera.iter().zip(RIDS);
        layers
            .filter(|(encoder, _)| encoder.is_active)
            .map(|(_, rid)| rid)
            .collect()
    }

    pub(super) fn run(&mut self, seconds: f64) {
        for _ in 0..(seconds * 1000.0) as u64 {
            self.millisecond();
        }
    }

    fn millisecond(&mut self) {
        self.now += ms(1);
        self.millis += 1;
        let now = self.now;
        for place in 0..self.people.len() {
            let person = &mut self.people[place];
            person.send(now, self.millis);
            person.report(now, self.millis);
            let index = person.index;
            while let Some((rtp, mut bytes)) = self.people[place].arrived(now) {
                if rtp {
                    let is_sound = Packet::parse(&bytes)
                        .is_ok_and(|packet| packet.payload_type() >= 109 && packet.payload_type() < 120);
                    self.audio_in += u64::from(is_sound);
                    self.room.handle_rtp(now, index, &mut bytes, &mut self.wire);
                } else {
                    self.room.handle_rtcp(now, index, &bytes, &mut self.wire);
                }
            }
        }
        if self.room.poll_timeout().is_some_and(|due| due <= now) {
            self.room.handle_timeout(now, &mut self.wire);
        }
        while let Some((who, demand)) = self.room.poll_demand() {
            let person = self
                .people
                .iter_mut()
                .find(|person| participant(person.who) == who);
            person.expect("in the call").told.push((now + ms(50), demand));
        }
        for person in &mut self.people {
            if person.told.first().is_some_and(|(at, _)| *at <= now) {
                let (_, demand) = person.told.remove(0);
                for (encoder, rid) in person.camera.iter_mut().zip(RIDS) {
                    let on = demand.camera.layers.iter().any(|wanted| wanted == rid);
                    encoder.wants_key |= on && !encoder.is_active;
                    encoder.is_active = on;
                }
                person.demand = Some(demand);
            }
        }
        let rtp = std::mem::take(&mut self.wire.rtp)
            .into_iter()
            .map(|(to, bytes)| (to, true, bytes));
        let rtcp = std::mem::take(&mut self.wire.rtcp)
            .into_iter()
            .map(|(to, bytes)| (to, false, bytes));
        for (to, is_rtp, bytes) in rtp.chain(rtcp).collect::<Vec<_>>() {
            let place = self
                .people
                .iter()
                .position(|person| person.index == to)
                .expect("in the call");
            let person = &mut self.people[place];
            let is_sound = is_rtp
                && (0..SLOTS).any(|slot| {
                    bytes[8..12] == down_ssrc(person.who, slot, Source::Microphone).to_be_bytes()
                });
            self.audio_out += u64::from(is_sound);
            person.down.send(now, bytes.len() + 40, (is_rtp, bytes));
        }
        for person in &mut self.people {
            while let Some((rtp, bytes)) = person.down.receive(now) {
                if rtp {
                    person.received(self.start, now, &bytes);
                } else {
                    person.told(now, &bytes);
                }
            }
        }
    }
}
