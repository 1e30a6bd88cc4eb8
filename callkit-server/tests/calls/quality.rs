//! What people are told of how their connections do, and what is kept of it.

use std::time::Duration;

use callkit_core::id::{ParticipantId, RoomId};
use callkit_core::quality::{Cause, Level};
use callkit_sfu::control::SfuEvent;
use callkit_sfu::layout::Source;
use callkit_sfu::quality::{Quality, TrackQuality, Way};
use callkit_signal::message::{
    Event, LimitedBy, MediaReport, QualityCause, QualityLevel, QualityView, Request, SentTrack,
    TrackDirection, TrackSource,
};

use crate::world::{Person, Talk, World, pass};

fn lossy(loss: f32) -> Quality {
    Quality {
        uplink_loss: loss,
        uplink_bps: 1_000_000,
        tracks: vec![TrackQuality {
            way: Way::Up,
            source: Source::Camera,
            from: None,
            bps: 1_000_000,
            packets: 200,
            loss: Some(loss),
            jitter: None,
            paused: false,
            layers_missed: 0,
            available_bps: None,
        }],
        ..Quality::default()
    }
}

impl Talk {
    /// The media plane measures `quality` of `participant` this often, every 2 s.
    async fn measure(&self, world: &World, participant: ParticipantId, quality: &Quality, times: u32) {
        for _ in 0..times {
            pass(Duration::from_secs(2)).await;
            world.media.emit(SfuEvent::Quality {
                room: RoomId::from(self.call),
                participant,
                quality: quality.clone(),
            });
        }
    }
}

/// The newest assessments that somebody was told of.
async fn told(person: &mut Person) -> Vec<QualityView> {
    let all = person.heard().await;
    let quality = all.into_iter().filter_map(|event| match event {
        Event::Quality { participants, .. } => Some(participants),
        _ => None,
    });
    quality.last().unwrap_or_default()
}

fn camera_limited_by_cpu() -> MediaReport {
    let camera = SentTrack {
        source: TrackSource::Camera,
        bitrate: None,
        fps: Some(14),
        width: Some(640),
        height: Some(360),
        codec: Some("VP8".to_owned()),
        limited_by: Some(LimitedBy::Cpu),
        level: None,
        still_ms: None,
        on: true,
    };
    MediaReport {
        span_ms: 4000,
        sent: vec![camera],
        ..MediaReport::default()
    }
}

#[tokio::test(start_paused = true)]
async fn staff_is_told_of_everybody_and_a_customer_of_nobody_else() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    talk.measure(&world, talk.operator_id, &lossy(0.1), 2).await;
    assert_eq!(told(&mut talk.customer).await, []);
    let own = told(&mut talk.operator).await;
    assert_eq!(
        (own[0].level, own[0].cause),
        (QualityLevel::Poor, Some(QualityCause::YourNetwork))
    );

    talk.measure(&world, talk.customer_id, &lossy(0.1), 2).await;
    let seen = told(&mut talk.operator).await;
    assert_eq!(
        (seen[0].participant, seen[0].level, seen[0].cause),
        (
            talk.customer_id,
            QualityLevel::Poor,
            Some(QualityCause::TheirNetwork)
        )
    );
    assert!((seen[0].loss_up_percent - 10.0).abs() < 0.01 && seen[0].score < 40);
    let track = &seen[0].tracks[0];
    assert_eq!(
        (track.direction, track.source),
        (TrackDirection::Up, TrackSource::Camera)
    );
    let own = told(&mut talk.customer).await;
    assert_eq!((own.len(), own[0].participant), (1, talk.customer_id));
    assert_eq!(own[0].cause, Some(QualityCause::YourNetwork));
    assert!(own[0].tracks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_page_reports_is_judged_and_shown_to_staff() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    for _ in 0..5 {
        pass(Duration::from_secs(4)).await;
        let report = Request::MediaReport {
            call: talk.call,
            report: camera_limited_by_cpu(),
        };
        talk.customer.ask(report).await.unwrap();
    }
    talk.measure(&world, talk.customer_id, &lossy(0.0), 1).await;
    let own = told(&mut talk.customer).await;
    assert_eq!(
        (own[0].level, own[0].cause),
        (QualityLevel::LocalCpu, Some(QualityCause::ThisComputer))
    );
    // That the customer's computer is busy is nothing that the operator could do anything about.
    let seen = told(&mut talk.operator).await;
    assert_eq!((seen[0].level, seen[0].cause), (QualityLevel::Good, None));
    let track = &seen[0].tracks[0];
    assert_eq!(
        (track.fps, track.height, track.codec.as_deref(), track.limited_by),
        (Some(14), Some(360), Some("VP8"), Some(LimitedBy::Cpu))
    );
}

#[tokio::test(start_paused = true)]
async fn reports_are_taken_from_those_in_the_call_and_not_too_often() {
    let world = World::new().await;
    let talk = world.talk().await;
    let report = || Request::MediaReport {
        call: talk.call,
        report: camera_limited_by_cpu(),
    };
    talk.customer.ask(report()).await.unwrap();
    assert_eq!(talk.customer.refused(report()).await, "rate_limited");
    let other = world.sign_in("customer:2").await;
    assert_eq!(other.refused(report()).await, "not_found");
    let wrong = Request::MediaReport {
        call: talk.call,
        report: MediaReport::default(),
    };
    assert_eq!(talk.operator.refused(wrong).await, "malformed");
}

#[tokio::test(start_paused = true)]
async fn the_course_of_a_connection_is_kept_with_the_call() {
    let world = World::new().await;
    let talk = world.talk().await;
    talk.measure(&world, talk.customer_id, &lossy(0.0), 3).await;
    talk.measure(&world, talk.customer_id, &lossy(0.2), 5).await;
    talk.measure(&world, talk.customer_id, &lossy(0.0), 8).await;
    // Written by themselves: nothing else was committed.
    let written = world.store.quality(talk.call).await.unwrap();
    assert!(
        written.iter().any(|sample| sample.level == Level::Poor),
        "{written:?}"
    );
    talk.operator
        .ask(Request::CallHangup { call: talk.call })
        .await
        .unwrap();
    let samples = world.store.quality(talk.call).await.unwrap();
    let course: Vec<_> = samples
        .iter()
        .map(|sample| (sample.level, sample.cause))
        .collect();
    assert_eq!(
        course,
        [
            (Level::Good, None),
            (Level::Poor, Some(Cause::Network)),
            (Level::Good, None)
        ]
    );
    assert!(
        samples
            .iter()
            .all(|sample| sample.participant == talk.customer_id)
    );
}
