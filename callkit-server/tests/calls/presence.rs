//! What became of somebody whose media is lost, as the others see it; that nobody is left behind; and why a
//! call is over, for a page that comes back late.

use std::time::Duration;

use callkit_core::call::EndReason;
use callkit_core::id::{CallId, ParticipantId, RoomId};
use callkit_sfu::control::{LossCause, MediaCall, SfuEvent};
use callkit_sfu::quality::Quality;
use callkit_signal::message::{CallView, Event, LinkCause, LinkView, Phase, QualityCause, Request, Role};

use crate::world::{Talk, World, is_active, one, pass};

fn lose(world: &World, call: CallId, participant: ParticipantId, cause: LossCause) {
    world.media.emit(SfuEvent::MediaLost {
        room: RoomId::from(call),
        participant,
        cause,
        silent_for: Duration::ZERO,
    });
}

/// What the view says of the customer's lost link: for how long, and why.
fn loss(view: &CallView) -> Option<(u64, Option<LinkCause>)> {
    match one(view, Role::Customer).link {
        LinkView::Reconnecting {
            lost_for_ms, cause, ..
        } => Some((lost_for_ms, cause)),
        _ => None,
    }
}

async fn offers_media(person: &crate::world::Person, call: CallId) {
    let sdp = "v=0".to_owned();
    person.ask(Request::MediaOffer { call, sdp }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_closed_tab_is_shown_as_a_page_that_was_left() {
    let world = World::new().await;
    let Talk {
        customer,
        mut operator,
        call,
        customer_id,
        ..
    } = world.talk().await;
    let began = tokio::time::Instant::now();
    lose(&world, call, customer_id, LossCause::Closed);
    drop(customer);
    let left = Some((0, Some(LinkCause::LeftPage)));
    operator.sees(call, |view| loss(view) == left).await;
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_killed_tab_is_a_page_that_was_left_once_its_media_is_missed() {
    let world = World::new().await;
    let Talk {
        customer,
        mut operator,
        call,
        customer_id,
        ..
    } = world.talk().await;
    // The system closes the socket of a process that died; nobody takes leave of the media.
    drop(customer);
    pass(Duration::from_secs(4)).await;
    lose(&world, call, customer_id, LossCause::Silent);
    let left = Some((0, Some(LinkCause::LeftPage)));
    operator.sees(call, |view| loss(view) == left).await;
}

#[tokio::test(start_paused = true)]
async fn a_page_that_goes_on_signaling_has_lost_its_media_only() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    lose(&world, talk.call, talk.customer_id, LossCause::Silent);
    talk.operator
        .sees(talk.call, |view| loss(view) == Some((0, None)))
        .await;
    pass(Duration::from_secs(3)).await;
    offers_media(&talk.customer, talk.call).await;
    talk.operator
        .sees(talk.call, |view| {
            loss(view) == Some((3000, Some(LinkCause::MediaOnly)))
        })
        .await;
    world.media_up(talk.call, talk.customer_id);
    talk.operator
        .sees(talk.call, |view| one(view, Role::Customer).link == LinkView::Up)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_poor_at_once_for_staff() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    lose(&world, talk.call, talk.customer_id, LossCause::Silent);
    let (cause, score) = talk
        .operator
        .hears(|event| match event {
            Event::Quality { participants, .. } => Some((participants[0].cause, participants[0].score)),
            _ => None,
        })
        .await;
    assert_eq!((cause, score), (Some(QualityCause::TheirNetwork), 0));
}

#[tokio::test(start_paused = true)]
async fn after_the_room_failed_both_come_back_into_a_fresh_one() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    let room = RoomId::from(talk.call);
    world.media.emit(SfuEvent::RoomFailed { room });
    for person in [&mut talk.customer, &mut talk.operator] {
        person
            .sees(talk.call, |view| {
                loss(view) == Some((0, Some(LinkCause::MediaOnly)))
            })
            .await;
        offers_media(person, talk.call).await;
    }
    world.media_up(talk.call, talk.customer_id);
    world.media_up(talk.call, talk.operator_id);
    for person in [&mut talk.customer, &mut talk.operator] {
        let all_up = |view: &CallView| view.participants.iter().all(|one| one.link == LinkView::Up);
        let view = person.sees(talk.call, all_up).await;
        assert!(is_active(&view));
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_comes_back_after_the_end_is_told_why_it_ended() {
    let world = World::new().await;
    let Talk {
        customer,
        mut operator,
        call,
        customer_id,
        ..
    } = world.talk().await;
    lose(&world, call, customer_id, LossCause::Silent);
    drop(customer);
    assert_eq!(operator.sees_end(call).await, EndReason::CustomerLost);

    let back = world.sign_in("customer:1").await;
    assert!(back.snapshot.call.is_none());
    let ended = back.snapshot.ended.unwrap();
    assert_eq!(ended.id, call);
    assert!(matches!(
        ended.phase,
        Phase::Ended {
            reason: EndReason::CustomerLost,
            ..
        }
    ));
    assert!(world.sign_in("customer:2").await.snapshot.ended.is_none());
    pass(Duration::from_secs(120)).await;
    assert!(world.sign_in("customer:1").await.snapshot.ended.is_none());
}

#[tokio::test(start_paused = true)]
async fn media_without_a_call_and_people_without_a_place_are_removed() {
    let world = World::new().await;
    let talk = world.talk().await;
    let room = RoomId::from(talk.call);
    let measured = |participant| SfuEvent::Quality {
        room,
        participant,
        quality: Quality::default(),
    };
    let ghost = ParticipantId::from(99);
    world.media.emit(measured(ghost));
    pass(Duration::from_millis(10)).await;
    let leave = MediaCall::Leave {
        room,
        participant: ghost,
    };
    assert_eq!(world.media.calls().last(), Some(&leave));

    talk.operator
        .ask(Request::CallHangup { call: talk.call })
        .await
        .unwrap();
    pass(Duration::from_millis(10)).await;
    let before = world.media.calls().len();
    world.media.emit(measured(talk.customer_id));
    pass(Duration::from_millis(10)).await;
    assert_eq!(world.media.calls()[before..], [MediaCall::CloseRoom { room }]);
}
