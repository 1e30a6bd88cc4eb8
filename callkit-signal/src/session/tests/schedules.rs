//! Random schedules of losses and returns, against a page that counts what it applies.

use std::time::Duration;

use callkit_core::id::SessionId;
use proptest::prelude::*;

use super::{PING, World, irina, number_of, snapshot, world};
use crate::message::{Refusal, ServerMessage};
use crate::session::{Change, LinkId, SessionConfig};

/// A page: what it has applied, over any number of connections and sessions.
#[derive(Default)]
struct Page {
    link: Option<LinkId>,
    /// Frames that were sent to it and have not arrived.
    on_the_way: std::collections::VecDeque<ServerMessage>,
    session: Option<(SessionId, String)>,
    last_seq: u64,
    /// The number of the last event applied; a snapshot sets it.
    applied: u64,
    new_sessions: u32,
}

#[derive(Debug, Clone)]
enum Fate {
    Events(u8),
    Deliver(u8),
    /// The connection breaks; frames on the way are lost. The server notices now or later.
    Break {
        noticed: bool,
    },
    Connect,
    Confirm,
    Pass(u16),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => (1u8..6).prop_map(Fate::Events),
        6 => (1u8..8).prop_map(Fate::Deliver),
        2 => any::<bool>().prop_map(|noticed| Fate::Break { noticed }),
        4 => Just(Fate::Connect),
        2 => Just(Fate::Confirm),
        2 => (1u16..30_000).prop_map(Fate::Pass),
    ]
}

impl Page {
    /// Applies what arrives; gives a snapshot request if the server opened a session.
    fn apply(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Welcome {
                session,
                resume_token,
                seq,
                snapshot,
            } => {
                self.session = Some((session, resume_token.expose().clone()));
                self.last_seq = seq;
                self.applied = snapshot.you.name.unwrap().expose().parse().unwrap();
                self.new_sessions += 1;
            }
            ServerMessage::Event(frame) => {
                assert_eq!(frame.seq, self.last_seq + 1, "numbers without gaps");
                assert_eq!(
                    number_of(&frame.event),
                    self.applied + 1,
                    "each event once and in order"
                );
                self.last_seq = frame.seq;
                self.applied += 1;
            }
            ServerMessage::Closing { .. } => self.link = None,
            ServerMessage::Refused { code, .. } => {
                assert!(
                    matches!(code, Refusal::TooFarBehind | Refusal::SessionUnknown),
                    "{code:?}"
                );
                self.session = None;
            }
            _ => {}
        }
    }
}

fn run(fates: &[Fate], replay: usize) -> Page {
    let mut world = World::new(
        SessionConfig::default()
            .with_replay(replay, 1_000_000)
            .with_rate(1000, 1000),
    );
    let (mut page, mut sent) = (Page::default(), 0u64);
    let mut unnoticed: Vec<LinkId> = Vec::new();
    let deliver = |world: &mut World, page: &mut Page, most: usize| {
        let Some(link) = page.link else { return };
        let arrived = world.received(link);
        page.on_the_way.extend(arrived);
        for _ in 0..most {
            let Some(message) = page.on_the_way.pop_front() else {
                break;
            };
            page.apply(message);
        }
        if page.link.is_none() {
            page.on_the_way.clear();
            world.lose(link);
        }
    };
    let connect = |world: &mut World, page: &mut Page, sent: u64| {
        if page.link.is_some() {
            return;
        }
        let link = world.connect();
        page.link = Some(link);
        if let Some((session, token)) = page.session.clone() {
            world.resume(link, session, &token, page.last_seq);
            let answer = world.received(link);
            let refused = matches!(answer[..], [ServerMessage::Refused { .. }]);
            page.on_the_way.extend(answer);
            if !refused {
                return;
            }
            let refusal = page.on_the_way.pop_front().unwrap();
            page.apply(refusal);
        }
        world.frame(link, r#"{"type":"auth","token":"t"}"#);
        world.verified(link, Ok(irina()));
        let Some(Change::Opened { session, .. }) = world.changes.last().cloned() else {
            panic!()
        };
        world.input(|registry, _, out| registry.welcome(session, snapshot(&sent.to_string()), out));
    };
    for fate in fates {
        match fate {
            Fate::Events(count) => {
                for _ in 0..*count {
                    sent += 1;
                    world.send(sent);
                }
            }
            Fate::Deliver(count) => deliver(&mut world, &mut page, usize::from(*count)),
            Fate::Break { noticed } => {
                if let Some(link) = page.link.take() {
                    page.on_the_way.clear();
                    if *noticed {
                        world.lose(link);
                    } else {
                        unnoticed.push(link);
                    }
                }
            }
            Fate::Connect => connect(&mut world, &mut page, sent),
            Fate::Confirm => {
                if let (Some(link), Some(_)) = (page.link, &page.session) {
                    let ping = format!(r#"{{"type":"ping","last_seq":{}}}"#, page.last_seq);
                    world.frame(link, &ping);
                }
            }
            Fate::Pass(millis) => {
                world.pass(Duration::from_millis(u64::from(*millis)));
                for link in unnoticed.drain(..) {
                    world.lose(link);
                }
                if let Some(link) = page.link {
                    world.tick(link);
                }
                while world.registry.next_expiry().is_some_and(|at| at <= world.now) {
                    world.input(|registry, now, out| registry.expire(now, out));
                }
            }
        }
    }
    // In the end the network is sound: the page catches up, whatever was.
    for _ in 0..3 {
        connect(&mut world, &mut page, sent);
        deliver(&mut world, &mut page, usize::MAX >> 1);
    }
    assert_eq!(page.applied, sent, "the page knows everything");
    assert!(world.registry.sessions() <= 1);
    page
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is lost and whenever the page comes back, it applies every event once and in order, or is
    /// told to open a new session whose snapshot contains them.
    #[test]
    fn every_event_arrives_exactly_once_and_in_order(
        fates in proptest::collection::vec(fate(), 1..80),
        replay in prop_oneof![Just(4usize), Just(1024)],
    ) {
        run(&fates, replay);
    }

    /// No sequence of frames, well-formed or not, breaks the registry or opens a session without a token.
    #[test]
    fn no_frames_open_a_session_without_a_token(
        frames in proptest::collection::vec(proptest::sample::select(vec![
            PING, "x", "{}", r#"{"type":"ack","last_seq":18446744073709551615}"#,
            r#"{"type":"call.start","id":1,"queue":"support"}"#,
            r#"{"type":"resume","session":"sess_00000000000000000000000000","resume_token":"","last_seq":0}"#,
            r#"{"type":"what","id":18446744073709551615}"#,
        ]), 1..20),
    ) {
        let mut world = world();
        let link = world.connect();
        for frame in frames {
            world.frame(link, frame);
            world.tick(link);
        }
        world.lose(link);
        prop_assert_eq!(world.registry.sessions(), 0);
        prop_assert!(world.changes.is_empty());
    }
}

#[test]
fn the_check_of_random_schedules_sees_resumes_and_new_sessions() {
    use Fate::{Break, Connect, Deliver, Events};
    let gap = Break { noticed: true };
    let resumed = run(
        &[Connect, Deliver(9), Events(3), gap.clone(), Connect, Deliver(9)],
        1024,
    );
    assert_eq!((resumed.new_sessions, resumed.applied), (1, 3));
    let anew = run(&[Connect, Deliver(9), gap, Events(9), Connect, Deliver(9)], 4);
    assert_eq!((anew.new_sessions, anew.applied), (2, 9));
}
