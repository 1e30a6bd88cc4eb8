//! What a participant sends: which SSRC is which layer of which source, and the receiving state of each.

use std::time::{Duration, Instant};

use super::allocation::SILENCE;
use super::cache::PayloadRing;
use super::clock::{PublisherClock, StreamClock};
use super::codec::Frame;
use super::keyframe::KeyframeRequests;
use super::nack::{Gap, NackGenerator};
use super::reception::{Arrival, ReceiveWindow, Reception};
use super::recorder::ArrivalRecorder;
use super::stats::{Direction, Drops};
use crate::layout::{Codec, Source, Uplink};
use crate::rtp::Packet;

/// Simulcast layers of a source that are taken; a browser offers three.
pub(super) const MAX_LAYERS: usize = 3;
/// SSRCs remembered per participant (P-21): twice what four sources with three layers and retransmission
/// use.
const MAX_SSRCS: usize = 32;
/// Changes of a stream's SSRC in the life of a transport. A browser changes it seldom; without a bound a
/// hostile one could keep us resetting.
const MAX_REBINDS: u32 = 256;

/// One media stream: a layer of a source.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) ssrc: Option<u32>,
    /// Identifies this run of numbers within the room; a new SSRC or a restart has a new one.
    pub(super) run: u32,
    pub(super) last_packet: Option<Instant>,
    /// Of every packet on it, retransmissions included.
    pub(super) bytes: u64,
    pub(super) nack: Option<NackGenerator>,
    pub(super) keyframes: KeyframeRequests,
    pub(super) reception: Reception,
    pub(super) clock: Option<StreamClock>,
    /// Bytes of media for the receivers, and the rate measured from it.
    forwarded: u64,
    measured: u64,
    /// Bits per second lately.
    pub(super) rate: u64,
    window: ReceiveWindow,
}

impl Stream {
    fn new() -> Self {
        Self {
            ssrc: None,
            run: 0,
            last_packet: None,
            bytes: 0,
            nack: None,
            keyframes: KeyframeRequests::default(),
            reception: Reception::default(),
            clock: None,
            forwarded: 0,
            measured: 0,
            rate: 0,
            window: ReceiveWindow::new(),
        }
    }
}

impl Stream {
    /// Whether something of it came lately.
    pub(super) fn is_live(&self, now: Instant) -> bool {
        self.last_packet
            .is_some_and(|last| now.saturating_duration_since(last) <= SILENCE)
    }
}

/// One sending m-line.
#[derive(Debug)]
pub(super) struct Line {
    spec: Uplink,
    pub(super) streams: Vec<Stream>,
    pub(super) ring: Option<PayloadRing>,
}

/// Where an SSRC belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) source: Source,
    pub(super) layer: usize,
    retransmission: bool,
}

/// A packet to forward.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming<'p> {
    pub(super) place: Place,
    pub(super) run: u32,
    pub(super) codec: Codec,
    /// The stream was off until now.
    pub(super) is_first: bool,
    /// Extended number, with padding packets taken out.
    pub(super) number: u64,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    /// Empty for a padding packet that could not be taken out.
    pub(super) payload: &'p [u8],
    pub(super) frame: Frame,
}

/// Everything that a participant sends.
#[derive(Debug)]
pub(super) struct Uplinks {
    lines: [Option<Line>; 4],
    ssrcs: Vec<(u32, Place)>,
    runs: u32,
    rebinds: u32,
    transport_cc: u8,
    pub(super) recorder: ArrivalRecorder,
    pub(super) clock: PublisherClock,
    pub(super) totals: Direction,
    pub(super) drops: Drops,
}

impl Uplinks {
    /// The state of `layout`'s sending m-lines; `first_run` starts a range of numbers of its own.
    pub(super) fn new(layout: Vec<Uplink>, epoch: Instant, first_run: u32) -> Self {
        let mut lines = [const { None }; 4];
        let mut transport_cc = 0;
        for spec in layout {
            if transport_cc == 0 {
                transport_cc = spec.extensions.transport_cc;
            }
            let layers = spec.rids.len().clamp(1, MAX_LAYERS);
            let streams = (0..layers).map(|_| Stream::new()).collect();
            let place = spec.source.index();
            lines[place] = Some(Line {
                spec,
                streams,
                ring: None,
            });
        }
        Self {
            lines,
            ssrcs: Vec::with_capacity(MAX_SSRCS),
            runs: first_run,
            rebinds: 0,
            transport_cc,
            recorder: ArrivalRecorder::new(epoch),
            clock: PublisherClock::default(),
            totals: Direction::default(),
            drops: Drops::default(),
        }
    }

    pub(super) fn line(&self, source: Source) -> Option<&Line> {
        self.lines[source.index()].as_ref()
    }

    pub(super) fn line_mut(&mut self, source: Source) -> Option<&mut Line> {
        self.lines[source.index()].as_mut()
    }

    pub(super) fn stream_mut(&mut self, place: Place) -> Option<&mut Stream> {
        self.line_mut(place.source)?.streams.get_mut(place.layer)
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = (Source, &Stream)> {
        self.lines
            .iter()
            .flatten()
            .flat_map(|line| line.streams.iter().map(|stream| (line.spec.source, stream)))
    }

    pub(super) fn streams_mut(&mut self) -> impl Iterator<Item = (Source, &mut Stream)> {
        self.lines.iter_mut().flatten().flat_map(|line| {
            let source = line.spec.source;
            line.streams.iter_mut().map(move |stream| (source, stream))
        })
    }

    /// The stream of a media SSRC.
    pub(super) fn media(&mut self, ssrc: u32) -> Option<(Place, &mut Stream)> {
        let place = self.ssrcs.iter().find(|known| known.0 == ssrc)?.1;
        if place.retransmission {
            return None;
        }
        self.stream_mut(place).map(|stream| (place, stream))
    }

    /// Takes in a packet: learns its stream, undoes retransmission, drops what is not news. `None` if there
    /// is nothing to forward; the reason is counted.
    pub(super) fn receive<'p>(&mut self, now: Instant, packet: &Packet<'p>) -> Option<Incoming<'p>> {
        self.totals.packets += 1;
        self.totals.bytes += packet.size() as u64;
        if let Some(&[high, low]) = packet.extension(self.transport_cc) {
            self.recorder.note(now, u16::from_be_bytes([high, low]));
        }
        let known = self
            .ssrcs
            .iter()
            .find(|known| known.0 == packet.ssrc())
            .map(|known| known.1);
        let Some(place) = known.or_else(|| self.learn(packet)) else {
            self.drops.unknown_stream += 1;
            return None;
        };
        let runs = &mut self.runs;
        let line = self.lines[place.source.index()].as_mut()?;
        let stream = line.streams.get_mut(place.layer)?;
        stream.bytes += packet.size() as u64;

        let payload_type = packet.payload_type();
        let (mut payload, mut sequence) = (packet.payload(), packet.sequence());
        let agreed = if place.retransmission {
            self.totals.retransmissions += 1;
            // RFC 4588 section 4: the original sequence number comes first. Padding has none.
            let Some((&[high, low], rest)) = payload.split_first_chunk() else {
                self.drops.padding += 1;
                return None;
            };
            if stream.window.highest().is_none() {
                self.drops.unknown_stream += 1;
                return None;
            }
            (payload, sequence) = (rest, u16::from_be_bytes([high, low]));
            line.spec
                .payloads
                .iter()
                .find(|known| known.rtx == Some(payload_type))
        } else {
            line.spec
                .payloads
                .iter()
                .find(|known| known.media == payload_type)
        };
        let Some(agreed) = agreed else {
            self.drops.unknown_payload += 1;
            return None;
        };

        let highest = stream.window.highest();
        let number = match stream.window.accept(sequence) {
            Arrival::New(number) => number,
            Arrival::Restarted(number) => {
                *runs += 1;
                stream.run = *runs;
                stream.clock = None;
                if let Some(nack) = &mut stream.nack {
                    nack.clear();
                }
                number
            }
            Arrival::Duplicate => {
                self.drops.duplicate += 1;
                return None;
            }
            Arrival::TooOld => {
                self.drops.too_old += 1;
                return None;
            }
        };
        if !place.retransmission {
            stream
                .reception
                .note(now, number, packet.timestamp(), place.source.clock_rate());
        }
        if let Some(nack) = &mut stream.nack {
            match nack.note(now, highest, number, place.retransmission) {
                Gap::TooLarge => stream.keyframes.request(),
                Gap::Repaired | Gap::Tracked => {}
            }
        }
        let is_first = !stream.is_live(now);
        if payload.is_empty() {
            self.drops.padding += 1;
            if stream.window.remove(number) {
                return None;
            }
        } else {
            stream.last_packet = Some(now);
            stream.forwarded += packet.size() as u64;
        }
        let Some(number) = stream.window.compact(number) else {
            self.drops.too_old += 1;
            return None;
        };
        let frame = Frame::read(agreed.codec, payload);
        if frame.starts_keyframe {
            stream.keyframes.arrived();
        }
        Some(Incoming {
            place,
            run: stream.run,
            codec: agreed.codec,
            is_first,
            number,
            timestamp: packet.timestamp(),
            marker: packet.marker(),
            payload,
            frame,
        })
    }

    /// Finds the place of an SSRC not seen before, by header extension or declaration, and remembers it.
    fn learn(&mut self, packet: &Packet<'_>) -> Option<Place> {
        let ssrc = packet.ssrc();
        let place = self
            .lines
            .iter()
            .flatten()
            .find_map(|line| place_of(&line.spec, packet))?;
        let old = self.ssrcs.iter().position(|known| known.1 == place);
        if old.is_some() {
            if self.rebinds == MAX_REBINDS {
                return None;
            }
            self.rebinds += 1;
        }
        match old {
            Some(old) => self.ssrcs[old] = (ssrc, place),
            None if self.ssrcs.len() < MAX_SSRCS => self.ssrcs.push((ssrc, place)),
            None => return None,
        }
        if !place.retransmission {
            self.runs += 1;
            let run = self.runs;
            if let Some(stream) = self.stream_mut(place) {
                *stream = Stream::new();
                stream.ssrc = Some(ssrc);
                stream.run = run;
                stream.nack = (!place.source.is_audio()).then(NackGenerator::new);
            }
        }
        Some(place)
    }

    /// The names of the layers of a source.
    pub(super) fn rids(&self, source: Source) -> &[String] {
        self.line(source).map_or(&[], |line| &line.spec.rids)
    }

    /// Measures the rates of all streams over the time since the last call.
    pub(super) fn measure(&mut self, elapsed: Duration) {
        let micros = elapsed.as_micros().max(1) as u64;
        for (_, stream) in self.streams_mut() {
            let bits = (stream.forwarded - stream.measured) * 8;
            stream.measured = stream.forwarded;
            let rate = bits.saturating_mul(1_000_000) / micros;
            // Half of it: single key frames do not look like a change of rate.
            stream.rate = if stream.rate == 0 {
                rate
            } else {
                (stream.rate + rate) / 2
            };
        }
    }

    /// The earliest moment at which something of this is due.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let streams = self.streams().flat_map(|(_, stream)| {
            [
                stream.nack.as_ref().and_then(NackGenerator::due),
                stream.keyframes.due(now),
            ]
        });
        streams.chain([self.recorder.due()]).flatten().min()
    }
}

/// The place of `packet` on the m-line `spec`, if it belongs there.
fn place_of(spec: &Uplink, packet: &Packet<'_>) -> Option<Place> {
    let ids = &spec.extensions;
    let declared = spec
        .ssrcs
        .iter()
        .find(|(media, rtx)| *media == packet.ssrc() || *rtx == Some(packet.ssrc()));
    match packet.extension(ids.mid) {
        Some(mid) if mid != spec.mid.as_bytes() => return None,
        None if declared.is_none() => return None,
        Some(_) | None => {}
    }
    let payload_type = packet.payload_type();
    let retransmission = spec.payloads.iter().any(|known| known.rtx == Some(payload_type));
    if !retransmission && !spec.payloads.iter().any(|known| known.media == payload_type) {
        // Something not agreed, such as error correction, must not take the place of the media.
        return None;
    }
    let rid = if retransmission {
        packet
            .extension(ids.repaired_rid)
            .or_else(|| packet.extension(ids.rid))
    } else {
        packet.extension(ids.rid)
    };
    let layer = match rid {
        _ if spec.rids.len() <= 1 => 0,
        Some(rid) => spec.rids.iter().position(|known| known.as_bytes() == rid)?,
        // Without rid, SSRCs may be declared one by one in the order of the layers.
        None => spec
            .ssrcs
            .iter()
            .position(|(media, rtx)| *media == packet.ssrc() || *rtx == Some(packet.ssrc()))?,
    };
    (layer < MAX_LAYERS).then_some(Place {
        source: spec.source,
        layer,
        retransmission,
    })
}
