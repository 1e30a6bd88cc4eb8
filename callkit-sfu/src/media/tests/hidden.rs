//! A supervisor who listens or whispers leaves no trace in what the others are asked to send.

use super::world::{Sender, World, ms, participant};
use crate::layout::{PeerIndex, Source};
use crate::media::{Demand, Grant};

const ONE: PeerIndex = PeerIndex(0);

/// Three layers of participant 1's camera for a while, each with key frames when asked for; the demands of 1.
fn film(world: &mut World, layers: &mut [Sender; 3], seconds: u64) -> Vec<Demand> {
    let mut demands = Vec::new();
    for _ in 0..seconds * 50 {
        let asked = world.key_requests(ONE);
        for sender in &mut *layers {
            let key = asked.contains(&sender.ssrc);
            let bytes = sender.next(key);
            world.rtp(ONE, bytes);
        }
        world.pass(ms(20));
        while let Some((who, demand)) = world.room.poll_demand() {
            if who == participant(1) {
                demands.push(demand);
            }
        }
    }
    demands
}

#[test]
fn a_hidden_supervisor_changes_nothing_that_others_are_asked_to_send() {
    let mut world = World::new();
    world.enter(1, &["l", "m", "h"], Grant::Full);
    world.enter(2, &[], Grant::Full);
    let mut layers = ["l", "m", "h"]
        .map(|rid| Sender::new(1, Source::Camera, Some(rid), 3000 + u32::from(rid.as_bytes()[0])));
    let talk = film(&mut world, &mut layers, 10);
    assert_eq!(
        talk.last().map(|demand| demand.camera.layers.clone()),
        Some(vec!["h".to_owned()])
    );

    let third = world.enter(3, &[], Grant::Listen);
    assert_eq!(film(&mut world, &mut layers, 10), [], "listening");
    assert!(
        !world.received(third).is_empty(),
        "the supervisor sees what there is"
    );
    world.room.set_grant(third, Grant::Whisper { to: participant(2) });
    assert_eq!(film(&mut world, &mut layers, 5), [], "whispering");
    world.room.unready(world.now, third, &mut world.wire);
    world.room.ready(world.now, third, &mut world.wire);
    assert_eq!(film(&mut world, &mut layers, 5), [], "lost and back");

    world.room.set_grant(third, Grant::Barge);
    let barged = film(&mut world, &mut layers, 5);
    assert!(!barged.is_empty(), "who has joined in counts");
}
