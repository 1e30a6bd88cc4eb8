//! When a key frame is asked of a publisher.

use super::world::{Sender, World, down_ssrc, layout, ms, participant};
use crate::layout::{PeerIndex, Source};
use crate::media::Grant;

const ONE: PeerIndex = PeerIndex(0);
const TWO: PeerIndex = PeerIndex(1);

/// A call of two in which one's camera flows to two.
fn flowing() -> (World, Sender) {
    let mut world = World::of(2);
    let mut sender = Sender::new(1, Source::Camera, None, 77);
    let bytes = sender.next(true);
    world.rtp(ONE, bytes);
    assert_eq!(world.received(TWO).len(), 1);
    assert!(world.key_requests(ONE).is_empty(), "it started with a key frame");
    (world, sender)
}

fn pli(world: &mut World) {
    world.rtcp(TWO, |writer| {
        writer.pli(1, down_ssrc(2, 0, Source::Camera));
    });
}

#[test]
fn p22_a_storm_of_requests_becomes_two_a_second_with_the_first_at_once_and_none_lost() {
    let (mut world, mut sender) = flowing();
    pli(&mut world);
    assert_eq!(world.key_requests(ONE), [77]);
    let mut requests = 0;
    for _ in 0..300 {
        pli(&mut world);
        world.pass(ms(10));
        requests += world.key_requests(ONE).len();
    }
    assert!((5..=6).contains(&requests), "{requests} in 3 s");
    // The last one was not answered: it is repeated until the key frame comes.
    world.pass(ms(600));
    assert_eq!(world.key_requests(ONE).len(), 1);
    let bytes = sender.next(true);
    world.rtp(ONE, bytes);
    world.pass(ms(3000));
    assert!(world.key_requests(ONE).is_empty());
}

#[test]
fn p22_a_late_joiner_gets_a_key_frame_although_a_request_was_just_sent_and_lost() {
    let (mut world, mut sender) = flowing();
    pli(&mut world);
    assert_eq!(world.key_requests(ONE).len(), 1);
    // The encoder answers the first request, then the third participant comes, within the throttle.
    let bytes = sender.next(true);
    world.rtp(ONE, bytes);
    world.pass(ms(50));
    let three = world.enter(3, &[], Grant::Full);
    assert!(world.key_requests(ONE).is_empty(), "throttled");
    world.pass(ms(450));
    assert_eq!(world.key_requests(ONE).len(), 1, "trailing edge");
    // That request is lost too; another follows.
    world.pass(ms(500));
    assert_eq!(world.key_requests(ONE).len(), 1);
    let bytes = sender.next(false);
    world.rtp(ONE, bytes);
    assert!(world.received(three).is_empty(), "nothing that cannot be decoded");
    let bytes = sender.next(true);
    world.rtp(ONE, bytes);
    assert_eq!(world.received(three).len(), 1);
}

#[test]
fn full_intra_requests_count_like_picture_losses() {
    let (mut world, _) = flowing();
    world.rtcp(TWO, |writer| {
        writer.fir(1, down_ssrc(2, 0, Source::Camera), 1);
    });
    assert_eq!(world.key_requests(ONE), [77]);
    assert_eq!(world.room.stats(TWO).down.keyframe_requests, 1);
    assert_eq!(world.room.stats(ONE).up.keyframe_requests, 1);
}

#[test]
fn a_request_for_a_stream_of_nobody_is_ignored() {
    let (mut world, _) = flowing();
    world.pass(ms(0));
    world.rtcp(TWO, |writer| {
        writer.pli(1, 77);
        writer.pli(1, down_ssrc(2, 1, Source::Camera));
        writer.pli(1, down_ssrc(1, 0, Source::Camera));
    });
    assert!(world.key_requests(ONE).is_empty());
    assert_eq!(world.room.poll_timeout().map(|due| due > world.now), Some(true));
}

#[test]
fn becoming_ready_asks_the_publishers() {
    let mut world = World::of(1);
    let mut sender = Sender::new(1, Source::Camera, None, 77);
    let bytes = sender.next(true);
    world.rtp(ONE, bytes);
    let two = world
        .room
        .join(world.now, participant(2), layout(2, &[]), Grant::Full)
        .unwrap();
    assert!(world.key_requests(ONE).is_empty());
    world.room.ready(world.now, two, &mut world.wire);
    assert_eq!(world.key_requests(ONE), [77]);
}

#[test]
fn a_changed_path_asks_both_ways() {
    let (mut world, _) = flowing();
    let mut other = Sender::new(2, Source::Camera, None, 88);
    let bytes = other.next(true);
    world.rtp(TWO, bytes);
    world.room.path_changed(world.now, TWO, &mut world.wire);
    assert_eq!(world.key_requests(ONE), [77]);
    assert_eq!(world.key_requests(TWO), [88]);
}

#[test]
fn a_camera_that_is_off_is_not_asked_for_ever() {
    let (mut world, _) = flowing();
    pli(&mut world);
    world.pass(ms(60_000));
    assert_eq!(world.key_requests(ONE).len(), 10);
    assert_eq!(world.room.poll_timeout(), None);
}
