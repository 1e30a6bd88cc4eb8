//! What a synthetic participant does with what it gets on one receiving m-line: counts, asks again, reports.

use std::time::{Duration, Instant};

use super::publish::Trailer;
use super::totals::{Histogram, Received};
use crate::media::nack::NackGenerator;
use crate::rtp::rtcp::Block;
use crate::rtp::{Packet, Unwrapper};

/// Numbers behind the newest that are still told apart; older ones count as duplicates.
const WINDOW: u64 = 1024;
/// Pictures that may be incomplete at the same time.
const FRAMES: usize = 64;
/// A larger step of the picture numbers is another camera in the same place.
const ANOTHER_CAMERA: u32 = 300;
/// Time between two requests for a key frame.
const PLI_INTERVAL: Duration = Duration::from_millis(500);

/// An incomplete picture.
#[derive(Debug, Clone, Copy, Default)]
struct Picture {
    frame: u32,
    missing: u16,
}

/// The state of one receiving m-line.
#[derive(Debug)]
pub(super) struct Receiver {
    ssrc: u32,
    rtx: Option<u32>,
    clock_rate: u32,
    numbers: Unwrapper,
    first: u64,
    /// One bit per number, by its place in the window.
    seen: [u64; WINDOW as usize / 64],
    pub(super) totals: Received,
    pub(super) nack: Option<NackGenerator>,
    /// Arrival minus timestamp of the last packet, in timestamp units, and the jitter in sixteenths of them.
    transit: Option<i64>,
    jitter: f64,
    /// Middle of the NTP time of the last sender report, and when it came.
    last_report: Option<(u32, Instant)>,
    /// Expected and arrived at the last receiver report.
    reported: (u64, u64),
    pictures: Vec<Picture>,
    newest_frame: Option<u32>,
    /// The key frame that counting began with.
    first_frame: u32,
    given_up: u64,
    wants_key: bool,
    next_pli: Option<Instant>,
}

impl Receiver {
    /// A receiver of `ssrc` and the repetitions on `rtx`.
    pub(super) fn new(ssrc: u32, rtx: Option<u32>, is_audio: bool) -> Self {
        Self {
            ssrc,
            rtx,
            clock_rate: if is_audio { 48_000 } else { 90_000 },
            numbers: Unwrapper::default(),
            first: 0,
            seen: [0; WINDOW as usize / 64],
            totals: Received::default(),
            nack: (!is_audio).then(NackGenerator::new),
            transit: None,
            jitter: 0.0,
            last_report: None,
            reported: (0, 0),
            pictures: Vec::new(),
            newest_frame: None,
            first_frame: 0,
            given_up: 0,
            wants_key: false,
            next_pli: None,
        }
    }

    pub(super) const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    pub(super) fn takes(&self, ssrc: u32) -> bool {
        self.ssrc == ssrc || self.rtx == Some(ssrc)
    }

    pub(super) const fn is_audio(&self) -> bool {
        self.nack.is_none()
    }

    /// Whether anything came.
    pub(super) const fn is_active(&self) -> bool {
        self.numbers.highest().is_some()
    }

    /// The jitter as it is.
    pub(super) fn jitter(&self) -> Duration {
        Duration::from_secs_f64(self.jitter / f64::from(self.clock_rate))
    }

    /// Takes a packet that the kernel received `arrived_ns` after the swarm's epoch.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        arrived_ns: u64,
        packet: &Packet<'_>,
        delay: &mut Histogram,
    ) {
        let repeated = self.rtx == Some(packet.ssrc());
        let (mut payload, mut sequence) = (packet.payload(), packet.sequence());
        if repeated {
            let Some((&[high, low], rest)) = payload.split_first_chunk() else {
                // Padding, to find out what the path carries.
                return;
            };
            (payload, sequence) = (rest, u16::from_be_bytes([high, low]));
        }
        let highest = self.numbers.highest();
        let number = self.numbers.peek(sequence);
        if !self.mark(highest, number) {
            return;
        }
        self.numbers.note(sequence);
        self.totals.arrived += 1;
        self.totals.repaired += u64::from(repeated);
        self.totals.expected = self.numbers.highest().unwrap_or(number) - self.first + 1;
        if let Some(nack) = &mut self.nack {
            nack.note(now, highest, number, repeated);
            if nack.given_up() > self.given_up {
                self.given_up = nack.given_up();
                self.wants_key = true;
            }
        }
        if !repeated {
            self.note_jitter(arrived_ns, packet.timestamp());
        }
        let Some(trailer) = Trailer::read(payload) else {
            return;
        };
        if !repeated {
            delay.note(Duration::from_nanos(arrived_ns.saturating_sub(trailer.made_ns)));
        }
        if !self.is_audio() {
            // The lowest bit of the payload header behind the descriptor is 0 in key frames.
            let key = trailer.index == 0 && payload.get(6).is_some_and(|byte| byte & 1 == 0);
            self.note_picture(trailer, key);
        }
    }

    /// Whether `number` is news. Numbers between the highest and it become missing.
    fn mark(&mut self, highest: Option<u64>, number: u64) -> bool {
        let place = |number: u64| ((number % WINDOW / 64) as usize, 1_u64 << (number % 64));
        match highest {
            None => self.first = number,
            Some(highest) if number > highest => {
                if number - highest >= WINDOW {
                    self.seen.fill(0);
                } else {
                    for skipped in highest + 1..number {
                        let (word, bit) = place(skipped);
                        self.seen[word] &= !bit;
                    }
                }
            }
            Some(highest) => {
                let (word, bit) = place(number);
                if highest - number >= WINDOW || number < self.first || self.seen[word] & bit != 0 {
                    return false;
                }
            }
        }
        let (word, bit) = place(number);
        self.seen[word] |= bit;
        true
    }

    /// RFC 3550 appendix A.8.
    fn note_jitter(&mut self, arrived_ns: u64, timestamp: u32) {
        let arrived = (u128::from(arrived_ns) * u128::from(self.clock_rate) / 1_000_000_000) as i64;
        let transit = arrived.wrapping_sub(i64::from(timestamp));
        if let Some(before) = self.transit.replace(transit) {
            // The timestamps wrap at 32 bits.
            let difference = (transit.wrapping_sub(before) as i32).unsigned_abs();
            // A jump of seconds is another source in the same place.
            if difference < self.clock_rate {
                self.jitter += (f64::from(difference) - self.jitter) / 16.0;
            }
        }
    }

    fn note_picture(&mut self, trailer: Trailer, key: bool) {
        let Trailer { frame, count, .. } = trailer;
        match self.newest_frame {
            Some(newest) => {
                let ahead = frame.wrapping_sub(newest);
                if ahead == 0 || ahead.wrapping_neg() < FRAMES as u32 {
                    // This one or one before it.
                } else if ahead <= ANOTHER_CAMERA {
                    self.totals.frames_expected += u64::from(ahead);
                    self.newest_frame = Some(frame);
                } else if key {
                    self.pictures.fill(Picture::default());
                    self.totals.frames_expected += 1;
                    (self.newest_frame, self.first_frame) = (Some(frame), frame);
                } else {
                    self.wants_key = true;
                    return;
                }
            }
            // Nothing can be shown before the first key frame.
            None if !key => {
                self.wants_key = true;
                return;
            }
            None => {
                self.totals.frames_expected += 1;
                (self.newest_frame, self.first_frame) = (Some(frame), frame);
            }
        }
        if self.first_frame.wrapping_sub(frame).wrapping_sub(1) < FRAMES as u32 {
            // Left over from before the key frame.
            return;
        }
        if key {
            self.wants_key = false;
        }
        if self.pictures.is_empty() {
            self.pictures.resize(FRAMES, Picture::default());
        }
        let picture = &mut self.pictures[frame as usize % FRAMES];
        if picture.frame != frame || picture.missing == 0 {
            *picture = Picture {
                frame,
                missing: count,
            };
        }
        picture.missing = picture.missing.saturating_sub(1);
        if picture.missing == 0 {
            self.totals.frames_complete += 1;
        }
    }

    /// A sender report of the server.
    pub(super) fn note_report(&mut self, now: Instant, ntp: u64) {
        self.last_report = Some(((ntp >> 16) as u32, now));
    }

    /// Whether a key frame has to be asked for at `now`.
    pub(super) fn take_pli(&mut self, now: Instant) -> bool {
        if !self.wants_key || self.next_pli.is_some_and(|next| next > now) {
            return false;
        }
        self.next_pli = Some(now + PLI_INTERVAL);
        true
    }

    /// The report block on what came since the last one.
    pub(super) fn report(&mut self, now: Instant) -> Option<Block> {
        let highest = self.numbers.highest()?;
        // Repetitions are on an SSRC of their own, so they do not count as received.
        let arrived = self.totals.arrived - self.totals.repaired;
        let (expected_before, arrived_before) =
            std::mem::replace(&mut self.reported, (self.totals.expected, arrived));
        let expected = self.totals.expected - expected_before;
        let lost = expected.saturating_sub(arrived - arrived_before);
        let (last_report, delay) = self.last_report.map_or((0, 0), |(middle, at)| {
            let delay = now.saturating_duration_since(at).as_secs_f64() * 65_536.0;
            (middle, delay as u32)
        });
        Some(Block {
            ssrc: self.ssrc,
            fraction_lost: (lost * 256).checked_div(expected).unwrap_or(0).min(255) as u8,
            lost: i32::try_from(self.totals.expected.saturating_sub(arrived)).unwrap_or(i32::MAX),
            highest: highest as u32,
            jitter: self.jitter as u32,
            last_report,
            delay,
        })
    }
}
