//! Row A18: going on after a kill -9.

use callkit_core::agent::{Activity, Link, Presence};
use callkit_core::call::{CallState, CancelCause, EndReason, OfferOutcome, Party};
use callkit_routing::{Action, Input};

use crate::world::{World, agent_party, queue_id, secs};

#[test]
fn a18_waiting_calls_keep_their_places() {
    let mut world = World::new();
    let calls: Vec<_> = (0..5)
        .map(|number| {
            world.pass(secs(1));
            world.calls_in("main", number % 2)
        })
        .collect();
    let order = |world: &World| -> Vec<_> {
        world
            .dispatcher
            .waiting(&queue_id("main"))
            .map(|call| call.id)
            .collect()
    };
    let before = order(&world);
    world.restart();
    assert_eq!(order(&world), before);
    world.customer_link(calls[0], true);
    world.pass(secs(60));
    assert_eq!(world.end_reason(calls[0]), None);
    assert_eq!(
        world.end_reason(calls[1]),
        Some(EndReason::Abandoned),
        "did not come back"
    );
}

#[test]
fn a18_an_offer_is_taken_back_at_no_cost_and_rings_again_when_both_are_back() {
    let mut world = World::new();
    world.available("a");
    let idle = world.agent("a").idle_since;
    world.pass(secs(1));
    let call = world.calls();
    world.restart();
    let cause = CancelCause::Restart;
    assert_eq!(
        world.outcomes(call),
        [("a".to_owned(), Some(OfferOutcome::Canceled { cause }))]
    );
    assert_eq!(
        (&world.agent("a").activity, world.agent("a").idle_since),
        (&Activity::Idle, idle)
    );
    world.agent_link("a", true);
    assert_eq!(world.offer("a"), None);
    world.customer_link(call, true);
    assert_eq!(world.offer("a").map(|(_, call)| call), Some(call));
}

#[test]
fn a18_a_talk_goes_on_when_both_are_back_within_45_s() {
    let mut world = World::new();
    let call = world.talk("a");
    world.restart();
    assert!(world.actions.contains(&Action::OpenRoom(call)));
    assert_eq!(world.agent("a").activity, Activity::InCall { call });
    world.agent_link("a", true);
    world.customer_link(call, true);
    world.pass(secs(44));
    world.media(call, agent_party("a"));
    world.media(call, Party::Customer);
    world.pass(secs(100));
    assert!(matches!(
        world.state(call),
        CallState::Active {
            customer_link: Link::Up,
            agent_link: Link::Up,
            ..
        }
    ));
}

#[test]
fn a18_a_talk_to_which_nobody_returns_ends() {
    let mut world = World::new();
    let call = world.talk("a");
    world.restart();
    world.pass(secs(45));
    assert_eq!(world.end_reason(call), Some(EndReason::BothLost));
    world.pass(secs(15));
    assert_eq!(world.agent("a").presence, Presence::Offline);
}

#[test]
fn a18_a_call_that_was_being_connected_gets_the_time_to_do_so() {
    let mut world = World::new();
    let call = world.connecting("a");
    world.media(call, Party::Customer);
    world.restart();
    assert_eq!(world.agent("a").activity, Activity::Connecting { call });
    world.pass(secs(40));
    world.media(call, agent_party("a"));
    assert!(
        matches!(world.state(call), CallState::Connecting { .. }),
        "the customer has to come back too"
    );
    world.media(call, Party::Customer);
    assert!(matches!(world.state(call), CallState::Active { .. }));
}

#[test]
fn a18_an_open_room_nobody_asks_for_and_a_restart_twice_change_nothing() {
    let mut world = World::new();
    let call = world.talk("a");
    world.calls();
    world.restart();
    let (state, agent) = (world.state(call).clone(), world.agent("a").clone());
    world.restart();
    assert_eq!(
        (world.state(call), &world.agent("a").activity),
        (&state, &agent.activity)
    );
}

#[test]
fn a18_calls_of_a_queue_that_is_gone_are_ended_and_a_removed_agent_finishes_the_talk() {
    let mut world = World::new();
    let talk = world.talk("a");
    let lost = world.calls_in("side", 0);
    world.config.queues.retain(|queue| queue.id != queue_id("side"));
    world.config.agents.retain(|agent| agent.id.as_str() == "b");
    world.restart();
    assert_eq!(world.end_reason(lost), Some(EndReason::System));
    assert!(matches!(world.state(talk), CallState::Active { .. }));
    world.run(Input::HangUp {
        call: talk,
        by: agent_party("a"),
    });
    assert_eq!(world.end_reason(talk), Some(EndReason::Agent));
}

#[test]
fn a18_a_clock_set_back_over_the_restart_does_not_go_behind_what_was_stored() {
    let mut world = World::new();
    let call = world.calls();
    let asked = world.now;
    world.now = callkit_core::time::Timestamp::from_millis(5);
    world.restart();
    assert!(
        world
            .dispatcher
            .next_deadline()
            .is_some_and(|due| due == asked + secs(60))
    );
    world.customer_link(call, true);
    let next = world.calls();
    assert_eq!(world.call(next).enqueued_at, asked);
}
