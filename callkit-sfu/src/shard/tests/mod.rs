//! The shard in virtual time: synthetic clients on an emulated network without loss.

mod paths;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callkit_core::id::{IdSource, ParticipantId, RoomId};

use super::*;
use crate::control::{LossCause, SfuEvent};
use crate::layout::Source;
use crate::testing::{ClientEvent, SyntheticClient};
use crate::transport::HandshakeFailure;
use crate::transport::srtp::Profile;

#[derive(Default)]
struct Network(VecDeque<(Path, Vec<u8>)>);

impl DatagramSink for Network {
    fn send(&mut self, path: Path, datagrams: &[u8], segment: usize) {
        self.0
            .extend(datagrams.chunks(segment).map(|one| (path, one.to_vec())));
    }

    fn max_segments(&self) -> usize {
        16
    }
}

struct World {
    now: Instant,
    /// Datagrams to where nobody is, since somebody asked.
    sent: usize,
    shard: Shard,
    batch: SendBatch,
    network: Network,
    clients: BTreeMap<u16, SyntheticClient>,
    heard: BTreeMap<u16, Vec<ClientEvent>>,
    events: Vec<SfuEvent>,
    identity: Arc<DtlsIdentity>,
}

fn room(number: u128) -> RoomId {
    RoomId::from(number)
}

fn person(number: u16) -> ParticipantId {
    ParticipantId::from(u128::from(number))
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn path(port: u16) -> Path {
    Path::udp(address(port), None)
}

impl World {
    fn new() -> Self {
        let identity = Arc::new(DtlsIdentity::generate().unwrap());
        let config = ShardConfig {
            candidates: vec![Candidate::Udp(address(1))],
            video: CodecSet::default_video(),
            timeouts: MediaTimeouts::default(),
            max_participants: 100,
            epoch: (crate::media::moment(), Timestamp::from_millis(1_800_000_000_000)),
        };
        Self {
            now: crate::media::moment(),
            sent: 0,
            shard: Shard::new(config, Arc::clone(&identity), IdSource::seeded(1)),
            batch: SendBatch::new(),
            network: Network::default(),
            clients: BTreeMap::new(),
            heard: BTreeMap::new(),
            events: Vec::new(),
            identity: Arc::new(DtlsIdentity::generate().unwrap()),
        }
    }

    fn client(&self, number: u16) -> SyntheticClient {
        SyntheticClient::new(
            Arc::clone(&self.identity),
            IdSource::seeded(100 + u64::from(number)),
        )
    }

    /// The client at port `number` joins as person `number`.
    fn join(&mut self, to: RoomId, number: u16) -> Joined {
        let client = self.client(number);
        self.join_as(to, number, number, client)
    }

    fn join_as(&mut self, to: RoomId, port: u16, who: u16, mut client: SyntheticClient) -> Joined {
        let offer = Offer::parse(&client.offer()).unwrap();
        let joined = self
            .shard
            .join(self.now, to, person(who), &offer, Grant::Full, &mut self.batch)
            .unwrap();
        client.accept(self.now, &joined.answer).unwrap();
        self.clients.insert(port, client);
        self.heard.insert(port, Vec::new());
        self.settle();
        joined
    }

    /// Delivers until nothing is under way.
    fn settle(&mut self) {
        loop {
            for client in self.clients.values_mut() {
                client.handle_timeout(self.now);
            }
            let mut up = Vec::new();
            for (port, client) in &mut self.clients {
                while let Some(datagram) = client.poll_transmit() {
                    up.push((*port, datagram));
                }
            }
            let idle = up.is_empty();
            for (port, datagram) in up {
                self.send(port, datagram);
            }
            self.shard.handle_timeout(self.now, &mut self.batch);
            self.shard.poll_timeout();
            self.batch.flush(&mut self.network);
            let none = self.network.0.is_empty();
            while let Some((path, datagram)) = self.network.0.pop_front() {
                let port = path.remote.port();
                if !self.clients.contains_key(&port) {
                    self.sent += 1;
                }
                if let Some(client) = self.clients.get_mut(&port) {
                    let event = client.handle(self.now, &datagram);
                    self.heard.get_mut(&port).unwrap().extend(event);
                }
            }
            while let Some(event) = self.shard.poll_event() {
                self.events.push(event);
            }
            if idle && none {
                return;
            }
        }
    }

    fn send(&mut self, port: u16, mut datagram: Vec<u8>) {
        self.shard
            .handle_datagram(self.now, path(port), &mut datagram, &mut self.batch);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(50);
            self.settle();
        }
    }

    /// Sends `count` packets of 20 ms of sound.
    fn talk(&mut self, port: u16, from: u16, count: u16) {
        for sequence in from..from + count {
            let client = self.clients.get_mut(&port).unwrap();
            let packet = client.rtp(
                Source::Microphone,
                sequence,
                u32::from(sequence) * 960,
                &[port as u8, 1, 2, 3],
            );
            client.send_rtp(&packet);
            self.now += Duration::from_millis(20);
            self.settle();
        }
    }

    fn sounds(&self, port: u16) -> Vec<Vec<u8>> {
        let rtp = |event: &ClientEvent| match event {
            ClientEvent::Rtp(packet) if packet[1] & 0x7f == crate::testing::MICROPHONE_PAYLOAD => {
                Some(packet.clone())
            }
            _ => None,
        };
        self.heard[&port].iter().filter_map(rtp).collect()
    }

    /// Whether it was told, however long nothing had come before a loss was noticed.
    fn has(&self, wanted: &SfuEvent) -> bool {
        self.events.iter().any(|event| {
            let mut event = event.clone();
            if let SfuEvent::MediaLost { silent_for, .. } = &mut event {
                *silent_for = Duration::ZERO;
            }
            event == *wanted
        })
    }
}

#[test]
fn two_people_hear_each_other_with_gcm_although_the_client_prefers_sha1() {
    let mut world = World::new();
    let first = world.join(room(1), 11);
    let second = world.join(room(1), 12);
    assert_eq!(first.slots, [None, None]);
    assert_eq!(second.slots, [Some(person(11)), None]);
    assert!(world.has(&SfuEvent::Slots {
        room: room(1),
        participant: person(11),
        slots: [Some(person(12)), None]
    }));
    assert!(world.heard[&11].contains(&ClientEvent::Connected(Profile::Gcm128)));

    world.talk(11, 100, 5);
    world.talk(12, 200, 3);
    for (from, to, count) in [(11, 12, 5), (12, 11, 3)] {
        let heard = world.sounds(to);
        assert_eq!(heard.len(), count);
        let expected = world.clients[&to].server().unwrap().slots[0].ssrc;
        for packet in heard {
            assert_eq!(packet[8..12], expected.to_be_bytes());
            assert!(packet.ends_with(&[from as u8, 1, 2, 3]));
        }
    }
    for who in [11, 12] {
        assert!(world.has(&SfuEvent::MediaUp {
            room: room(1),
            participant: person(who)
        }));
    }
    assert_eq!(world.shard.stats().drops.total(), 0);
}

#[test]
fn a_grant_that_changes_is_in_force_from_the_next_packet_on() {
    let mut world = World::new();
    for who in [11, 12, 13] {
        world.join(room(1), who);
    }
    let (agent, customer, supervisor) = (11, 12, 13);
    let mut sequence = 100;
    let mut heard = (0, 0);
    for (grant, agent_hears, customer_hears) in [
        (Grant::Listen, false, false),
        (Grant::Whisper { to: person(agent) }, true, false),
        (Grant::Barge, true, true),
        (Grant::Whisper { to: person(agent) }, true, false),
        (Grant::Listen, false, false),
    ] {
        world
            .shard
            .set_grant(room(1), person(supervisor), grant, &mut world.batch);
        world.talk(supervisor, sequence, 3);
        sequence += 3;
        heard.0 += 3 * usize::from(agent_hears);
        heard.1 += 3 * usize::from(customer_hears);
        let now = (world.sounds(agent).len(), world.sounds(customer).len());
        assert_eq!(now, heard, "{grant:?}");
    }
    // Nobody and nothing that is not there.
    world
        .shard
        .set_grant(room(1), person(99), Grant::Full, &mut world.batch);
    world
        .shard
        .set_grant(room(2), person(11), Grant::Full, &mut world.batch);
}

#[test]
fn a_client_without_gcm_talks_with_one_that_has_it() {
    let mut world = World::new();
    world.join(room(1), 11);
    let client = world.client(12).without_gcm();
    world.join_as(room(1), 12, 12, client);
    assert!(world.heard[&12].contains(&ClientEvent::Connected(Profile::Sha1_80)));
    world.talk(11, 100, 3);
    world.talk(12, 100, 3);
    assert_eq!((world.sounds(11).len(), world.sounds(12).len()), (3, 3));
}

#[test]
fn a_hello_over_several_datagrams_still_gets_gcm() {
    let mut world = World::new();
    world.join(room(1), 11);
    let client = world.client(12).with_mtu(80);
    world.join_as(room(1), 12, 12, client);
    assert!(world.heard[&12].contains(&ClientEvent::Connected(Profile::Gcm128)));
    world.talk(11, 1, 2);
    assert_eq!(world.sounds(12).len(), 2);
}

#[test]
fn rooms_do_not_hear_each_other() {
    let mut world = World::new();
    for (to, who) in [(1, 11), (1, 12), (2, 13), (2, 14)] {
        world.join(room(to), who);
    }
    world.talk(11, 1, 4);
    assert_eq!(world.sounds(12).len(), 4);
    assert!(world.sounds(13).is_empty() && world.sounds(14).is_empty());
}

#[test]
fn a_wrong_certificate_fails_the_handshake_and_nobody_hears_it() {
    let mut world = World::new();
    world.join(room(1), 11);
    let client = world.client(12).announcing(Fingerprint([7; 32]));
    world.join_as(room(1), 12, 12, client);
    let reason = HandshakeFailure::FingerprintMismatch;
    assert!(world.has(&SfuEvent::HandshakeFailed {
        room: room(1),
        participant: person(12),
        reason
    }));
    world.talk(12, 1, 3);
    assert!(world.sounds(11).is_empty());
    assert!(!world.has(&SfuEvent::MediaUp {
        room: room(1),
        participant: person(12)
    }));
}

#[test]
fn noise_from_foreign_addresses_is_counted_and_not_answered() {
    let mut world = World::new();
    world.join(room(1), 11);
    world.join(room(1), 12);
    world.talk(11, 1, 2);

    // A check for a real name with a wrong password.
    let mut forger = world.client(11);
    let ufrag = world.clients[&11].server().unwrap().ufrag.clone();
    let forged = format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\n",
        "x".repeat(32),
        world.shard.fingerprint()
    );
    forger.accept(world.now, &forged).unwrap();
    forger.check();
    let check = forger.poll_transmit().unwrap();
    world.send(666, check.clone());
    // The same from the true address of the participant.
    world.send(11, check);
    // Nobody's name, no STUN at all, DTLS and media from elsewhere.
    world.send(
        666,
        vec![
            0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    );
    world.send(666, [vec![22, 0xfe, 0xff], vec![0; 60]].concat());
    world.send(666, [vec![0x90, 111], vec![0; 60]].concat());
    world.send(666, [vec![0x80, 200], vec![0; 60]].concat());
    world.send(666, vec![255; 30]);
    world.send(666, Vec::new());
    // Media that is not authentic from the participant's address.
    world.send(11, [vec![0x80, 111], vec![0; 60]].concat());

    world.batch.flush(&mut world.network);
    assert!(
        world.network.0.iter().all(|(to, _)| to.remote != address(666)),
        "noise was answered"
    );
    let drops = world.shard.stats().drops;
    assert_eq!((drops.stun_not_authentic, drops.stun_malformed), (2, 1));
    assert_eq!(
        (drops.unknown_source, drops.unknown_kind, drops.srtp_not_authentic),
        (3, 2, 1)
    );

    world.settle();
    world.talk(11, 3, 2);
    assert_eq!(world.sounds(12).len(), 4);
}

#[test]
fn a_replayed_packet_is_heard_once() {
    let mut world = World::new();
    world.join(room(1), 11);
    world.join(room(1), 12);
    let client = world.clients.get_mut(&11).unwrap();
    let packet = client.rtp(Source::Microphone, 1, 960, b"once");
    client.send_rtp(&packet);
    let sealed = client.poll_transmit().unwrap();
    world.send(11, sealed.clone());
    world.send(11, sealed);
    world.settle();
    assert_eq!(world.sounds(12).len(), 1);
    assert_eq!(world.shard.stats().drops.srtp_replayed, 1);
}

#[test]
fn a_client_that_moves_is_heard_and_reached_at_its_new_address() {
    let mut world = World::new();
    world.join(room(1), 11);
    world.join(room(1), 12);
    world.talk(12, 1, 2);
    let mut client = world.clients.remove(&11).unwrap();
    client.check();
    world.clients.insert(31, client);
    world.heard.insert(31, Vec::new());
    world.settle();
    assert!(world.has(&SfuEvent::PathChanged {
        room: room(1),
        participant: person(11)
    }));
    world.talk(12, 3, 2);
    world.talk(31, 1, 2);
    assert_eq!((world.sounds(31).len(), world.sounds(12).len()), (2, 2));
}

#[test]
fn silence_is_told_after_three_seconds_and_its_end_too() {
    let mut world = World::new();
    world.join(room(1), 11);
    world.join(room(1), 12);
    world.talk(11, 1, 3);
    let client = world.clients.remove(&11).unwrap();
    world.pass(Duration::from_millis(2900));
    let lost = SfuEvent::MediaLost {
        room: room(1),
        participant: person(11),
        cause: LossCause::Silent,
        silent_for: Duration::ZERO,
    };
    assert!(!world.has(&lost));
    world.pass(Duration::from_millis(300));
    assert!(world.has(&lost));
    world.clients.insert(11, client);
    world.pass(Duration::from_millis(100));
    assert!(world.has(&SfuEvent::MediaRestored {
        room: room(1),
        participant: person(11)
    }));
}

#[test]
fn a_silent_transport_is_given_up_and_the_place_kept() {
    let mut world = World::new();
    world.join(room(1), 11);
    world.join(room(1), 12);
    let client = world.clients.remove(&11).unwrap();
    world.pass(Duration::from_secs(70));
    world.clients.insert(11, client);
    world.pass(Duration::from_secs(5));
    assert!(!world.has(&SfuEvent::MediaRestored {
        room: room(1),
        participant: person(11)
    }));
    let rejoined = world.join_as(room(1), 41, 11, world.client(41));
    assert_eq!(rejoined.slots, [Some(person(12)), None]);
    world.talk(41, 1, 2);
    assert_eq!(world.sounds(12).len(), 2);
}

#[test]
fn a_goodbye_is_told_at_once_and_a_new_join_takes_the_same_place() {
    let mut world = World::new();
    world.join(room(1), 11);
    world.join(room(1), 12);
    world.talk(11, 1, 2);
    let now = world.now;
    world.clients.get_mut(&11).unwrap().close(now);
    world.settle();
    world.clients.remove(&11);
    assert!(world.has(&SfuEvent::MediaLost {
        room: room(1),
        participant: person(11),
        cause: LossCause::Closed,
        silent_for: Duration::ZERO,
    }));

    let ssrc = world.sounds(12)[0][8..12].to_vec();
    world.join_as(room(1), 21, 11, world.client(21));
    world.talk(21, 1, 2);
    let heard = world.sounds(12);
    assert_eq!(heard.len(), 4);
    assert!(
        heard.iter().all(|packet| packet[8..12] == ssrc[..]),
        "the listener's SSRC changed"
    );
    assert_eq!(world.shard.stats().participants, 2);
}

#[test]
fn who_joins_again_says_goodbye_to_the_old_page() {
    let mut world = World::new();
    world.join(room(1), 11);
    world.join_as(room(1), 21, 11, world.client(21));
    assert!(world.heard[&11].contains(&ClientEvent::Closed));
    assert_eq!(world.shard.stats().participants, 1);
}

#[test]
fn a_fourth_person_is_refused_and_changes_nothing() {
    let mut world = World::new();
    for who in [11, 12, 13] {
        world.join(room(1), who);
    }
    let offer = Offer::parse(&world.client(14).offer()).unwrap();
    let refused = world.shard.join(
        world.now,
        room(1),
        person(14),
        &offer,
        Grant::Full,
        &mut world.batch,
    );
    assert_eq!(refused, Err(JoinError::RoomFull));
    assert_eq!(world.shard.stats().participants, 3);
    world.talk(11, 1, 2);
    assert_eq!((world.sounds(12).len(), world.sounds(13).len()), (2, 2));
}

#[test]
fn a_refused_offer_opens_no_room() {
    let mut world = World::new();
    let offer = Offer::parse(&world.client(11).offer_with(&["H265"])).unwrap();
    let refused = world.shard.join(
        world.now,
        room(1),
        person(11),
        &offer,
        Grant::Full,
        &mut world.batch,
    );
    assert!(matches!(refused, Err(JoinError::Offer(_))));
    assert_eq!(world.shard.stats().rooms, 0);
}

#[test]
fn the_second_person_must_be_able_to_do_what_the_first_sends() {
    let mut world = World::new();
    world.join(room(1), 11);
    let offer = Offer::parse(&world.client(12).offer_with(&["H264"])).unwrap();
    let refused = world.shard.join(
        world.now,
        room(1),
        person(12),
        &offer,
        Grant::Full,
        &mut world.batch,
    );
    assert!(matches!(refused, Err(JoinError::Offer(_))));
}

#[test]
fn leaving_frees_everything_and_is_idempotent() {
    let mut world = World::new();
    world.join(room(1), 11);
    world.join(room(1), 12);
    world
        .shard
        .leave(world.now, room(1), person(11), &mut world.batch);
    world
        .shard
        .leave(world.now, room(1), person(11), &mut world.batch);
    world.settle();
    assert!(world.heard[&11].contains(&ClientEvent::Closed));
    assert!(world.has(&SfuEvent::Slots {
        room: room(1),
        participant: person(12),
        slots: [None, None]
    }));
    world.shard.close_room(world.now, room(1), &mut world.batch);
    world.shard.close_room(world.now, room(1), &mut world.batch);
    world.settle();
    assert!(world.heard[&12].contains(&ClientEvent::Closed));
    let shard = &world.shard;
    assert_eq!((shard.stats().rooms, shard.stats().participants), (0, 0));
    assert_eq!(shard.directory.len(), 0);
}

#[test]
fn a_panic_ends_one_room_only() {
    let mut world = World::new();
    for (to, who) in [(1, 11), (1, 12), (2, 13), (2, 14)] {
        world.join(room(to), who);
    }
    world.shard.rooms[0].as_deref_mut().unwrap().poisoned = true;
    world.talk(11, 1, 1);
    assert!(world.has(&SfuEvent::RoomFailed { room: room(1) }));
    world.talk(13, 1, 3);
    assert_eq!(world.sounds(14).len(), 3);
    assert_eq!(world.shard.stats().rooms, 1);
    world.join_as(room(1), 51, 11, world.client(51));
    assert_eq!(world.shard.stats().rooms, 2);
}

#[test]
fn someone_who_sends_nothing_is_up_a_second_after_the_handshake() {
    let mut world = World::new();
    world.join(room(1), 11);
    let up = SfuEvent::MediaUp {
        room: room(1),
        participant: person(11),
    };
    assert!(!world.has(&up));
    world.pass(Duration::from_millis(1100));
    assert!(world.has(&up));
}

#[test]
fn a_client_that_never_comes_fails_the_handshake() {
    let mut world = World::new();
    world.join(room(1), 11);
    let offer = Offer::parse(&world.client(12).offer()).unwrap();
    world
        .shard
        .join(
            world.now,
            room(1),
            person(12),
            &offer,
            Grant::Full,
            &mut world.batch,
        )
        .unwrap();
    world.pass(Duration::from_secs(21));
    let reason = HandshakeFailure::TimedOut;
    assert!(world.has(&SfuEvent::HandshakeFailed {
        room: room(1),
        participant: person(12),
        reason
    }));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_datagrams_from_a_participant_are_survived(datagrams: Vec<Vec<u8>>, kinds: Vec<u8>) {
        let mut world = World::new();
        world.join(room(1), 11);
        world.join(room(1), 12);
        for (mut datagram, kind) in datagrams.into_iter().zip(kinds) {
            datagram.insert(0, kind);
            world.send(11, datagram);
        }
        world.settle();
        proptest::prop_assert_eq!(world.shard.stats().rooms_failed, 0);
        world.talk(12, 1, 2);
        proptest::prop_assert!(world.shard.stats().rooms == 1);
    }
}
