//! What forwarding has to know about payloads: where a key frame starts, and the VP8 and VP9 counters that
//! must stay continuous when the source of a stream changes.

use crate::layout::Codec;

/// Facts about the payload of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frame {
    /// A decoder can start with this packet.
    pub starts_keyframe: bool,
    /// Where the picture id is, if there is one.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX, if there is one (VP8).
    pub tl0: Option<Tl0>,
}

/// Place and value of TL0PICIDX, the running number of base layer pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tl0 {
    at: u8,
    /// The number.
    pub value: u8,
}

/// Place, width and value of a picture id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureId {
    at: u8,
    wide: bool,
    /// The id, of 7 or 15 bits.
    pub value: u16,
}

impl PictureId {
    fn read(payload: &[u8], at: usize) -> Option<(Self, usize)> {
        let first = *payload.get(at)?;
        let place = at as u8;
        if first & 0x80 == 0 {
            return Some((
                Self {
                    at: place,
                    wide: false,
                    value: u16::from(first),
                },
                at + 1,
            ));
        }
        let value = u16::from_be_bytes([first & 0x7f, *payload.get(at + 1)?]);
        Some((
            Self {
                at: place,
                wide: true,
                value,
            },
            at + 2,
        ))
    }

    /// Highest value plus one.
    #[must_use]
    pub const fn modulus(self) -> u16 {
        if self.wide { 0x8000 } else { 0x80 }
    }
}

impl Frame {
    /// Reads the payload descriptor. A payload too short to have one yields nothing.
    #[must_use]
    pub fn read(codec: Codec, payload: &[u8]) -> Self {
        match codec {
            Codec::Opus => Self {
                starts_keyframe: true,
                ..Self::default()
            },
            Codec::Vp8 => vp8(payload).unwrap_or_default(),
            Codec::Vp9 => vp9(payload).unwrap_or_default(),
            Codec::H264 => Self {
                starts_keyframe: h264_parameters(payload),
                ..Self::default()
            },
            // Aggregation header: N says that a new coded video sequence starts.
            Codec::Av1 => Self {
                starts_keyframe: payload.first().is_some_and(|head| head & 0x08 != 0),
                ..Self::default()
            },
        }
    }

    /// Moves the counters of `payload`, a copy of the payload that was read.
    pub fn shift(&self, payload: &mut [u8], picture_shift: u16, tl0_shift: u8) {
        if let Some(id) = self.picture_id {
            let at = usize::from(id.at);
            let value = id.value.wrapping_add(picture_shift) & (id.modulus() - 1);
            if id.wide {
                if let Some(field) = payload.get_mut(at..at + 2) {
                    field.copy_from_slice(&(0x8000 | value).to_be_bytes());
                }
            } else if let Some(field) = payload.get_mut(at) {
                *field = value as u8;
            }
        }
        if let Some(field) = self.tl0.and_then(|tl0| payload.get_mut(usize::from(tl0.at))) {
            *field = field.wrapping_add(tl0_shift);
        }
    }
}

/// RFC 7741 section 4.2.
fn vp8(payload: &[u8]) -> Option<Frame> {
    let head = *payload.first()?;
    let (mut at, mut frame) = (1, Frame::default());
    if head & 0x80 != 0 {
        let fields = *payload.get(1)?;
        at = 2;
        if fields & 0x80 != 0 {
            let (id, next) = PictureId::read(payload, at)?;
            frame.picture_id = Some(id);
            at = next;
        }
        if fields & 0x40 != 0 {
            frame.tl0 = Some(Tl0 {
                at: at as u8,
                value: *payload.get(at)?,
            });
            at += 1;
        }
        if fields & 0x30 != 0 {
            at += 1;
        }
    }
    // Start of partition 0, and the inverse key frame bit of the payload header.
    let first_partition = head & 0x10 != 0 && head & 0x07 == 0;
    frame.starts_keyframe = first_partition && payload.get(at).is_some_and(|byte| byte & 1 == 0);
    Some(frame)
}

/// RFC 9628 section 4.2.
fn vp9(payload: &[u8]) -> Option<Frame> {
    let head = *payload.first()?;
    let (mut at, mut frame) = (1, Frame::default());
    if head & 0x80 != 0 {
        let (id, next) = PictureId::read(payload, at)?;
        frame.picture_id = Some(id);
        at = next;
    }
    let spatial = if head & 0x20 != 0 {
        (*payload.get(at)? >> 1) & 0x07
    } else {
        0
    };
    // Not predicted from another picture, begin of frame, lowest spatial layer.
    frame.starts_keyframe = head & 0x40 == 0 && head & 0x08 != 0 && spatial == 0;
    Some(frame)
}

/// Whether there is a sequence parameter set (RFC 6184 sections 5.4 and 5.7.1). Browsers send it before
/// each IDR picture; a decoder cannot start at a picture whose parameter sets it has not got.
fn h264_parameters(payload: &[u8]) -> bool {
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    let Some((head, mut rest)) = payload.split_first() else {
        return false;
    };
    match head & 0x1f {
        SPS => true,
        STAP_A => {
            while let [high, low, unit @ ..] = rest {
                if unit.first().is_some_and(|unit| unit & 0x1f == SPS) {
                    return true;
                }
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                let Some(next) = unit.get(length..) else {
                    return false;
                };
                rest = next;
            }
            false
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn p12_picture_ids_of_both_widths_are_found_and_shifted_within_their_width() {
        // X, S; I and L; 15 bit id 0x7ffe; tl0 255; key frame.
        let wide = [0x90, 0xc0, 0xff, 0xfe, 255, 0x10];
        let frame = Frame::read(Codec::Vp8, &wide);
        assert!(frame.starts_keyframe);
        assert_eq!(frame.picture_id.unwrap().value, 0x7ffe);
        let mut out = wide;
        frame.shift(&mut out, 3, 2);
        assert_eq!(out, [0x90, 0xc0, 0x80, 0x01, 1, 0x10]);
        let narrow = [0x90, 0x80, 0x7f, 0x11];
        let frame = Frame::read(Codec::Vp8, &narrow);
        assert!(!frame.starts_keyframe);
        let mut out = narrow;
        frame.shift(&mut out, 2, 9);
        assert_eq!(out, [0x90, 0x80, 0x01, 0x11]);
    }

    #[test]
    fn p12_a_missing_picture_id_and_a_short_payload_are_no_fault() {
        assert_eq!(
            Frame::read(Codec::Vp8, &[0x10, 0x00]),
            Frame {
                starts_keyframe: true,
                ..Frame::default()
            }
        );
        for length in 0..5 {
            let frame = Frame::read(Codec::Vp8, &[0x90, 0xf0, 0x80, 0x01, 0x05][..length]);
            assert!(!frame.starts_keyframe, "{length}");
        }
    }

    #[test]
    fn key_frames_of_the_other_codecs_are_found() {
        let key = |codec, payload: &[u8]| Frame::read(codec, payload).starts_keyframe;
        assert!(key(Codec::H264, &[0x67, 1, 2]));
        assert!(key(Codec::H264, &[0x78, 0, 2, 0x09, 0x10, 0, 2, 0x67, 0x42]));
        assert!(!key(
            Codec::H264,
            &[0x78, 0, 2, 0x09, 0x10, 0xff, 2, 0x41, 0x42, 0x67]
        ));
        assert!(!key(Codec::H264, &[0x7c, 0x85, 1]));
        assert!(key(Codec::Vp9, &[0x88, 0x05, 1]));
        assert!(!key(Codec::Vp9, &[0xc8, 0x05, 1]));
        assert!(!key(Codec::Vp9, &[0xa8, 0x05, 0x02, 1]));
        assert!(key(Codec::Av1, &[0x18]) && !key(Codec::Av1, &[0x10]));
        assert!(key(Codec::Opus, &[]));
    }

    proptest! {
        #[test]
        fn p26_any_payload_is_read_and_shifted_without_panic(
            payload in prop::collection::vec(any::<u8>(), 0..40), picture: u16, tl0: u8
        ) {
            for codec in [Codec::Opus, Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1] {
                let frame = Frame::read(codec, &payload);
                let mut out = payload.clone();
                frame.shift(&mut out, picture, tl0);
                let again = Frame::read(codec, &out);
                prop_assert_eq!(frame.starts_keyframe, again.starts_keyframe);
                if let (Some(before), Some(after)) = (frame.picture_id, again.picture_id) {
                    prop_assert_eq!(after.value, before.value.wrapping_add(picture) & (before.modulus() - 1));
                }
            }
        }
    }
}
