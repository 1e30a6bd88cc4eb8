//! How people's connections do: measurements and reports in, what each reader may see of it out, samples
//! to be kept with the call. The judgement itself is in `callkit_sfu::quality`.
//!
//! Samples are of less worth than anything else here: they ride with the next commit or a coarse timer, and
//! a store that fails loses them only.

use std::collections::BTreeMap;
use std::time::Duration;

use callkit_core::auth::Principal;
use callkit_core::call::{CallRecord, Participant, Party};
use callkit_core::id::{CallId, ParticipantId};
use callkit_core::quality::{Cause, Level, QualitySample};
use callkit_core::time::Timestamp;
use callkit_sfu::layout::Source;
use callkit_sfu::media::Demand;
use callkit_sfu::quality::{
    Assessment, CallQuality, Quality, ReceivedFigures, Report, SentFigures, Timeline, TrackScore, Way,
};
use callkit_signal::message::{
    CameraDemand, ErrorBody, Event, LimitedBy, MediaReport, QualityCause, QualityView, ReceivedTrack,
    ScreenDemand, SentTrack, TrackDirection, TrackSource, TrackView, codes,
};

use super::desk::{AnswerBody, Batch, Desk, Outbox, address, present};

/// Samples that wait to be written; beyond, new ones are left out. A minute of 300 people.
const MAX_WAITING: usize = 4096;
/// How long samples wait for a commit to ride with.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// What the desk knows of connections.
#[derive(Debug, Default)]
pub(super) struct Qualities {
    calls: BTreeMap<CallId, Rated>,
    waiting: Vec<QualitySample>,
    /// When the oldest of them came.
    since: Option<Timestamp>,
}

/// The connections of one call.
#[derive(Debug, Default)]
struct Rated {
    judge: CallQuality,
    timeline: Timeline,
    /// The last report of each page, for what is shown but not judged.
    reports: BTreeMap<ParticipantId, MediaReport>,
}

impl Qualities {
    /// Forgets a call that is over.
    pub(super) fn forget(&mut self, call: CallId) {
        self.calls.remove(&call);
    }

    /// Forgets who left a call.
    pub(super) fn left(&mut self, call: CallId, participant: ParticipantId) {
        if let Some(rated) = self.calls.get_mut(&call) {
            rated.judge.left(participant);
            rated.reports.remove(&participant);
        }
    }

    /// The samples that have not been written.
    pub(super) fn take(&mut self) -> Vec<QualitySample> {
        self.since = None;
        std::mem::take(&mut self.waiting)
    }

    /// Whether samples have waited for a commit for long enough.
    pub(super) fn are_due(&self, now: Timestamp) -> bool {
        self.since.is_some_and(|since| now.since(since) >= WRITE_EVERY)
    }

    fn keep(&mut self, now: Timestamp, record: &CallRecord, one: &Participant, assessment: &Assessment) {
        let timeline = &mut self.calls.entry(record.id).or_default().timeline;
        let sample = timeline.note(now, record.id, &one.party, assessment);
        if self.waiting.len() < MAX_WAITING && sample.is_some() {
            self.waiting.extend(sample);
            self.since.get_or_insert(now);
        }
    }
}

impl Desk {
    /// A page tells what it measured.
    pub(super) fn media_report(
        &mut self,
        now: Timestamp,
        who: &Principal,
        call: CallId,
        report: MediaReport,
    ) -> Result<AnswerBody, ErrorBody> {
        let participant = self.participant(who, call)?;
        let slots = self.slots.get(&participant).copied().unwrap_or_default();
        let rated = self.qualities.calls.entry(call).or_default();
        rated
            .judge
            .reported(now, participant, judged(&report, slots))
            .map_err(|error| ErrorBody::new(codes::RATE_LIMITED, error.to_string()))?;
        rated.reports.insert(participant, report);
        Ok(AnswerBody::Done)
    }

    /// The media plane measured somebody.
    pub(super) fn measured(
        &mut self,
        now: Timestamp,
        call: CallId,
        participant: ParticipantId,
        quality: Quality,
        batch: &mut Batch,
    ) {
        let judge = &mut self.qualities.calls.entry(call).or_default().judge;
        let assessment = judge.measured(now, participant, quality);
        self.assessed(now, call, assessment, batch);
    }

    /// Somebody's media is lost, for `cause`.
    pub(super) fn quality_lost(
        &mut self,
        now: Timestamp,
        call: CallId,
        participant: ParticipantId,
        cause: Option<Cause>,
        batch: &mut Batch,
    ) {
        let judge = &mut self.qualities.calls.entry(call).or_default().judge;
        let assessment = judge.lost(now, participant, cause);
        self.assessed(now, call, assessment, batch);
    }

    fn assessed(&mut self, now: Timestamp, call: CallId, assessment: Assessment, batch: &mut Batch) {
        let Some(record) = self.dispatcher.call(call) else {
            self.qualities.forget(call);
            return;
        };
        if let Some(one) = present(record).find(|one| one.id == assessment.participant) {
            self.qualities.keep(now, record, one, &assessment);
            batch.quality.entry(call).or_default().push(assessment);
        }
    }

    /// To each publisher what its receivers can use.
    pub(super) fn show_demand(
        &self,
        demands: &mut BTreeMap<(CallId, ParticipantId), Demand>,
        out: &mut Outbox,
    ) {
        for ((call, participant), demand) in std::mem::take(demands) {
            let Some(record) = self.dispatcher.call(call) else {
                continue;
            };
            let Some(publisher) = present(record).find(|one| one.id == participant) else {
                continue;
            };
            let event = Event::MediaDemand {
                call,
                camera: CameraDemand {
                    layers: demand.camera.layers,
                    max_bitrate: demand.camera.max_bitrate,
                },
                screen: ScreenDemand {
                    send: demand.screen.send,
                    max_bitrate: demand.screen.max_bitrate,
                },
            };
            out.events.push((address(record, &publisher.party), event));
        }
    }

    /// To staff of everybody in the call; to the customer of the customer.
    pub(super) fn show_quality(&self, batch: &Batch, out: &mut Outbox) {
        for (call, assessments) in &batch.quality {
            let Some(record) = self.dispatcher.call(*call) else {
                continue;
            };
            let reports = self.qualities.calls.get(call).map(|rated| &rated.reports);
            for reader in present(record) {
                let participants: Vec<_> = assessments
                    .iter()
                    .filter(|about| reader.party != Party::Customer || about.participant == reader.id)
                    .map(|about| {
                        let report = reports.and_then(|reports| reports.get(&about.participant));
                        let slots = self.slots.get(&about.participant).copied().unwrap_or_default();
                        view(about, report, slots, reader)
                    })
                    .collect();
                if !participants.is_empty() {
                    let event = Event::Quality {
                        call: *call,
                        participants,
                    };
                    out.events.push((address(record, &reader.party), event));
                }
            }
        }
    }
}

/// The part of a report that is judged, with people in place of slots.
fn judged(report: &MediaReport, slots: [Option<ParticipantId>; 2]) -> Report {
    let millis = |ms: u32| Duration::from_millis(ms.into());
    Report {
        span: millis(report.span_ms),
        rtt: report.rtt_ms.map(millis),
        sent: report
            .sent
            .iter()
            .map(|track| SentFigures {
                source: source(track.source),
                on: track.on,
                fps: track.fps,
                cpu_limited: track.limited_by == Some(LimitedBy::Cpu),
                still: track.still_ms.map(millis),
            })
            .collect(),
        received: report
            .received
            .iter()
            .filter_map(|track| {
                Some(ReceivedFigures {
                    from: (*slots.get(usize::from(track.slot))?)?,
                    source: source(track.source),
                    concealed_percent: track.concealed_percent,
                    freeze: track.freeze_ms.map(millis),
                    fps: track.fps,
                    dropped_percent: track.dropped_percent,
                })
            })
            .collect(),
    }
}

const fn source(source: TrackSource) -> Source {
    match source {
        TrackSource::Microphone => Source::Microphone,
        TrackSource::Camera => Source::Camera,
        TrackSource::Screen => Source::Screen,
        TrackSource::ScreenAudio => Source::ScreenAudio,
    }
}

const fn shown_source(source: Source) -> TrackSource {
    match source {
        Source::Microphone => TrackSource::Microphone,
        Source::Camera => TrackSource::Camera,
        Source::Screen => TrackSource::Screen,
        Source::ScreenAudio => TrackSource::ScreenAudio,
    }
}

/// An assessment as `reader` may see it.
fn view(
    about: &Assessment,
    report: Option<&MediaReport>,
    slots: [Option<ParticipantId>; 2],
    reader: &Participant,
) -> QualityView {
    let own = about.participant == reader.id;
    // That somebody else's computer is busy is nothing that one could do anything about.
    let hidden = about.level == Level::LocalCpu && !own;
    let level = if hidden { Level::Good } else { about.level };
    let cause = about.cause.filter(|_| !hidden && level != Level::Good);
    let tracks = match reader.party {
        Party::Customer => Vec::new(),
        Party::Agent(_) => about
            .tracks
            .iter()
            .map(|track| track_view(track, report, slots))
            .collect(),
    };
    QualityView {
        participant: about.participant,
        level,
        score: if hidden { about.score.max(80) } else { about.score },
        cause: cause.and_then(|cause| match (cause, own) {
            (Cause::Network, true) => Some(QualityCause::YourNetwork),
            (Cause::Network, false) => Some(QualityCause::TheirNetwork),
            (Cause::Computer, true) => Some(QualityCause::ThisComputer),
            (Cause::Computer, false) => Some(QualityCause::TheirComputer),
            (Cause::Server, _) => Some(QualityCause::Server),
            _ => None,
        }),
        loss_up_percent: about.loss_up_percent,
        loss_down_percent: about.loss_down_percent,
        rtt_ms: about.rtt.map(millis),
        jitter_ms: millis(about.jitter),
        bitrate_up: bits(about.up_bps),
        bitrate_down: bits(about.down_bps),
        path: report.and_then(|report| report.path),
        tracks,
    }
}

fn track_view(
    track: &TrackScore,
    report: Option<&MediaReport>,
    slots: [Option<ParticipantId>; 2],
) -> TrackView {
    let figures = &track.figures;
    let wanted = shown_source(figures.source);
    // Of simulcast layers the largest says what the camera sends.
    let sent = report.filter(|_| figures.way == Way::Up).and_then(|report| {
        let own = |sent: &&SentTrack| sent.source == wanted;
        report.sent.iter().filter(own).max_by_key(|sent| sent.height)
    });
    let received = report.filter(|_| figures.way == Way::Down).and_then(|report| {
        let slot = slots
            .iter()
            .position(|whose| whose.is_some() && *whose == figures.from)?;
        let of_track =
            |received: &&ReceivedTrack| received.source == wanted && usize::from(received.slot) == slot;
        report.received.iter().find(of_track)
    });
    TrackView {
        direction: match figures.way {
            Way::Up => TrackDirection::Up,
            Way::Down => TrackDirection::Down,
        },
        source: wanted,
        from: figures.from,
        score: track.score,
        paused: figures.paused,
        bitrate: bits(figures.bps),
        loss_percent: figures.loss.map(|share| share * 100.0),
        jitter_ms: figures.jitter.map(millis),
        fps: sent
            .and_then(|sent| sent.fps)
            .or_else(|| received.and_then(|received| received.fps)),
        width: sent
            .and_then(|sent| sent.width)
            .or_else(|| received.and_then(|received| received.width)),
        height: sent
            .and_then(|sent| sent.height)
            .or_else(|| received.and_then(|received| received.height)),
        codec: sent
            .and_then(|sent| sent.codec.clone())
            .or_else(|| received.and_then(|received| received.codec.clone())),
        limited_by: sent.and_then(|sent| sent.limited_by),
        freeze_ms_per_min: track.frozen_per_minute.map(millis),
        concealed_percent: track.concealed_percent,
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn bits(bps: u64) -> u32 {
    u32::try_from(bps).unwrap_or(u32::MAX)
}
