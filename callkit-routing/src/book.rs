//! [`Book`]: the open calls and the agents, with every index over them.
//!
//! A record changes in [`Book::edit_call`] or [`Book::edit_agent`] only. Both derive the record's entries
//! in the indexes before and after the change, so no index can be stale and no transition has to remember
//! to stop a timer: the next deadline of a record is a function of the record.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use callkit_core::agent::{Activity, AgentRecord, Link, Presence};
use callkit_core::call::{CallRecord, CallState, Exclusion, ExclusionReason};
use callkit_core::id::{AgentId, CallId, CustomerId, OfferId, QueueId};
use callkit_core::time::Timestamp;

use crate::config::{QueueConfig, RoutingConfig, Timers};
use crate::dispatcher::ChatLog;
use crate::effects::Effects;
use crate::policy::{AgentView, PoolSnapshot};

/// Order of service: priority first, then the age of the place, then the id, so that it is total.
pub(crate) type Place = (Reverse<u8>, Timestamp, CallId);

/// Whose deadline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Call(CallId),
    Agent(AgentId),
}

/// An open call and what is known of it only while it is open.
#[derive(Debug)]
pub(crate) struct OpenCall {
    pub(crate) record: CallRecord,
    /// Whether the customer's signaling is up. Counts when the call is, or comes back to, the queue.
    pub(crate) customer_up: bool,
    pub(crate) chat: ChatLog,
}

#[derive(Debug)]
struct Agent {
    record: AgentRecord,
    queues: Vec<QueueId>,
}

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) config: QueueConfig,
    /// Calls that wait or ring, in order of service; the rank here is the position told to the customer.
    pub(crate) places: BTreeSet<Place>,
    /// Those of them that can be offered.
    offerable: BTreeSet<Place>,
    /// Agents who can get a call, longest idle first.
    routable: BTreeSet<(Timestamp, AgentId)>,
    /// The other agents of the queue.
    others: BTreeSet<AgentId>,
}

/// What the indexes hold of a call.
#[derive(Debug, PartialEq, Eq)]
struct CallSlot {
    place: Option<(QueueId, Place)>,
    offerable: bool,
    due: Option<Timestamp>,
}

/// What the indexes hold of an agent.
#[derive(Debug, PartialEq, Eq)]
struct AgentSlot {
    routable: Option<Timestamp>,
    due: Option<Timestamp>,
}

#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) timers: Timers,
    calls: BTreeMap<CallId, OpenCall>,
    agents: BTreeMap<AgentId, Agent>,
    queues: BTreeMap<QueueId, Queue>,
    by_customer: BTreeMap<CustomerId, CallId>,
    by_offer: BTreeMap<OfferId, CallId>,
    due: BTreeSet<(Timestamp, Owner)>,
    /// Queues where a call or an agent may have become matchable since the last dispatch.
    pub(crate) ready: BTreeSet<QueueId>,
    /// Queues, calls and agents that changed since they were last reported.
    pub(crate) changed_queues: BTreeSet<QueueId>,
    pub(crate) changed_calls: BTreeSet<CallId>,
    pub(crate) changed_agents: BTreeSet<AgentId>,
}

/// Whether `agent` can get a call. The cool-down is over when the dispatcher has cleared it.
pub(crate) fn is_routable(agent: &AgentRecord) -> bool {
    exclusion(agent).is_none()
}

/// Why `agent` cannot get a call, if so.
pub(crate) fn exclusion(agent: &AgentRecord) -> Option<ExclusionReason> {
    if agent.presence != Presence::Available {
        Some(ExclusionReason::NotAvailable)
    } else if agent.activity != Activity::Idle {
        Some(ExclusionReason::Busy)
    } else if agent.link != Link::Up {
        Some(ExclusionReason::NotConnected)
    } else if agent.pending_presence.is_some() {
        Some(ExclusionReason::PresencePending)
    } else if agent.cooldown_until.is_some() {
        Some(ExclusionReason::CoolingDown)
    } else {
        None
    }
}

fn place_of(call: &CallRecord) -> Place {
    (Reverse(call.priority), call.enqueued_at, call.id)
}

/// The next time at which something happens to the agent by itself.
pub(crate) fn agent_due(timers: &Timers, agent: &AgentRecord) -> Option<Timestamp> {
    let link = match (agent.link, &agent.activity) {
        (Link::Grace { since, deadline }, Activity::Reserved { .. }) => {
            Some(deadline.min(since + timers.ring_grace))
        }
        (Link::Grace { deadline, .. }, _) => Some(deadline),
        (Link::Up | Link::Down, _) => None,
    };
    let wrap_up = match agent.activity {
        Activity::WrapUp { deadline, .. } => deadline,
        _ => None,
    };
    [link, wrap_up, agent.cooldown_until].into_iter().flatten().min()
}

/// When the wait of a queued call reaches the limit of its queue. It counts from the present stay: a call
/// that was answered and came back has waited anew, although it keeps its place.
pub(crate) fn wait_limit(queue: Option<&QueueConfig>, call: &CallRecord) -> Option<Timestamp> {
    let entered = call
        .segments
        .last()
        .map_or(call.enqueued_at, |stay| stay.enqueued_at);
    queue?.max_wait.map(|limit| entered + limit)
}

/// The next time at which something happens to the call by itself.
pub(crate) fn call_due(queue: Option<&QueueConfig>, call: &CallRecord) -> Option<Timestamp> {
    match &call.state {
        CallState::Queued { customer } => {
            let grace = if let Link::Grace { deadline, .. } = customer {
                Some(*deadline)
            } else {
                None
            };
            [grace, wait_limit(queue, call)].into_iter().flatten().min()
        }
        CallState::Offering { offer, .. } => {
            let offers = call.segments.last().map_or(&[][..], |stay| &stay.offers);
            offers
                .iter()
                .rev()
                .find(|one| one.id == *offer)
                .map(|one| one.deadline)
        }
        CallState::Connecting { deadline, .. } => Some(*deadline),
        CallState::Active {
            customer_link,
            agent_link,
            ..
        } => {
            let talk = match (customer_link, agent_link) {
                // Both gone: either may still come back until the later deadline.
                (Link::Grace { deadline: one, .. }, Link::Grace { deadline: other, .. }) => {
                    Some(*one.max(other))
                }
                (Link::Grace { deadline, .. }, _) | (_, Link::Grace { deadline, .. }) => Some(*deadline),
                _ => None,
            };
            let third = match call.supervisor() {
                Some((_, own)) => own.link.deadline(),
                None => None,
            };
            talk.into_iter().chain(third).min()
        }
        _ => None,
    }
}

impl Book {
    pub(crate) fn new(config: &RoutingConfig) -> Self {
        let queue = |config: &QueueConfig| Queue {
            config: config.clone(),
            places: BTreeSet::new(),
            offerable: BTreeSet::new(),
            routable: BTreeSet::new(),
            others: BTreeSet::new(),
        };
        Self {
            timers: config.timers,
            calls: BTreeMap::new(),
            agents: BTreeMap::new(),
            queues: config
                .queues
                .iter()
                .map(|one| (one.id.clone(), queue(one)))
                .collect(),
            by_customer: BTreeMap::new(),
            by_offer: BTreeMap::new(),
            due: BTreeSet::new(),
            ready: BTreeSet::new(),
            changed_queues: BTreeSet::new(),
            changed_calls: BTreeSet::new(),
            changed_agents: BTreeSet::new(),
        }
    }

    // Reading.

    pub(crate) fn call(&self, id: CallId) -> Option<&OpenCall> {
        self.calls.get(&id)
    }

    pub(crate) fn calls(&self) -> impl Iterator<Item = &OpenCall> {
        self.calls.values()
    }

    pub(crate) fn agent(&self, id: &AgentId) -> Option<&AgentRecord> {
        self.agents.get(id).map(|agent| &agent.record)
    }

    pub(crate) fn agents(&self) -> impl Iterator<Item = &AgentRecord> {
        self.agents.values().map(|agent| &agent.record)
    }

    pub(crate) fn queue(&self, id: &QueueId) -> Option<&Queue> {
        self.queues.get(id)
    }

    pub(crate) fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.values()
    }

    pub(crate) fn routable_count(&self, queue: &Queue) -> usize {
        queue.routable.len()
    }

    pub(crate) fn call_of_customer(&self, customer: CustomerId) -> Option<CallId> {
        self.by_customer.get(&customer).copied()
    }

    pub(crate) fn call_of_offer(&self, offer: OfferId) -> Option<&CallRecord> {
        self.by_offer
            .get(&offer)
            .and_then(|call| self.calls.get(call))
            .map(|call| &call.record)
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(crate) fn first_due(&self, now: Timestamp) -> Option<Owner> {
        self.due
            .first()
            .filter(|(at, _)| *at <= now)
            .map(|(_, owner)| owner.clone())
    }

    /// The call to be served next among the ready queues that have an agent for it.
    pub(crate) fn next_offerable(&self, except: &BTreeSet<CallId>) -> Option<CallId> {
        let first = |queue: &QueueId| {
            let queue = self
                .queues
                .get(queue)
                .filter(|queue| !queue.routable.is_empty())?;
            queue
                .offerable
                .iter()
                .find(|(_, _, call)| !except.contains(call))
                .copied()
        };
        self.ready.iter().filter_map(first).min().map(|(_, _, call)| call)
    }

    /// The agents of `queue` who can get a call, without `except`.
    pub(crate) fn pool(&self, queue: &QueueId, except: &[AgentId]) -> PoolSnapshot<'_> {
        let routable = self
            .queues
            .get(queue)
            .into_iter()
            .flat_map(|queue| &queue.routable);
        let agents = routable
            .filter(|(_, agent)| !except.contains(agent))
            .map(|(since, agent)| AgentView {
                id: agent,
                idle_since: *since,
            });
        PoolSnapshot {
            agents: agents.collect(),
        }
    }

    /// Whether `agent` is in the pool of `queue`.
    pub(crate) fn in_pool(&self, queue: &QueueId, agent: &AgentId) -> bool {
        let Some(record) = self.agent(agent) else {
            return false;
        };
        self.queues
            .get(queue)
            .is_some_and(|queue| queue.routable.contains(&(record.idle_since, agent.clone())))
    }

    /// The agents of `queue` who cannot get a call that `refused` refused, at most `limit`, and how many more.
    pub(crate) fn excluded(
        &self,
        queue: &QueueId,
        refused: &[AgentId],
        limit: usize,
    ) -> (Vec<Exclusion>, usize) {
        let Some(members) = self.queues.get(queue) else {
            return (Vec::new(), 0);
        };
        let refusers = refused.iter().filter(|agent| self.in_pool(queue, agent));
        let total = members.others.len() + refusers.clone().count();
        let refusers = refusers.map(|agent| Exclusion {
            agent: agent.clone(),
            reason: ExclusionReason::AlreadyRefused,
        });
        let others = members.others.iter().filter_map(|agent| {
            let reason = exclusion(self.agent(agent)?)?;
            Some(Exclusion {
                agent: agent.clone(),
                reason,
            })
        });
        let listed: Vec<_> = refusers.chain(others).take(limit).collect();
        let more = total - listed.len();
        (listed, more)
    }

    // Changing.

    pub(crate) fn add_agent(&mut self, record: AgentRecord, queues: &[QueueId]) {
        let mut known: Vec<_> = queues
            .iter()
            .filter(|queue| self.queues.contains_key(*queue))
            .cloned()
            .collect();
        known.sort();
        known.dedup();
        if let Some(before) = self.agents.remove(&record.id) {
            let slot = Self::agent_slot(&self.timers, &before.record);
            self.unindex_agent(&record.id, &before.queues, &slot);
        }
        let slot = Self::agent_slot(&self.timers, &record);
        self.index_agent(&record.id, &known, &slot);
        self.agents.insert(
            record.id.clone(),
            Agent {
                record,
                queues: known,
            },
        );
    }

    pub(crate) fn add_call(&mut self, call: OpenCall) {
        let id = call.record.id;
        let slot = Self::call_slot(&self.queues, &call.record);
        self.by_customer.insert(call.record.customer.id, id);
        for offer in call.record.segments.iter().flat_map(|stay| &stay.offers) {
            self.by_offer.insert(offer.id, id);
        }
        self.calls.insert(id, call);
        self.index_call(id, &slot);
        self.changed_calls.insert(id);
    }

    /// Forgets a call that has ended.
    pub(crate) fn remove_call(&mut self, id: CallId) -> Option<OpenCall> {
        let call = self.calls.remove(&id)?;
        let slot = Self::call_slot(&self.queues, &call.record);
        self.unindex_call(id, &slot);
        self.by_customer.remove(&call.record.customer.id);
        for offer in call.record.segments.iter().flat_map(|stay| &stay.offers) {
            self.by_offer.remove(&offer.id);
        }
        Some(call)
    }

    pub(crate) fn index_offer(&mut self, offer: OfferId, call: CallId) {
        self.by_offer.insert(offer, call);
    }

    pub(crate) fn unindex_offer(&mut self, offer: OfferId) {
        self.by_offer.remove(&offer);
    }

    /// Changes a call; `None` if there is no such open call.
    pub(crate) fn edit_call<R>(&mut self, id: CallId, edit: impl FnOnce(&mut OpenCall) -> R) -> Option<R> {
        let call = self.calls.get_mut(&id)?;
        let before = Self::call_slot(&self.queues, &call.record);
        let result = edit(call);
        let after = Self::call_slot(&self.queues, &call.record);
        if before != after {
            self.unindex_call(id, &before);
            self.index_call(id, &after);
        }
        self.changed_calls.insert(id);
        Some(result)
    }

    /// Changes an agent; `None` if there is no such agent.
    pub(crate) fn edit_agent<R>(
        &mut self,
        id: &AgentId,
        edit: impl FnOnce(&mut AgentRecord) -> R,
    ) -> Option<R> {
        let agent = self.agents.get_mut(id)?;
        let before = Self::agent_slot(&self.timers, &agent.record);
        let result = edit(&mut agent.record);
        let after = Self::agent_slot(&self.timers, &agent.record);
        if before != after {
            let queues = std::mem::take(&mut agent.queues);
            self.unindex_agent(id, &queues, &before);
            self.index_agent(id, &queues, &after);
            if let Some(agent) = self.agents.get_mut(id) {
                agent.queues = queues;
            }
        }
        self.changed_agents.insert(id.clone());
        Some(result)
    }

    /// What is known of an open call beside its record; reported to nobody.
    pub(crate) fn beside(&mut self, id: CallId) -> Option<(&mut bool, &mut ChatLog)> {
        self.calls
            .get_mut(&id)
            .map(|call| (&mut call.customer_up, &mut call.chat))
    }

    /// Writes each changed call and agent into `fx` and tells which records and queues changed.
    pub(crate) fn report(
        &mut self,
        fx: &mut Effects,
    ) -> (BTreeSet<CallId>, BTreeSet<AgentId>, BTreeSet<QueueId>) {
        let calls = std::mem::take(&mut self.changed_calls);
        let agents = std::mem::take(&mut self.changed_agents);
        for id in &calls {
            if let Some(open) = self.calls.get_mut(id) {
                fx.put_call(&mut open.record);
            }
        }
        for id in &agents {
            if let Some(known) = self.agents.get_mut(id) {
                fx.put_agent(&mut known.record);
            }
        }
        (calls, agents, std::mem::take(&mut self.changed_queues))
    }

    // Indexes.

    fn call_slot(queues: &BTreeMap<QueueId, Queue>, call: &CallRecord) -> CallSlot {
        let waits = matches!(call.state, CallState::Queued { .. } | CallState::Offering { .. });
        CallSlot {
            place: waits.then(|| (call.queue.clone(), place_of(call))),
            offerable: matches!(call.state, CallState::Queued { customer: Link::Up }),
            due: call_due(queues.get(&call.queue).map(|queue| &queue.config), call),
        }
    }

    fn index_call(&mut self, id: CallId, slot: &CallSlot) {
        if let Some((name, place)) = &slot.place {
            if let Some(queue) = self.queues.get_mut(name) {
                queue.places.insert(*place);
                if slot.offerable {
                    queue.offerable.insert(*place);
                    self.ready.insert(name.clone());
                }
            }
            self.changed_queues.insert(name.clone());
        }
        if let Some(due) = slot.due {
            self.due.insert((due, Owner::Call(id)));
        }
    }

    fn unindex_call(&mut self, id: CallId, slot: &CallSlot) {
        if let Some((name, place)) = &slot.place {
            if let Some(queue) = self.queues.get_mut(name) {
                queue.places.remove(place);
                queue.offerable.remove(place);
            }
            self.changed_queues.insert(name.clone());
        }
        if let Some(due) = slot.due {
            self.due.remove(&(due, Owner::Call(id)));
        }
    }

    fn agent_slot(timers: &Timers, agent: &AgentRecord) -> AgentSlot {
        AgentSlot {
            routable: is_routable(agent).then_some(agent.idle_since),
            due: agent_due(timers, agent),
        }
    }

    fn index_agent(&mut self, id: &AgentId, queues: &[QueueId], slot: &AgentSlot) {
        for name in queues {
            let Some(queue) = self.queues.get_mut(name) else {
                continue;
            };
            match slot.routable {
                Some(since) => {
                    queue.routable.insert((since, id.clone()));
                    self.ready.insert(name.clone());
                    self.changed_queues.insert(name.clone());
                }
                None => {
                    queue.others.insert(id.clone());
                }
            }
        }
        if let Some(due) = slot.due {
            self.due.insert((due, Owner::Agent(id.clone())));
        }
    }

    fn unindex_agent(&mut self, id: &AgentId, queues: &[QueueId], slot: &AgentSlot) {
        for name in queues {
            let Some(queue) = self.queues.get_mut(name) else {
                continue;
            };
            match slot.routable {
                Some(since) => {
                    queue.routable.remove(&(since, id.clone()));
                    self.changed_queues.insert(name.clone());
                }
                None => {
                    queue.others.remove(id);
                }
            }
        }
        if let Some(due) = slot.due {
            self.due.remove(&(due, Owner::Agent(id.clone())));
        }
    }
}
