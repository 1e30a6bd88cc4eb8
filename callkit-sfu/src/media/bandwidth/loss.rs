//! The loss-based half of congestion control (draft-ietf-rmcat-gcc-02 section 6): lowers the rate where
//! routers drop instead of queueing.
//!
//! On radio links packets are lost at any rate. Where less sending did not make the loss smaller, it is taken
//! as a property of the path and only what exceeds it counts; otherwise 12 % of loss would end every picture.

/// Share lost below which the rate may grow, and above which it falls.
const LOW: f64 = 0.02;
const HIGH: f64 = 0.10;
/// Growth per period at low loss. Quick, because it only undoes a limit: how much the path takes beyond is
/// for the queue to say.
const INCREASE: f64 = 1.15;
/// Packets that a share is computed from at least, and the time, in seconds.
const PACKETS: u32 = 40;
const PERIOD: f64 = 0.25;
/// Loss alone does not push below this, bits per second: the least that shows a picture.
pub const FLOOR: f64 = 150_000.0;
/// The loss is a property of the path if, after the rate was lowered to this share ...
const TRIED: f64 = 0.7;
/// ... less than this share of what arrived before arrives. From a router that drops what is too much
/// arrives as much as before.
const FOLLOWED: f64 = 0.85;

/// See the module. Rates in bits per second, times in seconds.
#[derive(Debug)]
pub struct LossRate {
    bound: f64,
    arrived: u32,
    missing: i64,
    since: f64,
    loss: f64,
    /// Share that the path loses whatever is sent.
    inherent: f64,
    decreased: Option<f64>,
    /// The rate, and how much of it arrived, when it was lowered first.
    series: Option<(f64, f64)>,
}

impl Default for LossRate {
    fn default() -> Self {
        Self {
            bound: f64::INFINITY,
            arrived: 0,
            missing: 0,
            since: 0.0,
            loss: 0.0,
            inherent: 0.0,
            decreased: None,
            series: None,
        }
    }
}

impl LossRate {
    /// The rate that loss allows.
    #[must_use]
    pub const fn bound(&self) -> f64 {
        self.bound
    }

    /// Share of the packets lost lately, 0 to 1.
    #[must_use]
    pub const fn loss(&self) -> f64 {
        self.loss
    }

    /// When the rate was last lowered.
    #[must_use]
    pub const fn decreased(&self) -> Option<f64> {
        self.decreased
    }

    /// Whether more is lost than the path loses anyway.
    #[must_use]
    pub fn is_high(&self) -> bool {
        self.excess() > HIGH
    }

    fn excess(&self) -> f64 {
        ((self.loss - self.inherent) / (1.0 - self.inherent)).max(0.0)
    }

    /// Takes note of one packet's fate. One that was missing and came late is counted back.
    pub const fn arrived(&mut self, was_missing: bool) {
        self.arrived += 1;
        if was_missing {
            self.missing -= 1;
        }
    }

    /// A packet did not arrive.
    pub const fn missing(&mut self) {
        self.missing += 1;
    }

    /// A probe got through at `rate`.
    pub const fn raise(&mut self, rate: f64) {
        self.bound = self.bound.max(rate);
    }

    /// Adapts the bound. `target` is the rate at present, `queueing` whether the queue grew lately: then loss
    /// comes from there. `acked` is how much arrives.
    pub fn update(&mut self, now: f64, target: f64, acked: f64, rtt: f64, queueing: bool) {
        let missing = self.missing.max(0) as f64;
        let total = f64::from(self.arrived) + missing;
        let elapsed = now - self.since;
        if total < f64::from(PACKETS) || elapsed < PERIOD {
            return;
        }
        self.loss = 0.5 * self.loss + 0.5 * (missing / total);
        (self.arrived, self.missing, self.since) = (0, 0, now);
        self.inherent = self.inherent.min(self.loss);
        let excess = self.excess();
        if excess > HIGH {
            if self.decreased.is_some_and(|last| now - last < 0.3 + rtt) {
                return;
            }
            let (rate, arrived) = *self.series.get_or_insert((target, acked));
            if target <= TRIED * rate && acked <= FOLLOWED * arrived && !queueing {
                self.inherent = 0.95 * self.loss;
                self.series = None;
                return;
            }
            self.bound = (self.bound.min(target) * (1.0 - 0.5 * excess)).max(FLOOR);
            self.decreased = Some(now);
        } else if excess < LOW || self.inherent > 0.0 {
            self.series = None;
            // Far above what is used it would take the other half's place too late.
            let grown = self.bound * INCREASE;
            self.bound = if grown > 2.0 * target {
                f64::INFINITY
            } else {
                grown
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs with a share lost that depends on the rate; returns the rate.
    fn run(loss: &mut LossRate, seconds: u32, mut target: f64, share: impl Fn(f64) -> f64) -> f64 {
        let cap = target;
        let mut owed = 0.0;
        for step in 0..seconds * 10 {
            for _ in 0..20 {
                owed += share(target);
                if owed >= 1.0 {
                    owed -= 1.0;
                    loss.missing();
                } else {
                    loss.arrived(false);
                }
            }
            let acked = target * (1.0 - share(target));
            loss.update(f64::from(step + 1) / 10.0, target, acked, 0.05, false);
            target = cap.min(loss.bound());
        }
        target
    }

    #[test]
    fn a_policer_is_obeyed_and_growth_follows_when_it_ends() {
        let mut loss = LossRate::default();
        let rate = run(&mut loss, 20, 2_000_000.0, |rate| {
            (1.0 - 500_000.0 / rate).max(0.0)
        });
        assert!((350_000.0..700_000.0).contains(&rate), "{rate}");
        let mut after = LossRate {
            since: 0.0,
            decreased: None,
            ..loss
        };
        assert_eq!(run(&mut after, 60, 2_000_000.0, |_| 0.0), 2_000_000.0);
    }

    #[test]
    fn loss_that_does_not_depend_on_the_rate_leaves_a_picture() {
        for share in [0.15, 0.3] {
            let mut loss = LossRate::default();
            let rate = run(&mut loss, 20, 2_000_000.0, |_| share);
            assert!(rate > 800_000.0, "{rate} at {share}");
        }
    }

    #[test]
    fn some_loss_is_nothing() {
        let mut loss = LossRate::default();
        assert_eq!(run(&mut loss, 20, 2_000_000.0, |_| 0.05), 2_000_000.0);
    }

    #[test]
    fn packets_that_come_late_were_not_lost() {
        let mut loss = LossRate::default();
        for _ in 0..40 {
            loss.missing();
            loss.arrived(true);
        }
        loss.update(1.0, 1e6, 1e6, 0.1, false);
        assert_eq!(loss.loss(), 0.0);
    }
}
