//! The parsed form of an offer.

use callkit_core::redact::Secret;

use super::{MAX_M_LINES, MAX_SDP, SdpError};

/// A SHA-256 certificate fingerprint (RFC 8122).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Reads `AB:CD:..`, either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        let mut parts = text.split(':');
        for byte in &mut digest {
            let part = parts.next().filter(|part| part.len() == 2)?;
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        parts.next().is_none().then_some(Self(digest))
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

/// Kind of an m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
    /// Anything else; the layout has none.
    Other,
}

/// Direction of an m-line, as the offerer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are those of RFC 8866 section 6.7")]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

/// `a=rtpmap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpMap {
    /// Payload type.
    pub payload: u8,
    /// `name/clock[/channels]` in lower case.
    pub encoding: String,
    /// The `a=fmtp` parameters of the payload type; empty without.
    pub fmtp: String,
}

/// `a=extmap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtMap {
    /// The id in the packets.
    pub id: u8,
    /// What it is.
    pub uri: String,
}

/// `a=rtcp-fb`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// Payload type; `None` for `*`.
    pub payload: Option<u8>,
    /// The kind, as written (`nack pli`).
    pub kind: String,
}

/// An m-line with the attributes that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaSection {
    /// Audio or video.
    pub kind: MediaKind,
    /// The media id (RFC 8843).
    pub mid: String,
    /// Who sends, as the offerer sees it.
    pub direction: Direction,
    /// Port 0 without `a=bundle-only`: the m-line is refused by the offerer itself.
    pub rejected: bool,
    /// Codecs, in the order of the m-line.
    pub rtp_maps: Vec<RtpMap>,
    /// Header extensions.
    pub extensions: Vec<ExtMap>,
    /// RTCP feedback.
    pub feedback: Vec<Feedback>,
    /// Simulcast layers that the offerer sends.
    pub send_rids: Vec<String>,
    /// Those of them that are off at first (`~` in `a=simulcast`, RFC 8853 section 5.1).
    pub paused_rids: Vec<String>,
    /// SSRCs in order of appearance.
    pub ssrcs: Vec<u32>,
    /// FID groups: media and retransmission (RFC 5576).
    pub fid: Vec<(u32, u32)>,
}

/// A parsed offer.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The client's ICE user name fragment.
    pub ufrag: String,
    /// The client's ICE password: needed for checks that we send.
    pub pwd: Secret<String>,
    /// What the client's certificate must hash to.
    pub fingerprint: Fingerprint,
    /// The m-lines.
    pub media: Vec<MediaSection>,
}

/// Most entries of one kind in one m-line that are kept; Chromium has about 40 payload types.
const MAX_PER_LINE: usize = 128;
/// Longest mid and rid: both go into header extensions of at most 16 bytes (RFC 8285 section 4.2).
const MAX_TOKEN: usize = 16;
/// Longest kept fmtp; real ones are below 100.
const MAX_FMTP: usize = 256;

impl Offer {
    /// Parses `text`.
    ///
    /// # Errors
    /// See [`SdpError`]; layout and codecs are checked later, by [`negotiate`](super::negotiate).
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > MAX_SDP {
            return Err(SdpError::TooLarge);
        }
        let mut parser = Parser::default();
        for (index, line) in text.lines().enumerate() {
            parser.line(index + 1, line.trim_end())?;
        }
        parser.finish()
    }
}

/// A value that all m-lines of a bundle have to agree on.
#[derive(Debug)]
struct Shared<T>(Option<T>);

impl<T: PartialEq> Shared<T> {
    fn set(&mut self, value: T) -> Result<(), SdpError> {
        match &self.0 {
            Some(known) if *known != value => Err(SdpError::NotBundled),
            Some(_) => Ok(()),
            None => {
                self.0 = Some(value);
                Ok(())
            }
        }
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(None)
    }
}

#[derive(Debug, Default)]
struct Parser {
    ufrag: Shared<String>,
    pwd: Shared<String>,
    fingerprint: Shared<Fingerprint>,
    session_direction: Direction,
    media: Vec<MediaSection>,
}

impl Parser {
    fn line(&mut self, number: usize, line: &str) -> Result<(), SdpError> {
        let malformed = SdpError::Malformed { line: number };
        // Some values are written back into the answer: they must not be able to start a line there.
        if line.chars().any(char::is_control) {
            return Err(malformed);
        }
        if let Some(rest) = line.strip_prefix("m=") {
            return self.media_line(rest, malformed);
        }
        let Some(attribute) = line.strip_prefix("a=") else {
            return Ok(());
        };
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name {
            "ice-ufrag" => return self.ufrag.set(value.to_owned()),
            "ice-pwd" => return self.pwd.set(value.to_owned()),
            "fingerprint" => return self.fingerprint_line(value, malformed),
            "crypto" => return Err(SdpError::KeysInSdp),
            "setup" if value == "passive" || value == "holdconn" => return Err(SdpError::SetupRole),
            _ => {}
        }
        if let Some(direction) = direction(name) {
            match self.media.last_mut() {
                Some(section) => section.direction = direction,
                None => self.session_direction = direction,
            }
            return Ok(());
        }
        match self.media.last_mut() {
            Some(section) => section.attribute(name, value).ok_or(malformed),
            None => Ok(()),
        }
    }

    fn media_line(&mut self, rest: &str, malformed: SdpError) -> Result<(), SdpError> {
        if self.media.len() == MAX_M_LINES {
            return Err(SdpError::TooLarge);
        }
        let mut words = rest.split(' ');
        let kind = match words.next() {
            Some("audio") => MediaKind::Audio,
            Some("video") => MediaKind::Video,
            _ => MediaKind::Other,
        };
        let port: u16 = words
            .next()
            .and_then(|port| port.split('/').next())
            .and_then(|port| port.parse().ok())
            .ok_or(malformed)?;
        let mut section = MediaSection {
            kind,
            mid: String::new(),
            direction: self.session_direction,
            rejected: port == 0,
            rtp_maps: Vec::new(),
            extensions: Vec::new(),
            feedback: Vec::new(),
            send_rids: Vec::new(),
            paused_rids: Vec::new(),
            ssrcs: Vec::new(),
            fid: Vec::new(),
        };
        // The m-line's order is the offerer's preference; names come with the rtpmap lines.
        for payload in words
            .skip(1)
            .filter_map(|word| word.parse().ok())
            .take(MAX_PER_LINE)
        {
            section.rtp_maps.push(RtpMap {
                payload,
                encoding: String::new(),
                fmtp: String::new(),
            });
        }
        self.media.push(section);
        Ok(())
    }

    fn fingerprint_line(&mut self, value: &str, malformed: SdpError) -> Result<(), SdpError> {
        let (algorithm, digest) = value.split_once(' ').ok_or_else(|| malformed.clone())?;
        // Other algorithms may stand beside SHA-256 (RFC 8122 section 5); they add nothing.
        if !algorithm.eq_ignore_ascii_case("sha-256") {
            return Ok(());
        }
        self.fingerprint
            .set(Fingerprint::parse(digest.trim()).ok_or(malformed)?)
    }

    fn finish(self) -> Result<Offer, SdpError> {
        let ice_chars = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
        };
        let ufrag = self
            .ufrag
            .0
            .filter(|text| (4..=256).contains(&text.len()) && ice_chars(text));
        let pwd = self
            .pwd
            .0
            .filter(|text| (22..=256).contains(&text.len()) && ice_chars(text));
        let (Some(ufrag), Some(pwd)) = (ufrag, pwd) else {
            return Err(SdpError::NoIceCredentials);
        };
        let fingerprint = self.fingerprint.0.ok_or(SdpError::NoFingerprint)?;
        Ok(Offer {
            ufrag,
            pwd: Secret::new(pwd),
            fingerprint,
            media: self.media,
        })
    }
}

fn direction(name: &str) -> Option<Direction> {
    Some(match name {
        "sendrecv" => Direction::SendRecv,
        "sendonly" => Direction::SendOnly,
        "recvonly" => Direction::RecvOnly,
        "inactive" => Direction::Inactive,
        _ => return None,
    })
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_TOKEN
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn push_bounded<T>(list: &mut Vec<T>, item: T) {
    if list.len() < MAX_PER_LINE {
        list.push(item);
    }
}

impl MediaSection {
    /// `None` if the attribute matters and is malformed.
    fn attribute(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "mid" => {
                self.mid = is_token(value).then(|| value.to_owned())?;
            }
            // Firefox gives the bundled m-lines port 0 (RFC 9143 section 6): they are active.
            "bundle-only" => self.rejected = false,
            "rtpmap" => {
                let (payload, encoding) = value.split_once(' ')?;
                let payload: u8 = payload.parse().ok()?;
                if let Some(map) = self.rtp_maps.iter_mut().find(|map| map.payload == payload) {
                    map.encoding = encoding.trim().to_ascii_lowercase();
                }
            }
            "fmtp" => {
                let (payload, parameters) = value.split_once(' ')?;
                let payload: u8 = payload.parse().ok()?;
                if let Some(map) = self.rtp_maps.iter_mut().find(|map| map.payload == payload)
                    && parameters.len() <= MAX_FMTP
                {
                    map.fmtp = parameters.trim().to_owned();
                }
            }
            "extmap" => {
                let (id, rest) = value.split_once(' ')?;
                let id = id.split('/').next()?.parse().ok()?;
                let uri = rest.split(' ').next()?;
                push_bounded(
                    &mut self.extensions,
                    ExtMap {
                        id,
                        uri: uri.to_owned(),
                    },
                );
            }
            "rtcp-fb" => {
                let (payload, kind) = value.split_once(' ')?;
                let payload = if payload == "*" {
                    None
                } else {
                    Some(payload.parse().ok()?)
                };
                push_bounded(
                    &mut self.feedback,
                    Feedback {
                        payload,
                        kind: kind.trim().to_owned(),
                    },
                );
            }
            "rid" => {
                let mut words = value.split(' ');
                let (rid, way) = (words.next()?, words.next()?);
                if way == "send" {
                    let rid = is_token(rid).then(|| rid.to_owned())?;
                    if !self.send_rids.contains(&rid) {
                        push_bounded(&mut self.send_rids, rid);
                    }
                }
            }
            "simulcast" => {
                let mut words = value.split(' ').skip_while(|word| *word != "send");
                let layers = words.nth(1)?.split(';').flat_map(|layer| layer.split(','));
                for rid in layers.filter_map(|rid| rid.strip_prefix('~')) {
                    push_bounded(&mut self.paused_rids, rid.to_owned());
                }
            }
            "ssrc" => {
                let ssrc = value.split(' ').next()?.parse().ok()?;
                if !self.ssrcs.contains(&ssrc) {
                    push_bounded(&mut self.ssrcs, ssrc);
                }
            }
            "ssrc-group" => {
                if let Some(pair) = value.strip_prefix("FID ") {
                    let (media, rtx) = pair.trim().split_once(' ')?;
                    push_bounded(&mut self.fid, (media.parse().ok()?, rtx.parse().ok()?));
                }
            }
            _ => {}
        }
        Some(())
    }

    /// The retransmission payload type of `media` (RFC 4588 section 8.6).
    pub(super) fn rtx_of(&self, media: u8) -> Option<u8> {
        let is_rtx = |map: &&RtpMap| map.encoding.starts_with("rtx/") && apt(&map.fmtp) == Some(media);
        self.rtp_maps.iter().find(is_rtx).map(|map| map.payload)
    }

    /// Whether the offerer has this kind of RTCP feedback for `payload`.
    pub(super) fn has_feedback(&self, payload: u8, kind: &str) -> bool {
        let matches = |one: &Feedback| one.payload.is_none_or(|known| known == payload) && one.kind == kind;
        self.feedback.iter().any(matches)
    }
}

fn apt(fmtp: &str) -> Option<u8> {
    fmtp.split(';')
        .find_map(|part| part.trim().strip_prefix("apt="))
        .and_then(|number| number.parse().ok())
}
