//! Rows S1 to S8: the third in a call.

use callkit_core::agent::{Activity, Link, Presence};
use callkit_core::call::{CallState, EndReason, MAX_PARTICIPANTS, Party, SuperviseMode};
use callkit_core::event::{EventKind, LeaveCause};
use callkit_core::id::CallId;
use callkit_core::redact::Private;
use callkit_routing::{Action, Input, Refused};

use crate::world::{World, agent_id, agent_party, secs};

fn join(name: &str, call: CallId, mode: SuperviseMode) -> Input {
    Input::SuperviseJoin {
        agent: agent_id(name),
        call,
        mode,
    }
}

fn leave(name: &str, call: CallId) -> Input {
    Input::SuperviseLeave {
        agent: agent_id(name),
        call,
    }
}

/// `a` talks, `c` listens with media up.
fn supervised() -> (World, CallId) {
    let mut world = World::new();
    world.agent_link("c", true);
    let call = world.talk("a");
    world.run(join("c", call, SuperviseMode::Listen));
    world.media(call, agent_party("c"));
    (world, call)
}

fn third_link(world: &World, call: CallId) -> Option<Link> {
    world.call(call).supervisor().map(|(_, own)| own.link)
}

fn left(world: &World) -> Vec<LeaveCause> {
    let causes = world.events.iter().filter_map(|event| match event {
        EventKind::SupervisorLeft { cause, .. } => Some(*cause),
        _ => None,
    });
    causes.collect()
}

#[test]
fn s1_a_supervisor_becomes_the_third_and_the_talk_stays_as_it_is() {
    let mut world = World::new();
    world.available("c");
    world.presence("c", Presence::Away { reason: None });
    let call = world.talk("a");
    let before = world.state(call).clone();
    world.run(join("c", call, SuperviseMode::Listen));
    assert_eq!(*world.state(call), before);
    assert_eq!(world.agent("c").activity, Activity::Supervising { call });
    let record = world.call(call);
    let (third, own) = record.supervisor().unwrap();
    assert_eq!(
        (third.party.clone(), own.mode),
        (agent_party("c"), SuperviseMode::Listen)
    );
    assert_eq!(third.media_at, None);
    world.media(call, agent_party("c"));
    assert_eq!(third_link(&world, call), Some(Link::Up));
    assert!(world.call(call).supervisor().unwrap().0.media_at.is_some());
    assert!(matches!(
        world.events.last(),
        Some(EventKind::SupervisorJoined {
            mode: SuperviseMode::Listen,
            ..
        })
    ));
}

#[test]
fn s1_who_supervises_gets_no_offer() {
    let mut world = World::new();
    world.available("a");
    let call = world.calls();
    world.accept("a");
    world.media(call, Party::Customer);
    world.media(call, agent_party("a"));
    world.available("c");
    world.run(join("c", call, SuperviseMode::Barge));
    let waiting = world.calls();
    assert_eq!(world.offer("c"), None);
    assert!(matches!(world.state(waiting), CallState::Queued { .. }));
    world.run(leave("c", call));
    assert_eq!(world.offer("c").map(|(_, call)| call), Some(waiting));
}

#[test]
fn s2_the_mode_changes_at_once_and_is_told_once() {
    let (mut world, call) = supervised();
    for mode in [
        SuperviseMode::Whisper,
        SuperviseMode::Whisper,
        SuperviseMode::Barge,
        SuperviseMode::Listen,
    ] {
        world.run(join("c", call, mode));
        assert_eq!(world.call(call).supervisor().map(|(_, own)| own.mode), Some(mode));
    }
    let told = world.events.iter().filter_map(|event| match event {
        EventKind::SupervisorMode { mode, .. } => Some(*mode),
        _ => None,
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            SuperviseMode::Whisper,
            SuperviseMode::Barge,
            SuperviseMode::Listen
        ]
    );
    assert_eq!(third_link(&world, call), Some(Link::Up), "the place is the same");
}

#[test]
fn s3_leaving_and_hanging_up_leave_the_two_alone() {
    for goodbye in [
        |call| leave("c", call),
        |call| Input::HangUp {
            call,
            by: agent_party("c"),
        },
    ] {
        let (mut world, call) = supervised();
        world.presence("c", Presence::Available);
        assert_eq!(world.agent("c").pending_presence, Some(Presence::Available));
        let participant = world.call(call).supervisor().unwrap().0.id;
        world.run(goodbye(call));
        assert!(matches!(world.state(call), CallState::Active { .. }));
        assert_eq!(world.call(call).supervisor(), None);
        assert_eq!(world.agent("c").activity, Activity::Idle);
        assert_eq!(world.agent("c").presence, Presence::Available);
        assert!(
            world
                .actions
                .contains(&Action::DropParticipant { call, participant })
        );
        assert!(!world.actions.contains(&Action::CloseRoom(call)));
        assert_eq!(left(&world), [LeaveCause::Left]);
        assert_eq!(world.attempt(leave("c", call)), Err(Refused::NotInCall));
        assert_eq!(
            world.attempt(leave("a", call)),
            Err(Refused::NotInCall),
            "the agent hangs up"
        );
    }
}

#[test]
fn s4_lost_media_of_the_third_ends_the_third_place_only() {
    let (mut world, call) = supervised();
    world.media_lost(call, agent_party("c"));
    assert!(matches!(third_link(&world, call), Some(Link::Grace { .. })));
    world.pass(secs(20));
    world.media(call, agent_party("c"));
    assert_eq!(third_link(&world, call), Some(Link::Up));

    world.media_lost(call, agent_party("c"));
    let kept = world.config.timers.media_grace;
    world.pass(kept);
    assert_eq!(world.call(call).supervisor(), None);
    assert_eq!(world.agent("c").activity, Activity::Idle);
    assert!(matches!(
        world.state(call),
        CallState::Active {
            customer_link: Link::Up,
            agent_link: Link::Up,
            ..
        }
    ));
    assert_eq!(left(&world), [LeaveCause::Lost]);
    assert_eq!(
        world.dispatcher.next_deadline().filter(|due| *due <= world.now),
        None
    );
}

#[test]
fn s4_a_third_whose_media_never_comes_up_frees_the_place() {
    let mut world = World::new();
    world.agent_link("c", true);
    let call = world.talk("a");
    world.run(join("c", call, SuperviseMode::Listen));
    world.run(Input::MediaFailed {
        call,
        party: agent_party("c"),
    });
    let connect = world.config.timers.connect;
    world.pass(connect);
    assert_eq!(left(&world), [LeaveCause::Lost]);
    assert!(matches!(world.state(call), CallState::Active { .. }));
}

#[test]
fn s4_all_three_lost_at_once_end_in_order() {
    let (mut world, call) = supervised();
    for party in [Party::Customer, agent_party("a"), agent_party("c")] {
        world.media_lost(call, party);
    }
    let kept = world.config.timers.media_grace;
    world.pass(kept);
    assert_eq!(world.end_reason(call), Some(EndReason::BothLost));
    assert_eq!(world.agent("c").activity, Activity::Idle);
    assert!(matches!(world.events.last(), Some(EventKind::CallEnded { .. })));
}

#[test]
fn s5_the_third_is_out_when_the_call_ends() {
    for by in [Party::Customer, agent_party("a")] {
        let (mut world, call) = supervised();
        world.run(Input::HangUp { call, by });
        assert!(world.end_reason(call).is_some());
        assert_eq!(world.agent("c").activity, Activity::Idle);
        assert!(
            world
                .call(call)
                .participants
                .iter()
                .all(|one| one.left_at.is_some())
        );
        assert_eq!(left(&world), [LeaveCause::CallOver]);
        assert!(matches!(world.events.last(), Some(EventKind::CallEnded { .. })));
    }
}

#[test]
fn s5_the_third_is_out_when_the_agent_is_lost_and_may_then_answer() {
    let (mut world, call) = supervised();
    world.presence("c", Presence::Available);
    world.media_lost(call, agent_party("a"));
    let kept = world.config.timers.media_grace;
    world.pass(kept);
    assert_eq!(world.call(call).supervisor(), None);
    assert_eq!(left(&world), [LeaveCause::CallOver]);
    assert_eq!(world.offer("c").map(|(_, call)| call), Some(call));
    world.accept("c");
    world.media(call, Party::Customer);
    world.media(call, agent_party("c"));
    assert!(matches!(world.state(call), CallState::Active { .. }));
    assert_eq!(world.call(call).supervisor(), None, "now the agent of the call");
}

#[test]
fn s6_r7_1_of_ten_who_race_for_the_last_place_one_gets_it() {
    let mut config = crate::world::config();
    let names: Vec<_> = (0..10).map(|number| format!("s{number}")).collect();
    for name in &names {
        config.agents.push(callkit_core::agent::AgentProfile {
            id: agent_id(name),
            name: Private::new(name.clone()),
            queues: Vec::new(),
        });
    }
    let mut world = World::with(config);
    let call = world.talk("a");
    for name in &names {
        world.agent_link(name, true);
    }
    let answers: Vec<_> = names
        .iter()
        .map(|name| world.attempt(join(name, call, SuperviseMode::Barge)))
        .collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(
        answers
            .iter()
            .filter(|answer| **answer == Err(Refused::CallFull))
            .count(),
        9
    );
    let present = world.call(call).participants.iter();
    assert_eq!(
        present.filter(|one| one.left_at.is_none()).count(),
        MAX_PARTICIPANTS
    );
}

#[test]
fn s6_only_a_talk_is_supervised_and_only_by_who_is_free_and_there() {
    let mut world = World::new();
    world.agent_link("c", true);
    let waiting = world.calls();
    assert_eq!(
        world.attempt(join("c", waiting, SuperviseMode::Listen)),
        Err(Refused::NotTalking)
    );
    world.available("a");
    world.accept("a");
    assert_eq!(
        world.attempt(join("c", waiting, SuperviseMode::Listen)),
        Err(Refused::NotTalking)
    );
    world.media(waiting, Party::Customer);
    world.media(waiting, agent_party("a"));
    let call = waiting;
    assert_eq!(
        world.attempt(join("a", call, SuperviseMode::Listen)),
        Err(Refused::Busy)
    );
    assert_eq!(
        world.attempt(join("b", call, SuperviseMode::Listen)),
        Err(Refused::NotConnected)
    );
    assert_eq!(
        world.attempt(join("nobody", call, SuperviseMode::Listen)),
        Err(Refused::UnknownAgent)
    );
    assert_eq!(
        world.attempt(join("c", CallId::from(99), SuperviseMode::Listen)),
        Err(Refused::UnknownCall)
    );
    world.available("b");
    let ringing = world.calls();
    assert_eq!(world.offer("b").map(|(_, call)| call), Some(ringing));
    assert_eq!(
        world.attempt(join("b", call, SuperviseMode::Listen)),
        Err(Refused::Busy)
    );
    world.accept("b");
    world.media(ringing, Party::Customer);
    world.media(ringing, agent_party("b"));
    world.run(join("c", call, SuperviseMode::Listen));
    assert_eq!(
        world.attempt(join("c", ringing, SuperviseMode::Listen)),
        Err(Refused::Busy),
        "one call at a time"
    );
}

#[test]
fn s7_a_supervisor_stays_over_a_restart() {
    let (mut world, call) = supervised();
    world.run(join("c", call, SuperviseMode::Whisper));
    world.restart();
    assert_eq!(world.agent("c").activity, Activity::Supervising { call });
    let (third, own) = world.call(call).supervisor().unwrap();
    assert_eq!(own.mode, SuperviseMode::Whisper);
    assert!(matches!(own.link, Link::Grace { .. }) && third.media_at.is_some());
    for party in [Party::Customer, agent_party("a"), agent_party("c")] {
        world.media(call, party);
    }
    assert_eq!(third_link(&world, call), Some(Link::Up));

    world.restart();
    world.media(call, Party::Customer);
    world.media(call, agent_party("a"));
    let kept = world.config.timers.media_grace;
    world.pass(kept);
    assert_eq!(world.call(call).supervisor(), None);
    assert!(matches!(world.state(call), CallState::Active { .. }));
}

#[test]
fn s8_who_listens_or_whispers_does_not_write() {
    let (mut world, call) = supervised();
    let line = || Input::Chat {
        call,
        from: agent_party("c"),
        client_id: "1".to_owned(),
        text: Private::new("psst".to_owned()),
    };
    assert_eq!(world.attempt(line()), Err(Refused::MayNotWrite));
    world.run(join("c", call, SuperviseMode::Whisper));
    assert_eq!(world.attempt(line()), Err(Refused::MayNotWrite));
    world.run(join("c", call, SuperviseMode::Barge));
    world.run(line());
    world.run(join("c", call, SuperviseMode::Listen));
    world.run(line());
    assert_eq!(world.call(call).chat_seq, 1, "sent again, kept once");
}
