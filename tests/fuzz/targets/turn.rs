//! What reaches the TURN port: streams cut into frames, datagrams, and requests that are signed with valid credentials,
//! so that what lies behind the authentication is reached too. The first byte chooses the method of signed requests.
#![no_main]

use std::net::SocketAddr;

use callkit_core::id::IdSource;
use callkit_core::redact::Secret;
use callkit_core::time::Timestamp;
use callkit_sfu::turn::{Action, CHANNEL_HEADER, Client, Deframer, Link, Peers, TurnLimits, TurnSecret, TurnServer};
use libfuzzer_sys::fuzz_target;
use ring::hmac;
use rtc_crypto::providers::RingProvider;
use rtc_crypto::{HashAlgorithm, RTCCryptoProvider as _};

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const MEDIA: &str = "10.0.0.5:4000";
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fuzz_target!(|data: &[u8]| {
    let media: SocketAddr = MEDIA.parse().expect("an address");
    let secret = TurnSecret::new(Secret::new("secret".to_owned()));
    let peers = Peers::new(&[media], &[]).expect("a peer");
    let mut server = TurnServer::new(TurnLimits::default(), peers, vec![secret.clone()], IdSource::seeded(1), NOW);
    let client = Client { link: Link::Stream(1), remote: ([192, 0, 2, 1], 5000).into(), local: None };
    let stranger = Client { link: Link::Datagram, remote: ([192, 0, 2, 2], 5000).into(), local: None };
    let mut out = Vec::new();

    // A stranger: as a datagram, and as a stream that arrives in two pieces.
    assert_eq!(server.handle_client(NOW, stranger, data, &mut out), None, "nothing is relayed for a stranger");
    let (head, tail) = data.split_at(data.len() / 2);
    let mut deframer = Deframer::default();
    for piece in [head, tail] {
        let fed = deframer.push(piece, |frame| {
            assert_eq!(server.handle_client(NOW, stranger, frame, &mut out), None);
        });
        if fed.is_err() {
            break;
        }
    }
    for action in out.drain(..) {
        let Action::Send(_, answer) = action else { panic!("a stranger gets {action:?}") };
        assert!(answer.len() < 150, "an answer to a stranger is small");
    }

    // Somebody with credentials, who has an allocation.
    let issued = secret.issue(Timestamp::from_millis(NOW.as_millis() + 60_000), "p");
    let nonce = nonce(&mut server, client);
    let credentials = [&issued.username, issued.password.expose(), &nonce].map(String::as_str);
    let allocate = signed(3, &[0, 0x19, 0, 4, 17, 0, 0, 0], credentials);
    server.handle_client(NOW, client, &allocate, &mut out);
    let Some(Action::Open { allocation, .. }) = out.pop() else { panic!("no allocation") };
    server.opened(NOW, allocation, Some(50_000), &mut out);
    let [method, attributes @ ..] = data else { return };
    for request in [signed(u16::from(*method) & 0xf, attributes, credentials), attributes.to_vec()] {
        if let Some(relayed) = server.handle_client(NOW, client, &request, &mut out) {
            assert_eq!(relayed.target, media, "only the media server is relayed to");
            assert!(relayed.data.end <= request.len());
        }
    }
    let mut packet = [&[0; CHANNEL_HEADER], attributes].concat();
    let _ = server.handle_peer(NOW, allocation, 0, media, &mut packet);
    for action in out {
        assert!(!matches!(action, Action::Open { .. }), "one allocation per client");
    }
});

/// The nonce of the answer to an unsigned request: its last attribute.
fn nonce(server: &mut TurnServer, client: Client) -> String {
    let mut out = Vec::new();
    let request = [&[0, 3, 0, 0], COOKIE.as_slice(), &[7; 12]].concat();
    server.handle_client(NOW, client, &request, &mut out);
    let Some(Action::Send(_, answer)) = out.pop() else { panic!("no challenge") };
    String::from_utf8(answer[answer.len() - 24..].to_vec()).expect("hexadecimal")
}

/// A request with `attributes` and long-term credentials (RFC 8489 section 9.2).
fn signed(method: u16, attributes: &[u8], [username, password, nonce]: [&str; 3]) -> Vec<u8> {
    let mut message = method.to_be_bytes().to_vec();
    message.extend([0, 0]);
    message.extend(COOKIE);
    message.extend([7; 12]);
    message.extend(&attributes[..attributes.len().min(400) & !3]);
    for (kind, value) in [(6_u16, username), (0x14, "callkit"), (0x15, nonce)] {
        message.extend(kind.to_be_bytes());
        message.extend((value.len() as u16).to_be_bytes());
        message.extend(value.as_bytes());
        message.resize(message.len().next_multiple_of(4), 0);
    }
    let length = (message.len() - 20 + 24) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    let provider = RingProvider::new();
    let key = provider.crypto().hash(HashAlgorithm::Md5, format!("{username}:callkit:{password}").as_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key.expect("MD5 is there"));
    let tag = hmac::sign(&key, &message);
    message.extend([0, 8, 0, 20]);
    message.extend(tag.as_ref());
    message
}
