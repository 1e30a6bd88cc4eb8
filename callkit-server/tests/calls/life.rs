//! From asking to the end, with everything that can happen between.

use callkit_core::call::EndReason;
use callkit_signal::message::{Event, Outcome, Phase, Request, Role};

use crate::world::{World, is_active, one};

#[tokio::test(start_paused = true)]
async fn a_call_goes_through_the_queue_to_the_operator_and_the_customer_ends_it() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    let (customer, operator) = (&mut talk.customer, &mut talk.operator);

    customer
        .ask(Request::CallHangup { call: talk.call })
        .await
        .unwrap();

    assert_eq!(customer.sees_end(talk.call).await, EndReason::Customer);
    assert_eq!(operator.sees_end(talk.call).await, EndReason::Customer);
    let record = world.store.call(talk.call).await.unwrap().unwrap();
    assert!(record.is_ended() && record.segments[0].connected_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_operator_ends_the_call_and_both_are_told_why() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    talk.operator
        .ask(Request::CallHangup { call: talk.call })
        .await
        .unwrap();
    assert_eq!(talk.customer.sees_end(talk.call).await, EndReason::Agent);
    assert_eq!(talk.operator.sees_end(talk.call).await, EndReason::Agent);

    // Free again, and ringing with the next call.
    let (_next, call) = world.caller(2).await;
    assert_eq!(talk.operator.rings().await.call, call);
}

#[tokio::test(start_paused = true)]
async fn each_side_sees_what_it_may_of_the_other() {
    let world = World::new().await;
    let mut operator = world.operator("irina").await;
    let (mut customer, call) = world.caller(1).await;
    let offer = operator.rings().await;
    assert_eq!(
        offer.name.as_ref().map(|name| name.expose().as_str()),
        Some("1 shown")
    );
    operator
        .ask(Request::OfferAccept { offer: offer.id })
        .await
        .unwrap();

    let seen = customer.sees(call, |view| view.phase == Phase::Connecting).await;
    let other = one(&seen, Role::Operator);
    assert_eq!(
        other.name.as_ref().map(|name| name.expose().as_str()),
        Some("irina shown")
    );
    assert!(!other.you && one(&seen, Role::Customer).you);
    let wire = serde_json::to_string(&seen).unwrap();
    assert!(!wire.contains("\"irina\"") && !wire.contains("cust_"), "{wire}");

    let seen = operator.sees(call, |view| view.phase == Phase::Connecting).await;
    assert_eq!(one(&seen, Role::Customer).customer, Some(offer.customer));
}

#[tokio::test(start_paused = true)]
async fn a_declined_offer_rings_at_the_next_operator_at_once() {
    let world = World::new().await;
    let mut irina = world.operator("irina").await;
    let mut oleg = world.operator("oleg").await;
    let (_customer, call) = world.caller(1).await;
    let offer = irina.rings().await;
    irina
        .ask(Request::OfferDecline { offer: offer.id })
        .await
        .unwrap();
    assert_eq!(irina.stops_ringing(offer.id).await, ("declined".to_owned(), None));
    let next = oleg.rings().await;
    assert_eq!((next.call, next.expires_in_ms), (call, 20_000));
}

#[tokio::test(start_paused = true)]
async fn a_missed_offer_rings_at_the_next_operator_and_cannot_be_accepted_late() {
    let world = World::new().await;
    let mut irina = world.operator("irina").await;
    let mut oleg = world.operator("oleg").await;
    let (_customer, call) = world.caller(1).await;
    let offer = irina.rings().await;
    assert_eq!(irina.stops_ringing(offer.id).await, ("missed".to_owned(), None));
    assert_eq!(oleg.rings().await.call, call);
    assert_eq!(
        irina.refused(Request::OfferAccept { offer: offer.id }).await,
        "offer_closed"
    );
}

#[tokio::test(start_paused = true)]
async fn customer_hangup_while_ringing_stops_the_ringing_and_frees_the_operator() {
    let world = World::new().await;
    let mut irina = world.operator("irina").await;
    let (mut customer, call) = world.caller(1).await;
    let offer = irina.rings().await;
    customer.ask(Request::CallHangup { call }).await.unwrap();
    assert_eq!(customer.sees_end(call).await, EndReason::Abandoned);
    let (outcome, cause) = irina.stops_ringing(offer.id).await;
    assert_eq!(
        (outcome.as_str(), cause.as_deref()),
        ("canceled", Some("customer_left"))
    );
    let (_next, call) = world.caller(2).await;
    assert_eq!(irina.rings().await.call, call);
}

#[tokio::test(start_paused = true)]
async fn the_place_in_the_queue_moves_up_and_is_told_only_when_it_moves() {
    let world = World::new().await;
    let (first, first_call) = world.caller(1).await;
    let (mut second, second_call) = world.caller(2).await;
    let (mut third, third_call) = world.caller(3).await;
    let place = |event: &Event| match event {
        Event::Call { call } => match call.phase {
            Phase::Queued { position, staffed } => Some((call.id, position, staffed)),
            _ => None,
        },
        _ => None,
    };
    let places = |heard: Vec<Event>| heard.iter().filter_map(place).collect::<Vec<_>>();
    assert_eq!(
        places(third.heard().await).last(),
        Some(&(third_call, Some(3), false))
    );
    assert_eq!(places(second.heard().await), [(second_call, Some(2), false)]);

    first.ask(Request::CallHangup { call: first_call }).await.unwrap();
    assert_eq!(places(second.heard().await), [(second_call, Some(1), false)]);
    assert_eq!(places(third.heard().await), [(third_call, Some(2), false)]);

    let _irina = world.operator("irina").await;
    assert_eq!(places(third.heard().await), [(third_call, Some(2), true)]);
}

#[tokio::test(start_paused = true)]
async fn asking_again_gives_the_open_call() {
    let world = World::new().await;
    let (customer, call) = world.caller(1).await;
    assert_eq!(customer.start().await.id, call);
    assert_eq!(
        world
            .sign_in("customer:1")
            .await
            .snapshot
            .call
            .map(|call| call.id),
        Some(call)
    );
}

#[tokio::test(start_paused = true)]
async fn staff_sees_the_counts_of_its_queues() {
    let world = World::new().await;
    let mut supervisor = world.sign_in("supervisor:vera").await;
    let counts = |queue: &callkit_signal::message::QueueView| (queue.waiting, queue.available);
    assert_eq!(
        supervisor.snapshot.queues.iter().map(counts).collect::<Vec<_>>(),
        [(0, 0)]
    );
    assert_eq!(supervisor.snapshot.agent, None);

    let (_customer, _call) = world.caller(1).await;
    let heard = |event: &Event| match event {
        Event::Queue { queue } => Some(counts(queue)),
        _ => None,
    };
    assert_eq!(supervisor.hears(heard).await, (1, 0));
    let irina = world.operator("irina").await;
    assert_eq!(
        irina.snapshot.queues.iter().map(counts).collect::<Vec<_>>(),
        [(1, 0)]
    );
}

#[tokio::test(start_paused = true)]
async fn an_operator_whose_media_never_comes_up_is_told_and_the_customer_goes_to_the_next_one() {
    let world = World::new().await;
    let mut irina = world.operator("irina").await;
    let mut oleg = world.operator("oleg").await;
    let (mut customer, call) = world.caller(1).await;
    let offer = irina.rings().await;
    irina.ask(Request::OfferAccept { offer: offer.id }).await.unwrap();
    customer.sees(call, |view| view.phase == Phase::Connecting).await;

    assert_eq!(irina.sees_end(call).await, EndReason::MediaFailed);
    customer
        .sees(call, |view| {
            matches!(
                view.phase,
                Phase::Queued {
                    position: Some(1),
                    ..
                }
            )
        })
        .await;
    let offer = oleg.rings().await;
    assert_eq!(offer.call, call);
    let accepted = oleg.ask(Request::OfferAccept { offer: offer.id }).await;
    assert_eq!(accepted, Ok(Outcome::Done));
    customer.sees(call, |view| view.phase == Phase::Connecting).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_signaling_connection_does_not_touch_the_talk() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    talk.operator.heard().await;
    talk.customer.client.drop_connection();
    assert_eq!(talk.operator.heard().await, []);
    world.resume(&talk.customer).await;
    assert_eq!(talk.operator.heard().await, []);

    let fresh = world.sign_in("customer:1").await;
    assert!(fresh.snapshot.call.as_ref().is_some_and(is_active));
}

#[tokio::test(start_paused = true)]
async fn leaving_the_queue_for_good_is_noticed_after_a_minute() {
    let world = World::new().await;
    let mut irina = world.sign_in("operator:irina").await;
    let (customer, call) = world.caller(1).await;
    customer.client.drop_connection();
    let waiting = |wanted| {
        move |event: &Event| match event {
            Event::Queue { queue } if queue.waiting == wanted => Some(()),
            _ => None,
        }
    };
    irina.hears(waiting(1)).await;
    irina.hears(waiting(0)).await;
    assert!(world.store.call(call).await.unwrap().unwrap().is_ended());
}
