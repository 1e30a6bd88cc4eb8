//! Questions about records that the transitions ask again and again.

use std::time::Duration;

use callkit_core::agent::AgentRecord;
use callkit_core::call::{CallRecord, CallState, Offer, Party, Supervision};
use callkit_core::id::{AgentId, OfferId};
use callkit_core::time::Timestamp;

/// What the dispatcher asks of a call.
pub(crate) trait CallExt {
    /// Who has accepted it.
    fn owner(&self) -> Option<&AgentId>;
    /// An offer of it, of any stay.
    fn offer(&self, id: OfferId) -> Option<&Offer>;
    /// How often it was accepted without both sides' media coming up.
    fn failed_connects(&self) -> usize;
    /// The supervision of `party`, if that is the present supervisor.
    fn supervision_of(&self, party: &Party) -> Option<Supervision>;
}

impl CallExt for CallRecord {
    fn owner(&self) -> Option<&AgentId> {
        match &self.state {
            CallState::Connecting { agent, .. } | CallState::Active { agent, .. } => Some(agent),
            _ => None,
        }
    }

    fn offer(&self, id: OfferId) -> Option<&Offer> {
        self.segments
            .iter()
            .rev()
            .flat_map(|stay| stay.offers.iter().rev())
            .find(|one| one.id == id)
    }

    fn failed_connects(&self) -> usize {
        self.segments
            .iter()
            .rev()
            .take_while(|stay| stay.connected_at.is_none())
            .filter(|stay| stay.accepted_at.is_some())
            .count()
    }

    fn supervision_of(&self, party: &Party) -> Option<Supervision> {
        self.supervisor()
            .filter(|(one, _)| one.party == *party)
            .map(|(_, own)| own)
    }
}

/// What the dispatcher does to an agent in several transitions.
pub(crate) trait AgentExt {
    /// No offers for `pause` from `now` on; an earlier, longer cool-down stays.
    fn cool_down(&mut self, now: Timestamp, pause: Duration);
}

impl AgentExt for AgentRecord {
    fn cool_down(&mut self, now: Timestamp, pause: Duration) {
        if !pause.is_zero() {
            self.cooldown_until = self.cooldown_until.max(Some(now + pause));
        }
    }
}
