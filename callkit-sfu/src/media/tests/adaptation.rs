//! What people see of each other when connections change: two adapt by the encoder, three by layers.

use super::call::Call;
use super::world::{layout, ms, participant};
use crate::layout::{PeerIndex, Source};
use crate::media::{Grant, JoinRefused};

#[test]
fn p19_video_follows_the_capacity_down_and_back_within_ten_seconds_and_sound_is_never_touched() {
    let mut call = Call::of(2);
    call.people[1].down.settings.rate = 3_000_000;
    call.run(12.0);
    let before = call.camera(2, 0).rate_between(call.now - ms(3000), call.now);
    assert!(before > 1_200_000.0, "{before}");

    call.people[1].down.settings.rate = 300_000;
    call.run(15.0);
    let low = call.camera(2, 0).rate_between(call.now - ms(8000), call.now);
    assert!((60_000.0..300_000.0).contains(&low), "{low}");
    let frames = call.camera(2, 0).frames_between(call.now - ms(8000), call.now);
    assert!(frames > 100, "{frames} of 200 frames");

    call.people[1].down.settings.rate = 3_000_000;
    call.run(10.0);
    let after = call.camera(2, 0).rate_between(call.now - ms(1000), call.now);
    assert!(after >= 0.8 * before, "{after} of {before}");
    assert_eq!(
        call.audio_in, call.audio_out,
        "each packet of sound is sent on at once"
    );
    let other = call.camera(1, 0).rate_between(call.now - ms(20_000), call.now);
    assert!(other > 1_200_000.0, "the other direction never noticed: {other}");
}

#[test]
fn a_line_too_poor_for_any_picture_pauses_it_and_says_so_and_the_sound_goes_on() {
    let mut call = Call::of(2);
    call.run(5.0);
    call.people[1].down.settings.rate = 90_000;
    call.run(15.0);
    let two = PeerIndex(1);
    let paused: Vec<_> = call.room.paused(two).collect();
    assert_eq!(paused, [(participant(1), Source::Camera)]);
    let heard = call.people[1].audio[0].len();
    call.run(5.0);
    let heard = call.people[1].audio[0].len() - heard;
    assert!(heard >= 240, "{heard} of 250");
    call.people[1].down.settings.rate = 2_000_000;
    call.run(8.0);
    assert_eq!(call.room.paused(two).count(), 0);
    assert!(call.camera(2, 0).frames_between(call.now - ms(1000), call.now) > 20);
}

#[test]
fn two_people_send_one_layer_and_a_third_switches_on_what_is_needed() {
    let mut call = Call::of(2);
    call.run(6.0);
    assert_eq!(call.active(1), ["h"]);
    call.enter(3, Grant::Full);
    let joined = call.now;
    call.run(1.0);
    for slot in 0..2 {
        let first = call.camera(3, slot).times.first().copied();
        let after = first.map(|first| first - joined);
        assert!(after.is_some_and(|after| after < ms(500)), "{after:?}");
    }
    call.people[2].down.settings.rate = 1_200_000;
    call.run(20.0);
    // He sees both, in less than the full size; they see each other as before.
    assert!(
        call.active(1).contains(&"h") && call.active(1).len() == 2,
        "{:?}",
        call.active(1)
    );
    for slot in 0..2 {
        let layer = call.camera(3, slot).layer;
        assert!(matches!(layer, Some(0 | 1)), "{layer:?}");
    }
    assert_eq!(call.camera(1, 0).layer, Some(2));
    assert_eq!(call.camera(2, 0).layer, Some(2));
    call.room.leave(call.now, PeerIndex(2), &mut call.wire);
    call.people.remove(2);
    call.run(5.0);
    assert_eq!(call.active(1), ["h"], "what nobody needs is off");
    assert_eq!(call.active(2), ["h"]);
}

#[test]
fn one_receivers_bad_line_never_lowers_what_the_other_receives() {
    let mut call = Call::of(3);
    call.run(10.0);
    let before = call.camera(2, 0).rate_between(call.now - ms(3000), call.now);
    assert!(before > 1_100_000.0, "{before}");
    call.people[2].down.settings.rate = 400_000;
    let fall = call.now;
    call.run(20.0);
    let after = call.camera(2, 0).rate_between(fall, call.now);
    assert!(after > 0.95 * before, "{after} of {before}");
    assert_eq!(call.camera(2, 0).layer, Some(2));
    // The poor one sees at least one of them, and not in full size.
    let frames: Vec<usize> = (0..2)
        .map(|slot| call.camera(3, slot).frames_between(call.now - ms(4000), call.now))
        .collect();
    assert!(frames.iter().any(|frames| *frames > 60), "{frames:?}");
    assert_eq!(call.audio_in * 2, call.audio_out);
}

#[test]
fn p13_a_layer_that_dies_is_replaced_by_the_best_that_lives() {
    let mut call = Call::of(3);
    call.people[2].down.settings.rate = 1_000_000;
    call.run(10.0);
    assert!(call.active(1).len() > 1, "{:?}", call.active(1));
    call.stop_layer(1, 2);
    call.run(3.0);
    let frames = call.camera(2, 0).frames_between(call.now - ms(1000), call.now);
    assert!(frames > 20, "{frames}");
    assert!(call.camera(2, 0).layer < Some(2));
}

#[test]
fn a_screen_comes_before_the_camera() {
    let mut call = Call::of(2);
    call.people[1].down.settings.rate = 900_000;
    call.run(8.0);
    call.share(1, 600_000.0);
    call.run(12.0);
    let screen = &call.people[1].video[0][1];
    let frames = screen.frames_between(call.now - ms(4000), call.now);
    assert!(frames > 80, "{frames} of 100");
    let screen = screen.rate_between(call.now - ms(4000), call.now);
    let camera = call.camera(2, 0).rate_between(call.now - ms(4000), call.now);
    assert!(screen > 450_000.0 && camera < screen, "{screen} {camera}");
}

#[test]
fn p19_loss_on_a_publishers_uplink_is_not_blamed_on_its_receivers() {
    let mut call = Call::of(2);
    call.run(8.0);
    let before = call.room.estimate(PeerIndex(1)).unwrap();
    call.people[0].up.settings.loss = 0.2;
    call.run(10.0);
    let after = call.room.estimate(PeerIndex(1)).unwrap();
    assert!(after * 10 >= before * 9, "{after} of {before}");
}

#[test]
fn a_listener_takes_no_place_at_the_others_and_receives_everybody() {
    let mut call = Call::of(2);
    call.enter(3, Grant::Listen);
    call.run(3.0);
    let nobody = call.room.slots(PeerIndex(0));
    assert_eq!(nobody, [Some(participant(2)), None]);
    assert_eq!(
        call.room.slots(PeerIndex(2)),
        [Some(participant(1)), Some(participant(2))]
    );
    for slot in 0..2 {
        assert!(call.camera(3, slot).decoded > 40);
    }
    call.room
        .set_grant(PeerIndex(2), Grant::Whisper { to: participant(2) });
    assert_eq!(call.room.slots(PeerIndex(0)), [Some(participant(2)), None]);
    assert_eq!(
        call.room.slots(PeerIndex(1)),
        [Some(participant(1)), Some(participant(3))]
    );
    call.room.set_grant(PeerIndex(2), Grant::Barge);
    assert_eq!(
        call.room.slots(PeerIndex(0)),
        [Some(participant(2)), Some(participant(3))]
    );
    let barged = call.now;
    call.run(2.0);
    let seen = call.camera(1, 1).times.iter().find(|at| **at >= barged);
    assert!(seen.is_some_and(|at| *at - barged < ms(500)), "{seen:?}");
    call.room.set_grant(PeerIndex(2), Grant::Listen);
    assert_eq!(call.room.slots(PeerIndex(0)), [Some(participant(2)), None]);
}

#[test]
fn p8_of_ten_who_race_for_a_place_exactly_as_many_get_in_as_there_are() {
    let mut call = Call::of(2);
    let tried: Vec<_> = (3..13)
        .map(|who| {
            call.room
                .join(call.now, participant(who), layout(who % 20, &[]), Grant::Full)
        })
        .collect();
    assert_eq!(tried.iter().filter(|tried| tried.is_ok()).count(), 1);
    assert_eq!(
        tried
            .iter()
            .filter(|tried| **tried == Err(JoinRefused::Full))
            .count(),
        9
    );
}

#[test]
fn a_good_line_is_not_probed_without_need_and_padding_stays_small() {
    let mut call = Call::of(2);
    call.run(30.0);
    let padding = call.people[1].padding;
    let packets = call.people[0].up_packets;
    assert!(padding * 20 < packets, "{padding} of {packets}");
}
