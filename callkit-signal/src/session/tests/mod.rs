//! Laws of sessions: each rule of the handshake and of resuming.

mod schedules;

use std::time::Duration;

use callkit_core::auth::{Principal, StaffRole};
use callkit_core::id::{AgentId, CallId, IdSource, OfferId, SessionId};
use callkit_core::redact::{Private, Secret};
use callkit_core::time::Timestamp;

use super::{Change, LinkId, Output, PrincipalKey, Registry, SessionConfig, Transmit};
use crate::codec::{Incoming, decode_client, decode_server};
use crate::message::{
    ErrorBody, Event, Outcome, Refusal, Request, Role, ServerMessage, Snapshot, You, codes,
};
use crate::transport::CloseReason;

/// A registry, the time, and what the application was told.
struct World {
    registry: Registry,
    now: Timestamp,
    changes: Vec<Change>,
    tokens: Vec<Secret<String>>,
}

fn irina() -> Principal {
    Principal::Staff {
        id: AgentId::new("irina").unwrap(),
        name: Private::new("Irina".to_owned()),
        role: StaffRole::Operator,
    }
}

fn key() -> PrincipalKey {
    PrincipalKey::of(&irina()).unwrap()
}

fn snapshot(name: &str) -> Snapshot {
    Snapshot {
        you: You {
            role: Role::Operator,
            id: "irina".to_owned(),
            name: Some(Private::new(name.to_owned())),
        },
        agent: None,
        offer: None,
        call: None,
        ended: None,
        chat: Vec::new(),
        queues: Vec::new(),
        calls: Vec::new(),
    }
}

/// An event that carries a number in its text.
fn event(number: u64) -> Event {
    Event::OfferClosed {
        offer: OfferId::from(0),
        outcome: number.to_string(),
        cause: None,
    }
}

fn number_of(event: &Event) -> u64 {
    let Event::OfferClosed { outcome, .. } = event else {
        panic!("{event:?}")
    };
    outcome.parse().unwrap()
}

fn seq_and_number(message: &ServerMessage) -> (u64, u64) {
    let ServerMessage::Event(frame) = message else {
        panic!("{message:?}")
    };
    (frame.seq, number_of(&frame.event))
}

impl World {
    fn new(config: SessionConfig) -> Self {
        let registry = Registry::new(config, IdSource::seeded(1));
        Self {
            registry,
            now: Timestamp::from_millis(1_000_000),
            changes: Vec::new(),
            tokens: Vec::new(),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn input<T>(&mut self, input: impl FnOnce(&mut Registry, Timestamp, &mut Output) -> T) -> T {
        let mut out = Output::default();
        let result = input(&mut self.registry, self.now, &mut out);
        self.changes.extend(out.change);
        self.tokens.extend(out.verify);
        result
    }

    fn connect(&mut self) -> LinkId {
        let link = self.registry.handle_connect(self.now);
        assert!(matches!(self.received(link)[..], [ServerMessage::Hello { .. }]));
        link
    }

    fn frame(&mut self, link: LinkId, text: &str) {
        let frame = decode_client(text.as_bytes());
        self.input(|registry, now, out| registry.handle_frame(now, link, frame, out));
    }

    fn verified(&mut self, link: LinkId, result: Result<Principal, Refusal>) {
        self.input(|registry, now, out| registry.handle_verified(now, link, result, out));
    }

    fn lose(&mut self, link: LinkId) {
        self.input(|registry, now, out| registry.handle_disconnect(now, link, out));
    }

    fn tick(&mut self, link: LinkId) {
        self.input(|registry, now, out| registry.tick(now, link, out));
    }

    fn send(&mut self, number: u64) {
        self.input(|registry, _, out| registry.send(&key(), &event(number), out));
    }

    fn send_all(&mut self, numbers: std::ops::RangeInclusive<u64>) {
        numbers.for_each(|number| self.send(number));
    }

    /// Everything that waits for `link`, close excluded.
    fn received(&mut self, link: LinkId) -> Vec<ServerMessage> {
        let mut received = Vec::new();
        while let Transmit::Frame(frame) = self.registry.poll_transmit(link) {
            let Ok(Incoming::Message(message)) = decode_server(&frame) else {
                panic!("{frame:?}")
            };
            received.push(message);
        }
        received
    }

    /// The numbers of the events that wait for `link`.
    fn events(&mut self, link: LinkId) -> Vec<u64> {
        let received = self.received(link);
        received
            .iter()
            .filter_map(|message| match message {
                ServerMessage::Event(frame) => Some(number_of(&frame.event)),
                _ => None,
            })
            .collect()
    }

    fn closed(&mut self, link: LinkId) -> Option<Refusal> {
        match self.registry.poll_transmit(link) {
            Transmit::Close(CloseReason::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }

    /// Opens a session for Irina with `snapshot`.
    fn open(&mut self, name: &str) -> (LinkId, SessionId, String) {
        let link = self.connect();
        self.frame(link, r#"{"type":"auth","token":"t"}"#);
        self.verified(link, Ok(irina()));
        let Some(Change::Opened { session, .. }) = self.changes.last().cloned() else {
            panic!("{:?}", self.changes)
        };
        self.input(|registry, _, out| registry.welcome(session, snapshot(name), out));
        let received = self.received(link);
        let [ServerMessage::Welcome { resume_token, .. }] = &received[..] else {
            panic!("{received:?}")
        };
        (link, session, resume_token.expose().clone())
    }

    fn resume(&mut self, link: LinkId, session: SessionId, token: &str, last_seq: u64) {
        let frame = serde_json::json!({
            "type": "resume", "session": session, "resume_token": token, "last_seq": last_seq,
        });
        self.frame(link, &frame.to_string());
    }

    fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}

fn world() -> World {
    World::new(SessionConfig::default())
}

const PING: &str = r#"{"type":"ping","last_seq":0}"#;

#[test]
fn a_session_opens_with_hello_auth_welcome() {
    let mut world = world();
    let (link, _, token) = world.open("one");
    assert_eq!(token.len(), 32);
    assert_eq!(world.tokens.len(), 1);
    world.send_all(1..=2);
    assert_eq!(world.events(link), [1, 2]);
}

#[test]
fn anything_but_a_handshake_first_is_refused() {
    for (first, refusal) in [
        (PING, Refusal::AuthRequired),
        (
            r#"{"type":"call.start","id":1,"queue":"support"}"#,
            Refusal::AuthRequired,
        ),
        (r#"{"type":"nonsense"}"#, Refusal::Malformed),
        ("garbage", Refusal::Malformed),
    ] {
        let mut world = world();
        let link = world.connect();
        world.frame(link, first);
        let received = world.received(link);
        assert!(
            matches!(received[..], [ServerMessage::Refused { code, .. }] if code == refusal),
            "{received:?}"
        );
        assert_eq!(world.closed(link), Some(refusal));
        assert_eq!((world.changes.len(), world.tokens.len()), (0, 0));
    }
}

#[test]
fn who_does_not_authenticate_in_time_is_refused() {
    let mut world = world();
    let link = world.connect();
    world.pass(Duration::from_millis(4_999));
    world.tick(link);
    assert_eq!(world.closed(link), None);
    world.pass(Duration::from_millis(1));
    world.tick(link);
    assert!(matches!(
        world.received(link)[..],
        [ServerMessage::Refused {
            code: Refusal::AuthRequired,
            ..
        }]
    ));
}

#[test]
fn a_bad_token_is_refused_and_the_connection_closed() {
    let mut world = world();
    let link = world.connect();
    world.frame(link, r#"{"type":"auth","token":"t"}"#);
    world.verified(link, Err(Refusal::ExpiredToken));
    assert!(matches!(
        world.received(link)[..],
        [ServerMessage::Refused {
            code: Refusal::ExpiredToken,
            ..
        }]
    ));
    assert_eq!(world.closed(link), Some(Refusal::ExpiredToken));
    assert_eq!(world.registry.sessions(), 0);
}

#[test]
fn a_second_handshake_on_an_open_session_is_malformed() {
    let mut world = world();
    let (link, ..) = world.open("one");
    world.frame(link, r#"{"type":"auth","token":"t"}"#);
    assert_eq!(
        world.received(link),
        [ServerMessage::Closing {
            code: Refusal::Malformed
        }]
    );
}

#[test]
fn events_before_the_snapshot_are_part_of_it_and_events_after_it_are_numbered_after_it() {
    let mut world = world();
    let link = world.connect();
    world.frame(link, r#"{"type":"auth","token":"t"}"#);
    world.verified(link, Ok(irina()));
    let Some(Change::Opened { session, .. }) = world.changes.last().cloned() else {
        panic!()
    };
    world.send(1);
    world.input(|registry, _, out| registry.welcome(session, snapshot("x"), out));
    world.send(2);
    let received = world.received(link);
    let [ServerMessage::Welcome { seq: 0, .. }, ServerMessage::Event(frame)] = &received[..] else {
        panic!("{received:?}")
    };
    assert_eq!((frame.seq, number_of(&frame.event)), (1, 2));
}

#[test]
fn a_resumed_session_gets_exactly_the_events_it_missed() {
    let mut world = world();
    let (link, session, token) = world.open("one");
    world.send_all(1..=5);
    assert_eq!(world.events(link), [1, 2, 3, 4, 5]);
    world.lose(link);
    world.send_all(6..=7);
    let again = world.connect();
    world.resume(again, session, &token, 3);
    let received = world.received(again);
    assert!(
        matches!(received[0], ServerMessage::Resumed { seq: 7, .. }),
        "{received:?}"
    );
    let seqs: Vec<_> = received[1..].iter().map(seq_and_number).collect();
    assert_eq!(seqs, [(4, 4), (5, 5), (6, 6), (7, 7)]);
    let changes = world.take_changes();
    assert!(matches!(
        changes[..],
        [
            Change::Opened { .. },
            Change::LinkDown { .. },
            Change::LinkUp { .. }
        ]
    ));
}

#[test]
fn resume_needs_the_secret_of_the_session() {
    let mut world = world();
    let (link, session, token) = world.open("one");
    let wrong = format!("{:032x}", 1);
    for (session, token, last_seq) in [
        (session, wrong.as_str(), 0),
        (session, "", 0),
        (SessionId::from(9), token.as_str(), 0),
        (session, token.as_str(), 1),
    ] {
        let other = world.connect();
        world.resume(other, session, token, last_seq);
        let received = world.received(other);
        assert!(matches!(
            received[..],
            [ServerMessage::Refused {
                code: Refusal::SessionUnknown,
                ..
            }]
        ));
    }
    world.send(1);
    assert_eq!(world.events(link), [1], "the session is untouched");
}

#[test]
fn after_a_refused_resume_the_connection_can_authenticate_but_not_guess() {
    let mut world = world();
    let link = world.connect();
    world.resume(link, SessionId::from(9), "x", 0);
    assert!(matches!(
        world.received(link)[..],
        [ServerMessage::Refused { .. }]
    ));
    assert_eq!(world.closed(link), None);
    world.frame(link, r#"{"type":"auth","token":"t"}"#);
    world.verified(link, Ok(irina()));
    assert_eq!(world.registry.sessions(), 1);

    let guesser = world.connect();
    world.resume(guesser, SessionId::from(9), "x", 0);
    world.resume(guesser, SessionId::from(9), "y", 0);
    assert_eq!(world.received(guesser).len(), 2);
    assert_eq!(world.closed(guesser), Some(Refusal::SessionUnknown));
}

#[test]
fn who_missed_more_than_is_kept_is_told_so() {
    let mut world = World::new(SessionConfig::default().with_replay(3, 1_000_000));
    let (link, session, token) = world.open("one");
    world.lose(link);
    world.send_all(1..=4);
    let again = world.connect();
    world.resume(again, session, &token, 0);
    assert!(matches!(
        world.received(again)[..],
        [ServerMessage::Refused {
            code: Refusal::TooFarBehind,
            ..
        }]
    ));
    world.resume(again, session, &token, 1);
    assert_eq!(world.events(again), [2, 3, 4]);
}

#[test]
fn confirmed_events_are_not_kept() {
    let mut world = world();
    let (link, session, token) = world.open("one");
    world.send_all(1..=5);
    world.frame(link, r#"{"type":"ping","last_seq":2}"#);
    world.frame(link, r#"{"type":"ack","last_seq":4}"#);
    let received = world.received(link);
    assert_eq!(received.last(), Some(&ServerMessage::Pong { seq: 5 }));
    world.lose(link);
    let again = world.connect();
    world.resume(again, session, &token, 3);
    assert!(matches!(
        world.received(again)[..],
        [ServerMessage::Refused {
            code: Refusal::TooFarBehind,
            ..
        }]
    ));
}

#[test]
fn a_newer_connection_of_the_session_wins_and_the_loss_of_the_older_is_not_reported() {
    let mut world = world();
    let (older, session, token) = world.open("one");
    world.take_changes();
    let newer = world.connect();
    world.resume(newer, session, &token, 0);
    assert_eq!(
        world.received(older),
        [ServerMessage::Closing {
            code: Refusal::Replaced
        }]
    );
    world.lose(older);
    world.send(1);
    assert_eq!(world.events(newer), [1]);
    assert_eq!(
        world.take_changes(),
        [],
        "the session was never without a connection"
    );
}

#[test]
fn a_newer_session_of_the_principal_takes_the_place_of_the_older() {
    let mut world = world();
    let (older, session, token) = world.open("one");
    let (newer, ..) = world.open("two");
    assert_eq!(
        world.received(older),
        [ServerMessage::Closing {
            code: Refusal::Replaced
        }]
    );
    world.lose(older);
    let changes = world.take_changes();
    assert!(
        matches!(changes[..], [Change::Opened { .. }, Change::Opened { .. }]),
        "{changes:?}"
    );
    world.send(1);
    assert_eq!(world.events(newer), [1]);
    let back = world.connect();
    world.resume(back, session, &token, 0);
    assert!(matches!(
        world.received(back)[..],
        [ServerMessage::Refused {
            code: Refusal::SessionUnknown,
            ..
        }]
    ));
}

#[test]
fn silence_costs_the_connection_and_the_resume_window_the_session() {
    let mut world = world();
    let (link, ..) = world.open("one");
    world.take_changes();
    world.pass(Duration::from_secs(10));
    world.frame(link, PING);
    world.pass(Duration::from_millis(14_999));
    world.tick(link);
    assert_eq!(world.received(link), [ServerMessage::Pong { seq: 0 }]);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.registry.deadline(link), Some(world.now));
    world.tick(link);
    assert_eq!(
        world.received(link),
        [ServerMessage::Closing {
            code: Refusal::Silent
        }]
    );
    world.lose(link);
    assert_eq!(
        world.registry.next_expiry(),
        Some(world.now + Duration::from_secs(60))
    );
    world.pass(Duration::from_secs(60));
    world.input(|registry, now, out| registry.expire(now, out));
    assert_eq!(
        world.take_changes(),
        [
            Change::LinkDown {
                key: key(),
                silent: true
            },
            Change::Expired { key: key() }
        ]
    );
    assert_eq!((world.registry.sessions(), world.registry.links()), (0, 0));
}

#[test]
fn a_client_that_does_not_read_loses_the_connection_and_not_the_events() {
    let mut world = World::new(
        SessionConfig::default()
            .with_outbox(1, 1_000_000)
            .with_replay(3, 1_000_000),
    );
    let (link, session, token) = world.open("one");
    world.send_all(1..=5);
    assert_eq!(
        world.received(link),
        [ServerMessage::Closing {
            code: Refusal::SlowConsumer
        }]
    );
    world.lose(link);
    let again = world.connect();
    world.resume(again, session, &token, 2);
    assert_eq!(world.events(again), [3, 4, 5]);
}

#[test]
fn too_many_frames_cost_the_connection() {
    let mut world = world();
    let (link, ..) = world.open("one");
    for _ in 0..99 {
        world.frame(link, r#"{"type":"ack","last_seq":0}"#);
    }
    assert_eq!(world.received(link), []);
    world.frame(link, r#"{"type":"ack","last_seq":0}"#);
    assert_eq!(
        world.received(link),
        [ServerMessage::Closing {
            code: Refusal::RateLimited
        }]
    );
}

#[test]
fn bad_frames_are_answered_or_cost_the_connection_and_nothing_else() {
    let mut world = world();
    let (link, ..) = world.open("one");
    world.take_changes();
    world.frame(link, r#"{"type":"call.dance","id":4}"#);
    world.frame(link, r#"{"type":"call.start","id":5}"#);
    let received = world.received(link);
    let [
        ServerMessage::Error {
            re: Some(4),
            error: unknown,
        },
        ServerMessage::Error {
            re: Some(5),
            error: wrong,
        },
    ] = &received[..]
    else {
        panic!("{received:?}")
    };
    assert_eq!(
        (unknown.code.as_str(), wrong.code.as_str()),
        (codes::UNKNOWN_TYPE, codes::MALFORMED)
    );
    world.frame(link, "garbage");
    assert_eq!(
        world.received(link),
        [ServerMessage::Closing {
            code: Refusal::Malformed
        }]
    );
    let (big, ..) = world.open("two");
    world.frame(big, &" ".repeat(70_000));
    assert_eq!(
        world.received(big),
        [ServerMessage::Closing {
            code: Refusal::TooLarge
        }]
    );
    assert!(matches!(world.take_changes()[..], [Change::Opened { .. }]));
}

fn hang_up(id: u64) -> String {
    serde_json::json!({ "type": "call.hangup", "id": id, "call": CallId::from(1) }).to_string()
}

#[test]
fn a_request_sent_again_over_a_new_connection_is_carried_out_once() {
    let mut world = world();
    let (link, session, token) = world.open("one");
    world.take_changes();
    world.frame(link, &hang_up(1));
    world.lose(link);
    let again = world.connect();
    world.resume(again, session, &token, 0);
    world.frame(again, &hang_up(1));
    let changes = world.take_changes();
    let [
        Change::Request {
            id: 1,
            request: Request::CallHangup { .. },
            ..
        },
        Change::LinkDown { .. },
        Change::LinkUp { .. },
    ] = &changes[..]
    else {
        panic!("{changes:?}")
    };
    let answer = [ServerMessage::Ok {
        re: 1,
        outcome: Outcome::Done,
    }];
    world.received(again);
    world.input(|registry, _, out| registry.answer(session, 1, Ok(Outcome::Done), out));
    assert_eq!(world.received(again), answer);
    world.frame(again, &hang_up(1));
    assert_eq!(world.received(again), answer);
    assert_eq!(world.take_changes(), []);
}

#[test]
fn requests_without_an_answer_are_bounded() {
    let mut world = world();
    let (link, session, _) = world.open("one");
    (0..33).for_each(|id| world.frame(link, &hang_up(id)));
    let received = world.received(link);
    let [ServerMessage::Error { re: Some(32), error }] = &received[..] else {
        panic!("{received:?}")
    };
    assert!(error.code == codes::RATE_LIMITED && error.retryable);
    let refusal = ErrorBody::new(codes::NOT_FOUND, "no such call");
    world.input(|registry, _, out| registry.answer(session, 0, Err(refusal), out));
    world.take_changes();
    world.frame(link, &hang_up(32));
    assert_eq!(world.take_changes().len(), 1);
}

#[test]
fn a_session_that_the_application_does_not_open_is_refused() {
    let mut world = world();
    let link = world.connect();
    world.frame(link, r#"{"type":"auth","token":"t"}"#);
    world.verified(link, Ok(irina()));
    let Some(Change::Opened { session, .. }) = world.changes.last().cloned() else {
        panic!()
    };
    world.input(|registry, _, out| registry.refuse(session, Refusal::Unavailable, out));
    assert!(matches!(
        world.received(link)[..],
        [ServerMessage::Refused {
            code: Refusal::Unavailable,
            ..
        }]
    ));
    world.lose(link);
    assert_eq!(world.registry.sessions(), 0);
}

#[test]
fn connections_and_sessions_are_bounded() {
    let mut world = World::new(SessionConfig::default().with_capacity(2, 1));
    let (link, ..) = world.open("one");
    let other = world.connect();
    let third = world.registry.handle_connect(world.now);
    let received = world.received(third);
    assert!(
        matches!(
            received[..],
            [
                _,
                ServerMessage::Closing {
                    code: Refusal::Unavailable
                }
            ]
        ),
        "{received:?}"
    );
    let customer = Principal::Customer {
        id: 1.into(),
        name: None,
        verified: false,
    };
    world.frame(other, r#"{"type":"auth","token":"t"}"#);
    world.verified(other, Ok(customer.clone()));
    assert!(matches!(
        world.received(other)[..],
        [ServerMessage::Refused {
            code: Refusal::Unavailable,
            ..
        }]
    ));
    // A session without a connection makes room for one that has one.
    world.lose(third);
    world.lose(other);
    world.lose(link);
    let other = world.connect();
    world.frame(other, r#"{"type":"auth","token":"t"}"#);
    world.verified(other, Ok(customer));
    assert!(world.registry.next_expiry().is_some_and(|at| at <= world.now));
    world.input(|registry, now, out| registry.expire(now, out));
    assert_eq!(world.take_changes().last(), Some(&Change::Expired { key: key() }));
    assert_eq!(world.registry.sessions(), 1);
}

#[test]
fn a_stopping_server_tells_everybody() {
    let mut world = world();
    let (link, ..) = world.open("one");
    world.input(|registry, _, out| registry.stop(out));
    assert_eq!(
        world.received(link),
        [ServerMessage::Closing {
            code: Refusal::ServerStopping
        }]
    );
    let late = world.registry.handle_connect(world.now);
    assert!(matches!(
        world.received(late)[..],
        [
            _,
            ServerMessage::Closing {
                code: Refusal::ServerStopping
            }
        ]
    ));
    world.take_changes();
    world.lose(link);
    assert_eq!(world.take_changes(), []);
}

#[test]
fn a_long_chat_leaves_out_its_oldest_lines() {
    let mut world = world();
    let line = |seq: u64| crate::message::ChatView {
        id: 1.into(),
        call: 1.into(),
        seq,
        from: Role::Customer,
        mine: false,
        client_id: None,
        text: Private::new("\u{1}".repeat(4000)),
        at_ms: 0,
    };
    let link = world.connect();
    world.frame(link, r#"{"type":"auth","token":"t"}"#);
    world.verified(link, Ok(irina()));
    let Some(Change::Opened { session, .. }) = world.changes.last().cloned() else {
        panic!()
    };
    let long = Snapshot {
        chat: (1..=100).map(line).collect(),
        ..snapshot("x")
    };
    world.input(|registry, _, out| registry.welcome(session, long, out));
    let received = world.received(link);
    let [ServerMessage::Welcome { snapshot, .. }] = &received[..] else {
        panic!("{received:?}")
    };
    assert_eq!(snapshot.chat.last().map(|line| line.seq), Some(100));
    assert_eq!(snapshot.chat.len(), 21);
}
