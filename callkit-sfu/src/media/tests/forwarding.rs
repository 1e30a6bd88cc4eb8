//! Who gets what, in which slot, under which numbers.

use proptest::prelude::*;

use super::world::{Sender, World, down_ssrc, layout, ms, participant};
use crate::layout::{Codec, PeerIndex, Source};
use crate::media::codec::Frame;
use crate::media::{Grant, JoinRefused};

const ONE: PeerIndex = PeerIndex(0);
const TWO: PeerIndex = PeerIndex(1);
const THREE: PeerIndex = PeerIndex(2);

#[test]
fn each_packet_goes_to_each_other_once_with_the_receivers_numbers() {
    let mut world = World::of(3);
    let mut sender = Sender::new(1, Source::Camera, None, 77);
    let bytes = sender.next(true);
    world.rtp(ONE, bytes);
    for (index, who) in [(TWO, 2), (THREE, 3)] {
        let got = world.received(index);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].ssrc, down_ssrc(who, 0, Source::Camera));
        assert_eq!(got[0].payload_type, 96 + who as u8);
        assert!(got[0].marker);
        assert_eq!(Sender::content(&got[0].payload), sender.last_content());
    }
    assert!(world.received(ONE).is_empty());
}

#[test]
fn the_fourth_is_refused_and_the_same_participant_keeps_his_place() {
    let mut world = World::of(3);
    let refused = world
        .room
        .join(world.now, participant(4), layout(4, &[]), Grant::Full);
    assert_eq!(refused, Err(JoinRefused::Full));
    assert_eq!(world.enter(2, &[], Grant::Full), TWO);
    assert_eq!(
        world.room.slots(ONE),
        [Some(participant(2)), Some(participant(3))]
    );
    assert_eq!(
        world.room.slots(TWO),
        [Some(participant(1)), Some(participant(3))]
    );
    assert_eq!(
        world.room.slots(THREE),
        [Some(participant(1)), Some(participant(2))]
    );
}

#[test]
fn a_slot_is_freed_by_leaving_and_kept_for_the_one_who_comes_back() {
    let mut world = World::of(3);
    world.room.leave(world.now, TWO, &mut world.wire);
    assert_eq!(world.room.slots(ONE), [None, Some(participant(3))]);
    assert_eq!(world.room.slots(TWO), [None, None]);
    world.enter(2, &[], Grant::Full);
    assert_eq!(
        world.room.slots(ONE),
        [Some(participant(2)), Some(participant(3))]
    );
    world.room.leave(world.now, TWO, &mut world.wire);
    world.enter(9, &[], Grant::Full);
    assert_eq!(
        world.room.slots(ONE),
        [Some(participant(9)), Some(participant(3))]
    );
    for index in [ONE, TWO, THREE] {
        world.room.leave(world.now, index, &mut world.wire);
    }
    assert!(world.room.is_empty());
    assert_eq!(world.room.poll_timeout(), None);
}

#[test]
fn p34_a_publisher_who_comes_back_continues_under_the_same_ssrc_and_rising_numbers() {
    for full_leave in [false, true] {
        let mut world = World::of(2);
        let mut all = Vec::new();
        for session in 0..3u32 {
            let mut video = Sender::new(1, Source::Camera, None, 77 + session * 1111);
            let mut audio = Sender::new(1, Source::Microphone, None, 78 + session * 1111);
            for at in 0..30 {
                let (picture, sound) = (video.next(at == 0), audio.next(false));
                world.rtp(ONE, picture);
                world.rtp(ONE, sound);
                world.pass(ms(20));
            }
            all.extend(world.received(TWO));
            world.pass(ms(3000));
            if full_leave {
                world.room.leave(world.now, ONE, &mut world.wire);
            }
            world.enter(1, &[], Grant::Full);
        }
        for (source, step) in [(Source::Camera, 90), (Source::Microphone, 48)] {
            let ssrc = down_ssrc(2, 0, source);
            let of: Vec<_> = all.iter().filter(|got| got.ssrc == ssrc).collect();
            assert_eq!(of.len(), 90);
            for pair in of.windows(2) {
                assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
            }
            // 3 s of silence and the 20 ms after the last packet are in the timestamps.
            let gap = of[30].timestamp.wrapping_sub(of[29].timestamp);
            assert_eq!(gap, 3020 * step);
        }
    }
}

#[test]
fn nothing_is_sent_to_a_receiver_that_is_not_ready() {
    let mut world = World::new();
    world.enter(1, &[], Grant::Full);
    let two = world
        .room
        .join(world.now, participant(2), layout(2, &[]), Grant::Full)
        .unwrap();
    let mut sender = Sender::new(1, Source::Microphone, None, 77);
    let bytes = sender.next(false);
    world.rtp(ONE, bytes);
    assert!(world.wire.rtp.is_empty());
    world.room.ready(world.now, two, &mut world.wire);
    let bytes = sender.next(false);
    world.rtp(ONE, bytes);
    assert_eq!(world.received(two).len(), 1);
    world.room.unready(world.now, two, &mut world.wire);
    let bytes = sender.next(false);
    world.rtp(ONE, bytes);
    assert!(world.wire.rtp.is_empty());
}

#[test]
fn a_listener_hears_everything_and_is_heard_by_nobody() {
    let mut world = World::of(2);
    let listener = world.enter(3, &[], Grant::Listen);
    for source in Source::ALL {
        let mut sender = Sender::new(3, source, None, 900 + source.index() as u32);
        for _ in 0..10 {
            let bytes = sender.next(true);
            world.rtp(listener, bytes);
        }
        let mut sender = Sender::new(1, source, None, 500 + source.index() as u32);
        let bytes = sender.next(true);
        world.rtp(ONE, bytes);
    }
    assert_eq!(world.received(listener).len(), 4);
    assert!(world.received(ONE).is_empty());
    assert!(
        world
            .received(TWO)
            .iter()
            .all(|got| Sender::content(&got.payload) < 900 << 16)
    );
    assert_eq!(world.room.stats(listener).drops.refused, 80);
    assert!(world.key_requests(listener).is_empty());
}

#[test]
fn a_whisper_reaches_only_the_one_it_is_meant_for() {
    let mut world = World::of(2);
    let supervisor = world.enter(3, &[], Grant::Whisper { to: participant(2) });
    for source in Source::ALL {
        let mut sender = Sender::new(3, source, None, 900 + source.index() as u32);
        let bytes = sender.next(true);
        world.rtp(supervisor, bytes);
    }
    assert!(world.received(ONE).is_empty());
    let got = world.received(TWO);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].ssrc, down_ssrc(2, 1, Source::Microphone));
    world.room.set_grant(supervisor, Grant::Barge);
    let mut sender = Sender::new(3, Source::Microphone, None, 950);
    let bytes = sender.next(true);
    world.rtp(supervisor, bytes);
    assert_eq!(world.received(ONE).len(), 1);
}

#[test]
fn what_was_withheld_by_a_grant_comes_back_with_a_key_frame() {
    let mut world = World::of(2);
    let mut sender = Sender::new(1, Source::Camera, None, 77);
    let mut granted = Grant::Full;
    for (grant, key, expected) in [
        (Grant::Full, true, 1),
        (Grant::Listen, false, 0),
        (Grant::Full, false, 0),
        (Grant::Full, true, 1),
        (Grant::Full, false, 1),
    ] {
        if granted != grant {
            world.room.set_grant(ONE, grant);
            granted = grant;
        }
        let bytes = sender.next(key);
        world.rtp(ONE, bytes);
        assert_eq!(world.received(TWO).len(), expected);
    }
}

#[test]
fn p11_padding_on_the_media_ssrc_leaves_no_gap_at_the_receiver() {
    let mut world = World::of(2);
    let mut sender = Sender::new(1, Source::Camera, None, 77);
    let mut contents = Vec::new();
    for at in 0..400 {
        let bytes = if at % 3 == 1 {
            sender.padding()
        } else {
            sender.next(at == 0)
        };
        if at % 3 != 1 {
            contents.push(sender.last_content());
        }
        world.rtp(ONE, bytes);
        world.pass(ms(3));
    }
    let got = world.received(TWO);
    assert_eq!(
        got.iter()
            .map(|got| Sender::content(&got.payload))
            .collect::<Vec<_>>(),
        contents
    );
    for pair in got.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        assert_eq!(pair[1].transport_cc, pair[0].transport_cc.wrapping_add(1));
    }
}

#[test]
fn p11_padding_that_comes_late_is_passed_on_as_padding() {
    let mut world = World::of(2);
    let mut sender = Sender::new(1, Source::Camera, None, 77);
    let (first, padding, third) = (sender.next(true), sender.padding(), sender.next(false));
    for bytes in [first, third, padding] {
        world.rtp(ONE, bytes);
    }
    let got = world.received(TWO);
    assert_eq!(got[2].sequence, got[0].sequence.wrapping_add(1));
    assert!(got[2].payload.is_empty());
}

#[test]
fn p12_p13_layers_switch_on_key_frames_without_a_break_in_any_counter() {
    let mut world = World::new();
    world.enter(1, &["l", "m", "h"], Grant::Full);
    world.enter(2, &[], Grant::Full);
    let mut layers = ["l", "m", "h"]
        .map(|rid| Sender::new(1, Source::Camera, Some(rid), 3000 + u32::from(rid.as_bytes()[0])));
    let mut shown = Vec::new();
    // l alone; then m and h join without a key frame until it is asked for; then h dies; then m dies.
    for tick in 0..1200u64 {
        let alive = [true, (100..900).contains(&tick), (200..500).contains(&tick)];
        let asked = world.key_requests(ONE);
        for (layer, sender) in layers.iter_mut().enumerate() {
            if alive[layer] {
                let key = asked.contains(&sender.ssrc) || (layer == 0 && tick == 0);
                let bytes = sender.next(key);
                world.rtp(ONE, bytes);
            }
        }
        world.pass(ms(20));
        shown.extend(world.received(TWO));
    }
    let owner = |content: u32| {
        layers
            .iter()
            .position(|sender| sender.ssrc == content >> 16)
            .unwrap()
    };
    let order: Vec<usize> = shown
        .iter()
        .map(|got| owner(Sender::content(&got.payload)))
        .collect();
    let mut switches = order.clone();
    switches.dedup();
    assert_eq!(switches, [0, 1, 2, 1, 0]);
    for (pair, owners) in shown.windows(2).zip(order.windows(2)) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        let frames = [&pair[0], &pair[1]].map(|got| Frame::read(Codec::Vp8, &got.payload));
        let ids = frames.map(|frame| frame.picture_id.unwrap().value);
        assert_eq!(ids[1], (ids[0] + 1) & 0x7fff);
        assert_eq!(
            frames[1].tl0.unwrap().value,
            frames[0].tl0.unwrap().value.wrapping_add(1)
        );
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        if owners[0] == owners[1] {
            assert_eq!(step, 3000);
        } else {
            assert!(frames[1].starts_keyframe);
            assert!((900..=90_000 * 2).contains(&step), "{step}");
        }
    }
}

#[test]
fn a_codec_that_the_receiver_did_not_agree_to_is_not_sent() {
    let mut world = World::new();
    world.enter(1, &[], Grant::Full);
    let mut other = layout(2, &[]);
    for downlink in other
        .downlinks
        .iter_mut()
        .filter(|downlink| !downlink.source.is_audio())
    {
        downlink.payloads[0].codec = Codec::H264;
    }
    let two = world
        .room
        .join(world.now, participant(2), other, Grant::Full)
        .unwrap();
    world.room.ready(world.now, two, &mut world.wire);
    let bytes = Sender::new(1, Source::Camera, None, 77).next(true);
    world.rtp(ONE, bytes);
    assert!(world.received(two).is_empty());
    assert_eq!(world.room.stats(ONE).drops.not_agreed, 1);
}

#[test]
fn an_idle_room_wants_nothing() {
    let mut world = World::of(3);
    world.pass(ms(0));
    assert_eq!(world.room.poll_timeout(), None);
    let mut sender = Sender::new(1, Source::Camera, None, 77);
    for at in 0..100 {
        let bytes = sender.next(at == 0);
        world.rtp(ONE, bytes);
        world.pass(ms(20));
    }
    world.pass(ms(20_000));
    assert_eq!(world.room.poll_timeout(), None, "nothing flows any more");
}

proptest! {
    #[test]
    fn whatever_the_order_of_arrival_each_packet_is_forwarded_once_under_its_own_number(
        order in Just((0usize..200).collect::<Vec<_>>()).prop_shuffle(), near in 1usize..60, twice in prop::collection::vec(0usize..200, 0..50)
    ) {
        let mut world = World::of(2);
        let mut sender = Sender::new(1, Source::Camera, None, 77);
        // A shuffle within a window, and duplicates.
        let mut arrivals: Vec<(usize, usize)> = order.iter().enumerate().map(|(at, shuffled)| (at + shuffled % near, at)).collect();
        arrivals.extend(twice.iter().map(|at| (at + near, *at)));
        arrivals.sort_unstable();
        let start = sender.next(true);
        world.rtp(ONE, start);
        let packets: Vec<_> = (0..200).map(|_| sender.next(false)).collect();
        for (_, at) in arrivals {
            world.rtp(ONE, packets[at].clone());
            world.pass(ms(1));
        }
        let mut got = world.received(TWO);
        let base = got[0].sequence;
        got.sort_by_key(|got| got.sequence.wrapping_sub(base));
        prop_assert_eq!(got.len(), 201);
        for (at, got) in got.iter().enumerate() {
            prop_assert_eq!(got.sequence, base.wrapping_add(at as u16));
            prop_assert_eq!(Sender::content(&got.payload), (77 << 16) + 1 + at as u32);
        }
    }
}
