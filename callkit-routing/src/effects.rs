//! [`Effects`]: what a batch of inputs changed, to be written first and performed after.

use std::collections::BTreeMap;

use callkit_core::agent::AgentRecord;
use callkit_core::call::{CallRecord, OfferOutcome};
use callkit_core::chat::ChatMessage;
use callkit_core::id::{AgentId, CallId, OfferId, ParticipantId, QueueId};
use callkit_core::store::{Change, Commit};

/// Something to do once the commit is durable. Serves as a wake-up, not as state: a driver that lost one
/// finds everything in the dispatcher's getters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Show the call as it is to those who see it. An ended call is in [`Effects::call`] only.
    CallChanged(CallId),
    /// Show the agent as it is.
    AgentChanged(AgentId),
    /// Positions or counts of the queue changed.
    QueueChanged(QueueId),
    /// Ring.
    OfferMade {
        /// The offer.
        offer: OfferId,
        /// At whom.
        agent: AgentId,
        /// For which call.
        call: CallId,
    },
    /// Stop ringing.
    OfferClosed {
        /// The offer.
        offer: OfferId,
        /// At whom.
        agent: AgentId,
        /// For which call.
        call: CallId,
        /// Why.
        outcome: OfferOutcome,
    },
    /// Make the media room; comes before the change that tells people to join it.
    OpenRoom(CallId),
    /// Close the media room with all its transports; comes after the change that tells people why.
    CloseRoom(CallId),
    /// Take one person's transports out of a room that stays open for the others.
    DropParticipant {
        /// The call.
        call: CallId,
        /// Who.
        participant: ParticipantId,
    },
    /// Show a chat message; a repeated one is the author's retry, and is the same message.
    ChatAdded(ChatMessage),
}

/// The effects of one batch: one or several inputs, one commit.
///
/// Use a fresh value per batch. A record that changed several times in the batch is in the commit once,
/// with the version from before the batch as expectation and one version more as result.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be written, all or nothing, before any action is performed.
    pub commit: Commit,
    /// To be performed in this order after the commit.
    pub actions: Vec<Action>,
    calls: BTreeMap<CallId, usize>,
    agents: BTreeMap<AgentId, usize>,
}

impl Effects {
    /// Whether there is nothing to write and nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commit.is_empty() && self.actions.is_empty()
    }

    /// The call as this batch leaves it, if the batch changed it: the way to a call that has ended.
    #[must_use]
    pub fn call(&self, id: CallId) -> Option<&CallRecord> {
        let at = *self.calls.get(&id)?;
        self.commit
            .calls
            .get(at)
            .map(|change| &change.next)
            .filter(|call| call.id == id)
    }

    pub(crate) fn put_call(&mut self, record: &mut CallRecord) {
        let known = self
            .calls
            .get(&record.id)
            .and_then(|at| self.commit.calls.get_mut(*at));
        if let Some(known) = known.filter(|known| known.next.id == record.id) {
            known.next = record.clone();
            return;
        }
        let expect = record.version;
        record.version += 1;
        self.calls.insert(record.id, self.commit.calls.len());
        self.commit.calls.push(Change {
            expect,
            next: record.clone(),
        });
    }

    pub(crate) fn put_agent(&mut self, record: &mut AgentRecord) {
        let known = self
            .agents
            .get(&record.id)
            .and_then(|at| self.commit.agents.get_mut(*at));
        if let Some(known) = known.filter(|known| known.next.id == record.id) {
            known.next = record.clone();
            return;
        }
        let expect = record.version;
        record.version += 1;
        self.agents.insert(record.id.clone(), self.commit.agents.len());
        self.commit.agents.push(Change {
            expect,
            next: record.clone(),
        });
    }
}
