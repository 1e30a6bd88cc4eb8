//! Faults made on purpose, to see that the checker sees them.

use std::sync::Arc;

use callkit_core::agent::{Activity, AgentRecord};
use callkit_core::call::{CallRecord, CallState, Candidate, Party};
use callkit_core::time::Timestamp;
use callkit_routing::policy::{PoolSnapshot, WaitingCall};
use callkit_routing::{Input, LongestIdle, RoutingPolicy};

/// Something made wrong on purpose, to see that the checker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A policy that takes whoever was idle for the shortest time.
    ShortestIdle,
    /// A policy that never names anybody.
    NamesNobody,
    /// A store that forgets a waiting call over a restart.
    LosesCall,
    /// A store that gives a waiting call a new age over a restart.
    RenewsPlace,
    /// A dispatcher that binds an agent to two calls.
    DoubleBooking,
    /// A dispatcher that counts a customer's leaving as a miss.
    CountsAsMiss,
    /// A dispatcher that sets an agent back in the order of idleness.
    IdleGoesBack,
    /// A dispatcher that connects offers after their end.
    LateAccept,
    /// A dispatcher that leaves an agent ringing without an offer.
    StuckAgent,
    /// A dispatcher that seats a fourth person.
    FourthPerson,
    /// A dispatcher that leaves a supervisor busy whose call is over for him.
    LingeringThird,
}

impl Fault {
    pub(crate) const ALL: [Self; 11] = [
        Self::ShortestIdle,
        Self::NamesNobody,
        Self::LosesCall,
        Self::RenewsPlace,
        Self::DoubleBooking,
        Self::CountsAsMiss,
        Self::IdleGoesBack,
        Self::LateAccept,
        Self::StuckAgent,
        Self::FourthPerson,
        Self::LingeringThird,
    ];

    /// The invariants that the fault breaks.
    pub(crate) fn seen_by(self) -> &'static [&'static str] {
        match self {
            Self::ShortestIdle | Self::IdleGoesBack => &["I10"],
            Self::NamesNobody => &["I6"],
            Self::LosesCall => &["I14"],
            Self::RenewsPlace => &["I8", "I14"],
            Self::DoubleBooking => &["I1"],
            Self::CountsAsMiss => &["I13"],
            Self::LateAccept => &["I19"],
            Self::StuckAgent | Self::LingeringThird => &["I4"],
            Self::FourthPerson => &["I11"],
        }
    }

    /// Falsifies what the checker is shown of the dispatcher after `input`.
    pub(crate) fn falsify(self, input: &Input, calls: &mut [CallRecord], agents: &mut [AgentRecord]) {
        match self {
            Self::DoubleBooking => {
                let other = agents.iter().find_map(|agent| agent.activity.call());
                let busy = calls
                    .iter()
                    .find(|call| Some(call.id) == other)
                    .map(|call| call.state.clone());
                let waiting = calls
                    .iter_mut()
                    .find(|call| matches!(call.state, CallState::Queued { .. }));
                if let (Some(state @ CallState::Active { .. }), Some(waiting)) = (busy, waiting) {
                    waiting.state = state;
                    waiting.participants.extend(waiting.participants.clone());
                    // Only the binding is wrong, not the person's presence in the call.
                    if let (CallState::Active { agent, .. }, Some(last)) =
                        (&waiting.state, waiting.participants.last_mut())
                    {
                        last.party = Party::Agent(agent.clone());
                    }
                    if let Some(stay) = waiting.segments.last_mut() {
                        stay.connected_at = Some(stay.enqueued_at);
                    }
                }
            }
            Self::CountsAsMiss => {
                if matches!(
                    input,
                    Input::HangUp {
                        by: Party::Customer,
                        ..
                    }
                ) {
                    agents.iter_mut().for_each(|agent| agent.misses += 1);
                }
            }
            Self::IdleGoesBack => {
                if matches!(input, Input::HangUp { .. }) {
                    agents
                        .iter_mut()
                        .for_each(|agent| agent.idle_since = Timestamp::default());
                }
            }
            Self::StuckAgent => {
                if let (Input::Decline { offer, agent }, Some(call)) = (input, calls.first()) {
                    for one in agents.iter_mut().filter(|one| one.id == *agent) {
                        one.activity = Activity::Reserved {
                            offer: *offer,
                            call: call.id,
                        };
                    }
                }
            }
            Self::LingeringThird => {
                if let Input::SuperviseLeave { agent, call } = input {
                    for one in agents
                        .iter_mut()
                        .filter(|one| one.id == *agent && one.activity == Activity::Idle)
                    {
                        one.activity = Activity::Supervising { call: *call };
                    }
                }
            }
            Self::FourthPerson => {
                for call in calls
                    .iter_mut()
                    .filter(|call| matches!(call.state, CallState::Active { .. }))
                {
                    call.participants.extend(call.participants.clone());
                }
            }
            _ => {}
        }
    }
}

/// The policy of a run.
pub(crate) fn policy(fault: Option<Fault>) -> Arc<dyn RoutingPolicy> {
    match fault {
        Some(fault @ (Fault::ShortestIdle | Fault::NamesNobody)) => Arc::new(WrongPolicy(fault)),
        _ => Arc::new(LongestIdle),
    }
}

/// A policy that is wrong on purpose.
#[derive(Debug)]
struct WrongPolicy(Fault);

impl RoutingPolicy for WrongPolicy {
    fn name(&self) -> &str {
        "wrong"
    }

    fn rank(
        &self,
        now: Timestamp,
        call: &WaitingCall,
        pool: &PoolSnapshot<'_>,
        at_most: usize,
    ) -> Vec<Candidate> {
        let mut ranked = LongestIdle.rank(now, call, pool, at_most);
        if self.0 == Fault::NamesNobody {
            ranked.clear();
        }
        ranked.reverse();
        ranked
    }
}
