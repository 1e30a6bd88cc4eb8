//! Real sockets: media over TCP and IPv6, a client that moves, an ICE restart, connections that are none of ours.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use callkit_core::id::{IdSource, ParticipantId, RoomId};
use callkit_core::time::{Clock, SystemClock};
use callkit_sfu::control::{JoinRequest, MediaPlane, RestartRequest, Sfu, SfuConfig, SfuEvent, TcpListen};
use callkit_sfu::layout::Source;
use callkit_sfu::media::Grant;
use callkit_sfu::sdp::Candidate;
use callkit_sfu::testing::{ClientEvent, SyntheticClient};
use callkit_sfu::transport::DtlsIdentity;
use callkit_sfu::transport::framing::{Deframer, write_frame};

/// Longest wait for anything; a machine under load takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(5);

enum Carrier {
    Udp(UdpSocket, SocketAddr),
    Tcp(TcpStream, Deframer),
}

impl Carrier {
    fn udp(server: SocketAddr) -> Self {
        let any: IpAddr = if server.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.set_read_timeout(Some(STEP)).unwrap();
        Self::Udp(socket, server)
    }

    fn tcp(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(STEP)).unwrap();
        Self::Tcp(stream, Deframer::default())
    }

    fn send(&mut self, datagram: &[u8]) {
        match self {
            Self::Udp(socket, server) => {
                socket.send_to(datagram, *server).unwrap();
            }
            Self::Tcp(stream, _) => {
                let mut framed = Vec::new();
                write_frame(&mut framed, datagram);
                // In two pieces, so that frames arrive cut.
                let (head, tail) = framed.split_at(framed.len() / 2);
                stream.write_all(head).unwrap();
                stream.write_all(tail).unwrap();
            }
        }
    }

    fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 4096];
        let mut datagrams = Vec::new();
        match self {
            Self::Udp(socket, _) => {
                if let Ok((length, _)) = socket.recv_from(&mut buffer) {
                    datagrams.push(buffer[..length].to_vec());
                }
            }
            Self::Tcp(stream, deframer) => {
                if let Ok(length) = stream.read(&mut buffer) {
                    deframer
                        .push(&mut buffer[..length], |datagram| {
                            datagrams.push(datagram.to_vec())
                        })
                        .unwrap();
                }
            }
        }
        datagrams
    }
}

struct Client {
    peer: SyntheticClient,
    carrier: Carrier,
    participant: ParticipantId,
    clock: Arc<SystemClock>,
    sequence: u16,
}

impl Client {
    /// Sends what is to be sent and takes what is there.
    fn step(&mut self) -> Vec<ClientEvent> {
        self.peer.handle_timeout(self.clock.monotonic());
        self.flush();
        let now = self.clock.monotonic();
        let received = self.carrier.receive();
        let events = received
            .iter()
            .filter_map(|datagram| self.peer.handle(now, datagram))
            .collect();
        self.flush();
        events
    }

    fn flush(&mut self) {
        while let Some(datagram) = self.peer.poll_transmit() {
            self.carrier.send(&datagram);
        }
    }

    fn speak(&mut self) {
        if self.peer.is_connected() {
            let timestamp = u32::from(self.sequence) * 960;
            let payload = [7; 800];
            let packet = self
                .peer
                .rtp(Source::Microphone, self.sequence, timestamp, &payload);
            self.peer.send_rtp(&packet);
            self.sequence = self.sequence.wrapping_add(1);
        }
    }
}

/// A plane that listens on `bind`, over TCP too.
fn plane(bind: Option<IpAddr>) -> (Sfu, tokio::sync::mpsc::Receiver<SfuEvent>, Arc<SystemClock>) {
    let config = SfuConfig {
        bind,
        shards: 1,
        ..SfuConfig::default()
    };
    let clock = Arc::new(SystemClock::new());
    let (sfu, events) = Sfu::start(config, Arc::<SystemClock>::clone(&clock), [7; 32]).unwrap();
    (sfu, events, clock)
}

async fn join(sfu: &Sfu, clock: &Arc<SystemClock>, number: u64, carrier: Carrier) -> Client {
    let identity = Arc::new(DtlsIdentity::generate().unwrap());
    // Seldom checks: what keeps the path has to be the server's doing.
    let mut peer = SyntheticClient::new(identity, IdSource::seeded(number)).checking_like_firefox();
    let participant = ParticipantId::from(u128::from(number));
    let joined = sfu
        .join(JoinRequest {
            room: RoomId::from(41),
            participant,
            offer: peer.offer(),
            grant: Grant::Full,
        })
        .await
        .unwrap();
    peer.accept(clock.monotonic(), &joined.answer).unwrap();
    Client {
        peer,
        carrier,
        participant,
        clock: Arc::clone(clock),
        sequence: 1,
    }
}

/// Both talk until each has heard `count` packets of the other.
fn talk(clients: &mut [Client; 2], count: usize) {
    let clock = Arc::clone(&clients[0].clock);
    let end = clock.monotonic() + PATIENCE;
    let mut heard = [0, 0];
    while heard.iter().any(|packets| *packets < count) {
        assert!(clock.monotonic() < end, "heard only {heard:?}");
        for (number, client) in clients.iter_mut().enumerate() {
            client.speak();
            let is_sound = |event: &ClientEvent| matches!(event, ClientEvent::Rtp(_));
            heard[number] += client.step().iter().filter(|event| is_sound(event)).count();
        }
    }
}

#[tokio::test]
async fn one_talks_over_tcp_and_the_other_over_udp() {
    let (sfu, _events, clock) = plane(Some(Ipv4Addr::LOCALHOST.into()));
    let mut clients = [
        join(&sfu, &clock, 1, Carrier::tcp(sfu.listening_tcp()[0])).await,
        join(&sfu, &clock, 2, Carrier::udp(sfu.listening()[0])).await,
    ];
    talk(&mut clients, 60);
    let stats = sfu.stats().await;
    assert_eq!((stats.tcp_connections, stats.drops.total()), (1, 0));
    assert!(stats.own_answers > 0);
    sfu.stop();
}

#[tokio::test]
async fn both_talk_over_ipv6_one_of_them_over_tcp() {
    let (sfu, _events, clock) = plane(Some(Ipv6Addr::LOCALHOST.into()));
    let mut clients = [
        join(&sfu, &clock, 1, Carrier::udp(sfu.listening()[0])).await,
        join(&sfu, &clock, 2, Carrier::tcp(sfu.listening_tcp()[0])).await,
    ];
    talk(&mut clients, 20);
    sfu.stop();
}

#[tokio::test]
async fn a_wildcard_plane_takes_ipv4_and_ipv6_over_both_transports() {
    let (sfu, _events, clock) = plane(None);
    let at = |ip: IpAddr, of: &SocketAddr| SocketAddr::new(ip, of.port());
    let (v4, v6) = (
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    );
    for (first, second) in [
        (
            Carrier::tcp(at(v4, &sfu.listening_tcp()[0])),
            Carrier::udp(at(v6, &sfu.listening()[0])),
        ),
        (
            Carrier::tcp(at(v6, &sfu.listening_tcp()[0])),
            Carrier::udp(at(v4, &sfu.listening()[0])),
        ),
    ] {
        let mut clients = [
            join(&sfu, &clock, 1, first).await,
            join(&sfu, &clock, 2, second).await,
        ];
        talk(&mut clients, 10);
    }
    sfu.stop();
}

#[tokio::test]
async fn a_client_that_moves_without_a_check_is_followed_and_from_udp_to_tcp_too() {
    let (sfu, _events, clock) = plane(Some(Ipv4Addr::LOCALHOST.into()));
    let mut clients = [
        join(&sfu, &clock, 1, Carrier::udp(sfu.listening()[0])).await,
        join(&sfu, &clock, 2, Carrier::udp(sfu.listening()[0])).await,
    ];
    talk(&mut clients, 10);
    clients[0].carrier = Carrier::udp(sfu.listening()[0]);
    let before = clock.monotonic();
    talk(&mut clients, 5);
    clients[0].carrier = Carrier::tcp(sfu.listening_tcp()[0]);
    talk(&mut clients, 5);
    let took = clock.monotonic() - before;
    assert!(
        took < Duration::from_secs(5),
        "two moves took {took:?}, a check comes every 6 s"
    );
    assert!(sfu.stats().await.probes >= 2);
    sfu.stop();
}

#[tokio::test]
async fn a_restart_moves_a_call_to_new_credentials_and_a_new_connection() {
    let (sfu, mut events, clock) = plane(Some(Ipv4Addr::LOCALHOST.into()));
    let mut clients = [
        join(&sfu, &clock, 1, Carrier::tcp(sfu.listening_tcp()[0])).await,
        join(&sfu, &clock, 2, Carrier::udp(sfu.listening()[0])).await,
    ];
    talk(&mut clients, 10);
    let offer = clients[0].peer.restart();
    let request = RestartRequest {
        room: RoomId::from(41),
        participant: clients[0].participant,
        offer,
    };
    let answer = sfu.restart(request).await.unwrap();
    clients[0].peer.accept(clock.monotonic(), &answer).unwrap();
    clients[0].carrier = Carrier::tcp(sfu.listening_tcp()[0]);
    talk(&mut clients, 10);
    while let Ok(event) = events.try_recv() {
        assert!(
            !matches!(event, SfuEvent::MediaLost { .. }),
            "a restart is no loss"
        );
    }
    sfu.stop();
}

/// Reads until the other side closes; panics if it does not in time.
fn closes(mut stream: TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 64];
    match stream.read(&mut buffer) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("the connection is still open: {other:?}"),
    }
}

#[tokio::test]
async fn a_connection_that_does_not_speak_ice_is_closed_and_too_many_are_not_taken() {
    let (sfu, _events, clock) = plane(Some(Ipv4Addr::LOCALHOST.into()));
    let server = sfu.listening_tcp()[0];
    let mut browser = TcpStream::connect(server).unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    closes(browser);
    // A hundred that say nothing: 64 of one source wait for their proof.
    let silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(server).unwrap()).collect();
    let mut stats = sfu.stats().await;
    let end = clock.monotonic() + PATIENCE;
    while stats.tcp_refused < 37 {
        assert!(clock.monotonic() < end, "{stats:?}");
        stats = sfu.stats().await;
    }
    assert_eq!((stats.tcp_connections, stats.tcp_refused), (64, 37));
    drop(silent);
    // They are gone, and a real one gets in.
    let mut clients = [
        join(&sfu, &clock, 2, Carrier::udp(sfu.listening()[0])).await,
        join(&sfu, &clock, 1, Carrier::tcp(server)).await,
    ];
    talk(&mut clients, 5);
    assert_eq!(sfu.stats().await.tcp_connections, 1);
    sfu.stop();
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_datagrams_and_nobody_else_does() {
    let (sfu, _events, clock) = plane(Some(Ipv4Addr::LOCALHOST.into()));
    let mut clients = [
        join(&sfu, &clock, 1, Carrier::tcp(sfu.listening_tcp()[0])).await,
        join(&sfu, &clock, 2, Carrier::udp(sfu.listening()[0])).await,
    ];
    talk(&mut clients, 5);
    let end = clock.monotonic() + PATIENCE;
    let [_, talker] = &mut clients;
    let mut dropped = 0;
    while dropped == 0 {
        assert!(clock.monotonic() < end, "everything finds room");
        for _ in 0..500 {
            talker.speak();
            talker.flush();
        }
        dropped = sfu.stats().await.drops.send_overflow;
    }
    // Reading again, it hears what is said from then on; the other was never held up.
    talk(&mut clients, 30);
    sfu.stop();
}

#[tokio::test]
async fn a_closed_connection_gives_its_place_free() {
    let (sfu, _events, clock) = plane(Some(Ipv4Addr::LOCALHOST.into()));
    let mut clients = [
        join(&sfu, &clock, 1, Carrier::tcp(sfu.listening_tcp()[0])).await,
        join(&sfu, &clock, 2, Carrier::udp(sfu.listening()[0])).await,
    ];
    talk(&mut clients, 5);
    for _ in 0..20 {
        clients[0].carrier = Carrier::tcp(sfu.listening_tcp()[0]);
        talk(&mut clients, 2);
    }
    assert!(sfu.stats().await.tcp_connections <= 2);
    sfu.stop();
}

#[test]
fn external_addresses_are_announced_for_both_transports_and_families() {
    let config = SfuConfig {
        external: vec!["203.0.113.9".parse().unwrap(), "2001:db8::9".parse().unwrap()],
        bind: Some(Ipv4Addr::LOCALHOST.into()),
        tcp: TcpListen::From(0),
        shards: 1,
        ..SfuConfig::default()
    };
    let (sfu, _events) = Sfu::start(config, Arc::new(SystemClock::new()), [7; 32]).unwrap();
    let (udp, tcp) = (sfu.listening()[0].port(), sfu.listening_tcp()[0].port());
    let announced = sfu.announced(0);
    for ip in ["203.0.113.9", "2001:db8::9", "127.0.0.1"] {
        let ip: IpAddr = ip.parse().unwrap();
        assert!(announced.contains(&Candidate::Udp(SocketAddr::new(ip, udp))));
        assert!(announced.contains(&Candidate::TcpPassive(SocketAddr::new(ip, tcp))));
    }
    assert!(matches!(announced[0], Candidate::Udp(_)));
    sfu.stop();
}
