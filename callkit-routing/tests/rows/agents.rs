//! Rows A1-A18: what becomes of an agent.

use callkit_core::agent::{Activity, Link, Presence};
use callkit_core::call::{CallState, CancelCause, EndReason, OfferOutcome, Party};
use callkit_core::event::EventKind;
use callkit_routing::{Action, Input, Refused};

use crate::world::{World, agent_id, agent_party, secs};

fn canceled(cause: CancelCause) -> Option<OfferOutcome> {
    Some(OfferOutcome::Canceled { cause })
}

fn away() -> Presence {
    Presence::Away {
        reason: Some("lunch".to_owned()),
    }
}

#[test]
fn a01_a_match_reserves_the_agent_and_the_call_together() {
    let mut world = World::new();
    world.available("a");
    let call = world.calls();
    let (offer, reserved) = world.offer("a").unwrap();
    assert_eq!(reserved, call);
    assert_eq!(
        *world.state(call),
        CallState::Offering {
            offer,
            agent: agent_id("a")
        }
    );
    assert_eq!(world.offers(call)[0].deadline, world.now + secs(20));
    assert!(world.actions.contains(&Action::OfferMade {
        offer,
        agent: agent_id("a"),
        call
    }));
    let stored = &world.offers(call)[0].because;
    assert_eq!(
        (
            stored.policy.as_str(),
            stored.candidates.len(),
            stored.excluded.len()
        ),
        ("longest_idle", 1, 3)
    );
    assert_eq!(world.dispatcher.offer_of(&agent_id("a")).unwrap().id, offer);
}

#[test]
fn a02_accepting_binds_the_agent_and_opens_the_room_before_anybody_is_told() {
    let mut world = World::new();
    let call = world.connecting("a");
    assert_eq!(world.agent("a").activity, Activity::Connecting { call });
    assert_eq!(
        world.outcomes(call),
        [("a".to_owned(), Some(OfferOutcome::Accepted))]
    );
    assert!(world.call(call).participant(&agent_party("a")).is_some());
    let at = |wanted: &Action| world.actions.iter().position(|action| action == wanted).unwrap();
    assert!(at(&Action::OpenRoom(call)) < at(&Action::CallChanged(call)));
}

#[test]
fn a02_accepting_after_the_deadline_is_refused_even_before_the_tick() {
    let mut world = World::new();
    world.available("a");
    let call = world.calls();
    let (offer, _) = world.offer("a").unwrap();
    world.jump(secs(20));
    let late = world.attempt(Input::Accept {
        agent: agent_id("a"),
        offer,
    });
    assert_eq!(
        late,
        Err(Refused::OfferClosed {
            call: Some(call),
            owner: None,
            outcome: None
        })
    );
}

#[test]
fn a02_accepting_what_another_took_tells_who_has_it() {
    let mut world = World::new();
    world.available("a");
    let call = world.calls();
    let (offer, _) = world.offer("a").unwrap();
    world.available("b");
    world.pass(secs(20));
    world.accept("b");
    let late = world.attempt(Input::Accept {
        agent: agent_id("a"),
        offer,
    });
    let outcome = Some(OfferOutcome::Missed);
    assert_eq!(
        late,
        Err(Refused::OfferClosed {
            call: Some(call),
            owner: Some(agent_id("b")),
            outcome
        })
    );
    let stranger = world.attempt(Input::Accept {
        agent: agent_id("c"),
        offer,
    });
    assert_eq!(
        stranger,
        Err(Refused::OfferClosed {
            call: None,
            owner: None,
            outcome: None
        })
    );
}

#[test]
fn a03_declined_offer_requeues_at_original_place_and_cools_the_agent_down() {
    let mut world = World::new();
    world.available("a");
    let call = world.calls();
    world.pass(secs(1));
    let later = world.calls();
    world.pass(secs(1));
    let asked = world.call(call).enqueued_at;
    world.decline("a");
    assert_eq!(*world.state(call), CallState::Queued { customer: Link::Up });
    assert_eq!(world.call(call).enqueued_at, asked);
    assert_eq!(
        (world.dispatcher.position(call), world.dispatcher.position(later)),
        (Some(1), Some(2))
    );
    assert_eq!(world.agent("a").idle_since, world.now);
    assert_eq!(world.agent("a").cooldown_until, Some(world.now + secs(5)));
    assert_eq!(world.agent("a").misses, 0);
    world.pass(secs(4));
    assert_eq!(world.offer("a"), None);
    world.pass(secs(1));
    assert_eq!(world.offer("a").map(|(_, call)| call), Some(call));
}

#[test]
fn a04_missed_offer_goes_to_the_next_agent_at_once() {
    let mut world = World::new();
    world.available("a");
    world.pass(secs(1));
    world.available("b");
    let call = world.calls();
    world.pass(secs(20));
    assert_eq!(world.offer("b").map(|(_, call)| call), Some(call));
    assert_eq!(world.agent("a").activity, Activity::Idle);
    assert_eq!(
        (world.agent("a").misses, world.agent("a").idle_since),
        (1, world.now)
    );
}

#[test]
fn a04_three_misses_in_a_row_make_the_agent_not_responding() {
    let mut world = World::new();
    world.available("a");
    let call = world.calls();
    world.pass(secs(59));
    assert_eq!(world.agent("a").presence, Presence::Available);
    world.pass(secs(1));
    assert_eq!(world.agent("a").presence, Presence::NotResponding);
    assert_eq!(*world.state(call), CallState::Queued { customer: Link::Up });
    assert!(world.events.contains(&EventKind::AgentPresence {
        agent: agent_id("a"),
        presence: Presence::NotResponding
    }));
}

#[test]
fn a04_misses_count_only_in_a_row() {
    let mut world = World::new();
    world.available("a");
    world.calls();
    world.pass(secs(45));
    assert_eq!(world.agent("a").misses, 2);
    world.decline("a");
    assert_eq!(world.agent("a").misses, 0);
}

#[test]
fn a05_customer_hangup_while_ringing_frees_the_agent_at_no_cost() {
    let mut world = World::new();
    world.available("a");
    let before = world.agent("a").clone();
    world.pass(secs(3));
    let call = world.calls();
    world.pass(secs(7));
    world.run(Input::HangUp {
        call,
        by: Party::Customer,
    });
    let after = world.agent("a");
    assert_eq!(after.activity, Activity::Idle);
    assert_eq!(
        (after.idle_since, after.misses, after.cooldown_until),
        (before.idle_since, 0, None)
    );
    assert_eq!(
        world.outcomes(call),
        [("a".to_owned(), canceled(CancelCause::CustomerLeft))]
    );
    assert_eq!(world.end_reason(call), Some(EndReason::Abandoned));
}

#[test]
fn a06_going_away_while_it_rings_is_no_miss_and_the_call_goes_on() {
    let mut world = World::new();
    world.available("a");
    world.pass(secs(1));
    world.available("b");
    let call = world.calls();
    world.presence("a", away());
    assert_eq!(
        world.outcomes(call)[0],
        ("a".to_owned(), canceled(CancelCause::AgentAway))
    );
    assert_eq!(
        (world.agent("a").misses, &world.agent("a").presence),
        (0, &away())
    );
    assert_eq!(world.offer("b").map(|(_, call)| call), Some(call));
}

#[test]
fn a07_a_console_lost_for_5_s_while_ringing_is_unreachable_not_a_miss() {
    let mut world = World::new();
    world.available("a");
    let call = world.calls();
    world.agent_link("a", false);
    world.pass(secs(4));
    assert!(world.offer("a").is_some());
    world.pass(secs(1));
    assert_eq!(
        world.outcomes(call),
        [("a".to_owned(), canceled(CancelCause::Unreachable))]
    );
    assert_eq!(
        (world.agent("a").misses, &world.agent("a").presence),
        (0, &Presence::Available)
    );
    world.pass(secs(54));
    assert_eq!(world.agent("a").presence, Presence::Available);
    world.pass(secs(1));
    assert_eq!(
        (&world.agent("a").presence, world.agent("a").link),
        (&Presence::Offline, Link::Down)
    );
}

#[test]
fn a07_a_console_that_is_back_within_5_s_keeps_ringing() {
    let mut world = World::new();
    world.available("a");
    world.calls();
    world.agent_link("a", false);
    world.pass(secs(4));
    world.agent_link("a", true);
    world.pass(secs(10));
    world.accept("a");
}

#[test]
fn a07_an_idle_agent_without_console_gets_nothing_and_comes_back_as_before() {
    let mut world = World::new();
    world.available("a");
    world.agent_link("a", false);
    let call = world.calls();
    world.pass(secs(59));
    assert_eq!(world.offer("a"), None);
    world.agent_link("a", true);
    assert_eq!(world.offer("a").map(|(_, call)| call), Some(call));
}

#[test]
fn a08_media_of_both_sides_starts_the_talk() {
    let mut world = World::new();
    let call = world.connecting("a");
    world.media(call, agent_party("a"));
    assert!(matches!(
        world.state(call),
        CallState::Connecting {
            agent_media: true,
            customer_media: false,
            ..
        }
    ));
    world.media(call, Party::Customer);
    assert_eq!(world.agent("a").activity, Activity::InCall { call });
    assert!(
        world
            .events
            .contains(&EventKind::CallStarted { agent: agent_id("a") })
    );
}

#[test]
fn a09_a_call_that_does_not_connect_in_15_s_returns_to_the_top_of_its_queue() {
    let mut world = World::new();
    let call = world.connecting("a");
    let asked = world.call(call).enqueued_at;
    let urgent = world.calls_in("main", 200);
    world.media(call, Party::Customer);
    world.pass(secs(15));
    assert_eq!(*world.state(call), CallState::Queued { customer: Link::Up });
    assert_eq!(world.call(call).enqueued_at, asked);
    assert_eq!(
        (world.dispatcher.position(call), world.dispatcher.position(urgent)),
        (Some(1), Some(2))
    );
    assert_eq!(world.agent("a").activity, Activity::Idle);
    assert!(world.call(call).participant(&agent_party("a")).is_none());
    assert!(world.actions.contains(&Action::CloseRoom(call)));
    assert_eq!(world.call(call).segments.len(), 2);
    assert_eq!(world.offer("a"), None, "a browser that just failed is left alone");
}

#[test]
fn a09_failed_media_of_the_agent_takes_the_call_to_another_agent() {
    let mut world = World::new();
    let call = world.connecting("a");
    world.available("b");
    world.run(Input::MediaFailed {
        call,
        party: agent_party("a"),
    });
    assert_eq!(world.offer("b").map(|(_, call)| call), Some(call));
}

#[test]
fn a09_failed_media_of_the_customer_ends_the_call() {
    let mut world = World::new();
    let call = world.connecting("a");
    world.run(Input::MediaFailed {
        call,
        party: Party::Customer,
    });
    assert_eq!(world.end_reason(call), Some(EndReason::MediaFailed));
    assert_eq!(world.agent("a").activity, Activity::Idle);
}

#[test]
fn a09_a_call_that_fails_with_three_agents_is_given_up() {
    let mut world = World::new();
    let call = world.connecting("a");
    for name in ["b", "c"] {
        world.available(name);
        world.pass(secs(15));
        world.accept(name);
    }
    world.pass(secs(15));
    assert_eq!(world.end_reason(call), Some(EndReason::MediaFailed));
}

#[test]
fn a10_the_end_of_a_call_frees_the_agent_at_once_without_wrap_up() {
    let mut world = World::new();
    let call = world.talk("a");
    let waiting = world.calls();
    world.pass(secs(30));
    world.run(Input::HangUp {
        call,
        by: agent_party("a"),
    });
    assert_eq!(world.end_reason(call), Some(EndReason::Agent));
    assert_eq!(world.offer("a").map(|(_, call)| call), Some(waiting));
    assert_eq!(world.agent("a").idle_since, world.now);
}

#[test]
fn a11_an_agent_without_media_for_45_s_loses_the_call_to_the_top_of_the_queue() {
    let mut world = World::new();
    let call = world.talk("a");
    world.media_lost(call, agent_party("a"));
    world.pass(secs(44));
    assert!(matches!(
        world.state(call),
        CallState::Active {
            agent_link: Link::Grace { .. },
            ..
        }
    ));
    world.available("b");
    world.pass(secs(1));
    assert_eq!(world.offer("b").map(|(_, call)| call), Some(call));
    assert_eq!(world.agent("a").activity, Activity::Idle);
    assert_eq!(world.call(call).priority, u8::MAX);
}

#[test]
fn a11_a_lost_socket_alone_does_not_touch_the_talk() {
    let mut world = World::new();
    let call = world.talk("a");
    world.agent_link("a", false);
    world.customer_link(call, false);
    let before = world.state(call).clone();
    world.pass(secs(300));
    assert_eq!(*world.state(call), before);
    assert_eq!(world.agent("a").presence, Presence::Available);
    world.run(Input::HangUp {
        call,
        by: Party::Customer,
    });
    assert_eq!(
        world.agent("a").presence,
        Presence::Offline,
        "nobody is at the console"
    );
}

#[test]
fn a11_media_that_comes_back_restores_the_talk() {
    let mut world = World::new();
    let call = world.talk("a");
    world.media_lost(call, agent_party("a"));
    world.pass(secs(44));
    world.media(call, agent_party("a"));
    world.pass(secs(100));
    assert!(matches!(
        world.state(call),
        CallState::Active {
            agent_link: Link::Up,
            ..
        }
    ));
    assert!(world.events.contains(&EventKind::LinkRestored {
        party: agent_party("a")
    }));
}

#[test]
fn a12_a_presence_chosen_in_a_call_waits_for_its_end() {
    let mut world = World::new();
    let call = world.talk("a");
    world.presence("a", away());
    assert_eq!(world.agent("a").presence, Presence::Available);
    assert_eq!(world.agent("a").pending_presence, Some(away()));
    world.run(Input::HangUp {
        call,
        by: Party::Customer,
    });
    assert_eq!(world.agent("a").presence, away());
    assert_eq!(world.agent("a").pending_presence, None);
}

#[test]
fn a12_a_pending_presence_can_be_taken_back() {
    let mut world = World::new();
    let call = world.talk("a");
    world.presence("a", away());
    world.presence("a", Presence::Available);
    world.calls();
    world.run(Input::HangUp {
        call,
        by: Party::Customer,
    });
    assert!(world.offer("a").is_some());
}

#[test]
fn a13_wrap_up_ends_by_itself_or_by_the_agent_and_holds_calls_off() {
    for early in [true, false] {
        let mut world = World::new();
        world.available("d");
        let call = world.calls_in("side", 0);
        world.accept("d");
        world.media(call, Party::Customer);
        world.media(call, agent_party("d"));
        let next = world.calls_in("side", 0);
        world.run(Input::HangUp {
            call,
            by: Party::Customer,
        });
        assert!(matches!(world.agent("d").activity, Activity::WrapUp { .. }));
        if early {
            world.run(Input::WrapUpDone { agent: agent_id("d") });
        } else {
            world.pass(secs(29));
            assert_eq!(world.offer("d"), None);
            world.pass(secs(1));
        }
        assert_eq!(world.offer("d").map(|(_, call)| call), Some(next));
        assert_eq!(
            world.attempt(Input::WrapUpDone { agent: agent_id("d") }),
            Err(Refused::NotInWrapUp)
        );
    }
}

#[test]
fn a16_not_responding_ends_when_the_agent_says_so() {
    let mut world = World::new();
    world.available("a");
    let call = world.calls();
    world.pass(secs(60));
    assert_eq!(world.offer("a"), None);
    world.presence("a", Presence::Available);
    assert_eq!(world.offer("a").map(|(_, call)| call), Some(call));
    assert_eq!(world.agent("a").misses, 0);
    let own = world.attempt(Input::SetPresence {
        agent: agent_id("b"),
        presence: Presence::NotResponding,
    });
    assert_eq!(own, Err(Refused::InvalidPresence));
}

#[test]
fn a17_a_second_console_gets_no_second_offer() {
    let mut world = World::new();
    world.available("a");
    world.calls();
    let first = world.offer("a");
    world.calls();
    world.agent_link("a", true);
    world.presence("a", Presence::Available);
    assert_eq!(world.offer("a"), first);
}

#[test]
fn presence_needs_a_console_and_a_short_reason() {
    let mut world = World::new();
    let available = Input::SetPresence {
        agent: agent_id("a"),
        presence: Presence::Available,
    };
    assert_eq!(world.attempt(available), Err(Refused::NotConnected));
    world.agent_link("a", true);
    let reason = Some("x".repeat(101));
    let long = Input::SetPresence {
        agent: agent_id("a"),
        presence: Presence::Away { reason },
    };
    assert_eq!(world.attempt(long), Err(Refused::InvalidPresence));
    let unknown = Input::AgentLink {
        agent: agent_id("nobody"),
        up: true,
    };
    assert_eq!(world.attempt(unknown), Err(Refused::UnknownAgent));
}
