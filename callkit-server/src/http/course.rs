//! The course of connections in a call, for history: samples put together to periods.

use callkit_core::call::{CallRecord, CallState};
use callkit_core::id::ParticipantId;
use callkit_core::quality::{Cause, Level, QualitySample};
use callkit_signal::message::Role;
use serde::Serialize;

use crate::orchestrator::views;

/// A time for which it was the same for one person.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Period {
    participant: ParticipantId,
    role: Role,
    from_ms: u64,
    to_ms: u64,
    level: Level,
    /// What it comes from, seen from the participant.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
    /// The lowest, 0 to 100.
    score: u8,
    /// The worst of it.
    loss_up_percent: f32,
    loss_down_percent: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_ms: Option<u32>,
}

/// The periods of everybody, by person and time. `samples` are in order of time; the last period of a person
/// goes on until they left, the call ended, or the last sample of the call was taken.
pub(super) fn periods(call: &CallRecord, samples: &[QualitySample]) -> Vec<Period> {
    let ended = match call.state {
        CallState::Ended { at, .. } => Some(at),
        _ => samples.last().map(|sample| sample.at),
    };
    let mut periods: Vec<Period> = Vec::new();
    for one in &call.participants {
        let until = one.left_at.or(ended);
        let own = samples.iter().filter(|sample| sample.participant == one.id);
        let first = periods.len();
        for sample in own {
            let at = sample.at.as_millis();
            let (up, down) = (
                f32::from(sample.loss_up_permille) / 10.0,
                f32::from(sample.loss_down_permille) / 10.0,
            );
            let end = until.map_or(at, |until| until.as_millis().max(at));
            if let Some(last) = periods[first..].last_mut() {
                last.to_ms = at;
                if (last.level, last.cause) == (sample.level, sample.cause) {
                    last.to_ms = end;
                    last.score = last.score.min(sample.score);
                    last.loss_up_percent = last.loss_up_percent.max(up);
                    last.loss_down_percent = last.loss_down_percent.max(down);
                    last.rtt_ms = last.rtt_ms.max(sample.rtt_ms);
                    continue;
                }
            }
            periods.push(Period {
                participant: one.id,
                role: views::role_of(one),
                from_ms: at,
                to_ms: end,
                level: sample.level,
                cause: sample.cause,
                score: sample.score,
                loss_up_percent: up,
                loss_down_percent: down,
                rtt_ms: sample.rtt_ms,
            });
        }
    }
    periods
}

#[cfg(test)]
mod tests {
    use callkit_core::testing::samples;

    use super::*;

    #[test]
    fn samples_that_say_the_same_are_one_period_and_the_last_goes_on_to_the_end() {
        let mut call = samples::call(1);
        let began = call.created_at;
        let at = |seconds| began + std::time::Duration::from_secs(seconds);
        call.participants[0].left_at = Some(at(90));
        let sample = |seconds, level, score| QualitySample {
            level,
            score,
            cause: (level != Level::Good).then_some(Cause::Network),
            ..samples::quality(&call, seconds)
        };
        let course = [
            sample(2, Level::Good, 97),
            sample(40, Level::Poor, 30),
            sample(70, Level::Poor, 12),
            sample(80, Level::Good, 90),
        ];
        let told: Vec<_> = periods(&call, &course)
            .iter()
            .map(|period| {
                let seconds = |ms: u64| (ms - began.as_millis()) / 1000;
                (
                    seconds(period.from_ms),
                    seconds(period.to_ms),
                    period.level,
                    period.score,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (2, 40, Level::Good, 97),
                (40, 80, Level::Poor, 12),
                (80, 90, Level::Good, 90)
            ]
        );
    }
}
