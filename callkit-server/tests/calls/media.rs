//! The media plane's part: answers, slots, losses, quality, and rooms that are closed when they should be.

use std::time::Duration;

use callkit_core::id::RoomId;
use callkit_sfu::control::{JoinError, LossCause, MediaCall, MediaPlane as _, SfuEvent};
use callkit_sfu::sdp::SdpError;
use callkit_signal::message::{DeviceState, Event, LinkView, MediaState, Outcome, Phase, Request, Role};

use crate::world::{World, is_reconnecting, one, support};

#[tokio::test(start_paused = true)]
async fn an_offer_is_answered_and_the_slots_say_who_is_where() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    let view = world.sign_in("customer:1").await.snapshot.call.unwrap();
    assert_eq!(one(&view, Role::Operator).slot, Some(0));
    assert_eq!(one(&view, Role::Customer).slot, None);
    let events = talk.operator.heard().await;
    assert!(
        events
            .iter()
            .all(|event| !matches!(event, Event::OfferNew { .. }))
    );
}

#[tokio::test(start_paused = true)]
async fn media_comes_up_only_once_the_call_is_accepted() {
    let world = World::new().await;
    let (customer, call) = world.caller(1).await;
    assert_eq!(
        customer
            .refused(Request::MediaOffer {
                call,
                sdp: "v=0".to_owned()
            })
            .await,
        "wrong_phase"
    );
    assert_eq!(world.media.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn a_refused_offer_is_told_with_its_code_and_the_next_one_may_succeed() {
    let world = World::new().await;
    let talk = world.talk().await;
    let offer = || Request::MediaOffer {
        call: talk.call,
        sdp: "v=0".to_owned(),
    };
    for (error, code) in [
        (JoinError::Offer(SdpError::NoFingerprint), "sdp_invalid"),
        (JoinError::RoomFull, "room_full"),
        (JoinError::Overloaded, "overloaded"),
        (JoinError::RoomFailed, "unavailable"),
    ] {
        world.media.refuse_joins(Some(error));
        assert_eq!(talk.customer.refused(offer()).await, code);
    }
    world.media.refuse_joins(None);
    assert!(matches!(
        talk.customer.ask(offer()).await,
        Ok(Outcome::Media { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_media_plane_takes_no_new_call_and_serves_those_who_wait() {
    let world = World::new().await;
    let (waiting, call) = world.caller(1).await;
    world.media.refuse_new_rooms(Some(JoinError::Overloaded));
    let late = world.sign_in("customer:2").await;
    let start = || Request::CallStart { queue: support() };
    assert_eq!(late.refused(start()).await, "overloaded");
    assert!(late.ask(start()).await.is_err_and(|error| error.retryable));
    assert_eq!(waiting.start().await.id, call, "the place in the queue is kept");
    let mut operator = world.operator("irina").await;
    assert_eq!(operator.rings().await.call, call);
    world.media.refuse_new_rooms(None);
    assert!(late.ask(start()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_answered_and_one_of_nothing_says_that_a_new_connection_helps() {
    let world = World::new().await;
    let talk = world.talk().await;
    let restart = || Request::MediaRestart {
        call: talk.call,
        sdp: "v=0".to_owned(),
    };
    assert!(matches!(
        talk.customer.ask(restart()).await,
        Ok(Outcome::Media { .. })
    ));
    let (room, participant) = (RoomId::from(talk.call), talk.customer_id);
    assert!(
        world
            .media
            .calls()
            .contains(&MediaCall::Restart { room, participant })
    );
    world.media.leave(room, participant).await;
    assert_eq!(talk.customer.refused(restart()).await, "no_restart");
    let (waiting, call) = world.caller(2).await;
    let early = Request::MediaRestart {
        call,
        sdp: "v=0".to_owned(),
    };
    assert_eq!(waiting.refused(early).await, "wrong_phase");
}

#[tokio::test(start_paused = true)]
async fn lost_media_is_shown_to_both_and_comes_back_in_the_same_place() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    let (room, participant) = (RoomId::from(talk.call), talk.customer_id);
    world.media.emit(SfuEvent::MediaLost {
        room,
        participant,
        cause: LossCause::Silent,
        silent_for: Duration::ZERO,
    });
    for person in [&mut talk.customer, &mut talk.operator] {
        let view = person
            .sees(talk.call, |view| is_reconnecting(view, Role::Customer))
            .await;
        assert_eq!(
            one(&view, Role::Customer).link,
            LinkView::Reconnecting {
                for_ms: 45_000,
                lost_for_ms: 0,
                cause: None
            }
        );
    }
    talk.customer
        .ask(Request::MediaOffer {
            call: talk.call,
            sdp: "v=0".to_owned(),
        })
        .await
        .unwrap();
    world.media_up(talk.call, participant);
    for person in [&mut talk.customer, &mut talk.operator] {
        person
            .sees(talk.call, |view| one(view, Role::Customer).link == LinkView::Up)
            .await;
    }
    assert_eq!(
        world.media.participants(room),
        [talk.customer_id, talk.operator_id]
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_operator_is_told_and_the_customer_is_first_in_the_queue_again() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    let (room, participant) = (RoomId::from(talk.call), talk.operator_id);
    world.media.emit(SfuEvent::MediaLost {
        room,
        participant,
        cause: LossCause::Closed,
        silent_for: Duration::ZERO,
    });
    talk.customer
        .sees(talk.call, |view| is_reconnecting(view, Role::Operator))
        .await;
    talk.customer
        .sees(talk.call, |view| {
            matches!(
                view.phase,
                Phase::Queued {
                    position: Some(1),
                    ..
                }
            )
        })
        .await;
    assert_eq!(
        talk.operator.sees_end(talk.call).await,
        callkit_core::call::EndReason::AgentLost
    );
    assert_eq!(world.media.calls().last(), Some(&MediaCall::CloseRoom { room }));
}

#[tokio::test(start_paused = true)]
async fn the_room_is_closed_with_the_call() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    talk.customer
        .ask(Request::CallHangup { call: talk.call })
        .await
        .unwrap();
    talk.operator.sees_end(talk.call).await;
    talk.operator.heard().await;
    assert_eq!(
        world.media.calls().last(),
        Some(&MediaCall::CloseRoom {
            room: talk.call.into()
        })
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_switched_on_is_shown_to_the_other_side() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    let media = MediaState {
        microphone: false,
        camera: true,
        screen: true,
        microphone_state: Some(DeviceState::MutedBySystem),
        camera_state: None,
    };
    talk.customer
        .ask(Request::MediaStateSet {
            call: talk.call,
            media,
        })
        .await
        .unwrap();
    talk.operator
        .sees(talk.call, |view| one(view, Role::Customer).media == media)
        .await;
    assert_eq!(
        one(
            &world.sign_in("customer:1").await.snapshot.call.unwrap(),
            Role::Customer
        )
        .media,
        media
    );
}
