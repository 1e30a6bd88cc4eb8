//! Laws that every [`RoutingPolicy`] has to pass.

use std::collections::BTreeSet;

use callkit_core::id::{AgentId, CallId, CustomerId, IdSource, QueueId};
use callkit_core::time::Timestamp;

use crate::policy::{AgentView, PoolSnapshot, RoutingPolicy, WaitingCall};

/// Agents with the given names, idle since so many milliseconds after the epoch.
///
/// # Panics
/// If a name is not an agent id.
#[must_use]
pub fn agents(agents: &[(&str, u64)]) -> Vec<(AgentId, Timestamp)> {
    let agent = |&(name, since): &(&str, u64)| {
        (
            AgentId::new(name).expect("a test names agents validly"),
            Timestamp::from_millis(since),
        )
    };
    agents.iter().map(agent).collect()
}

/// A pool of these agents.
#[must_use]
pub fn pool(agents: &[(AgentId, Timestamp)]) -> PoolSnapshot<'_> {
    let view = |(id, since)| AgentView {
        id,
        idle_since: since,
    };
    PoolSnapshot {
        agents: agents.iter().map(|(id, since)| view((id, *since))).collect(),
    }
}

/// A call that waits in the queue `main`.
///
/// # Panics
/// Never: `main` is a queue id.
#[must_use]
pub fn waiting_call() -> WaitingCall {
    WaitingCall {
        id: CallId::from(1),
        queue: QueueId::new("main").expect("main is a queue id"),
        customer: CustomerId::from(1),
        priority: 0,
        enqueued_at: Timestamp::from_millis(0),
    }
}

/// Checks the contract of [`RoutingPolicy`] on 200 random pools.
///
/// # Panics
/// If the policy breaks a law; the message names it.
pub fn check_policy(policy: &dyn RoutingPolicy) {
    assert!(!policy.name().is_empty(), "a policy has a name");
    let mut random = IdSource::seeded(1);
    let call = waiting_call();
    for round in 0..200 {
        let now = Timestamp::from_millis(10_000 + random.next_u64() % 10_000);
        let agents: Vec<_> = (0..random.next_u64() % 20)
            .map(|number| {
                let id = AgentId::new(&format!("agent-{number}")).expect("digits and a hyphen are allowed");
                // Few distinct times, so that ties are common; some ahead of `now`.
                (id, Timestamp::from_millis((random.next_u64() % 8) * 3_000))
            })
            .collect();
        let pool = pool(&agents);
        let rank = |pool: &PoolSnapshot<'_>| policy.rank(now, &call, pool, usize::MAX);
        let ranked = rank(&pool);
        assert_eq!(
            ranked,
            rank(&pool),
            "pure: round {round} was answered in two ways"
        );
        let cut = policy.rank(now, &call, &pool, 3);
        assert_eq!(
            cut,
            ranked[..ranked.len().min(3)],
            "cut, not changed: round {round} differs"
        );

        let known: BTreeSet<_> = pool.agents.iter().map(|agent| agent.id).collect();
        let named: BTreeSet<_> = ranked.iter().map(|one| &one.agent).collect();
        assert!(
            named.is_subset(&known),
            "within the pool: round {round} names a stranger"
        );
        assert_eq!(
            named.len(),
            ranked.len(),
            "within the pool: round {round} names an agent twice"
        );
        assert!(
            pool.agents.is_empty() || !ranked.is_empty(),
            "work conserving: round {round} names nobody"
        );

        let mut shuffled = pool.clone();
        for last in (1..shuffled.agents.len()).rev() {
            let other = random.next_u64() % (last as u64 + 1);
            shuffled.agents.swap(last, usize::try_from(other).unwrap_or(0));
        }
        assert_eq!(
            ranked,
            rank(&shuffled),
            "independent of order: round {round} differs"
        );
    }
}

#[cfg(test)]
mod tests {
    use callkit_core::call::Candidate;

    use super::*;

    /// A policy made of a function, wrong in one way each.
    #[derive(Debug)]
    struct Wrong(fn(&PoolSnapshot<'_>) -> Vec<AgentId>);

    impl RoutingPolicy for Wrong {
        fn name(&self) -> &str {
            "wrong"
        }

        fn rank(
            &self,
            _now: Timestamp,
            _call: &WaitingCall,
            pool: &PoolSnapshot<'_>,
            at_most: usize,
        ) -> Vec<Candidate> {
            let candidate = |agent| Candidate { agent, score: 0 };
            (self.0)(pool).into_iter().take(at_most).map(candidate).collect()
        }
    }

    #[test]
    #[should_panic(expected = "work conserving")]
    fn the_laws_catch_a_policy_that_names_nobody() {
        check_policy(&Wrong(|_| Vec::new()));
    }

    #[test]
    #[should_panic(expected = "within the pool")]
    fn the_laws_catch_a_policy_that_names_a_stranger() {
        check_policy(&Wrong(|_| {
            agents(&[("stranger", 0)]).into_iter().map(|(id, _)| id).collect()
        }));
    }

    #[test]
    #[should_panic(expected = "independent of order")]
    fn the_laws_catch_a_policy_that_takes_the_pool_as_it_comes() {
        check_policy(&Wrong(|pool| {
            pool.agents.iter().map(|one| one.id.clone()).collect()
        }));
    }
}
