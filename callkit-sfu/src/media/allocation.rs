//! What of the video a receiver gets, given what its connection takes. Pure: states in, choices out.
//!
//! Sound is never limited and comes off first. Then the shared screens, then the cameras. A stream whose
//! publisher has only this receiver is *elastic*: its encoder is told what the connection takes and adapts,
//! so it is only stopped while the encoder has not followed yet, or when too little is left for any picture.
//! The others are chosen by simulcast layer: everybody gets the lowest one before anybody gets a better one.
//! A better layer is taken only with a margin and not soon after one was given up; a lower one at once.

use std::time::{Duration, Instant};

use super::uplink::MAX_LAYERS;
use crate::layout::{SLOTS, Source};

/// Video m-lines of a receiver.
pub const MAX_TRACKS: usize = SLOTS * 2;
/// Silence after which a layer counts as off. Shorter wavers at low frame rates, longer freezes the picture
/// for longer when a layer goes.
pub const SILENCE: Duration = Duration::from_millis(1500);
/// Bits per second below which a camera is stopped, and from which it comes back.
const CAMERA_FLOOR: (u64, u64) = (60_000, 100_000);
/// As for the camera; a screen needs more to be readable.
const SCREEN_FLOOR: (u64, u64) = (80_000, 130_000);
/// A stream counts as too much for the connection above this many percent of its share.
const TOO_MUCH: u64 = 130;
/// Far too much: it is not given time to adapt.
const FAR_TOO_MUCH: u64 = 250;
/// Decisions in a row that find too much before a stream is stopped.
const PATIENCE: u8 = 2;
/// Margin in percent that a better layer needs.
const MARGIN: u64 = 120;
/// No better layer, and no return of a stopped stream, within this time after giving one up.
const HOLD: Duration = Duration::from_secs(3);
const STOPPED: Duration = Duration::from_millis(600);
/// A receiver whose connection never showed a limit gets the best there is for this long; it is measured
/// meanwhile.
const YOUNG: Duration = Duration::from_secs(2);

/// One simulcast layer of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layer {
    /// Bits per second: measured if it is live, expected otherwise.
    pub rate: u64,
    /// It is being sent.
    pub is_live: bool,
}

/// What was decided for one stream of one receiver.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice {
    /// The layer that fits; the publisher should send it.
    pub wanted: Option<usize>,
    /// The layer to forward now: the wanted one or the best live substitute.
    pub shown: Option<usize>,
    /// Nothing is forwarded because the connection does not take it.
    pub is_paused: bool,
    /// Bits per second that this stream may take.
    pub share: u64,
    excess: u8,
    hold: Option<Instant>,
}

/// A stream that a receiver could get.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Camera or screen.
    pub source: Source,
    /// Layers, lowest first; the first `count` count.
    pub layers: [Layer; MAX_LAYERS],
    /// Number of layers.
    pub count: usize,
    /// This receiver is the only one of the publisher.
    pub is_elastic: bool,
    /// What was decided before; replaced.
    pub choice: Choice,
}

/// A receiver's connection.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Bits per second that it takes, as far as known.
    pub estimate: Option<u64>,
    /// It was seen to take no more than that.
    pub is_capped: bool,
    /// Bits per second of sound.
    pub audio: u64,
    /// Since when it has been up.
    pub since: Instant,
}

impl Asked {
    fn layers(&self) -> &[Layer] {
        &self.layers[..self.count.min(MAX_LAYERS)]
    }

    fn is_live(&self) -> bool {
        self.layers().iter().any(|layer| layer.is_live)
    }

    fn best_live(&self, at_most: usize) -> Option<usize> {
        let layers = self.layers();
        let until = layers.len().min(at_most.saturating_add(1));
        layers[..until].iter().rposition(|layer| layer.is_live)
    }

    fn top(&self) -> usize {
        self.count.saturating_sub(1)
    }

    fn cost(&self, layer: usize) -> u64 {
        self.layers.get(layer).map_or(0, |layer| layer.rate)
    }

    fn is_held(&self, now: Instant) -> bool {
        self.choice.hold.is_some_and(|until| now < until)
    }

    /// Everything there is.
    fn unlimited(&mut self) {
        self.choice = Choice {
            wanted: Some(self.top()),
            shown: self.best_live(usize::MAX),
            share: u64::MAX,
            ..Choice::default()
        };
    }

    fn pause(&mut self, now: Instant) {
        if !self.choice.is_paused {
            self.choice.hold = Some(now + STOPPED);
        }
        self.choice.is_paused = self.is_live() || self.choice.is_paused;
        self.choice.shown = None;
        self.choice.excess = 0;
    }

    /// Decides about a stream that is taken as it is or not at all. Returns what it uses of `share`.
    fn whole(&mut self, now: Instant, share: u64, is_capped: bool) -> u64 {
        let (out, back) = if self.source == Source::Screen {
            SCREEN_FLOOR
        } else {
            CAMERA_FLOOR
        };
        let best = self.best_live(usize::MAX);
        let rate = best.map_or(0, |best| self.cost(best));
        self.choice.share = share;
        self.choice.wanted = Some(self.top());
        if self.choice.is_paused {
            let fits = share >= back && rate <= share;
            if self.is_held(now) || !fits {
                if share < out {
                    self.choice.wanted = None;
                }
                self.pause(now);
                return 0;
            }
            self.choice.is_paused = false;
        } else if is_capped && share < out {
            self.choice.wanted = None;
            self.pause(now);
            return 0;
        }
        let percent = rate.saturating_mul(100) / share.max(1);
        self.choice.excess = match percent {
            _ if !is_capped => 0,
            percent if percent > FAR_TOO_MUCH => PATIENCE,
            percent if percent > TOO_MUCH => self.choice.excess + 1,
            _ => 0,
        };
        if self.choice.excess >= PATIENCE {
            self.pause(now);
            return 0;
        }
        self.choice.shown = best;
        rate.min(share)
    }

    /// Takes over the layer that was found to fit. `spare` is what nobody uses.
    fn layer(&mut self, now: Instant, wanted: Option<usize>, spare: u64, is_capped: bool) {
        if wanted < self.choice.wanted {
            self.choice.hold = Some(now + HOLD);
        }
        self.choice.wanted = wanted;
        let Some(wanted) = wanted else {
            self.choice.is_paused |= self.is_live();
            self.choice.shown = None;
            self.choice.share = 0;
            return;
        };
        let room = self.cost(wanted).saturating_add(spare);
        self.choice.share = room;
        let above = || {
            let layer = self.layers().iter().position(|layer| layer.is_live)?;
            (!is_capped || self.cost(layer) <= room).then_some(layer)
        };
        self.choice.shown = self.best_live(wanted).or_else(above);
        self.choice.is_paused = self.choice.shown.is_none() && self.is_live();
    }
}

/// Decides about all streams of a receiver.
pub fn allocate(now: Instant, line: &Line, asked: &mut [Asked]) {
    let is_young = now.saturating_duration_since(line.since) < YOUNG;
    let Some(estimate) = line.estimate.filter(|_| line.is_capped || !is_young) else {
        asked.iter_mut().for_each(Asked::unlimited);
        return;
    };
    let mut left = estimate.saturating_sub(line.audio);
    for one in asked.iter_mut().filter(|one| one.source == Source::Screen) {
        left -= one.whole(now, left, line.is_capped).min(left);
    }
    let is_elastic = |one: &Asked| one.source != Source::Screen && one.is_elastic;
    let mut sharing = asked
        .iter()
        .filter(|one| is_elastic(one) && one.is_live())
        .count() as u64;
    for one in asked.iter_mut().filter(|one| is_elastic(one)) {
        let share = left / sharing.max(1);
        if one.is_live() {
            sharing -= 1;
        }
        left -= one.whole(now, share, line.is_capped).min(left);
    }
    layered(now, line, left, estimate / 10, asked);
}

/// The cameras with several receivers: the lowest layers first, then better ones in turn. A layer in use may
/// exceed what is left by `slack`, so that a rate that wavers does not make the picture waver.
fn layered(now: Instant, line: &Line, mut left: u64, slack: u64, asked: &mut [Asked]) {
    let mut plan = [None::<usize>; MAX_TRACKS];
    let counts = |one: &Asked| one.source != Source::Screen && !one.is_elastic && one.count > 0;
    for _ in 0..MAX_LAYERS {
        for (one, plan) in asked.iter().zip(&mut plan).filter(|(one, _)| counts(one)) {
            let next = plan.map_or(0, |layer| layer + 1);
            if next >= one.count {
                continue;
            }
            let extra = one
                .cost(next)
                .saturating_sub(plan.map_or(0, |layer| one.cost(layer)));
            let in_use = one.choice.wanted >= Some(next);
            let fits = if in_use {
                extra <= left + slack
            } else {
                !one.is_held(now) && extra * MARGIN / 100 <= left
            };
            // Without a limit ever seen the lowest layer is not too much.
            if fits || (next == 0 && !line.is_capped) {
                // A stream that is off takes nothing, but its place must not be counted on twice.
                left = left.saturating_sub(extra);
                *plan = Some(next);
            }
        }
    }
    for (one, plan) in asked.iter_mut().zip(plan).filter(|(one, _)| counts(one)) {
        one.layer(now, plan, left, line.is_capped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        crate::media::moment() + Duration::from_millis(millis)
    }

    fn line(estimate: u64) -> Line {
        Line {
            estimate: Some(estimate),
            is_capped: true,
            audio: 40_000,
            since: at(0),
        }
    }

    fn camera(rates: &[u64], is_elastic: bool) -> Asked {
        let mut layers = [Layer::default(); MAX_LAYERS];
        for (layer, rate) in layers.iter_mut().zip(rates) {
            *layer = Layer {
                rate: *rate,
                is_live: true,
            };
        }
        Asked {
            source: Source::Camera,
            layers,
            count: rates.len(),
            is_elastic,
            choice: Choice::default(),
        }
    }

    fn screen(rate: u64) -> Asked {
        Asked {
            source: Source::Screen,
            ..camera(&[rate], true)
        }
    }

    const THREE: [u64; 3] = [150_000, 500_000, 1_500_000];

    fn shown(asked: &[Asked]) -> Vec<Option<usize>> {
        asked.iter().map(|one| one.choice.shown).collect()
    }

    #[test]
    fn p13_the_best_layer_that_is_alive_is_taken() {
        let mut one = camera(&THREE, false);
        one.layers[2].is_live = false;
        let mut asked = [one];
        allocate(at(10_000), &line(9_000_000), &mut asked);
        assert_eq!(
            (asked[0].choice.wanted, asked[0].choice.shown),
            (Some(2), Some(1))
        );
        asked[0].layers.iter_mut().for_each(|layer| layer.is_live = false);
        allocate(at(10_000), &line(9_000_000), &mut asked);
        assert_eq!(asked[0].choice.shown, None);
        assert!(!asked[0].choice.is_paused, "a camera that is off is not paused");
    }

    #[test]
    fn the_screen_comes_before_the_cameras_and_nothing_before_the_sound() {
        let mut asked = [camera(&THREE, false), screen(900_000), camera(&THREE, false)];
        allocate(at(10_000), &line(1_300_000), &mut asked);
        assert_eq!(shown(&asked), [Some(0), Some(0), Some(0)]);
        allocate(at(20_000), &line(1_000_000), &mut asked);
        assert_eq!(shown(&asked), [Some(0), Some(0), None], "one camera goes");
        assert!(asked[2].choice.is_paused);
        allocate(at(30_000), &line(60_000), &mut asked);
        assert_eq!(shown(&asked), [None, None, None]);
        assert!(asked.iter().all(|one| one.choice.is_paused));
    }

    #[test]
    fn two_cameras_share_and_the_lowest_layers_come_first() {
        let mut asked = [camera(&THREE, false), camera(&THREE, false)];
        allocate(at(10_000), &line(900_000), &mut asked);
        assert_eq!(shown(&asked), [Some(1), Some(0)]);
        allocate(at(20_000), &line(5_000_000), &mut asked);
        assert_eq!(shown(&asked), [Some(2), Some(2)]);
    }

    #[test]
    fn a_better_layer_needs_a_margin_and_time_after_a_fall() {
        let mut asked = [camera(&THREE, false)];
        allocate(at(10_000), &line(1_600_000), &mut asked);
        assert_eq!(shown(&asked), [Some(1)], "no margin");
        allocate(at(10_200), &line(2_000_000), &mut asked);
        assert_eq!(shown(&asked), [Some(2)]);
        allocate(at(10_400), &line(1_500_000), &mut asked);
        assert_eq!(shown(&asked), [Some(2)], "wavering is nothing");
        allocate(at(10_600), &line(1_000_000), &mut asked);
        assert_eq!(shown(&asked), [Some(1)]);
        allocate(at(11_600), &line(3_000_000), &mut asked);
        assert_eq!(shown(&asked), [Some(1)], "not yet");
        allocate(at(13_700), &line(3_000_000), &mut asked);
        assert_eq!(shown(&asked), [Some(2)]);
    }

    #[test]
    fn an_elastic_stream_is_given_time_to_follow_unless_it_is_far_too_much() {
        let mut asked = [camera(&[1_000_000], true)];
        allocate(at(10_000), &line(700_000), &mut asked);
        assert_eq!(shown(&asked), [Some(0)]);
        asked[0].layers[0].rate = 600_000;
        allocate(at(10_200), &line(700_000), &mut asked);
        assert_eq!(shown(&asked), [Some(0)]);
        asked[0].layers[0].rate = 2_500_000;
        allocate(at(10_400), &line(300_000), &mut asked);
        assert_eq!(shown(&asked), [None]);
        assert!(asked[0].choice.is_paused && asked[0].choice.wanted.is_some());
        asked[0].layers[0].rate = 200_000;
        allocate(at(10_600), &line(300_000), &mut asked);
        assert_eq!(shown(&asked), [None], "the queue drains first");
        allocate(at(11_200), &line(300_000), &mut asked);
        assert_eq!(shown(&asked), [Some(0)]);
        assert!(!asked[0].choice.is_paused);
    }

    #[test]
    fn without_a_limit_ever_seen_nothing_is_paused() {
        let mut asked = [camera(&THREE, false), screen(3_000_000)];
        let unknown = Line {
            is_capped: false,
            ..line(400_000)
        };
        allocate(at(500), &unknown, &mut asked);
        assert_eq!(shown(&asked), [Some(2), Some(0)], "young: the best there is");
        allocate(at(5000), &unknown, &mut asked);
        assert_eq!(shown(&asked), [Some(0), Some(0)]);
        asked[0].layers[0].is_live = false;
        asked[0].layers[1].is_live = false;
        allocate(at(5200), &unknown, &mut asked);
        assert_eq!(
            shown(&asked),
            [Some(2), Some(0)],
            "what there is, until the wanted layer comes"
        );
    }
}
