//! The estimator against a bottleneck in virtual time: a flow of packets, a queue, feedback every 60 ms.

use std::time::{Duration, Instant};

use super::*;
use crate::rtp::rtcp::{Compound, Rtcp};
use crate::rtp::transport_cc::write_feedback;
use callkit_core::id::IdSource;

/// A path with a queue of bounded length, and a receiver that reports.
struct Path {
    estimator: Bandwidth,
    now: Instant,
    start: Instant,
    capacity: f64,
    queue: Duration,
    loss: f64,
    jitter_micros: u64,
    free: Instant,
    number: u64,
    reported: u64,
    /// When each packet not yet settled was sent, and its arrival.
    arrivals: Vec<(Instant, Option<u64>)>,
    random: IdSource,
    owed: f64,
    padding: u64,
}

impl Path {
    fn new(capacity: f64) -> Self {
        let start = crate::media::moment();
        Self {
            estimator: Bandwidth::new(start, Limits::default()),
            now: start,
            start,
            capacity,
            queue: Duration::from_millis(300),
            loss: 0.0,
            jitter_micros: 0,
            free: start,
            number: 0,
            reported: 0,
            arrivals: Vec::new(),
            random: IdSource::seeded(3),
            owed: 0.0,
            padding: 0,
        }
    }

    fn packet(&mut self, size: usize) {
        self.estimator.sent(self.now, self.number as u16, size);
        self.number += 1;
        let waits = self.free.max(self.now);
        let lost = (self.random.next_u64() % 10_000) as f64 / 10_000.0 < self.loss;
        if waits - self.now > self.queue || lost {
            self.arrivals.push((self.now, None));
            return;
        }
        self.free = waits + Duration::from_secs_f64(size as f64 * 8.0 / self.capacity);
        let jitter = Duration::from_micros(self.random.next_u64() % (self.jitter_micros + 1));
        let arrival = self.free + Duration::from_millis(20) + jitter;
        self.arrivals.push((
            self.now,
            Some((arrival - self.start).as_micros() as u64 / TICK_MICROS),
        ));
    }

    /// A flow of `rate` of the estimate (at most) for a while; reports come back after 30 ms.
    fn run(&mut self, seconds: f64, need: u64, rate: impl Fn(u64) -> f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        let mut tick = 0u32;
        while self.now < end {
            self.now += Duration::from_millis(1);
            tick += 1;
            self.owed += rate(self.estimator.estimate().unwrap_or(1_000_000)) / 8000.0;
            // Frames of a camera: a burst every 33 ms, paced over it.
            while self.owed >= 1000.0 {
                self.owed -= 1000.0;
                self.packet(1000);
            }
            let padding = self.estimator.padding(self.now);
            for _ in 0..padding.div_ceil(280) {
                self.padding += 280;
                self.packet(280);
            }
            if tick.is_multiple_of(60) {
                self.report();
            }
            if tick.is_multiple_of(200) {
                self.estimator.tick(self.now, need);
            }
        }
    }

    fn report(&mut self) {
        let until = (self.now - self.start).as_micros() as u64 / TICK_MICROS - 120;
        let mut known: Vec<Option<u64>> = self
            .arrivals
            .iter()
            .map(|(_, arrival)| arrival.filter(|at| *at <= until))
            .collect();
        let Some(last) = known.iter().rposition(Option::is_some) else {
            return;
        };
        known.truncate(last + 1);
        let mut at = 0;
        while at < known.len() {
            let mut buffer = [0; 1200];
            let (length, covered) = write_feedback(
                &mut buffer,
                1,
                2,
                (self.reported + at as u64) as u16,
                0,
                known[at..].iter().copied(),
            );
            if covered == 0 {
                break;
            }
            if let Some(Rtcp::TransportCc(feedback)) = Compound::new(&buffer[..length]).next() {
                self.estimator
                    .feedback(self.now, &feedback, Some(Duration::from_millis(50)));
            }
            at += covered;
        }
        // What is young is reported again: it may have come late.
        let old = self.now - Duration::from_millis(200);
        let settled = self.arrivals[..at].iter().filter(|(sent, _)| *sent < old).count();
        self.reported += settled as u64;
        self.arrivals.drain(..settled);
    }

    fn estimate(&self) -> f64 {
        self.estimator.estimate().unwrap() as f64
    }
}

#[test]
fn it_settles_a_little_below_the_capacity_and_keeps_the_queue_short() {
    let mut path = Path::new(1_500_000.0);
    path.run(20.0, 3_000_000, |estimate| estimate as f64 * 0.95);
    assert!(
        (1_000_000.0..1_600_000.0).contains(&path.estimate()),
        "{}",
        path.estimate()
    );
    let delay = path.free.saturating_duration_since(path.now);
    assert!(delay < Duration::from_millis(150), "{delay:?}");
}

#[test]
fn p19_three_to_a_third_to_three_megabits_is_followed_and_recovered_within_ten_seconds() {
    let mut path = Path::new(3_000_000.0);
    path.run(15.0, 2_500_000, |estimate| estimate.min(2_000_000) as f64);
    assert!(path.estimate() >= 2_000_000.0, "{}", path.estimate());
    path.capacity = 300_000.0;
    path.run(2.0, 2_500_000, |estimate| estimate as f64);
    assert!(path.estimate() < 400_000.0, "{}", path.estimate());
    path.run(13.0, 2_500_000, |estimate| estimate as f64);
    assert!(
        (120_000.0..400_000.0).contains(&path.estimate()),
        "{}",
        path.estimate()
    );
    path.capacity = 3_000_000.0;
    path.run(8.0, 2_500_000, |estimate| estimate.min(2_500_000) as f64);
    assert!(path.estimate() >= 2_000_000.0, "{}", path.estimate());
}

#[test]
fn what_was_not_tried_is_not_promised() {
    let mut path = Path::new(8_000_000.0);
    path.run(60.0, 0, |_| 800_000.0);
    let cap = 1_000_000.0_f64.max(1.6 * 800_000.0);
    assert!(path.estimate() <= cap, "{}", path.estimate());
    assert_eq!(path.padding, 0, "nobody could use more");
}

#[test]
fn probing_finds_the_capacity_although_little_is_sent_and_costs_little() {
    let mut path = Path::new(4_000_000.0);
    path.run(10.0, 3_000_000, |_| 400_000.0);
    assert!(path.estimate() >= 2_900_000.0, "{}", path.estimate());
    let mut full = Path::new(600_000.0);
    full.run(60.0, 3_000_000, |estimate| 0.9 * estimate as f64);
    assert!(full.estimate() < 700_000.0, "{}", full.estimate());
    let share = full.padding as f64 * 8.0 / 60.0 / 600_000.0;
    assert!(share < 0.03, "{share}");
}

#[test]
fn wireless_jitter_and_loss_leave_a_usable_estimate() {
    let mut path = Path::new(20_000_000.0);
    path.jitter_micros = 30_000;
    path.loss = 0.05;
    path.run(20.0, 2_500_000, |estimate| {
        (0.95 * estimate as f64).min(2_000_000.0)
    });
    assert!(path.estimate() >= 1_500_000.0, "{}", path.estimate());
}

#[test]
fn p19_silence_of_the_receiver_lowers_the_estimate_and_its_return_raises_it() {
    let mut path = Path::new(5_000_000.0);
    path.run(10.0, 2_500_000, |estimate| estimate.min(2_000_000) as f64);
    let before = path.estimate();
    path.loss = 1.0;
    path.run(5.0, 2_500_000, |estimate| estimate.min(2_000_000) as f64);
    assert!(path.estimate() < 0.6 * before, "{}", path.estimate());
    path.loss = 0.0;
    path.run(10.0, 2_500_000, |estimate| estimate.min(2_000_000) as f64);
    assert!(
        path.estimate() >= 0.8 * before.min(2_000_000.0),
        "{}",
        path.estimate()
    );
}

#[test]
fn p18_hostile_feedback_moves_nothing_out_of_bounds() {
    let mut random = IdSource::seeded(1);
    let mut path = Path::new(1e6);
    path.run(1.0, 0, |_| 500_000.0);
    for _ in 0..3000 {
        let mut buffer = [0; 400];
        let base = random.next_u64();
        let arrivals: Vec<Option<u64>> = (0..(base >> 60))
            .map(|_| {
                let value = random.next_u64();
                (value & 1 == 0).then_some(value >> 44)
            })
            .collect();
        let (length, _) = write_feedback(&mut buffer, 1, 2, base as u16 % 900, 0, arrivals.into_iter());
        if let Some(Rtcp::TransportCc(feedback)) = Compound::new(&buffer[..length]).next() {
            path.now += Duration::from_millis(7);
            path.estimator.feedback(path.now, &feedback, None);
            path.estimator.tick(path.now, u64::MAX);
            path.estimator.padding(path.now);
        }
        let estimate = path.estimator.estimate().unwrap_or(40_000);
        assert!((40_000..=10_000_000).contains(&estimate));
    }
}
