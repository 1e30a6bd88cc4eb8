//! Losses on either side and their repair by retransmission.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{Got, Link, Sender, World, down_ssrc, ms, read};
use crate::layout::{PeerIndex, Source};
use crate::rtp::rtcp::{Compound, Rtcp};

const ONE: PeerIndex = PeerIndex(0);
const TWO: PeerIndex = PeerIndex(1);

/// A receiver that asks for what is missing, like a browser, every 20 ms and up to ten times.
#[derive(Default)]
struct Receiver {
    got: BTreeMap<u16, Got>,
    rtx: u32,
    duplicates: u32,
    asked: BTreeMap<u16, u32>,
    first: Option<u16>,
    highest: u16,
}

impl Receiver {
    fn take(&mut self, mut got: Got) {
        if got.ssrc == down_ssrc(2, 0, Source::Camera) + 1 {
            assert_eq!(got.payload_type, 103);
            self.rtx += 1;
            got.sequence = u16::from_be_bytes([got.payload[0], got.payload[1]]);
            got.payload.drain(..2);
        }
        let first = *self.first.get_or_insert(got.sequence);
        if got.sequence.wrapping_sub(first) > self.highest {
            self.highest = got.sequence.wrapping_sub(first);
        }
        if let Some(before) = self.got.insert(got.sequence, got.clone()) {
            self.duplicates += 1;
            assert_eq!(
                (before.timestamp, before.payload, before.marker),
                (got.timestamp, got.payload, got.marker)
            );
        }
    }

    fn missing(&mut self) -> Vec<u16> {
        let Some(first) = self.first else {
            return Vec::new();
        };
        let all = (0..self.highest).map(|ahead| first.wrapping_add(ahead));
        let mut asked = Vec::new();
        for sequence in all.filter(|sequence| !self.got.contains_key(sequence)) {
            let times = self.asked.entry(sequence).or_default();
            if *times < 10 {
                *times += 1;
                asked.push(sequence);
            }
        }
        asked
    }
}

struct Call {
    world: World,
    sender: Sender,
    receiver: Receiver,
    up: Link,
    back: Link,
    down: Link,
    asked_of_sender: BTreeMap<u16, u32>,
    retransmitted: u32,
}

impl Call {
    fn new(seed: u64) -> Self {
        Self {
            world: World::of(2),
            sender: Sender::new(1, Source::Camera, None, 77),
            receiver: Receiver::default(),
            up: Link::new(seed),
            back: Link::new(seed + 1),
            down: Link::new(seed + 2),
            asked_of_sender: BTreeMap::new(),
            retransmitted: 0,
        }
    }

    /// `packets` packets at 200 a second, then two seconds of silence but for a trickle that shows the end.
    fn run(&mut self, packets: usize) {
        for at in 0..packets + 100 {
            if at < packets || at % 10 == 0 {
                let bytes = self.sender.next(at == 0);
                if at == 0 || at >= packets {
                    // The edges are not what is tested.
                    self.world.rtp(ONE, bytes);
                } else {
                    self.up.push(self.world.now, bytes);
                }
            }
            for _ in 0..if at < packets { 5 } else { 20 } {
                self.millisecond();
            }
            if at % 4 == 0 {
                let missing = self.receiver.missing();
                self.world.rtcp(TWO, |writer| {
                    writer.nack(9, down_ssrc(2, 0, Source::Camera), missing.into_iter());
                });
            }
        }
    }

    fn millisecond(&mut self) {
        self.world.pass(ms(1));
        let now = self.world.now;
        for (to, compound) in std::mem::take(&mut self.world.wire.rtcp) {
            if to == ONE {
                self.back.push(now, compound);
            }
        }
        while let Some(compound) = self.back.pop(now) {
            for packet in Compound::new(&compound) {
                let Rtcp::Nack(nack) = packet else { continue };
                assert_eq!(nack.media(), 77);
                for sequence in nack.sequences() {
                    *self.asked_of_sender.entry(sequence).or_default() += 1;
                    if let Some(again) = self.sender.again(sequence) {
                        self.retransmitted += 1;
                        self.up.push(now, again);
                    }
                }
            }
        }
        while let Some(bytes) = self.up.pop(now) {
            self.world.rtp(ONE, bytes);
        }
        for (to, bytes) in std::mem::take(&mut self.world.wire.rtp) {
            assert_eq!(to, TWO);
            self.down.push(now, bytes);
        }
        while let Some(bytes) = self.down.pop(now) {
            self.receiver.take(read(&bytes));
        }
    }

    fn contents(&self) -> BTreeSet<u32> {
        self.receiver
            .got
            .values()
            .map(|got| Sender::content(&got.payload))
            .collect()
    }
}

#[test]
fn loss_on_the_downlink_is_repaired_from_the_cache() {
    let mut call = Call::new(1);
    call.down.loss_percent = 10;
    call.run(1000);
    let stats = call.world.room.stats(TWO).down;
    assert!(call.down.lost > 70 && call.receiver.rtx > 60);
    assert_eq!(call.receiver.missing(), Vec::<u16>::new());
    assert_eq!(call.contents().len(), usize::from(call.receiver.highest) + 1);
    // A NACK that crosses its answer is not answered twice.
    assert!(
        stats.retransmissions <= call.down.lost * 3 / 2,
        "{stats:?} for {} lost",
        call.down.lost
    );
    assert_eq!(
        call.retransmitted, 0,
        "the publisher is not asked for what the receiver lost"
    );
}

#[test]
fn loss_on_the_uplink_is_asked_for_and_repaired_in_its_place() {
    let mut call = Call::new(2);
    call.up.loss_percent = 10;
    call.run(1000);
    let lost = call.up.lost;
    assert!(lost > 70);
    assert_eq!(call.receiver.missing(), Vec::<u16>::new());
    assert_eq!(call.contents().len(), usize::from(call.receiver.highest) + 1);
    let in_order: Vec<u32> = {
        let first = call.receiver.first.unwrap();
        let mut all: Vec<_> = call.receiver.got.values().collect();
        all.sort_by_key(|got| got.sequence.wrapping_sub(first));
        all.iter().map(|got| Sender::content(&got.payload)).collect()
    };
    assert!(in_order.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert!(
        u64::from(call.retransmitted) < lost * 3 / 2,
        "{} for {lost} lost",
        call.retransmitted
    );
    assert!(call.world.room.stats(ONE).up.lost > 50);
}

#[test]
fn p14_loss_with_reordering_and_duplicates_on_all_links_is_repaired() {
    for seed in 10..20 {
        let mut call = Call::new(seed);
        for link in [&mut call.up, &mut call.back, &mut call.down] {
            link.loss_percent = 5;
            link.duplicate_percent = 3;
            link.jitter = ms(15);
        }
        call.run(600);
        assert_eq!(call.receiver.missing().len(), 0, "seed {seed}");
        assert_eq!(call.contents().len(), usize::from(call.receiver.highest) + 1);
    }
}

#[test]
fn p22_a_packet_that_never_comes_is_not_asked_for_for_ever() {
    let mut call = Call::new(3);
    let start = call.sender.next(true);
    call.world.rtp(ONE, start);
    let gone: Vec<_> = (0..5).map(|_| call.sender.next(false)).collect();
    assert_eq!(gone.len(), 5);
    call.sender.history.clear();
    call.run(300);
    assert_eq!(call.asked_of_sender.len(), 5);
    assert!(
        call.asked_of_sender.values().all(|times| *times <= 8),
        "{:?}",
        call.asked_of_sender
    );
    assert_eq!(call.world.room.stats(ONE).up.unrepaired, 5);
    call.world.pass(ms(20_000));
    assert_eq!(call.world.room.poll_timeout(), None);
}

#[test]
fn retransmissions_of_what_arrived_are_not_forwarded_again() {
    let mut call = Call::new(4);
    let first = call.sender.next(true);
    call.world.rtp(ONE, first);
    let sequence = *call.sender.history.keys().next().unwrap();
    for _ in 0..5 {
        let again = call.sender.again(sequence).unwrap();
        call.world.rtp(ONE, again);
    }
    assert_eq!(call.world.received(TWO).len(), 1);
    assert_eq!(call.world.room.stats(ONE).drops.duplicate, 5);
    assert_eq!(call.world.room.stats(ONE).up.retransmissions, 5);
}

#[test]
fn sound_is_never_asked_for_again() {
    let mut world = World::of(2);
    let mut sender = Sender::new(1, Source::Microphone, None, 77);
    for at in 0..50 {
        let bytes = sender.next(false);
        if at % 5 != 2 {
            world.rtp(ONE, bytes);
        }
        world.pass(ms(20));
    }
    let nacks = world.feedback(ONE, |packet| matches!(packet, Rtcp::Nack(_)).then_some(()));
    assert!(nacks.is_empty());
    assert_eq!(world.received(TWO).len(), 40);
}

#[test]
fn what_a_receiver_without_retransmission_lost_is_not_sent_again() {
    let mut world = World::new();
    world.enter(1, &[], crate::media::Grant::Full);
    let mut plain = super::world::layout(2, &[]);
    for downlink in &mut plain.downlinks {
        downlink.rtx_ssrc = None;
    }
    let two = world
        .room
        .join(
            world.now,
            super::world::participant(2),
            plain,
            crate::media::Grant::Full,
        )
        .unwrap();
    world.room.ready(world.now, two, &mut world.wire);
    let bytes = Sender::new(1, Source::Camera, None, 77).next(true);
    world.rtp(ONE, bytes);
    let sequence = world.received(two)[0].sequence;
    world.rtcp(two, |writer| {
        writer.nack(9, down_ssrc(2, 0, Source::Camera), std::iter::once(sequence));
    });
    // The same sequence number sealed twice would repeat the nonce.
    assert!(world.received(two).is_empty());
}

#[test]
fn transport_wide_numbers_never_repeat_over_media_and_retransmission() {
    let mut call = Call::new(6);
    call.down.loss_percent = 20;
    let mut numbers = Vec::new();
    for at in 0..300 {
        let bytes = call.sender.next(at == 0);
        call.world.rtp(ONE, bytes);
        let sent = call.world.received(TWO);
        numbers.extend(sent.iter().map(|got| got.transport_cc));
        if at % 7 == 0 {
            let sequence = sent[0].sequence;
            call.world.rtcp(TWO, |writer| {
                writer.nack(9, down_ssrc(2, 0, Source::Camera), std::iter::once(sequence));
            });
            numbers.extend(call.world.received(TWO).iter().map(|got| got.transport_cc));
        }
    }
    assert!(numbers.len() > 340);
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
}
