//! Rows C4-C20: what becomes of a call.

use callkit_core::agent::{Activity, Link, Presence};
use callkit_core::call::{CallState, CancelCause, Customer, EndReason, ExclusionReason, OfferOutcome, Party};
use callkit_core::event::EventKind;
use callkit_core::id::{CallId, CustomerId};
use callkit_routing::{Action, Input, Refused};

use crate::world::{World, agent_id, agent_party, config, queue_id, secs};

#[test]
fn c04_a_request_gets_a_place_that_is_told_and_kept() {
    let mut world = World::new();
    let first = world.calls();
    world.pass(secs(1));
    let second = world.calls();
    assert_eq!(
        (
            world.dispatcher.position(first),
            world.dispatcher.position(second)
        ),
        (Some(1), Some(2))
    );
    let view = world.dispatcher.queue_view(&queue_id("main")).unwrap();
    assert_eq!(
        (view.waiting, view.oldest, view.available),
        (2, Some(world.call(first).enqueued_at), 0)
    );
    assert!(world.actions.contains(&Action::QueueChanged(queue_id("main"))));
    let order: Vec<_> = world
        .dispatcher
        .waiting(&queue_id("main"))
        .map(|call| call.id)
        .collect();
    assert_eq!(order, [first, second]);
}

#[test]
fn c04_priority_goes_before_age() {
    let mut world = World::new();
    let old = world.calls_in("main", 0);
    world.pass(secs(1));
    let urgent = world.calls_in("main", 9);
    let oldest = world.dispatcher.queue_view(&queue_id("main")).unwrap().oldest;
    assert_eq!(oldest, Some(world.call(old).enqueued_at));
    world.available("a");
    assert_eq!(world.offer("a").map(|(_, call)| call), Some(urgent));
}

#[test]
fn c04_one_open_call_per_customer_known_queues_only_and_not_above_the_limit() {
    let mut limited = config();
    limited.queues[0].max_len = 2;
    let mut world = World::with(limited);
    let call = world.calls();
    let customer = world.call(call).customer.clone();
    let id = customer.id;
    let again = Input::RequestCall {
        customer,
        queue: queue_id("main"),
        priority: 0,
    };
    assert_eq!(
        world.attempt(again),
        Err(Refused::AlreadyCalling { customer: id, call })
    );

    let other = Customer {
        id: CustomerId::from(99),
        name: None,
        verified: false,
    };
    let request = |queue: &str| Input::RequestCall {
        customer: other.clone(),
        queue: queue_id(queue),
        priority: 0,
    };
    assert_eq!(world.attempt(request("nowhere")), Err(Refused::UnknownQueue));
    world.calls();
    assert_eq!(world.attempt(request("main")), Err(Refused::QueueFull));
    world.run(Input::HangUp {
        call,
        by: Party::Customer,
    });
    world.run(request("main"));
}

#[test]
fn c05_the_longest_idle_agent_is_offered_the_oldest_call() {
    let mut world = World::new();
    world.available("b");
    world.pass(secs(1));
    world.available("a");
    let first = world.calls();
    let second = world.calls();
    assert_eq!(world.offer("b").map(|(_, call)| call), Some(first));
    assert_eq!(world.offer("a").map(|(_, call)| call), Some(second));
}

#[test]
fn c05_the_oldest_call_of_all_queues_of_a_freed_agent_comes_first() {
    let mut world = World::new();
    let side = world.calls_in("side", 0);
    world.pass(secs(1));
    world.calls_in("main", 0);
    world.available("d");
    assert_eq!(world.offer("d").map(|(_, call)| call), Some(side));
}

#[test]
fn c07_the_longest_wait_ends_the_call() {
    let mut impatient = config();
    impatient.queues[0].max_wait = Some(secs(30));
    let mut world = World::with(impatient);
    let call = world.calls();
    world.pass(secs(29));
    assert_eq!(world.end_reason(call), None);
    world.pass(secs(1));
    assert_eq!(world.end_reason(call), Some(EndReason::QueueTimeout));
}

#[test]
fn c07_a_call_that_was_answered_and_came_back_waits_anew() {
    let mut impatient = config();
    impatient.queues[0].max_wait = Some(secs(30));
    let mut world = World::with(impatient);
    let call = world.talk("a");
    world.pass(secs(600));
    world.media_lost(call, agent_party("a"));
    world.presence("a", Presence::Offline);
    world.pass(secs(45));
    assert_eq!(*world.state(call), CallState::Queued { customer: Link::Up });
    world.pass(secs(29));
    assert_eq!(world.end_reason(call), None);
    world.pass(secs(1));
    assert_eq!(world.end_reason(call), Some(EndReason::QueueTimeout));
}

#[test]
fn c09_a_customer_who_drops_out_of_the_queue_keeps_the_place_for_60_s() {
    let mut world = World::new();
    let call = world.calls();
    world.pass(secs(1));
    world.calls();
    world.customer_link(call, false);
    world.pass(secs(59));
    world.customer_link(call, true);
    assert_eq!(*world.state(call), CallState::Queued { customer: Link::Up });
    assert_eq!(world.dispatcher.position(call), Some(1));
    world.pass(secs(100));
    assert_eq!(world.end_reason(call), None);
}

#[test]
fn c09_a_detached_customer_is_not_offered_and_finally_gone_since_last_seen() {
    let mut world = World::new();
    let call = world.calls();
    let seen = world.now;
    world.customer_link(call, false);
    world.available("a");
    assert_eq!(world.offer("a"), None);
    world.pass(secs(60));
    assert_eq!(world.end_reason(call), Some(EndReason::Abandoned));
    assert_eq!(world.call(call).segments[0].ended_at, Some(seen));
}

#[test]
fn c09_a_customer_lost_while_ringing_costs_the_agent_nothing_and_keeps_the_place() {
    let mut world = World::new();
    world.available("a");
    let idle = world.agent("a").idle_since;
    world.pass(secs(1));
    let call = world.calls();
    world.customer_link(call, false);
    let cause = CancelCause::CustomerLeft;
    assert_eq!(
        world.outcomes(call),
        [("a".to_owned(), Some(OfferOutcome::Canceled { cause }))]
    );
    assert!(matches!(
        world.state(call),
        CallState::Queued {
            customer: Link::Grace { .. }
        }
    ));
    assert_eq!(
        (world.agent("a").idle_since, &world.agent("a").activity),
        (idle, &Activity::Idle)
    );
    world.customer_link(call, true);
    assert_eq!(world.offer("a").map(|(_, call)| call), Some(call));
}

#[test]
fn c10_hanging_up_in_the_queue_is_abandoning() {
    let mut world = World::new();
    let call = world.calls();
    world.run(Input::HangUp {
        call,
        by: Party::Customer,
    });
    assert_eq!(world.end_reason(call), Some(EndReason::Abandoned));
    assert_eq!(
        world.attempt(Input::HangUp {
            call,
            by: Party::Customer
        }),
        Err(Refused::UnknownCall)
    );
    assert!(
        !world.actions.contains(&Action::CloseRoom(call)),
        "there was no room"
    );
}

#[test]
fn c12_a_refused_call_never_rings_twice_at_one_agent_while_another_is_free() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.available(name);
    }
    let call = world.calls();
    let mut rang = Vec::new();
    for _ in 0..3 {
        let CallState::Offering { agent, .. } = world.state(call).clone() else {
            panic!("it rings")
        };
        rang.push(agent.to_string());
        world.pass(secs(20));
    }
    assert_eq!(rang, ["a", "b", "c"]);
    let last = world.offers(call)[1].because.clone();
    let refused: Vec<_> = last
        .excluded
        .iter()
        .filter(|one| one.reason == ExclusionReason::AlreadyRefused)
        .collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].agent, agent_id("a"));
}

#[test]
fn c13_when_all_have_refused_a_new_pass_begins() {
    let mut world = World::new();
    world.available("a");
    world.available("b");
    let call = world.calls();
    world.decline("a");
    world.decline("b");
    assert_eq!(*world.state(call), CallState::Queued { customer: Link::Up });
    world.pass(secs(5));
    assert_eq!(
        world.offer("a").map(|(_, call)| call),
        Some(call),
        "the longest idle begins the new pass"
    );
    world.decline("a");
    assert_eq!(world.offer("b").map(|(_, call)| call), Some(call));
}

#[test]
fn c14_the_longest_wait_lets_the_ring_finish_and_then_ends_the_call() {
    let mut impatient = config();
    impatient.queues[0].max_wait = Some(secs(30));
    let mut world = World::with(impatient);
    let call = world.calls();
    world.pass(secs(25));
    world.available("a");
    world.available("b");
    world.pass(secs(10));
    assert!(matches!(world.state(call), CallState::Offering { .. }));
    world.decline("a");
    assert_eq!(world.end_reason(call), Some(EndReason::QueueTimeout));
    assert_eq!(
        world.outcomes(call),
        [("a".to_owned(), Some(OfferOutcome::Declined))]
    );
    let closed = |event: &&EventKind| matches!(event, EventKind::OfferClosed { .. });
    assert_eq!(
        world.events.iter().filter(closed).count(),
        1,
        "an offer ends once"
    );
    assert_eq!(world.offer("b"), None);
}

#[test]
fn c15_the_wait_ends_when_media_of_both_sides_is_up() {
    let mut world = World::new();
    let call = world.connecting("a");
    world.pass(secs(2));
    world.media(call, Party::Customer);
    world.pass(secs(3));
    world.media(call, agent_party("a"));
    let stay = &world.call(call).segments[0];
    assert_eq!(stay.accepted_at, Some(stay.enqueued_at));
    assert_eq!(stay.connected_at, Some(stay.enqueued_at + secs(5)));
}

#[test]
fn c15_a_customer_who_leaves_before_that_has_abandoned() {
    let mut world = World::new();
    let call = world.connecting("a");
    world.run(Input::HangUp {
        call,
        by: Party::Customer,
    });
    assert_eq!(world.end_reason(call), Some(EndReason::Abandoned));
    assert_eq!(world.actions.last(), Some(&Action::CloseRoom(call)));
}

#[test]
fn c16_a_customer_without_media_for_45_s_is_lost() {
    let mut world = World::new();
    let call = world.talk("a");
    world.media_lost(call, Party::Customer);
    assert!(world.events.contains(&EventKind::LinkLost {
        party: Party::Customer
    }));
    world.pass(secs(44));
    assert_eq!(world.end_reason(call), None);
    world.pass(secs(1));
    assert_eq!(world.end_reason(call), Some(EndReason::CustomerLost));
    assert_eq!(world.agent("a").activity, Activity::Idle);
}

#[test]
fn c17_a_lost_agent_brings_the_customer_without_page_back_into_a_detached_place() {
    let mut world = World::new();
    let call = world.talk("a");
    world.media_lost(call, agent_party("a"));
    world.customer_link(call, false);
    world.pass(secs(45));
    assert!(matches!(
        world.state(call),
        CallState::Queued {
            customer: Link::Grace { .. }
        }
    ));
    world.pass(secs(60));
    assert_eq!(world.end_reason(call), Some(EndReason::Abandoned));
}

#[test]
fn c18_when_both_are_lost_either_may_come_back_until_the_later_deadline() {
    let mut world = World::new();
    let call = world.talk("a");
    world.media_lost(call, agent_party("a"));
    world.pass(secs(30));
    world.media_lost(call, Party::Customer);
    world.pass(secs(44));
    assert_eq!(world.end_reason(call), None);
    world.pass(secs(1));
    assert_eq!(world.end_reason(call), Some(EndReason::BothLost));
}

#[test]
fn c18_the_one_who_comes_back_does_not_wait_longer_for_the_other() {
    let mut world = World::new();
    let call = world.talk("a");
    world.media_lost(call, agent_party("a"));
    world.pass(secs(30));
    world.media_lost(call, Party::Customer);
    world.pass(secs(20));
    world.media(call, Party::Customer);
    world.pass(secs(0));
    assert_eq!(*world.state(call), CallState::Queued { customer: Link::Up });
}

#[test]
fn c20_each_side_the_system_and_nobody_else_can_end_a_talk() {
    for (by, reason) in [
        (Party::Customer, EndReason::Customer),
        (agent_party("a"), EndReason::Agent),
    ] {
        let mut world = World::new();
        let call = world.talk("a");
        assert_eq!(
            world.attempt(Input::HangUp {
                call,
                by: agent_party("b")
            }),
            Err(Refused::NotInCall)
        );
        world.run(Input::HangUp { call, by });
        assert_eq!(world.end_reason(call), Some(reason));
        assert!(
            world
                .call(call)
                .participants
                .iter()
                .all(|one| one.left_at == Some(world.now))
        );
        assert_eq!(world.dispatcher.call(call), None);
    }
    let mut world = World::new();
    let call = world.talk("a");
    world.run(Input::EndCall {
        call,
        reason: EndReason::System,
    });
    assert_eq!(world.end_reason(call), Some(EndReason::System));
    assert_eq!(world.agent("a").activity, Activity::Idle);
}

#[test]
fn c20_ending_a_ringing_call_from_above_stops_the_ringing() {
    let mut world = World::new();
    world.available("a");
    let call = world.calls();
    world.run(Input::EndCall {
        call,
        reason: EndReason::System,
    });
    let cause = CancelCause::System;
    assert_eq!(
        world.outcomes(call),
        [("a".to_owned(), Some(OfferOutcome::Canceled { cause }))]
    );
    assert_eq!(world.agent("a").activity, Activity::Idle);
}

#[test]
fn every_input_about_an_unknown_call_is_refused() {
    let mut world = World::new();
    let call = CallId::from(7);
    let party = Party::Customer;
    for input in [
        Input::CustomerLink { call, up: true },
        Input::HangUp {
            call,
            by: party.clone(),
        },
        Input::MediaUp {
            call,
            party: party.clone(),
        },
        Input::MediaLost {
            call,
            party: party.clone(),
        },
        Input::MediaFailed { call, party },
        Input::EndCall {
            call,
            reason: EndReason::System,
        },
    ] {
        assert_eq!(world.attempt(input), Err(Refused::UnknownCall));
    }
}
