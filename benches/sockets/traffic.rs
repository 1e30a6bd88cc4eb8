//! What a person sends: Opus at 50 packets a second, and 30 pictures a second of five packets each, which
//! are as long as each other but for a byte, as Chromium cuts them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use callkit_sfu::layout::Source;
use callkit_sfu::testing::SyntheticClient;

/// Time between two sound packets.
const SOUND: Duration = Duration::from_millis(20);
/// Time between two pictures.
const PICTURE: Duration = Duration::from_nanos(33_333_333);
/// Packets of a picture.
const PARTS: u8 = 5;
/// Payload of a sound packet.
const SOUND_BYTES: usize = 90;
/// Payload of the first packets of a picture.
const PICTURE_BYTES: usize = 1100;
/// Packets a second that a person sends.
pub const PER_PERSON: u32 = 200;
/// Where the time of sending is in a payload, behind the longest payload descriptor.
pub const STAMP: std::ops::Range<usize> = 6..14;
/// Pictures between two key frames; others come when they are asked for.
const KEY_EVERY: u64 = 300;

/// How the packets of a picture leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// One right after the other, as browsers do up to a few milliseconds' worth.
    Frames,
    /// Spread evenly until the next picture: each packet wakes the server. The worst case.
    Even,
}

/// Something that a person sends at a moment of virtual time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Duration,
    person: usize,
    part: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Sound,
    Picture(u8),
}

/// Where a person's streams stand.
#[derive(Debug, Clone, Copy, Default)]
struct Streams {
    sound: u64,
    picture: u64,
    packet: u64,
    key_wanted: bool,
}

/// When who sends what.
#[derive(Debug)]
pub struct Schedule {
    due: BinaryHeap<Reverse<Due>>,
    streams: Vec<Streams>,
    spacing: Spacing,
}

impl Schedule {
    /// `persons` start at different moments of the first picture.
    #[must_use]
    pub fn new(persons: usize, spacing: Spacing) -> Self {
        let mut due = BinaryHeap::new();
        for person in 0..persons {
            // An irrational stride spreads them evenly and in no step with each other.
            let phase = (person as f64 * 0.618_033_988_75).fract();
            due.push(Reverse(Due {
                at: SOUND.mul_f64(phase),
                person,
                part: Part::Sound,
            }));
            due.push(Reverse(Due {
                at: PICTURE.mul_f64((phase * 7.3).fract()),
                person,
                part: Part::Picture(0),
            }));
        }
        Self {
            due,
            streams: vec![
                Streams {
                    key_wanted: true,
                    ..Streams::default()
                };
                persons
            ],
            spacing,
        }
    }

    /// When something is to be sent next, in time since the start.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        self.due.peek().map(|Reverse(due)| due.at)
    }

    /// A receiver of `person` lacks a picture to start with.
    pub fn want_key_frame(&mut self, person: usize) {
        if let Some(streams) = self.streams.get_mut(person) {
            streams.key_wanted = true;
        }
    }

    /// Has the client of the next person send what is due, stamped with `stamp`. Returns who it is.
    pub fn send_next(
        &mut self,
        clients: &mut [SyntheticClient],
        mut stamp: impl FnMut() -> u64,
    ) -> Option<usize> {
        let Reverse(Due { at, person, part }) = self.due.pop()?;
        let (client, streams) = (clients.get_mut(person)?, self.streams.get_mut(person)?);
        match part {
            Part::Sound => {
                let mut payload = [0x55; SOUND_BYTES];
                payload[STAMP].copy_from_slice(&stamp().to_be_bytes());
                let packet = client.rtp(
                    Source::Microphone,
                    streams.sound as u16,
                    (streams.sound * 960) as u32,
                    &payload,
                );
                client.send_rtp(&packet);
                streams.sound += 1;
                self.due.push(Reverse(Due {
                    at: at + SOUND,
                    person,
                    part,
                }));
            }
            Part::Picture(first) => {
                let parts = match self.spacing {
                    Spacing::Frames => 0..PARTS,
                    Spacing::Even => first..first + 1,
                };
                for part in parts {
                    streams.send_part(client, part, stamp());
                }
                let (step, next) = match self.spacing {
                    Spacing::Frames => (PICTURE, 0),
                    Spacing::Even => (PICTURE / u32::from(PARTS), (first + 1) % PARTS),
                };
                self.due.push(Reverse(Due {
                    at: at + step,
                    person,
                    part: Part::Picture(next),
                }));
            }
        }
        Some(person)
    }
}

impl Streams {
    fn send_part(&mut self, client: &mut SyntheticClient, part: u8, stamp: u64) {
        if part == 0 && self.picture.is_multiple_of(KEY_EVERY) {
            self.key_wanted = true;
        }
        let mut payload = [0x33; PICTURE_BYTES + 1];
        let [high, low] = (0x8000 | self.picture as u16).to_be_bytes();
        // A VP8 descriptor with picture id and TL0PICIDX (RFC 7741 section 4.2); only the first part starts
        // the partition, where a cleared bit says that it is a key frame.
        let start = if part == 0 { 0x90 } else { 0x80 };
        payload[..STAMP.start].copy_from_slice(&[start, 0xc0, high, low, low, u8::from(!self.key_wanted)]);
        payload[STAMP].copy_from_slice(&stamp.to_be_bytes());
        // The rest of the division by the number of packets goes to the last ones.
        let length = PICTURE_BYTES + usize::from(part >= 3);
        let mut packet = client.rtp(
            Source::Camera,
            self.packet as u16,
            (self.picture * 3000) as u32,
            &payload[..length],
        );
        if part + 1 < PARTS {
            packet[1] &= 0x7f;
        } else {
            self.picture += 1;
            self.key_wanted = false;
        }
        client.send_rtp(&packet);
        self.packet += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use callkit_core::id::IdSource;
    use callkit_sfu::transport::DtlsIdentity;

    use super::*;

    #[test]
    fn a_person_sends_what_is_said_whether_spread_or_in_frames() {
        for spacing in [Spacing::Frames, Spacing::Even] {
            let identity = Arc::new(DtlsIdentity::generate().expect("there is randomness"));
            let mut clients = [SyntheticClient::new(identity, IdSource::seeded(1))];
            let mut schedule = Schedule::new(1, spacing);
            let mut sent = 0;
            while schedule.next_at().is_some_and(|at| at < Duration::from_secs(10)) {
                schedule.send_next(&mut clients, || {
                    sent += 1;
                    0
                });
            }
            assert!(
                (sent - 10 * i64::from(PER_PERSON)).abs() <= i64::from(PARTS),
                "{sent}"
            );
        }
    }
}
