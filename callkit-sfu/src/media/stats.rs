//! Counters of a participant, as plain values.

use std::time::Duration;

/// What a participant's transport carried since it joined.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PeerStats {
    /// From the participant to us.
    pub up: Direction,
    /// From us to the participant.
    pub down: Direction,
    /// Smoothed round trip; `None` before the first measurement.
    pub rtt: Option<Duration>,
    /// Packets from the participant that went nowhere, by reason.
    pub drops: Drops,
}

/// One direction of a participant's media.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Direction {
    /// RTP packets, retransmissions included.
    pub packets: u64,
    /// Bytes of plain RTP.
    pub bytes: u64,
    /// Packets that the network lost, before repair.
    pub lost: i64,
    /// Share lost in the last report interval, 0 to 1; the worst of the streams.
    pub fraction_lost: f32,
    /// Interarrival jitter; the worst of the streams.
    pub jitter: Duration,
    /// Requests for retransmission: packets that we asked for (up) or were asked for (down).
    pub nacks: u64,
    /// Retransmissions received (up) or sent (down).
    pub retransmissions: u64,
    /// Key frame requests: sent by us (up) or received from the participant (down).
    pub keyframe_requests: u64,
    /// Lost packets that were never repaired (up) or could not be sent again (down).
    pub unrepaired: u64,
}

/// Why packets of a participant went nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drops {
    /// Not RTP or RTCP.
    pub malformed: u64,
    /// The stream could not be told: no known SSRC, mid or rid.
    pub unknown_stream: u64,
    /// The payload type was not agreed.
    pub unknown_payload: u64,
    /// Received before; retransmissions of what had arrived and probes are counted here too.
    pub duplicate: u64,
    /// Too late for anyone.
    pub too_old: u64,
    /// Padding without media.
    pub padding: u64,
    /// For a receiver: larger than a packet to it may be.
    pub oversized: u64,
    /// For a receiver: the matrix does not let it through.
    pub refused: u64,
    /// For a receiver: it did not agree to the codec.
    pub not_agreed: u64,
    /// For a receiver: waiting for a key frame.
    pub no_keyframe: u64,
    /// For a receiver: it cannot be sent to at the moment.
    pub unreachable: u64,
}
