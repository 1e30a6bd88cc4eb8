//! Longest idle: the agent who has been free for longest gets the call.

use callkit_core::call::Candidate;
use callkit_core::time::Timestamp;

use super::{PoolSnapshot, RoutingPolicy, WaitingCall};

/// The agent who has been free for longest gets the call; equal ones by agent id. The score is the idle
/// time in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct LongestIdle;

impl RoutingPolicy for LongestIdle {
    fn name(&self) -> &str {
        "longest_idle"
    }

    fn rank(
        &self,
        now: Timestamp,
        _call: &WaitingCall,
        pool: &PoolSnapshot<'_>,
        at_most: usize,
    ) -> Vec<Candidate> {
        let mut agents = pool.agents.clone();
        agents.sort_unstable_by(|a, b| (a.idle_since, a.id).cmp(&(b.idle_since, b.id)));
        agents
            .into_iter()
            .take(at_most)
            .map(|agent| {
                let idle = now.since(agent.idle_since).as_millis();
                Candidate {
                    agent: agent.id.clone(),
                    score: i64::try_from(idle).unwrap_or(i64::MAX),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_policy;

    #[test]
    fn longest_idle_keeps_the_laws_of_a_policy() {
        check_policy(&LongestIdle);
    }

    #[test]
    fn the_longest_idle_agent_comes_first_and_ties_go_by_id() {
        let agents = crate::testing::agents(&[("c", 5), ("b", 3), ("a", 5)]);
        let pool = crate::testing::pool(&agents);
        let ranked = LongestIdle.rank(
            Timestamp::from_millis(10),
            &crate::testing::waiting_call(),
            &pool,
            10,
        );
        let names: Vec<_> = ranked.iter().map(|one| (one.agent.as_str(), one.score)).collect();
        assert_eq!(names, [("b", 7), ("a", 5), ("c", 5)]);
    }
}
