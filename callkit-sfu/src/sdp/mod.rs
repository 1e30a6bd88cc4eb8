//! The one negotiation of a participant: reading the browser's offer and writing our answer (RFC 8829).
//!
//! Only what the fixed [`layout`](crate::layout) needs is understood; everything else in an offer is
//! skipped. Parsing is total: any input gives an [`Offer`] or a typed [`SdpError`], within bounds.

mod answer;
mod offer;
#[cfg(test)]
mod tests;

pub use answer::{Answer, AnswerConfig, Candidate, Negotiated, negotiate};
pub use offer::{Direction, ExtMap, Feedback, Fingerprint, MediaKind, MediaSection, Offer, RtpMap};

use crate::layout::Codec;

/// Longest offer that is read. Chromium's with all codecs and twelve m-lines is about 40 KiB.
pub const MAX_SDP: usize = 64 * 1024;
/// Most m-lines that are read; the layout has twelve.
pub const MAX_M_LINES: usize = 20;

/// Why an offer is refused. The caller tells the page, which cannot repair it by trying again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// Longer than [`MAX_SDP`] or with more m-lines than [`MAX_M_LINES`].
    #[error("the offer is too large")]
    TooLarge,
    /// A line that has to be understood cannot be.
    #[error("line {line} of the offer is malformed")]
    Malformed {
        /// Number of the line, from 1.
        line: usize,
    },
    /// No `a=ice-ufrag` or `a=ice-pwd` of the lengths that RFC 8839 section 5.4 asks for.
    #[error("the offer has no usable ICE credentials")]
    NoIceCredentials,
    /// No SHA-256 fingerprint: there would be nothing to check the client's certificate against.
    #[error("the offer has no SHA-256 certificate fingerprint")]
    NoFingerprint,
    /// m-lines with different fingerprints or ICE credentials: not one bundle.
    #[error("the m-lines of the offer do not share one transport")]
    NotBundled,
    /// `a=crypto` (RFC 4568): media keys in the signaling are not accepted.
    #[error("the offer carries keys in the SDP")]
    KeysInSdp,
    /// `a=setup:passive`: we are the DTLS server.
    #[error("the offer does not let the client be the DTLS client")]
    SetupRole,
    /// Number, kind or direction of an m-line is not that of the layout.
    #[error("m-line {index} of the offer is not what the layout has there")]
    Layout {
        /// Number of the m-line, from 0.
        index: usize,
    },
    /// No codec in common with the server's configuration or with the others in the call.
    #[error("m-line {index} of the offer has no usable codec")]
    NoUsableCodec {
        /// Number of the m-line, from 0.
        index: usize,
    },
}

/// Codecs in order of preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecSet(Vec<Codec>);

impl CodecSet {
    /// `codecs`, most preferred first.
    #[must_use]
    pub fn new(codecs: impl IntoIterator<Item = Codec>) -> Self {
        let mut set = Vec::new();
        for codec in codecs {
            if !set.contains(&codec) {
                set.push(codec);
            }
        }
        Self(set)
    }

    /// The common ground of the four browsers: VP8, then H.264 constrained baseline.
    #[must_use]
    pub fn default_video() -> Self {
        Self::new([Codec::Vp8, Codec::H264])
    }

    /// The codecs, most preferred first.
    #[must_use]
    pub fn as_slice(&self) -> &[Codec] {
        &self.0
    }
}
