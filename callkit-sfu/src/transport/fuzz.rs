//! Entry points for fuzzing what the network can reach: total, whatever the bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use callkit_core::id::IdSource;
use callkit_core::redact::Secret;

use super::Path;
use super::dtls::{DtlsIdentity, DtlsServer};
use super::framing::{Deframer, MAX_FRAME};
use super::ice::{IceAgent, IceCredentials, StunKind, peek};
use super::srtp::{GcmReceiver, Profile, Role, SrtpSession};
use crate::sdp::Fingerprint;

/// A STUN datagram from anywhere.
pub fn stun(now: Instant, datagram: &[u8]) {
    let credentials = |ufrag: &str| IceCredentials {
        ufrag: ufrag.to_owned(),
        pwd: Secret::new("p".repeat(24)),
    };
    let provider = Arc::new(rtc_crypto::providers::RingProvider::new());
    let path = Path::udp(SocketAddr::from(([192, 0, 2, 1], 9)), None);
    let mut agent = IceAgent::new(credentials("ours"), credentials("theirs"), provider);
    // A question is open, so that answers are read to their end.
    let id = agent.probe(now, path, &mut IdSource::seeded(1));
    let _ = agent.handle(now, path, datagram);
    if let (StunKind::Answer(_), Some(id)) = (peek(datagram), id) {
        let _ = agent.handle_answer(now, path, id, datagram);
    }
}

/// DTLS datagrams from a validated address, each with a byte of length before it.
pub fn dtls(now: Instant, identity: &Arc<DtlsIdentity>, mut datagrams: &[u8]) {
    let mut server = DtlsServer::new(Arc::clone(identity), Fingerprint([0; 32]));
    while let [length, rest @ ..] = datagrams {
        let (datagram, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        let _ = server.handle(now, datagram);
        while server.poll_transmit().is_some() {}
        datagrams = rest;
    }
}

/// A TCP stream, cut where its bytes say: each piece has a byte of length before it.
pub fn framing(mut stream: &[u8]) {
    let mut deframer = Deframer::default();
    while let [length, rest @ ..] = stream {
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        let whole = |datagram: &mut [u8]| assert!(datagram.len() <= MAX_FRAME);
        if deframer.push(&mut piece.to_vec(), whole).is_err() {
            return;
        }
        stream = rest;
    }
}

/// An SRTP or SRTCP packet from a validated address.
pub fn srtp(packet: &[u8]) {
    if let Some(mut receiver) = GcmReceiver::new(&[1; 16], &[2; 12]) {
        let _ = receiver.open_rtp(&mut packet.to_vec());
        let _ = receiver.open_rtcp(&mut packet.to_vec());
    }
    let provider = rtc_crypto::providers::RingProvider::new();
    let crypto = rtc_crypto::RTCCryptoProvider::crypto(&provider);
    if let Some(mut session) = SrtpSession::new(Profile::Sha1_80, &[3; 60], Role::Server, crypto) {
        let _ = session.open_rtp(&mut packet.to_vec());
        let _ = session.open_rtcp(&mut packet.to_vec());
    }
}
