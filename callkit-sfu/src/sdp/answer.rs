//! What we agree to of an offer, and the answer that says so.

use std::fmt::Write as _;
use std::net::SocketAddr;

use callkit_core::id::IdSource;
use callkit_core::redact::Secret;

use super::offer::{Direction, Fingerprint, MediaKind, MediaSection, Offer, RtpMap};
use super::{CodecSet, SdpError};
use crate::layout::{Codec, Downlink, Extensions, M_LINES, MediaLayout, Payload, Source, Uplink};

const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

/// Simulcast layers that are agreed at most.
const MAX_RIDS: usize = 3;
/// Ids 15 and above need the two-byte form (RFC 8285 section 4.2), which we do not write.
const MAX_EXTENSION_ID: u8 = 14;
/// Feedback that we understand or send for video, in the order of the answer. Browsers estimate by
/// transport-cc where both are agreed; what we send as REMB is a limit beside it.
const VIDEO_FEEDBACK: [&str; 5] = ["transport-cc", "goog-remb", "ccm fir", "nack", "nack pli"];
/// Opus parameters that are kept: the rest (stereo, rates) is for music.
const OPUS_PARAMETERS: [&str; 3] = ["minptime", "useinbandfec", "usedtx"];

/// What both sides agreed on.
#[derive(Debug, Clone)]
pub struct Negotiated {
    /// The layout with ids, payload types and SSRCs.
    pub layout: MediaLayout,
    /// The video codecs that this participant can do, of those asked for, in our order.
    pub video: CodecSet,
    /// Those asked for.
    pub asked: CodecSet,
    sections: Vec<AnswerSection>,
}

#[derive(Debug, Clone)]
struct AnswerSection {
    kind: MediaKind,
    mid: String,
    payloads: Vec<(Payload, RtpMap, Vec<&'static str>)>,
    extensions: Extensions,
    /// Simulcast layers that stay off until they are asked for.
    paused_rids: Vec<String>,
}

/// Where we can be reached (RFC 8445 section 5.1, RFC 6544 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidate {
    /// By UDP.
    Udp(SocketAddr),
    /// By a TCP connection that the client opens.
    TcpPassive(SocketAddr),
}

impl Candidate {
    fn write(self, sdp: &mut String, index: usize) -> std::fmt::Result {
        let below = |highest: u32| highest.saturating_sub(u32::try_from(index).unwrap_or(u32::MAX));
        let number = index + 1;
        match self {
            Self::Udp(address) => {
                // RFC 8445 section 5.1.2.1: host candidates, preferred in the order given.
                let priority = (126 << 24) | (below(65_535) << 8) | 255;
                let (ip, port) = (address.ip(), address.port());
                write!(
                    sdp,
                    "a=candidate:{number} 1 udp {priority} {ip} {port} typ host\r\n"
                )
            }
            Self::TcpPassive(address) => {
                // RFC 6544 section 4.2: a lower type preference than UDP, direction preference 4 for passive.
                let preference = (4 << 13) | below(8_191);
                let priority = (90 << 24) | (preference << 8) | 255;
                let (ip, port) = (address.ip(), address.port());
                write!(
                    sdp,
                    "a=candidate:{number} 1 tcp {priority} {ip} {port} typ host tcptype passive\r\n"
                )
            }
        }
    }
}

/// What the answer says about our side.
#[derive(Debug, Clone)]
pub struct AnswerConfig<'a> {
    /// Our ICE user name fragment.
    pub ufrag: &'a str,
    /// Our ICE password.
    pub pwd: &'a Secret<String>,
    /// Fingerprint of our certificate.
    pub fingerprint: Fingerprint,
    /// Where we can be reached, most preferred first.
    pub candidates: &'a [Candidate],
    /// Number of the session, for the `o=` line.
    pub session: u64,
    /// Number of the description within the session: each later answer has a higher one.
    pub version: u32,
}

/// An answer as text.
pub type Answer = String;

/// Checks `offer` against the layout and picks payload types, extensions and SSRCs.
///
/// `video` is what the server forwards and the others in the call can do, most preferred first. If `must`
/// is given, the offerer has to be able to do it: somebody already sends it.
///
/// # Errors
/// [`SdpError::Layout`] and [`SdpError::NoUsableCodec`].
pub fn negotiate(
    offer: &Offer,
    video: &CodecSet,
    must: Option<Codec>,
    random: &mut IdSource,
) -> Result<Negotiated, SdpError> {
    if offer.media.len() != M_LINES {
        return Err(SdpError::Layout {
            index: offer.media.len().min(M_LINES),
        });
    }
    let mut known_mids: Vec<&str> = Vec::with_capacity(M_LINES);
    let mut ssrcs = SsrcSource {
        random,
        used: Vec::new(),
    };
    let mut layout = MediaLayout {
        uplinks: Vec::new(),
        downlinks: Vec::new(),
    };
    let mut sections = Vec::with_capacity(M_LINES);
    let mut common = video.clone();
    for (index, section) in offer.media.iter().enumerate() {
        let source = Source::ALL[index % Source::ALL.len()];
        let slot = (index / Source::ALL.len()).checked_sub(1);
        check_shape(section, source, slot.is_none()).ok_or(SdpError::Layout { index })?;
        if known_mids.contains(&section.mid.as_str()) {
            return Err(SdpError::Layout { index });
        }
        known_mids.push(&section.mid);

        let payloads = usable_payloads(section, source, video);
        let can_do = |codec: Codec| payloads.iter().any(|(payload, ..)| payload.codec == codec);
        if payloads.is_empty() || (!source.is_audio() && must.is_some_and(|codec| !can_do(codec))) {
            return Err(SdpError::NoUsableCodec { index });
        }
        if !source.is_audio() {
            common.0.retain(|codec| can_do(*codec));
        }
        let extensions = extensions(section, source);
        let agreed: Vec<Payload> = payloads.iter().map(|(payload, ..)| *payload).collect();
        match slot {
            None => layout.uplinks.push(uplink(section, source, agreed, extensions)),
            Some(slot) => layout.downlinks.push(Downlink {
                mid: section.mid.clone(),
                slot,
                source,
                rtx_ssrc: agreed
                    .iter()
                    .any(|payload| payload.rtx.is_some())
                    .then(|| ssrcs.next()),
                payloads: agreed,
                extensions,
                ssrc: ssrcs.next(),
            }),
        }
        sections.push(AnswerSection {
            kind: section.kind,
            mid: section.mid.clone(),
            payloads,
            extensions,
            paused_rids: section.paused_rids.clone(),
        });
    }
    if common.0.is_empty() {
        return Err(SdpError::NoUsableCodec {
            index: Source::Camera.index(),
        });
    }
    Ok(Negotiated {
        layout,
        video: common,
        asked: video.clone(),
        sections,
    })
}

fn check_shape(section: &MediaSection, source: Source, sends: bool) -> Option<()> {
    let kind = if source.is_audio() {
        MediaKind::Audio
    } else {
        MediaKind::Video
    };
    let way = if sends {
        Direction::SendOnly
    } else {
        Direction::RecvOnly
    };
    let fits = section.kind == kind
        && !section.rejected
        && !section.mid.is_empty()
        && (section.direction == way || section.direction == Direction::SendRecv);
    fits.then_some(())
}

fn uplink(section: &MediaSection, source: Source, payloads: Vec<Payload>, extensions: Extensions) -> Uplink {
    // Simulcast is for the camera; a shared screen is sent once, in full.
    let rids = match source {
        Source::Camera => section.send_rids.iter().take(MAX_RIDS).cloned().collect(),
        _ => Vec::new(),
    };
    let is_rtx = |ssrc: &u32| section.fid.iter().any(|(_, rtx)| rtx == ssrc);
    let rtx_of = |ssrc: u32| {
        section
            .fid
            .iter()
            .find(|(media, _)| *media == ssrc)
            .map(|(_, rtx)| *rtx)
    };
    let ssrcs = section
        .ssrcs
        .iter()
        .filter(|ssrc| !is_rtx(ssrc))
        .map(|ssrc| (*ssrc, rtx_of(*ssrc)))
        .collect();
    Uplink {
        mid: section.mid.clone(),
        source,
        payloads,
        extensions,
        rids,
        ssrcs,
    }
}

type UsablePayload = (Payload, RtpMap, Vec<&'static str>);

/// The payload types of `section` that we forward, most preferred first.
fn usable_payloads(section: &MediaSection, source: Source, video: &CodecSet) -> Vec<UsablePayload> {
    if source.is_audio() {
        let opus = section.rtp_maps.iter().find(|map| map.encoding == "opus/48000/2");
        return opus
            .map(|map| usable(section, map, Codec::Opus))
            .into_iter()
            .collect();
    }
    let of_codec = |codec: &Codec| {
        let map = section.rtp_maps.iter().find(|map| is_codec(map, *codec))?;
        Some(usable(section, map, *codec))
    };
    video.as_slice().iter().filter_map(of_codec).collect()
}

fn usable(section: &MediaSection, map: &RtpMap, codec: Codec) -> UsablePayload {
    let known: &[&'static str] = if codec == Codec::Opus {
        &VIDEO_FEEDBACK[..1]
    } else {
        &VIDEO_FEEDBACK
    };
    let feedback: Vec<&'static str> = known
        .iter()
        .copied()
        .filter(|kind| section.has_feedback(map.payload, kind))
        .collect();
    // Retransmission is asked for by NACK; without it the payload type is dead weight.
    let rtx = section.rtx_of(map.payload).filter(|_| feedback.contains(&"nack"));
    let mut map = map.clone();
    if codec == Codec::Opus {
        map.fmtp = opus_parameters(&map.fmtp);
    }
    (
        Payload {
            codec,
            media: map.payload,
            rtx,
        },
        map,
        feedback,
    )
}

fn opus_parameters(offered: &str) -> String {
    let known = |part: &&str| {
        part.split('=')
            .next()
            .is_some_and(|name| OPUS_PARAMETERS.contains(&name))
    };
    let mut kept: Vec<&str> = offered.split(';').map(str::trim).filter(known).collect();
    if !kept.iter().any(|part| part.starts_with("useinbandfec=")) {
        kept.push("useinbandfec=1");
    }
    kept.join(";")
}

fn is_codec(map: &RtpMap, codec: Codec) -> bool {
    let parameter = |name: &str| {
        map.fmtp.split(';').find_map(|part| {
            part.trim()
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('='))
        })
    };
    match codec {
        Codec::Opus => map.encoding == "opus/48000/2",
        Codec::Vp8 => map.encoding == "vp8/90000",
        Codec::Vp9 => {
            map.encoding == "vp9/90000" && parameter("profile-id").is_none_or(|profile| profile == "0")
        }
        Codec::Av1 => map.encoding == "av1/90000",
        Codec::H264 => {
            // Constrained baseline: profile_idc 66 with constraint_set1 (RFC 6184 section 8.1).
            let profile = parameter("profile-level-id").and_then(|text| u32::from_str_radix(text, 16).ok());
            let constrained = profile.is_some_and(|id| id >> 16 == 0x42 && (id >> 8) & 0x40 != 0);
            map.encoding == "h264/90000" && parameter("packetization-mode") == Some("1") && constrained
        }
    }
}

fn extensions(section: &MediaSection, source: Source) -> Extensions {
    let id = |uri: &str| {
        let usable = |id: &u8| (1..=MAX_EXTENSION_ID).contains(id);
        section
            .extensions
            .iter()
            .find(|one| one.uri == uri)
            .map(|one| one.id)
            .filter(usable)
            .unwrap_or(0)
    };
    Extensions {
        transport_cc: id(TRANSPORT_CC),
        mid: id(MID),
        rid: if source.is_audio() { 0 } else { id(RID) },
        repaired_rid: if source.is_audio() { 0 } else { id(REPAIRED_RID) },
        audio_level: if source.is_audio() { id(AUDIO_LEVEL) } else { 0 },
    }
}

/// Random SSRCs, distinct within a participant (RFC 3550 section 8).
struct SsrcSource<'a> {
    random: &'a mut IdSource,
    used: Vec<u32>,
}

impl SsrcSource<'_> {
    fn next(&mut self) -> u32 {
        loop {
            let ssrc = (self.random.next_u64() >> 32) as u32;
            if ssrc != 0 && !self.used.contains(&ssrc) {
                self.used.push(ssrc);
                return ssrc;
            }
        }
    }
}

impl Negotiated {
    /// Makes this the same agreement as `running`, whose SSRCs it takes over. `false` if it is another one:
    /// other m-lines, payload types, extensions or layers.
    #[must_use]
    pub fn resume(&mut self, running: &MediaLayout) -> bool {
        let same_up = |(new, old): (&Uplink, &Uplink)| {
            new.mid == old.mid
                && new.payloads == old.payloads
                && new.extensions == old.extensions
                && new.rids == old.rids
        };
        let same_down = |(new, old): (&Downlink, &Downlink)| {
            new.mid == old.mid && new.payloads == old.payloads && new.extensions == old.extensions
        };
        let is_same = self.layout.uplinks.iter().zip(&running.uplinks).all(same_up)
            && self
                .layout
                .downlinks
                .iter()
                .zip(&running.downlinks)
                .all(same_down);
        if is_same {
            self.layout.clone_from(running);
        }
        is_same
    }

    /// The answer.
    #[must_use]
    pub fn answer(&self, config: &AnswerConfig<'_>) -> Answer {
        let mut sdp = String::with_capacity(16 * 1024);
        // Writing to a String cannot fail.
        let _ = self.write(&mut sdp, config);
        sdp
    }

    fn write(&self, sdp: &mut String, config: &AnswerConfig<'_>) -> std::fmt::Result {
        // RFC 8866 section 5.2 asks for a number below 2^63.
        let (session, version) = (config.session >> 1, config.version);
        write!(
            sdp,
            "v=0\r\no=- {session} {version} IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-lite\r\na=group:BUNDLE"
        )?;
        for section in &self.sections {
            write!(sdp, " {}", section.mid)?;
        }
        write!(sdp, "\r\na=msid-semantic: WMS *\r\n")?;
        for (index, section) in self.sections.iter().enumerate() {
            let first = index == 0;
            self.write_transport(sdp, section, config, first)?;
            write_codecs(sdp, section)?;
            match index.checked_sub(self.layout.uplinks.len()) {
                None => write_uplink(sdp, &self.layout.uplinks[index], &section.paused_rids)?,
                Some(downlink) => write_downlink(sdp, &self.layout.downlinks[downlink])?,
            }
        }
        Ok(())
    }

    fn write_transport(
        &self,
        sdp: &mut String,
        section: &AnswerSection,
        config: &AnswerConfig<'_>,
        first: bool,
    ) -> std::fmt::Result {
        let kind = if section.kind == MediaKind::Audio {
            "audio"
        } else {
            "video"
        };
        write!(sdp, "m={kind} 9 UDP/TLS/RTP/SAVPF")?;
        for (payload, ..) in &section.payloads {
            write!(sdp, " {}", payload.media)?;
            if let Some(rtx) = payload.rtx {
                write!(sdp, " {rtx}")?;
            }
        }
        write!(sdp, "\r\nc=IN IP4 0.0.0.0\r\na=mid:{}\r\n", section.mid)?;
        write!(
            sdp,
            "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
            config.ufrag,
            config.pwd.expose()
        )?;
        write!(
            sdp,
            "a=fingerprint:sha-256 {}\r\na=setup:passive\r\n",
            config.fingerprint
        )?;
        write!(sdp, "a=rtcp-mux\r\na=rtcp-rsize\r\n")?;
        if first {
            // Bundled: the candidates of the first m-line are those of all (RFC 9143 section 9).
            for (index, candidate) in config.candidates.iter().enumerate() {
                candidate.write(sdp, index)?;
            }
            write!(sdp, "a=end-of-candidates\r\n")?;
        }
        Ok(())
    }
}

fn write_codecs(sdp: &mut String, section: &AnswerSection) -> std::fmt::Result {
    for (payload, map, feedback) in &section.payloads {
        let media = payload.media;
        let name = match payload.codec {
            Codec::Opus => "opus/48000/2",
            Codec::Vp8 => "VP8/90000",
            Codec::H264 => "H264/90000",
            Codec::Vp9 => "VP9/90000",
            Codec::Av1 => "AV1/90000",
        };
        write!(sdp, "a=rtpmap:{media} {name}\r\n")?;
        for kind in feedback {
            write!(sdp, "a=rtcp-fb:{media} {kind}\r\n")?;
        }
        if !map.fmtp.is_empty() {
            write!(sdp, "a=fmtp:{media} {}\r\n", map.fmtp)?;
        }
        if let Some(rtx) = payload.rtx {
            write!(sdp, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={media}\r\n")?;
        }
    }
    let agreed = [
        (section.extensions.transport_cc, TRANSPORT_CC),
        (section.extensions.mid, MID),
        (section.extensions.rid, RID),
        (section.extensions.repaired_rid, REPAIRED_RID),
        (section.extensions.audio_level, AUDIO_LEVEL),
    ];
    for (id, uri) in agreed.into_iter().filter(|(id, _)| *id != 0) {
        write!(sdp, "a=extmap:{id} {uri}\r\n")?;
    }
    Ok(())
}

fn write_uplink(sdp: &mut String, uplink: &Uplink, paused: &[String]) -> std::fmt::Result {
    write!(sdp, "a=recvonly\r\n")?;
    if !uplink.rids.is_empty() {
        for rid in &uplink.rids {
            write!(sdp, "a=rid:{rid} recv\r\n")?;
        }
        // A layer offered as off is answered as off: without the mark Chromium would switch it on.
        let mark = |rid: &String| {
            if paused.contains(rid) {
                format!("~{rid}")
            } else {
                rid.clone()
            }
        };
        let layers: Vec<String> = uplink.rids.iter().map(mark).collect();
        write!(sdp, "a=simulcast:recv {}\r\n", layers.join(";"))?;
    }
    Ok(())
}

fn write_downlink(sdp: &mut String, downlink: &Downlink) -> std::fmt::Result {
    // Two streams per slot: browsers keep the sound and the picture of one stream together.
    let (stream, track) = match downlink.source {
        Source::Microphone => ("person", "microphone"),
        Source::Camera => ("person", "camera"),
        Source::Screen => ("screen", "screen"),
        Source::ScreenAudio => ("screen", "screen-audio"),
    };
    let (slot, ssrc) = (downlink.slot, downlink.ssrc);
    write!(
        sdp,
        "a=sendonly\r\na=msid:slot{slot}-{stream} slot{slot}-{track}\r\n"
    )?;
    // Chromium takes the first SSRC line of an m-section as the primary one: media before retransmission.
    write!(sdp, "a=ssrc:{ssrc} cname:slot{slot}-{stream}\r\n")?;
    if let Some(rtx) = downlink.rtx_ssrc {
        write!(
            sdp,
            "a=ssrc:{rtx} cname:slot{slot}-{stream}\r\na=ssrc-group:FID {ssrc} {rtx}\r\n"
        )?;
    }
    Ok(())
}
