//! Counters of a shard.

use crate::transport::TransportStats;

/// Datagrams that were dropped, by reason. Growth of the first four is noise from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drops {
    /// Not STUN, DTLS, RTP or RTCP.
    pub unknown_kind: u64,
    /// From an address that no authentic check came from.
    pub unknown_source: u64,
    /// Not a well-formed binding request.
    pub stun_malformed: u64,
    /// A check for nobody here.
    pub stun_unknown_user: u64,
    /// A check for somebody here with a wrong MESSAGE-INTEGRITY.
    pub stun_not_authentic: u64,
    /// SRTP or SRTCP from a participant's address that is not authentic.
    pub srtp_not_authentic: u64,
    /// SRTP or SRTCP that came before.
    pub srtp_replayed: u64,
    /// SRTP or SRTCP without a finished handshake.
    pub srtp_no_keys: u64,
    /// Packets that could not be sealed.
    pub seal_failed: u64,
    /// Outgoing datagrams beyond what a batch or the kernel takes.
    pub send_overflow: u64,
}

impl Drops {
    /// Adds the drops of one participant's transport.
    pub(super) fn add(&mut self, transport: &TransportStats) {
        self.srtp_not_authentic += transport.not_authentic;
        self.srtp_replayed += transport.replayed;
        self.srtp_no_keys += transport.no_keys;
    }

    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.unknown_kind
            + self.unknown_source
            + self.stun_malformed
            + self.stun_unknown_user
            + self.stun_not_authentic
            + self.srtp_not_authentic
            + self.srtp_replayed
            + self.srtp_no_keys
            + self.seal_failed
            + self.send_overflow
    }
}

/// Counters of one shard, or summed over several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardStats {
    /// Open rooms.
    pub rooms: usize,
    /// Participants in them.
    pub participants: usize,
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Bytes received, without IP and UDP headers.
    pub bytes_in: u64,
    /// Bytes sent, without IP and UDP headers.
    pub bytes_out: u64,
    /// System calls that sent them.
    pub sends: u64,
    /// Rooms that a panic ended.
    pub rooms_failed: u64,
    /// Quality events left out because nobody took them.
    pub events_left_out: u64,
    /// Drops.
    pub drops: Drops,
}

impl std::ops::AddAssign for ShardStats {
    fn add_assign(&mut self, other: Self) {
        self.rooms += other.rooms;
        self.participants += other.participants;
        self.datagrams_in += other.datagrams_in;
        self.datagrams_out += other.datagrams_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.sends += other.sends;
        self.rooms_failed += other.rooms_failed;
        self.events_left_out += other.events_left_out;
        let (own, other) = (&mut self.drops, other.drops);
        own.unknown_kind += other.unknown_kind;
        own.unknown_source += other.unknown_source;
        own.stun_malformed += other.stun_malformed;
        own.stun_unknown_user += other.stun_unknown_user;
        own.stun_not_authentic += other.stun_not_authentic;
        own.srtp_not_authentic += other.srtp_not_authentic;
        own.srtp_replayed += other.srtp_replayed;
        own.srtp_no_keys += other.srtp_no_keys;
        own.seal_failed += other.seal_failed;
        own.send_overflow += other.send_overflow;
    }
}
