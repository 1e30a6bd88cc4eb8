//! SRTP and SRTCP of one participant, in place and without allocation for AES-128-GCM.
//!
//! [`SrtpSession`] is both directions with the keys of one DTLS handshake. AEAD_AES_128_GCM is our own
//! [`GcmSender`] and [`GcmReceiver`] over ring; AES_CM_128_HMAC_SHA1_80, for the rare client without GCM, goes through
//! `rtc-srtp` and copies.

mod gcm;
mod index;
mod legacy;
#[cfg(test)]
mod tests;

pub use gcm::{GcmReceiver, GcmSender};
pub use legacy::LegacySession;

use rtc_crypto::RTCCrypto;

/// What sealing adds behind an RTP packet at most: the AEAD tag.
pub const RTP_TRAILER: usize = 16;
/// What sealing adds behind an RTCP packet at most: the AEAD tag and the SRTCP index.
pub const RTCP_TRAILER: usize = 20;

/// SSRCs per direction that keep state. A participant sends about ten; the rest is somebody trying.
pub const MAX_STREAMS: usize = 64;

/// Why a packet was not opened or sealed. All are counted drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SrtpError {
    /// Too short, or a header that reaches past the end.
    #[error("malformed packet")]
    Malformed,
    /// The tag does not fit: forged, damaged or for other keys.
    #[error("not authentic")]
    NotAuthentic,
    /// Received (or, when sealing, sent) before, or too old to tell.
    #[error("replayed")]
    Replayed,
    /// More than [`MAX_STREAMS`] SSRCs.
    #[error("too many streams")]
    TooManyStreams,
    /// No room behind the packet for the trailer, or the keys are used up (RFC 3711 section 9.2).
    #[error("cannot be sealed")]
    CannotSeal,
}

/// The negotiated protection (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// AEAD_AES_128_GCM.
    Gcm128,
    /// AES_CM_128_HMAC_SHA1_80.
    Sha1_80,
}

impl Profile {
    /// Bytes of master key and master salt.
    #[must_use]
    pub const fn key_lengths(self) -> (usize, usize) {
        match self {
            Self::Gcm128 => (16, 12),
            Self::Sha1_80 => (16, 14),
        }
    }

    /// Bytes to export from the DTLS handshake (RFC 5764 section 4.2).
    #[must_use]
    pub const fn keying_material(self) -> usize {
        let (key, salt) = self.key_lengths();
        2 * (key + salt)
    }
}

/// Which end of the DTLS handshake we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// DTLS client.
    Client,
    /// DTLS server.
    Server,
}

/// Both directions of a participant.
#[derive(Debug)]
pub enum SrtpSession {
    /// AEAD_AES_128_GCM.
    Gcm {
        /// Opens.
        receiver: Box<GcmReceiver>,
        /// Seals.
        sender: Box<GcmSender>,
    },
    /// AES_CM_128_HMAC_SHA1_80.
    Legacy(Box<LegacySession>),
}

/// Master keys of both directions, borrowed from the exported material.
pub(crate) struct MasterKeys<'a> {
    pub(crate) local: (&'a [u8], &'a [u8]),
    pub(crate) remote: (&'a [u8], &'a [u8]),
}

impl<'a> MasterKeys<'a> {
    /// Splits `client key, server key, client salt, server salt` (RFC 5764 section 4.2).
    pub(crate) fn split(material: &'a [u8], profile: Profile, role: Role) -> Option<Self> {
        let (key, salt) = profile.key_lengths();
        if material.len() != profile.keying_material() {
            return None;
        }
        let (keys, salts) = material.split_at(2 * key);
        let client = (&keys[..key], &salts[..salt]);
        let server = (&keys[key..], &salts[salt..]);
        Some(match role {
            Role::Client => Self {
                local: client,
                remote: server,
            },
            Role::Server => Self {
                local: server,
                remote: client,
            },
        })
    }
}

impl SrtpSession {
    /// A session from exported keying material; `None` if it does not have the profile's length.
    #[must_use]
    pub fn new(profile: Profile, material: &[u8], role: Role, crypto: &dyn RTCCrypto) -> Option<Self> {
        let keys = MasterKeys::split(material, profile, role)?;
        Some(match profile {
            Profile::Gcm128 => Self::Gcm {
                receiver: Box::new(GcmReceiver::new(keys.remote.0, keys.remote.1)?),
                sender: Box::new(GcmSender::new(keys.local.0, keys.local.1)?),
            },
            Profile::Sha1_80 => Self::Legacy(Box::new(LegacySession::new(&keys, crypto)?)),
        })
    }

    /// The profile in use.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        match self {
            Self::Gcm { .. } => Profile::Gcm128,
            Self::Legacy(_) => Profile::Sha1_80,
        }
    }

    /// Opens an SRTP packet in place; the first bytes, as many as returned, are the plain packet.
    ///
    /// # Errors
    /// [`SrtpError`]; the buffer's content is then unspecified and no state has changed.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        match self {
            Self::Gcm { receiver, .. } => receiver.open_rtp(packet),
            Self::Legacy(session) => session.open_rtp(packet),
        }
    }

    /// Opens an SRTCP packet in place.
    ///
    /// # Errors
    /// As [`open_rtp`](Self::open_rtp).
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        match self {
            Self::Gcm { receiver, .. } => receiver.open_rtcp(packet),
            Self::Legacy(session) => session.open_rtcp(packet),
        }
    }

    /// Seals the RTP packet in the first `len` bytes of `buffer`, which needs [`RTP_TRAILER`] bytes more,
    /// and returns the sealed length.
    ///
    /// # Errors
    /// [`SrtpError`]. A sequence number that was already used is refused: with GCM a second packet under
    /// the same nonce would give away the authentication key.
    pub fn seal_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        match self {
            Self::Gcm { sender, .. } => sender.seal_rtp(buffer, len),
            Self::Legacy(session) => session.seal_rtp(buffer, len),
        }
    }

    /// Seals the RTCP packet in the first `len` bytes of `buffer`, which needs [`RTCP_TRAILER`] bytes more.
    ///
    /// # Errors
    /// [`SrtpError`].
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        match self {
            Self::Gcm { sender, .. } => sender.seal_rtcp(buffer, len),
            Self::Legacy(session) => session.seal_rtcp(buffer, len),
        }
    }
}

/// Bytes of an RTP header with CSRCs and extension (RFC 3550 section 5.1); `None` if it does not fit.
fn rtp_header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut length = 12 + 4 * usize::from(first & 15);
    if first & 0x10 != 0 {
        let words = packet.get(length + 2..length + 4)?;
        length += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    (length <= packet.len()).then_some(length)
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
