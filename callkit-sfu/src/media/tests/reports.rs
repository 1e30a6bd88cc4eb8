//! Sender and receiver reports, lip sync, round trips, transport-wide feedback.

use std::time::Duration;

use super::world::{Got, Sender, World, down_ssrc, ms};
use crate::layout::{PeerIndex, Source};
use crate::media::Grant;
use crate::rtp::rtcp::{Block, Rtcp};

const ONE: PeerIndex = PeerIndex(0);
const TWO: PeerIndex = PeerIndex(1);

/// A publisher whose sound and picture are captured at known times on a clock of its own.
struct Publisher {
    video: Sender,
    audio: Sender,
    /// NTP time of the world's start on the publisher's clock.
    ntp: u64,
    /// RTP timestamps at the world's start.
    rtp: [u32; 2],
}

fn ntp(duration: Duration) -> u64 {
    (duration.as_secs() << 32) + ((u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000)
}

impl Publisher {
    fn new(ssrc: u32, ntp: u64) -> Self {
        let video = Sender::new(1, Source::Camera, None, ssrc);
        let audio = Sender::new(1, Source::Microphone, None, ssrc + 1);
        Self {
            video,
            audio,
            ntp,
            rtp: [ssrc.wrapping_mul(0x1234_5677), 0xffff_0000],
        }
    }

    fn timestamp(&self, stream: usize, at: Duration) -> u32 {
        let rate = [90_000u128, 48_000][stream];
        self.rtp[stream].wrapping_add((at.as_micros() * rate / 1_000_000) as u32)
    }

    /// Sound and picture captured at `at`, with that moment as their content.
    fn capture(&mut self, world: &mut World, at: Duration, key: bool, stream: usize) {
        let timestamp = self.timestamp(stream, at);
        let sender = if stream == 0 {
            &mut self.video
        } else {
            &mut self.audio
        };
        sender.timestamp = timestamp;
        let mut bytes = sender.next(key);
        let content = bytes.len() - 4;
        bytes[content..].copy_from_slice(&(at.as_millis() as u32).to_be_bytes());
        world.rtp(ONE, bytes);
    }

    fn report(&self, world: &mut World, stream: usize) {
        let at = world.now - world.start;
        let (ntp, rtp) = (self.ntp.wrapping_add(ntp(at)), self.timestamp(stream, at));
        let ssrc = [self.video.ssrc, self.audio.ssrc][stream];
        world.rtcp(ONE, |writer| {
            writer.sender_report(ssrc, ntp, rtp, 1, 1);
        });
    }
}

/// When a receiver thinks that a packet was captured, in seconds of NTP time, by the reports it has.
fn capture_time(report: (u64, u32), timestamp: u32, rate: f64) -> f64 {
    let seconds = report.0 as f64 / 2f64.powi(32);
    seconds + f64::from(timestamp.wrapping_sub(report.1) as i32) / rate
}

/// Plays for `millis`, with reports `reports` ms apart, and gives the skew of each picture to each sound by
/// the receiver's reckoning at that time, in ms.
fn play(world: &mut World, publisher: &mut Publisher, millis: u64, worst: &mut f64) {
    let mut reports: [Option<(u64, u32)>; 2] = [None; 2];
    let ssrcs = [Source::Camera, Source::Microphone].map(|source| down_ssrc(2, 0, source));
    let mut offsets: [Option<f64>; 2] = [None; 2];
    for tick in 0..millis / 10 {
        let at = world.now - world.start;
        if tick % 4 == 0 {
            publisher.capture(world, at, tick % 200 == 0, 0);
        }
        if tick % 2 == 0 {
            publisher.capture(world, at, false, 1);
        }
        // Reports of the two streams come at different times.
        if tick % 100 == 30 {
            publisher.report(world, 0);
        }
        if tick % 310 == 55 {
            publisher.report(world, 1);
        }
        world.pass(ms(10));
        for report in world.feedback(TWO, |packet| match packet {
            Rtcp::SenderReport(report) => Some((report.ssrc(), report.ntp(), report.rtp())),
            _ => None,
        }) {
            let stream = ssrcs
                .iter()
                .position(|ssrc| *ssrc == report.0)
                .expect("a known m-line");
            reports[stream] = Some((report.1, report.2));
        }
        for got in world.received(TWO) {
            let stream = ssrcs.iter().position(|ssrc| *ssrc == got.ssrc).unwrap();
            let Some(report) = reports[stream] else { continue };
            let reckoned = capture_time(report, got.timestamp, [90_000.0, 48_000.0][stream]);
            let captured = f64::from(Sender::content(&got.payload)) / 1000.0;
            offsets[stream] = Some(reckoned - captured);
            if let [Some(video), Some(audio)] = offsets {
                *worst = worst.max((video - audio).abs() * 1000.0);
            }
        }
    }
    assert!(offsets.iter().all(Option::is_some), "both streams have reports");
}

#[test]
fn p24_picture_and_sound_stay_together_over_mute_rejoin_and_layer_start() {
    let mut world = World::of(2);
    let mut publisher = Publisher::new(77, 0x1234_5678_0000_0000);
    let mut worst = 0.0;
    play(&mut world, &mut publisher, 10_000, &mut worst);
    // The camera is off for a minute while sound goes on; then both go on.
    for _ in 0..3000 {
        let at = world.now - world.start;
        publisher.capture(&mut world, at, false, 1);
        world.pass(ms(20));
    }
    world.wire.rtp.clear();
    play(&mut world, &mut publisher, 10_000, &mut worst);
    // The page is reloaded: other SSRCs, other timestamps, another NTP clock.
    world.enter(1, &[], Grant::Full);
    let mut publisher = Publisher::new(5077, 0x9999_0000_1234_0000);
    play(&mut world, &mut publisher, 10_000, &mut worst);
    assert!(worst < 2.0, "{worst} ms apart");
}

#[test]
fn p24_the_reports_carry_the_servers_clock() {
    let mut world = World::of(2);
    let mut publisher = Publisher::new(77, 42);
    publisher.capture(&mut world, Duration::ZERO, true, 0);
    publisher.report(&mut world, 0);
    let mut reports = Vec::new();
    for at in 1..300u64 {
        publisher.capture(&mut world, ms(at * 10), false, 0);
        world.pass(ms(10));
        let now = world.clock_now();
        let found = world.feedback(TWO, |packet| match packet {
            Rtcp::SenderReport(report) => Some(report.ntp()),
            _ => None,
        });
        reports.extend(
            found
                .into_iter()
                .map(|ntp| now.wrapping_sub(ntp) as f64 / 2f64.powi(32)),
        );
    }
    assert!(reports.len() >= 3);
    assert!(
        reports.iter().all(|age| (0.0..0.011).contains(age)),
        "{reports:?}"
    );
}

#[test]
fn p23_round_trip_follows_the_receivers_report() {
    let mut world = World::of(2);
    let mut publisher = Publisher::new(77, 42);
    publisher.capture(&mut world, Duration::ZERO, true, 0);
    publisher.report(&mut world, 0);
    world.pass(ms(300));
    let report = world.feedback(TWO, |packet| match packet {
        Rtcp::SenderReport(report) => Some((report.ntp() >> 16) as u32),
        _ => None,
    });
    assert_eq!(report.len(), 1);
    // The first report went out at 0 ms; it was held 200 ms: 100 ms of the 300 were travel.
    let ssrc = down_ssrc(2, 0, Source::Camera);
    let block = Block {
        ssrc,
        fraction_lost: 64,
        lost: 5,
        jitter: 900,
        last_report: report[0],
        delay: 65_536 / 5,
        ..Block::default()
    };
    world.rtcp(TWO, |writer| {
        writer.receiver_report(1, &[block]);
    });
    let stats = world.room.stats(TWO);
    let rtt = stats.rtt.unwrap().as_millis();
    assert!((98..=102).contains(&rtt), "{rtt}");
    assert_eq!((stats.down.lost, stats.down.jitter), (5, ms(10)));
    assert!((stats.down.fraction_lost - 0.25).abs() < 0.01);
}

#[test]
fn p23_the_publisher_is_told_what_was_lost_and_when_its_report_came() {
    let mut world = World::of(2);
    let mut publisher = Publisher::new(77, 0x0001_0000_8000_0000);
    publisher.capture(&mut world, Duration::ZERO, true, 0);
    publisher.report(&mut world, 0);
    let mut blocks = Vec::new();
    for at in 1..200u64 {
        if at % 4 == 0 {
            publisher.video.next(false);
        }
        publisher.capture(&mut world, ms(at * 10), false, 0);
        world.pass(ms(10));
        blocks.extend(world.feedback(ONE, |packet| match packet {
            Rtcp::ReceiverReport(report) => report.blocks().next(),
            _ => None,
        }));
    }
    assert_eq!(blocks.len(), 2);
    assert_eq!(blocks[1].ssrc, 77);
    assert_eq!(blocks[1].fraction_lost / 5, 51 / 5);
    assert_eq!(blocks[1].last_report, 0x0000_8000);
    assert_eq!(blocks[1].delay, 65_536 * 5 / 4);
    assert!(blocks[1].jitter < 10);
}

#[test]
fn arrivals_are_reported_to_the_publisher_every_sixty_milliseconds() {
    let mut world = World::of(2);
    let mut sender = Sender::new(1, Source::Camera, None, 77);
    let first = sender.transport_cc;
    let mut reported = Vec::new();
    let mut packets = 0;
    for at in 0..200 {
        let bytes = sender.next(at == 0);
        if at % 10 != 5 {
            world.rtp(ONE, bytes);
        }
        world.pass(ms(5));
        let found = world.feedback(ONE, |packet| match packet {
            Rtcp::TransportCc(feedback) => Some(feedback.statuses().collect::<Vec<_>>()),
            _ => None,
        });
        packets += found.len();
        reported.extend(found.into_iter().flatten());
    }
    assert!((15..=17).contains(&packets), "{packets} in 1 s");
    for (at, status) in reported.iter().enumerate() {
        assert_eq!(status.sequence, first.wrapping_add(at as u16));
        assert_eq!(status.arrival, (at % 10 != 5).then_some(at as i64 * 20));
    }
    assert!(reported.len() > 180);
}

#[test]
fn p24_a_layer_is_entered_at_the_moment_that_sender_reports_say() {
    let mut world = World::new();
    world.enter(1, &["l", "h"], Grant::Full);
    world.enter(2, &[], Grant::Full);
    let mut low = Sender::new(1, Source::Camera, Some("l"), 3000);
    let mut high = Sender::new(1, Source::Camera, Some("h"), 3001);
    let mut shown: Vec<Got> = Vec::new();
    for tick in 0..100u32 {
        // Both are captured at the same moments; the high layer starts later and is 30 ms late on the way.
        low.timestamp = 500 + tick * 3000;
        high.timestamp = 7_000_000 + tick * 3000;
        let bytes = low.next(tick == 0);
        world.rtp(ONE, bytes);
        if tick == 0 {
            for (ssrc, rtp) in [(3000, 500u32), (3001, 7_000_000)] {
                if ssrc == 3000 {
                    world.rtcp(ONE, |writer| {
                        writer.sender_report(ssrc, 77 << 32, rtp, 0, 0);
                    });
                }
            }
        }
        world.pass(ms(30));
        if tick >= 50 {
            let bytes = high.next(tick == 60);
            world.rtp(ONE, bytes);
        }
        if tick == 50 {
            world.rtcp(ONE, |writer| {
                writer.sender_report(3001, 77 << 32, 7_000_000, 0, 0);
            });
        }
        shown.extend(world.received(TWO));
        world.pass(Duration::from_micros(3333));
    }
    let switch = shown
        .iter()
        .position(|got| Sender::content(&got.payload) >> 16 == 3001)
        .unwrap();
    let base = shown[0].timestamp;
    // The first high picture was captured with the low one before it: it is one unit of time later, and the
    // others keep the pace of capture, not of arrival.
    let step = shown[switch + 1].timestamp.wrapping_sub(shown[switch].timestamp);
    assert_eq!(step, 3000);
    assert_eq!(
        shown[switch].timestamp,
        shown[switch - 1].timestamp.wrapping_add(1)
    );
    assert_eq!(shown[switch].timestamp.wrapping_sub(base) % 3000, 1);
}
