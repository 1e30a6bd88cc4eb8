//! Figures and assessments of a talk over lossy links, against what the links did.

use std::collections::BTreeMap;
use std::time::Duration;

use callkit_core::quality::{Cause, Level};
use callkit_core::time::Timestamp;

use super::world::{Link, Sender, World, down_ssrc, ms, participant, read};
use crate::layout::{PeerIndex, Source};
use crate::media::reception::Reception;
use crate::quality::{Assessment, CallQuality, Meter, Quality};
use crate::rtp::Unwrapper;
use crate::rtp::rtcp::{Block, Rtcp};

const EVERY: Duration = Duration::from_secs(2);

/// Loss in percent on the ways of one person.
#[derive(Debug, Clone, Copy, Default)]
struct Loss {
    up: u64,
    down: u64,
}

struct Person {
    index: PeerIndex,
    audio: Sender,
    video: Sender,
    up: Link,
    down: Link,
    received: BTreeMap<u32, (Unwrapper, Reception)>,
    meter: Meter,
}

/// What was measured last and what it was taken for.
type Outcome = (Quality, Assessment);

/// A talk of two for 40 s; both send 50 packets of sound and 50 of video a second, repair what they are
/// asked for and report what they received.
fn talk(losses: [Loss; 2]) -> [Outcome; 2] {
    let mut world = World::of(2);
    let mut people: Vec<Person> = (0..2u64)
        .map(|place| {
            let loss = losses[place as usize];
            let link = |seed, percent| {
                let mut link = Link::new(seed);
                link.loss_percent = percent;
                link
            };
            let who = place + 1;
            Person {
                index: PeerIndex(place as usize),
                audio: Sender::new(who, Source::Microphone, None, 100 * who as u32),
                video: Sender::new(who, Source::Camera, None, 100 * who as u32 + 1),
                up: link(10 + place, loss.up),
                down: link(20 + place, loss.down),
                received: BTreeMap::new(),
                meter: Meter::new(world.now),
            }
        })
        .collect();
    let mut judge = CallQuality::default();
    let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
    for step in 1..=2000u64 {
        for person in &mut people {
            let video = person.video.next(step % 250 == 1);
            person.up.push(world.now, video);
            let audio = person.audio.next(false);
            person.up.push(world.now, audio);
            while let Some(bytes) = person.up.pop(world.now) {
                world.rtp(person.index, bytes);
            }
        }
        world.pass(ms(20));
        let sent: Vec<_> = world.wire.rtp.drain(..).collect();
        for (to, bytes) in sent {
            people[to.0].down.push(world.now, bytes);
        }
        for person in &mut people {
            repair(&mut world, person);
            receive(&world, person);
            if step.is_multiple_of(50) {
                report(&mut world, person);
            }
        }
        if step.is_multiple_of(100) {
            for person in &mut people {
                let (stats, tracks) = (
                    world.room.stats(person.index),
                    world.room.tracks(world.now, person.index),
                );
                let quality = person.meter.measure(world.now, EVERY, &stats, tracks);
                let now = Timestamp::from_millis(step * 20);
                let who = participant(person.index.0 as u64 + 1);
                let assessment = judge.measured(now, who, quality.clone());
                outcomes.insert(person.index.0, (quality, assessment));
            }
        }
    }
    [outcomes.remove(&0).unwrap(), outcomes.remove(&1).unwrap()]
}

fn repair(world: &mut World, person: &mut Person) {
    let asked = world.feedback(person.index, |packet| match packet {
        Rtcp::Nack(nack) => Some(nack.sequences().collect::<Vec<_>>()),
        _ => None,
    });
    for sequence in asked.into_iter().flatten() {
        if let Some(again) = person.video.again(sequence) {
            person.up.push(world.now, again);
        }
    }
}

fn receive(world: &World, person: &mut Person) {
    while let Some(bytes) = person.down.pop(world.now) {
        let got = read(&bytes);
        let source = match got.ssrc % 100 {
            0 => Source::Microphone,
            10 => Source::Camera,
            _ => continue,
        };
        let (numbers, reception) = person.received.entry(got.ssrc).or_default();
        let number = numbers.note(got.sequence);
        reception.note(world.now, number, got.timestamp, source.clock_rate());
    }
}

fn report(world: &mut World, person: &mut Person) {
    let block = |(ssrc, (_, reception)): (&u32, &mut (Unwrapper, Reception))| reception.block(*ssrc);
    let blocks: Vec<Block> = person.received.iter_mut().filter_map(block).collect();
    world.rtcp(person.index, |writer| {
        writer.receiver_report(1, &blocks);
    });
}

fn told(outcome: &Outcome) -> (Level, Option<Cause>) {
    (outcome.1.level, outcome.1.cause)
}

#[test]
fn a_clean_talk_is_measured_as_one() {
    for (quality, assessment) in talk([Loss::default(); 2]) {
        assert_eq!((quality.uplink_loss, quality.downlink_loss), (0.0, 0.0));
        assert!(assessment.score >= 95, "{assessment:?}");
        // Microphone and camera both ways.
        assert_eq!(assessment.tracks.len(), 4, "{assessment:?}");
    }
}

#[test]
fn p19_loss_of_a_publisher_is_not_measured_as_loss_of_the_receivers() {
    let lossy = Loss { up: 15, down: 0 };
    let [anna, irina] = talk([lossy, Loss::default()]);
    assert!((0.1..0.2).contains(&anna.0.uplink_loss), "{:?}", anna.0);
    assert!(irina.0.downlink_loss < 0.01, "{:?}", irina.0);
    assert_eq!(told(&anna), (Level::Poor, Some(Cause::Network)));
    assert_eq!(told(&irina), (Level::Good, None));
}

#[test]
fn p23_loss_to_a_receiver_is_measured_as_the_link_lost() {
    let lossy = Loss { up: 0, down: 15 };
    let [anna, irina] = talk([Loss::default(), lossy]);
    assert!((0.1..0.2).contains(&irina.0.downlink_loss), "{:?}", irina.0);
    assert_eq!(told(&anna), (Level::Good, None));
    assert_eq!(told(&irina), (Level::Poor, Some(Cause::Network)));
}

#[test]
fn p37_more_loss_never_gives_a_higher_score() {
    let scores: Vec<u8> = [0, 2, 5, 12, 30]
        .map(|up| talk([Loss { up, down: 0 }, Loss::default()])[0].1.score)
        .into();
    assert!(scores.windows(2).all(|pair| pair[1] <= pair[0]), "{scores:?}");
    assert!(scores[0] >= 95 && scores[4] < 40, "{scores:?}");
}

#[test]
fn the_places_of_the_test_are_those_of_the_layout() {
    // `receive` tells sources by the last digits.
    assert_eq!(down_ssrc(1, 0, Source::Microphone) % 100, 0);
    assert_eq!(down_ssrc(1, 1, Source::Camera) % 100, 10);
}
