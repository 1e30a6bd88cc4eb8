//! Counters of a shard.

use super::peer::Peer;
use crate::transport::TransportStats;

/// Buckets of [`RunLengths`].
pub(super) const RUN_BUCKETS: usize = 7;

/// How many datagrams one system call sent: counts of calls with 1, 2, up to 4, 8, 16, 32, and more.
pub type RunLengths = [u64; RUN_BUCKETS];

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
    /// Attempts beyond what a source may make that has not proved itself.
    pub limited: u64,
    /// Checks from an address at which another participant is reached.
    pub address_in_use: u64,
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
            + self.limited
            + self.address_in_use
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
    /// How long the runs were that these calls sent.
    pub runs: RunLengths,
    /// System calls that received, whether anything was there or not.
    pub receives: u64,
    /// Times that the thread waited for something to do.
    pub waits: u64,
    /// Datagrams that the kernel dropped because the thread did not take them in time.
    pub missed: u64,
    /// Rooms that a panic ended.
    pub rooms_failed: u64,
    /// Quality events left out because nobody took them.
    pub events_left_out: u64,
    /// Open TCP connections.
    pub tcp_connections: usize,
    /// TCP connections that were closed because there were too many, they carried nothing authentic or did not
    /// speak ICE.
    pub tcp_refused: u64,
    /// Connectivity checks of our own that were sent.
    pub own_checks: u64,
    /// Of those, answered ones.
    pub own_answers: u64,
    /// Addresses that were examined because authentic media came from them.
    pub probes: u64,
    /// Authentic packets from addresses that no check had come from.
    pub from_new_address: u64,
    /// Drops.
    pub drops: Drops,
}

impl ShardStats {
    /// Adds what one participant has counted.
    pub(super) fn add(&mut self, peer: &Peer) {
        let transport = peer.transport.stats();
        self.drops.add(&transport);
        self.drops.seal_failed += peer.seal_failures;
        self.own_checks += transport.own_checks;
        self.own_answers += transport.own_answers;
        self.probes += transport.probes;
    }
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
        for (own, other) in self.runs.iter_mut().zip(other.runs) {
            *own += other;
        }
        self.receives += other.receives;
        self.waits += other.waits;
        self.missed += other.missed;
        self.rooms_failed += other.rooms_failed;
        self.events_left_out += other.events_left_out;
        self.tcp_connections += other.tcp_connections;
        self.tcp_refused += other.tcp_refused;
        self.own_checks += other.own_checks;
        self.own_answers += other.own_answers;
        self.probes += other.probes;
        self.from_new_address += other.from_new_address;
        let (own, other) = (&mut self.drops, other.drops);
        own.unknown_kind += other.unknown_kind;
        own.unknown_source += other.unknown_source;
        own.stun_malformed += other.stun_malformed;
        own.stun_unknown_user += other.stun_unknown_user;
        own.stun_not_authentic += other.stun_not_authentic;
        own.limited += other.limited;
        own.address_in_use += other.address_in_use;
        own.srtp_not_authentic += other.srtp_not_authentic;
        own.srtp_replayed += other.srtp_replayed;
        own.srtp_no_keys += other.srtp_no_keys;
        own.seal_failed += other.seal_failed;
        own.send_overflow += other.send_overflow;
    }
}
