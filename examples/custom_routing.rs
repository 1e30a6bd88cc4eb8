//! A company's own routing: the same customer goes to the same operator as long as that one is free, others
//! to the operator who has been free for longest. A policy only orders agents who can take the call; who can
//! is the dispatcher's business, so a mistake here cannot ring at somebody who is busy.
//!
//! Run: `cargo run -p callkit-examples --example custom_routing`

#![expect(clippy::print_stdout, reason = "an example that prints")]

use callkit_core::call::Candidate;
use callkit_core::id::{AgentId, CallId, CustomerId, QueueId};
use callkit_core::time::Timestamp;
use callkit_routing::policy::{AgentView, LongestIdle, PoolSnapshot, RoutingPolicy, WaitingCall};

/// Each customer has a favourite agent, found by hashing: no table to keep, and with the favourite away the
/// next one in the customer's own order takes over.
#[derive(Debug, Default)]
struct SameAgent;

impl SameAgent {
    /// How much of a favourite `agent` is: equal on every machine and after every restart.
    fn affinity(customer: CustomerId, agent: &AgentId) -> i64 {
        // FNV-1a over both names: `std`'s hasher may change between versions of Rust.
        let bytes = customer.as_u128().to_le_bytes();
        let hash = bytes
            .iter()
            .chain(agent.as_str().as_bytes())
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        i64::try_from(hash >> 1).unwrap_or(i64::MAX)
    }
}

impl RoutingPolicy for SameAgent {
    fn name(&self) -> &str {
        "same_agent"
    }

    fn rank(
        &self,
        now: Timestamp,
        call: &WaitingCall,
        pool: &PoolSnapshot<'_>,
        at_most: usize,
    ) -> Vec<Candidate> {
        let score = |agent: &AgentView<'_>| Self::affinity(call.customer, agent.id);
        let Some(favourite) = pool.agents.iter().max_by_key(|agent| (score(agent), agent.id)) else {
            return Vec::new();
        };
        // The favourite first, then whoever has been free for longest.
        let first = Candidate {
            agent: favourite.id.clone(),
            score: score(favourite),
        };
        let others = LongestIdle.rank(now, call, pool, at_most).into_iter();
        std::iter::once(first)
            .chain(others.filter(|one| one.agent != *favourite.id))
            .take(at_most)
            .collect()
    }
}

fn main() -> Result<(), callkit_core::id::InvalidId> {
    // The laws that every policy has to keep: pure, independent of the pool's order, within the pool.
    callkit_routing::testing::check_policy(&SameAgent);

    let names = [
        AgentId::new("irina")?,
        AgentId::new("oleg")?,
        AgentId::new("vera")?,
    ];
    let view = |id| AgentView {
        id,
        idle_since: Timestamp::from_millis(30),
    };
    let pool = PoolSnapshot {
        agents: names.iter().map(view).collect(),
    };
    for customer in 1..=5 {
        let call = WaitingCall {
            id: CallId::from(customer),
            queue: QueueId::new("support")?,
            customer: CustomerId::from(customer),
            priority: 0,
            enqueued_at: Timestamp::from_millis(0),
        };
        let ranked = SameAgent.rank(Timestamp::from_millis(100), &call, &pool, 3);
        let names: Vec<_> = ranked.iter().map(|one| one.agent.as_str()).collect();
        println!("customer {customer}: {}", names.join(", then "));
    }
    // In a server: App::builder(config).with_policy(Arc::new(SameAgent)).start().await
    Ok(())
}
