//! Real sockets and threads: two synthetic clients talk through the SFU over loopback.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use callkit_core::id::{IdSource, ParticipantId, RoomId};
use callkit_core::time::{Clock, SystemClock};
use callkit_sfu::control::{JoinRequest, MediaPlane, Sfu, SfuConfig, SfuError, SfuEvent};
use callkit_sfu::layout::Source;
use callkit_sfu::media::Grant;
use callkit_sfu::testing::{ClientEvent, SyntheticClient};
use callkit_sfu::transport::DtlsIdentity;
use tokio::sync::mpsc::Receiver;

/// Longest wait for anything; a machine under load takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(20);

struct Client {
    peer: SyntheticClient,
    socket: UdpSocket,
    server: SocketAddr,
    clock: Arc<SystemClock>,
}

impl Client {
    /// Sends what is to be sent and receives one datagram, or nothing for a few milliseconds.
    fn step(&mut self) -> Option<ClientEvent> {
        let now = self.clock.monotonic();
        self.peer.handle_timeout(now);
        while let Some(datagram) = self.peer.poll_transmit() {
            self.socket.send_to(&datagram, self.server).unwrap();
        }
        let mut buffer = [0; 2000];
        let (length, _) = self.socket.recv_from(&mut buffer).ok()?;
        let event = self.peer.handle(self.clock.monotonic(), &buffer[..length]);
        while let Some(datagram) = self.peer.poll_transmit() {
            self.socket.send_to(&datagram, self.server).unwrap();
        }
        event
    }
}

fn config() -> SfuConfig {
    SfuConfig {
        bind: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        shards: 2,
        ..SfuConfig::default()
    }
}

fn start(config: SfuConfig) -> (Sfu, Receiver<SfuEvent>, Arc<SystemClock>) {
    let clock = Arc::new(SystemClock::new());
    let (sfu, events) = Sfu::start(config, Arc::<SystemClock>::clone(&clock), [7; 32]).unwrap();
    (sfu, events, clock)
}

async fn join(sfu: &Sfu, clock: &Arc<SystemClock>, room: RoomId, number: u64) -> Client {
    let identity = Arc::new(DtlsIdentity::generate().unwrap());
    let mut peer = SyntheticClient::new(identity, IdSource::seeded(number));
    let participant = ParticipantId::from(u128::from(number));
    let request = JoinRequest {
        room,
        participant,
        offer: peer.offer(),
        grant: Grant::Full,
    };
    let joined = sfu.join(request).await.unwrap();
    let server = peer.accept(clock.monotonic(), &joined.answer).unwrap().candidates[0];
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    Client {
        peer,
        socket,
        server,
        clock: Arc::clone(clock),
    }
}

/// Both talk until each has heard `count` different packets of the other; what was heard.
fn talk(clients: &mut [Client; 2], count: usize) -> [Vec<Vec<u8>>; 2] {
    let clock = Arc::clone(&clients[0].clock);
    let end = clock.monotonic() + PATIENCE;
    let mut heard = [Vec::new(), Vec::new()];
    let mut sequence = 0_u16;
    while heard.iter().any(|packets| packets.len() < count) {
        assert!(
            clock.monotonic() < end,
            "heard only {:?}",
            heard.each_ref().map(Vec::len)
        );
        for (number, client) in clients.iter_mut().enumerate() {
            if client.peer.is_connected() {
                let payload = [number as u8, (sequence >> 8) as u8, sequence as u8];
                let packet =
                    client
                        .peer
                        .rtp(Source::Microphone, sequence, u32::from(sequence) * 960, &payload);
                client.peer.send_rtp(&packet);
            }
            if let Some(ClientEvent::Rtp(packet)) = client.step() {
                heard[number].push(packet);
            }
        }
        sequence += 1;
    }
    heard
}

#[tokio::test]
async fn two_clients_hear_each_other_over_loopback() {
    let (sfu, mut events, clock) = start(config());
    let room = RoomId::from(41);
    let mut clients = [
        join(&sfu, &clock, room, 1).await,
        join(&sfu, &clock, room, 2).await,
    ];
    let heard = talk(&mut clients, 50);
    for (number, packets) in heard.iter().enumerate() {
        let ssrc = clients[number].peer.server().unwrap().slots[0].ssrc;
        for pair in packets.windows(2) {
            let sequence = |packet: &[u8]| u16::from_be_bytes([packet[2], packet[3]]);
            assert_eq!(sequence(&pair[1]), sequence(&pair[0]).wrapping_add(1));
        }
        for packet in packets {
            assert_eq!(packet[8..12], ssrc.to_be_bytes());
            assert_eq!(
                packet[packet.len() - 3],
                1 - number as u8,
                "not the other's voice"
            );
        }
    }
    let stats = sfu.stats().await;
    assert_eq!((stats.rooms, stats.participants, stats.drops.total()), (1, 2, 0));
    let mut up = Vec::new();
    while up.len() < 2 {
        if let SfuEvent::MediaUp { participant, .. } = events.recv().await.unwrap() {
            up.push(participant);
        }
    }
    sfu.close_room(room).await;
    assert_eq!(sfu.stats().await.rooms, 0);
    sfu.stop();
}

#[tokio::test]
async fn stopping_says_goodbye_to_the_clients() {
    let (sfu, _events, clock) = start(config());
    let room = RoomId::from(42);
    let mut clients = [
        join(&sfu, &clock, room, 1).await,
        join(&sfu, &clock, room, 2).await,
    ];
    talk(&mut clients, 3);
    sfu.stop();
    let end = clock.monotonic() + PATIENCE;
    for client in &mut clients {
        while client.step() != Some(ClientEvent::Closed) {
            assert!(clock.monotonic() < end);
        }
    }
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let clock = Arc::new(SystemClock::new());
    let refused = Sfu::start(
        SfuConfig {
            port,
            shards: 1,
            ..config()
        },
        clock,
        [7; 32],
    );
    assert!(matches!(refused, Err(SfuError::PortBusy { port: named }) if named == port));
}

#[tokio::test]
async fn a_wildcard_socket_answers_from_the_address_that_was_asked() {
    let (sfu, _events, clock) = start(SfuConfig {
        bind: None,
        shards: 1,
        ..SfuConfig::default()
    });
    let room = RoomId::from(43);
    let mut clients = [
        join(&sfu, &clock, room, 1).await,
        join(&sfu, &clock, room, 2).await,
    ];
    for client in &mut clients {
        // 127.0.0.1 is among the addresses; connected sockets take replies from there only.
        client.server = SocketAddr::from(([127, 0, 0, 1], sfu.listening()[0].port()));
        client.socket.connect(client.server).unwrap();
    }
    let heard = talk(&mut clients, 5);
    assert!(heard.iter().all(|packets| packets.len() >= 5));
    sfu.stop();
}
