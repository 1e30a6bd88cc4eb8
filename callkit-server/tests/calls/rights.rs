//! Who may ask for what: refused with a code, and nothing changes.

use callkit_core::id::{CallId, OfferId};
use callkit_core::redact::Private;
use callkit_signal::client::ClientError;
use callkit_signal::message::{MediaState, PresenceChoice, Refusal, Request};

use crate::world::{World, support};

fn chat(call: CallId) -> Request {
    Request::ChatSend {
        call,
        client_id: "x".to_owned(),
        text: Private::new("x".to_owned()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_customer_cannot_do_what_operators_do() {
    let world = World::new().await;
    let mut irina = world.operator("irina").await;
    let (customer, _call) = world.caller(1).await;
    let offer = irina.rings().await.id;
    for request in [
        Request::PresenceSet {
            presence: PresenceChoice::Available,
        },
        Request::OfferAccept { offer },
        Request::OfferDecline { offer },
    ] {
        assert_eq!(customer.refused(request).await, "forbidden");
    }
    assert!(irina.ask(Request::OfferAccept { offer }).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn staff_cannot_call_and_an_unknown_member_takes_no_calls() {
    let world = World::new().await;
    let irina = world.operator("irina").await;
    assert_eq!(
        irina.refused(Request::CallStart { queue: support() }).await,
        "forbidden"
    );
    let stranger = world.sign_in("operator:stranger").await;
    assert_eq!(stranger.snapshot.agent, None);
    assert_eq!(
        stranger
            .refused(Request::PresenceSet {
                presence: PresenceChoice::Available
            })
            .await,
        "forbidden"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_of_others_looks_like_none() {
    let world = World::new().await;
    let talk = world.talk().await;
    let (stranger, _) = world.caller(2).await;
    let oleg = world.operator("oleg").await;
    for person in [&stranger, &oleg] {
        for request in [
            Request::CallHangup { call: talk.call },
            chat(talk.call),
            Request::MediaOffer {
                call: talk.call,
                sdp: "v=0".to_owned(),
            },
            Request::MediaStateSet {
                call: talk.call,
                media: MediaState::default(),
            },
        ] {
            assert_eq!(person.refused(request).await, "not_found");
        }
    }
    assert!(talk.customer.ask(chat(talk.call)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_offer_of_another_operator_cannot_be_taken() {
    let world = World::new().await;
    let mut irina = world.operator("irina").await;
    let oleg = world.operator("oleg").await;
    let (_customer, _call) = world.caller(1).await;
    let offer = irina.rings().await.id;
    assert_eq!(oleg.refused(Request::OfferAccept { offer }).await, "offer_closed");
    assert_eq!(
        oleg.refused(Request::OfferAccept {
            offer: OfferId::from(7)
        })
        .await,
        "offer_closed"
    );
    assert!(irina.ask(Request::OfferAccept { offer }).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_queue_is_refused() {
    let world = World::new().await;
    let customer = world.sign_in("customer:1").await;
    let queue = callkit_core::id::QueueId::new("sales").unwrap();
    assert_eq!(
        customer.refused(Request::CallStart { queue }).await,
        "unknown_queue"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_valid_token_nobody_gets_in() {
    let world = World::new().await;
    match world.try_sign_in("burglar:1").await {
        Err(ClientError::Refused(Refusal::InvalidToken)) => {}
        other => panic!("{:?}", other.map(|person| person.snapshot)),
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_over_takes_no_requests() {
    let world = World::new().await;
    let talk = world.talk().await;
    talk.customer
        .ask(Request::CallHangup { call: talk.call })
        .await
        .unwrap();
    for request in [Request::CallHangup { call: talk.call }, chat(talk.call)] {
        assert_eq!(talk.operator.refused(request).await, "not_found");
    }
}
