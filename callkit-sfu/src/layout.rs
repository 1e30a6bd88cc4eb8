//! The fixed layout of a participant's one negotiation: which m-line carries what.
//!
//! A participant offers once. Four m-lines send (microphone, camera, screen, screen audio), eight receive
//! the same four of two other participants (two slots). Joining, leaving, muting and sharing change only
//! what the SFU forwards into which slot; no SDP is exchanged for it.

/// What a track carries. The order is the order of the m-lines, in the sending part and in each slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The person's voice.
    Microphone,
    /// The person's picture.
    Camera,
    /// A shared screen or window.
    Screen,
    /// The sound of a shared tab or screen.
    ScreenAudio,
}

impl Source {
    /// All sources in m-line order.
    pub const ALL: [Self; 4] = [Self::Microphone, Self::Camera, Self::Screen, Self::ScreenAudio];

    /// Position in [`ALL`](Self::ALL).
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether it is sound.
    #[must_use]
    pub const fn is_audio(self) -> bool {
        matches!(self, Self::Microphone | Self::ScreenAudio)
    }

    /// RTP clock rate in Hz.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        if self.is_audio() { 48_000 } else { 90_000 }
    }
}

/// Receiving places of a participant: at most two others are in a call (R7.1).
pub const SLOTS: usize = 2;

/// m-lines of an offer: four to send and four for each slot.
pub const M_LINES: usize = Source::ALL.len() * (1 + SLOTS);

/// A codec that the SFU forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// RFC 7587.
    Opus,
    /// RFC 7741.
    Vp8,
    /// RFC 6184, packetization mode 1.
    H264,
    /// RFC 9628.
    Vp9,
    /// AOMedia AV1 RTP payload format.
    Av1,
}

/// Ids of the RTP header extensions (RFC 8285) that were agreed for an m-line; 0 means not agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    /// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    pub transport_cc: u8,
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`.
    pub mid: u8,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`.
    pub rid: u8,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id`.
    pub repaired_rid: u8,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level`.
    pub audio_level: u8,
}

/// Payload types agreed for an m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// What the media payload type means.
    pub codec: Codec,
    /// Payload type of media.
    pub media: u8,
    /// Payload type of retransmissions (RFC 4588), if agreed.
    pub rtx: Option<u8>,
}

/// An m-line on which the participant sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The media id.
    pub mid: String,
    /// What it carries.
    pub source: Source,
    /// Agreed payload types; the first is what we prefer.
    pub payloads: Vec<Payload>,
    /// Agreed header extensions.
    pub extensions: Extensions,
    /// Simulcast layers by rid, in the order of the offer; empty without simulcast.
    pub rids: Vec<String>,
    /// SSRCs declared in the offer: media and, by an FID group, its retransmission.
    pub ssrcs: Vec<(u32, Option<u32>)>,
}

/// An m-line on which the participant receives: one source of one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downlink {
    /// The media id.
    pub mid: String,
    /// Which of the two slots.
    pub slot: usize,
    /// What it carries.
    pub source: Source,
    /// Agreed payload types.
    pub payloads: Vec<Payload>,
    /// Agreed header extensions.
    pub extensions: Extensions,
    /// The SSRC that we send, as announced in the answer.
    pub ssrc: u32,
    /// The SSRC of our retransmissions, as announced in the answer.
    pub rtx_ssrc: Option<u32>,
}

/// What one negotiation agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaLayout {
    /// The sending m-lines, by [`Source::index`].
    pub uplinks: Vec<Uplink>,
    /// The receiving m-lines: slot by slot, in each by [`Source::index`].
    pub downlinks: Vec<Downlink>,
}

/// A participant's number in its room, for the packet path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIndex(pub usize);

/// Where the room puts packets for participants. Implemented by the shard (seals, batches, sends) and by
/// benches and tests.
pub trait Egress {
    /// A buffer to write one plain RTP packet for `to` into, or `None` if it cannot be sent to (no
    /// transport, no path yet). It is [`MAX_PACKET`] long; what the transport adds when sealing goes
    /// behind it.
    fn rtp_buffer(&mut self, to: PeerIndex) -> Option<&mut [u8]>;

    /// Seals and sends the first `len` bytes of the buffer just given for `to`.
    fn send_rtp(&mut self, to: PeerIndex, len: usize);

    /// Seals and sends one plain RTCP compound packet.
    fn send_rtcp(&mut self, to: PeerIndex, compound: &[u8]);
}

/// Longest plain RTP packet that is forwarded: what fits an Ethernet frame after IPv6 and UDP headers and
/// the authentication tag.
pub const MAX_PACKET: usize = 1432;
