//! The packet path without sockets: open, parse, keep, rewrite, seal, and the figures `forward_ns_*` and
//! `forward_allocs`.

use std::time::{Duration, Instant};

use callkit_core::id::ParticipantId;
use callkit_core::time::{Clock, SystemClock};
use callkit_sfu::layout::{
    Codec, Downlink, Egress, Extensions, MAX_PACKET, MediaLayout, Payload, PeerIndex, SLOTS, Source, Uplink,
};
use callkit_sfu::media::{Grant, NtpTime, Room, RoomConfig};
use callkit_sfu::rtp::Outgoing;
use callkit_sfu::transport::srtp::{GcmReceiver, GcmSender, RTCP_TRAILER, RTP_TRAILER};

use crate::Figure;
use crate::allocations;

/// Packets that are sealed ahead and then forwarded in one measured stretch: what a socket hands over at
/// once. Many more would leave the processor's caches in between, which packets from a socket do not.
const BATCH: usize = 32;
/// Stretches for one figure.
const BATCHES: usize = 4000;
/// Virtual time between two packets: 333 a second, so that reports and feedback are part of the cost.
const STEP: Duration = Duration::from_millis(3);
/// Master keys and salts; what they are does not matter, only that both ends have the same.
const KEY: [u8; 16] = [7; 16];
const SALT: [u8; 12] = [9; 12];

/// A call of one publisher and `receivers` receivers whose transports are keys without sockets.
#[derive(Debug)]
pub struct Pipeline {
    room: Room,
    wire: Wire,
    now: Instant,
    browser: GcmSender,
    opener: GcmReceiver,
    sequence: u16,
    timestamp: u32,
    size: usize,
    sealed: Vec<[u8; MAX_PACKET + RTP_TRAILER]>,
}

/// Seals what the room sends, as a shard does, and counts it.
#[derive(Debug)]
struct Wire {
    transports: Vec<(GcmSender, [u8; MAX_PACKET + RTP_TRAILER])>,
    rtcp: [u8; MAX_PACKET],
    packets: u64,
}

impl Egress for Wire {
    fn rtp_buffer(&mut self, to: PeerIndex) -> Option<&mut [u8]> {
        self.transports
            .get_mut(to.0)
            .map(|transport| &mut transport.1[..MAX_PACKET])
    }

    fn send_rtp(&mut self, to: PeerIndex, len: usize) {
        let Some((sender, buffer)) = self.transports.get_mut(to.0) else {
            return;
        };
        if sender.seal_rtp(buffer, len).is_ok() {
            self.packets += 1;
        }
    }

    fn send_rtcp(&mut self, to: PeerIndex, compound: &[u8]) {
        let Some((sender, _)) = self.transports.get_mut(to.0) else {
            return;
        };
        let Some(buffer) = self.rtcp.get_mut(..compound.len() + RTCP_TRAILER) else {
            return;
        };
        buffer[..compound.len()].copy_from_slice(compound);
        let sealed = sender.seal_rtcp(buffer, compound.len());
        debug_assert!(sealed.is_ok(), "there is room for the trailer");
    }
}

impl Pipeline {
    /// A call in which `receivers` others get packets of `size` bytes.
    ///
    /// # Panics
    /// If `size` is not between 64 and [`MAX_PACKET`], or `receivers` is not 1 or 2.
    #[must_use]
    pub fn new(receivers: usize, size: usize) -> Self {
        assert!(
            (64..=MAX_PACKET).contains(&size) && (1..=SLOTS).contains(&receivers),
            "not a call"
        );
        let now = SystemClock::new().monotonic();
        let mut room = Room::new(now, RoomConfig::new(1, NtpTime::from_bits(0)));
        let sender = || GcmSender::new(&KEY, &SALT).expect("the lengths fit");
        let mut wire = Wire {
            transports: (0..=receivers)
                .map(|_| (sender(), [0; MAX_PACKET + RTP_TRAILER]))
                .collect(),
            rtcp: [0; MAX_PACKET],
            packets: 0,
        };
        for who in 0..=receivers {
            let id = ParticipantId::from(who as u128);
            let peer = room
                .join(now, id, layout(who as u32), Grant::Full)
                .expect("three find room");
            room.ready(now, peer, &mut wire);
        }
        let mut pipeline = Self {
            room,
            wire,
            now,
            browser: sender(),
            opener: GcmReceiver::new(&KEY, &SALT).expect("the lengths fit"),
            sequence: 1,
            timestamp: 0,
            size,
            sealed: vec![[0; MAX_PACKET + RTP_TRAILER]; BATCH],
        };
        // Buffers grow to their size while the first packets pass.
        for _ in 0..64 {
            pipeline.seal_batch();
            pipeline.forward_batch();
        }
        pipeline
    }

    /// What the browser does: makes and seals the next packets. Not part of the measurement.
    fn seal_batch(&mut self) {
        for buffer in &mut self.sealed {
            let head = Outgoing {
                marker: true,
                payload_type: 96,
                sequence: self.sequence,
                timestamp: self.timestamp,
                ssrc: 77,
                transport_cc: Some((3, self.sequence)),
            };
            let start = head.write(buffer).expect("a header is shorter than a packet");
            let [high, low] = (0x8000 | self.sequence).to_be_bytes();
            // A VP8 descriptor with picture id and TL0PICIDX; each 300th picture is a key frame.
            let inter = u8::from(!self.sequence.is_multiple_of(300) && self.sequence != 1);
            buffer[start..start + 6].copy_from_slice(&[0x90, 0xc0, high, low, low, inter]);
            buffer[start + 6..self.size].fill(low);
            self.browser
                .seal_rtp(buffer, self.size)
                .expect("there is room for the tag");
            self.sequence = self.sequence.wrapping_add(1);
            self.timestamp = self.timestamp.wrapping_add(300);
        }
    }

    /// Opens and forwards the packets sealed before. Returns how many copies were sent.
    #[inline(never)]
    fn forward_batch(&mut self) -> u64 {
        let before = self.wire.packets;
        for sealed in &mut self.sealed {
            self.now += STEP;
            let packet = &mut sealed[..self.size + RTP_TRAILER];
            if let Ok(length) = self.opener.open_rtp(packet) {
                self.room
                    .handle_rtp(self.now, PeerIndex(0), &mut packet[..length], &mut self.wire);
            }
            if self.room.poll_timeout().is_some_and(|due| due <= self.now) {
                self.room.handle_timeout(self.now, &mut self.wire);
            }
        }
        self.wire.packets - before
    }

    /// The time that forwarding of at least `packets` packets takes, without making them.
    pub fn time(&mut self, packets: u64) -> Duration {
        let clock = SystemClock::new();
        let mut total = Duration::ZERO;
        let batches = packets.div_ceil(BATCH as u64);
        for _ in 0..batches {
            self.seal_batch();
            let start = clock.monotonic();
            self.forward_batch();
            total += clock.monotonic() - start;
        }
        // Whole batches were run; the caller counts single packets.
        total.mul_f64(packets as f64 / (batches * BATCH as u64) as f64)
    }

    /// Forwards `batches` batches and says what one packet costs.
    pub fn measure(&mut self, batches: usize) -> Cost {
        let clock = SystemClock::new();
        let mut times = Vec::with_capacity(batches);
        let (mut allocated, mut copies) = (0, 0);
        for _ in 0..batches {
            self.seal_batch();
            let (start, allocated_before) = (clock.monotonic(), allocations());
            copies += self.forward_batch();
            allocated += allocations() - allocated_before;
            times.push(clock.monotonic() - start);
        }
        times.sort_unstable();
        let packets = (batches * BATCH) as u64;
        let median = times.get(batches / 2).copied().unwrap_or_default();
        Cost {
            ns_per_packet: median.as_nanos() as f64 / BATCH as f64,
            allocs_per_packet: allocated as f64 / packets as f64,
            copies_per_packet: copies as f64 / packets as f64,
        }
    }
}

/// What one packet costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Time from the sealed packet that came in to the sealed packets that go out, in nanoseconds: the median
    /// of the batches.
    pub ns_per_packet: f64,
    /// Heap allocations.
    pub allocs_per_packet: f64,
    /// Packets sent for each that came in: the number of receivers, or something is wrong.
    pub copies_per_packet: f64,
}

/// The layout of participant `who`, as a browser and the SDP answer would agree it.
fn layout(who: u32) -> MediaLayout {
    let extensions = Extensions {
        transport_cc: 3,
        mid: 4,
        ..Extensions::default()
    };
    let payload = |source: Source| match source.is_audio() {
        true => Payload {
            codec: Codec::Opus,
            media: 111,
            rtx: None,
        },
        false => Payload {
            codec: Codec::Vp8,
            media: 96,
            rtx: Some(97),
        },
    };
    let uplink = |source: Source| Uplink {
        mid: source.index().to_string(),
        source,
        payloads: vec![payload(source)],
        extensions,
        rids: Vec::new(),
        ssrcs: if source == Source::Camera {
            vec![(77, Some(78))]
        } else {
            Vec::new()
        },
    };
    let downlink = |slot: usize, source: Source| {
        let ssrc = 1000 * (who + 1) + (slot * 100 + source.index() * 10) as u32;
        Downlink {
            mid: (4 + slot * 4 + source.index()).to_string(),
            slot,
            source,
            payloads: vec![payload(source)],
            extensions,
            ssrc,
            rtx_ssrc: (!source.is_audio()).then_some(ssrc + 1),
        }
    };
    MediaLayout {
        uplinks: Source::ALL.map(uplink).into(),
        downlinks: (0..SLOTS)
            .flat_map(|slot| Source::ALL.map(|source| downlink(slot, source)))
            .collect(),
    }
}

/// The cost for one receiver and packets of 1200 bytes.
#[must_use]
pub fn measure() -> Cost {
    Pipeline::new(1, 1200).measure(BATCHES)
}

/// The figures of this module.
///
/// # Panics
/// If packets were lost on the way: forwarding less would look faster.
#[must_use]
pub fn figures() -> Vec<Figure> {
    let cost = measure();
    let small = Pipeline::new(1, 120).measure(BATCHES);
    let three = Pipeline::new(2, 1200).measure(BATCHES);
    for (cost, receivers) in [(cost, 1.0), (small, 1.0), (three, 2.0)] {
        assert!(
            cost.copies_per_packet == receivers,
            "not everything was forwarded: {cost:?}"
        );
    }
    let worst = [cost, small, three]
        .iter()
        .map(|cost| cost.allocs_per_packet)
        .fold(0.0, f64::max);
    vec![
        Figure::at_most("forward_ns_1200b", cost.ns_per_packet, "ns", Some(1000.0)),
        Figure::at_most("forward_ns_120b", small.ns_per_packet, "ns", None),
        Figure::at_most("forward_ns_1200b_to_2", three.ns_per_packet, "ns", None),
        Figure::at_most("forward_allocs", worst, "1/packet", Some(0.0)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_allocates_nothing_and_loses_nothing() {
        for receivers in [1, 2] {
            for size in [120, 1200] {
                let cost = Pipeline::new(receivers, size).measure(320);
                assert!(cost.allocs_per_packet == 0.0, "{cost:?}");
                assert!(cost.copies_per_packet == receivers as f64, "{cost:?}");
            }
        }
    }

    #[test]
    fn the_counter_counts() {
        let before = allocations();
        drop(std::hint::black_box(Box::new([0u8; 100])));
        assert_eq!(allocations() - before, 1);
    }
}
