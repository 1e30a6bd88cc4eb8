//! The offer of a synthetic client, in the form of Chromium's, and a view of the answer.

use std::fmt::Write as _;
use std::net::SocketAddr;

use callkit_core::redact::Secret;

use crate::layout::{SLOTS, Source};
use crate::sdp::Fingerprint;

/// Payload type of Opus.
pub const MICROPHONE_PAYLOAD: u8 = 111;
/// Payload type of VP8.
pub const CAMERA_PAYLOAD: u8 = 96;
/// Id of the header extension with the transport-wide number.
pub const TRANSPORT_CC_EXTENSION: u8 = 3;
/// Id of the mid header extension.
pub const MID_EXTENSION: u8 = 4;

/// SSRCs that the client sends with.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "named after the sources")]
pub struct ClientSsrcs {
    pub microphone: u32,
    pub camera: u32,
    pub camera_rtx: u32,
}

/// What goes into the offer.
#[derive(Debug, Clone)]
pub struct OfferOptions<'a> {
    /// The client's ICE user name fragment.
    pub ufrag: &'a str,
    /// The client's ICE password.
    pub pwd: &'a str,
    /// Fingerprint of the client's certificate.
    pub fingerprint: Fingerprint,
    /// Declared SSRCs.
    pub ssrcs: ClientSsrcs,
    /// Names of video codecs, as in rtpmap, most preferred first: `VP8`, `H264`.
    pub video: &'a [&'a str],
}

/// An offer with the m-lines of the layout.
#[must_use]
pub fn offer(options: &OfferOptions<'_>) -> String {
    let mut sdp = String::from("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE");
    let lines = Source::ALL.len() * (1 + SLOTS);
    for mid in 0..lines {
        sdp.push_str(&format!(" {mid}"));
    }
    sdp.push_str("\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n");
    for mid in 0..lines {
        let source = Source::ALL[mid % Source::ALL.len()];
        // Writing to a String cannot fail.
        let _ = section(&mut sdp, options, mid, source, mid < Source::ALL.len());
    }
    sdp
}

fn section(
    sdp: &mut String,
    options: &OfferOptions<'_>,
    mid: usize,
    source: Source,
    sends: bool,
) -> std::fmt::Result {
    let audio = source.is_audio();
    let video_payloads = || (0..options.video.len()).map(|index| CAMERA_PAYLOAD + 2 * index as u8);
    if audio {
        write!(sdp, "m=audio 9 UDP/TLS/RTP/SAVPF {MICROPHONE_PAYLOAD} 63\r\n")?;
    } else {
        write!(sdp, "m=video 9 UDP/TLS/RTP/SAVPF")?;
        for payload in video_payloads() {
            write!(sdp, " {payload} {}", payload + 1)?;
        }
        sdp.push_str("\r\n");
    }
    write!(sdp, "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n")?;
    write!(
        sdp,
        "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=ice-options:trickle\r\n",
        options.ufrag, options.pwd
    )?;
    write!(
        sdp,
        "a=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=mid:{mid}\r\n",
        options.fingerprint
    )?;
    write!(
        sdp,
        "a=extmap:{TRANSPORT_CC_EXTENSION} http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n"
    )?;
    write!(
        sdp,
        "a=extmap:{MID_EXTENSION} urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
    )?;
    if !audio {
        write!(
            sdp,
            "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n"
        )?;
        write!(
            sdp,
            "a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\n"
        )?;
    }
    write!(
        sdp,
        "a={}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n",
        if sends { "sendonly" } else { "recvonly" }
    )?;
    if audio {
        write!(
            sdp,
            "a=rtpmap:{MICROPHONE_PAYLOAD} opus/48000/2\r\na=rtcp-fb:{MICROPHONE_PAYLOAD} transport-cc\r\n"
        )?;
        write!(sdp, "a=fmtp:{MICROPHONE_PAYLOAD} minptime=10;useinbandfec=1\r\n")?;
        write!(sdp, "a=rtpmap:63 red/48000/2\r\n")?;
    }
    for (payload, codec) in video_payloads().zip(options.video).filter(|_| !audio) {
        write!(sdp, "a=rtpmap:{payload} {codec}/90000\r\n")?;
        for kind in ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"] {
            write!(sdp, "a=rtcp-fb:{payload} {kind}\r\n")?;
        }
        if *codec == "H264" {
            let fmtp = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
            write!(sdp, "a=fmtp:{payload} {fmtp}\r\n")?;
        }
        write!(
            sdp,
            "a=rtpmap:{0} rtx/90000\r\na=fmtp:{0} apt={payload}\r\n",
            payload + 1
        )?;
    }
    let ClientSsrcs {
        microphone,
        camera,
        camera_rtx,
    } = options.ssrcs;
    match source {
        Source::Microphone if sends => write!(sdp, "a=ssrc:{microphone} cname:me\r\n")?,
        Source::Camera if sends => {
            write!(sdp, "a=ssrc-group:FID {camera} {camera_rtx}\r\n")?;
            write!(
                sdp,
                "a=ssrc:{camera} cname:me\r\na=ssrc:{camera_rtx} cname:me\r\n"
            )?;
        }
        _ => {}
    }
    Ok(())
}

/// A receiving m-line as the answer announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLine {
    /// The SSRC of media.
    pub ssrc: u32,
    /// The SSRC of retransmissions.
    pub rtx: Option<u32>,
}

/// What a client needs of an answer.
#[derive(Debug, Clone)]
pub struct AnswerView {
    /// The server's ICE user name fragment.
    pub ufrag: String,
    /// The server's ICE password.
    pub pwd: Secret<String>,
    /// Fingerprint of the server's certificate.
    pub fingerprint: Fingerprint,
    /// Where the server can be reached.
    pub candidates: Vec<SocketAddr>,
    /// The receiving m-lines, in order.
    pub slots: Vec<SlotLine>,
}

impl AnswerView {
    /// Reads an answer; `None` if something is missing.
    #[must_use]
    pub fn parse(answer: &str) -> Option<Self> {
        let value = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name));
        let candidate = |line: &str| {
            let words: Vec<&str> = line.strip_prefix("a=candidate:")?.split(' ').collect();
            if !words.get(2)?.eq_ignore_ascii_case("udp") {
                return None;
            }
            let ip = words.get(4)?.parse().ok()?;
            Some(SocketAddr::new(ip, words.get(5)?.parse().ok()?))
        };
        let slots = answer.split("\r\nm=").skip(1).filter_map(|section| {
            let ssrcs = section
                .lines()
                .filter_map(|line| line.strip_prefix("a=ssrc:")?.split(' ').next()?.parse().ok());
            let ssrcs: Vec<u32> = ssrcs.collect();
            Some(SlotLine {
                ssrc: *ssrcs.first()?,
                rtx: ssrcs.get(1).copied(),
            })
        });
        Some(Self {
            ufrag: value("a=ice-ufrag:")?.to_owned(),
            pwd: Secret::new(value("a=ice-pwd:")?.to_owned()),
            fingerprint: Fingerprint::parse(value("a=fingerprint:sha-256 ")?)?,
            candidates: answer.lines().filter_map(candidate).collect(),
            slots: slots.collect(),
        })
    }
}
