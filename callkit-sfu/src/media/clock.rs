//! The clocks behind lip sync: the server's NTP time, and each publisher's clock mapped onto it.
//!
//! Receivers line up sound and picture by the sender reports of the two streams (RFC 3550 section 6.4.1).
//! A publisher has one NTP clock for all its streams, so one offset per publisher, shared by all of them,
//! keeps their relation exact; how well it fits the server's time matters much less.

use std::time::{Duration, Instant};

/// Seconds since 1900 as 32.32 fixed point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NtpTime(u64);

/// From 1900 to 1970 in seconds.
const UNIX_EPOCH: u64 = 2_208_988_800;

impl NtpTime {
    /// The NTP time `since_unix_epoch` after 1970.
    #[must_use]
    pub fn from_unix(since_unix_epoch: Duration) -> Self {
        Self((UNIX_EPOCH << 32).wrapping_add(fixed(since_unix_epoch)))
    }

    /// From the form on the wire.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The form on the wire.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The middle 32 bits, as reports refer to it: units of 1/65536 s.
    #[must_use]
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// This time and `duration`.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.wrapping_add(fixed(duration)))
    }
}

fn fixed(duration: Duration) -> u64 {
    let fraction = (u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000;
    (duration.as_secs() << 32).wrapping_add(fraction)
}

/// Converts the monotonic time of the drivers to NTP time.
#[derive(Debug, Clone, Copy)]
pub struct ServerClock {
    /// A moment.
    pub epoch: Instant,
    /// Its NTP time.
    pub ntp: NtpTime,
}

impl ServerClock {
    /// NTP time of `now`.
    #[must_use]
    pub fn at(&self, now: Instant) -> NtpTime {
        self.ntp.plus(now.saturating_duration_since(self.epoch))
    }

    /// Round trip from a report block: time since the report it refers to, less the time it was held
    /// (RFC 3550 section 6.4.1). `None` if it refers to no report or the numbers are impossible.
    #[must_use]
    pub fn round_trip(&self, now: Instant, last_report: u32, delay: u32) -> Option<Duration> {
        if last_report == 0 {
            return None;
        }
        let ticks = self
            .at(now)
            .middle()
            .wrapping_sub(last_report)
            .wrapping_sub(delay) as i32;
        // Rounding of the two clocks can make a loopback round trip slightly negative.
        let micros = u64::try_from(ticks.max(0)).ok()? * 1_000_000 / 65_536;
        (ticks > -656 && micros < 10_000_000).then(|| Duration::from_micros(micros))
    }
}

/// The relation of a stream's timestamps to its publisher's NTP clock, from its last sender report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamClock {
    /// Publisher's NTP time.
    pub ntp: u64,
    /// Timestamp of the same moment.
    pub rtp: u32,
    /// When the report arrived.
    pub arrived: Instant,
}

impl StreamClock {
    /// The timestamp at the publisher's time `ntp`.
    #[must_use]
    pub fn rtp_at(&self, ntp: u64, rate: u32) -> u32 {
        let ahead = i128::from(ntp.wrapping_sub(self.ntp) as i64);
        // Half a unit is added so that going to NTP and back gives the same timestamp.
        let units = (ahead * i128::from(rate) + (1 << 31)) >> 32;
        self.rtp.wrapping_add(units as u32)
    }

    /// The publisher's time of timestamp `rtp`.
    #[must_use]
    pub fn ntp_of(&self, rtp: u32, rate: u32) -> u64 {
        let ahead = i128::from(rtp.wrapping_sub(self.rtp) as i32);
        self.ntp.wrapping_add(((ahead << 32) / i128::from(rate)) as u64)
    }
}

/// How a publisher's NTP clock stands to the server's.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublisherClock {
    /// Server minus publisher, modulo 2^64.
    offset: Option<u64>,
}

/// What a report did to a [`PublisherClock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockChange {
    /// The publisher's clock was set; what earlier reports said no longer fits.
    Jumped,
    /// The offset is known from this report on.
    Learned,
    /// Nothing.
    None,
}

impl PublisherClock {
    /// A difference that network delay cannot explain, in NTP units: the publisher's clock was set.
    const JUMP: u64 = 2 << 32;

    /// Takes a report's NTP time that arrived at `server` time.
    pub fn note(&mut self, server: NtpTime, publisher: u64) -> ClockChange {
        let offset = server.bits().wrapping_sub(publisher);
        let Some(known) = self.offset else {
            self.offset = Some(offset);
            return ClockChange::Learned;
        };
        if (offset.wrapping_sub(known) as i64).unsigned_abs() > Self::JUMP {
            self.offset = Some(offset);
            return ClockChange::Jumped;
        }
        ClockChange::None
    }

    /// The publisher's time at server time `ntp`.
    #[must_use]
    pub fn publisher_time(&self, ntp: NtpTime) -> Option<u64> {
        self.offset.map(|offset| ntp.bits().wrapping_sub(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clock() -> ServerClock {
        ServerClock {
            epoch: crate::media::moment(),
            ntp: NtpTime::from_unix(Duration::from_secs(1_790_000_000)),
        }
    }

    #[test]
    fn p23_round_trip_is_what_is_left_after_the_hold_and_never_negative() {
        let clock = clock();
        let sent = clock.at(clock.epoch).middle();
        let later = clock.epoch + Duration::from_millis(350);
        let rtt = clock.round_trip(later, sent, 65_536 / 4).unwrap();
        assert!((99..=101).contains(&rtt.as_millis()), "{rtt:?}");
        assert_eq!(
            clock.round_trip(later, sent, 65_536 * 7 / 20 + 5),
            Some(Duration::ZERO)
        );
        assert_eq!(clock.round_trip(later, sent, 65_536), None);
        assert_eq!(clock.round_trip(later, 0, 0), None);
    }

    #[test]
    fn a_clock_that_was_set_is_noticed_and_delay_is_not() {
        let mut publisher = PublisherClock::default();
        let server = |seconds: u64| NtpTime::from_bits(seconds << 32);
        assert_eq!(publisher.note(server(1000), 5 << 32), ClockChange::Learned);
        assert_eq!(publisher.note(server(1001), 5 << 32), ClockChange::None);
        assert_eq!(publisher.publisher_time(server(1001)), Some(6 << 32));
        assert_eq!(publisher.note(server(1002), 100 << 32), ClockChange::Jumped);
        assert_eq!(publisher.publisher_time(server(1003)), Some(101 << 32));
    }

    proptest! {
        #[test]
        fn timestamps_survive_the_way_over_ntp(ntp: u64, base: u32, ahead in -1_000_000_000i32..1_000_000_000) {
            let arrived = crate::media::moment();
            for rate in [48_000, 90_000] {
                let clock = StreamClock { ntp, rtp: base, arrived };
                let rtp = base.wrapping_add(ahead as u32);
                prop_assert_eq!(clock.rtp_at(clock.ntp_of(rtp, rate), rate), rtp);
            }
        }
    }
}
