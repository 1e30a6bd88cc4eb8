//! Counters of a participant's tracks, read out of the [`Room`] when somebody asks: nothing is counted here.

use std::time::{Duration, Instant};

use callkit_core::id::ParticipantId;

use super::room::{Peer, Room};
use super::uplink::Line;
use crate::layout::{PeerIndex, Source};
use crate::quality::Way;

/// A layer of which a packet came this recently is there to be had.
const LIVE: Duration = Duration::from_secs(1);

/// What one track of a participant carried since it began.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackStats {
    /// Which way.
    pub way: Way,
    /// What it carries.
    pub source: Source,
    /// Downwards: whose it is.
    pub from: Option<ParticipantId>,
    /// Packets received (up) or sent (down), retransmissions left out.
    pub packets: u64,
    /// Bytes of them; downwards of their payload only.
    pub bytes: u64,
    /// Packets that should have arrived at the end of the way; downwards as the receiver reports.
    pub expected: u64,
    /// Of those, packets that did not arrive before repair.
    pub lost: i64,
    /// Downwards: numbers that were not sent because nothing with them reached us. Only its growth means
    /// something; it falls when they come late.
    pub left_out: i64,
    /// Interarrival jitter at the end of the way; `None` before the first measurement.
    pub jitter: Option<Duration>,
    /// Downwards, video: stopped to keep the sound whole.
    pub paused: bool,
    /// Downwards: better simulcast layers that the publisher sends.
    pub layers_missed: u8,
    /// Downwards, video: bits per second that the receiver's connection leaves for it; `None` without a known
    /// limit.
    pub available_bps: Option<u64>,
}

impl Room {
    /// The counters of every track that `peer` sends or receives; nothing for a place that nobody has.
    pub fn tracks(&self, now: Instant, peer: PeerIndex) -> impl Iterator<Item = TrackStats> + '_ {
        let own = self.peer(peer).into_iter();
        own.flat_map(move |peer| up(peer).chain(self.down(now, peer)))
    }

    fn down<'r>(&'r self, now: Instant, receiver: &'r Peer) -> impl Iterator<Item = TrackStats> + 'r {
        let slots = receiver.downlinks.slots.iter();
        let occupied = slots.filter_map(|slot| Some((slot, self.peer(slot.occupant?)?)));
        occupied.flat_map(move |(slot, publisher)| {
            slot.tracks.iter().flatten().map(move |track| {
                let source = track.spec.source;
                let report = &track.report;
                // A block that never came has no SSRC.
                let is_reported = report.ssrc == track.spec.ssrc;
                let line = publisher.uplinks.line(source);
                TrackStats {
                    way: Way::Down,
                    source,
                    from: Some(publisher.id),
                    packets: u64::from(track.packets),
                    bytes: u64::from(track.octets),
                    expected: if is_reported { u64::from(report.highest) } else { 0 },
                    lost: if is_reported { i64::from(report.lost) } else { 0 },
                    left_out: track.rewriter.last_number() as i64 - i64::from(track.packets),
                    jitter: is_reported.then(|| time(report.jitter, source)),
                    paused: track.choice.is_paused,
                    layers_missed: missed(now, line, track.rewriter.fed_by()),
                    available_bps: Some(track.choice.share).filter(|share| (1..u64::MAX).contains(share)),
                }
            })
        })
    }
}

fn up(peer: &Peer) -> impl Iterator<Item = TrackStats> + '_ {
    let lines = Source::ALL
        .into_iter()
        .filter_map(|source| Some((source, peer.uplinks.line(source)?)));
    lines.map(|(source, line)| {
        let mut stats = TrackStats {
            way: Way::Up,
            source,
            from: None,
            packets: 0,
            bytes: 0,
            expected: 0,
            lost: 0,
            left_out: 0,
            jitter: None,
            paused: false,
            layers_missed: 0,
            available_bps: None,
        };
        for stream in line.streams.iter().filter(|stream| stream.ssrc.is_some()) {
            let (received, lost) = (stream.reception.received(), stream.reception.lost());
            stats.packets += received;
            stats.bytes += stream.bytes;
            stats.expected += received.saturating_add_signed(lost);
            stats.lost += lost;
            stats.jitter = stats.jitter.max(Some(time(stream.reception.jitter(), source)));
        }
        stats
    })
}

/// How many live layers are above the one that feeds the receiver.
fn missed(now: Instant, line: Option<&Line>, fed_by: Option<u32>) -> u8 {
    let streams = line.map_or(&[][..], |line| &line.streams);
    let Some(fed) = streams.iter().position(|stream| Some(stream.run) == fed_by) else {
        return 0;
    };
    let is_live = |at: Instant| now.saturating_duration_since(at) < LIVE;
    let better = streams[fed + 1..].iter();
    better
        .filter(|stream| stream.last_packet.is_some_and(is_live))
        .count() as u8
}

/// `units` of the source's RTP clock.
fn time(units: u32, source: Source) -> Duration {
    Duration::from_micros(u64::from(units) * 1_000_000 / u64::from(source.clock_rate()))
}
