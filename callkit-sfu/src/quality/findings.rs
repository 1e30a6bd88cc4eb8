//! What is wrong with one person's media at one moment, and whose fault it is. The thresholds are those that
//! people are told of: docs/quality.md.

use std::time::Duration;

use callkit_core::quality::{Cause, Level};

/// Loss from which a line is fair, and beyond which it is poor, percent before repair.
const LOSS_FAIR: f32 = 3.0;
const LOSS_POOR: f32 = 8.0;
/// Round trip to the server from which a line is fair, and beyond which it is poor.
const RTT_FAIR: Duration = Duration::from_millis(300);
const RTT_POOR: Duration = Duration::from_millis(600);
/// Jitter from which a line is fair. It alone does not make a line poor: it turns into delay and loss.
const JITTER_FAIR: Duration = Duration::from_millis(30);
/// Sound made up for lost sound, percent.
const CONCEALED_FAIR: f32 = 2.0;
const CONCEALED_POOR: f32 = 5.0;
/// Share of time that a picture stands still beyond which it is poor, percent: 6 s in a minute.
const FROZEN_POOR: f32 = 10.0;
/// Frames per second below which a camera is fair.
const FPS_FAIR: u16 = 12;
/// A camera that is sent with few frames is not blamed on the receiver unless even fewer of them are shown.
const FPS_SHOWN_OF_SENT: f32 = 0.6;
/// Frames decoded too late to be shown from which the computer is the reason, percent.
const DROPPED_BY_COMPUTER: f32 = 10.0;
/// Lateness of the server from which it is the reason for what looks like a bad line.
const SERVER_LATE: Duration = Duration::from_millis(50);
/// How long the computer has to limit an encoder before the person is told.
pub const CPU_LIMITED_FOR: Duration = Duration::from_secs(20);
/// How long a microphone has to be still before the person is told.
pub const STILL_FOR: Duration = Duration::from_secs(10);

/// Something that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What it comes from, if that is known.
    pub cause: Option<Cause>,
}

impl Finding {
    const fn new(level: Level, cause: Option<Cause>) -> Self {
        Self { level, cause }
    }

    /// The one that matters more; of equals, the first one that knows its cause.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let rank = |finding: &Self| (finding.level.severity(), finding.cause.is_some());
        if rank(&other) > rank(&self) { other } else { self }
    }
}

/// The way between one person and the server. `None`: unknown, which is never bad.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Leg {
    /// Lost on the way to the server, percent before repair.
    pub loss_up_percent: f32,
    /// Lost on the way from the server, percent before repair.
    pub loss_down_percent: f32,
    /// Round trip.
    pub rtt: Option<Duration>,
    /// Jitter of sound on the way to the server.
    pub jitter_up: Option<Duration>,
    /// Jitter of sound that the way from the server adds.
    pub jitter_down: Option<Duration>,
    /// How late the server is with what is due.
    pub server_late: Duration,
}

/// What the line gives. A server that is late makes every line look bad: then it is the server.
#[must_use]
pub fn line(leg: &Leg) -> Finding {
    let loss = leg.loss_up_percent.max(leg.loss_down_percent);
    let rtt = leg.rtt.unwrap_or_default();
    let jitter = leg
        .jitter_up
        .unwrap_or_default()
        .max(leg.jitter_down.unwrap_or_default());
    let level = if loss > LOSS_POOR || rtt > RTT_POOR {
        Level::Poor
    } else if loss >= LOSS_FAIR || rtt >= RTT_FAIR || jitter >= JITTER_FAIR {
        Level::Fair
    } else {
        return Finding::default();
    };
    let cause = if leg.server_late >= SERVER_LATE {
        Cause::Server
    } else {
        Cause::Network
    };
    Finding::new(level, Some(cause))
}

/// What a person is shown or hears of somebody else, as the page measured it, without what the other
/// person's line spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Experience {
    /// Sound made up for lost sound, percent.
    pub concealed_percent: f32,
    /// Time that the picture stood still, percent.
    pub frozen_percent: f32,
    /// Camera: frames shown per second.
    pub fps: Option<u16>,
    /// Camera: frames per second that its owner sends.
    pub sent_fps: Option<u16>,
    /// Frames decoded too late to be shown, percent.
    pub dropped_percent: f32,
}

/// What the experience gives, after the receiver's own `line` and computer were looked at: a bad one whose
/// reason is on this way is that of the line, of the computer if it drops frames, of the server if it is
/// late; otherwise nobody's.
#[must_use]
pub fn experience(seen: &Experience, line: Finding, server_late: Duration) -> Finding {
    let too_few = seen.fps.is_some_and(|shown| {
        let as_sent = |sent: u16| f32::from(shown) >= f32::from(sent) * FPS_SHOWN_OF_SENT;
        shown < FPS_FAIR && !seen.sent_fps.is_some_and(as_sent)
    });
    let level = if seen.concealed_percent > CONCEALED_POOR || seen.frozen_percent > FROZEN_POOR {
        Level::Poor
    } else if seen.concealed_percent >= CONCEALED_FAIR || too_few {
        Level::Fair
    } else {
        return Finding::default();
    };
    let picture = seen.frozen_percent > FROZEN_POOR || too_few;
    let cause = if line.cause.is_some() {
        line.cause
    } else if picture && seen.dropped_percent >= DROPPED_BY_COMPUTER {
        Some(Cause::Computer)
    } else if server_late >= SERVER_LATE {
        Some(Cause::Server)
    } else {
        None
    };
    Finding::new(level, cause)
}

/// What is so or is not, whatever the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// For how long the computer has limited an encoder without a break.
    pub cpu_limited: Duration,
    /// For how long the microphone, switched on, has been still.
    pub still: Duration,
    /// Video towards this person is stopped to keep the sound whole.
    pub video_paused: bool,
}

/// What the facts give.
#[must_use]
pub fn facts(facts: Facts) -> Finding {
    let no_sound = Finding::new(Level::NoSound, Some(Cause::Computer));
    let paused = Finding::new(Level::VideoPaused, Some(Cause::Network));
    let busy = Finding::new(Level::LocalCpu, Some(Cause::Computer));
    let mut worst = Finding::default();
    for (holds, finding) in [
        (facts.still >= STILL_FOR, no_sound),
        (facts.video_paused, paused),
        (facts.cpu_limited >= CPU_LIMITED_FOR, busy),
    ] {
        if holds {
            worst = worst.worse(finding);
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn each_limit_of_the_line_is_where_people_are_told_it_is() {
        let loss = |up, down| Leg {
            loss_up_percent: up,
            loss_down_percent: down,
            ..Leg::default()
        };
        let rtt = |millis| Leg {
            rtt: Some(ms(millis)),
            ..Leg::default()
        };
        let jitter = |millis| Leg {
            jitter_up: Some(ms(millis)),
            ..Leg::default()
        };
        let cases = [
            (loss(2.9, 0.0), Level::Good),
            (loss(3.0, 0.0), Level::Fair),
            (loss(0.0, 8.0), Level::Fair),
            (loss(0.0, 8.1), Level::Poor),
            (rtt(299), Level::Good),
            (rtt(300), Level::Fair),
            (rtt(600), Level::Fair),
            (rtt(601), Level::Poor),
            (jitter(29), Level::Good),
            (jitter(30), Level::Fair),
            (jitter(900), Level::Fair),
        ];
        for (leg, level) in cases {
            assert_eq!(line(&leg).level, level, "{leg:?}");
        }
    }

    #[test]
    fn a_late_server_is_blamed_before_anybodys_network() {
        let leg = Leg {
            rtt: Some(ms(700)),
            ..Leg::default()
        };
        assert_eq!(line(&leg).cause, Some(Cause::Network));
        let late = Leg {
            server_late: ms(80),
            ..leg
        };
        assert_eq!(line(&late).cause, Some(Cause::Server));
    }

    #[test]
    fn a_bad_experience_is_blamed_on_the_line_the_computer_or_the_server_if_one_of_them_shows_it() {
        let frozen = Experience {
            frozen_percent: 12.0,
            ..Experience::default()
        };
        let lossy = Finding::new(Level::Fair, Some(Cause::Network));
        let clean = Finding::default();
        assert_eq!(
            experience(&frozen, lossy, ms(0)),
            Finding::new(Level::Poor, Some(Cause::Network))
        );
        assert_eq!(experience(&frozen, clean, ms(0)).cause, None);
        assert_eq!(experience(&frozen, clean, ms(60)).cause, Some(Cause::Server));
        let dropping = Experience {
            dropped_percent: 20.0,
            ..frozen
        };
        assert_eq!(experience(&dropping, clean, ms(0)).cause, Some(Cause::Computer));
    }

    #[test]
    fn a_camera_in_the_dark_is_not_a_bad_line() {
        let dark = Experience {
            fps: Some(8),
            sent_fps: Some(8),
            ..Experience::default()
        };
        assert_eq!(experience(&dark, Finding::default(), ms(0)).level, Level::Good);
        let choppy = Experience {
            sent_fps: Some(30),
            ..dark
        };
        assert_eq!(experience(&choppy, Finding::default(), ms(0)).level, Level::Fair);
    }

    #[test]
    fn facts_are_told_in_the_order_of_what_can_be_done_about_them() {
        let all = Facts {
            cpu_limited: CPU_LIMITED_FOR,
            still: STILL_FOR,
            video_paused: true,
        };
        assert_eq!(facts(all).level, Level::NoSound);
        let heard = Facts {
            still: ms(9_999),
            ..all
        };
        assert_eq!(facts(heard).level, Level::VideoPaused);
        let shown = Facts {
            video_paused: false,
            ..heard
        };
        assert_eq!(facts(shown).level, Level::LocalCpu);
        let free = Facts {
            cpu_limited: ms(19_999),
            ..shown
        };
        assert_eq!(facts(free), Finding::default());
    }
}
