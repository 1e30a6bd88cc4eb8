//! Paths: changes of network, restarts, silence, and those who would take somebody's place.

use super::*;
use crate::transport::ice::{StunKind, peek};

const LOST: fn(u16) -> SfuEvent = |who| SfuEvent::MediaLost {
    room: room(1),
    participant: person(who),
    cause: LossCause::Silent,
    silent_for: Duration::ZERO,
};
const RESTORED: fn(u16) -> SfuEvent = |who| SfuEvent::MediaRestored {
    room: room(1),
    participant: person(who),
};

impl World {
    /// Two people in a talk: 11 with `client`, and 12.
    fn talk_of(client: impl FnOnce(SyntheticClient) -> SyntheticClient) -> Self {
        let mut world = Self::new();
        let first = client(world.client(11));
        world.join_as(room(1), 11, 11, first);
        world.join(room(1), 12);
        world.talk(11, 1, 2);
        world.talk(12, 1, 2);
        world
    }

    /// The client at `from` is at `to` now.
    fn moves(&mut self, from: u16, to: u16) {
        let client = self.clients.remove(&from).unwrap();
        self.clients.insert(to, client);
        self.heard.insert(to, Vec::new());
    }

    /// A sealed packet of the client at `port`, not sent.
    fn sealed(&mut self, port: u16, sequence: u16) -> Vec<u8> {
        let client = self.clients.get_mut(&port).unwrap();
        let packet = client.rtp(Source::Microphone, sequence, u32::from(sequence) * 960, b"sound");
        client.send_rtp(&packet);
        client.poll_transmit().unwrap()
    }

    fn offer_of(&self, port: u16) -> Offer {
        Offer::parse(&self.clients[&port].offer()).unwrap()
    }

    fn restart(&mut self, who: u16, offer: &Offer) -> Result<String, JoinError> {
        self.shard
            .restart(self.now, room(1), person(who), offer, &mut self.batch)
    }

    /// The client at `port` restarts ICE as person `who`.
    fn restart_client(&mut self, port: u16, who: u16) -> Result<String, JoinError> {
        let offer = Offer::parse(&self.clients.get_mut(&port).unwrap().restart()).unwrap();
        let answer = self.restart(who, &offer)?;
        let now = self.now;
        self.clients.get_mut(&port).unwrap().accept(now, &answer).unwrap();
        Ok(answer)
    }

    /// What has been sent to `port` and not delivered.
    fn sent_to(&mut self, port: u16) -> Vec<Vec<u8>> {
        self.batch.flush(&mut self.network);
        let to = |(path, datagram): &(Path, Vec<u8>)| (path.remote.port() == port).then(|| datagram.clone());
        self.network.0.iter().filter_map(to).collect()
    }
}

#[test]
fn a_client_that_checks_seldom_is_followed_within_a_round_trip_of_its_first_packet() {
    let mut world = World::talk_of(SyntheticClient::checking_like_firefox);
    world.moves(11, 31);
    let packet = world.sealed(31, 50);
    world.send(31, packet);
    // What it says is taken at once, what it hears waits for its answer.
    world.settle();
    assert_eq!(world.sounds(12).len(), 3);
    assert!(world.has(&SfuEvent::PathChanged {
        room: room(1),
        participant: person(11)
    }));
    world.talk(12, 10, 3);
    assert_eq!(world.sounds(31).len(), 3);
    let stats = world.shard.stats();
    assert_eq!((stats.probes, stats.from_new_address), (1, 1));
    assert_eq!(stats.drops.total(), 0);
}

#[test]
fn a_packet_copied_and_sent_first_from_elsewhere_moves_nobody_and_amplifies_nothing() {
    let mut world = World::talk_of(|client| client);
    let stolen = world.sealed(11, 50);
    // The thief is faster: authentic, but nobody there answers for the client.
    world.send(666, stolen.clone());
    let (mut received, mut sent) = (stolen.len(), 0);
    for _ in 0..40 {
        let to_thief = world.sent_to(666);
        sent += to_thief.iter().map(Vec::len).sum::<usize>();
        for datagram in &to_thief {
            assert!(
                datagram.first() == Some(&0),
                "something else than a question went to the thief"
            );
        }
        world.network.0.retain(|(path, _)| path.remote.port() != 666);
        received += stolen.len();
        // Sent again it is a replay.
        world.send(666, stolen.clone());
        world.pass(Duration::from_millis(100));
    }
    assert!(sent <= 4 * 120, "{sent} bytes to the thief");
    assert!(sent < received);
    world.talk(12, 60, 3);
    assert!(world.sounds(11).len() >= 3);
    assert!(!world.has(&SfuEvent::PathChanged {
        room: room(1),
        participant: person(11)
    }));
}

#[test]
fn media_of_a_stranger_changes_nothing() {
    let mut world = World::talk_of(|client| client);
    // The SSRC is right, the key is not.
    let mut forged = world.sealed(11, 50);
    *forged.last_mut().unwrap() ^= 1;
    world.send(666, forged);
    // Nobody's SSRC.
    world.send(666, [vec![0x90, 111], vec![9; 60]].concat());
    assert!(world.sent_to(666).is_empty());
    let stats = world.shard.stats();
    assert_eq!(
        (stats.drops.unknown_source, stats.drops.srtp_not_authentic),
        (2, 1)
    );
    assert_eq!(stats.from_new_address, 0);
}

#[test]
fn a_restart_keeps_everything_but_the_credentials_and_the_old_ones_until_the_new_are_used() {
    let mut world = World::talk_of(|client| client);
    let before = world.clients[&11].server().unwrap().clone();
    let offer = Offer::parse(&world.clients.get_mut(&11).unwrap().restart()).unwrap();
    let answer = world.restart(11, &offer).unwrap();
    assert!(
        answer.contains(" 2 IN IP4"),
        "the version of the description rises"
    );
    // Until the client has the answer its path is as good as ever.
    world.talk(12, 10, 2);
    assert_eq!(world.sounds(11).len(), 4);
    let now = world.now;
    let client = world.clients.get_mut(&11).unwrap();
    let after = client.accept(now, &answer).unwrap().clone();
    assert_ne!(before.ufrag, after.ufrag);
    assert_eq!(before.slots, after.slots, "SSRCs are those of before");
    assert_eq!(before.fingerprint, after.fingerprint);
    world.moves(11, 31);
    world.settle();
    world.talk(31, 20, 2);
    world.talk(12, 20, 2);
    assert_eq!((world.sounds(31).len(), world.sounds(12).len()), (2, 4));
    // The old name is nobody's any more.
    assert!(world.shard.directory.named(&before.ufrag).is_none());
    assert!(world.shard.directory.named(&after.ufrag).is_some());
    assert_eq!(world.shard.stats().drops.total(), 0);
}

#[test]
fn p6_a_restart_works_in_every_state_or_says_that_only_a_new_connection_helps() {
    // Before the handshake: the client is there, its datagrams are not.
    let mut world = World::new();
    let mut client = world.client(11);
    let offer = Offer::parse(&client.offer()).unwrap();
    let grant = Grant::Full;
    let joined = world
        .shard
        .join(world.now, room(1), person(11), &offer, grant, &mut world.batch)
        .unwrap();
    client.accept(world.now, &joined.answer).unwrap();
    world.clients.insert(11, client);
    world.heard.insert(11, Vec::new());
    world.restart_client(11, 11).unwrap();
    world.settle();
    assert!(
        world.heard[&11].contains(&ClientEvent::Connected(Profile::Gcm128)),
        "comes up"
    );

    // Connected, twice in a row: the first restart never came about.
    world.join(room(1), 12);
    world.restart_client(11, 11).unwrap();
    world.restart_client(11, 11).unwrap();
    world.settle();
    world.talk(11, 1, 2);
    assert_eq!(world.sounds(12).len(), 2);
    assert_eq!(world.shard.directory.len(), 2 * (1 + 1 + 3));

    // Silent, at a new address.
    world.moves(11, 900);
    let client = world.clients.remove(&900).unwrap();
    world.pass(Duration::from_secs(43));
    assert!(world.has(&LOST(11)));
    world.clients.insert(31, client);
    world.heard.insert(31, Vec::new());
    world.restart_client(31, 11).unwrap();
    // The restart itself keeps the transport for a while.
    world.pass(Duration::from_secs(4));
    world.talk(31, 10, 2);
    assert!(world.has(&RESTORED(11)));
    assert_eq!(world.sounds(12).len(), 4);

    // Another certificate, another layout, nobody, gone.
    let stranger = Offer::parse(&world.client(77).announcing(Fingerprint([9; 32])).offer()).unwrap();
    assert_eq!(world.restart(11, &stranger), Err(JoinError::CannotRestart));
    let mut other = world.offer_of(31);
    other.media[5].mid = "other".to_owned();
    assert_eq!(world.restart(11, &other), Err(JoinError::CannotRestart));
    let offer = world.offer_of(31);
    assert_eq!(world.restart(99, &offer), Err(JoinError::CannotRestart));
    let now = world.now;
    world.clients.get_mut(&31).unwrap().close(now);
    world.settle();
    assert_eq!(world.restart(11, &offer), Err(JoinError::CannotRestart));
    assert_eq!(
        world
            .shard
            .restart(now, room(9), person(11), &offer, &mut world.batch),
        Err(JoinError::CannotRestart)
    );
}

#[test]
fn p5_a_pulled_cable_of_a_muted_participant_shows_within_five_seconds() {
    let mut world = World::talk_of(SyntheticClient::checking_like_firefox);
    // Muted, and there: it answers.
    world.pass(Duration::from_secs(30));
    assert!(!world.has(&LOST(11)));
    let asked = world.shard.stats().own_checks;
    assert!(
        (15..40).contains(&asked),
        "{asked} questions to two quiet clients in 30 s"
    );
    let client = world.clients.remove(&11).unwrap();
    world.pass(Duration::from_millis(2900));
    assert!(!world.has(&LOST(11)));
    world.pass(Duration::from_millis(2200));
    assert!(world.has(&LOST(11)));
    // Back on the same address: it is asked still.
    world.clients.insert(11, client);
    world.pass(Duration::from_secs(3));
    assert!(world.has(&RESTORED(11)));
}

#[test]
fn a_client_that_answers_no_questions_has_the_patience_that_its_own_checks_need() {
    let mut world = World::new();
    let client = world.client(11).checking_like_firefox().without_answers();
    world.join_as(room(1), 11, 11, client);
    world.pass(Duration::from_secs(40));
    assert!(!world.has(&LOST(11)));
    world.clients.remove(&11);
    world.pass(Duration::from_secs(8));
    assert!(!world.has(&LOST(11)));
    world.pass(Duration::from_secs(8));
    assert!(world.has(&LOST(11)));
}

#[test]
fn p5_thirty_seconds_after_the_last_sign_of_life_nothing_is_sent_any_more() {
    let mut world = World::talk_of(|client| client);
    let client = world.clients.remove(&11).unwrap();
    let last = world.now;
    let mut latest = world.now;
    for sequence in 100..1700 {
        world.talk(12, sequence, 1);
        world.now += Duration::from_millis(5);
        if std::mem::take(&mut world.sent) > 0 {
            latest = world.now;
        }
    }
    let quiet = latest - last;
    assert!(
        (Duration::from_secs(28)..Duration::from_millis(30_200)).contains(&quiet),
        "sent for {quiet:?}"
    );
    // A laptop that wakes up before the transport is given up goes on where it was.
    assert!(world.now - last < Duration::from_secs(46));
    world.clients.insert(11, client);
    world.pass(Duration::from_millis(100));
    assert!(world.has(&RESTORED(11)));
    world.talk(12, 2000, 3);
    assert!(world.sounds(11).len() >= 3);
}

#[test]
fn media_from_a_client_without_a_path_leads_to_a_question_and_to_a_path() {
    let mut world = World::talk_of(SyntheticClient::checking_like_firefox);
    let client = world.clients.remove(&11).unwrap();
    world.pass(Duration::from_secs(35));
    world.clients.insert(11, client);
    let packet = world.sealed(11, 900);
    world.send(11, packet);
    world.settle();
    world.talk(12, 100, 3);
    assert!(world.sounds(11).len() >= 3);
}

#[test]
fn nobody_takes_the_address_of_another_with_a_made_up_source() {
    let mut world = World::talk_of(|client| client);
    world.join(room(2), 13);
    let checks = |world: &mut World| {
        let client = world.clients.get_mut(&13).unwrap();
        client.check();
        client.poll_transmit().unwrap()
    };
    let check = checks(&mut world);
    world.send(11, check);
    assert_eq!(world.shard.stats().drops.address_in_use, 1);
    world.settle();
    world.talk(12, 10, 2);
    assert_eq!(world.sounds(11).len(), 4);
    // Once nothing comes from there any more, the address is free: a browser may reuse its port.
    world.clients.remove(&11);
    world.pass(Duration::from_secs(4));
    let check = checks(&mut world);
    world.send(11, check);
    assert_eq!(world.shard.stats().drops.address_in_use, 1);
    assert_eq!(
        world.shard.directory.at(path(11).end()),
        world.shard.directory.at(path(13).end())
    );
}

#[test]
fn p9_forged_packets_of_a_real_stream_leave_it_as_it_was() {
    let mut world = World::talk_of(|client| client);
    let genuine = world.sealed(11, 60);
    for sequence in 0..2000_u16 {
        let mut forged = genuine.clone();
        forged[2..4].copy_from_slice(&sequence.wrapping_mul(31).to_be_bytes());
        world.send(11, forged.clone());
        world.send(666, forged);
    }
    world.send(11, genuine);
    world.settle();
    assert_eq!(world.sounds(12).len(), 3, "the true packet is still heard");
    assert!(
        world.shard.stats().drops.limited > 0,
        "a stranger has no endless attempts"
    );
}

#[test]
fn a_million_forged_datagrams_change_nothing() {
    let mut world = World::talk_of(|client| client);
    let entries = world.shard.directory.len();
    let ufrag = world.clients[&11].server().unwrap().ufrag.clone();
    let media = world.sealed(11, 60);
    let mut check = vec![0, 1, 0, 28, 0x21, 0x12, 0xa4, 0x42];
    check.extend([7; 12]);
    check.extend([0, 6, 0, ufrag.len() as u8]);
    check.extend(ufrag.as_bytes());
    check.extend([0; 8]);
    check[3] = (check.len() - 20) as u8;
    assert!(matches!(peek(&check), StunKind::Request(_)));
    let kinds: [Vec<u8>; 5] = [
        check.clone(),
        [&check[..24], &b"abcdefghijkmnpqr"[..], &check[40..]].concat(),
        [vec![22, 0xfe, 0xff], vec![0; 60]].concat(),
        media,
        vec![0x80; 60],
    ];
    for number in 0..1_000_000_u32 {
        let mut datagram = kinds[number as usize % kinds.len()].clone();
        if let Some(last) = datagram.last_mut() {
            *last ^= 0x55;
        }
        let source = SocketAddr::from(((0x0a00_0000 + number / 50).to_be_bytes(), number as u16));
        world.shard.handle_datagram(
            world.now,
            Path::udp(source, None),
            &mut datagram,
            &mut world.batch,
        );
    }
    world.batch.flush(&mut world.network);
    assert!(world.network.0.is_empty(), "nothing is answered");
    assert_eq!(world.shard.directory.len(), entries);
    assert!(world.shard.poll_event().is_none());
    world.talk(11, 70, 2);
    assert_eq!(world.sounds(12).len(), 4);
}

#[test]
fn p29_ten_thousand_half_open_joins_leave_nothing_behind() {
    let mut world = World::new();
    let offer = Offer::parse(&world.client(11).offer()).unwrap();
    for number in 0..10_000_u32 {
        let to = room(u128::from(number % 40));
        let who = person((number % 120) as u16);
        let joined = world
            .shard
            .join(world.now, to, who, &offer, Grant::Full, &mut world.batch);
        joined.unwrap();
        if number % 3 == 0 {
            world.shard.leave(world.now, to, who, &mut world.batch);
        }
        if number % 1000 == 999 {
            world.pass(Duration::from_secs(25));
        }
        while world.shard.poll_event().is_some() {}
    }
    assert!(world.shard.rooms.len() <= 41);
    assert!(
        world.shard.timers.len() < 2000,
        "{} timers",
        world.shard.timers.len()
    );
    for number in 0..40 {
        world.shard.close_room(world.now, room(number), &mut world.batch);
    }
    world.pass(Duration::from_secs(60));
    let stats = world.shard.stats();
    assert_eq!((stats.rooms, stats.participants), (0, 0));
    assert_eq!(world.shard.directory.len(), 0);
    assert_eq!(world.shard.timers.len(), 0);
}

#[test]
fn p1_a_hello_in_pieces_late_twice_and_in_any_order_still_connects() {
    for lost in 0..5 {
        let mut world = World::new();
        let mut client = world.client(11).with_mtu(90);
        let offer = Offer::parse(&client.offer()).unwrap();
        let joined = world
            .shard
            .join(
                world.now,
                room(1),
                person(11),
                &offer,
                Grant::Full,
                &mut world.batch,
            )
            .unwrap();
        client.accept(world.now, &joined.answer).unwrap();
        client.handle_timeout(world.now);
        let check = client.poll_transmit().unwrap();
        world.send(11, check);
        world.batch.flush(&mut world.network);
        let (_, reply) = world.network.0.pop_front().unwrap();
        client.handle(world.now, &reply);
        let mut hello: Vec<Vec<u8>> = std::iter::from_fn(|| client.poll_transmit()).collect();
        assert!(hello.len() > 1, "the hello is in one piece");
        hello.reverse();
        hello.extend(hello.clone());
        if lost < hello.len() {
            hello.remove(lost);
        }
        for piece in hello {
            world.send(11, piece);
        }
        world.clients.insert(11, client);
        world.heard.insert(11, Vec::new());
        world.pass(Duration::from_secs(3));
        assert!(
            world.heard[&11].contains(&ClientEvent::Connected(Profile::Gcm128)),
            "with piece {lost} lost"
        );
    }
}

#[test]
fn p2_no_datagram_of_the_handshake_is_longer_than_a_path_takes() {
    let mut world = World::new();
    world.join(room(1), 11);
    let mut client = world.client(12);
    let offer = Offer::parse(&client.offer()).unwrap();
    let joined = world
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
    client.accept(world.now, &joined.answer).unwrap();
    let mut longest = 0;
    for _ in 0..200 {
        client.handle_timeout(world.now);
        while let Some(datagram) = client.poll_transmit() {
            world.send(12, datagram);
        }
        world.shard.handle_timeout(world.now, &mut world.batch);
        world.shard.poll_timeout();
        world.batch.flush(&mut world.network);
        while let Some((to, datagram)) = world.network.0.pop_front() {
            if to.remote.port() == 12 {
                longest = longest.max(datagram.len());
                client.handle(world.now, &datagram);
            }
        }
        world.now += Duration::from_millis(10);
    }
    assert!(client.is_connected());
    assert!(longest <= 1200, "{longest} bytes in one datagram");
}

#[test]
fn p3_a_handshake_that_stalls_repeats_at_growing_intervals_and_ends() {
    let mut world = World::new();
    let mut client = world.client(11);
    let offer = Offer::parse(&client.offer()).unwrap();
    let joined = world
        .shard
        .join(
            world.now,
            room(1),
            person(11),
            &offer,
            Grant::Full,
            &mut world.batch,
        )
        .unwrap();
    client.accept(world.now, &joined.answer).unwrap();
    let start = world.now;
    // The client's check and both of its hellos arrive (the second brings the cookie); nothing else does.
    client.handle_timeout(world.now);
    for _ in 0..3 {
        while let Some((_, datagram)) = world.network.0.pop_front() {
            client.handle(world.now, &datagram);
        }
        while let Some(datagram) = client.poll_transmit() {
            world.send(11, datagram);
        }
        world.batch.flush(&mut world.network);
    }
    world.network.0.clear();
    let (mut turns, mut flights) = (0, Vec::new());
    while let Some(due) = world.shard.poll_timeout() {
        world.now = world.now.max(due);
        world.shard.handle_timeout(world.now, &mut world.batch);
        world.batch.flush(&mut world.network);
        let dtls = |(_, datagram): &(Path, Vec<u8>)| datagram.first() == Some(&22);
        if world.network.0.iter().any(dtls) {
            flights.push((world.now - start).as_millis());
        }
        world.network.0.clear();
        turns += 1;
        assert!(turns < 1000, "the timer goes round");
        if world.now - start > Duration::from_secs(60) {
            break;
        }
    }
    assert_eq!(flights, [100, 300, 700, 1500, 3100, 6300, 12_700]);
    while let Some(event) = world.shard.poll_event() {
        world.events.push(event);
    }
    assert!(world.has(&SfuEvent::HandshakeFailed {
        room: room(1),
        participant: person(11),
        reason: HandshakeFailure::TimedOut
    }));
}

#[test]
fn p4_checks_from_many_addresses_never_take_the_path_from_one_that_works() {
    let mut world = World::talk_of(|client| client);
    for port in 100..400 {
        let client = world.clients.get_mut(&11).unwrap();
        // Without a nomination: the client only tries.
        let mut probe = client.probe_without_nomination().unwrap();
        world.shard.handle_datagram(
            world.now,
            Path::udp(address(port), None),
            &mut probe,
            &mut world.batch,
        );
        let packet = world.sealed(11, port);
        world.send(11, packet);
        world.now += Duration::from_millis(20);
    }
    world.settle();
    let before = world.sounds(11).len();
    world.talk(12, 500, 3);
    assert_eq!(world.sounds(11).len(), before + 3);
    assert!(!world.has(&SfuEvent::PathChanged {
        room: room(1),
        participant: person(11)
    }));
    // Two talk, one of them tried much: names, at most eight addresses each, SSRCs.
    assert!(world.shard.directory.len() <= 2 + 9 + 2 * 3);
}

#[test]
fn a_panic_in_the_timer_of_one_room_ends_that_room_only() {
    let mut world = World::talk_of(|client| client);
    world.join(room(2), 13);
    world.join(room(2), 14);
    world.shard.rooms[0].as_deref_mut().unwrap().poisoned_timer = true;
    world.pass(Duration::from_secs(3));
    assert!(world.has(&SfuEvent::RoomFailed { room: room(1) }));
    world.talk(13, 1, 3);
    assert_eq!(world.sounds(14).len(), 3);
}

#[test]
fn a_path_whose_connection_is_closed_gives_way_to_another_that_works() {
    let mut world = World::talk_of(|client| client);
    let tcp = Path {
        remote: address(11),
        local: None,
        via: crate::transport::Via::Tcp(3),
    };
    // The same client checks over TCP too, and nominates that.
    let client = world.clients.get_mut(&11).unwrap();
    client.check();
    let mut check = client.poll_transmit().unwrap();
    world
        .shard
        .handle_datagram(world.now, tcp, &mut check, &mut world.batch);
    world.batch.flush(&mut world.network);
    assert!(
        world.network.0.iter().any(|(to, _)| *to == tcp),
        "answered where it came from"
    );
    world.network.0.clear();
    assert!(world.shard.knows(tcp) && world.shard.knows(path(11)));
    world.shard.path_closed(world.now, tcp, &mut world.batch);
    assert!(!world.shard.knows(tcp));
    world.talk(12, 20, 2);
    assert!(world.network.0.is_empty());
    assert_eq!(world.sounds(11).len(), 4);
}
