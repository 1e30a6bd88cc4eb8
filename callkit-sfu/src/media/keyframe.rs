//! Asking a publisher for key frames: at once, not too often, and until one comes.

use std::time::{Duration, Instant};

/// Least distance between two requests to one stream. Lower floods encoders that need longer than that to
/// answer; higher shows in how long a lost request leaves a picture black.
pub const MIN_INTERVAL: Duration = Duration::from_millis(500);
/// Requests without an answer after which the stream is taken to be stopped. Traffic that nobody can
/// decode brings up a new request.
const MAX_REPEATS: u8 = 10;

/// The requests to one stream.
///
/// Demand is coalesced. The first goes out at once; what comes within the interval waits for its end (a
/// trailing edge, so that no demand is lost), and a request is repeated until a key frame arrives.
#[derive(Debug, Default)]
pub struct KeyframeRequests {
    wanted: bool,
    last: Option<Instant>,
    repeats: u8,
}

impl KeyframeRequests {
    /// Somebody needs a key frame.
    pub const fn request(&mut self) {
        if !self.wanted {
            self.wanted = true;
            self.repeats = 0;
        }
    }

    /// A key frame starts: what was asked for is here.
    pub const fn arrived(&mut self) {
        self.wanted = false;
    }

    /// When a request goes out; a moment in the past means now.
    #[must_use]
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.wanted
            .then(|| self.last.map_or(now, |last| last + MIN_INTERVAL))
    }

    /// Whether to send a request now.
    pub fn poll(&mut self, now: Instant) -> bool {
        if self.due(now).is_none_or(|due| due > now) {
            return false;
        }
        if self.repeats == MAX_REPEATS {
            self.wanted = false;
            return false;
        }
        self.repeats += 1;
        self.last = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Polls every 10 ms of `range` and returns the times of requests.
    fn sent(requests: &mut KeyframeRequests, start: Instant, range: std::ops::Range<u64>) -> Vec<u64> {
        range
            .step_by(10)
            .filter(|at| requests.poll(start + Duration::from_millis(*at)))
            .collect()
    }

    #[test]
    fn p22_the_first_goes_at_once_and_a_storm_is_coalesced_to_its_trailing_edge() {
        let start = crate::media::moment();
        let mut requests = KeyframeRequests::default();
        let mut times = Vec::new();
        for at in (0..2000).step_by(10) {
            requests.request();
            if requests.poll(start + Duration::from_millis(at)) {
                times.push(at);
                requests.arrived();
            }
        }
        assert_eq!(times, [0, 500, 1000, 1500]);
        requests.request();
        assert_eq!(sent(&mut requests, start, 2000..2600), [2000, 2500]);
    }

    #[test]
    fn p22_a_lost_request_is_repeated_until_the_key_frame_comes() {
        let start = crate::media::moment();
        let mut requests = KeyframeRequests::default();
        requests.request();
        assert_eq!(sent(&mut requests, start, 0..1600), [0, 500, 1000, 1500]);
        requests.arrived();
        assert_eq!(requests.due(start), None);
    }

    #[test]
    fn p22_demand_just_after_a_key_frame_waits_for_the_end_of_the_interval_and_is_not_lost() {
        let start = crate::media::moment();
        let mut requests = KeyframeRequests::default();
        requests.request();
        assert_eq!(sent(&mut requests, start, 0..100), [0]);
        requests.arrived();
        requests.request();
        assert_eq!(sent(&mut requests, start, 100..600), [500]);
    }

    #[test]
    fn a_stopped_stream_is_not_asked_for_ever() {
        let start = crate::media::moment();
        let mut requests = KeyframeRequests::default();
        requests.request();
        assert_eq!(
            sent(&mut requests, start, 0..60_000).len(),
            usize::from(MAX_REPEATS)
        );
        assert_eq!(requests.due(start), None);
        requests.request();
        assert!(requests.poll(start + Duration::from_secs(61)));
    }
}
