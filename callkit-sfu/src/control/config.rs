//! What can be configured about the media plane.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::sdp::CodecSet;

/// When silence means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaTimeouts {
    /// Nothing from a participant whose media was flowing: lost. Shorter, and a hiccup of a mobile network
    /// is reported; longer, and the other side stares at a frozen picture unexplained. Default 3 s.
    pub silent: Duration,
    /// Nothing from a participant who sends no media and answers our checks, which it is sent after 2 s: lost.
    /// Default 5 s.
    pub silent_idle: Duration,
    /// The same for one who has never answered a check of ours. Firefox then sends a check of its own every 6 s.
    /// Default 15 s.
    pub silent_unanswering: Duration,
    /// Silence after which nothing is sent any more, until the participant comes back (RFC 7675 section 5.1).
    /// Default 30 s.
    pub consent: Duration,
    /// Silence after which a transport is given up. Longer than the time that signaling keeps a call.
    /// Default 45 s.
    pub keep_transport: Duration,
    /// Time to set up a transport, from the join. Default 20 s.
    pub handshake: Duration,
    /// Media counts as up this long after the handshake if nothing is sent: a participant without
    /// microphone and camera is there too. Default 1 s.
    pub settle: Duration,
    /// Time between two quality events of a participant. Default 2 s.
    pub quality: Duration,
}

impl Default for MediaTimeouts {
    fn default() -> Self {
        Self {
            silent: Duration::from_secs(3),
            silent_idle: Duration::from_secs(5),
            silent_unanswering: Duration::from_secs(15),
            consent: Duration::from_secs(30),
            keep_transport: Duration::from_secs(45),
            handshake: Duration::from_secs(20),
            settle: Duration::from_secs(1),
            quality: Duration::from_secs(2),
        }
    }
}

/// On which port media is received over TCP, for clients whose network lets no UDP through (RFC 6544).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TcpListen {
    /// Each shard on the number of its UDP port.
    #[default]
    SamePort,
    /// Shard n on this port plus n; 0 lets the system choose for each.
    From(u16),
    /// Not at all.
    Off,
}

/// The media plane of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SfuConfig {
    /// Address to listen on; `None` is all, of IPv4 and where possible IPv6.
    pub bind: Option<IpAddr>,
    /// First UDP port; shard n listens on `port + n`. 0 lets the system choose for each.
    pub port: u16,
    /// Where media is received over TCP. Default: the same ports.
    pub tcp: TcpListen,
    /// Threads that carry media, each with its own socket and calls. Default: one per core, at most 8.
    pub shards: usize,
    /// Binds each shard to a core. Good on a machine of its own, bad beside other work. Default off.
    pub pin_threads: bool,
    /// Sends packets of equal length to one participant in one system call and lets the kernel or the network
    /// card cut them apart (GSO). Off helps where a driver or tunnel gets it wrong. Default on.
    pub segmentation: bool,
    /// Addresses under which the listening ports are reached from outside (NAT 1:1), announced first.
    pub external: Vec<IpAddr>,
    /// Video codecs, most preferred first. Default: VP8, H.264.
    pub video: CodecSet,
    /// When silence means something.
    pub timeouts: MediaTimeouts,
    /// Participants per shard; a join beyond is refused. Default 2000.
    pub max_participants: usize,
    /// New calls are refused while every media thread is busy for more than this share of a core, in percent; calls
    /// that are there go on and take their participants. Above 95 the old calls suffer before new ones are refused.
    /// Default 90.
    pub busy_percent: u8,
    /// Events that wait for a slow receiver before quality events are left out. Default 4096.
    pub event_queue: usize,
}

impl Default for SfuConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        Self {
            bind: None,
            port: 0,
            tcp: TcpListen::SamePort,
            shards: cores.min(8),
            pin_threads: false,
            segmentation: true,
            external: Vec::new(),
            video: CodecSet::default_video(),
            timeouts: MediaTimeouts::default(),
            max_participants: 2000,
            busy_percent: 90,
            event_queue: 4096,
        }
    }
}

impl SfuConfig {
    /// What a socket on `bound` announces, given the addresses of the interfaces.
    ///
    /// External addresses come first, then the interfaces, then loopback: Firefox ignores a loopback
    /// candidate, so it is announced beside others and alone only where there is nothing else.
    #[must_use]
    pub fn candidates(&self, bound: SocketAddr, interfaces: &[IpAddr]) -> Vec<SocketAddr> {
        let reachable = |ip: &IpAddr| match (bound.ip(), ip) {
            (IpAddr::V4(own), _) if !own.is_unspecified() => *ip == IpAddr::V4(own),
            (IpAddr::V6(own), _) if !own.is_unspecified() => *ip == IpAddr::V6(own),
            (IpAddr::V4(_), ip) => ip.is_ipv4(),
            (IpAddr::V6(_), _) => true,
        };
        let usable = |ip: &IpAddr| match ip {
            IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_link_local() && !v4.is_multicast(),
            // Link-local IPv6 needs a zone, which a candidate cannot carry (RFC 8839 section 5.1).
            IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_unicast_link_local() && !v6.is_multicast(),
        };
        let mut found: Vec<IpAddr> = self.external.clone();
        let mut own: Vec<IpAddr> = interfaces
            .iter()
            .copied()
            .filter(|ip| reachable(ip) && usable(ip))
            .collect();
        if own.is_empty() && !bound.ip().is_unspecified() {
            own.push(bound.ip());
        }
        own.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6(), *ip));
        found.extend(own);
        let mut candidates: Vec<SocketAddr> = Vec::new();
        for ip in found {
            let candidate = SocketAddr::new(ip, bound.port());
            if !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
        candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn announced(config: &SfuConfig, bound: &str, interfaces: &[&str]) -> Vec<String> {
        let interfaces: Vec<IpAddr> = interfaces.iter().map(|text| ip(text)).collect();
        let bound = SocketAddr::new(ip(bound), 4000);
        config
            .candidates(bound, &interfaces)
            .iter()
            .map(|one| one.ip().to_string())
            .collect()
    }

    #[test]
    fn loopback_is_announced_last_and_external_first() {
        let config = SfuConfig {
            external: vec![ip("203.0.113.9")],
            ..SfuConfig::default()
        };
        let interfaces = [
            "127.0.0.1",
            "::1",
            "10.0.0.5",
            "fe80::1",
            "2001:db8::7",
            "169.254.3.3",
        ];
        assert_eq!(
            announced(&config, "::", &interfaces),
            ["203.0.113.9", "10.0.0.5", "2001:db8::7", "127.0.0.1", "::1"]
        );
        assert_eq!(
            announced(&config, "0.0.0.0", &interfaces),
            ["203.0.113.9", "10.0.0.5", "127.0.0.1"]
        );
    }

    #[test]
    fn a_bound_address_announces_only_itself() {
        let config = SfuConfig::default();
        assert_eq!(
            announced(&config, "10.0.0.5", &["127.0.0.1", "10.0.0.5", "10.0.0.6"]),
            ["10.0.0.5"]
        );
        assert_eq!(
            announced(&config, "127.0.0.1", &["127.0.0.1", "10.0.0.5"]),
            ["127.0.0.1"]
        );
        assert_eq!(announced(&config, "10.0.0.9", &["127.0.0.1"]), ["10.0.0.9"]);
    }
}
