//! AES_CM_128_HMAC_SHA1_80 through `rtc-srtp`, for clients without GCM.
//!
//! That crate makes state for an SSRC before it knows whether the packet is authentic. So a packet of an
//! SSRC that has not proved itself is opened with a throw-away context first: somebody who sends made-up
//! SSRCs fills that one, which is renewed, and never the real one.

use rtc_crypto::RTCCrypto;
use rtc_shared::error::Error;
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

use super::index::Streams;
use super::{MAX_STREAMS, MasterKeys, SrtpError, be32, rtp_header_len};

const REPLAY_WINDOW: usize = 1024;
/// Failed attempts after which the throw-away context is renewed.
const MAX_PROBES: usize = 64;
const RTCP_HEADER: usize = 8;
/// Index word and tag (RFC 3711 section 3.4).
const RTCP_TAIL: usize = 4 + 10;
/// The E flag, in the first byte of the index word.
const ENCRYPTED: u8 = 0x80;

type NewContext = Box<dyn Fn() -> Option<Context> + Send>;

/// Both directions of a participant.
pub struct LegacySession {
    sender: Context,
    sent: Streams,
    receiver: Context,
    probe: Context,
    probes: usize,
    new_probe: NewContext,
    rtp: Vec<u32>,
    rtcp: Vec<u32>,
}

impl std::fmt::Debug for LegacySession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LegacySession(..)")
    }
}

fn context(key: &[u8], salt: &[u8], crypto: &dyn RTCCrypto) -> Option<Context> {
    let profile = ProtectionProfile::Aes128CmHmacSha1_80;
    let (rtp, rtcp) = (
        srtp_replay_protection(REPLAY_WINDOW),
        srtcp_replay_protection(REPLAY_WINDOW),
    );
    Context::new(key, salt, profile, Some(rtp), Some(rtcp), crypto).ok()
}

impl LegacySession {
    pub(crate) fn new(keys: &MasterKeys<'_>, crypto: &dyn RTCCrypto) -> Option<Self> {
        let (key, salt) = (keys.remote.0.to_vec(), keys.remote.1.to_vec());
        let new_probe: NewContext = Box::new(move || {
            let provider = rtc_crypto::providers::RingProvider::new();
            context(&key, &salt, rtc_crypto::RTCCryptoProvider::crypto(&provider))
        });
        let profile = ProtectionProfile::Aes128CmHmacSha1_80;
        Some(Self {
            sender: Context::new(keys.local.0, keys.local.1, profile, None, None, crypto).ok()?,
            sent: Streams::default(),
            receiver: context(keys.remote.0, keys.remote.1, crypto)?,
            probe: new_probe()?,
            probes: 0,
            new_probe,
            rtp: Vec::new(),
            rtcp: Vec::new(),
        })
    }

    /// Tries a packet of an SSRC that has not proved itself, without touching the real context.
    fn probe(&mut self, packet: &[u8], open: fn(&mut Context, &[u8]) -> bool) -> Result<(), SrtpError> {
        if self.probes == MAX_PROBES {
            self.probe = (self.new_probe)().ok_or(SrtpError::NotAuthentic)?;
            self.probes = 0;
        }
        self.probes += 1;
        if open(&mut self.probe, packet) {
            Ok(())
        } else {
            Err(SrtpError::NotAuthentic)
        }
    }

    pub(super) fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        rtp_header_len(packet).ok_or(SrtpError::Malformed)?;
        let ssrc = be32(packet, 8);
        if !self.rtp.contains(&ssrc) {
            if self.rtp.len() == MAX_STREAMS {
                return Err(SrtpError::TooManyStreams);
            }
            self.probe(packet, |context, packet| context.decrypt_rtp(packet).is_ok())?;
            self.rtp.push(ssrc);
        }
        copy_back(
            packet,
            &self
                .receiver
                .decrypt_rtp(packet)
                .map_err(|error| failure(&error))?,
        )
    }

    pub(super) fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        if packet.len() < RTCP_HEADER + RTCP_TAIL {
            return Err(SrtpError::Malformed);
        }
        // `rtc-srtp` takes a packet that says it is not encrypted without checking its tag.
        if packet[packet.len() - RTCP_TAIL] & ENCRYPTED == 0 {
            return Err(SrtpError::NotAuthentic);
        }
        let ssrc = be32(packet, 4);
        if !self.rtcp.contains(&ssrc) {
            if self.rtcp.len() == MAX_STREAMS {
                return Err(SrtpError::TooManyStreams);
            }
            self.probe(packet, |context, packet| context.decrypt_rtcp(packet).is_ok())?;
            self.rtcp.push(ssrc);
        }
        copy_back(
            packet,
            &self
                .receiver
                .decrypt_rtcp(packet)
                .map_err(|error| failure(&error))?,
        )
    }

    pub(super) fn seal_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let plain = buffer.get(..len).ok_or(SrtpError::CannotSeal)?;
        rtp_header_len(plain).ok_or(SrtpError::Malformed)?;
        // A second packet under one counter would give both away.
        let candidate = self
            .sent
            .rtp(be32(plain, 8), u16::from_be_bytes([plain[2], plain[3]]))?;
        let sealed = self
            .sender
            .encrypt_rtp(plain)
            .map_err(|_| SrtpError::CannotSeal)?;
        self.sent.accept(candidate);
        copy_back(buffer, &sealed)
    }

    pub(super) fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let plain = buffer
            .get(..len)
            .filter(|plain| plain.len() >= RTCP_HEADER)
            .ok_or(SrtpError::CannotSeal)?;
        let sealed = self
            .sender
            .encrypt_rtcp(plain)
            .map_err(|_| SrtpError::CannotSeal)?;
        copy_back(buffer, &sealed)
    }
}

fn failure(error: &Error) -> SrtpError {
    match error {
        Error::SrtpSsrcDuplicated(..) | Error::SrtcpSsrcDuplicated(..) => SrtpError::Replayed,
        _ => SrtpError::NotAuthentic,
    }
}

fn copy_back(buffer: &mut [u8], result: &[u8]) -> Result<usize, SrtpError> {
    buffer
        .get_mut(..result.len())
        .ok_or(SrtpError::CannotSeal)?
        .copy_from_slice(result);
    Ok(result.len())
}
