//! [`Allocation`]: one client's relay, with its permissions and channels (RFC 8656 sections 6, 9 and 12).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callkit_core::time::Timestamp;
use rtc_stun::message::TransactionId;

use super::auth::{Claim, Key};
use super::message::Request;
use super::meter::{Bucket, Rate};
use super::server::{Client, TurnLimits};

/// How long an allocation lasts without a refresh: the default of RFC 8656 section 3.2, and our most.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);
/// How long a permission lasts (RFC 8656 section 9).
const PERMISSION: Duration = Duration::from_secs(300);
/// How long a channel lasts (RFC 8656 section 12).
const CHANNEL: Duration = Duration::from_secs(600);

/// See the module. What it lists is bounded by the number of the media server's addresses.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) client: Client,
    /// The address of its sockets.
    pub(super) ip: IpAddr,
    pub(super) username: Box<[u8]>,
    pub(super) who: Box<str>,
    pub(super) key: Key,
    pub(super) state: State,
    pub(super) expires: Timestamp,
    permissions: Vec<(IpAddr, Timestamp)>,
    channels: Vec<Channel>,
    sending: Bucket,
    receiving: Bucket,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum State {
    /// Its sockets are being opened; the request is answered then.
    Opening(Request),
    /// It relays.
    Open {
        relayed: SocketAddr,
        /// Of the request that made it.
        transaction: TransactionId,
    },
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    number: u16,
    peer: SocketAddr,
    expires: Timestamp,
}

/// The number belongs to another peer, or the peer to another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChannelTaken;

impl Allocation {
    pub(super) fn new(
        limits: &TurnLimits,
        client: Client,
        ip: IpAddr,
        claim: Claim,
        request: Request,
        now: Timestamp,
    ) -> Self {
        let full = Bucket::full(
            rate(limits).unwrap_or(Rate {
                per_second: 0,
                burst: 0,
            }),
            now,
        );
        Self {
            client,
            ip,
            username: claim.username,
            who: claim.who,
            key: claim.key,
            state: State::Opening(request),
            expires: now + LIFETIME,
            permissions: Vec::new(),
            channels: Vec::new(),
            sending: full,
            receiving: full,
        }
    }

    pub(super) fn is_v4(&self) -> bool {
        self.ip.is_ipv4()
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    pub(super) fn permit(&mut self, now: Timestamp, ip: IpAddr) {
        self.permissions.retain(|(known, _)| *known != ip);
        self.permissions.push((ip, now + PERMISSION));
    }

    pub(super) fn has_permission(&self, now: Timestamp, ip: IpAddr) -> bool {
        self.permissions
            .iter()
            .any(|(known, expires)| *known == ip && *expires > now)
    }

    /// Binds or renews a channel, and the permission with it.
    pub(super) fn bind(&mut self, now: Timestamp, number: u16, peer: SocketAddr) -> Result<(), ChannelTaken> {
        self.channels.retain(|one| one.expires > now);
        let is_taken = |one: &Channel| (one.number == number) != (one.peer == peer);
        if self.channels.iter().any(is_taken) {
            return Err(ChannelTaken);
        }
        self.channels.retain(|one| one.number != number);
        self.channels.push(Channel {
            number,
            peer,
            expires: now + CHANNEL,
        });
        self.permit(now, peer.ip());
        Ok(())
    }

    pub(super) fn peer_of(&self, now: Timestamp, number: u16) -> Option<SocketAddr> {
        self.channels
            .iter()
            .find(|one| one.number == number && one.expires > now)
            .map(|one| one.peer)
    }

    pub(super) fn channel_of(&self, now: Timestamp, peer: SocketAddr) -> Option<u16> {
        self.channels
            .iter()
            .find(|one| one.peer == peer && one.expires > now)
            .map(|one| one.number)
    }

    pub(super) fn may_send(&mut self, limits: &TurnLimits, now: Timestamp, bytes: usize) -> bool {
        rate(limits).is_none_or(|rate| self.sending.take(rate, now, bytes as u64))
    }

    pub(super) fn may_receive(&mut self, limits: &TurnLimits, now: Timestamp, bytes: usize) -> bool {
        rate(limits).is_none_or(|rate| self.receiving.take(rate, now, bytes as u64))
    }
}

/// Half a second at once: a keyframe has to pass.
fn rate(limits: &TurnLimits) -> Option<Rate> {
    limits.rate.map(|per_second| Rate {
        per_second,
        burst: per_second / 2,
    })
}
