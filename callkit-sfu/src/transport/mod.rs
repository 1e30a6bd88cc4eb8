//! One participant's transport without I/O: ICE-lite agent, DTLS server, SRTP contexts.
//!
//! ```text
//!  datagram ─► classify ─┬─ STUN ─► IceAgent    selects the path, yields the reply
//!                        ├─ DTLS ─► DtlsServer  yields keys once, then close_notify
//!                        └─ SRTP ─► SrtpSession opens in place
//! ```
//!
//! Datagrams reach a transport only after the shard found out whose they are: STUN by the user name
//! fragment, the rest by an address that an authenticated check has validated.

pub mod dtls;
pub mod framing;
#[doc(hidden)]
pub mod fuzz;
mod hello;
pub mod ice;
mod participant;
pub mod srtp;

use std::net::{IpAddr, SocketAddr};

pub use dtls::{DtlsIdentity, HandshakeFailure, IdentityError};
pub use ice::{IceCredentials, StunReject};
pub use participant::{CheckOutcome, OtherCertificate, Transport, TransportEvent, TransportStats};

/// What carries datagrams between a participant and us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Via {
    /// The shard's UDP socket.
    #[default]
    Udp,
    /// A TCP connection (RFC 6544). Its number is unique over the life of the shard: a connection that took
    /// the port of an earlier one is another path.
    Tcp(u32),
}

/// A participant's transport address (RFC 8445 section 4): address, port and what carries it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Remote {
    /// The participant's address.
    pub address: SocketAddr,
    /// What carries it.
    pub via: Via,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = if self.address.is_ipv4() { "v4" } else { "v6" };
        write!(f, "Remote({family}, {:?})", self.via)
    }
}

/// Where a participant is, as seen from a socket of ours.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// The participant's address.
    pub remote: SocketAddr,
    /// Our address that it talks to, where the system tells: replies leave from it.
    pub local: Option<IpAddr>,
    /// What carries it.
    pub via: Via,
}

impl Path {
    /// A path over UDP.
    #[must_use]
    pub const fn udp(remote: SocketAddr, local: Option<IpAddr>) -> Self {
        Self {
            remote,
            local,
            via: Via::Udp,
        }
    }

    /// The participant's end of it.
    #[must_use]
    pub const fn end(&self) -> Remote {
        Remote {
            address: self.remote,
            via: self.via,
        }
    }
}

impl std::fmt::Debug for Path {
    /// Addresses are personal data: only the family is shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = if self.remote.is_ipv4() { "v4" } else { "v6" };
        write!(f, "Path({family}, {:?})", self.via)
    }
}

/// What a datagram is, by its first bytes (RFC 7983, RFC 5761 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketKind {
    /// STUN.
    Stun,
    /// DTLS record.
    Dtls,
    /// RTP, here always SRTP.
    Rtp,
    /// RTCP, here always SRTCP.
    Rtcp,
    /// None of these.
    Unknown,
}

/// Classifies a datagram.
#[must_use]
pub fn classify(datagram: &[u8]) -> PacketKind {
    match datagram {
        [0..=3, ..] => PacketKind::Stun,
        [20..=63, ..] => PacketKind::Dtls,
        [128..=191, 192..=223, ..] => PacketKind::Rtcp,
        [128..=191, _, ..] => PacketKind::Rtp,
        _ => PacketKind::Unknown,
    }
}
