//! Which assessments are kept with the call: every change, and one every 30 s in between.

use std::collections::BTreeMap;

use callkit_core::call::Party;
use callkit_core::id::{CallId, ParticipantId};
use callkit_core::quality::{Cause, Level, MAX_SAMPLES, QualitySample, SAMPLE_EVERY};
use callkit_core::time::Timestamp;

use super::call::Assessment;

/// What was kept last, of everybody in one call.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    last: BTreeMap<ParticipantId, (Timestamp, Level, Option<Cause>)>,
    kept: usize,
}

impl Timeline {
    /// The sample to keep of `assessment`, if it says something new.
    pub fn note(
        &mut self,
        now: Timestamp,
        call: CallId,
        party: &Party,
        assessment: &Assessment,
    ) -> Option<QualitySample> {
        let Assessment {
            participant,
            level,
            cause,
            ..
        } = *assessment;
        let same = self.last.get(&participant).is_some_and(|(at, before, why)| {
            (*before, *why) == (level, cause) && now.since(*at) < SAMPLE_EVERY
        });
        if same || self.kept == MAX_SAMPLES {
            return None;
        }
        self.last.insert(participant, (now, level, cause));
        self.kept += 1;
        let permille = |percent: f32| (percent * 10.0).clamp(0.0, 1000.0) as u16;
        let kilo = |bps: u64| u32::try_from(bps / 1000).unwrap_or(u32::MAX);
        Some(QualitySample {
            call,
            participant,
            party: party.clone(),
            at: now,
            level,
            score: assessment.score,
            cause,
            loss_up_permille: permille(assessment.loss_up_percent),
            loss_down_permille: permille(assessment.loss_down_percent),
            rtt_ms: assessment.rtt.map(millis),
            jitter_ms: millis(assessment.jitter),
            up_kbps: kilo(assessment.up_bps),
            down_kbps: kilo(assessment.down_bps),
        })
    }
}

fn millis(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assessment(level: Level) -> Assessment {
        Assessment {
            level,
            ..Assessment::unknown(ParticipantId::from(1))
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_change_is_kept_at_once_and_sameness_every_thirty_seconds() {
        let mut timeline = Timeline::default();
        let mut kept = Vec::new();
        for second in (0..=70).step_by(2) {
            let level = if second == 40 { Level::Poor } else { Level::Good };
            let call = CallId::from(1);
            kept.extend(timeline.note(at(second), call, &Party::Customer, &assessment(level)));
        }
        let times: Vec<_> = kept.iter().map(|sample| sample.at.as_millis() / 1000).collect();
        assert_eq!(times, [0, 30, 40, 42]);
    }

    #[test]
    fn a_call_keeps_a_bounded_number_of_samples() {
        let mut timeline = Timeline::default();
        let kept = (0..10_000u64).filter(|second| {
            let level = if second.is_multiple_of(2) {
                Level::Poor
            } else {
                Level::Good
            };
            let call = CallId::from(1);
            timeline
                .note(at(*second), call, &Party::Customer, &assessment(level))
                .is_some()
        });
        assert_eq!(kept.count(), MAX_SAMPLES);
    }
}
