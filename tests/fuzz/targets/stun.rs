//! Datagrams that claim to be STUN checks, or answers to ours: as they come, and signed, so that what lies behind the
//! authentication is reached too.
#![no_main]

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Instant;

use callkit_core::id::IdSource;
use callkit_core::redact::Secret;
use callkit_sfu::transport::dtls::DtlsIdentity;
use callkit_sfu::transport::ice::{IceAgent, IceCredentials, StunKind, peek};
use callkit_sfu::transport::{Path, classify};
use libfuzzer_sys::fuzz_target;
use ring::hmac;

const PWD: &str = "0123456789abcdef01234567";
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

fuzz_target!(|data: &[u8]| {
    static START: OnceLock<(Instant, DtlsIdentity)> = OnceLock::new();
    let (now, identity) = START.get_or_init(|| (Instant::now(), DtlsIdentity::generate().expect("an identity")));
    let credentials = |ufrag: &str| IceCredentials { ufrag: ufrag.to_owned(), pwd: Secret::new(PWD.to_owned()) };
    let mut agent = IceAgent::new(credentials("server"), credentials("client"), identity.provider());
    agent.restart(credentials("next"), credentials("client"));
    let remote: SocketAddr = ([198, 51, 100, 7], 5000).into();
    let path = Path::udp(remote, None);

    let _ = (classify(data), peek(data));
    if agent.handle(*now, path, data).is_ok() {
        assert!(agent.validated().eq([path.end()]), "an authentic check validates its address and no other");
    }
    let signed = sign([0, 1], [7; 12], data);
    if let Ok(check) = agent.handle(*now, path, &signed) {
        assert!(matches!(peek(&signed), StunKind::Request("server" | "next")));
        assert!(check.reply.len() < 200, "a reply does not amplify");
    }
    // An answer counts only to what was asked, and only from there.
    let elsewhere = Path::udp(([198, 51, 100, 8], 5000).into(), None);
    let id = agent.probe(*now, elsewhere, &mut IdSource::seeded(1)).expect("nothing else is asked");
    let answer = sign([1, 1], id, data);
    assert!(agent.handle_answer(*now, path, id, &answer).is_err());
    let _ = agent.handle_answer(*now, elsewhere, id, data);
    let _ = agent.handle_answer(*now, elsewhere, id, &answer);
});

/// A message with `attributes`, MESSAGE-INTEGRITY and FINGERPRINT (RFC 8489 sections 14.5 and 14.7).
fn sign(kind: [u8; 2], id: [u8; 12], attributes: &[u8]) -> Vec<u8> {
    let attributes = &attributes[..attributes.len().min(480) & !3];
    let mut message = vec![kind[0], kind[1], 0, 0];
    message.extend(COOKIE);
    message.extend(id);
    message.extend(attributes);
    let length = |message: &mut Vec<u8>, more: usize| {
        let value = (message.len() - 20 + more) as u16;
        message[2..4].copy_from_slice(&value.to_be_bytes());
    };
    length(&mut message, 24);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, PWD.as_bytes());
    let tag = hmac::sign(&key, &message);
    message.extend([0, 8, 0, 20]);
    message.extend(tag.as_ref());
    length(&mut message, 8);
    let checksum = crc32(&message) ^ 0x5354_554e;
    message.extend([0x80, 0x28, 0, 4]);
    message.extend(checksum.to_be_bytes());
    message
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |s, _| (s >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(s & 1)))
    })
}
