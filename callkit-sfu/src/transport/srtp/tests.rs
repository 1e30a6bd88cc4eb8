//! The own AES-GCM contexts against `rtc-srtp`, and what both profiles promise.

use proptest::prelude::*;
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::RingProvider;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::*;

fn reference(key: &[u8], salt: &[u8]) -> Context {
    let provider = RingProvider::new();
    Context::new(
        key,
        salt,
        ProtectionProfile::AeadAes128Gcm,
        None,
        None,
        provider.crypto(),
    )
    .unwrap()
}

/// Client and server of one handshake.
fn pair(profile: Profile) -> (SrtpSession, SrtpSession) {
    let material: Vec<u8> = (0..profile.keying_material()).map(|byte| byte as u8).collect();
    let provider = RingProvider::new();
    let end = |role| SrtpSession::new(profile, &material, role, provider.crypto()).unwrap();
    (end(Role::Client), end(Role::Server))
}

/// A packet with CSRCs, a header extension and a payload, as asked.
fn rtp(ssrc: u32, sequence: u16, csrcs: u8, extension: Option<u8>, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80 | csrcs | (u8::from(extension.is_some()) << 4), 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend(1234_u32.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(std::iter::repeat_n(3, usize::from(csrcs) * 4));
    if let Some(words) = extension {
        packet.extend([0xbe, 0xde, 0, words]);
        packet.extend(std::iter::repeat_n(0, usize::from(words) * 4));
    }
    packet.extend(payload);
    packet
}

fn sealed(session: &mut SrtpSession, plain: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = plain.to_vec();
    buffer.resize(plain.len() + RTP_TRAILER, 0);
    let len = session.seal_rtp(&mut buffer, plain.len())?;
    buffer.truncate(len);
    Ok(buffer)
}

fn opened(session: &mut SrtpSession, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = packet.to_vec();
    let len = session.open_rtp(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

proptest! {
    #[test]
    fn rtp_is_sealed_and_opened_as_the_reference_does(
        key: [u8; 16],
        salt: [u8; 12],
        ssrc: u32,
        csrcs in 0_u8..4,
        extension in prop::option::of(0_u8..5),
        payload in prop::collection::vec(any::<u8>(), 0..1200),
        start: u16,
    ) {
        let mut sender = GcmSender::new(&key, &salt).unwrap();
        let mut receiver = GcmReceiver::new(&key, &salt).unwrap();
        let mut theirs = reference(&key, &salt);
        // Over the wrap of the sequence number, so that the rollover counter takes part.
        for step in 0..4_u16 {
            let sequence = start.wrapping_add(step * 0x5000);
            let plain = rtp(ssrc, sequence, csrcs, extension, &payload);
            let mut own = plain.clone();
            own.resize(plain.len() + RTP_TRAILER, 0);
            let len = sender.seal_rtp(&mut own, plain.len()).unwrap();
            let expected = theirs.encrypt_rtp(&plain).unwrap();
            prop_assert_eq!(&own[..len], &expected[..]);
            let mut back = expected.to_vec();
            let len = receiver.open_rtp(&mut back).unwrap();
            prop_assert_eq!(&back[..len], &plain[..]);
        }
    }

    #[test]
    fn rtcp_is_opened_by_the_reference_and_the_other_way_round(
        key: [u8; 16],
        salt: [u8; 12],
        ssrc: u32,
        words in 0_usize..40,
    ) {
        let mut plain = vec![0x80, 200];
        plain.extend(u16::try_from(1 + words).unwrap().to_be_bytes());
        plain.extend(ssrc.to_be_bytes());
        plain.extend((0..words * 4).map(|byte| byte as u8));
        let mut sender = GcmSender::new(&key, &salt).unwrap();
        let mut receiver = GcmReceiver::new(&key, &salt).unwrap();
        let (mut seals, mut opens) = (reference(&key, &salt), reference(&key, &salt));
        for _ in 0..3 {
            let mut own = plain.clone();
            own.resize(plain.len() + RTCP_TRAILER, 0);
            let len = sender.seal_rtcp(&mut own, plain.len()).unwrap();
            prop_assert_eq!(&opens.decrypt_rtcp(&own[..len]).unwrap()[..], &plain[..]);
            let mut theirs = seals.encrypt_rtcp(&plain).unwrap().to_vec();
            let len = receiver.open_rtcp(&mut theirs).unwrap();
            prop_assert_eq!(&theirs[..len], &plain[..]);
        }
    }

    #[test]
    fn any_bytes_are_refused_without_panic_and_without_effect(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..100),
    ) {
        for profile in [Profile::Gcm128, Profile::Sha1_80] {
            let (mut client, mut server) = pair(profile);
            for packet in &packets {
                prop_assert!(opened(&mut server, packet).is_err());
                prop_assert!(server.open_rtcp(&mut packet.clone()).is_err());
            }
            let packet = sealed(&mut client, &rtp(5, 1, 0, None, b"hello")).unwrap();
            prop_assert!(opened(&mut server, &packet).is_ok());
        }
    }
}

#[test]
fn one_changed_bit_anywhere_is_noticed_and_the_true_packet_still_opens() {
    for profile in [Profile::Gcm128, Profile::Sha1_80] {
        let (mut client, mut server) = pair(profile);
        let packet = sealed(&mut client, &rtp(5, 100, 1, Some(1), b"hello")).unwrap();
        for bit in 0..packet.len() * 8 {
            let mut forged = packet.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(opened(&mut server, &forged).is_err(), "{profile:?} bit {bit}");
        }
        assert!(opened(&mut server, &packet).is_ok(), "{profile:?}");
        assert_eq!(
            opened(&mut server, &packet),
            Err(SrtpError::Replayed),
            "{profile:?}"
        );
    }
}

#[test]
fn a_sequence_number_is_never_sealed_twice() {
    for profile in [Profile::Gcm128, Profile::Sha1_80] {
        let (mut client, _) = pair(profile);
        sealed(&mut client, &rtp(5, 100, 0, None, b"one")).unwrap();
        assert_eq!(
            sealed(&mut client, &rtp(5, 100, 0, None, b"two")),
            Err(SrtpError::Replayed)
        );
        sealed(&mut client, &rtp(5, 99, 0, None, b"late")).unwrap();
        sealed(&mut client, &rtp(6, 100, 0, None, b"other stream")).unwrap();
    }
}

#[test]
fn made_up_streams_leave_no_state() {
    for profile in [Profile::Gcm128, Profile::Sha1_80] {
        let (mut client, mut server) = pair(profile);
        for ssrc in 0..1000 {
            let forged = [rtp(ssrc, 1, 0, None, b"x"), vec![0; 20]].concat();
            assert_eq!(opened(&mut server, &forged), Err(SrtpError::NotAuthentic));
        }
        for ssrc in 2000..2000 + MAX_STREAMS as u32 {
            let packet = sealed(&mut client, &rtp(ssrc, 1, 0, None, b"x")).unwrap();
            assert!(opened(&mut server, &packet).is_ok(), "{profile:?} {ssrc}");
        }
    }
}

#[test]
fn readable_rtcp_is_refused_whether_its_tag_fits_or_not() {
    for profile in [Profile::Gcm128, Profile::Sha1_80] {
        let (mut client, mut server) = pair(profile);
        let mut buffer = vec![0x80, 201, 0, 1, 0, 0, 0, 9];
        buffer.resize(8 + RTCP_TRAILER, 0);
        let len = client.seal_rtcp(&mut buffer, 8).unwrap();
        let sealed = buffer[..len].to_vec();
        let flag_at = if profile == Profile::Gcm128 {
            len - 4
        } else {
            len - 14
        };
        let mut cleared = sealed.clone();
        cleared[flag_at] &= 0x7f;
        assert_eq!(
            server.open_rtcp(&mut cleared),
            Err(SrtpError::NotAuthentic),
            "{profile:?}"
        );
        assert_eq!(
            server.open_rtcp(&mut [0; 40]),
            Err(SrtpError::NotAuthentic),
            "{profile:?}"
        );
        assert_eq!(server.open_rtcp(&mut sealed.clone()), Ok(8));
        assert_eq!(server.open_rtcp(&mut sealed.clone()), Err(SrtpError::Replayed));
    }
}
