//! AEAD_AES_128_GCM for SRTP and SRTCP (RFC 7714), keys derived by RFC 3711 section 4.3, in place.

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::index::Streams;
use super::{RTCP_TRAILER, RTP_TRAILER, SrtpError, be32, rtp_header_len};

const TAG: usize = 16;
const KEY: usize = 16;
const SALT: usize = 12;
/// Plain part of an RTCP packet: first header and sender SSRC.
const RTCP_HEADER: usize = 8;
/// The E flag of the SRTCP index word: the packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;

/// Labels of RFC 3711 section 4.3.1.
#[derive(Clone, Copy)]
enum Label {
    RtpKey = 0,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpSalt = 5,
}

/// Session keys of one direction.
struct Keys {
    rtp: LessSafeKey,
    rtp_salt: [u8; SALT],
    rtcp: LessSafeKey,
    rtcp_salt: [u8; SALT],
}

impl Keys {
    fn derive(master_key: &[u8], master_salt: &[u8]) -> Option<Self> {
        let cipher = Aes128::new_from_slice(master_key).ok()?;
        let master_salt: &[u8; SALT] = master_salt.try_into().ok()?;
        // One block is enough for a key or a salt, so the counter part of the input stays 0. The 96-bit
        // salt is padded on the right to the 112 bits of the key derivation (RFC 7714 section 11).
        let block = |label: Label| {
            let mut block = [0_u8; 16];
            block[..SALT].copy_from_slice(master_salt);
            block[7] ^= label as u8;
            let mut block = block.into();
            cipher.encrypt_block(&mut block);
            <[u8; 16]>::from(block)
        };
        let key = |label| {
            UnboundKey::new(&AES_128_GCM, &block(label)[..KEY])
                .ok()
                .map(LessSafeKey::new)
        };
        let salt = |label| {
            let mut salt = [0; SALT];
            salt.copy_from_slice(&block(label)[..SALT]);
            salt
        };
        Some(Self {
            rtp: key(Label::RtpKey)?,
            rtp_salt: salt(Label::RtpSalt),
            rtcp: key(Label::RtcpKey)?,
            rtcp_salt: salt(Label::RtcpSalt),
        })
    }

    /// RFC 7714 section 8.1.
    fn rtp_nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
        nonce[6..12].copy_from_slice(&index.to_be_bytes()[2..]);
        mask(nonce, &self.rtp_salt)
    }

    /// RFC 7714 section 9.1.
    fn rtcp_nonce(&self, ssrc: u32, index: u32) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
        nonce[8..12].copy_from_slice(&index.to_be_bytes());
        mask(nonce, &self.rtcp_salt)
    }
}

fn mask(mut nonce: [u8; NONCE_LEN], salt: &[u8; SALT]) -> Nonce {
    for (byte, salt) in nonce.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    Nonce::assume_unique_for_key(nonce)
}

/// Associated data of SRTCP: the plain header and the index word (RFC 7714 section 9.2).
fn rtcp_aad(header: &[u8], word: u32) -> Aad<[u8; RTCP_HEADER + 4]> {
    let mut aad = [0; RTCP_HEADER + 4];
    aad[..RTCP_HEADER].copy_from_slice(&header[..RTCP_HEADER]);
    aad[RTCP_HEADER..].copy_from_slice(&word.to_be_bytes());
    Aad::from(aad)
}

/// Opens what the participant sends.
pub struct GcmReceiver {
    keys: Keys,
    rtp: Streams,
    rtcp: Streams,
}

impl std::fmt::Debug for GcmReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GcmReceiver(..)")
    }
}

impl GcmReceiver {
    /// `None` unless key and salt have 16 and 12 bytes.
    #[must_use]
    pub fn new(master_key: &[u8], master_salt: &[u8]) -> Option<Self> {
        let keys = Keys::derive(master_key, master_salt)?;
        Some(Self {
            keys,
            rtp: Streams::default(),
            rtcp: Streams::default(),
        })
    }

    /// See [`SrtpSession::open_rtp`](super::SrtpSession::open_rtp).
    ///
    /// # Errors
    /// [`SrtpError`].
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let header = rtp_header_len(packet).ok_or(SrtpError::Malformed)?;
        if packet.len() < header + TAG {
            return Err(SrtpError::Malformed);
        }
        let (ssrc, sequence) = (be32(packet, 8), u16::from_be_bytes([packet[2], packet[3]]));
        let candidate = self.rtp.rtp(ssrc, sequence)?;
        let nonce = self.keys.rtp_nonce(ssrc, candidate.index);
        let (aad, sealed) = packet.split_at_mut(header);
        let plain = self
            .keys
            .rtp
            .open_in_place(nonce, Aad::from(&*aad), sealed)
            .map_err(|_| SrtpError::NotAuthentic)?;
        let length = header + plain.len();
        self.rtp.accept(candidate);
        Ok(length)
    }

    /// See [`SrtpSession::open_rtcp`](super::SrtpSession::open_rtcp).
    ///
    /// # Errors
    /// [`SrtpError`].
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        if packet.len() < RTCP_HEADER + RTCP_TRAILER {
            return Err(SrtpError::Malformed);
        }
        let word_at = packet.len() - 4;
        let (ssrc, word) = (be32(packet, 4), be32(packet, word_at));
        // Authenticated but readable RTCP is not what was agreed.
        if word & ENCRYPTED == 0 {
            return Err(SrtpError::NotAuthentic);
        }
        let index = word & !ENCRYPTED;
        let candidate = self.rtcp.rtcp(ssrc, index)?;
        let nonce = self.keys.rtcp_nonce(ssrc, index);
        let aad = rtcp_aad(packet, word);
        let plain = self
            .keys
            .rtcp
            .open_in_place(nonce, aad, &mut packet[RTCP_HEADER..word_at])
            .map_err(|_| SrtpError::NotAuthentic)?;
        let length = RTCP_HEADER + plain.len();
        self.rtcp.accept(candidate);
        Ok(length)
    }
}

/// Seals what is sent to the participant.
pub struct GcmSender {
    keys: Keys,
    rtp: Streams,
    /// One index for all SSRCs: distinct (SSRC, index) pairs without a table.
    rtcp_index: u32,
}

impl std::fmt::Debug for GcmSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GcmSender(..)")
    }
}

impl GcmSender {
    /// `None` unless key and salt have 16 and 12 bytes.
    #[must_use]
    pub fn new(master_key: &[u8], master_salt: &[u8]) -> Option<Self> {
        Some(Self {
            keys: Keys::derive(master_key, master_salt)?,
            rtp: Streams::default(),
            rtcp_index: 0,
        })
    }

    /// See [`SrtpSession::seal_rtp`](super::SrtpSession::seal_rtp).
    ///
    /// # Errors
    /// [`SrtpError`].
    pub fn seal_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let packet = buffer.get_mut(..len + RTP_TRAILER).ok_or(SrtpError::CannotSeal)?;
        let header = rtp_header_len(&packet[..len]).ok_or(SrtpError::Malformed)?;
        let (ssrc, sequence) = (be32(packet, 8), u16::from_be_bytes([packet[2], packet[3]]));
        let candidate = self.rtp.rtp(ssrc, sequence)?;
        let nonce = self.keys.rtp_nonce(ssrc, candidate.index);
        let (aad, rest) = packet.split_at_mut(header);
        let (plain, trailer) = rest.split_at_mut(len - header);
        let tag = self
            .keys
            .rtp
            .seal_in_place_separate_tag(nonce, Aad::from(&*aad), plain)
            .map_err(|_| SrtpError::CannotSeal)?;
        trailer.copy_from_slice(tag.as_ref());
        self.rtp.accept(candidate);
        Ok(len + RTP_TRAILER)
    }

    /// See [`SrtpSession::seal_rtcp`](super::SrtpSession::seal_rtcp).
    ///
    /// # Errors
    /// [`SrtpError`].
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let packet = buffer
            .get_mut(..len + RTCP_TRAILER)
            .ok_or(SrtpError::CannotSeal)?;
        if len < RTCP_HEADER {
            return Err(SrtpError::Malformed);
        }
        let index = self.rtcp_index;
        if index >= ENCRYPTED - 1 {
            return Err(SrtpError::CannotSeal);
        }
        // Counted up before use: an index is never tried twice, whatever happens below.
        self.rtcp_index += 1;
        let word = index | ENCRYPTED;
        let nonce = self.keys.rtcp_nonce(be32(packet, 4), index);
        let aad = rtcp_aad(packet, word);
        let (plain, trailer) = packet.split_at_mut(len);
        let tag = self
            .keys
            .rtcp
            .seal_in_place_separate_tag(nonce, aad, &mut plain[RTCP_HEADER..])
            .map_err(|_| SrtpError::CannotSeal)?;
        trailer[..TAG].copy_from_slice(tag.as_ref());
        trailer[TAG..].copy_from_slice(&word.to_be_bytes());
        Ok(len + RTCP_TRAILER)
    }
}
