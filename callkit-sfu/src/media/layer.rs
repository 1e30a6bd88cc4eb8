//! The port that chooses a simulcast layer, and the policy that takes the best one that is alive.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// What is known of one layer of a source, in order of quality, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerState {
    /// When its last packet came; `None` before the first.
    pub last_packet: Option<Instant>,
}

/// Chooses the layer that a receiver gets.
///
/// # Contract
/// The answer is an index into `layers` or `None` to pause. It is asked for each packet of a source with
/// several layers, so it must be quick, must not allocate, and should not waver: each change costs a key
/// frame. An index out of range is taken as `None`.
pub trait LayerPolicy: Debug + Send {
    /// The layer wanted at `now`.
    fn select(&self, now: Instant, layers: &[LayerState]) -> Option<usize>;
}

/// Takes the highest layer that has sent lately. Browsers switch layers off by themselves when bandwidth or
/// processor are short, so the highest is not always there.
#[derive(Debug, Clone, Copy)]
pub struct BestLive {
    /// Silence after which a layer counts as off. Shorter wavers at low frame rates, longer freezes the
    /// picture for longer when a layer goes.
    pub silence: Duration,
}

impl Default for BestLive {
    fn default() -> Self {
        Self {
            silence: Duration::from_millis(1500),
        }
    }
}

impl LayerPolicy for BestLive {
    fn select(&self, now: Instant, layers: &[LayerState]) -> Option<usize> {
        layers.iter().rposition(|layer| {
            layer
                .last_packet
                .is_some_and(|last| now.saturating_duration_since(last) <= self.silence)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p13_the_best_layer_that_is_alive_is_taken() {
        let start = crate::media::moment();
        let at = |millis| LayerState {
            last_packet: Some(start + Duration::from_millis(millis)),
        };
        let never = LayerState { last_packet: None };
        let select = |millis, layers: &[LayerState]| {
            BestLive::default().select(start + Duration::from_millis(millis), layers)
        };
        assert_eq!(select(0, &[never, never]), None);
        assert_eq!(select(1000, &[at(900), at(950), never]), Some(1));
        assert_eq!(select(3000, &[at(2900), at(950)]), Some(0));
        assert_eq!(select(9000, &[at(2900), at(950)]), None);
    }
}
