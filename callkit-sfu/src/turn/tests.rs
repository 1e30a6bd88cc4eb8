//! The server in virtual time, asked as a client asks.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callkit_core::id::IdSource;
use callkit_core::redact::Secret;
use callkit_core::time::Timestamp;
use proptest::prelude::*;
use rtc_crypto::RTCCryptoProvider as _;
use rtc_crypto::providers::RingProvider;
use rtc_stun::attributes::{
    ATTR_CHANNEL_NUMBER, ATTR_DATA, ATTR_ERROR_CODE, ATTR_EVEN_PORT, ATTR_LIFETIME, ATTR_NONCE, ATTR_REALM,
    ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_REQUESTED_TRANSPORT, ATTR_RESERVATION_TOKEN, ATTR_USERNAME,
    ATTR_XOR_PEER_ADDRESS, ATTR_XOR_RELAYED_ADDRESS, ATTR_XORMAPPED_ADDRESS, AttrType,
};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{
    BINDING_REQUEST, CLASS_INDICATION, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, METHOD_ALLOCATE,
    METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_REFRESH, METHOD_SEND, Message, MessageType, Method,
    Setter as _, TransactionId,
};
use rtc_stun::xoraddr::XorMappedAddress;

use super::server::{Action, AllocationId, Client, FromPeer, Link, ToPeer, TurnLimits, TurnServer};
use super::{CHANNEL_HEADER, Peers, TurnSecret};

const UDP: [u8; 4] = [17, 0, 0, 0];
const MEDIA: &str = "10.0.0.5:4000";
const MEDIA_V6: &str = "[2001:db8::5]:4000";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn secret() -> TurnSecret {
    TurnSecret::new(Secret::new("the secret of both".to_owned()))
}

/// A server, the time, and one client of it.
struct World {
    server: TurnServer,
    now: Timestamp,
    actions: Vec<Action>,
    transaction: u8,
}

/// What a client knows.
#[derive(Clone)]
struct Person {
    client: Client,
    username: String,
    password: Secret<String>,
    nonce: String,
}

/// An answer, read.
#[derive(Debug)]
struct Reply {
    message: Message,
    code: Option<u16>,
}

impl World {
    fn new() -> Self {
        Self::with(TurnLimits::default(), &[MEDIA, MEDIA_V6])
    }

    fn with(limits: TurnLimits, candidates: &[&str]) -> Self {
        let candidates: Vec<_> = candidates.iter().map(|text| address(text)).collect();
        let now = Timestamp::from_millis(1_767_225_600_000);
        let peers = Peers::new(&candidates, &[]).unwrap();
        Self {
            server: TurnServer::new(limits, peers, vec![secret()], IdSource::seeded(7), now),
            now,
            actions: Vec::new(),
            transaction: 0,
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.server.handle_timeout(self.now, &mut self.actions);
    }

    /// Somebody at an address, with credentials for five minutes and a fresh nonce.
    fn person(&mut self, who: &str, from: &str) -> Person {
        let issued = secret().issue(self.now + Duration::from_secs(300), who);
        let mut person = Person {
            client: client(from),
            username: issued.username,
            password: issued.password,
            nonce: String::new(),
        };
        person.nonce = self.challenge(&person);
        person
    }

    /// The nonce that an unsigned request is answered with.
    fn challenge(&mut self, person: &Person) -> String {
        let request = self
            .request(METHOD_ALLOCATE, &[(ATTR_REQUESTED_TRANSPORT, &UDP)])
            .raw;
        let reply = self.send(person.client, &request).expect("a challenge");
        assert_eq!(reply.code, Some(401));
        assert_eq!(reply.message.get(ATTR_REALM).unwrap(), b"callkit");
        String::from_utf8(reply.message.get(ATTR_NONCE).unwrap()).unwrap()
    }

    fn request(&mut self, method: Method, attributes: &[(AttrType, &[u8])]) -> Message {
        self.transaction += 1;
        let mut message = Message::new();
        message.transaction_id = TransactionId([self.transaction; 12]);
        message.typ = MessageType::new(method, CLASS_REQUEST);
        message.write_header();
        for (kind, value) in attributes {
            message.add(*kind, value);
        }
        message
    }

    /// Sends bytes; opens sockets as a driver does; gives the answer to the client.
    fn send(&mut self, client: Client, bytes: &[u8]) -> Option<Reply> {
        assert_eq!(
            self.server
                .handle_client(self.now, client, bytes, &mut self.actions),
            None
        );
        self.settle(client)
    }

    fn settle(&mut self, client: Client) -> Option<Reply> {
        let mut reply = None;
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                match action {
                    Action::Open { allocation, .. } => {
                        self.server
                            .opened(self.now, allocation, Some(50_000), &mut self.actions);
                    }
                    Action::Send(to, bytes) => {
                        assert_eq!(to, client);
                        reply = Some(Reply::read(bytes));
                    }
                    Action::Close(_) | Action::Disconnect(_) => {}
                }
            }
        }
        reply
    }

    fn signed(&mut self, person: &Person, method: Method, attributes: &[(AttrType, &[u8])]) -> Vec<u8> {
        let mut message = self.request(method, attributes);
        sign(&mut message, person);
        message.raw
    }

    /// The answer to a signed request: its code, 0 for success.
    fn ask(&mut self, person: &Person, method: Method, attributes: &[(AttrType, &[u8])]) -> u16 {
        let request = self.signed(person, method, attributes);
        let reply = self.send(person.client, &request).expect("an answer");
        reply.code.unwrap_or(0)
    }

    fn allocate(&mut self, person: &Person) -> u16 {
        self.ask(person, METHOD_ALLOCATE, &[(ATTR_REQUESTED_TRANSPORT, &UDP)])
    }

    fn permit(&mut self, person: &Person, peer: &str) -> u16 {
        let masked = mask(address(peer), self.transaction + 1);
        self.ask(
            person,
            METHOD_CREATE_PERMISSION,
            &[(ATTR_XOR_PEER_ADDRESS, &masked)],
        )
    }

    fn bind(&mut self, person: &Person, number: u16, peer: &str) -> u16 {
        let masked = mask(address(peer), self.transaction + 1);
        let [high, low] = number.to_be_bytes();
        self.ask(
            person,
            METHOD_CHANNEL_BIND,
            &[
                (ATTR_CHANNEL_NUMBER, &[high, low, 0, 0]),
                (ATTR_XOR_PEER_ADDRESS, &masked),
            ],
        )
    }

    /// What is relayed of a Send indication.
    fn indicate(&mut self, client: Client, peer: &str, data: &[u8]) -> Option<(ToPeer, Vec<u8>)> {
        let mut message = Message::new();
        message.transaction_id = TransactionId([9; 12]);
        message.typ = MessageType::new(METHOD_SEND, CLASS_INDICATION);
        message.write_header();
        message.add(ATTR_XOR_PEER_ADDRESS, &mask(address(peer), 9));
        message.add(ATTR_DATA, data);
        self.relay(client, &message.raw)
    }

    fn channel(&mut self, client: Client, number: u16, data: &[u8]) -> Option<(ToPeer, Vec<u8>)> {
        let mut frame = number.to_be_bytes().to_vec();
        frame.extend((data.len() as u16).to_be_bytes());
        frame.extend(data);
        self.relay(client, &frame)
    }

    fn relay(&mut self, client: Client, bytes: &[u8]) -> Option<(ToPeer, Vec<u8>)> {
        let relayed = self
            .server
            .handle_client(self.now, client, bytes, &mut self.actions)?;
        assert!(self.actions.is_empty(), "data is not answered");
        let data = bytes[relayed.data.clone()].to_vec();
        Some((relayed, data))
    }

    fn take_from_peer(
        &mut self,
        allocation: AllocationId,
        peer: &str,
        data: &[u8],
    ) -> Option<(Client, Vec<u8>)> {
        let mut packet = vec![0; CHANNEL_HEADER];
        packet.extend(data);
        let (client, framed) =
            self.server
                .handle_peer(self.now, allocation, 0, address(peer), &mut packet)?;
        Some((client, framed.bytes().to_vec()))
    }
}

impl Reply {
    fn read(raw: Vec<u8>) -> Self {
        let mut message = Message {
            raw,
            ..Message::default()
        };
        message.decode().unwrap();
        let code = message.get(ATTR_ERROR_CODE).ok();
        let code = code.map(|value| u16::from(value[2]) * 100 + u16::from(value[3]));
        assert_eq!(code.is_none(), message.typ.class == CLASS_SUCCESS_RESPONSE);
        Self { message, code }
    }

    fn address(&self, kind: AttrType) -> SocketAddr {
        let mut found = XorMappedAddress::default();
        found.get_from_as(&self.message, kind).unwrap();
        SocketAddr::new(found.ip, found.port)
    }

    fn lifetime(&self) -> u32 {
        let value = self.message.get(ATTR_LIFETIME).unwrap();
        u32::from_be_bytes(value.try_into().unwrap())
    }
}

fn client(from: &str) -> Client {
    Client {
        link: Link::Datagram,
        remote: address(from),
        local: None,
    }
}

fn sign(message: &mut Message, person: &Person) {
    let provider = RingProvider::new();
    let integrity = MessageIntegrity::new_long_term_integrity_with_provider(
        person.username.clone(),
        "callkit".to_owned(),
        person.password.expose().clone(),
        provider.crypto(),
    )
    .unwrap();
    message.add(ATTR_USERNAME, person.username.as_bytes());
    message.add(ATTR_REALM, b"callkit");
    message.add(ATTR_NONCE, person.nonce.as_bytes());
    integrity.add_to(message).unwrap();
}

/// XOR-ed as an attribute of the message with that transaction.
fn mask(peer: SocketAddr, transaction: u8) -> Vec<u8> {
    let mut message = Message::new();
    message.transaction_id = TransactionId([transaction; 12]);
    message.write_header();
    let masked = XorMappedAddress {
        ip: peer.ip(),
        port: peer.port(),
    };
    masked.add_to_as(&mut message, ATTR_XOR_PEER_ADDRESS).unwrap();
    message.get(ATTR_XOR_PEER_ADDRESS).unwrap()
}

#[test]
fn a_binding_request_is_answered_with_the_address_that_it_came_from() {
    let mut world = World::new();
    let mut request = world.request(BINDING_REQUEST.method, &[]);
    FINGERPRINT.add_to(&mut request).unwrap();
    for from in ["192.0.2.1:5000", "[2001:db8::9]:5000"] {
        let reply = world.send(client(from), &request.raw).unwrap();
        assert_eq!(reply.address(ATTR_XORMAPPED_ADDRESS), address(from));
        FINGERPRINT.check(&reply.message).unwrap();
    }
}

#[test]
fn an_allocation_relays_both_ways_by_indications_and_by_channels() {
    let mut world = World::new();
    let anna = world.person("anna", "192.0.2.1:5000");
    let request = world.signed(&anna, METHOD_ALLOCATE, &[(ATTR_REQUESTED_TRANSPORT, &UDP)]);
    let reply = world.send(anna.client, &request).unwrap();
    assert_eq!(reply.code, None);
    assert_eq!(reply.address(ATTR_XOR_RELAYED_ADDRESS), address("10.0.0.5:50000"));
    assert_eq!(reply.address(ATTR_XORMAPPED_ADDRESS), anna.client.remote);
    assert_eq!(reply.lifetime(), 600);

    assert_eq!(world.permit(&anna, MEDIA), 0);
    let (relayed, data) = world.indicate(anna.client, MEDIA, b"check").unwrap();
    assert_eq!((relayed.target, relayed.via), (address(MEDIA), 0));
    assert_eq!(data, b"check");
    let (to, framed) = world
        .take_from_peer(relayed.allocation, MEDIA, b"answer")
        .unwrap();
    assert_eq!(to, anna.client);
    let indication = Reply::read_indication(framed);
    assert_eq!(indication.address(ATTR_XOR_PEER_ADDRESS), address(MEDIA));
    assert_eq!(indication.message.get(ATTR_DATA).unwrap(), b"answer");

    assert_eq!(world.bind(&anna, 0x4001, MEDIA), 0);
    let (relayed, data) = world.channel(anna.client, 0x4001, b"media").unwrap();
    assert_eq!(
        (relayed.target, data.as_slice()),
        (address(MEDIA), b"media".as_slice())
    );
    let (_, framed) = world.take_from_peer(relayed.allocation, MEDIA, b"more").unwrap();
    assert_eq!(framed, b"\x40\x01\x00\x04more");
    let stats = world.server.stats();
    assert_eq!((stats.allocations, stats.packets, stats.bytes), (1, 4, 20));
}

impl Reply {
    fn read_indication(raw: Vec<u8>) -> Self {
        let mut message = Message {
            raw,
            ..Message::default()
        };
        message.decode().unwrap();
        assert_eq!(message.typ.class, CLASS_INDICATION);
        Self { message, code: None }
    }
}

#[test]
fn a_repeated_allocate_gets_the_same_answer_and_another_one_a_mismatch() {
    let mut world = World::new();
    let anna = world.person("anna", "192.0.2.1:5000");
    let request = world.signed(&anna, METHOD_ALLOCATE, &[(ATTR_REQUESTED_TRANSPORT, &UDP)]);
    let first = world.send(anna.client, &request).unwrap().message.raw;
    let again = world.send(anna.client, &request).unwrap().message.raw;
    assert_eq!(first, again);
    assert_eq!(world.allocate(&anna), 437);
    assert_eq!(world.server.stats().allocations, 1);
}

#[test]
fn without_valid_credentials_nothing_is_allocated() {
    let mut world = World::new();
    let anna = world.person("anna", "192.0.2.1:5000");
    let other = TurnSecret::new(Secret::new("another secret".to_owned()));
    let forged = other.issue(world.now + Duration::from_secs(300), "anna");
    let wrong = |password: &Secret<String>, username: &str| Person {
        password: password.clone(),
        username: username.to_owned(),
        ..anna.clone()
    };
    let expired = secret().issue(world.now, "anna");
    let prolonged = anna.username.replace("17672259", "17672269");
    for (person, why) in [
        (wrong(&forged.password, &anna.username), "another secret"),
        (wrong(&expired.password, &expired.username), "expired"),
        (
            wrong(&anna.password, &prolonged),
            "a later end with the same password",
        ),
        (wrong(&anna.password, "anna"), "a name without an end"),
    ] {
        assert_eq!(world.allocate(&person), 401, "{why}");
    }
    assert_eq!(world.server.stats().allocations, 0);
    assert_eq!(world.server.stats().refused, 4);
    assert_eq!(world.allocate(&anna), 0);
}

#[test]
fn a_signed_request_without_name_realm_or_nonce_is_a_bad_one() {
    let mut world = World::new();
    let anna = world.person("anna", "192.0.2.1:5000");
    let provider = RingProvider::new();
    let mut request = world.request(METHOD_ALLOCATE, &[(ATTR_USERNAME, anna.username.as_bytes())]);
    MessageIntegrity::new_raw_integrity_with_provider(vec![1; 16], provider.crypto())
        .add_to(&mut request)
        .unwrap();
    assert_eq!(world.send(anna.client, &request.raw).unwrap().code, Some(400));
}

#[test]
fn a_nonce_is_good_for_an_hour_and_for_its_source_only() {
    let mut world = World::new();
    let mut anna = world.person("anna", "192.0.2.1:5000");
    let request = world.signed(
        &Person {
            client: client("192.0.2.9:5000"),
            ..anna.clone()
        },
        METHOD_ALLOCATE,
        &[],
    );
    let reply = world.send(client("192.0.2.9:5000"), &request).unwrap();
    assert_eq!(reply.code, Some(438));
    assert_eq!(world.allocate(&anna), 0);
    let lifetime = 600_u32.to_be_bytes();
    for _ in 0..8 {
        world.pass(500);
        let code = world.ask(&anna, METHOD_REFRESH, &[(ATTR_LIFETIME, &lifetime)]);
        if code == 438 {
            let request = world.signed(&anna, METHOD_REFRESH, &[]);
            let reply = world.send(anna.client, &request).unwrap();
            anna.nonce = String::from_utf8(reply.message.get(ATTR_NONCE).unwrap()).unwrap();
            let code = world.ask(&anna, METHOD_REFRESH, &[(ATTR_LIFETIME, &lifetime)]);
            return assert_eq!(code, 0, "the call has outlived its credentials and goes on");
        }
        assert_eq!(code, 0);
    }
    panic!("the nonce was good for more than an hour");
}

#[test]
fn credentials_of_another_name_do_not_touch_an_allocation() {
    let mut world = World::new();
    let anna = world.person("anna", "192.0.2.1:5000");
    let oleg = Person {
        client: anna.client,
        ..world.person("oleg", "192.0.2.1:5001")
    };
    assert_eq!(world.allocate(&anna), 0);
    assert_eq!(world.ask(&oleg, METHOD_REFRESH, &[(ATTR_LIFETIME, &[0; 4])]), 441);
    assert_eq!(world.permit(&oleg, MEDIA), 441);
    assert_eq!(world.server.stats().allocations, 1);
}

#[test]
fn a_refresh_prolongs_and_a_refresh_of_zero_ends() {
    let mut world = World::new();
    let anna = world.person("anna", "192.0.2.1:5000");
    assert_eq!(world.ask(&anna, METHOD_REFRESH, &[]), 437);
    assert_eq!(world.allocate(&anna), 0);
    world.pass(599);
    // However much is asked for, ten minutes are given.
    let much = 86_400_u32.to_be_bytes();
    let request = world.signed(&anna, METHOD_REFRESH, &[(ATTR_LIFETIME, &much)]);
    assert_eq!(world.send(anna.client, &request).unwrap().lifetime(), 600);
    world.pass(599);
    assert_eq!(world.server.stats().allocations, 1);
    let request = world.signed(&anna, METHOD_REFRESH, &[(ATTR_LIFETIME, &[0; 4])]);
    world
        .server
        .handle_client(world.now, anna.client, &request, &mut world.actions);
    assert!(matches!(world.actions.first(), Some(Action::Close(_))));
    assert_eq!(world.settle(anna.client).unwrap().lifetime(), 0);
    assert_eq!(world.server.stats().allocations, 0);
    assert_eq!(world.server.next_timeout(), None);
}

#[test]
fn what_is_not_refreshed_ends_after_ten_minutes() {
    let mut world = World::new();
    let stream = Client {
        link: Link::Stream(3),
        ..client("192.0.2.1:5000")
    };
    let anna = Person {
        client: stream,
        ..world.person("anna", "192.0.2.1:5000")
    };
    assert_eq!(world.allocate(&anna), 0);
    assert_eq!(
        world.server.next_timeout(),
        Some(world.now + Duration::from_secs(600))
    );
    world.pass(600);
    assert!(matches!(world.actions[..], [Action::Close(_), Action::Disconnect(one)] if one == stream));
    assert!(!world.server.has_allocation(&stream));
}

#[test]
fn an_allocation_ends_with_its_connection() {
    let mut world = World::new();
    let anna = world.person("anna", "192.0.2.1:5000");
    assert_eq!(world.allocate(&anna), 0);
    world.server.disconnected(&anna.client, &mut world.actions);
    assert!(matches!(world.actions[..], [Action::Close(_)]));
    assert_eq!(world.server.stats().allocations, 0);
}

#[test]
fn p35_the_relay_leads_to_the_media_server_and_nowhere_else() {
    let mut world = World::new();
    let anna = world.person("anna", "192.0.2.1:5000");
    assert_eq!(world.allocate(&anna), 0);
    for forbidden in [
        "127.0.0.1:4000",
        "0.0.0.0:4000",
        "[::1]:4000",
        "[::]:4000",
        "[::ffff:127.0.0.1]:4000",
        "[::ffff:10.0.0.5]:4000",
        "10.0.0.6:4000",
        "172.16.0.1:80",
        "192.168.1.1:80",
        "169.254.169.254:80",
        "100.64.0.1:53",
        "224.0.0.1:4000",
        "[fc00::1]:4000",
        "[64:ff9b::a00:5]:4000",
        "203.0.113.7:443",
    ] {
        assert_eq!(world.permit(&anna, forbidden), 403, "permission for {forbidden}");
        assert_eq!(
            world.bind(&anna, 0x4000, forbidden),
            403,
            "channel to {forbidden}"
        );
        assert_eq!(world.indicate(anna.client, forbidden, b"x"), None, "{forbidden}");
    }
    // The address of the media server with another port, or with its own relayed address.
    for port in ["10.0.0.5:22", "10.0.0.5:50000"] {
        assert_eq!(world.bind(&anna, 0x4000, port), 403);
        assert_eq!(
            world.permit(&anna, port),
            0,
            "the port of a permission does not count"
        );
        assert_eq!(world.indicate(anna.client, port, b"x"), None);
    }
    assert!(world.indicate(anna.client, MEDIA, b"x").is_some());
    // Nor does anything come in from elsewhere.
    let (relayed, _) = world.indicate(anna.client, MEDIA, b"x").unwrap();
    for source in ["10.0.0.5:22", "10.0.0.6:4000", "127.0.0.1:4000"] {
        assert_eq!(
            world.take_from_peer(relayed.allocation, source, b"x"),
            None,
            "{source}"
        );
    }
}

#[test]
fn nothing_is_relayed_without_a_permission_and_one_lasts_five_minutes() {
    let mut world = World::new();
    let anna = world.person("anna", "192.0.2.1:5000");
    assert_eq!(world.allocate(&anna), 0);
    assert_eq!(world.indicate(anna.client, MEDIA, b"x"), None);
    assert_eq!(world.permit(&anna, MEDIA), 0);
    let (relayed, _) = world.indicate(anna.client, MEDIA, b"x").unwrap();
    world.pass(299);
    assert!(world.indicate(anna.client, MEDIA, b"x").is_some());
    world.pass(1);
    assert_eq!(world.indicate(anna.client, MEDIA, b"x"), None);
    assert_eq!(world.take_from_peer(relayed.allocation, MEDIA, b"x"), None);
}

#[test]
fn a_channel_lasts_ten_minutes_and_belongs_to_one_peer() {
    let mut world = World::with(TurnLimits::default(), &[MEDIA, "10.0.0.5:4001"]);
    let anna = world.person("anna", "192.0.2.1:5000");
    assert_eq!(world.allocate(&anna), 0);
    assert_eq!(world.channel(anna.client, 0x4000, b"x"), None);
    assert_eq!(world.bind(&anna, 0x4000, MEDIA), 0);
    assert_eq!(world.bind(&anna, 0x4000, "10.0.0.5:4001"), 400);
    assert_eq!(world.bind(&anna, 0x4001, MEDIA), 400);
    for bad in [0x3fff, 0x8000, 0xffff] {
        assert_eq!(world.bind(&anna, bad, MEDIA), 400);
    }
    assert!(world.channel(anna.client, 0x4000, b"x").is_some());
    world.pass(299);
    assert_eq!(world.permit(&anna, MEDIA), 0);
    world.pass(299);
    assert_eq!(world.ask(&anna, METHOD_REFRESH, &[]), 0);
    assert!(world.channel(anna.client, 0x4000, b"x").is_some());
    world.pass(2);
    assert_eq!(world.channel(anna.client, 0x4000, b"x"), None);
    assert_eq!(world.bind(&anna, 0x4001, MEDIA), 0, "the peer is free again");
}

#[test]
fn allocations_are_limited_per_person_per_source_and_in_all() {
    let limits = TurnLimits {
        per_user: 2,
        per_source: 3,
        total: 4,
        rate: None,
    };
    let mut world = World::with(limits, &[MEDIA]);
    let mut allocate = |who: &str, from: &str| {
        let person = world.person(who, from);
        (world.allocate(&person), person)
    };
    assert_eq!(allocate("anna", "192.0.2.1:1").0, 0);
    let (code, second) = allocate("anna", "192.0.2.1:2");
    assert_eq!(code, 0);
    assert_eq!(allocate("anna", "192.0.2.2:3").0, 486, "of one person");
    assert_eq!(allocate("oleg", "192.0.2.1:4").0, 0);
    assert_eq!(allocate("vera", "192.0.2.1:5").0, 486, "from one source");
    assert_eq!(allocate("vera", "192.0.2.3:6").0, 0);
    assert_eq!(allocate("ivan", "192.0.2.4:7").0, 508, "in all");
    assert_eq!(world.ask(&second, METHOD_REFRESH, &[(ATTR_LIFETIME, &[0; 4])]), 0);
    let anna = world.person("anna", "192.0.2.2:8");
    assert_eq!(world.allocate(&anna), 0, "what has ended counts no more");
}

#[test]
fn what_is_not_offered_is_refused_with_the_code_for_it() {
    let mut world = World::with(TurnLimits::default(), &[MEDIA]);
    let anna = world.person("anna", "192.0.2.1:5000");
    let transport = (ATTR_REQUESTED_TRANSPORT, UDP.as_slice());
    let token = [0_u8; 8];
    type Attributes<'a> = &'a [(AttrType, &'a [u8])];
    let rows: [(Attributes<'_>, u16); 7] = [
        (&[], 400),
        (&[(ATTR_REQUESTED_TRANSPORT, &[6, 0, 0, 0])], 442),
        (&[transport, (ATTR_REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0])], 440),
        (&[transport, (ATTR_REQUESTED_ADDRESS_FAMILY, &[9, 0, 0, 0])], 440),
        (&[transport, (ATTR_EVEN_PORT, &[0x80])], 508),
        (&[transport, (ATTR_RESERVATION_TOKEN, &token)], 508),
        (&[transport, (AttrType(0x7abc), &[1])], 420),
    ];
    for (attributes, code) in rows {
        assert_eq!(
            world.ask(&anna, METHOD_ALLOCATE, attributes),
            code,
            "{attributes:?}"
        );
    }
    assert_eq!(world.server.stats().allocations, 0);
    let attributes = [transport, (ATTR_EVEN_PORT, [0].as_slice())];
    assert_eq!(
        world.ask(&anna, METHOD_ALLOCATE, &attributes),
        0,
        "an even port alone"
    );
}

#[test]
fn an_allocation_is_of_one_family() {
    let mut world = World::new();
    let anna = world.person("anna", "[2001:db8::9]:5000");
    let v6 = (ATTR_REQUESTED_ADDRESS_FAMILY, [2, 0, 0, 0].as_slice());
    assert_eq!(
        world.ask(&anna, METHOD_ALLOCATE, &[(ATTR_REQUESTED_TRANSPORT, &UDP), v6]),
        0
    );
    assert_eq!(world.permit(&anna, MEDIA), 443);
    assert_eq!(world.bind(&anna, 0x4000, MEDIA), 443);
    assert_eq!(world.bind(&anna, 0x4000, MEDIA_V6), 0);
    let (relayed, _) = world.channel(anna.client, 0x4000, b"x").unwrap();
    assert_eq!(relayed.target, address(MEDIA_V6));
    assert_eq!(
        world.ask(
            &anna,
            METHOD_REFRESH,
            &[(ATTR_REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0])]
        ),
        443
    );
}

#[test]
fn a_machine_without_sockets_says_so_and_forgets_the_allocation() {
    let mut world = World::new();
    let anna = world.person("anna", "192.0.2.1:5000");
    let request = world.signed(&anna, METHOD_ALLOCATE, &[(ATTR_REQUESTED_TRANSPORT, &UDP)]);
    world
        .server
        .handle_client(world.now, anna.client, &request, &mut world.actions);
    let [Action::Open { allocation, .. }] = world.actions[..] else {
        panic!("{:?}", world.actions)
    };
    world.actions.clear();
    world
        .server
        .opened(world.now, allocation, None, &mut world.actions);
    assert_eq!(world.settle(anna.client).unwrap().code, Some(508));
    assert_eq!(world.server.stats().allocations, 0);
}

#[test]
fn strangers_get_a_bounded_number_of_small_answers() {
    let mut world = World::new();
    let request = world
        .request(METHOD_ALLOCATE, &[(ATTR_REQUESTED_TRANSPORT, &UDP)])
        .raw;
    let (mut answers, mut bytes) = (0, 0);
    for _ in 0..10_000 {
        if let Some(reply) = world.send(client("192.0.2.1:5000"), &request) {
            answers += 1;
            bytes = bytes.max(reply.message.raw.len());
        }
    }
    assert!(answers <= 200, "{answers} answers");
    assert!(bytes <= 3 * request.len(), "{bytes} bytes for {}", request.len());
    // On a connection the source is real: it is closed instead.
    let stream = Client {
        link: Link::Stream(1),
        ..client("192.0.2.1:5000")
    };
    world
        .server
        .handle_client(world.now, stream, &request, &mut world.actions);
    assert_eq!(world.actions, [Action::Disconnect(stream)]);
}

#[test]
fn an_allocation_carries_no_more_than_its_rate() {
    let limits = TurnLimits {
        rate: Some(10_000),
        ..TurnLimits::default()
    };
    let mut world = World::with(limits, &[MEDIA]);
    let anna = world.person("anna", "192.0.2.1:5000");
    assert_eq!(world.allocate(&anna), 0);
    assert_eq!(world.bind(&anna, 0x4000, MEDIA), 0);
    let mut relayed = 0;
    for _ in 0..10 {
        relayed += (0..100)
            .filter(|_| world.channel(anna.client, 0x4000, &[0; 100]).is_some())
            .count();
        world.pass(1);
    }
    // Half a second's worth at once, then the rate, of which no more than half a second is saved up.
    assert_eq!(relayed, 10 * 50);
}

#[test]
fn data_and_requests_of_others_do_not_reach_an_allocation() {
    let mut world = World::new();
    let anna = world.person("anna", "192.0.2.1:5000");
    assert_eq!(world.allocate(&anna), 0);
    assert_eq!(world.bind(&anna, 0x4000, MEDIA), 0);
    let elsewhere = client("192.0.2.1:5001");
    assert_eq!(world.channel(elsewhere, 0x4000, b"x"), None);
    assert_eq!(world.indicate(elsewhere, MEDIA, b"x"), None);
    let by_stream = Client {
        link: Link::Stream(1),
        ..anna.client
    };
    assert_eq!(world.channel(by_stream, 0x4000, b"x"), None);
}

#[test]
fn two_secrets_are_valid_while_one_replaces_the_other() {
    let mut world = World::new();
    let old = TurnSecret::new(Secret::new("old".to_owned()));
    let peers = Peers::new(&[address(MEDIA)], &[]).unwrap();
    world.server = TurnServer::new(
        TurnLimits::default(),
        peers,
        vec![secret(), old.clone()],
        IdSource::seeded(1),
        world.now,
    );
    let mut anna = world.person("anna", "192.0.2.1:5000");
    let issued = old.issue(world.now + Duration::from_secs(60), "anna");
    (anna.username, anna.password) = (issued.username, issued.password);
    assert_eq!(world.allocate(&anna), 0);
    let oleg = world.person("oleg", "192.0.2.1:5001");
    assert_eq!(world.allocate(&oleg), 0);
}

proptest! {
    #[test]
    fn no_bytes_make_it_allocate_relay_or_answer_more_than_was_sent(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in prop::sample::select(vec![0_u16, 1, 3, 4, 8, 9, 0x16, 0x4000, 0x0101]),
    ) {
        let mut world = World::new();
        let mut framed = kind.to_be_bytes().to_vec();
        framed.extend((bytes.len() as u16).to_be_bytes());
        framed.extend([0x21, 0x12, 0xa4, 0x42]);
        framed.extend(&bytes);
        for datagram in [&bytes, &framed] {
            let mut out = Vec::new();
            let relayed = world.server.handle_client(world.now, client("192.0.2.1:5000"), datagram, &mut out);
            prop_assert_eq!(relayed, None);
            for action in out {
                match action {
                    Action::Send(_, answer) => prop_assert!(answer.len() <= 120),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}

/// The addresses that a NAT stands for are told apart from what is behind it.
#[test]
fn an_answer_of_an_external_address_comes_from_it() {
    let external: IpAddr = "203.0.113.9".parse().unwrap();
    let candidates = [address("203.0.113.9:4000"), address(MEDIA)];
    let mut world = World::new();
    let peers = Peers::new(&candidates, &[external]).unwrap();
    world.server = TurnServer::new(
        TurnLimits::default(),
        peers,
        vec![secret()],
        IdSource::seeded(1),
        world.now,
    );
    let anna = world.person("anna", "192.0.2.1:5000");
    assert_eq!(world.allocate(&anna), 0);
    assert_eq!(world.bind(&anna, 0x4000, "203.0.113.9:4000"), 0);
    assert_eq!(world.bind(&anna, 0x4001, MEDIA), 0);
    let (outer, _) = world.channel(anna.client, 0x4000, b"x").unwrap();
    let (inner, _) = world.channel(anna.client, 0x4001, b"x").unwrap();
    assert_eq!((outer.target, inner.target), (address(MEDIA), address(MEDIA)));
    for (via, number) in [(outer.via, 0x40), (inner.via, 0x41)] {
        let mut packet = *b"....y";
        let from = world
            .server
            .handle_peer(world.now, outer.allocation, via, address(MEDIA), &mut packet);
        let Some((_, FromPeer::Channel(framed))) = from else {
            panic!("not relayed")
        };
        assert_eq!(u16::from_be_bytes([framed[0], framed[1]]), 0x4000 + (number & 1));
    }
}
