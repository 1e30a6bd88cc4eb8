//! The embedded TURN server on real sockets, asked by an independent client (coturn's), and coturn asked with
//! our credentials. Needs the programs of the package `coturn`.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use callkit_core::id::IdSource;
use callkit_core::redact::Secret;
use callkit_core::time::{Clock, SystemClock, Timestamp};
use callkit_sfu::turn::{
    Peers, TurnConfig, TurnCredentials, TurnLimits, TurnSecret, TurnService, TurnStats, TurnTls,
};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Messages of each run of the client.
const MESSAGES: u64 = 20;

fn secret() -> TurnSecret {
    TurnSecret::new(Secret::new("a secret of this test".to_owned()))
}

fn credentials() -> TurnCredentials {
    let expires = SystemClock::new().now() + Duration::from_secs(60);
    secret().issue(expires, "p0123")
}

/// What stands for the media server: sends back what it gets.
fn echo() -> SocketAddr {
    let socket = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            if socket.send_to(&packet[..length], from).is_err() {
                return;
            }
        }
    });
    address
}

fn start(peer: SocketAddr, tls: Option<(u16, TurnTls)>, limits: TurnLimits) -> TurnService {
    let config = TurnConfig {
        bind: Some(LOCALHOST),
        port: 0,
        tls,
        limits,
        ..TurnConfig::default()
    };
    // The client binds a channel to the next port too, although it sends nothing there.
    let next = SocketAddr::new(peer.ip(), peer.port() + 1);
    let peers = Peers::new(&[peer, next], &[]).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    TurnService::start(
        config,
        peers,
        vec![secret()],
        clock,
        IdSource::from_entropy([9; 32]),
    )
    .unwrap()
}

fn self_signed() -> TurnTls {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = made.signing_key.serialize_pem();
    TurnTls::from_pem(made.cert.pem().as_bytes(), key.as_bytes()).unwrap()
}

/// Runs coturn's client against `server`: `MESSAGES` messages to `peer` and back.
fn ask(server: SocketAddr, peer: SocketAddr, credentials: &TurnCredentials, more: &[&str]) -> Output {
    let count = MESSAGES.to_string();
    Command::new("turnutils_uclient")
        .args(["-u", &credentials.username, "-w", credentials.password.expose()])
        .args(["-e", &peer.ip().to_string(), "-r", &peer.port().to_string()])
        .args(["-p", &server.port().to_string(), "-n", &count, "-c", "-z", "5"])
        .args(more)
        .arg(server.ip().to_string())
        .output()
        .expect("turnutils_uclient of the package coturn runs")
}

fn assert_all_came_back(what: &str, output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains(&format!("tot_recv_msgs={MESSAGES}")) && said.contains("Total lost packets 0 "),
        "{what}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn stats(service: &TurnService) -> TurnStats {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(service.stats())
}

#[test]
fn coturns_client_reaches_the_media_server_over_udp_tcp_and_tls() {
    let peer = echo();
    let service = start(peer, Some((0, self_signed())), TurnLimits::default());
    let (plain, tls) = (service.listening(), service.listening_tls().unwrap());
    let pair = credentials();
    let mut relayed = 0;
    let ways: [(&str, SocketAddr, &[&str]); 5] = [
        ("UDP, channels", plain, &[]),
        ("UDP, Send indications", plain, &["-s"]),
        ("TCP, channels", plain, &["-t"]),
        ("TCP, Send indications", plain, &["-t", "-s"]),
        ("TLS, channels", tls, &["-t", "-S"]),
    ];
    for (what, server, more) in ways {
        let output = ask(server, peer, &pair, more);
        relayed += 2 * MESSAGES;
        assert_eq!(stats(&service).packets, relayed, "{what}: relayed");
        // Of a TLS record this client reads the first message only, and what is sent at one time shares one.
        if server == plain {
            assert_all_came_back(what, &output);
        }
    }
    // Over UDP the client leaves its allocations to expire; those of connections end with them.
    while stats(&service).allocations > 2 {}
}

#[test]
fn coturns_client_reaches_nobody_else_and_nothing_without_credentials() {
    let (peer, other) = (echo(), echo());
    let service = start(peer, None, TurnLimits::default());
    let server = service.listening();
    let output = ask(server, other, &credentials(), &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!said.contains(&format!("tot_recv_msgs={MESSAGES}")), "{said}");
    let mut forged = credentials();
    forged.password = Secret::new("guessed".to_owned());
    let output = ask(server, peer, &forged, &[]);
    assert!(!output.status.success());
    assert_eq!(stats(&service).packets, 0);
}

#[test]
fn a_stopped_server_leaves_its_ports() {
    let service = start(echo(), None, TurnLimits::default());
    let address = service.listening();
    drop(service);
    UdpSocket::bind(address).unwrap();
    std::net::TcpListener::bind(address).unwrap();
}

/// Ends the program with the test.
struct Coturn(Child);

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// coturn as docs/operations.md says, with `peer` as the media server.
fn coturn(folder: &std::path::Path, peer: SocketAddr) -> (Coturn, SocketAddr) {
    // A port of the system's choice; free again, and nobody else asks for it meanwhile.
    let address = UdpSocket::bind((LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let file = folder.join("turnserver.conf");
    let text = format!(
        "listening-ip=127.0.0.1\nrelay-ip=127.0.0.1\nlistening-port={}\nrealm=calls.example.com\n\
         use-auth-secret\nstatic-auth-secret=a secret of this test\n\
         denied-peer-ip=0.0.0.0-255.255.255.255\ndenied-peer-ip=::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n\
         allowed-peer-ip={}\nallow-loopback-peers\nno-multicast-peers\nno-tcp-relay\nno-cli\nno-tls\nno-dtls\n\
         min-port=50000\nmax-port=50999\nuserdb={}\npidfile={}\nlog-file={}\nsimple-log\n",
        address.port(),
        peer.ip(),
        folder.join("db").display(),
        folder.join("pid").display(),
        folder.join("log").display(),
    );
    std::fs::write(&file, text).unwrap();
    let child = Command::new("turnserver")
        .arg("-c")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("turnserver of the package coturn runs");
    let mut running = Coturn(child);
    // It says nothing when it is ready, but answers a binding request (RFC 8489 section 5).
    let asking = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    asking.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42], [7_u8; 12].as_slice()].concat();
    let is_up = || {
        // Before it listens, sending or receiving fails.
        asking.send_to(&request, address).is_ok() && asking.recv_from(&mut [0; 200]).is_ok()
    };
    while !is_up() {
        let ended = running.0.try_wait().unwrap();
        assert_eq!(ended, None, "coturn has ended: see {}", file.display());
    }
    (running, address)
}

#[test]
fn coturn_accepts_our_credentials_until_they_expire_and_relays_to_the_media_server_only() {
    let folder = tempfile::tempdir().unwrap();
    let peer = echo();
    let (_running, server) = coturn(folder.path(), peer);
    assert_all_came_back("coturn", &ask(server, peer, &credentials(), &[]));
    let past = SystemClock::new().now().as_millis() - 60_000;
    let expired = secret().issue(Timestamp::from_millis(past), "p0123");
    assert!(!ask(server, peer, &expired, &[]).status.success());
    let elsewhere = SocketAddr::new("127.0.0.2".parse().unwrap(), peer.port());
    let said = ask(server, elsewhere, &credentials(), &[]).stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!said.contains(&format!("tot_recv_msgs={MESSAGES}")), "{said}");
}
