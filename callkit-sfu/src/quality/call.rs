//! Everybody in a call: figures and reports come in, assessments go out. An assessment is about one person's
//! own way, computer and devices; what somebody else's line spoils is in that person's assessment only.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use callkit_core::id::ParticipantId;
use callkit_core::quality::{Cause, Level};
use callkit_core::time::Timestamp;

use super::figures::{Quality, ReceivedFigures, Report, TrackQuality, Way};
use super::findings::{self, Experience, Facts, Finding, Leg};
use super::hold::Hold;
use super::score::{self, VideoImpairment};
use crate::layout::Source;

/// Reports may come this often.
pub const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A report older than this says nothing about now.
const REPORT_VALID: Duration = Duration::from_secs(10);
/// Time over which freezes are judged: 6 s in a minute is 2 s of it.
const FREEZE_OVER: Duration = Duration::from_secs(20);
/// Time over which concealment is judged.
const CONCEALED_OVER: Duration = Duration::from_secs(10);
/// Loss on the way to us, percent, from which what the others hear and see is spoilt by it.
const SPOILS: f32 = 1.0;
/// How long after that it shows at the others: their jitter buffer, and the span of a report.
const SPOILS_FOR: Duration = Duration::from_secs(6);
/// Weight of a new score: bad news count more (LiveKit).
const FALLING: f32 = 0.8;
const RISING: f32 = 0.4;

/// A report came too soon after the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("reports come too often")]
pub struct TooSoon;

/// How it is for one person.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// Whom it is about.
    pub participant: ParticipantId,
    /// In one word.
    pub level: Level,
    /// 0 to 100: 80 and more is good, 40 and more fair.
    pub score: u8,
    /// What a level below good comes from, if that is known.
    pub cause: Option<Cause>,
    /// Lost on the way to us, percent before repair.
    pub loss_up_percent: f32,
    /// Lost on the way from us, percent before repair.
    pub loss_down_percent: f32,
    /// Round trip, once known.
    pub rtt: Option<Duration>,
    /// Variation of the arrival times at the server.
    pub jitter: Duration,
    /// Received from the person, bits per second.
    pub up_bps: u64,
    /// Sent to the person, bits per second.
    pub down_bps: u64,
    /// Track by track.
    pub tracks: Vec<TrackScore>,
}

impl Assessment {
    /// Of somebody of whom nothing is known, which is good.
    #[must_use]
    pub fn unknown(participant: ParticipantId) -> Self {
        Self {
            participant,
            level: Level::Good,
            score: 100,
            cause: None,
            loss_up_percent: 0.0,
            loss_down_percent: 0.0,
            rtt: None,
            jitter: Duration::ZERO,
            up_bps: 0,
            down_bps: 0,
            tracks: Vec::new(),
        }
    }
}

/// How one track does.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackScore {
    /// What was measured.
    pub figures: TrackQuality,
    /// 0 to 100.
    pub score: u8,
    /// Video downwards: time that the picture stood still, of a minute.
    pub frozen_per_minute: Option<Duration>,
    /// Sound downwards: made up for lost sound, percent.
    pub concealed_percent: Option<f32>,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct CallQuality {
    people: BTreeMap<ParticipantId, Person>,
}

#[derive(Debug, Clone, Default)]
struct Person {
    measured: Option<Quality>,
    reported: Option<(Timestamp, Report)>,
    experiences: Vec<Received>,
    cpu_limited: Duration,
    /// Until when trouble of this person's own shows at the others.
    spoils_until: Timestamp,
    lost: bool,
    hold: Hold,
    score: Option<f32>,
}

/// What somebody is shown of one track of somebody else.
#[derive(Debug, Clone)]
struct Received {
    from: ParticipantId,
    source: Source,
    frozen: Window,
    concealed: Window,
    latest: ReceivedFigures,
}

impl CallQuality {
    /// Takes in what a page measured.
    ///
    /// # Errors
    /// [`TooSoon`] if its last report came less than [`REPORT_EVERY`] ago; nothing is changed.
    pub fn reported(&mut self, now: Timestamp, who: ParticipantId, report: Report) -> Result<(), TooSoon> {
        let last = self
            .people
            .get(&who)
            .and_then(|person| person.reported.as_ref().map(|known| known.0));
        if last.is_some_and(|last| now.since(last) < REPORT_EVERY) {
            return Err(TooSoon);
        }
        let spoilt = |from: &ParticipantId| {
            self.people
                .get(from)
                .is_some_and(|person| person.lost || person.spoils_until > now)
        };
        let spoilt: Vec<bool> = report.received.iter().map(|track| spoilt(&track.from)).collect();
        let person = self.people.entry(who).or_default();
        let mut known = std::mem::take(&mut person.experiences);
        for (track, spoilt) in report.received.iter().zip(spoilt) {
            let same = |one: &Received| one.from == track.from && one.source == track.source;
            let mut received = match known.iter().position(same) {
                Some(place) => known.swap_remove(place),
                None => Received {
                    from: track.from,
                    source: track.source,
                    frozen: Window::default(),
                    concealed: Window::default(),
                    latest: track.clone(),
                },
            };
            let share = |of: Option<Duration>| of.filter(|_| !spoilt).unwrap_or_default();
            // A shared screen that stands still is how it should be.
            let freeze = track.freeze.filter(|_| track.source == Source::Camera);
            let concealed = track
                .concealed_percent
                .map(|percent| report.span.mul_f32(percent.clamp(0.0, 100.0) / 100.0));
            received
                .frozen
                .add(report.span, share(freeze).min(report.span), FREEZE_OVER);
            received
                .concealed
                .add(report.span, share(concealed), CONCEALED_OVER);
            received.latest = track.clone();
            person.experiences.push(received);
        }
        person.cpu_limited = if report.sent.iter().any(|track| track.on && track.cpu_limited) {
            person.cpu_limited + report.span
        } else {
            Duration::ZERO
        };
        person.reported = Some((now, report));
        Ok(())
    }

    /// Takes in what we measured of `who`, every two seconds, and assesses it.
    pub fn measured(&mut self, now: Timestamp, who: ParticipantId, quality: Quality) -> Assessment {
        let leg = self.leg(now, who, &quality);
        let line = findings::line(&leg);
        let seen = self.experience(now, who, &quality, line);
        let facts = findings::facts(self.facts(now, who, &quality));
        let delay = score::leg_delay_ms(leg.rtt, leg.jitter_up.max(leg.jitter_down));
        let tracks = self.tracks(now, who, &quality, delay);

        let person = self.people.entry(who).or_default();
        person.lost = false;
        if leg.loss_up_percent >= SPOILS || person.cpu_limited > Duration::ZERO {
            person.spoils_until = now + SPOILS_FOR;
        }
        let told = person.hold.next(now, line.worse(seen)).worse(facts);
        // Sound is judged by the line also while nobody speaks or shows anything.
        let lost = leg.loss_up_percent.max(leg.loss_down_percent);
        let worst = tracks
            .iter()
            .map(|track| f32::from(track.score))
            .fold(score::audio(lost, delay), f32::min);
        let smoothed = person.score.map_or(worst, |before| {
            let weight = if worst < before { FALLING } else { RISING };
            before + weight * (worst - before)
        });
        person.score = Some(smoothed);
        let assessment = Assessment {
            participant: who,
            level: told.level,
            score: within(told.level, smoothed),
            cause: told.cause,
            loss_up_percent: leg.loss_up_percent,
            loss_down_percent: leg.loss_down_percent,
            rtt: leg.rtt,
            jitter: leg.jitter_up.unwrap_or(quality.jitter),
            up_bps: quality.uplink_bps,
            down_bps: quality.downlink_bps,
            tracks,
        };
        person.measured = Some(quality);
        assessment
    }

    /// Nothing comes from `who` any more: poor at once, for `cause`.
    pub fn lost(&mut self, now: Timestamp, who: ParticipantId, cause: Option<Cause>) -> Assessment {
        let person = self.people.entry(who).or_default();
        let level = Level::Poor;
        person.lost = true;
        person.spoils_until = now + SPOILS_FOR;
        person.hold.set(Finding { level, cause });
        person.score = Some(0.0);
        person.cpu_limited = Duration::ZERO;
        Assessment {
            level,
            score: 0,
            cause,
            ..Assessment::unknown(who)
        }
    }

    /// `who` is not in the call any more.
    pub fn left(&mut self, who: ParticipantId) {
        self.people.remove(&who);
    }

    /// The last report of `who`, if it still says something.
    fn report(&self, now: Timestamp, who: ParticipantId) -> Option<&Report> {
        let (at, report) = self.people.get(&who)?.reported.as_ref()?;
        (now.since(*at) <= REPORT_VALID).then_some(report)
    }

    fn leg(&self, now: Timestamp, who: ParticipantId, quality: &Quality) -> Leg {
        let sound = |way| {
            quality
                .tracks
                .iter()
                .filter(move |track| track.way == way && track.source.is_audio() && track.packets > 0)
        };
        let jitter_up = sound(Way::Up).filter_map(|track| track.jitter).max();
        // The receiver measures what both ways together vary by.
        let added = |track: &TrackQuality| {
            let before = track.from.and_then(|from| self.uplink_jitter(from, track.source));
            Some(track.jitter?.saturating_sub(before.unwrap_or_default()))
        };
        Leg {
            loss_up_percent: quality.uplink_loss * 100.0,
            loss_down_percent: quality.downlink_loss * 100.0,
            rtt: quality
                .rtt
                .or_else(|| self.report(now, who).and_then(|report| report.rtt)),
            jitter_up,
            jitter_down: sound(Way::Down).filter_map(added).max(),
            server_late: quality.late,
        }
    }

    fn uplink_jitter(&self, who: ParticipantId, source: Source) -> Option<Duration> {
        let tracks = &self.people.get(&who)?.measured.as_ref()?.tracks;
        let own = |track: &&TrackQuality| track.way == Way::Up && track.source == source;
        tracks.iter().find(own)?.jitter
    }

    /// The worst of what `who` is shown, as far as it has to do with this way and this computer.
    fn experience(&self, now: Timestamp, who: ParticipantId, quality: &Quality, line: Finding) -> Finding {
        if self.report(now, who).is_none() {
            return Finding::default();
        }
        let received = self
            .people
            .get(&who)
            .map_or(&[][..], |person| &person.experiences);
        let mut worst = Finding::default();
        for one in received {
            let track = quality.tracks.iter().find(|track| {
                track.way == Way::Down && track.from == Some(one.from) && track.source == one.source
            });
            let flows = track.is_none_or(|track| track.packets > 0 && !track.paused);
            let spoilt = self
                .people
                .get(&one.from)
                .is_some_and(|other| other.lost || other.spoils_until > now);
            let is_camera = one.source == Source::Camera;
            let seen = Experience {
                concealed_percent: one.concealed.share_percent(CONCEALED_OVER / 2),
                frozen_percent: one.frozen.share_percent(FREEZE_OVER),
                fps: one.latest.fps.filter(|_| is_camera && flows && !spoilt),
                sent_fps: self.report(now, one.from).and_then(|report| {
                    let cameras = report.sent.iter().filter(|sent| sent.source == Source::Camera);
                    cameras.filter_map(|sent| sent.fps).max()
                }),
                dropped_percent: one.latest.dropped_percent.unwrap_or_default(),
            };
            worst = worst.worse(findings::experience(&seen, line, quality.late));
        }
        worst
    }

    fn facts(&self, now: Timestamp, who: ParticipantId, quality: &Quality) -> Facts {
        let report = self.report(now, who);
        let microphone = report.and_then(|report| {
            let on = |sent: &&super::SentFigures| sent.source == Source::Microphone && sent.on;
            report.sent.iter().find(on)?.still
        });
        let cpu_limited = report.and_then(|_| self.people.get(&who));
        Facts {
            cpu_limited: cpu_limited.map_or(Duration::ZERO, |person| person.cpu_limited),
            still: microphone.unwrap_or_default(),
            video_paused: quality
                .tracks
                .iter()
                .any(|track| track.way == Way::Down && track.paused),
        }
    }

    /// The scores of the tracks that carry something, or should.
    fn tracks(
        &self,
        now: Timestamp,
        who: ParticipantId,
        quality: &Quality,
        delay_ms: f32,
    ) -> Vec<TrackScore> {
        let is_fresh = self.report(now, who).is_some();
        let person = self.people.get(&who).filter(|_| is_fresh);
        let judged = |track: &&TrackQuality| track.packets > 0 || track.paused;
        quality
            .tracks
            .iter()
            .filter(judged)
            .map(|track| {
                let seen = person.filter(|_| track.way == Way::Down).and_then(|person| {
                    let of_track =
                        |one: &&Received| track.from == Some(one.from) && track.source == one.source;
                    person.experiences.iter().find(of_track)
                });
                let concealed = seen.map(|seen| seen.concealed.share_percent(CONCEALED_OVER / 2));
                let frozen = seen.map(|seen| seen.frozen.share_percent(FREEZE_OVER));
                let (direction, unrepaired) = match track.way {
                    Way::Up => (quality.uplink_loss, quality.uplink_unrepaired),
                    Way::Down => (quality.downlink_loss, quality.downlink_unrepaired),
                };
                let lost_percent = track.loss.unwrap_or(direction) * 100.0;
                let score = if track.source.is_audio() {
                    score::audio(lost_percent.max(concealed.unwrap_or_default()), delay_ms)
                } else {
                    score::video(&VideoImpairment {
                        lost_percent,
                        unrepaired_percent: unrepaired * 100.0,
                        delay_ms,
                        frozen_percent: frozen.unwrap_or_default(),
                        layers_missed: track.layers_missed,
                        available_bps: track.available_bps,
                        paused: track.paused,
                    })
                };
                let is_audio = track.source.is_audio();
                TrackScore {
                    score: score.round() as u8,
                    frozen_per_minute: frozen
                        .filter(|_| track.source == Source::Camera)
                        .map(|percent| Duration::from_secs(60).mul_f32(percent / 100.0)),
                    concealed_percent: concealed.filter(|_| is_audio),
                    figures: track.clone(),
                }
            })
            .collect()
    }
}

/// The score within the band of its level, so that word and number never contradict each other.
fn within(level: Level, score: f32) -> u8 {
    let (low, high) = match level {
        Level::Good => (80.0, 100.0),
        Level::Fair | Level::LocalCpu => (40.0, 79.0),
        _ => (0.0, 39.0),
    };
    score.clamp(low, high).round() as u8
}

/// Bad time in the newest spans.
#[derive(Debug, Clone, Default)]
struct Window {
    spans: VecDeque<(Duration, Duration)>,
    total: Duration,
    bad: Duration,
}

impl Window {
    /// Adds a span of which `bad` was bad; keeps spans as far as `over` reaches back.
    fn add(&mut self, span: Duration, bad: Duration, over: Duration) {
        self.spans.push_back((span, bad));
        self.total += span;
        self.bad += bad;
        while let Some((oldest, was_bad)) = self.spans.front().copied() {
            if self.total - oldest < over {
                break;
            }
            self.spans.pop_front();
            self.total -= oldest;
            self.bad -= was_bad;
        }
    }

    /// Bad time in percent; of at least `least`, so that a short beginning does not weigh too much.
    fn share_percent(&self, least: Duration) -> f32 {
        let total = self.total.max(least).as_secs_f32();
        self.bad.as_secs_f32() / total * 100.0
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
