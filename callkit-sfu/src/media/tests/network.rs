//! Calls over networks that lose, burst, reorder and change.

use super::call::Call;
use super::world::ms;
use crate::layout::PeerIndex;
use crate::testing::{Link, LinkSettings};

/// Share of the frames begun at person two that it could show.
fn shown(call: &Call) -> f64 {
    let camera = call.camera(2, 0);
    camera.decoded as f64 / camera.begun as f64
}

/// Share of person one's sound that person two has, or can make from the packet after it: forward error
/// correction covers one loss in a row.
fn audible(call: &Call) -> f64 {
    let heard = &call.people[1].audio[0];
    let (first, last) = (heard[0], heard[heard.len() - 1]);
    let has = |number: u32| heard.binary_search(&number).is_ok();
    let lost = (first..last)
        .filter(|number| !has(*number) && !has(number + 1))
        .count();
    1.0 - lost as f64 / f64::from(last - first)
}

#[test]
fn at_five_percent_loss_both_ways_ninety_five_of_a_hundred_frames_are_shown() {
    let mut call = Call::of(2);
    for person in &mut call.people {
        person.up.settings.loss = 0.05;
        person.down.settings.loss = 0.05;
    }
    call.run(30.0);
    assert!(shown(&call) >= 0.95, "{}", shown(&call));
    assert!(call.camera(2, 0).decoded >= 700, "{}", call.camera(2, 0).decoded);
}

#[test]
fn at_ten_percent_loss_the_sound_is_whole() {
    let mut call = Call::of(2);
    for person in &mut call.people {
        person.down.settings.loss = 0.1;
    }
    call.run(20.0);
    assert!(audible(&call) >= 0.98, "{}", audible(&call));
    assert_eq!(call.audio_in, call.audio_out);
    assert!(shown(&call) >= 0.9, "{}", shown(&call));
}

#[test]
fn at_thirty_percent_loss_the_call_lives() {
    let mut call = Call::of(2);
    for person in &mut call.people {
        person.down.settings.loss = 0.3;
    }
    call.run(20.0);
    assert!(audible(&call) >= 0.85, "{}", audible(&call));
    let frames = call.camera(2, 0).frames_between(call.now - ms(10_000), call.now);
    assert!(frames > 50, "{frames}");
    assert!(call.room.stats(PeerIndex(1)).down.fraction_lost >= 0.0);
}

#[test]
fn bursts_of_loss_are_repaired() {
    let mut call = Call::of(2);
    for person in &mut call.people {
        person.down.settings.burst_start = 0.01;
        person.down.settings.burst_end = 0.25;
        person.up.settings.burst_start = 0.005;
        person.up.settings.burst_end = 0.25;
    }
    call.run(30.0);
    assert!(shown(&call) >= 0.95, "{}", shown(&call));
}

#[test]
fn p10_loss_over_the_wrap_of_the_numbers_disturbs_nothing() {
    let mut call = Call::of(2);
    call.people[0].up.settings.loss = 0.3;
    call.run(1.0);
    call.people[0].up.settings.loss = 0.0;
    call.run(5.0);
    let frames = call.camera(2, 0).frames_between(call.now - ms(3000), call.now);
    assert!(frames >= 72, "{frames} of 75");
}

#[test]
fn p14_reordering_and_jitter_are_not_taken_for_loss() {
    let mut call = Call::of(2);
    let person = &mut call.people[0];
    person.up.settings.jitter = ms(15);
    person.up.settings.delay = ms(35);
    let slower = LinkSettings {
        delay: ms(42),
        jitter: ms(15),
        ..LinkSettings::default()
    };
    person.late = Some((20, Link::new(slower, 99)));
    call.run(60.0);
    let person = &call.people[0];
    let share = person.nacked as f64 / person.up_packets as f64;
    assert!(share < 0.01, "{} of {}", person.nacked, person.up_packets);
    assert!(shown(&call) >= 0.98, "{}", shown(&call));
}

#[test]
fn p16_repair_goes_on_after_a_time_of_heavy_loss() {
    let mut call = Call::of(2);
    call.run(4.0);
    call.people[1].down.settings.loss = 0.3;
    call.run(5.0);
    call.people[1].down.settings.loss = 0.03;
    call.run(3.0);
    let (begun, decoded) = (call.camera(2, 0).begun, call.camera(2, 0).decoded);
    call.run(10.0);
    let begun = call.camera(2, 0).begun - begun;
    let decoded = call.camera(2, 0).decoded - decoded;
    assert!(decoded * 100 >= begun * 95, "{decoded} of {begun}");
}

#[test]
fn p22_loss_does_not_bring_up_a_storm_of_key_frame_requests() {
    let mut call = Call::of(3);
    for person in &mut call.people {
        person.down.settings.loss = 0.2;
        person.up.settings.loss = 0.1;
    }
    call.run(20.0);
    for person in &call.people {
        for window in person.key_requests.windows(8) {
            // Three layers, each at most every half second.
            assert!(window[7] - window[0] >= ms(490), "{:?}", window[7] - window[0]);
        }
    }
}

#[test]
fn a_changed_path_is_measured_anew() {
    let mut call = Call::of(2);
    call.people[1].down.settings.rate = 3_000_000;
    call.run(10.0);
    call.people[1].down.settings.rate = 500_000;
    call.people[1].down.settings.delay = ms(80);
    call.room.path_changed(call.now, PeerIndex(1), &mut call.wire);
    call.run(8.0);
    let rate = call.camera(2, 0).rate_between(call.now - ms(3000), call.now);
    assert!((150_000.0..500_000.0).contains(&rate), "{rate}");
    let frames = call.camera(2, 0).frames_between(call.now - ms(3000), call.now);
    assert!(frames >= 60, "{frames} of 75");
}
