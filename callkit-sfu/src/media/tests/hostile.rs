//! Noise: whatever a participant sends, nothing panics and what is kept stays bounded.

use proptest::prelude::*;

use super::world::{Sender, World, down_ssrc, ms};
use crate::layout::{PeerIndex, Source};

const ONE: PeerIndex = PeerIndex(0);
const TWO: PeerIndex = PeerIndex(1);

#[test]
fn p21_unknown_ssrcs_are_dropped_and_leave_nothing_behind() {
    let mut world = World::of(2);
    for ssrc in 0..10_000u32 {
        let mut bytes = Sender::new(1, Source::Camera, None, ssrc).next(true);
        // Without the mid extension nothing says where it belongs.
        bytes[19] = 0;
        bytes[20] = 0;
        world.rtp(ONE, bytes);
    }
    assert_eq!(world.room.stats(ONE).drops.unknown_stream, 10_000);
    assert!(world.received(TWO).is_empty());
}

#[test]
fn p21_a_flood_of_ssrcs_that_claim_a_place_is_cut_off() {
    let mut world = World::of(2);
    for ssrc in 0..10_000u32 {
        let bytes = Sender::new(1, Source::Camera, None, ssrc).next(true);
        world.rtp(ONE, bytes);
    }
    assert!(world.received(TWO).len() < 300);
    assert!(world.room.stats(ONE).drops.unknown_stream > 9_000);
}

#[test]
fn a_place_that_nobody_has_takes_anything() {
    let mut world = World::of(2);
    for index in [PeerIndex(2), PeerIndex(3), PeerIndex(usize::MAX)] {
        let bytes = Sender::new(1, Source::Camera, None, 5).next(true);
        world.rtp(index, bytes);
        world.rtcp(index, |writer| {
            writer.pli(1, 2);
        });
        world.room.ready(world.now, index, &mut world.wire);
        world.room.unready(world.now, index, &mut world.wire);
        world.room.path_changed(world.now, index, &mut world.wire);
        world.room.leave(world.now, index, &mut world.wire);
        assert_eq!(world.room.stats(index), Default::default());
    }
    assert!(world.wire.rtp.is_empty() && world.wire.rtcp.is_empty());
}

#[test]
fn a_packet_too_large_to_forward_is_counted() {
    let mut world = World::of(2);
    let mut bytes = Sender::new(1, Source::Camera, None, 5).next(true);
    bytes.resize(1500, 0);
    world.rtp(ONE, bytes);
    assert!(world.received(TWO).is_empty());
    assert_eq!(world.room.stats(ONE).drops.oversized, 1);
}

#[test]
fn a_nack_flood_brings_back_each_packet_a_few_times_only() {
    let mut world = World::of(2);
    let mut sender = Sender::new(1, Source::Camera, None, 5);
    for at in 0..200 {
        let bytes = sender.next(at == 0);
        world.rtp(ONE, bytes);
    }
    let sequences: Vec<u16> = world.received(TWO).iter().map(|got| got.sequence).collect();
    for _ in 0..500 {
        world.rtcp(TWO, |writer| {
            writer.nack(1, down_ssrc(2, 0, Source::Camera), sequences.iter().copied());
        });
        world.pass(ms(1));
    }
    let again = world.received(TWO).len();
    assert!((200..=1000).contains(&again), "{again}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn p26_noise_between_packets_disturbs_nothing(
        noise in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..80), 0u8..4, 0u64..30), 1..60)
    ) {
        let mut world = World::of(3);
        let mut sender = Sender::new(1, Source::Camera, None, 77);
        let mut sent = 0;
        for (mut bytes, kind, wait) in noise {
            match kind {
                0 => world.rtp(TWO, bytes),
                1 => {
                    // A valid header with wild numbers on a known m-line.
                    let mut wild = Sender::new(2, Source::Camera, None, 88).next(false);
                    for (to, from) in wild[2..8].iter_mut().zip(&bytes) {
                        *to = *from;
                    }
                    world.rtp(TWO, wild);
                }
                2 => {
                    if bytes.len() >= 4 {
                        bytes[0] = 0x80 | bytes[0] & 0x1f;
                        bytes[1] = 200 + bytes[1] % 8;
                        let words = (bytes.len() / 4 - 1) as u16;
                        bytes[2..4].copy_from_slice(&words.to_be_bytes());
                    }
                    let now = world.now;
                    world.room.handle_rtcp(now, TWO, &bytes, &mut world.wire);
                }
                _ => {
                    let good = sender.next(sent == 0);
                    world.rtp(ONE, good);
                    sent += 1;
                }
            }
            world.pass(ms(wait));
        }
        let got = world.received(PeerIndex(2));
        let mine = got.iter().filter(|got| got.ssrc == down_ssrc(3, 0, Source::Camera)).count();
        prop_assert_eq!(mine, sent);
    }
}
