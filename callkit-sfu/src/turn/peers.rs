//! [`Peers`]: the only addresses that are relayed to. They are the media server's own; everything else is
//! refused, so that the relay is no way into the network behind it (CVE-2020-26262, ASVS 17.1.1).

use std::net::{IpAddr, SocketAddr};

/// How a peer is reached from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    /// What clients call it.
    pub(super) peer: SocketAddr,
    /// Which socket of the allocation sends to it. Peers that are reached at the same address differ in it,
    /// so that an answer can be told from the other's.
    pub(super) via: usize,
    /// Where datagrams for it go.
    pub(super) target: SocketAddr,
}

/// There is nothing to relay to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no media address to relay to")]
pub struct NoPeers;

/// See the module.
#[derive(Debug, Clone)]
pub struct Peers {
    routes: Vec<Route>,
    sockets: usize,
}

impl Peers {
    /// The `candidates` of the media server. Those with an `external` address, behind which a NAT leads
    /// here, are reached at another candidate with the same port: not every NAT leads packets from inside
    /// back in. Loopback is left out where there is anything else.
    ///
    /// # Errors
    /// [`NoPeers`] if no candidate is left: a relay that may relay nowhere is a mistake.
    pub fn new(candidates: &[SocketAddr], external: &[IpAddr]) -> Result<Self, NoPeers> {
        let is_external = |one: &SocketAddr| external.contains(&one.ip());
        let own: Vec<SocketAddr> = candidates
            .iter()
            .copied()
            .filter(|one| !is_external(one))
            .collect();
        let only_loopback = candidates.iter().all(|one| one.ip().is_loopback());
        let mut routes: Vec<Route> = own
            .iter()
            .filter(|one| only_loopback || !one.ip().is_loopback())
            .map(|one| Route {
                peer: *one,
                via: 0,
                target: *one,
            })
            .collect();
        let mut sockets = 1;
        for (index, ip) in external.iter().enumerate() {
            for peer in candidates.iter().filter(|one| one.ip() == *ip) {
                let same_family = |one: &&SocketAddr| one.is_ipv4() == peer.is_ipv4();
                let behind = own.iter().filter(|one| one.port() == peer.port());
                let Some(target) = behind.clone().find(same_family) else {
                    continue;
                };
                sockets = index + 2;
                routes.push(Route {
                    peer: *peer,
                    via: index + 1,
                    target: *target,
                });
            }
        }
        if routes.is_empty() {
            return Err(NoPeers);
        }
        Ok(Self { routes, sockets })
    }

    /// Sockets that an allocation needs.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets
    }

    /// The address of this machine that relays of the family have; none if there is no peer for them.
    pub(super) fn own_ip(&self, is_v4: bool) -> Option<IpAddr> {
        let mut of_family = self.routes.iter().filter(|route| route.target.is_ipv4() == is_v4);
        of_family.next().map(|route| route.target.ip())
    }

    /// Whether permissions for the address are given.
    pub(super) fn allows(&self, ip: IpAddr) -> bool {
        self.routes.iter().any(|route| route.peer.ip() == ip)
    }

    pub(super) fn route(&self, peer: SocketAddr) -> Option<Route> {
        self.routes.iter().copied().find(|route| route.peer == peer)
    }

    /// Whose answer came to socket `via` from `source`.
    pub(super) fn origin(&self, via: usize, source: SocketAddr) -> Option<Route> {
        self.routes
            .iter()
            .copied()
            .find(|route| route.via == via && route.target == source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn p35_only_the_media_servers_addresses_and_ports_are_relayed_to() {
        let peers = Peers::new(&addresses(&["10.0.0.5:4000", "127.0.0.1:4000"]), &[]).unwrap();
        assert!(peers.route(addresses(&["10.0.0.5:4000"])[0]).is_some());
        for other in [
            "10.0.0.5:22",
            "10.0.0.6:4000",
            "127.0.0.1:4000",
            "[::ffff:10.0.0.5]:4000",
        ] {
            assert_eq!(peers.route(other.parse().unwrap()), None, "{other}");
        }
        assert!(!peers.allows("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn loopback_is_relayed_to_only_where_there_is_nothing_else() {
        let peers = Peers::new(&addresses(&["127.0.0.1:4000"]), &[]).unwrap();
        assert!(peers.allows("127.0.0.1".parse().unwrap()));
        assert_eq!(Peers::new(&[], &[]).unwrap_err(), NoPeers);
    }

    #[test]
    fn an_external_address_is_reached_inside_and_told_from_its_inner_one() {
        let external: IpAddr = "203.0.113.9".parse().unwrap();
        let candidates = addresses(&[
            "203.0.113.9:4000",
            "10.0.0.5:4000",
            "203.0.113.9:4001",
            "10.0.0.5:4001",
        ]);
        let peers = Peers::new(&candidates, &[external]).unwrap();
        let outer = peers.route(candidates[2]).unwrap();
        assert_eq!((outer.target, outer.via), (candidates[3], 1));
        assert_eq!(peers.sockets(), 2);
        assert_eq!(peers.origin(1, candidates[3]).unwrap().peer, candidates[2]);
        assert_eq!(peers.origin(0, candidates[3]).unwrap().peer, candidates[3]);
        assert_eq!(peers.origin(1, candidates[2]), None);
    }
}
