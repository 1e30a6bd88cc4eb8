//! The score of one track, 0 to 100. Each function falls, or stays, when what it is given gets worse.

use std::time::Duration;

/// R without any impairment (ITU-T G.107, default values).
const R_BEST: f32 = 93.2;
/// Robustness against random loss of a codec with concealment (ITU-T G.113 table I.4, G.711 with PLC). Opus
/// with in-band error correction is at least as robust, so the score is on the safe side.
const LOSS_ROBUSTNESS: f32 = 25.1;
/// One-way delay from which people begin to talk over each other, milliseconds (Cole and Rosenbluth, "Voice
/// over IP Performance Monitoring", 2001).
const DELAY_KNEE_MS: f32 = 177.3;
/// Points per percent of video that stayed lost (LiveKit's weight for video).
const RESIDUAL_WEIGHT: f32 = 10.0;
/// Points per percent of video that was lost and repaired: it costs a round trip of delay.
const REPAIRED_WEIGHT: f32 = 2.0;
/// Points per percent of time that a picture stands still: 10 % (6 s in a minute) is the limit of poor.
const FREEZE_WEIGHT: f32 = 6.0;
/// Points per simulcast layer that could be had and is not (LiveKit).
const LAYER_WEIGHT: f32 = 35.0;
/// Bits per second of video beyond which more makes little difference: 720p of a person who talks.
const ENOUGH_VIDEO: f32 = 1_000_000.0;
/// Points per e-fold of too little (LiveKit): 80 at 2.7 times too little, 40 at 20 times.
const BITRATE_WEIGHT: f32 = 20.0;
/// A video that is paused to keep the sound whole (LiveKit).
pub const PAUSED: f32 = 30.0;

/// Delay of one leg in milliseconds: half the round trip, and a jitter buffer of twice the jitter.
#[must_use]
pub fn leg_delay_ms(rtt: Option<Duration>, jitter: Option<Duration>) -> f32 {
    let millis = |duration: Option<Duration>| duration.unwrap_or_default().as_secs_f32() * 1000.0;
    millis(rtt) / 2.0 + 2.0 * millis(jitter)
}

/// Sound: the E-model (ITU-T G.107) with Cole and Rosenbluth's delay term, scaled so that an unimpaired line
/// has 100. `lost_percent` is what the listener misses.
#[must_use]
pub fn audio(lost_percent: f32, delay_ms: f32) -> f32 {
    let lost = lost_percent.clamp(0.0, 100.0);
    let delay = delay_ms.max(0.0);
    let by_delay = 0.024 * delay + 0.11 * (delay - DELAY_KNEE_MS).max(0.0);
    let by_loss = 95.0 * lost / (lost + LOSS_ROBUSTNESS);
    ((R_BEST - by_delay - by_loss) / R_BEST * 100.0).clamp(0.0, 100.0)
}

/// What a video track suffers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct VideoImpairment {
    /// Lost before repair, percent.
    pub lost_percent: f32,
    /// Of all packets, those that stayed lost, percent.
    pub unrepaired_percent: f32,
    /// [`leg_delay_ms`].
    pub delay_ms: f32,
    /// Time that the picture stood still, percent.
    pub frozen_percent: f32,
    /// Better layers that are there and not received.
    pub layers_missed: u8,
    /// Bits per second that the connection leaves for it; `None` without a known limit. What a quiet picture
    /// really takes says nothing.
    pub available_bps: Option<u64>,
    /// Stopped to keep the sound whole.
    pub paused: bool,
}

/// Video: the worst of packets (LiveKit's shape, with repaired loss weighing less), freezes, layers and room.
#[must_use]
pub fn video(impairment: &VideoImpairment) -> f32 {
    let delay = impairment.delay_ms.max(0.0);
    // LiveKit: delay / 40 to 160 ms, (delay - 120) / 10 beyond; the two meet at 160.
    let by_delay = if delay > 160.0 {
        (delay - 120.0) / 10.0
    } else {
        delay / 40.0
    };
    let lost = impairment.lost_percent.clamp(0.0, 100.0);
    let unrepaired = impairment.unrepaired_percent.clamp(0.0, lost.max(0.0));
    let by_loss = RESIDUAL_WEIGHT * unrepaired + REPAIRED_WEIGHT * (lost - unrepaired);
    let packets = 100.0 - by_delay - by_loss;
    let freezes = 100.0 - FREEZE_WEIGHT * impairment.frozen_percent.clamp(0.0, 100.0);
    let layers = 100.0 - LAYER_WEIGHT * f32::from(impairment.layers_missed);
    let room = impairment.available_bps.map_or(100.0, |available| {
        let too_little = ENOUGH_VIDEO / (available as f32).clamp(1.0, ENOUGH_VIDEO);
        100.0 - BITRATE_WEIGHT * too_little.ln()
    });
    let stopped = if impairment.paused { PAUSED } else { 100.0 };
    packets
        .min(freezes)
        .min(layers)
        .min(room)
        .min(stopped)
        .clamp(0.0, 100.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clean_line_has_the_full_score() {
        assert!(audio(0.0, 20.0) > 99.0);
        assert!(video(&VideoImpairment::default()) > 99.9);
    }

    #[test]
    fn the_e_model_agrees_with_its_published_points() {
        // R = 93.2 - 0.024 * 177.3 at the knee.
        assert!((audio(0.0, DELAY_KNEE_MS) - (93.2 - 4.255) / 93.2 * 100.0).abs() < 0.05);
        // Half of 95 is lost where the loss equals the robustness.
        assert!((audio(LOSS_ROBUSTNESS, 0.0) - (93.2 - 47.5) / 93.2 * 100.0).abs() < 0.05);
    }

    #[test]
    fn repaired_loss_weighs_less_than_loss_that_stays() {
        let lost = VideoImpairment {
            lost_percent: 5.0,
            ..VideoImpairment::default()
        };
        let stayed = VideoImpairment {
            unrepaired_percent: 5.0,
            ..lost
        };
        assert!(video(&lost) >= 90.0 && video(&stayed) <= 50.0);
    }

    fn impairment() -> impl Strategy<Value = VideoImpairment> {
        let shares = (0f32..60.0, 0f32..60.0, 0f32..2000.0, 0f32..100.0);
        let room = prop::option::of(1u64..3_000_000);
        (shares, 0u8..3, room, any::<bool>()).prop_map(
            |((lost, stayed, delay, frozen), layers, room, paused)| VideoImpairment {
                lost_percent: lost,
                unrepaired_percent: stayed.min(lost),
                delay_ms: delay,
                frozen_percent: frozen,
                layers_missed: layers,
                available_bps: room,
                paused,
            },
        )
    }

    proptest! {
        #[test]
        fn sound_never_scores_higher_with_more_loss_or_delay(
            lost in 0f32..100.0, more_lost in 0f32..50.0, delay in 0f32..3000.0, more_delay in 0f32..1000.0
        ) {
            prop_assert!(audio(lost + more_lost, delay) <= audio(lost, delay));
            prop_assert!(audio(lost, delay + more_delay) <= audio(lost, delay));
        }

        #[test]
        fn video_never_scores_higher_when_something_gets_worse(
            before in impairment(), which in 0u8..7, more in 0f32..30.0
        ) {
            let mut after = before;
            match which {
                0 => after.lost_percent += more,
                1 => after.unrepaired_percent = (after.unrepaired_percent + more).min(after.lost_percent),
                2 => after.delay_ms += more * 20.0,
                3 => after.frozen_percent += more,
                4 => after.layers_missed += 1,
                5 => after.available_bps = Some(after.available_bps.unwrap_or(3_000_000) / 2),
                _ => after.paused = true,
            }
            prop_assert!(video(&after) <= video(&before) + 1e-3, "{:?} {:?}", before, after);
        }
    }
}
