//! A room in virtual time: synthetic participants and links that lose, reorder and duplicate.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use callkit_core::id::{IdSource, ParticipantId};

use crate::layout::{
    Codec, Downlink, Egress, Extensions, MAX_PACKET, MediaLayout, Payload, PeerIndex, SLOTS, Source, Uplink,
};
use crate::media::{Grant, NtpTime, Room, RoomConfig};
use crate::rtp::rtcp::{Compound, Rtcp, Writer};
use crate::rtp::{Outgoing, Packet};

/// Ids of header extensions in all test layouts.
pub(super) const EXTENSIONS: Extensions = Extensions {
    transport_cc: 3,
    mid: 4,
    rid: 10,
    repaired_rid: 11,
    audio_level: 0,
};

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The SSRC on which participant `who` receives `source` in `slot`; its retransmission is the next.
pub(super) fn down_ssrc(who: u64, slot: usize, source: Source) -> u32 {
    (1000 * who as u32) + (slot as u32) * 100 + (source.index() as u32) * 10
}

/// A layout like a browser's. `who` is part of SSRCs and shifts the payload types, so that nothing fits by
/// accident.
pub(super) fn layout(who: u64, rids: &[&str]) -> MediaLayout {
    let shift = who as u8;
    let payloads = |source: Source| {
        if source.is_audio() {
            vec![Payload {
                codec: Codec::Opus,
                media: 109 + shift,
                rtx: None,
            }]
        } else {
            vec![Payload {
                codec: Codec::Vp8,
                media: 96 + shift,
                rtx: Some(101 + shift),
            }]
        }
    };
    let uplinks = Source::ALL.map(|source| Uplink {
        mid: source.index().to_string(),
        source,
        payloads: payloads(source),
        extensions: EXTENSIONS,
        rids: if source == Source::Camera {
            rids.iter().map(ToString::to_string).collect()
        } else {
            Vec::new()
        },
        ssrcs: Vec::new(),
    });
    let downlinks = (0..SLOTS).flat_map(|slot| {
        Source::ALL.map(|source| Downlink {
            mid: (4 + slot * 4 + source.index()).to_string(),
            slot,
            source,
            payloads: payloads(source),
            extensions: EXTENSIONS,
            ssrc: down_ssrc(who, slot, source),
            rtx_ssrc: (!source.is_audio()).then(|| down_ssrc(who, slot, source) + 1),
        })
    });
    MediaLayout {
        uplinks: uplinks.into(),
        downlinks: downlinks.collect(),
    }
}

/// What the room sent.
#[derive(Debug, Default)]
pub(super) struct Wire {
    buffer: Vec<u8>,
    pub(super) unreachable: Vec<PeerIndex>,
    pub(super) rtp: VecDeque<(PeerIndex, Vec<u8>)>,
    pub(super) rtcp: VecDeque<(PeerIndex, Vec<u8>)>,
}

impl Egress for Wire {
    fn rtp_buffer(&mut self, to: PeerIndex) -> Option<&mut [u8]> {
        self.buffer.resize(MAX_PACKET, 0xee);
        (!self.unreachable.contains(&to)).then_some(&mut self.buffer[..])
    }

    fn send_rtp(&mut self, to: PeerIndex, len: usize) {
        self.rtp.push_back((to, self.buffer[..len].to_vec()));
    }

    fn send_rtcp(&mut self, to: PeerIndex, compound: &[u8]) {
        assert_eq!(compound.len() % 4, 0, "RTCP comes in words");
        self.rtcp.push_back((to, compound.to_vec()));
    }
}

/// A packet as a receiver sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) transport_cc: u16,
    pub(super) payload: Vec<u8>,
}

pub(super) fn read(bytes: &[u8]) -> Got {
    let packet = Packet::parse(bytes).expect("the room sends valid packets");
    let number = packet.extension(EXTENSIONS.transport_cc).expect("numbered");
    Got {
        ssrc: packet.ssrc(),
        payload_type: packet.payload_type(),
        sequence: packet.sequence(),
        timestamp: packet.timestamp(),
        marker: packet.marker(),
        transport_cc: u16::from_be_bytes([number[0], number[1]]),
        payload: packet.payload().to_vec(),
    }
}

/// One stream as a browser sends it.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub(super) who: u64,
    pub(super) source: Source,
    pub(super) rid: Option<&'static str>,
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) picture: u16,
    pub(super) tl0: u8,
    pub(super) transport_cc: u16,
    pub(super) rtx_sequence: u16,
    pub(super) history: BTreeMap<u16, Vec<u8>>,
    content: u32,
}

impl Sender {
    pub(super) fn new(who: u64, source: Source, rid: Option<&'static str>, ssrc: u32) -> Self {
        // Numbers that wrap soon.
        let sequence = 65_500u16.wrapping_add(ssrc as u16);
        Self {
            who,
            source,
            rid,
            ssrc,
            sequence,
            timestamp: u32::MAX - 90_000 + ssrc,
            picture: 0x7ff0,
            tl0: 250,
            transport_cc: 65_530,
            rtx_sequence: 1,
            history: BTreeMap::new(),
            content: ssrc << 16,
        }
    }

    fn packet(
        &self,
        ssrc: u32,
        payload_type: u8,
        sequence: u16,
        marker: bool,
        rid: u8,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        let head = Outgoing {
            marker,
            payload_type,
            sequence,
            timestamp: self.timestamp,
            ssrc,
            transport_cc: None,
        };
        head.write(&mut bytes).unwrap();
        bytes[0] |= 0x10;
        let mid = self.source.index().to_string();
        let mut block = vec![(EXTENSIONS.transport_cc << 4) | 1, 0, 0];
        block.extend([(EXTENSIONS.mid << 4) | (mid.len() as u8 - 1)]);
        block.extend(mid.bytes());
        if let Some(value) = self.rid {
            block.push((rid << 4) | (value.len() as u8 - 1));
            block.extend(value.bytes());
        }
        block.resize(block.len().next_multiple_of(4), 0);
        bytes.extend([0xbe, 0xde, 0, (block.len() / 4) as u8]);
        bytes.extend(block);
        bytes.extend(payload);
        bytes
    }

    /// The next packet: a frame of its own, with content that no other packet has.
    pub(super) fn next(&mut self, key: bool) -> Vec<u8> {
        let video = !self.source.is_audio();
        let mut payload = Vec::new();
        if video {
            let [high, low] = (0x8000 | self.picture).to_be_bytes();
            payload.extend([0x90, 0xc0, high, low, self.tl0, u8::from(!key)]);
            self.picture = (self.picture + 1) & 0x7fff;
            self.tl0 = self.tl0.wrapping_add(1);
        }
        self.content += 1;
        payload.extend(self.content.to_be_bytes());
        let payload_type = if video { 96 } else { 109 } + self.who as u8;
        let bytes = self.packet(
            self.ssrc,
            payload_type,
            self.sequence,
            true,
            EXTENSIONS.rid,
            &payload,
        );
        self.history.insert(self.sequence, bytes.clone());
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(if video { 3000 } else { 960 });
        self.number(bytes)
    }

    /// A video frame of `count` packets of `each` bytes. Behind the descriptor: whether it is a key frame,
    /// the layer, the packet's place in the frame and their number; the last four bytes are the content.
    pub(super) fn frame(&mut self, key: bool, layer: u8, count: usize, each: usize) -> Vec<Vec<u8>> {
        let [high, low] = (0x8000 | self.picture).to_be_bytes();
        self.picture = (self.picture + 1) & 0x7fff;
        let tl0 = self.tl0;
        self.tl0 = tl0.wrapping_add(1);
        let packets = (0..count).map(|index| {
            let start = if index == 0 { 0x90 } else { 0x80 };
            let mut payload = vec![start, 0xc0, high, low, tl0, u8::from(!key)];
            payload.extend([u8::from(key), layer, index as u8, count as u8]);
            payload.resize(each.max(14) - 4, 0);
            self.content += 1;
            payload.extend(self.content.to_be_bytes());
            let bytes = self.packet(
                self.ssrc,
                96 + self.who as u8,
                self.sequence,
                index + 1 == count,
                EXTENSIONS.rid,
                &payload,
            );
            self.history.insert(self.sequence, bytes.clone());
            self.sequence = self.sequence.wrapping_add(1);
            bytes
        });
        let packets = packets.collect();
        self.timestamp = self.timestamp.wrapping_add(3600);
        packets
    }

    /// 20 ms of sound in `size` bytes; the last four are the content.
    pub(super) fn sound(&mut self, size: usize) -> Vec<u8> {
        self.content += 1;
        let mut payload = vec![0; size - 4];
        payload.extend(self.content.to_be_bytes());
        let payload_type = 109 + self.who as u8;
        let bytes = self.packet(
            self.ssrc,
            payload_type,
            self.sequence,
            false,
            EXTENSIONS.rid,
            &payload,
        );
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(960);
        bytes
    }

    /// A packet of padding only on the media SSRC.
    pub(super) fn padding(&mut self) -> Vec<u8> {
        let mut bytes = self.packet(
            self.ssrc,
            96 + self.who as u8,
            self.sequence,
            false,
            EXTENSIONS.rid,
            &[0, 0, 0, 4],
        );
        bytes[0] |= 0x20;
        self.sequence = self.sequence.wrapping_add(1);
        self.number(bytes)
    }

    /// The retransmission of a packet sent before.
    pub(super) fn again(&mut self, sequence: u16) -> Option<Vec<u8>> {
        let original = self.history.get(&sequence)?.clone();
        let packet = Packet::parse(&original).unwrap();
        let mut payload = sequence.to_be_bytes().to_vec();
        payload.extend(packet.payload());
        let mut bytes = self.packet(
            self.ssrc + 5000,
            101 + self.who as u8,
            self.rtx_sequence,
            packet.marker(),
            EXTENSIONS.repaired_rid,
            &payload,
        );
        bytes[4..8].copy_from_slice(&packet.timestamp().to_be_bytes());
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        Some(self.number(bytes))
    }

    fn number(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        bytes[17..19].copy_from_slice(&self.transport_cc.to_be_bytes());
        self.transport_cc = self.transport_cc.wrapping_add(1);
        bytes
    }

    /// What a receiver should see of a packet: the content behind the descriptor.
    pub(super) fn content(payload: &[u8]) -> u32 {
        let tail = payload.len() - 4;
        u32::from_be_bytes(payload[tail..].try_into().unwrap())
    }

    /// Content number of the packet sent last.
    pub(super) fn last_content(&self) -> u32 {
        self.content
    }
}

/// A link that loses, delays and duplicates by chance.
#[derive(Debug)]
pub(super) struct Link {
    random: IdSource,
    pub(super) loss_percent: u64,
    pub(super) duplicate_percent: u64,
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    queue: BTreeMap<(Instant, u64), Vec<u8>>,
    count: u64,
    pub(super) lost: u64,
}

impl Link {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: IdSource::seeded(seed),
            loss_percent: 0,
            duplicate_percent: 0,
            delay: ms(10),
            jitter: Duration::ZERO,
            queue: BTreeMap::new(),
            count: 0,
            lost: 0,
        }
    }

    pub(super) fn push(&mut self, now: Instant, bytes: Vec<u8>) {
        let mut chance = |percent| self.random.next_u64() % 100 < percent;
        if chance(self.loss_percent) {
            self.lost += 1;
            return;
        }
        let copies = if chance(self.duplicate_percent) { 2 } else { 1 };
        for _ in 0..copies {
            let jitter = self.random.next_u64() % (self.jitter.as_micros() as u64 + 1);
            self.count += 1;
            self.queue.insert(
                (now + self.delay + Duration::from_micros(jitter), self.count),
                bytes.clone(),
            );
        }
    }

    pub(super) fn pop(&mut self, now: Instant) -> Option<Vec<u8>> {
        let key = *self.queue.first_key_value()?.0;
        if key.0 > now {
            None
        } else {
            self.queue.remove(&key)
        }
    }
}

/// The room and its time.
#[derive(Debug)]
pub(super) struct World {
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) room: Room,
    pub(super) wire: Wire,
}

pub(super) fn participant(who: u64) -> ParticipantId {
    ParticipantId::from(u128::from(who))
}

impl World {
    pub(super) fn new() -> Self {
        let start = crate::media::moment();
        let ntp = NtpTime::from_unix(Duration::from_secs(1_790_000_000));
        Self {
            start,
            now: start,
            room: Room::new(start, RoomConfig::new(7, ntp)),
            wire: Wire::default(),
        }
    }

    /// A room with participants 1 to `count`, all ready. Participant n has index n-1.
    pub(super) fn of(count: u64) -> Self {
        let mut world = Self::new();
        for who in 1..=count {
            world.enter(who, &[], Grant::Full);
        }
        world
    }

    pub(super) fn enter(&mut self, who: u64, rids: &[&str], grant: Grant) -> PeerIndex {
        let index = self
            .room
            .join(self.now, participant(who), layout(who, rids), grant)
            .unwrap();
        self.room.ready(self.now, index, &mut self.wire);
        index
    }

    /// Lets time pass, doing what is due on the way.
    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.room.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.room.handle_timeout(self.now, &mut self.wire);
            assert!(
                self.room.poll_timeout().is_none_or(|next| next > self.now),
                "P-3: nothing is due again at the same moment"
            );
        }
        self.now = end;
    }

    /// The server's NTP time.
    pub(super) fn clock_now(&self) -> u64 {
        self.room.clock.at(self.now).bits()
    }

    pub(super) fn rtp(&mut self, from: PeerIndex, mut bytes: Vec<u8>) {
        self.room.handle_rtp(self.now, from, &mut bytes, &mut self.wire);
    }

    pub(super) fn rtcp(&mut self, from: PeerIndex, write: impl FnOnce(&mut Writer<'_>)) {
        let mut buffer = [0; 1200];
        let mut writer = Writer::new(&mut buffer);
        write(&mut writer);
        self.room
            .handle_rtcp(self.now, from, writer.finish(), &mut self.wire);
    }

    /// Takes the RTP sent to `to` so far.
    pub(super) fn received(&mut self, to: PeerIndex) -> Vec<Got> {
        let (mine, rest) = self.wire.rtp.drain(..).partition(|packet| packet.0 == to);
        self.wire.rtp = rest;
        let mine: VecDeque<(PeerIndex, Vec<u8>)> = mine;
        mine.iter().map(|packet| read(&packet.1)).collect()
    }

    /// Takes the RTCP sent to `to` so far and gives what `pick` finds in it.
    pub(super) fn feedback<T>(&mut self, to: PeerIndex, pick: impl Fn(Rtcp<'_>) -> Option<T>) -> Vec<T> {
        let (mine, rest) = self.wire.rtcp.drain(..).partition(|packet| packet.0 == to);
        self.wire.rtcp = rest;
        let mine: VecDeque<(PeerIndex, Vec<u8>)> = mine;
        mine.iter()
            .flat_map(|packet| Compound::new(&packet.1).filter_map(&pick).collect::<Vec<_>>())
            .collect()
    }

    /// The SSRCs of key frame requests sent to `to` so far.
    pub(super) fn key_requests(&mut self, to: PeerIndex) -> Vec<u32> {
        self.feedback(to, |packet| match packet {
            Rtcp::Pli { media } => Some(media),
            _ => None,
        })
    }
}
