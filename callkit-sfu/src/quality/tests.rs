//! The figures of a line in emulated networks, and what they are judged to be.

use proptest::prelude::*;

use super::*;
use crate::quality::SentFigures;

const ANNA: u128 = 1;
const IRINA: u128 = 2;

fn who(number: u128) -> ParticipantId {
    ParticipantId::from(number)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What is wrong with somebody's connection in a script.
#[derive(Debug, Clone, Copy, Default)]
struct Impairment {
    loss_up: f32,
    loss_down: f32,
    rtt: u64,
    jitter: u64,
    /// Milliseconds of freeze in a second, and concealed percent, of what is received.
    freeze: u64,
    concealed: f32,
    late: u64,
    paused: bool,
    cpu: bool,
    still: u64,
    /// Nothing is sent: muted, camera off.
    muted: bool,
}

fn track(way: Way, source: Source, from: Option<ParticipantId>) -> TrackQuality {
    TrackQuality {
        way,
        source,
        from,
        bps: 100_000,
        packets: 100,
        loss: None,
        jitter: None,
        paused: false,
        layers_missed: 0,
        available_bps: None,
    }
}

fn figures(of: &Impairment, other: ParticipantId) -> Quality {
    let mut tracks = Vec::new();
    if !of.muted {
        for source in [Source::Microphone, Source::Camera] {
            tracks.push(TrackQuality {
                jitter: Some(ms(of.jitter)),
                loss: Some(of.loss_up),
                ..track(Way::Up, source, None)
            });
        }
    }
    tracks.push(TrackQuality {
        loss: Some(of.loss_down),
        ..track(Way::Down, Source::Microphone, Some(other))
    });
    tracks.push(TrackQuality {
        loss: Some(of.loss_down),
        paused: of.paused,
        packets: if of.paused { 0 } else { 100 },
        ..track(Way::Down, Source::Camera, Some(other))
    });
    Quality {
        uplink_loss: of.loss_up,
        downlink_loss: of.loss_down,
        rtt: Some(ms(of.rtt)),
        late: ms(of.late),
        tracks,
        ..Quality::default()
    }
}

fn report(of: &Impairment, other: ParticipantId) -> Report {
    let received = |source| ReceivedFigures {
        from: other,
        source,
        concealed_percent: (source == Source::Microphone).then_some(of.concealed),
        freeze: (source == Source::Camera).then(|| ms(of.freeze * 4)),
        fps: (source == Source::Camera && !of.paused).then_some(30),
        dropped_percent: None,
    };
    let sent = |source| SentFigures {
        source,
        on: !of.muted,
        fps: (source == Source::Camera).then_some(30),
        cpu_limited: of.cpu && source == Source::Camera,
        still: (source == Source::Microphone).then(|| ms(of.still)),
    };
    Report {
        span: ms(4000),
        rtt: None,
        sent: vec![sent(Source::Microphone), sent(Source::Camera)],
        received: vec![received(Source::Microphone), received(Source::Camera)],
    }
}

/// A talk of Anna and Irina that is measured every 2 s and reported every 4 s.
struct Talk {
    call: CallQuality,
    seconds: u64,
}

impl Talk {
    fn new() -> Self {
        Self {
            call: CallQuality::default(),
            seconds: 0,
        }
    }

    /// Goes on for `seconds`; gives the last assessments of Anna and Irina.
    fn go_on(&mut self, seconds: u64, anna: Impairment, irina: Impairment) -> (Assessment, Assessment) {
        let mut last = None;
        for _ in 0..seconds / 2 {
            self.seconds += 2;
            let now = Timestamp::from_millis(self.seconds * 1000);
            if self.seconds.is_multiple_of(4) {
                for (of, own, other) in [(&anna, ANNA, IRINA), (&irina, IRINA, ANNA)] {
                    self.call
                        .reported(now, who(own), report(of, who(other)))
                        .expect("one report in 4 s is in time");
                }
            }
            last = Some((
                self.call.measured(now, who(ANNA), figures(&anna, who(IRINA))),
                self.call.measured(now, who(IRINA), figures(&irina, who(ANNA))),
            ));
        }
        last.expect("a script has at least one step")
    }
}

const CLEAN: Impairment = Impairment {
    loss_up: 0.0,
    loss_down: 0.0,
    rtt: 40,
    jitter: 5,
    freeze: 0,
    concealed: 0.0,
    late: 0,
    paused: false,
    cpu: false,
    still: 0,
    muted: false,
};

fn told(assessment: &Assessment) -> (Level, Option<Cause>) {
    (assessment.level, assessment.cause)
}

#[test]
fn a_clean_talk_is_good_for_both() {
    let (anna, irina) = Talk::new().go_on(30, CLEAN, CLEAN);
    assert_eq!(
        (told(&anna), told(&irina)),
        ((Level::Good, None), (Level::Good, None))
    );
    assert!(anna.score >= 95, "{}", anna.score);
}

#[test]
fn loss_on_the_way_up_is_that_persons_network_and_nobody_elses() {
    let mut talk = Talk::new();
    talk.go_on(20, CLEAN, CLEAN);
    let lossy = Impairment {
        loss_up: 0.12,
        ..CLEAN
    };
    // Irina hears and sees the loss: her page conceals and freezes.
    let spoilt = Impairment {
        concealed: 9.0,
        freeze: 300,
        ..CLEAN
    };
    let (anna, irina) = talk.go_on(30, lossy, spoilt);
    assert_eq!(told(&anna), (Level::Poor, Some(Cause::Network)));
    assert_eq!(told(&irina), (Level::Good, None));
}

#[test]
fn loss_on_the_way_down_is_the_receivers_network() {
    let mut talk = Talk::new();
    talk.go_on(20, CLEAN, CLEAN);
    let lossy = Impairment {
        loss_down: 0.05,
        ..CLEAN
    };
    let (anna, irina) = talk.go_on(10, CLEAN, lossy);
    assert_eq!(told(&anna), (Level::Good, None));
    assert_eq!(told(&irina), (Level::Fair, Some(Cause::Network)));
}

#[test]
fn a_late_server_is_blamed_for_what_both_lines_seem_to_lose() {
    let late = Impairment {
        loss_up: 0.1,
        loss_down: 0.1,
        late: 120,
        ..CLEAN
    };
    let (anna, irina) = Talk::new().go_on(10, late, late);
    assert_eq!(told(&anna), (Level::Poor, Some(Cause::Server)));
    assert_eq!(told(&irina), (Level::Poor, Some(Cause::Server)));
}

#[test]
fn an_encoder_that_the_computer_limits_is_told_after_twenty_seconds_and_taken_back_at_once() {
    let busy = Impairment { cpu: true, ..CLEAN };
    let mut talk = Talk::new();
    assert_eq!(talk.go_on(16, busy, CLEAN).0.level, Level::Good);
    assert_eq!(
        told(&talk.go_on(6, busy, CLEAN).0),
        (Level::LocalCpu, Some(Cause::Computer))
    );
    assert_eq!(talk.go_on(4, CLEAN, CLEAN).0.level, Level::Good);
}

#[test]
fn a_still_microphone_is_no_sound_and_a_muted_one_is_not() {
    let still = Impairment {
        still: 12_000,
        ..CLEAN
    };
    assert_eq!(
        told(&Talk::new().go_on(4, still, CLEAN).0),
        (Level::NoSound, Some(Cause::Computer))
    );
    let muted = Impairment { muted: true, ..still };
    assert_eq!(Talk::new().go_on(4, muted, CLEAN).0.level, Level::Good);
}

#[test]
fn paused_video_is_told_and_is_the_receivers_line() {
    let paused = Impairment {
        paused: true,
        ..CLEAN
    };
    let (anna, irina) = Talk::new().go_on(4, CLEAN, paused);
    assert_eq!(anna.level, Level::Good);
    assert_eq!(told(&irina), (Level::VideoPaused, Some(Cause::Network)));
    let camera = |track: &&TrackScore| track.figures.paused;
    assert_eq!(irina.tracks.iter().find(camera).unwrap().score, 30);
}

#[test]
fn p37_muting_everything_does_not_change_the_score() {
    let mut talk = Talk::new();
    let before = talk.go_on(30, CLEAN, CLEAN).0;
    let muted = Impairment { muted: true, ..CLEAN };
    let after = talk.go_on(60, muted, CLEAN).0;
    assert_eq!((after.level, after.score), (before.level, before.score));
}

#[test]
fn p37_what_is_not_known_is_good() {
    let mut call = CallQuality::default();
    for second in 1..20 {
        let now = Timestamp::from_millis(second * 2000);
        let assessment = call.measured(now, who(ANNA), Quality::default());
        assert_eq!((assessment.level, assessment.score), (Level::Good, 100));
    }
}

#[test]
fn p37_a_shared_screen_that_stands_still_is_not_frozen() {
    let mut call = CallQuality::default();
    let screen = Report {
        span: ms(4000),
        received: vec![ReceivedFigures {
            from: who(IRINA),
            source: Source::Screen,
            concealed_percent: None,
            freeze: Some(ms(4000)),
            fps: Some(0),
            dropped_percent: None,
        }],
        ..Report::default()
    };
    for second in 1..20 {
        let now = Timestamp::from_millis(second * 4000);
        call.reported(now, who(ANNA), screen.clone()).unwrap();
        let assessment = call.measured(now, who(ANNA), figures(&CLEAN, who(IRINA)));
        assert_eq!(assessment.level, Level::Good);
    }
}

#[test]
fn p23_jitter_of_the_sender_is_not_the_receivers() {
    let jittery = Impairment { jitter: 80, ..CLEAN };
    let mut talk = Talk::new();
    talk.go_on(10, jittery, CLEAN);
    let now = Timestamp::from_millis(100_000);
    let mut quality = figures(&CLEAN, who(ANNA));
    for track in quality.tracks.iter_mut().filter(|track| track.way == Way::Down) {
        track.jitter = Some(ms(85));
    }
    for at in 0..3 {
        let assessment = talk
            .call
            .measured(now + ms(at * 2000), who(IRINA), quality.clone());
        assert_eq!(assessment.level, Level::Good);
    }
}

#[test]
fn a_lost_connection_is_poor_at_once_and_good_ten_seconds_after_it_is_back() {
    let mut talk = Talk::new();
    talk.go_on(20, CLEAN, CLEAN);
    let now = Timestamp::from_millis(talk.seconds * 1000);
    let lost = talk.call.lost(now, who(ANNA), Some(Cause::Network));
    assert_eq!(
        (told(&lost), lost.score),
        ((Level::Poor, Some(Cause::Network)), 0)
    );
    // The other side freezes meanwhile; that is not her line.
    let frozen = Impairment {
        freeze: 1000,
        ..CLEAN
    };
    for _ in 0..4 {
        talk.seconds += 4;
        let now = Timestamp::from_millis(talk.seconds * 1000);
        talk.call
            .reported(now, who(IRINA), report(&frozen, who(ANNA)))
            .unwrap();
        let irina = talk.call.measured(now, who(IRINA), figures(&frozen, who(ANNA)));
        assert_eq!(irina.level, Level::Good);
    }
    assert_eq!(talk.go_on(10, CLEAN, CLEAN).0.level, Level::Poor);
    assert_eq!(talk.go_on(2, CLEAN, CLEAN).0.level, Level::Good);
}

#[test]
fn reports_that_come_too_often_are_refused() {
    let mut call = CallQuality::default();
    let at = Timestamp::from_millis;
    assert_eq!(call.reported(at(0), who(ANNA), Report::default()), Ok(()));
    assert_eq!(call.reported(at(999), who(ANNA), Report::default()), Err(TooSoon));
    assert_eq!(call.reported(at(1000), who(ANNA), Report::default()), Ok(()));
}

/// The score and severity after a steady impairment has settled.
fn settled(of: Impairment) -> (u8, u8) {
    let assessment = Talk::new().go_on(60, of, CLEAN).0;
    (assessment.score, assessment.level.severity())
}

fn impairment() -> impl Strategy<Value = Impairment> {
    (0f32..0.5, 0f32..0.5, 0u64..1500, 0u64..200, 0u64..500, 0f32..30.0).prop_map(
        |(loss_up, loss_down, rtt, jitter, freeze, concealed)| Impairment {
            loss_up,
            loss_down,
            rtt,
            jitter,
            freeze,
            concealed,
            ..CLEAN
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn p37_a_worse_line_never_scores_higher(before in impairment(), which in 0u8..6, more in 0.01f32..1.0) {
        let mut after = before;
        match which {
            0 => after.loss_up = (after.loss_up + more / 2.0).min(1.0),
            1 => after.loss_down = (after.loss_down + more / 2.0).min(1.0),
            2 => after.rtt += (more * 1000.0) as u64,
            3 => after.jitter += (more * 100.0) as u64,
            4 => after.freeze = (after.freeze + (more * 500.0) as u64).min(1000),
            _ => after.concealed = (after.concealed + more * 30.0).min(100.0),
        }
        let ((score, severity), (worse_score, worse_severity)) = (settled(before), settled(after));
        prop_assert!(worse_score <= score, "{before:?} {score} -> {after:?} {worse_score}");
        prop_assert!(worse_severity >= severity, "{before:?} {severity} -> {after:?} {worse_severity}");
    }

    #[test]
    fn word_and_number_never_contradict_each_other(of in impairment(), paused: bool, cpu: bool) {
        let assessment = Talk::new().go_on(30, Impairment { paused, cpu, ..of }, CLEAN).0;
        let range = match assessment.level {
            Level::Good => 80..=100,
            Level::Fair | Level::LocalCpu => 40..=79,
            _ => 0..=39,
        };
        prop_assert!(range.contains(&assessment.score), "{:?} {}", assessment.level, assessment.score);
    }
}
