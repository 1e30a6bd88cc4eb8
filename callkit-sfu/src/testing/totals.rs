//! What synthetic participants sent and got, as plain numbers that add up: [`Totals`], [`Histogram`].

use std::ops::{AddAssign, Sub};
use std::time::Duration;

/// Steps within one doubling: a figure read from a histogram is at most 6 % off.
const STEPS: u64 = 16;
/// Doublings covered: up to 2^32 us, more than an hour.
const BUCKETS: usize = 29 * STEPS as usize;

/// Durations in logarithmic steps, microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram(Box<[u64; BUCKETS]>);

impl Default for Histogram {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

fn bucket(micros: u64) -> usize {
    let micros = micros.min(u64::from(u32::MAX));
    if micros < STEPS {
        return micros as usize;
    }
    let doubling = u64::from(micros.ilog2()) - 3;
    let step = (micros >> (doubling - 1)) & (STEPS - 1);
    (doubling * STEPS + step) as usize
}

/// The middle of a bucket.
fn middle(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    ((STEPS + bucket % STEPS) << shift) + ((1 << shift) >> 1)
}

impl Histogram {
    /// Takes note of a duration.
    pub fn note(&mut self, duration: Duration) {
        self.0[bucket(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))] += 1;
    }

    /// How many were noted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The duration that a share of all does not exceed; `None` if there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((count as f64 * share).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let found = self.0.iter().position(|here| {
            seen += here;
            seen >= rank
        })?;
        Some(Duration::from_micros(middle(found)))
    }
}

impl AddAssign<&Self> for Histogram {
    fn add_assign(&mut self, other: &Self) {
        for (to, from) in self.0.iter_mut().zip(other.0.iter()) {
            *to += from;
        }
    }
}

impl Sub for &Histogram {
    type Output = Histogram;

    fn sub(self, earlier: Self) -> Histogram {
        let mut difference = self.clone();
        for (to, from) in difference.0.iter_mut().zip(earlier.0.iter()) {
            *to = to.saturating_sub(*from);
        }
        difference
    }
}

/// Declares a struct of counters that can be added and subtracted field by field.
macro_rules! counters {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$doc])* pub $field: u64,)+ }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                $(self.$field += other.$field;)+
            }
        }

        impl Sub for $name {
            type Output = Self;

            fn sub(self, earlier: Self) -> Self {
                Self { $($field: self.$field.saturating_sub(earlier.$field),)+ }
            }
        }
    };
}

counters! {
    /// What was sent.
    Sent {
        /// Datagrams of any kind.
        datagrams,
        /// Their bytes, without IP and UDP headers.
        bytes,
        /// Packets of voice.
        audio_packets,
        /// Packets of video, without repetitions.
        video_packets,
        /// Bytes of both as RTP.
        media_bytes,
        /// Pictures.
        frames,
        /// Repeated packets, on request.
        repeated,
        /// Packets of voice and video times the people that should get them.
        owed,
        /// Pictures asked for anew by the server.
        plis_answered,
    }
}

counters! {
    /// What arrived of one kind of media.
    Received {
        /// Packets that the numbering says were sent.
        expected,
        /// Packets that arrived, each once.
        arrived,
        /// Of them those that came as a repetition.
        repaired,
        /// Pictures begun since the first key frame.
        frames_expected,
        /// Pictures of which each packet arrived.
        frames_complete,
    }
}

impl Received {
    /// The share of packets that never arrived, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        share(self.expected.saturating_sub(self.arrived), self.expected)
    }

    /// The share of packets that did not arrive at first, 0 to 1.
    #[must_use]
    pub fn loss_before_repair(&self) -> f64 {
        let at_first = self.arrived.saturating_sub(self.repaired);
        share(self.expected.saturating_sub(at_first), self.expected)
    }
}

/// `part` of `whole`; 0 of nothing is 0.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

counters! {
    /// How the tester itself did: a tester that is late measures itself.
    Own {
        /// Datagrams received.
        datagrams_in,
        /// Their bytes.
        bytes_in,
        /// System calls that sent.
        sends,
        /// System calls that received something.
        receives,
        /// Datagrams that the system did not take.
        not_taken,
        /// Datagrams lost on purpose.
        impaired,
        /// Packets that could not be opened.
        not_authentic,
        /// Packets asked for again.
        nacks,
        /// Key frames asked for.
        plis,
        /// Goodbyes of the server.
        closed,
        /// Handshakes that failed.
        failed,
    }
}

/// Everything that was counted, since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Participants now.
    pub participants: u64,
    /// Of them those whose media is up.
    pub connected: u64,
    /// What was sent.
    pub sent: Sent,
    /// Voice that arrived.
    pub audio: Received,
    /// Video that arrived.
    pub video: Received,
    /// The tester itself.
    pub own: Own,
    /// One way from a participant to another, of packets that came at the first try: sealed here to received by the
    /// kernel here.
    pub delay: Histogram,
    /// Interarrival jitter (RFC 3550 section 6.4.1) of each voice, as it is now.
    pub jitter: Histogram,
    /// How late the tester did what was due.
    pub lag: Histogram,
}

impl Totals {
    /// What happened since `earlier`; the numbers of participants and the jitter are those of now.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            participants: self.participants,
            connected: self.connected,
            sent: self.sent - earlier.sent,
            audio: self.audio - earlier.audio,
            video: self.video - earlier.video,
            own: self.own - earlier.own,
            delay: &self.delay - &earlier.delay,
            jitter: self.jitter.clone(),
            lag: &self.lag - &earlier.lag,
        }
    }

    /// The share of what should have arrived that did, 0 to 1: below it is what was lost, and what the server
    /// withheld. 1 if nothing was owed.
    #[must_use]
    pub fn delivered(&self) -> f64 {
        if self.sent.owed == 0 {
            return 1.0;
        }
        share(self.audio.arrived + self.video.arrived, self.sent.owed)
    }
}

impl AddAssign<&Self> for Totals {
    fn add_assign(&mut self, other: &Self) {
        self.participants += other.participants;
        self.connected += other.connected;
        self.sent += other.sent;
        self.audio += other.audio;
        self.video += other.video;
        self.own += other.own;
        self.delay += &other.delay;
        self.jitter += &other.jitter;
        self.lag += &other.lag;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_those_of_the_noted_durations() {
        let mut histogram = Histogram::default();
        for millis in 1..=100 {
            histogram.note(Duration::from_millis(millis));
        }
        let near = |share: f64, millis: f64| {
            let got = histogram.quantile(share).unwrap().as_secs_f64() * 1e3;
            assert!((got / millis - 1.0).abs() < 0.07, "{got} for {millis}");
        };
        near(0.5, 50.0);
        near(0.99, 99.0);
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn a_difference_forgets_what_was_before() {
        let mut histogram = Histogram::default();
        histogram.note(Duration::from_secs(1));
        let before = histogram.clone();
        histogram.note(Duration::from_micros(7));
        let since = &histogram - &before;
        assert_eq!(
            (since.count(), since.quantile(1.0)),
            (1, Some(Duration::from_micros(7)))
        );
    }

    proptest! {
        #[test]
        fn a_bucket_holds_what_it_says(micros in 0u64..1 << 33) {
            let told = middle(bucket(micros));
            let real = micros.min(u64::from(u32::MAX));
            prop_assert!(told.abs_diff(real) * 16 <= real.max(16), "{} for {}", told, real);
            prop_assert!(bucket(micros) <= bucket(micros + 1));
        }
    }
}
