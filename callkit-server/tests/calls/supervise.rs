//! A supervisor as the third in a call: what each side is told, in which order, and what the customer is
//! never told.

use callkit_core::call::{EndReason, SuperviseMode};
use callkit_core::id::{CallId, ParticipantId, RoomId};
use callkit_core::redact::Private;
use callkit_sfu::control::{MediaCall, SfuEvent};
use callkit_sfu::media::Grant;
use callkit_signal::message::{
    CallView, Event, LinkView, MediaState, Outcome, ParticipantView, Request, Role,
};

use crate::world::{Person, Talk, World, is_active, one};

fn join(call: CallId, mode: SuperviseMode) -> Request {
    Request::SuperviseJoin { call, mode }
}

fn third(view: &CallView) -> Option<&ParticipantView> {
    view.participants.iter().find(|one| one.role == Role::Supervisor)
}

fn mode(view: &CallView) -> Option<SuperviseMode> {
    third(view).and_then(|one| one.supervising)
}

/// Brings the supervisor's media up; gives the participant.
async fn media_of(world: &World, call: CallId, maria: &mut Person) -> ParticipantId {
    let view = maria.sees(call, |view| third(view).is_some()).await;
    let id = one(&view, Role::Supervisor).id;
    let answer = maria
        .ask(Request::MediaOffer {
            call,
            sdp: "v=0".to_owned(),
        })
        .await
        .unwrap();
    assert!(matches!(answer, Outcome::Media { .. }));
    world.media_up(call, id);
    maria
        .sees(call, |view| one(view, Role::Supervisor).link == LinkView::Up)
        .await;
    id
}

/// A talk that maria supervises in `mode`, with media.
async fn supervised(world: &World, mode: SuperviseMode) -> (Talk, Person, ParticipantId) {
    let talk = world.talk().await;
    let mut maria = world.sign_in("supervisor:maria").await;
    maria.ask(join(talk.call, mode)).await.unwrap();
    let id = media_of(world, talk.call, &mut maria).await;
    (talk, maria, id)
}

fn grants(world: &World) -> Vec<(ParticipantId, Grant)> {
    let calls = world.media.calls().into_iter();
    let grants = calls.filter_map(|call| match call {
        MediaCall::Join {
            participant, grant, ..
        }
        | MediaCall::SetGrant {
            participant, grant, ..
        } => Some((participant, grant)),
        _ => None,
    });
    grants.collect()
}

#[tokio::test(start_paused = true)]
async fn the_media_plane_is_told_who_may_be_heard_by_whom() {
    let world = World::new().await;
    let (talk, maria, id) = supervised(&world, SuperviseMode::Listen).await;
    for mode in [
        SuperviseMode::Whisper,
        SuperviseMode::Barge,
        SuperviseMode::Listen,
    ] {
        maria.ask(join(talk.call, mode)).await.unwrap();
        maria.ask(join(talk.call, mode)).await.unwrap();
    }
    let whisper = Grant::Whisper { to: talk.operator_id };
    assert_eq!(
        grants(&world),
        [
            (talk.customer_id, Grant::Full),
            (talk.operator_id, Grant::Full),
            (id, Grant::Listen),
            (id, whisper),
            (id, Grant::Barge),
            (id, Grant::Listen),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_customer_is_told_nothing_of_a_supervisor_who_listens_or_whispers() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    let before = talk.customer.heard().await;
    assert!(before.iter().all(|event| matches!(event, Event::Call { .. })));
    let mut maria = world.sign_in("supervisor:maria").await;
    maria.ask(join(talk.call, SuperviseMode::Listen)).await.unwrap();
    let id = media_of(&world, talk.call, &mut maria).await;
    maria.ask(join(talk.call, SuperviseMode::Whisper)).await.unwrap();
    let media = MediaState {
        microphone: true,
        ..MediaState::default()
    };
    maria
        .ask(Request::MediaStateSet {
            call: talk.call,
            media,
        })
        .await
        .unwrap();
    world.media.emit(SfuEvent::MediaRestored {
        room: talk.call.into(),
        participant: id,
    });
    maria
        .ask(Request::SuperviseLeave { call: talk.call })
        .await
        .unwrap();
    assert_eq!(talk.customer.heard().await, [], "not a word, not a number");
    let told = talk.operator.heard().await;
    let modes: Vec<_> = told
        .iter()
        .filter_map(|event| match event {
            Event::Call { call } => Some(mode(call)),
            _ => None,
        })
        .collect();
    assert!(modes.contains(&Some(SuperviseMode::Listen)) && modes.contains(&Some(SuperviseMode::Whisper)));
    assert_eq!(modes.last(), Some(&None));

    // The next thing that the customer may know has the next number.
    let known = world.sign_in("customer:1").await.snapshot.call.unwrap();
    assert_eq!(known.participants.len(), 2);
    let media = MediaState::default();
    talk.operator
        .ask(Request::MediaStateSet {
            call: talk.call,
            media,
        })
        .await
        .unwrap();
    let mut page = world.sign_in("customer:1").await;
    talk.operator
        .ask(Request::MediaStateSet {
            call: talk.call,
            media: MediaState {
                camera: true,
                ..media
            },
        })
        .await
        .unwrap();
    let next = page.sees(talk.call, is_active).await;
    assert_eq!(next.version, known.version + 2);
}

#[tokio::test(start_paused = true)]
async fn who_joins_in_is_seen_by_everybody_with_the_name() {
    let world = World::new().await;
    let (mut talk, maria, id) = supervised(&world, SuperviseMode::Listen).await;
    let staff = talk.operator.sees(talk.call, |view| third(view).is_some()).await;
    assert_eq!(mode(&staff), Some(SuperviseMode::Listen));
    maria.ask(join(talk.call, SuperviseMode::Barge)).await.unwrap();
    let view = talk.customer.sees(talk.call, |view| third(view).is_some()).await;
    let shown = third(&view).unwrap();
    assert_eq!(
        shown.name.as_ref().map(|name| name.expose().as_str()),
        Some("maria shown")
    );
    assert_eq!((shown.id, shown.supervising, shown.slot), (id, None, Some(1)));
    let wire = serde_json::to_string(&view).unwrap();
    assert!(
        !wire.contains("supervising") && !wire.contains("\"maria\""),
        "{wire}"
    );

    maria.ask(join(talk.call, SuperviseMode::Whisper)).await.unwrap();
    let view = talk.customer.sees(talk.call, |view| third(view).is_none()).await;
    assert_eq!(view.participants.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_narrower_mode_is_told_once_it_is_in_force_and_a_wider_one_at_once() {
    let world = World::new().await;
    let (mut talk, maria, id) = supervised(&world, SuperviseMode::Barge).await;
    assert!(!talk.customer.heard().await.is_empty());
    talk.operator.heard().await;
    world.media.hold_grants(true);
    let narrowed = tokio::spawn({
        let request = join(talk.call, SuperviseMode::Listen);
        async move { (maria.ask(request).await, maria) }
    });
    let heard = talk.customer.heard().await;
    assert!(heard.is_empty(), "still heard, so still seen: {heard:?}");
    for event in talk.operator.heard().await {
        if let Event::Call { call } = event {
            assert_eq!(mode(&call), Some(SuperviseMode::Barge));
        }
    }
    assert!(!narrowed.is_finished(), "the answer waits as well");
    world.media.hold_grants(false);
    talk.customer.sees(talk.call, |view| third(view).is_none()).await;
    let (answer, maria) = narrowed.await.unwrap();
    answer.unwrap();
    assert_eq!(grants(&world).last(), Some(&(id, Grant::Listen)));

    world.media.hold_grants(true);
    let widened = tokio::spawn({
        let request = join(talk.call, SuperviseMode::Barge);
        async move { maria.ask(request).await }
    });
    talk.customer.sees(talk.call, |view| third(view).is_some()).await;
    assert!(!widened.is_finished());
    world.media.hold_grants(false);
    widened.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_mode_that_the_media_plane_did_not_take_in_time_is_asked_for_again() {
    let world = World::new().await;
    let (mut talk, maria, id) = supervised(&world, SuperviseMode::Barge).await;
    assert!(!talk.customer.heard().await.is_empty());
    world.media.hold_grants(true);
    let request = join(talk.call, SuperviseMode::Listen);
    assert_eq!(maria.refused(request).await, "unavailable");
    assert_eq!(talk.customer.heard().await, [], "still heard, so still seen");
    world.media.hold_grants(false);
    talk.customer.sees(talk.call, |view| third(view).is_none()).await;
    assert_eq!(grants(&world).last(), Some(&(id, Grant::Listen)));
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_who_leaves_or_hangs_up_leaves_the_two_alone() {
    let world = World::new().await;
    for hang_up in [false, true] {
        let mut maria = world.sign_in("supervisor:maria").await;
        let talk = if hang_up { None } else { Some(world.talk().await) };
        let call = match &talk {
            Some(talk) => talk.call,
            None => maria.snapshot.calls[0].id,
        };
        maria.ask(join(call, SuperviseMode::Barge)).await.unwrap();
        let id = media_of(&world, call, &mut maria).await;
        let request = if hang_up {
            Request::CallHangup { call }
        } else {
            Request::SuperviseLeave { call }
        };
        maria.ask(request).await.unwrap();
        assert_eq!(maria.sees_end(call).await, EndReason::SupervisorLeft);
        assert!(world.media.calls().contains(&MediaCall::Leave {
            room: call.into(),
            participant: id
        }));
        assert_eq!(world.media.participants(RoomId::from(call)).len(), 2);
        assert_eq!(
            maria.refused(Request::SuperviseLeave { call }).await,
            "not_in_call"
        );
        drop(talk);
    }
}

#[tokio::test(start_paused = true)]
async fn r7_1_of_ten_who_race_for_the_last_place_one_gets_it() {
    let world = World::new().await;
    let talk = world.talk().await;
    let mut people = Vec::new();
    for number in 0..10 {
        people.push(world.sign_in(&format!("supervisor:s{number}")).await);
    }
    let race: Vec<_> = people
        .into_iter()
        .map(|person| {
            let request = join(talk.call, SuperviseMode::Listen);
            tokio::spawn(async move { person.ask(request).await.map_err(|error| error.code) })
        })
        .collect();
    let mut answers = Vec::new();
    for one in race {
        answers.push(one.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let full = Err("room_full".to_owned());
    assert_eq!(answers.iter().filter(|answer| **answer == full).count(), 9);
}

#[tokio::test(start_paused = true)]
async fn only_supervisors_supervise_and_only_talks() {
    let world = World::new().await;
    let maria = world.sign_in("supervisor:maria").await;
    let (customer, waiting) = world.caller(9).await;
    assert_eq!(
        maria.refused(join(waiting, SuperviseMode::Listen)).await,
        "wrong_phase"
    );
    customer.ask(Request::CallHangup { call: waiting }).await.unwrap();
    let talk = world.talk().await;
    let oleg = world.operator("oleg").await;
    let request = || join(talk.call, SuperviseMode::Listen);
    assert_eq!(oleg.refused(request()).await, "not_found");
    assert_eq!(talk.operator.refused(request()).await, "forbidden");
    assert_eq!(talk.customer.refused(request()).await, "forbidden");
    assert_eq!(
        maria.refused(join(CallId::from(7), SuperviseMode::Listen)).await,
        "not_found"
    );
    assert_eq!(
        maria.refused(Request::SuperviseLeave { call: talk.call }).await,
        "not_in_call"
    );
    assert_eq!(oleg.snapshot.calls, []);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_writes_only_after_joining_in() {
    let world = World::new().await;
    let (mut talk, maria, _) = supervised(&world, SuperviseMode::Whisper).await;
    let line = |key: &str| Request::ChatSend {
        call: talk.call,
        client_id: key.to_owned(),
        text: Private::new("let me help".to_owned()),
    };
    assert_eq!(maria.refused(line("1")).await, "forbidden");
    maria.ask(join(talk.call, SuperviseMode::Barge)).await.unwrap();
    maria.ask(line("2")).await.unwrap();
    let from = talk
        .customer
        .hears(|event| match event {
            Event::Chat { message } => Some((message.from, message.seq, message.mine)),
            _ => None,
        })
        .await;
    assert_eq!(from, (Role::Supervisor, 1, false));
}

#[tokio::test(start_paused = true)]
async fn supervisors_have_the_list_of_talks_and_see_it_change() {
    let world = World::new().await;
    let mut maria = world.sign_in("supervisor:maria").await;
    assert_eq!(maria.snapshot.you.role, Role::Supervisor);
    assert_eq!(maria.snapshot.calls, []);
    let talk = world.talk().await;
    let changed = |event: &Event| match event {
        Event::CallsChanged { call } => Some(call.clone()),
        _ => None,
    };
    let listed = maria.hears(changed).await;
    assert_eq!((listed.id, listed.agent.as_str()), (talk.call, "irina"));
    assert_eq!(listed.supervisor, None);
    let nina = world.sign_in("supervisor:nina").await;
    assert_eq!(nina.snapshot.calls.len(), 1);
    nina.ask(join(talk.call, SuperviseMode::Listen)).await.unwrap();
    let listed = maria.hears(changed).await;
    assert_eq!(
        listed.supervisor.map(|one| one.to_string()),
        Some("nina".to_owned())
    );
    nina.ask(Request::SuperviseLeave { call: talk.call })
        .await
        .unwrap();
    assert_eq!(maria.hears(changed).await.supervisor, None);
    talk.customer
        .ask(Request::CallHangup { call: talk.call })
        .await
        .unwrap();
    let gone = maria
        .hears(|event| match event {
            Event::CallsGone { call } => Some(*call),
            _ => None,
        })
        .await;
    assert_eq!(gone, talk.call);
    let heard = maria.heard().await;
    let listed = heard
        .iter()
        .filter(|event| matches!(event, Event::CallsChanged { .. } | Event::CallsGone { .. }));
    assert_eq!(listed.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_third_is_out_when_the_call_ends_and_finds_back_after_a_restart() {
    let world = World::new().await;
    let (talk, maria, _) = supervised(&world, SuperviseMode::Whisper).await;
    drop((talk, maria));
    let world = world.restart().await;
    let mut maria = world.sign_in("supervisor:maria").await;
    let call = maria.snapshot.call.clone().unwrap();
    assert_eq!(mode(&call), Some(SuperviseMode::Whisper));
    maria
        .ask(Request::MediaOffer {
            call: call.id,
            sdp: "v=0".to_owned(),
        })
        .await
        .unwrap();
    assert!(matches!(grants(&world)[..], [(_, Grant::Whisper { .. })]));
    let customer = world.sign_in("customer:1").await;
    assert_eq!(
        customer
            .snapshot
            .call
            .as_ref()
            .map(|view| view.participants.len()),
        Some(2)
    );
    customer.ask(Request::CallHangup { call: call.id }).await.unwrap();
    assert_eq!(maria.sees_end(call.id).await, EndReason::Customer);
}
