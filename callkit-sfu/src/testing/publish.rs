//! What a synthetic participant sends: packets in the shape of a camera and of a voice, with what the receiver
//! needs to measure in their payload. Without I/O and without allocation per packet.

use std::time::{Duration, Instant};

use callkit_core::id::IdSource;

use super::offer::{CAMERA_PAYLOAD, ClientSsrcs, MICROPHONE_PAYLOAD, TRANSPORT_CC_EXTENSION};
use crate::layout::Source;
use crate::rtp::Outgoing;
use crate::rtp::rtcp::Writer;

/// What a participant sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaShape {
    /// Bits per second of video as RTP payload; 0: no camera.
    pub video_bps: u32,
    /// Pictures per second.
    pub frames_per_second: u32,
    /// Time from one unasked key frame to the next.
    pub keyframe_every: Duration,
    /// Whether there is a voice: 50 packets per second of 80 bytes, which is Opus at 32 kbit/s.
    pub audio: bool,
}

impl Default for MediaShape {
    fn default() -> Self {
        Self {
            video_bps: 2_000_000,
            frames_per_second: 30,
            keyframe_every: Duration::from_secs(5),
            audio: true,
        }
    }
}

impl MediaShape {
    /// Nothing is sent: microphone and camera are off.
    pub const MUTED: Self = Self {
        video_bps: 0,
        frames_per_second: 30,
        keyframe_every: Duration::from_secs(5),
        audio: false,
    };
}

/// A key frame is this many times a delta frame; what a camera that hardly moves gives.
const KEYFRAME_WEIGHT: u32 = 5;
/// Longest payload of a video packet, as browsers cut it.
const VIDEO_PAYLOAD: usize = 1140;
/// Payload of a packet of voice.
const VOICE_PAYLOAD: usize = 80;
/// Time between two packets of voice.
const VOICE_INTERVAL: Duration = Duration::from_millis(20);
/// Payload descriptor with 15 bit picture id, TL0PICIDX and key index (RFC 7741 section 4.2), and one byte of the
/// payload header that tells key frames.
const VP8_HEAD: usize = 7;
/// Packets that can be repeated: 2.5 s at 2 Mbit/s.
const KEPT: usize = 512;
/// A sender that is this late skips what is past, as a camera on a busy machine does.
const MAX_LATE: Duration = Duration::from_millis(250);

/// What a receiver reads from the end of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    /// When the packet was made, nanoseconds since the swarm's epoch.
    pub(super) made_ns: u64,
    /// Number of the picture.
    pub(super) frame: u32,
    /// Which packet of it, from 0.
    pub(super) index: u16,
    /// How many packets it has.
    pub(super) count: u16,
}

impl Trailer {
    pub(super) const LENGTH: usize = 16;

    fn write(self, to: &mut [u8]) {
        to[..8].copy_from_slice(&self.made_ns.to_be_bytes());
        to[8..12].copy_from_slice(&self.frame.to_be_bytes());
        to[12..14].copy_from_slice(&self.index.to_be_bytes());
        to[14..16].copy_from_slice(&self.count.to_be_bytes());
    }

    /// The trailer of `payload`, if it is long enough for one.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LENGTH] = payload.last_chunk()?;
        let (made, rest) = bytes.split_first_chunk()?;
        let (frame, rest) = rest.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        Some(Self {
            made_ns: u64::from_be_bytes(*made),
            frame: u32::from_be_bytes(*frame),
            index: u16::from_be_bytes(*index),
            count: u16::from_be_bytes(*rest.first_chunk()?),
        })
    }
}

/// What a packet was made of: enough to make it again.
#[derive(Debug, Clone, Copy)]
struct Made {
    sequence: u16,
    timestamp: u32,
    size: u16,
    key: bool,
    marker: bool,
    picture: u16,
    trailer: Trailer,
}

/// Makes the packets of one source.
#[derive(Debug)]
pub(super) struct Publisher {
    source: Source,
    shape: MediaShape,
    ssrc: u32,
    rtx_ssrc: u32,
    random: IdSource,
    next: Instant,
    timestamp: u32,
    sequence: u16,
    rtx_sequence: u16,
    frame: u32,
    packets: u32,
    octets: u32,
    wants_key: bool,
    next_key: Instant,
    made: Vec<Made>,
}

/// A picture or a packet of voice about to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    size: usize,
    key: bool,
    /// Packets that it takes.
    pub(super) count: u16,
}

impl Publisher {
    /// A camera or a voice that begins at `start`; `None` if the shape has none.
    pub(super) fn new(
        source: Source,
        shape: MediaShape,
        ssrcs: ClientSsrcs,
        start: Instant,
        mut random: IdSource,
    ) -> Option<Self> {
        let (ssrc, rtx_ssrc) = match source {
            Source::Microphone if shape.audio => (ssrcs.microphone, 0),
            Source::Camera if shape.video_bps > 0 && shape.frames_per_second > 0 => {
                (ssrcs.camera, ssrcs.camera_rtx)
            }
            _ => return None,
        };
        // People do not start in step: without this all cameras would send in the same millisecond.
        let phase = Duration::from_micros(random.next_u64() % 33_000);
        Some(Self {
            source,
            shape,
            ssrc,
            rtx_ssrc,
            next: start + phase,
            timestamp: random.next_u64() as u32,
            sequence: random.next_u64() as u16,
            rtx_sequence: random.next_u64() as u16,
            random,
            frame: 0,
            packets: 0,
            octets: 0,
            wants_key: true,
            next_key: start + shape.keyframe_every,
            made: Vec::new(),
        })
    }

    pub(super) const fn is_audio(&self) -> bool {
        self.source.is_audio()
    }

    pub(super) const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// When the next unit is due.
    pub(super) const fn due(&self) -> Instant {
        self.next
    }

    /// The next picture will be a key frame.
    pub(super) fn want_keyframe(&mut self) {
        self.wants_key = true;
    }

    fn interval(&self) -> Duration {
        if self.is_audio() {
            VOICE_INTERVAL
        } else {
            Duration::from_secs(1) / self.shape.frames_per_second
        }
    }

    /// The unit due at `now`, if one is. Its packets are then made one by one with [`packet`](Self::packet).
    pub(super) fn begin(&mut self, now: Instant) -> Option<Unit> {
        if self.next > now {
            return None;
        }
        let interval = self.interval();
        let mut ticks = 1;
        if now.saturating_duration_since(self.next) > MAX_LATE {
            ticks = (now.saturating_duration_since(self.next).as_nanos() / interval.as_nanos()) as u32;
        }
        self.next += interval * ticks;
        let units = u64::from(self.source.clock_rate()) * interval.as_nanos() as u64 / 1_000_000_000;
        self.timestamp = self.timestamp.wrapping_add(units as u32 * ticks);
        self.frame = self.frame.wrapping_add(1);
        if self.is_audio() {
            return Some(Unit {
                size: VOICE_PAYLOAD,
                key: true,
                count: 1,
            });
        }
        let key = std::mem::take(&mut self.wants_key) || self.next_key <= now;
        if key {
            self.next_key = now + self.shape.keyframe_every;
        }
        // The key frames in an interval share the bitrate with the rest.
        let per_key =
            (self.shape.keyframe_every.as_secs_f64() * f64::from(self.shape.frames_per_second)).max(1.0);
        let mean = f64::from(self.shape.video_bps) / 8.0 / f64::from(self.shape.frames_per_second);
        let delta = mean * per_key / (per_key - 1.0 + f64::from(KEYFRAME_WEIGHT));
        // Pictures differ in size by up to 30 %.
        let spread = 0.7 + (self.random.next_u64() % 601) as f64 / 1000.0;
        let size = if key {
            delta * f64::from(KEYFRAME_WEIGHT)
        } else {
            delta * spread
        } as usize;
        let count = size.div_ceil(VIDEO_PAYLOAD).max(1);
        Some(Unit {
            size: size
                .div_ceil(count)
                .clamp(VP8_HEAD + Trailer::LENGTH, VIDEO_PAYLOAD),
            key,
            count: u16::try_from(count).unwrap_or(u16::MAX),
        })
    }

    /// Writes packet `index` of `unit` and returns its length.
    pub(super) fn packet(
        &mut self,
        unit: Unit,
        index: u16,
        made_ns: u64,
        transport: u16,
        buffer: &mut [u8],
    ) -> Option<usize> {
        self.sequence = self.sequence.wrapping_add(1);
        let made = Made {
            sequence: self.sequence,
            timestamp: self.timestamp,
            size: unit.size as u16,
            key: unit.key,
            marker: !self.is_audio() && index + 1 == unit.count,
            picture: self.frame as u16 & 0x7fff,
            trailer: Trailer {
                made_ns,
                frame: self.frame,
                index,
                count: unit.count,
            },
        };
        let length = self.write(made, None, transport, buffer)?;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(unit.size as u32);
        if !self.is_audio() {
            let place = usize::from(made.sequence) % KEPT;
            if self.made.len() <= place {
                self.made.resize(KEPT, made);
            }
            self.made[place] = made;
        }
        Some(length)
    }

    /// Writes a packet that was sent before once more, as a retransmission (RFC 4588); its length. `None` if it is
    /// not kept any longer.
    pub(super) fn repeat(&mut self, sequence: u16, transport: u16, buffer: &mut [u8]) -> Option<usize> {
        let made = *self.made.get(usize::from(sequence) % KEPT)?;
        if made.sequence != sequence {
            return None;
        }
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        self.write(made, Some(self.rtx_sequence), transport, buffer)
    }

    fn write(&self, made: Made, rtx: Option<u16>, transport: u16, buffer: &mut [u8]) -> Option<usize> {
        let head = Outgoing {
            marker: made.marker,
            payload_type: match (self.is_audio(), rtx) {
                (true, _) => MICROPHONE_PAYLOAD,
                (false, None) => CAMERA_PAYLOAD,
                (false, Some(_)) => CAMERA_PAYLOAD + 1,
            },
            sequence: rtx.unwrap_or(made.sequence),
            timestamp: made.timestamp,
            ssrc: if rtx.is_some() { self.rtx_ssrc } else { self.ssrc },
            transport_cc: Some((TRANSPORT_CC_EXTENSION, transport)),
        };
        let mut at = head.write(buffer)?;
        if rtx.is_some() {
            buffer
                .get_mut(at..at + 2)?
                .copy_from_slice(&made.sequence.to_be_bytes());
            at += 2;
        }
        // What lies between the first bytes and the trailer is whatever the buffer holds: nobody decodes it.
        let payload = buffer.get_mut(at..at + usize::from(made.size))?;
        if self.is_audio() {
            payload[0] = 0x78;
        } else {
            let [high, low] = made.picture.to_be_bytes();
            let first = made.trailer.index == 0;
            let descriptor = [
                if first { 0x90 } else { 0x80 },
                0xe0,
                0x80 | high,
                low,
                made.picture as u8,
                0,
                u8::from(!made.key),
            ];
            payload[..VP8_HEAD].copy_from_slice(&descriptor);
        }
        made.trailer
            .write(&mut payload[usize::from(made.size) - Trailer::LENGTH..]);
        Some(at + usize::from(made.size))
    }

    /// Adds a sender report to a compound.
    pub(super) fn report(&self, now: Instant, ntp: u64, to: &mut Writer<'_>) {
        if self.packets == 0 {
            return;
        }
        // The timestamp of the last unit, moved on to now.
        let since = (now + self.interval())
            .saturating_duration_since(self.next)
            .min(MAX_LATE);
        let units = since.as_secs_f64() * f64::from(self.source.clock_rate());
        let timestamp = self.timestamp.wrapping_add(units as u32);
        to.sender_report(self.ssrc, ntp, timestamp, self.packets, self.octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Codec;
    use crate::media::codec::Frame;
    use crate::rtp::Packet;

    fn camera(shape: MediaShape, start: Instant) -> Publisher {
        let ssrcs = ClientSsrcs {
            microphone: 1,
            camera: 2,
            camera_rtx: 3,
        };
        Publisher::new(Source::Camera, shape, ssrcs, start, IdSource::seeded(1)).unwrap()
    }

    #[test]
    fn a_camera_keeps_its_bitrate_and_its_pictures_per_second() {
        let start = crate::media::moment();
        let shape = MediaShape::default();
        let mut camera = camera(shape, start);
        let (mut bytes, mut frames, mut keys) = (0, 0, 0);
        let mut buffer = [0; 1500];
        for millis in 0..20_000 {
            let now = start + Duration::from_millis(millis);
            while let Some(unit) = camera.begin(now) {
                frames += 1;
                for index in 0..unit.count {
                    let length = camera.packet(unit, index, 0, 0, &mut buffer).unwrap();
                    let packet = Packet::parse(&buffer[..length]).unwrap();
                    bytes += packet.payload().len();
                    keys += usize::from(Frame::read(Codec::Vp8, packet.payload()).starts_keyframe);
                    assert!(length <= 1200);
                }
            }
        }
        let bps = bytes as f64 * 8.0 / 20.0;
        assert!((bps / f64::from(shape.video_bps) - 1.0).abs() < 0.05, "{bps}");
        assert!((598..=601).contains(&frames), "{frames}");
        assert_eq!(keys, 4);
    }

    #[test]
    fn a_repeated_packet_has_the_content_of_the_first() {
        let start = crate::media::moment();
        let mut camera = camera(MediaShape::default(), start);
        let unit = camera.begin(start + Duration::from_millis(40)).unwrap();
        let (mut first, mut again) = ([0; 1500], [0; 1500]);
        let length = camera.packet(unit, 0, 77, 5, &mut first).unwrap();
        let sent = Packet::parse(&first[..length]).unwrap();
        let length = camera.repeat(sent.sequence(), 6, &mut again).unwrap();
        let repeated = Packet::parse(&again[..length]).unwrap();
        assert_eq!(repeated.payload()[..2], sent.sequence().to_be_bytes());
        assert_eq!(Trailer::read(repeated.payload()), Trailer::read(sent.payload()));
        assert_eq!(
            Trailer::read(sent.payload()).map(|trailer| trailer.made_ns),
            Some(77)
        );
        assert_eq!(
            camera.repeat(sent.sequence().wrapping_add(9), 7, &mut again),
            None
        );
    }

    #[test]
    fn a_picture_that_is_asked_for_is_a_key_frame() {
        let start = crate::media::moment();
        let mut camera = camera(MediaShape::default(), start);
        let at = |millis| start + Duration::from_millis(millis);
        let keys: Vec<bool> = [40, 75, 110]
            .into_iter()
            .map(|millis| {
                if millis == 110 {
                    camera.want_keyframe();
                }
                camera.begin(at(millis)).unwrap().key
            })
            .collect();
        assert_eq!(keys, [true, false, true]);
    }
}
