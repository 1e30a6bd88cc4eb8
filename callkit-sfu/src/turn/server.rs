//! [`TurnServer`]: the STUN and TURN server without I/O (RFC 8489, RFC 8656 for UDP relays).
//!
//! It keeps nothing for who has not proven to have credentials: nonces carry their own proof.
//!
//! ```text
//!  Allocate ─► 401 + nonce ─► Allocate, signed ─► Open ─► opened ─► success
//!                                                           │ Refresh: 10 minutes more, or the end
//!                              CreatePermission, ChannelBind ┤ of an address of the media server, or 403
//!                                       Send, ChannelData ◄──┴──► Data, ChannelData
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use callkit_core::id::IdSource;
use callkit_core::redact::Secret;
use callkit_core::time::Timestamp;
use rtc_stun::attributes::{
    ATTR_CHANNEL_NUMBER, ATTR_EVEN_PORT, ATTR_LIFETIME, ATTR_REQUESTED_ADDRESS_FAMILY,
    ATTR_REQUESTED_TRANSPORT, ATTR_RESERVATION_TOKEN,
};
use rtc_stun::message::{
    METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_REFRESH,
    TransactionId,
};

use super::allocation::{Allocation, LIFETIME, State};
use super::auth::{Authenticator, Claim, Crypto};
use super::message::{self, Answer, Refusal, Request};
use super::meter::{StrangerMeter, network};
use super::peers::{Peers, Route};
use super::{CHANNEL_HEADER, FIRST_CHANNEL, LAST_CHANNEL, TurnSecret};

/// UDP in REQUESTED-TRANSPORT (RFC 8656 section 18.8).
const UDP: u8 = 17;
/// Families in REQUESTED-ADDRESS-FAMILY (RFC 8656 section 18.6).
const IPV4: u8 = 1;
const IPV6: u8 = 2;

/// How many allocations there may be, and what one may carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnLimits {
    /// Of one person, over all credentials. A browser makes one per transport and network interface.
    /// Default 12.
    pub per_user: usize,
    /// From one address, or one /64 of IPv6: a company behind a NAT comes from one. Default 300.
    pub per_source: usize,
    /// In all. Each takes a socket or two of the process. Default 2000.
    pub total: usize,
    /// Bytes per second and direction of one allocation; what is above is dropped. Default: no limit.
    pub rate: Option<u64>,
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self {
            per_user: 12,
            per_source: 300,
            total: 2000,
            rate: None,
        }
    }
}

/// How a client is connected to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// By the datagram socket.
    Datagram,
    /// By a TCP or TLS connection, with a number that is not used again.
    Stream(u64),
}

/// A client, by the five-tuple (RFC 8656 section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client {
    /// How it is connected.
    pub link: Link,
    /// Its address.
    pub remote: SocketAddr,
    /// Our address that it talks to, where the system tells: answers leave from it.
    pub local: Option<IpAddr>,
}

impl fmt::Debug for Client {
    /// Addresses are personal data: they are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.link).finish()
    }
}

/// An allocation. Numbers are not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllocationId(u64);

/// What the driver has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a message to a client.
    Send(Client, Vec<u8>),
    /// Open the sockets of an allocation, on free ports, and call [`TurnServer::opened`].
    Open {
        /// Whose.
        allocation: AllocationId,
        /// The address of this machine to open them on: the one that clients are told as relayed, so that peers see
        /// the relay under the address that its client knows.
        ip: IpAddr,
        /// Whether the port of the first has to be even.
        even: bool,
    },
    /// Close the sockets of an allocation.
    Close(AllocationId),
    /// Close the connection of a client, after what was sent to it.
    Disconnect(Client),
}

/// Data of a client for a peer.
#[derive(Debug, PartialEq, Eq)]
pub struct ToPeer {
    /// Whose socket sends it.
    pub allocation: AllocationId,
    /// Which of its sockets.
    pub via: usize,
    /// Where to.
    pub target: SocketAddr,
    /// Where in the message it is.
    pub data: Range<usize>,
}

/// Counters since the start, except where said otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnStats {
    /// Allocations now.
    pub allocations: u64,
    /// Allocations made.
    pub allocated: u64,
    /// Requests that were refused, without those that were only asked to authenticate.
    pub refused: u64,
    /// Requests and data that were not answered or relayed: not well-formed, above a limit, without
    /// permission.
    pub dropped: u64,
    /// Packets relayed, both ways.
    pub packets: u64,
    /// Bytes relayed, both ways, without framing.
    pub bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub struct TurnServer {
    limits: TurnLimits,
    peers: Peers,
    auth: Authenticator,
    strangers: StrangerMeter,
    crypto: Crypto,
    by_client: HashMap<Client, AllocationId>,
    allocations: BTreeMap<AllocationId, Allocation>,
    /// When each allocation ends.
    ends: BTreeSet<(Timestamp, AllocationId)>,
    /// Allocations by person and by source; entries are there while they are not zero.
    by_user: HashMap<Box<str>, usize>,
    by_source: HashMap<IpAddr, usize>,
    next: u64,
    random: IdSource,
    stats: TurnStats,
}

impl TurnServer {
    /// A server for whoever has credentials made of one of `secrets`. `random` has to be unguessable: the
    /// proof of nonces is made of it.
    #[must_use]
    pub fn new(
        limits: TurnLimits,
        peers: Peers,
        secrets: Vec<TurnSecret>,
        mut random: IdSource,
        now: Timestamp,
    ) -> Self {
        let mut key = [0; 32];
        key[..16].copy_from_slice(&random.next_u128().to_le_bytes());
        key[16..].copy_from_slice(&random.next_u128().to_le_bytes());
        let crypto = Crypto::default();
        Self {
            limits,
            peers,
            auth: Authenticator::new(secrets, &Secret::new(key), crypto.clone()),
            strangers: StrangerMeter::new(now),
            crypto,
            by_client: HashMap::new(),
            allocations: BTreeMap::new(),
            ends: BTreeSet::new(),
            by_user: HashMap::new(),
            by_source: HashMap::new(),
            next: 0,
            random,
            stats: TurnStats::default(),
        }
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> TurnStats {
        TurnStats {
            allocations: self.allocations.len() as u64,
            ..self.stats
        }
    }

    /// Sockets that an allocation needs.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.peers.sockets()
    }

    /// Whether the client has an allocation.
    #[must_use]
    pub fn has_allocation(&self, client: &Client) -> bool {
        self.by_client.contains_key(client)
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// Handles a datagram or frame of a client. Gives what is to be relayed.
    pub fn handle_client(
        &mut self,
        now: Timestamp,
        client: Client,
        bytes: &[u8],
        out: &mut Vec<Action>,
    ) -> Option<ToPeer> {
        let relayed = match bytes.first() {
            Some(FIRST_CHANNEL..=LAST_CHANNEL) => self.channel_data(now, client, bytes),
            Some(0..=3) if message::is_send_indication(bytes) => self.send_indication(now, client, bytes),
            Some(0..=3) => {
                self.request(now, client, bytes, out);
                return None;
            }
            _ => None,
        };
        match &relayed {
            Some(relayed) => self.count(relayed.data.len()),
            None => self.stats.dropped += 1,
        }
        relayed
    }

    /// Handles a datagram that came to socket `via` of an allocation from `source`. It is
    /// `packet[CHANNEL_HEADER..]`; the space before it is used for framing. Gives the client and the
    /// message for it.
    pub fn handle_peer<'a>(
        &mut self,
        now: Timestamp,
        allocation: AllocationId,
        via: usize,
        source: SocketAddr,
        packet: &'a mut [u8],
    ) -> Option<(Client, FromPeer<'a>)> {
        let length = packet.len().checked_sub(CHANNEL_HEADER)?;
        let relayed = self.peers.origin(via, source).and_then(|route| {
            let allocation = self.allocations.get_mut(&allocation)?;
            let may = allocation.has_permission(now, route.peer.ip())
                && allocation.may_receive(&self.limits, now, length);
            may.then(|| (allocation.client, allocation.channel_of(now, route.peer), route))
        });
        let Some((client, channel, route)) = relayed else {
            self.stats.dropped += 1;
            return None;
        };
        self.count(length);
        let framed = match channel {
            Some(channel) => {
                packet[..2].copy_from_slice(&channel.to_be_bytes());
                // A datagram is never longer than 65507 bytes.
                packet[2..CHANNEL_HEADER].copy_from_slice(&(length as u16).to_be_bytes());
                FromPeer::Channel(packet)
            }
            None => {
                let mut transaction = TransactionId::default();
                transaction
                    .0
                    .copy_from_slice(&self.random.next_u128().to_le_bytes()[..12]);
                FromPeer::Data(message::data_indication(
                    route.peer,
                    &packet[CHANNEL_HEADER..],
                    transaction,
                ))
            }
        };
        Some((client, framed))
    }

    /// The sockets that [`Action::Open`] asked for are there, the first of them on `port`; or not.
    pub fn opened(
        &mut self,
        now: Timestamp,
        allocation: AllocationId,
        port: Option<u16>,
        out: &mut Vec<Action>,
    ) {
        let Some(found) = self.allocations.get_mut(&allocation) else {
            return out.push(Action::Close(allocation));
        };
        let State::Opening(request) = &found.state else {
            return;
        };
        let relayed = port.map(|port| SocketAddr::new(found.ip, port));
        let crypto = self.crypto.crypto();
        let signature = Some((found.key.expose().as_slice(), crypto));
        match relayed {
            Some(relayed) => {
                let answer = allocated(request, found.client, relayed, now, found.expires).finish(signature);
                out.push(Action::Send(found.client, answer));
                found.state = State::Open {
                    relayed,
                    transaction: request.transaction(),
                };
                self.stats.allocated += 1;
            }
            None => {
                let answer = Answer::error(request, Refusal::InsufficientCapacity).finish(signature);
                out.push(Action::Send(found.client, answer));
                self.remove(allocation);
            }
        }
    }

    /// A connection has ended: its allocation ends with it (RFC 8656 section 3.1).
    pub fn disconnected(&mut self, client: &Client, out: &mut Vec<Action>) {
        if let Some(allocation) = self.by_client.get(client).copied() {
            self.remove(allocation);
            out.push(Action::Close(allocation));
        }
    }

    /// Ends what was not refreshed.
    pub fn handle_timeout(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        while let Some((at, allocation)) = self.ends.first().copied()
            && at <= now
        {
            if let Some(ended) = self.remove(allocation) {
                out.push(Action::Close(allocation));
                if let Link::Stream(_) = ended.client.link {
                    out.push(Action::Disconnect(ended.client));
                }
            }
        }
    }

    fn channel_data(&mut self, now: Timestamp, client: Client, bytes: &[u8]) -> Option<ToPeer> {
        let [number_high, number_low, length_high, length_low, data @ ..] = bytes else {
            return None;
        };
        let number = u16::from_be_bytes([*number_high, *number_low]);
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        // A datagram may be padded too (RFC 8656 section 12.5).
        if length > data.len() {
            return None;
        }
        let id = *self.by_client.get(&client)?;
        let allocation = self.allocations.get_mut(&id)?;
        let peer = allocation.peer_of(now, number)?;
        let route = self.peers.route(peer)?;
        self.route_to_peer(now, id, route, CHANNEL_HEADER..CHANNEL_HEADER + length)
    }

    fn send_indication(&mut self, now: Timestamp, client: Client, bytes: &[u8]) -> Option<ToPeer> {
        let id = *self.by_client.get(&client)?;
        let (peer, data) = message::send_indication(bytes)?;
        let route = self.peers.route(peer)?;
        self.route_to_peer(now, id, route, data)
    }

    fn route_to_peer(
        &mut self,
        now: Timestamp,
        id: AllocationId,
        route: Route,
        data: Range<usize>,
    ) -> Option<ToPeer> {
        let allocation = self.allocations.get_mut(&id)?;
        let may = allocation.is_open()
            && route.target.is_ipv4() == allocation.is_v4()
            && allocation.has_permission(now, route.peer.ip())
            && allocation.may_send(&self.limits, now, data.len());
        may.then_some(ToPeer {
            allocation: id,
            via: route.via,
            target: route.target,
            data,
        })
    }

    fn count(&mut self, bytes: usize) {
        self.stats.packets += 1;
        self.stats.bytes += bytes as u64;
    }

    fn request(&mut self, now: Timestamp, client: Client, bytes: &[u8], out: &mut Vec<Action>) {
        let id = self.by_client.get(&client).copied();
        // Whoever has proven nothing gets a bounded number of answers, and costs no more than reading.
        if id.is_none() && !self.strangers.take(now, client.remote.ip()) {
            self.stats.dropped += 1;
            if let Link::Stream(_) = client.link {
                out.push(Action::Disconnect(client));
            }
            return;
        }
        let Some(mut request) = Request::parse(bytes) else {
            self.stats.dropped += 1;
            return;
        };
        let method = request.method();
        if method == METHOD_BINDING {
            let answer = Answer::success(&request).mapped(client.remote);
            return out.push(Action::Send(client, answer.finish(None)));
        }
        let known = [
            METHOD_ALLOCATE,
            METHOD_REFRESH,
            METHOD_CREATE_PERMISSION,
            METHOD_CHANNEL_BIND,
        ];
        if !known.contains(&method) {
            self.stats.dropped += 1;
            return;
        }
        let allocation = id.and_then(|id| self.allocations.get(&id));
        let claim = match self.auth.check(now, client.remote.ip(), &mut request, allocation) {
            Ok(claim) => claim,
            Err((refusal, is_challenge)) => {
                if refusal != Refusal::Unauthorized || request.is_signed() {
                    self.stats.refused += 1;
                }
                let mut answer = Answer::error(&request, refusal);
                if is_challenge {
                    let nonce = self.auth.nonce(now, client.remote.ip());
                    answer = answer.challenge(Authenticator::REALM, &nonce);
                }
                return out.push(Action::Send(client, answer.finish(None)));
            }
        };
        let outcome = if request.not_understood().is_empty() {
            match (method, id) {
                (METHOD_ALLOCATE, _) => {
                    return self.allocate(now, client, request, claim, out);
                }
                (_, None) => Err(Refusal::AllocationMismatch),
                (METHOD_REFRESH, Some(id)) => self.refresh(now, id, &request, out),
                (METHOD_CREATE_PERMISSION, Some(id)) => self.create_permission(now, id, &request),
                (_, Some(id)) => self.bind_channel(now, id, &request),
            }
        } else {
            Err(Refusal::UnknownAttribute)
        };
        self.answer(client, &request, &claim, outcome, out);
    }

    fn answer(
        &mut self,
        client: Client,
        request: &Request,
        claim: &Claim,
        outcome: Result<Answer, Refusal>,
        out: &mut Vec<Action>,
    ) {
        let answer = outcome.unwrap_or_else(|refusal| {
            self.stats.refused += 1;
            Answer::error(request, refusal)
        });
        let signature = (claim.key.expose().as_slice(), self.crypto.crypto());
        out.push(Action::Send(client, answer.finish(Some(signature))));
    }

    fn allocate(
        &mut self,
        now: Timestamp,
        client: Client,
        request: Request,
        claim: Claim,
        out: &mut Vec<Action>,
    ) {
        let present = self
            .by_client
            .get(&client)
            .and_then(|id| self.allocations.get(id));
        if let Some(present) = present {
            let outcome = match &present.state {
                // Our answer was lost: the same again (RFC 8656 section 7.2).
                State::Open { relayed, transaction } if *transaction == request.transaction() => {
                    Ok(allocated(&request, client, *relayed, now, present.expires))
                }
                // The answer follows when the sockets are there.
                State::Opening(first) if first.transaction() == request.transaction() => return,
                State::Open { .. } | State::Opening(_) => Err(Refusal::AllocationMismatch),
            };
            return self.answer(client, &request, &claim, outcome, out);
        }
        let even = request.get(ATTR_EVEN_PORT).is_some();
        match self
            .wish(&request)
            .and_then(|ip| self.quota(client, &claim).map(|()| ip))
        {
            Ok(ip) => {
                let id = AllocationId(self.next);
                self.next += 1;
                let allocation = Allocation::new(&self.limits, client, ip, claim, request, now);
                *self.by_user.entry(allocation.who.clone()).or_default() += 1;
                *self.by_source.entry(network(client.remote.ip())).or_default() += 1;
                self.by_client.insert(client, id);
                self.ends.insert((allocation.expires, id));
                self.allocations.insert(id, allocation);
                out.push(Action::Open {
                    allocation: id,
                    ip,
                    even,
                });
            }
            Err(refusal) => self.answer(client, &request, &claim, Err(refusal), out),
        }
    }

    /// The address for the kind of allocation that is wanted.
    fn wish(&self, request: &Request) -> Result<IpAddr, Refusal> {
        match request.get(ATTR_REQUESTED_TRANSPORT) {
            Some([UDP, _, _, _]) => {}
            Some([_, _, _, _]) => return Err(Refusal::UnsupportedTransport),
            _ => return Err(Refusal::BadRequest),
        }
        let is_v4 = match request.get(ATTR_REQUESTED_ADDRESS_FAMILY) {
            None | Some([IPV4, ..]) => true,
            Some([IPV6, ..]) => false,
            Some(_) => return Err(Refusal::FamilyNotSupported),
        };
        let ip = self.peers.own_ip(is_v4).ok_or(Refusal::FamilyNotSupported)?;
        // Pairs of ports were for RTCP on a port of its own; nobody here has it. An even one is no trouble.
        let wants_pair = request.get(ATTR_EVEN_PORT).is_some_and(|flags| flags != [0]);
        if wants_pair || request.get(ATTR_RESERVATION_TOKEN).is_some() {
            return Err(Refusal::InsufficientCapacity);
        }
        Ok(ip)
    }

    fn quota(&self, client: Client, claim: &Claim) -> Result<(), Refusal> {
        let of_user = self.by_user.get(&claim.who).copied().unwrap_or(0);
        let source = network(client.remote.ip());
        let of_source = self.by_source.get(&source).copied().unwrap_or(0);
        if self.allocations.len() >= self.limits.total {
            return Err(Refusal::InsufficientCapacity);
        }
        if of_user >= self.limits.per_user || of_source >= self.limits.per_source {
            return Err(Refusal::QuotaReached);
        }
        Ok(())
    }

    fn refresh(
        &mut self,
        now: Timestamp,
        id: AllocationId,
        request: &Request,
        out: &mut Vec<Action>,
    ) -> Result<Answer, Refusal> {
        let wanted = match request.get(ATTR_LIFETIME) {
            None => None,
            Some(value) => Some(u32::from_be_bytes(
                value.try_into().map_err(|_| Refusal::BadRequest)?,
            )),
        };
        let allocation = self.allocations.get_mut(&id).ok_or(Refusal::AllocationMismatch)?;
        match request.get(ATTR_REQUESTED_ADDRESS_FAMILY) {
            None => {}
            Some([IPV4, ..]) if allocation.is_v4() => {}
            Some([IPV6, ..]) if !allocation.is_v4() => {}
            Some(_) => return Err(Refusal::FamilyMismatch),
        }
        if wanted == Some(0) {
            self.remove(id);
            out.push(Action::Close(id));
            return Ok(Answer::success(request).lifetime(0));
        }
        self.ends.remove(&(allocation.expires, id));
        allocation.expires = now + LIFETIME;
        self.ends.insert((allocation.expires, id));
        Ok(Answer::success(request).lifetime(seconds(LIFETIME)))
    }

    fn create_permission(
        &mut self,
        now: Timestamp,
        id: AllocationId,
        request: &Request,
    ) -> Result<Answer, Refusal> {
        let peers = request.peers().filter(|peers| !peers.is_empty());
        let peers = peers.ok_or(Refusal::BadRequest)?;
        let allocation = self.allocations.get_mut(&id).ok_or(Refusal::AllocationMismatch)?;
        // All or none (RFC 8656 section 10.2); the port does not count in a permission, data goes to the
        // media ports only.
        for peer in &peers {
            if !self.peers.allows(peer.ip()) {
                return Err(Refusal::Forbidden);
            }
            if peer.is_ipv4() != allocation.is_v4() {
                return Err(Refusal::FamilyMismatch);
            }
        }
        for peer in peers {
            allocation.permit(now, peer.ip());
        }
        Ok(Answer::success(request))
    }

    fn bind_channel(
        &mut self,
        now: Timestamp,
        id: AllocationId,
        request: &Request,
    ) -> Result<Answer, Refusal> {
        let number = match request.get(ATTR_CHANNEL_NUMBER) {
            Some([high @ FIRST_CHANNEL..=LAST_CHANNEL, low, _, _]) => u16::from_be_bytes([*high, *low]),
            _ => return Err(Refusal::BadRequest),
        };
        let peers = request.peers().ok_or(Refusal::BadRequest)?;
        let [peer] = peers.as_slice() else {
            return Err(Refusal::BadRequest);
        };
        let allocation = self.allocations.get_mut(&id).ok_or(Refusal::AllocationMismatch)?;
        if self.peers.route(*peer).is_none() {
            return Err(Refusal::Forbidden);
        }
        if peer.is_ipv4() != allocation.is_v4() {
            return Err(Refusal::FamilyMismatch);
        }
        allocation
            .bind(now, number, *peer)
            .map_err(|_| Refusal::BadRequest)?;
        Ok(Answer::success(request))
    }

    fn remove(&mut self, id: AllocationId) -> Option<Allocation> {
        let removed = self.allocations.remove(&id)?;
        self.ends.remove(&(removed.expires, id));
        self.by_client.remove(&removed.client);
        let source = network(removed.client.remote.ip());
        if let Some(count) = self.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
        if let Some(count) = self.by_user.get_mut(&removed.who) {
            *count -= 1;
            if *count == 0 {
                self.by_user.remove(&removed.who);
            }
        }
        Some(removed)
    }
}

/// A message for a client, with data of a peer.
#[derive(Debug, PartialEq, Eq)]
pub enum FromPeer<'a> {
    /// ChannelData, in the place of the packet. On a stream it is padded to four bytes by who sends it.
    Channel(&'a [u8]),
    /// A Data indication.
    Data(Vec<u8>),
}

impl FromPeer<'_> {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Channel(bytes) => bytes,
            Self::Data(bytes) => bytes,
        }
    }
}

/// The success of Allocate.
fn allocated(
    request: &Request,
    client: Client,
    relayed: SocketAddr,
    now: Timestamp,
    expires: Timestamp,
) -> Answer {
    Answer::success(request)
        .relayed(relayed)
        .lifetime(seconds(expires.since(now)))
        .mapped(client.remote)
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
