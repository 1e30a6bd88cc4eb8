//! Several inputs in one commit, and what a dispatcher does with a policy that errs.

use std::sync::Arc;

use callkit_core::call::{CallState, Candidate, Party};
use callkit_core::id::IdSource;
use callkit_core::time::Timestamp;
use callkit_routing::policy::{PoolSnapshot, WaitingCall};
use callkit_routing::{Dispatcher, Effects, Input, RoutingPolicy};

use crate::world::{World, agent_id, secs};

#[test]
fn a_record_changed_several_times_in_a_batch_is_written_once_from_its_version_before() {
    let mut world = World::new();
    world.available("a");
    let call = world.calls();
    let before = world.call(call).version;
    let (offer, _) = world.offer("a").unwrap();
    let mut fx = Effects::default();
    for input in [
        Input::Accept {
            agent: agent_id("a"),
            offer,
        },
        Input::MediaUp {
            call,
            party: Party::Customer,
        },
        Input::HangUp {
            call,
            by: Party::Customer,
        },
    ] {
        world.dispatcher.handle(world.now, input, &mut fx).unwrap();
    }
    assert_eq!(fx.commit.calls.len(), 1);
    assert_eq!(
        (fx.commit.calls[0].expect, fx.commit.calls[0].next.version),
        (before, before + 1)
    );
    assert!(fx.call(call).is_some_and(|record| record.is_ended()));
    let seqs: Vec<_> = fx
        .commit
        .events
        .iter()
        .filter_map(|event| event.call)
        .map(|at| at.seq)
        .collect();
    assert_eq!(seqs, [3, 4], "numbers go on without a gap");
    world.perform(fx);
}

#[derive(Debug)]
struct Nobody;

impl RoutingPolicy for Nobody {
    fn name(&self) -> &str {
        "nobody"
    }

    fn rank(
        &self,
        _now: Timestamp,
        _call: &WaitingCall,
        _pool: &PoolSnapshot<'_>,
        _at_most: usize,
    ) -> Vec<Candidate> {
        Vec::new()
    }
}

#[derive(Debug)]
struct Stranger;

impl RoutingPolicy for Stranger {
    fn name(&self) -> &str {
        "stranger"
    }

    fn rank(
        &self,
        _now: Timestamp,
        _call: &WaitingCall,
        pool: &PoolSnapshot<'_>,
        _at_most: usize,
    ) -> Vec<Candidate> {
        let strangers = ["b", "nobody"].map(|name| Candidate {
            agent: agent_id(name),
            score: 1,
        });
        let known = pool.agents.iter().map(|agent| Candidate {
            agent: agent.id.clone(),
            score: 0,
        });
        strangers.into_iter().chain(known).collect()
    }
}

#[test]
fn a_policy_that_names_nobody_leaves_the_call_waiting() {
    let mut world = World::new();
    world.dispatcher = Dispatcher::new(&world.config, Arc::new(Nobody), IdSource::seeded(1));
    world.available("a");
    let call = world.calls();
    assert!(matches!(world.state(call), CallState::Queued { .. }));
    world.pass(secs(100));
}

#[test]
fn a_policy_cannot_reach_agents_who_cannot_get_the_call() {
    let mut world = World::new();
    world.dispatcher = Dispatcher::new(&world.config, Arc::new(Stranger), IdSource::seeded(1));
    world.available("a");
    let call = world.calls();
    assert_eq!(world.offer("a").map(|(_, call)| call), Some(call));
}
