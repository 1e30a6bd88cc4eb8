//! When a changed level is told: worse after two samples, better after ten seconds, so that a word on a page
//! does not flicker and bad news still come soon.

use std::time::Duration;

use callkit_core::time::Timestamp;

use super::findings::Finding;

/// Samples in a row that have to be worse.
const WORSE_AFTER: u8 = 2;
/// Time for which everything has to be better.
const BETTER_AFTER: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hold {
    shown: Finding,
    /// Worse samples in a row, and the least of them.
    worse: Option<(u8, Finding)>,
    /// Since when samples are better, and the worst of them.
    better: Option<(Timestamp, Finding)>,
}

impl Hold {
    /// Takes a sample; gives what is told.
    pub fn next(&mut self, now: Timestamp, sample: Finding) -> Finding {
        let shown = self.shown.level.severity();
        let rank = sample.level.severity();
        if rank > shown {
            self.better = None;
            let (count, least) = match self.worse {
                Some((count, least)) if least.level.severity() <= rank => (count + 1, least),
                Some((count, _)) => (count + 1, sample),
                None => (1, sample),
            };
            self.worse = Some((count, least));
            if count >= WORSE_AFTER {
                self.set(least);
            }
        } else if rank < shown {
            self.worse = None;
            let (since, worst) = match self.better {
                Some((since, worst)) => (since, worst.worse(sample)),
                None => (now, sample),
            };
            self.better = Some((since, worst));
            if now.since(since) >= BETTER_AFTER {
                self.set(worst);
            }
        } else {
            self.set(sample);
        }
        self.shown
    }

    /// Tells `finding` at once.
    pub fn set(&mut self, finding: Finding) {
        self.shown = finding;
        self.worse = None;
        self.better = None;
    }
}

#[cfg(test)]
mod tests {
    use callkit_core::quality::Level::{self, Fair, Good, Poor};

    use super::*;

    /// What is told after each sample, one every 2 s.
    fn told(samples: &[Level]) -> Vec<Level> {
        let mut hold = Hold::default();
        let tell = |(at, level): (u64, &Level)| {
            let sample = Finding {
                level: *level,
                cause: None,
            };
            hold.next(Timestamp::from_millis(at * 2000), sample).level
        };
        (0..).zip(samples).map(tell).collect()
    }

    #[test]
    fn worse_is_told_after_two_samples_and_one_alone_never() {
        assert_eq!(told(&[Poor, Good, Poor, Good]), [Good; 4]);
        assert_eq!(told(&[Good, Poor, Poor]), [Good, Good, Poor]);
        assert_eq!(told(&[Fair, Poor, Poor, Poor]), [Good, Fair, Fair, Poor]);
    }

    #[test]
    fn better_is_told_after_ten_seconds_without_a_relapse() {
        let lead = [Poor, Poor];
        let after = |rest: &[Level]| told(&[&lead[..], rest].concat())[lead.len()..].to_vec();
        assert_eq!(after(&[Good; 6]), [Poor, Poor, Poor, Poor, Poor, Good]);
        assert_eq!(
            after(&[Good, Good, Good, Poor, Good, Good, Good, Good, Good, Good]),
            [Poor, Poor, Poor, Poor, Poor, Poor, Poor, Poor, Poor, Good]
        );
        assert_eq!(after(&[Good, Fair, Good, Good, Good, Good])[5], Fair);
    }
}
