//! How much a receiver's connection takes: congestion control over transport-wide feedback
//! (draft-ietf-rmcat-gcc-02, draft-holmer-rmcat-transport-wide-cc-extensions-01), per receiver, from what
//! is really sent to it.
//!
//! | module | owns |
//! |---|---|
//! | [`history`] | what was sent under which number |
//! | [`trend`] | whether the queue grows |
//! | [`rate`] | how much arrives, and the delay-based rate |
//! | [`loss`] | the loss-based rate |
//! | [`probe`] | trying more than is sent |
//!
//! Three things differ from a sender that encodes itself. What is sent is what publishers happen to send,
//! so the estimate does not grow past what was tried; to learn more, padding is sent in short bursts, but
//! only while somebody could use more. Nothing is held back to shape the flow. And a fall that others
//! caused, while little is sent, does not take the estimate down to that little.

pub mod history;
pub mod loss;
pub mod probe;
pub mod rate;
pub mod trend;

use std::time::{Duration, Instant};

use history::{Fate, History};
use loss::LossRate;
use probe::Prober;
use rate::{Meter, Observation, Rate};
use trend::{Trend, Usage};

use crate::rtp::transport_cc::{Feedback, TICK_MICROS};

/// Round trip before one is measured, in seconds.
const ASSUMED_RTT: f64 = 0.1;
/// Without feedback for this long, while packets are sent, the estimate falls; in seconds.
const FEEDBACK_TIMEOUT: f64 = 1.5;
/// A burst tries at most this multiple of the estimate.
const PROBE_FACTOR: f64 = 2.0;
/// Nothing is tried for this long after the queue grew, in microseconds: it has to drain first.
const CALM: u64 = 800_000;

/// Bounds of an estimate, in bits per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Before anything is known. Too low and pictures start small, too high and the first seconds on a poor
    /// line are lost.
    pub start: u64,
    /// Never lower: what sound takes.
    pub floor: u64,
    /// Never higher.
    pub ceiling: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            start: 1_000_000,
            floor: 40_000,
            ceiling: 10_000_000,
        }
    }
}

/// The estimate for one receiver.
#[derive(Debug)]
pub struct Bandwidth {
    epoch: Instant,
    limits: Limits,
    history: History,
    trend: Trend,
    acked: Meter,
    sent: Meter,
    rate: Rate,
    loss: LossRate,
    prober: Prober,
    heard: Option<u64>,
    /// The packet reported on last was part of a burst.
    in_burst: bool,
    faded: f64,
    /// The estimate was lowered at least once on this path: before, it says only what was tried.
    is_capped: bool,
    /// Last time that the queue grew, in seconds.
    queued: Option<f64>,
}

impl Bandwidth {
    /// Nothing sent yet. `now` is not later than the first packet.
    #[must_use]
    pub fn new(now: Instant, limits: Limits) -> Self {
        Self {
            epoch: now,
            limits,
            history: History::default(),
            trend: Trend::default(),
            acked: Meter::default(),
            sent: Meter::default(),
            rate: Rate::new(limits.start as f64),
            loss: LossRate::default(),
            prober: Prober::default(),
            heard: None,
            in_burst: false,
            faded: 0.0,
            is_capped: false,
            queued: None,
        }
    }

    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_micros() as u64
    }

    /// Bits per second that the connection takes; `None` as long as the receiver says nothing about
    /// arrivals.
    #[must_use]
    pub fn estimate(&self) -> Option<u64> {
        self.heard.map(|_| self.target() as u64)
    }

    /// Whether the connection was ever seen to take no more than the estimate. If not, the estimate is only
    /// what was tried.
    #[must_use]
    pub const fn is_capped(&self) -> bool {
        self.is_capped
    }

    /// Share of the packets lost on the way to the receiver lately, 0 to 1, before repair.
    #[must_use]
    pub const fn loss(&self) -> f64 {
        self.loss.loss()
    }

    fn target(&self) -> f64 {
        self.rate
            .target()
            .min(self.loss.bound())
            .clamp(self.limits.floor as f64, self.limits.ceiling as f64)
    }

    /// A packet of `size` bytes went out under transport-wide number `number`.
    #[inline]
    pub fn sent(&mut self, now: Instant, number: u16, size: usize) {
        let at = self.micros(now);
        let size = size.min(usize::from(u16::MAX)) as u16;
        let probe = self.prober.current();
        if probe != 0 {
            self.prober.sent(at, size);
        }
        self.history.sent(at, number, size, probe);
        self.sent.add(at as i64, size);
    }

    /// Takes in the receiver's feedback.
    pub fn feedback(&mut self, now: Instant, feedback: &Feedback<'_>, rtt: Option<Duration>) {
        let at = self.micros(now);
        let (mut past, mut news) = (false, false);
        for status in feedback.statuses() {
            match self.history.feedback(status.sequence, status.arrival.is_some()) {
                Fate::Arrived { sent, was_missing } => {
                    let Some(arrival) = status.arrival else { continue };
                    let arrived = arrival * TICK_MICROS as i64;
                    news = true;
                    self.loss.arrived(was_missing);
                    self.acked.add(arrived, sent.size);
                    let in_burst = sent.probe != 0;
                    if self.in_burst && !in_burst {
                        // A burst is meant to fill the queue for a moment: that is no trend.
                        self.trend.restart();
                    }
                    self.in_burst = in_burst;
                    if !in_burst {
                        self.trend.arrived(sent.at, arrived);
                        past = true;
                    } else {
                        self.prober.arrived(sent.probe, arrived, sent.size);
                        past = false;
                    }
                }
                Fate::Missing => self.loss.missing(),
                Fate::Nothing => {}
            }
        }
        if !news {
            return;
        }
        self.heard = Some(at);
        self.adapt(at, past, rtt);
    }

    fn adapt(&mut self, at: u64, past: bool, rtt: Option<Duration>) {
        let seconds = at as f64 / 1e6;
        let rtt = rtt.map_or(ASSUMED_RTT, |rtt| rtt.as_secs_f64());
        let usage = self.trend.usage();
        if usage == Usage::Over {
            self.queued = Some(seconds);
        }
        self.sent.advance_to(at as i64);
        let before = self.target();
        self.rate.update(Observation {
            now: seconds,
            usage,
            acked: self.acked.rate(),
            acked_before: self.acked.earlier_rate(),
            sent: self.sent.rate(),
            rtt,
        });
        let queueing = self.queued.is_some_and(|last| seconds - last < 1.0);
        let acked = self.acked.rate().unwrap_or(before);
        self.loss.update(seconds, before, acked, rtt, queueing);
        if let Some(rate) = self.prober.result(at, past, before)
            && rate > before
            && usage != Usage::Over
            && !self.loss.is_high()
        {
            self.rate.raise(rate);
            self.loss.raise(rate);
        }
        let (low, high) = (self.limits.floor as f64, self.limits.ceiling as f64);
        self.rate.clamp(low, high);
        if self.target() < 0.97 * before {
            self.is_capped = true;
            self.prober.hold_until(at + CALM);
        }
    }

    /// Lets time pass: decides about trying more. `need` is what could be used, in bits per second.
    pub fn tick(&mut self, now: Instant, need: u64) {
        let at = self.micros(now);
        let seconds = at as f64 / 1e6;
        let Some(heard) = self.heard else { return };
        let silence = at.saturating_sub(heard) as f64 / 1e6;
        let sending = self.history.last_at() > heard;
        if sending && silence > FEEDBACK_TIMEOUT {
            if seconds - self.faded >= 1.0 {
                self.faded = seconds;
                self.is_capped = true;
                if self.rate.target() > loss::FLOOR {
                    self.rate.fade(0.8);
                }
            }
            return;
        }
        let (estimate, need) = (self.target(), need as f64);
        let disturbed = self.trend.usage() == Usage::Over || self.loss.is_high() || silence > 0.5;
        if need > estimate * 1.05 && !disturbed {
            let rate = need
                .min(PROBE_FACTOR * estimate)
                .min(1.1 * self.limits.ceiling as f64);
            self.prober.start(at, rate);
        }
    }

    /// When [`padding`](Self::padding) is to be called.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.prober
            .due()
            .map(|due| self.epoch + Duration::from_micros(due))
    }

    /// Bytes of padding to send now.
    pub fn padding(&mut self, now: Instant) -> usize {
        let at = self.micros(now);
        self.prober.padding(at) as usize
    }

    /// There is nothing that padding could be sent on.
    pub fn no_padding(&mut self, now: Instant) {
        let at = self.micros(now);
        self.prober.give_up(at);
    }

    /// The receiver is reached by another path: what was learned does not hold for it. Less than was known is
    /// assumed, and trying begins soon.
    pub fn path_changed(&mut self, now: Instant) {
        let at = self.micros(now);
        let start = self.target().min(self.limits.start as f64);
        self.trend = Trend::default();
        self.acked = Meter::default();
        self.rate = Rate::new(start);
        self.loss = LossRate::default();
        self.is_capped = false;
        self.prober.hurry(at + 300_000);
    }
}

#[cfg(test)]
mod tests;
