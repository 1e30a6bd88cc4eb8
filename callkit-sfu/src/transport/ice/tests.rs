//! The agent against checks and answers made by hand.

use std::net::SocketAddr;

use proptest::prelude::*;
use rtc_crypto::providers::RingProvider;
use rtc_stun::attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME, RawAttribute};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, TransactionId};

use super::*;
use crate::media::moment;

fn credentials() -> IceCredentials {
    IceCredentials {
        ufrag: "ours".to_owned(),
        pwd: Secret::new("password-of-this-agent-1234".to_owned()),
    }
}

fn theirs() -> IceCredentials {
    IceCredentials {
        ufrag: "theirs".to_owned(),
        pwd: Secret::new("password-of-the-client-12345".to_owned()),
    }
}

fn agent() -> IceAgent {
    IceAgent::new(credentials(), theirs(), Arc::new(RingProvider::new()))
}

fn path(port: u16) -> Path {
    Path::udp(SocketAddr::from(([192, 0, 2, 1], port)), None)
}

fn check(user: &str, pwd: &str, nominate: bool) -> Vec<u8> {
    let provider = RingProvider::new();
    let integrity =
        MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), provider.crypto());
    let name = RawAttribute {
        typ: ATTR_USERNAME,
        length: user.len() as u16,
        value: user.into(),
    };
    let mut request = Message::new();
    request
        .build(&[
            Box::new(TransactionId([3; 12])),
            Box::new(BINDING_REQUEST),
            Box::new(name),
        ])
        .unwrap();
    if nominate {
        request.add(ATTR_USE_CANDIDATE, &[]);
    }
    request.build_on(&integrity);
    request.raw
}

trait BuildOn {
    fn build_on(&mut self, integrity: &MessageIntegrity<'_>);
}

impl BuildOn for Message {
    fn build_on(&mut self, integrity: &MessageIntegrity<'_>) {
        use rtc_stun::message::Setter as _;
        integrity.add_to(self).unwrap();
        FINGERPRINT.add_to(self).unwrap();
    }
}

fn valid(nominate: bool) -> Vec<u8> {
    check("ours:theirs", credentials().pwd.expose(), nominate)
}

#[test]
fn the_first_valid_check_selects_and_the_reply_is_authentic() {
    let (mut agent, now) = (agent(), moment());
    let outcome = agent.handle(now, path(1), &valid(false)).unwrap();
    assert!(outcome.selected);
    assert_eq!(agent.selected(), Some(path(1)));
    let mut reply = Message {
        raw: outcome.reply,
        ..Message::default()
    };
    reply.decode().unwrap();
    assert_eq!(
        (reply.typ, reply.transaction_id),
        (BINDING_SUCCESS, TransactionId([3; 12]))
    );
    FINGERPRINT.check(&reply).unwrap();
    let pwd = credentials();
    MessageIntegrity::check(
        &mut reply,
        pwd.pwd.expose().as_bytes(),
        RingProvider::new().crypto(),
    )
    .unwrap();
}

#[test]
fn a_path_in_use_gives_way_to_a_nomination_or_after_silence_only() {
    let (mut agent, now) = (agent(), moment());
    let after = |millis| now + Duration::from_millis(millis);
    agent.handle(now, path(1), &valid(true)).unwrap();
    assert!(!agent.handle(after(200), path(2), &valid(false)).unwrap().selected);
    agent.received(after(250), path(1).end());
    assert!(!agent.handle(after(500), path(2), &valid(false)).unwrap().selected);
    assert!(agent.handle(after(600), path(2), &valid(false)).unwrap().selected);
    assert!(agent.handle(after(601), path(3), &valid(true)).unwrap().selected);
    assert_eq!(agent.selected(), Some(path(3)));
}

#[test]
fn what_is_not_authentic_is_named_and_changes_nothing() {
    let (mut agent, now) = (agent(), moment());
    let pwd = credentials();
    let cases = [
        (check("ours:theirs", "wrong", true), StunReject::NotAuthentic),
        (
            check("ours:others", pwd.pwd.expose(), true),
            StunReject::WrongUser,
        ),
        (
            check("yours:theirs", pwd.pwd.expose(), true),
            StunReject::WrongUser,
        ),
        (valid(true)[..40].to_vec(), StunReject::Malformed),
        ([valid(true), vec![0; 4]].concat(), StunReject::Malformed),
        (vec![0; 20], StunReject::Malformed),
    ];
    for (datagram, expected) in cases {
        assert_eq!(agent.handle(now, path(1), &datagram).err(), Some(expected));
    }
    assert!(agent.selected().is_none() && agent.validated().next().is_none());
}

#[test]
fn a_nomination_behind_the_integrity_does_not_count() {
    let (mut agent, now) = (agent(), moment());
    agent.handle(now, path(1), &valid(true)).unwrap();
    let mut message = Message {
        raw: valid(false),
        ..Message::default()
    };
    message.decode().unwrap();
    // Without the fingerprint, with a nomination behind the integrity, with a fresh fingerprint.
    let kept: Vec<u8> = message.raw[..message.raw.len() - 8].to_vec();
    let mut forged = Message {
        raw: kept,
        ..Message::default()
    };
    forged.length = forged.raw.len() as u32 - 20;
    forged.write_length();
    forged.add(ATTR_USE_CANDIDATE, &[]);
    rtc_stun::message::Setter::add_to(&FINGERPRINT, &mut forged).unwrap();
    let outcome = agent.handle(now, path(2), &forged.raw);
    assert!(outcome.is_ok_and(|outcome| !outcome.selected));
}

#[test]
fn the_number_of_addresses_is_bounded_and_the_selected_one_stays() {
    let (mut agent, now) = (agent(), moment());
    agent.handle(now, path(1), &valid(true)).unwrap();
    for port in 2..40 {
        agent.handle(now, path(port), &valid(false)).unwrap();
    }
    assert_eq!(agent.validated().count(), MAX_PATHS);
    assert!(agent.validated().any(|known| known == path(1).end()));
}

#[test]
fn the_addressee_is_read_without_trusting_lengths() {
    assert_eq!(peek(&valid(true)), StunKind::Request("ours"));
    let mut cut = valid(true);
    cut[23] = 255;
    assert_eq!(peek(&cut), StunKind::Other);
}

proptest! {
    #[test]
    fn a_check_with_changed_bytes_is_never_taken(
        at in any::<prop::sample::Index>(),
        change in 1_u8..,
        port: u16,
    ) {
        let mut datagram = valid(true);
        let at = at.index(datagram.len());
        datagram[at] ^= change;
        let _ = peek(&datagram);
        prop_assert!(agent().handle(moment(), path(port), &datagram).is_err());
    }

    #[test]
    fn any_bytes_are_survived(mut datagram: Vec<u8>) {
        let _ = peek(&datagram);
        prop_assert!(agent().handle(moment(), path(1), &datagram).is_err());
        datagram.splice(..0, [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
        let _ = peek(&datagram);
        prop_assert!(agent().handle(moment(), path(1), &datagram).is_err());
    }
}
