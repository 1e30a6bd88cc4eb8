//! kill -9 and start again: what people find.

use callkit_core::id::RoomId;
use callkit_core::redact::Private;
use callkit_signal::client::ClientError;
use callkit_signal::message::{LinkView, Outcome, Phase, Refusal, Request, Role};

use crate::world::{World, is_active, one};

#[tokio::test(start_paused = true)]
async fn waiting_customers_keep_their_places() {
    let world = World::new().await;
    let (_, first) = world.caller(1).await;
    let (_, second) = world.caller(2).await;
    let world = world.restart().await;

    // In the other order: the place is kept, not taken anew.
    let two = world.sign_in("customer:2").await;
    let one = world.sign_in("customer:1").await;
    let place = |person: &crate::world::Person| {
        let call = person.snapshot.call.clone().unwrap();
        (call.id, call.phase)
    };
    assert_eq!(
        place(&two),
        (
            second,
            Phase::Queued {
                position: Some(2),
                staffed: false
            }
        )
    );
    assert_eq!(
        place(&one),
        (
            first,
            Phase::Queued {
                position: Some(1),
                staffed: false
            }
        )
    );

    let mut irina = world.operator("irina").await;
    assert_eq!(irina.rings().await.call, first);
}

#[tokio::test(start_paused = true)]
async fn a_ringing_call_rings_again_once_both_are_back() {
    let world = World::new().await;
    let mut irina = world.operator("irina").await;
    let (_customer, call) = world.caller(1).await;
    let old = irina.rings().await.id;
    let world = world.restart().await;

    // The operator is still on shift: nobody has to click.
    let mut irina = world.sign_in("operator:irina").await;
    let _customer = world.sign_in("customer:1").await;
    let offer = irina.rings().await;
    assert_eq!(offer.call, call);
    assert_eq!(
        irina.refused(Request::OfferAccept { offer: old }).await,
        "offer_closed"
    );
    assert!(irina.ask(Request::OfferAccept { offer: offer.id }).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_talk_goes_on_with_its_chat() {
    let world = World::new().await;
    let talk = world.talk().await;
    let text = Private::new("before".to_owned());
    let line = Request::ChatSend {
        call: talk.call,
        client_id: "c1".to_owned(),
        text,
    };
    talk.customer.ask(line.clone()).await.unwrap();
    let world = world.restart().await;

    let mut customer = world.sign_in("customer:1").await;
    let mut operator = world.sign_in("operator:irina").await;
    for person in [&customer, &operator] {
        let view = person.snapshot.call.as_ref().unwrap();
        assert!(view.id == talk.call && is_active(view));
        assert!(matches!(
            one(view, Role::Customer).link,
            LinkView::Reconnecting { .. }
        ));
        assert_eq!(person.snapshot.chat.len(), 1);
        let media = Request::MediaOffer {
            call: talk.call,
            sdp: "v=0".to_owned(),
        };
        assert!(matches!(person.ask(media).await, Ok(Outcome::Media { .. })));
    }
    let people = world.media.participants(RoomId::from(talk.call));
    assert_eq!(
        people,
        [talk.customer_id, talk.operator_id],
        "the same participants"
    );
    for participant in people {
        world.media_up(talk.call, participant);
    }
    let both_up = |view: &callkit_signal::message::CallView| {
        view.participants.iter().all(|one| one.link == LinkView::Up)
    };
    customer.sees(talk.call, both_up).await;
    operator.sees(talk.call, both_up).await;

    // A line whose answer was lost in the crash is not kept twice.
    customer.ask(line).await.unwrap();
    assert_eq!(world.store.chat(talk.call).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_of_the_former_process_cannot_be_resumed_and_says_so() {
    let world = World::new().await;
    let (customer, _call) = world.caller(1).await;
    let world = world.restart().await;
    let (server, client) = callkit_signal::transport::MemoryTransport::pair();
    let hub = world.app.hub().clone();
    tokio::spawn(async move { hub.serve(Box::new(server)).await });
    match customer.client.resume(Box::new(client)).await {
        Err(ClientError::Refused(Refusal::SessionUnknown)) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_talk_nobody_comes_back_to_ends() {
    let world = World::new().await;
    let talk = world.talk().await;
    let world = world.restart().await;
    let mut irina = world.sign_in("operator:irina").await;
    assert_eq!(
        irina.sees_end(talk.call).await,
        callkit_core::call::EndReason::BothLost
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_order_tells_every_page_to_come_back() {
    let world = World::new().await;
    let (mut customer, call) = world.caller(1).await;
    let store = std::sync::Arc::clone(&world.store);
    world.app.stop().await;
    loop {
        match customer.events.next().await {
            Some(callkit_signal::client::ClientEvent::Lost(reason)) => {
                assert_eq!(reason, Some(Refusal::ServerStopping));
                break;
            }
            Some(_) => {}
            None => panic!("the connection ends with a reason"),
        }
    }
    assert!(
        !store.call(call).await.unwrap().unwrap().is_ended(),
        "the place is kept"
    );
}
