//! Offers of browsers and of nobody.

use callkit_core::id::IdSource;
use callkit_core::redact::Secret;
use proptest::prelude::*;

use super::*;
use crate::layout::{Codec, M_LINES, Payload, Source};
use crate::testing::{AnswerView, ClientSsrcs, OfferOptions, offer};

fn chromium() -> String {
    offer(&OfferOptions {
        ufrag: "abcd",
        pwd: "0123456789012345678901",
        fingerprint: Fingerprint([0xab; 32]),
        ssrcs: ClientSsrcs {
            microphone: 11,
            camera: 22,
            camera_rtx: 23,
        },
        video: &["VP8", "H264"],
    })
}

/// The offer with the line that starts with `prefix` replaced everywhere.
fn with(prefix: &str, replacement: &str) -> String {
    let line = |line: &str| {
        if line.starts_with(prefix) {
            replacement.to_owned()
        } else {
            line.to_owned()
        }
    };
    let lines: Vec<String> = chromium()
        .lines()
        .map(line)
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("\r\n") + "\r\n"
}

fn negotiated(text: &str) -> Result<Negotiated, SdpError> {
    negotiate(
        &Offer::parse(text)?,
        &CodecSet::default_video(),
        None,
        &mut IdSource::seeded(1),
    )
}

fn answered(text: &str) -> String {
    let candidates = [
        Candidate::Udp("192.0.2.1:4000".parse().unwrap()),
        Candidate::Udp("[2001:db8::1]:4000".parse().unwrap()),
        Candidate::TcpPassive("192.0.2.1:4000".parse().unwrap()),
        Candidate::TcpPassive("[2001:db8::1]:4000".parse().unwrap()),
    ];
    negotiated(text).unwrap().answer(&AnswerConfig {
        ufrag: "serverfrag",
        pwd: &Secret::new("p".repeat(32)),
        fingerprint: Fingerprint([0xcd; 32]),
        candidates: &candidates,
        session: u64::MAX,
        version: 1,
    })
}

#[test]
fn an_offer_of_the_layout_is_agreed_to_with_the_browsers_numbers() {
    let layout = negotiated(&chromium()).unwrap().layout;
    assert_eq!((layout.uplinks.len(), layout.downlinks.len()), (4, 8));
    let camera = &layout.uplinks[Source::Camera.index()];
    assert_eq!(
        camera.payloads[0],
        Payload {
            codec: Codec::Vp8,
            media: 96,
            rtx: Some(97)
        }
    );
    assert_eq!(camera.payloads[1].codec, Codec::H264);
    assert_eq!(camera.ssrcs, [(22, Some(23))]);
    assert_eq!(
        (
            camera.extensions.transport_cc,
            camera.extensions.mid,
            camera.extensions.rid
        ),
        (3, 4, 10)
    );
    assert_eq!(layout.uplinks[0].ssrcs, [(11, None)]);
    let mut ssrcs: Vec<u32> = layout
        .downlinks
        .iter()
        .flat_map(|one| [Some(one.ssrc), one.rtx_ssrc])
        .flatten()
        .collect();
    assert_eq!(ssrcs.len(), 12);
    ssrcs.sort_unstable();
    ssrcs.dedup();
    assert!(ssrcs.len() == 12 && ssrcs[0] != 0);
}

#[test]
fn the_answer_has_what_browsers_need() {
    let answer = answered(&chromium());
    assert_eq!(answer.matches("\r\nm=").count(), M_LINES);
    for line in [
        "a=ice-lite",
        "a=group:BUNDLE 0 1 2 3 4 5 6 7 8 9 10 11",
        "a=setup:passive",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host",
        "a=candidate:2 1 udp 2130706175 2001:db8::1 4000 typ host",
        "a=candidate:3 1 tcp 1520434687 192.0.2.1 4000 typ host tcptype passive",
        "a=candidate:4 1 tcp 1520434431 2001:db8::1 4000 typ host tcptype passive",
        "a=end-of-candidates",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtcp-fb:96 nack pli",
        "a=rtcp-fb:96 goog-remb",
        "a=fmtp:97 apt=96",
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99",
    ] {
        assert!(answer.contains(&format!("{line}\r\n")), "{line} is missing");
    }
    assert!(!answer.contains("abs-send-time"));
    let view = AnswerView::parse(&answer).unwrap();
    assert_eq!((view.candidates.len(), view.slots.len()), (2, 8));
}

#[test]
fn the_primary_ssrc_of_a_slot_comes_before_its_retransmissions() {
    let layout = negotiated(&chromium()).unwrap().layout;
    let slots = AnswerView::parse(&answered(&chromium())).unwrap().slots;
    for (line, downlink) in slots.iter().zip(&layout.downlinks) {
        assert_eq!((line.ssrc, line.rtx), (downlink.ssrc, downlink.rtx_ssrc));
    }
}

#[test]
fn simulcast_is_agreed_for_the_camera() {
    let mut text = String::new();
    for line in chromium().lines() {
        text.push_str(line);
        text.push_str("\r\n");
        if line == "a=mid:1" {
            text.push_str("a=rid:h send\r\na=rid:m send\r\na=rid:l send\r\na=simulcast:send h;m;l\r\n");
        }
    }
    assert_eq!(negotiated(&text).unwrap().layout.uplinks[1].rids, ["h", "m", "l"]);
    let answer = answered(&text);
    assert!(answer.contains("a=rid:m recv\r\n") && answer.contains("a=simulcast:recv h;m;l\r\n"));
}

#[test]
fn layers_that_are_off_in_the_offer_are_off_in_the_answer() {
    let layers = "a=mid:1\r\na=rid:l send\r\na=rid:m send\r\na=rid:h send\r\na=simulcast:send ~l;~m;h\r\n";
    let offer = chromium().replace("a=mid:1\r\n", layers);
    assert!(answered(&offer).contains("a=simulcast:recv ~l;~m;h\r\n"));
}

#[test]
fn firefoxs_bundle_only_lines_are_active_and_its_port_0_is_not_a_refusal() {
    let firefox = chromium().replace("a=mid:5\r\n", "a=mid:5\r\na=bundle-only\r\n");
    let firefox = {
        let mut count = 0;
        let lines: Vec<String> = firefox
            .lines()
            .map(|line| {
                count += usize::from(line.starts_with("m="));
                if count == 6 && line.starts_with("m=") {
                    line.replace(" 9 ", " 0 ")
                } else {
                    line.to_owned()
                }
            })
            .collect();
        lines.join("\r\n")
    };
    assert!(negotiated(&firefox).is_ok());
    let refused = firefox.replace("a=bundle-only\r\n", "");
    assert_eq!(negotiated(&refused).err(), Some(SdpError::Layout { index: 5 }));
}

#[test]
fn what_would_be_unsafe_is_refused_by_name() {
    let cases = [
        (with("a=fingerprint", ""), SdpError::NoFingerprint),
        (
            with("a=fingerprint", "a=fingerprint:sha-1 AB:CD"),
            SdpError::NoFingerprint,
        ),
        (with("a=ice-pwd", "a=ice-pwd:short"), SdpError::NoIceCredentials),
        (with("a=ice-ufrag", ""), SdpError::NoIceCredentials),
        (with("a=setup", "a=setup:passive"), SdpError::SetupRole),
        (
            with("a=rtcp-mux", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc"),
            SdpError::KeysInSdp,
        ),
        (
            with("m=video", "m=audio 9 UDP/TLS/RTP/SAVPF 96"),
            SdpError::Layout { index: 1 },
        ),
        (with("a=recvonly", "a=inactive"), SdpError::Layout { index: 4 }),
        (
            with("a=rtpmap:111", "a=rtpmap:111 pcmu/8000"),
            SdpError::NoUsableCodec { index: 0 },
        ),
        (chromium().repeat(20), SdpError::TooLarge),
        ("m=audio 9 x\r\n".repeat(21), SdpError::TooLarge),
        (String::new(), SdpError::NoIceCredentials),
    ];
    for (text, expected) in cases {
        assert_eq!(negotiated(&text).err(), Some(expected));
    }
    let other = format!("a=fingerprint:sha-256 {}", Fingerprint([1; 32]));
    let mut lines: Vec<String> = chromium().lines().map(str::to_owned).collect();
    let last = lines
        .iter()
        .rposition(|line| line.starts_with("a=fingerprint"))
        .unwrap();
    lines[last] = other;
    assert_eq!(negotiated(&lines.join("\n")).err(), Some(SdpError::NotBundled));
}

#[test]
fn a_value_cannot_start_a_line_in_the_answer() {
    let text = with("a=fmtp:111", "a=fmtp:111 minptime=10\ra=crypto:1");
    assert!(matches!(Offer::parse(&text), Err(SdpError::Malformed { .. })));
}

#[test]
fn only_constrained_baseline_with_packetization_mode_1_is_taken() {
    for (fmtp, usable) in [
        ("packetization-mode=1;profile-level-id=42e01f", true),
        ("packetization-mode=0;profile-level-id=42e01f", false),
        ("packetization-mode=1;profile-level-id=42001f", false),
        ("packetization-mode=1;profile-level-id=640c1f", false),
        ("packetization-mode=1", false),
    ] {
        let text = with("a=fmtp:98", &format!("a=fmtp:98 {fmtp}"));
        let set = CodecSet::new([Codec::H264]);
        let result = negotiate(
            &Offer::parse(&text).unwrap(),
            &set,
            None,
            &mut IdSource::seeded(1),
        );
        assert_eq!(result.is_ok(), usable, "{fmtp}");
    }
}

#[test]
fn the_codec_that_the_others_send_has_to_be_there() {
    let offer = Offer::parse(&with("a=rtpmap:96", "a=rtpmap:96 x/90000")).unwrap();
    let set = CodecSet::default_video();
    let mut random = IdSource::seeded(1);
    assert_eq!(
        negotiate(&offer, &set, None, &mut random)
            .unwrap()
            .video
            .as_slice(),
        [Codec::H264]
    );
    let refused = negotiate(&offer, &set, Some(Codec::Vp8), &mut random).err();
    assert_eq!(refused, Some(SdpError::NoUsableCodec { index: 1 }));
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text: String) {
        let _ = negotiated(&text);
    }

    #[test]
    fn an_offer_with_lines_changed_is_read_without_panic(
        changes in prop::collection::vec((0_usize..400, any::<prop::sample::Index>(), "[ -~]{0,12}"), 0..12),
    ) {
        let mut lines: Vec<String> = chromium().lines().map(str::to_owned).collect();
        for (line, at, text) in changes {
            let count = lines.len();
            let line = &mut lines[line % count];
            let at = at.index(line.len() + 1);
            line.replace_range(at.., &text);
        }
        let text = lines.join("\n");
        if negotiated(&text).is_ok() {
            // Whatever was agreed to can be written and has a line for each of the offer's.
            prop_assert_eq!(answered(&text).matches("\r\nm=").count(), M_LINES);
        }
    }
}
