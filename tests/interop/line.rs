//! A line between clients and the SFU: passes datagrams on, and loses every n-th packet of video in either direction.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::UdpSocket;

/// Media packets longer than this are video: those of sound here are shorter.
const VIDEO: usize = 200;
/// Longest datagram; both sides stay below the MTU.
const DATAGRAM: usize = 2048;

/// What happened to video in one direction.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    lost: AtomicU64,
    resent: AtomicU64,
}

impl Tally {
    /// Packets that were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Packets of retransmission (RFC 4588) that came by.
    pub(crate) fn resent(&self) -> u64 {
        self.resent.load(Ordering::Relaxed)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Line {
    lose_each: u64,
    pub(crate) up: Arc<Tally>,
    pub(crate) down: Arc<Tally>,
}

impl Line {
    /// A line that loses every `lose_each`-th packet of video; 0 loses none.
    pub(crate) fn open(lose_each: u64) -> Self {
        Self {
            lose_each,
            up: Arc::default(),
            down: Arc::default(),
        }
    }

    /// The answer with the end of a line in place of `media`.
    pub(crate) async fn lead_through(&self, answer: &str, media: SocketAddr) -> String {
        let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (from, to) = (
            format!(" {} typ", media.port()),
            format!(" {} typ", near.local_addr().unwrap().port()),
        );
        let resending = Arc::new(resending(answer));
        let loss = |tally: &Arc<Tally>| Loss {
            each: self.lose_each,
            seen: 0,
            resending: Arc::clone(&resending),
            tally: Arc::clone(tally),
        };
        tokio::spawn(carry(near, media, loss(&self.up), loss(&self.down)));
        // Only the line leads to the server: a candidate for TCP would lead past it.
        let past = |line: &&str| !(line.starts_with("a=candidate:") && line.contains(" tcp "));
        let lines = answer
            .lines()
            .filter(past)
            .map(|line| match line.starts_with("a=candidate:") {
                true => format!("{}\r\n", line.replace(&from, &to)),
                false => format!("{line}\r\n"),
            });
        lines.collect()
    }
}

/// The payload types of retransmission in an SDP.
fn resending(sdp: &str) -> BTreeSet<u8> {
    let maps = sdp.lines().filter_map(|line| line.strip_prefix("a=rtpmap:"));
    maps.filter_map(|map| map.strip_suffix(" rtx/90000")?.parse().ok())
        .collect()
}

/// Carries datagrams between the client that talks to `near` and `media`.
async fn carry(near: UdpSocket, media: SocketAddr, mut up: Loss, down: Loss) {
    // A socket of its own for each address of the client: the server tells paths apart by theirs.
    let near = Arc::new(near);
    let mut far: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut packet = [0; DATAGRAM];
    while let Ok((length, client)) = near.recv_from(&mut packet).await {
        let socket = match far.get(&client) {
            Some(socket) => Arc::clone(socket),
            None => {
                let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
                far.insert(client, Arc::clone(&socket));
                tokio::spawn(back(Arc::clone(&socket), Arc::clone(&near), client, down.clone()));
                socket
            }
        };
        if up.passes(&packet[..length]) {
            let _ = socket.send_to(&packet[..length], media).await;
        }
    }
}

async fn back(far: Arc<UdpSocket>, near: Arc<UdpSocket>, client: SocketAddr, mut down: Loss) {
    let mut packet = [0; DATAGRAM];
    while let Ok((length, _)) = far.recv_from(&mut packet).await {
        if down.passes(&packet[..length]) {
            let _ = near.send_to(&packet[..length], client).await;
        }
    }
}

/// Which packets are lost.
#[derive(Debug, Clone)]
struct Loss {
    each: u64,
    seen: u64,
    resending: Arc<BTreeSet<u8>>,
    tally: Arc<Tally>,
}

impl Loss {
    fn passes(&mut self, packet: &[u8]) -> bool {
        // Media by its first byte, RTCP by its second (RFC 5761 section 4, RFC 7983 section 7).
        let [128..=191, kind, ..] = *packet else {
            return true;
        };
        if (192..=223).contains(&kind) || packet.len() <= VIDEO {
            return true;
        }
        self.seen += 1;
        // What is sent again is lost like the rest.
        if self.seen.is_multiple_of(self.each) {
            self.tally.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        if self.resending.contains(&(kind & 0x7f)) {
            self.tally.resent.fetch_add(1, Ordering::Relaxed);
        }
        true
    }
}
