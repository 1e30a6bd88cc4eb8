//! [`Plan`]: which call begins and ends when. Pure: the same plan gives the same steps.

use std::time::Duration;

use callkit_core::id::IdSource;

/// Time from the start of the last call to the beginning of the measurement: its people are talking by then, and key
/// frames of the beginning are over.
pub(super) const SETTLE: Duration = Duration::from_secs(3);

/// Calls over time: all begin at an even pace, then some end and are replaced, then all end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    /// Calls at the same time.
    pub(crate) calls: u32,
    /// New calls per second at the beginning.
    pub(crate) ramp: f64,
    /// Calls that end and are replaced, per second.
    pub(crate) churn: f64,
    /// How long is measured.
    pub(crate) duration: Duration,
    /// Seeds who hangs up.
    pub(crate) seed: u64,
}

/// Who ends a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Customer,
    Operator,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The customer of this place calls.
    Start(u32),
    /// The call of this place ends, and its customer calls again.
    Replace(u32, Side),
    /// From here on it is measured.
    Measure,
    /// The measurement is over.
    Finish,
}

impl Plan {
    /// When it is measured, from the start.
    pub(super) fn measured(&self) -> (Duration, Duration) {
        let ramp = Duration::from_secs_f64(f64::from(self.calls.saturating_sub(1)) / self.ramp);
        let from = ramp + SETTLE;
        (from, from + self.duration)
    }

    /// Steps and their times from the start, in order.
    pub(super) fn steps(&self) -> Vec<(Duration, Step)> {
        let mut random = IdSource::seeded(self.seed);
        let (from, until) = self.measured();
        let mut steps: Vec<(Duration, Step)> = (0..self.calls)
            .map(|call| {
                let at = Duration::from_secs_f64(f64::from(call) / self.ramp);
                (at, Step::Start(call))
            })
            .collect();
        steps.push((from, Step::Measure));
        if self.churn > 0.0 {
            let count = (self.duration.as_secs_f64() * self.churn) as u32;
            steps.extend((0..count).map(|number| {
                let at = from + Duration::from_secs_f64(f64::from(number) / self.churn);
                let side = if random.next_u64() & 1 == 0 {
                    Side::Customer
                } else {
                    Side::Operator
                };
                // In turn: each call lasts as long as the others.
                (at, Step::Replace(number % self.calls, side))
            }));
        }
        steps.push((until, Step::Finish));
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(calls: u32, ramp: f64, churn: f64, seconds: u64) -> Plan {
        Plan {
            calls,
            ramp,
            churn,
            duration: Duration::from_secs(seconds),
            seed: 1,
        }
    }

    #[test]
    fn calls_begin_at_an_even_pace_and_are_measured_once_all_have() {
        let plan = plan(4, 2.0, 0.0, 10);
        let at = |millis| Duration::from_millis(millis);
        assert_eq!(
            plan.steps(),
            [
                (at(0), Step::Start(0)),
                (at(500), Step::Start(1)),
                (at(1000), Step::Start(2)),
                (at(1500), Step::Start(3)),
                (at(4500), Step::Measure),
                (at(14_500), Step::Finish),
            ]
        );
    }

    #[test]
    fn churn_replaces_calls_in_turn_and_both_sides_hang_up() {
        let steps = plan(3, 10.0, 5.0, 20).steps();
        let replaced: Vec<(u32, Side)> = steps
            .iter()
            .filter_map(|(_, step)| match step {
                Step::Replace(call, side) => Some((*call, *side)),
                _ => None,
            })
            .collect();
        assert_eq!(replaced.len(), 100);
        assert!(
            replaced
                .iter()
                .enumerate()
                .all(|(number, (call, _))| *call == number as u32 % 3)
        );
        let by_operators = replaced
            .iter()
            .filter(|(_, side)| *side == Side::Operator)
            .count();
        assert!((30..70).contains(&by_operators), "{by_operators}");
        assert!(steps.is_sorted_by_key(|(at, _)| *at));
    }

    #[test]
    fn the_same_seed_gives_the_same_steps() {
        assert_eq!(plan(5, 1.0, 3.0, 9).steps(), plan(5, 1.0, 3.0, 9).steps());
    }
}
