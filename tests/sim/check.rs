//! The invariants, as a checker that knows the records and what was announced, and nothing of the indexes
//! inside the dispatcher.

use std::collections::{BTreeMap, BTreeSet};

use callkit_core::agent::{Activity, AgentRecord, Link, Presence};
use callkit_core::call::{CallRecord, CallState, CancelCause, MAX_PARTICIPANTS, OfferOutcome, Party};
use callkit_core::event::{EventEnvelope, EventKind};
use callkit_core::id::{AgentId, CallId, OfferId, QueueId};
use callkit_core::time::Timestamp;
use callkit_routing::{Action, Dispatcher, Input, RoutingConfig};

use crate::view::{View, offerable, place, routable, waits};

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// `I1` to `I20`.
    pub(crate) invariant: &'static str,
    pub(crate) detail: String,
}

macro_rules! hold {
    ($invariant:literal, $holds:expr, $($detail:tt)+) => {
        if !$holds {
            return Err(Violation { invariant: $invariant, detail: format!($($detail)+) });
        }
    };
}

#[derive(Debug, Clone)]
struct KnownOffer {
    agent: AgentId,
    deadline: Timestamp,
    open: bool,
}

/// What the checker remembers of the past.
#[derive(Debug)]
pub(crate) struct Checker {
    queues_of: BTreeMap<AgentId, BTreeSet<QueueId>>,
    offers: BTreeMap<OfferId, KnownOffer>,
    enqueued: BTreeMap<CallId, Timestamp>,
    idle: BTreeMap<AgentId, (Timestamp, u32)>,
    refused: BTreeMap<CallId, BTreeSet<AgentId>>,
    owners: BTreeMap<CallId, AgentId>,
    event_seq: BTreeMap<CallId, u64>,
    ended: BTreeSet<CallId>,
    pub(crate) queued: u64,
    /// How much earlier than its deadline an offer counts as late; above zero only to test the checker.
    pub(crate) early: std::time::Duration,
}

impl Checker {
    pub(crate) fn new(config: &RoutingConfig) -> Self {
        let queues_of =
            |one: &callkit_core::agent::AgentProfile| (one.id.clone(), one.queues.iter().cloned().collect());
        Self {
            queues_of: config.agents.iter().map(queues_of).collect(),
            offers: BTreeMap::new(),
            enqueued: BTreeMap::new(),
            idle: BTreeMap::new(),
            refused: BTreeMap::new(),
            owners: BTreeMap::new(),
            event_seq: BTreeMap::new(),
            ended: BTreeSet::new(),
            queued: 0,
            early: std::time::Duration::ZERO,
        }
    }

    fn serves(&self, agent: &AgentId, queue: &QueueId) -> bool {
        self.queues_of
            .get(agent)
            .is_some_and(|queues| queues.contains(queue))
    }

    /// I19: what the dispatcher may answer to an accept.
    pub(crate) fn accept_answered(&self, now: Timestamp, input: &Input, done: bool) -> Result<(), Violation> {
        let Input::Accept { agent, offer } = input else {
            return Ok(());
        };
        let known = self.offers.get(offer);
        let in_time =
            known.is_some_and(|one| one.open && one.agent == *agent && now + self.early < one.deadline);
        hold!(
            "I19",
            in_time == done,
            "accept of {offer:?} by {agent}: done {done}, in time {in_time}"
        );
        Ok(())
    }

    /// Whether `input` takes the customer away, which must cost no agent anything (I13).
    pub(crate) fn customer_leaves(input: &Input) -> bool {
        matches!(
            input,
            Input::HangUp {
                by: Party::Customer,
                ..
            } | Input::CustomerLink { up: false, .. }
                | Input::EndCall { .. }
        )
    }

    /// I13, given the agents before such an input.
    pub(crate) fn customer_left(&self, before: &[AgentRecord], view: &View<'_>) -> Result<(), Violation> {
        for was in before
            .iter()
            .filter(|was| matches!(was.activity, Activity::Reserved { .. }))
        {
            let Some(is) = view.agent(&was.id) else { continue };
            let cost = (is.misses, is.idle_since, is.cooldown_until)
                != (was.misses, was.idle_since, was.cooldown_until);
            hold!("I13", !cost, "{} pays for a customer who left", was.id);
        }
        Ok(())
    }

    /// Events of one input: numbering, offers that open and close once.
    pub(crate) fn events(&mut self, events: &[EventEnvelope], view: &View<'_>) -> Result<(), Violation> {
        for event in events {
            if let Some(at) = event.call {
                let last = self.event_seq.entry(at.id).or_default();
                hold!(
                    "I16",
                    at.seq == *last + 1,
                    "event {} of {} follows {last}",
                    at.seq,
                    at.id
                );
                *last = at.seq;
                hold!(
                    "I3",
                    !self.ended.contains(&at.id),
                    "{:?} after the end of {}",
                    event.kind,
                    at.id
                );
            }
            let call = event.call.map(|at| at.id);
            match &event.kind {
                EventKind::CallQueued { .. } => self.queued += 1,
                EventKind::CallOffered { offer, agent } => {
                    let found = call
                        .and_then(|id| view.call(id))
                        .and_then(|call| call.segments.last());
                    let deadline = found.and_then(|stay| stay.offers.iter().find(|one| one.id == *offer));
                    let deadline = deadline.map(|one| one.deadline).unwrap_or_default();
                    let known = KnownOffer {
                        agent: agent.clone(),
                        deadline,
                        open: true,
                    };
                    hold!(
                        "I3",
                        self.offers.insert(*offer, known).is_none(),
                        "{offer} was made twice"
                    );
                }
                EventKind::OfferClosed {
                    offer,
                    agent,
                    outcome,
                } => {
                    let known = self.offers.get_mut(offer);
                    hold!(
                        "I3",
                        known.as_ref().is_some_and(|one| one.open),
                        "{offer} was closed but not open"
                    );
                    if let Some(known) = known {
                        known.open = false;
                    }
                    let passes_over = match outcome {
                        OfferOutcome::Accepted => false,
                        OfferOutcome::Canceled { cause } => {
                            matches!(cause, CancelCause::AgentAway | CancelCause::Unreachable)
                        }
                        _ => true,
                    };
                    if let (true, Some(call)) = (passes_over, call) {
                        self.refused.entry(call).or_default().insert(agent.clone());
                    }
                    if let (OfferOutcome::Accepted, Some(call)) = (outcome, call) {
                        self.owners.insert(call, agent.clone());
                    }
                }
                EventKind::CallStarted { .. } => {
                    call.and_then(|call| self.refused.remove(&call));
                }
                EventKind::CallRequeued { .. } => {
                    // Whoever had answered it and lost it is passed over like one who refused.
                    if let Some((call, owner)) = call.and_then(|call| self.owners.remove_entry(&call)) {
                        self.refused.entry(call).or_default().insert(owner);
                    }
                }
                EventKind::CallEnded { .. } => {
                    self.ended.extend(call);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The offers that one input led to (I7, I9, I10, C12). Called after the dispatch, when nothing else has
    /// changed since the choice was made.
    pub(crate) fn offers_made(&mut self, actions: &[Action], view: &View<'_>) -> Result<(), Violation> {
        for action in actions {
            let Action::OfferMade { offer, agent, call } = action else {
                continue;
            };
            let (Some(call), Some(agent)) = (view.call(*call), view.agent(agent)) else {
                continue;
            };
            let reserved = Activity::Reserved {
                offer: *offer,
                call: call.id,
            };
            hold!(
                "I1",
                agent.activity == reserved,
                "{offer} rings at {} who is {:?}",
                agent.id,
                agent.activity
            );
            let as_idle = AgentRecord {
                activity: Activity::Idle,
                ..agent.clone()
            };
            hold!("I9", routable(&as_idle), "{offer} rings at {:?}", agent);
            hold!(
                "I9",
                self.serves(&agent.id, &call.queue),
                "{} does not serve {}",
                agent.id,
                call.queue
            );
            for other in view
                .calls
                .iter()
                .filter(|other| offerable(other) && place(other) < place(call))
            {
                let jumped = self.serves(&agent.id, &other.queue);
                hold!(
                    "I7",
                    !jumped,
                    "{} was served before {} by {}",
                    call.id,
                    other.id,
                    agent.id
                );
            }
            let refused = self.refused.entry(call.id).or_default();
            let again = refused.contains(&agent.id);
            let free: Vec<_> = view
                .agents
                .iter()
                .filter(|other| {
                    let queues = self.queues_of.get(&other.id);
                    routable(other) && queues.is_some_and(|queues| queues.contains(&call.queue))
                })
                .collect();
            if again {
                let passed = free.iter().find(|other| !refused.contains(&other.id));
                hold!(
                    "C12",
                    passed.is_none(),
                    "{} rings again at {}, {passed:?} is free",
                    call.id,
                    agent.id
                );
                refused.clear();
            }
            for other in free.iter().filter(|other| !refused.contains(&other.id)) {
                let longer = (other.idle_since, &other.id) < (agent.idle_since, &agent.id);
                hold!(
                    "I10",
                    !longer,
                    "{} was chosen, {} is idle for longer",
                    agent.id,
                    other.id
                );
            }
        }
        Ok(())
    }

    /// Everything that holds at every moment.
    pub(crate) fn moment(&mut self, view: &View<'_>) -> Result<(), Violation> {
        let mut bound: BTreeMap<&AgentId, &CallRecord> = BTreeMap::new();
        let mut thirds: BTreeMap<&AgentId, CallId> = BTreeMap::new();
        for call in &view.calls {
            self.one_call(call)?;
            if let Some(Party::Agent(agent)) = call.supervisor().map(|(one, _)| &one.party) {
                let only = thirds.insert(agent, call.id).is_none();
                hold!("I1", only, "{agent} supervises two calls");
            }
            let (CallState::Offering { agent, .. }
            | CallState::Connecting { agent, .. }
            | CallState::Active { agent, .. }) = &call.state
            else {
                continue;
            };
            hold!("I1", bound.insert(agent, call).is_none(), "{agent} has two calls");
        }
        for agent in &view.agents {
            let (call, third) = (bound.get(&agent.id).copied(), thirds.get(&agent.id).copied());
            hold!(
                "I1",
                call.is_none() || third.is_none(),
                "{} has a call and supervises another",
                agent.id
            );
            self.one_agent(agent, call, third)?;
        }
        for call in view.calls.iter().filter(|call| offerable(call)) {
            let idle = view
                .agents
                .iter()
                .find(|agent| routable(agent) && self.serves(&agent.id, &call.queue));
            hold!(
                "I6",
                idle.is_none(),
                "{} waits, {:?} is free",
                call.id,
                idle.map(|agent| &agent.id)
            );
        }
        Ok(())
    }

    fn one_call(&mut self, call: &CallRecord) -> Result<(), Violation> {
        let at = *self.enqueued.entry(call.id).or_insert(call.enqueued_at);
        hold!(
            "I8",
            at == call.enqueued_at,
            "the place of {} moved from {at:?}",
            call.id
        );
        let mut open = 0;
        for stay in &call.segments {
            let accepted = stay
                .offers
                .iter()
                .filter(|one| one.outcome == Some(OfferOutcome::Accepted))
                .count();
            hold!(
                "I2",
                accepted <= 1,
                "{} was accepted {accepted} times in one stay",
                call.id
            );
            hold!(
                "I2",
                (accepted == 1) == stay.agent.is_some(),
                "{}: who accepted is unknown",
                call.id
            );
            open += stay.offers.iter().filter(|one| one.outcome.is_none()).count();
        }
        let rings = matches!(call.state, CallState::Offering { .. });
        hold!(
            "I3",
            open == usize::from(rings),
            "{} has {open} open offers",
            call.id
        );
        let present: Vec<_> = call
            .participants
            .iter()
            .filter(|one| one.left_at.is_none())
            .collect();
        hold!(
            "I11",
            present.len() <= MAX_PARTICIPANTS,
            "{} has {} participants",
            call.id,
            present.len()
        );
        let owner = match &call.state {
            CallState::Connecting { agent, .. } | CallState::Active { agent, .. } => Some(agent.clone()),
            _ => None,
        };
        let third = call.supervisor().map(|(one, _)| one.party.clone());
        let talks = matches!(call.state, CallState::Active { .. });
        hold!(
            "I11",
            talks || third.is_none(),
            "{} is supervised before it is a talk",
            call.id
        );
        let is_owner = owner.clone().map(Party::Agent) == third && third.is_some();
        hold!("I11", !is_owner, "the agent of {} supervises himself", call.id);
        let expected = 1 + usize::from(owner.is_some()) + usize::from(third.is_some());
        hold!(
            "I11",
            present.len() == expected,
            "{} has {} participants",
            call.id,
            present.len()
        );
        let owner_in = owner.is_none_or(|agent| call.participant(&Party::Agent(agent)).is_some());
        hold!("I11", owner_in, "the agent of {} is not in it", call.id);
        let (last, past) = call
            .segments
            .split_last()
            .map_or((None, &[][..]), |(last, past)| (Some(last), past));
        let closed = past.iter().all(|stay| stay.ended_at.is_some());
        hold!(
            "I5",
            closed && last.is_some_and(|stay| stay.ended_at.is_none()),
            "the stays of {}",
            call.id
        );
        let answered = last.is_some_and(|stay| stay.connected_at.is_some());
        let talks = matches!(call.state, CallState::Active { .. });
        hold!(
            "I5",
            answered == talks,
            "{} is answered {answered} in {:?}",
            call.id,
            call.state
        );
        Ok(())
    }

    fn one_agent(
        &mut self,
        agent: &AgentRecord,
        call: Option<&CallRecord>,
        third: Option<CallId>,
    ) -> Result<(), Violation> {
        let supervises = third.map(|call| Activity::Supervising { call });
        let expected = call.map(|call| match &call.state {
            CallState::Offering { offer, .. } => Activity::Reserved {
                offer: *offer,
                call: call.id,
            },
            CallState::Connecting { .. } => Activity::Connecting { call: call.id },
            _ => Activity::InCall { call: call.id },
        });
        let owned = match (&agent.activity, expected.or(supervises)) {
            (activity, Some(expected)) => *activity == expected,
            (Activity::Idle, None) => true,
            (Activity::WrapUp { deadline, .. }, None) => deadline.is_some(),
            (_, None) => false,
        };
        hold!(
            "I4",
            owned,
            "{} is {:?} without an owner",
            agent.id,
            agent.activity
        );
        let (idle, misses) = *self
            .idle
            .entry(agent.id.clone())
            .or_insert((agent.idle_since, agent.misses));
        hold!(
            "I10",
            idle <= agent.idle_since,
            "idle_since of {} went back",
            agent.id
        );
        self.idle.insert(agent.id.clone(), (agent.idle_since, misses));
        let nobody = agent.activity == Activity::Idle && agent.link == Link::Down;
        hold!(
            "I9",
            !nobody || agent.presence == Presence::Offline,
            "{} is gone and {:?}",
            agent.id,
            agent.presence
        );
        Ok(())
    }

    /// The getters say what the records say.
    pub(crate) fn getters(&self, dispatcher: &Dispatcher, view: &View<'_>) -> Result<(), Violation> {
        for queue in dispatcher.queues() {
            let mut places: Vec<_> = view
                .calls
                .iter()
                .filter(|one| waits(one) && one.queue == queue.id)
                .collect();
            places.sort_by_key(|call| place(call));
            let told = dispatcher.waiting(&queue.id).map(|call| call.id);
            hold!(
                "I7",
                told.eq(places.iter().map(|call| call.id)),
                "the order of {}",
                queue.id
            );
            let free = view
                .agents
                .iter()
                .filter(|one| routable(one) && self.serves(&one.id, &queue.id))
                .count();
            let told = dispatcher.queue_view(&queue.id);
            let available = told.as_ref().map(|told| told.available);
            hold!(
                "I6",
                available == Some(free),
                "{} shows {available:?} of {free} agents",
                queue.id
            );
            let oldest = places.iter().map(|call| call.enqueued_at).min();
            hold!(
                "I7",
                told.is_some_and(|told| told.oldest == oldest),
                "the oldest place of {}",
                queue.id
            );
        }
        Ok(())
    }

    /// I14: what a restart has to preserve.
    pub(crate) fn restarted(&mut self, stored: &[CallRecord], view: &View<'_>) -> Result<(), Violation> {
        let ids = |calls: &[&CallRecord]| calls.iter().map(|call| call.id).collect::<BTreeSet<_>>();
        let before: Vec<_> = stored.iter().collect();
        hold!(
            "I14",
            ids(&before) == ids(&view.calls),
            "calls were lost over a restart"
        );
        let order = |calls: &[&CallRecord]| {
            let mut places: Vec<_> = calls
                .iter()
                .filter(|call| waits(call))
                .map(|call| (call.queue.clone(), place(call)))
                .collect();
            places.sort();
            places
        };
        hold!(
            "I14",
            order(&before) == order(&view.calls),
            "the waiting order changed over a restart"
        );
        for was in stored {
            let owner = |call: &CallRecord| match &call.state {
                CallState::Connecting { agent, .. } | CallState::Active { agent, .. } => Some(agent.clone()),
                _ => None,
            };
            let is = view.call(was.id).and_then(owner);
            hold!("I14", owner(was) == is, "{} changed hands over a restart", was.id);
        }
        Ok(())
    }

    /// Uncommitted inputs are forgotten with the dispatcher that saw them.
    pub(crate) fn fork(&self) -> Self {
        Self {
            queues_of: self.queues_of.clone(),
            offers: self.offers.clone(),
            enqueued: self.enqueued.clone(),
            idle: self.idle.clone(),
            refused: self.refused.clone(),
            owners: self.owners.clone(),
            event_seq: self.event_seq.clone(),
            ended: self.ended.clone(),
            queued: self.queued,
            early: self.early,
        }
    }

    /// I3, I4, I5 when everybody has left and every timer has run out.
    pub(crate) fn quiet(&self, view: &View<'_>, history: &[CallRecord]) -> Result<(), Violation> {
        hold!(
            "I4",
            view.calls.is_empty(),
            "{} calls never end",
            view.calls.len()
        );
        for agent in &view.agents {
            hold!(
                "I4",
                agent.activity == Activity::Idle,
                "{} stays {:?}",
                agent.id,
                agent.activity
            );
        }
        let open = self.offers.iter().find(|(_, one)| one.open);
        hold!("I3", open.is_none(), "{open:?} was never closed");
        hold!(
            "I5",
            history.len() as u64 == self.queued,
            "{} calls of {} kept",
            history.len(),
            self.queued
        );
        for call in history {
            hold!(
                "I5",
                call.is_ended() && self.ended.contains(&call.id),
                "{} has no end",
                call.id
            );
            let closed = call.segments.iter().all(|stay| stay.ended_at.is_some());
            hold!("I5", closed, "a stay of {} has no end", call.id);
            let left = call.participants.iter().all(|one| one.left_at.is_some());
            hold!("I11", left, "somebody never left {}", call.id);
            let open = call
                .segments
                .iter()
                .flat_map(|stay| &stay.offers)
                .any(|one| one.outcome.is_none());
            hold!("I3", !open, "{} ended with an open offer", call.id);
        }
        Ok(())
    }
}
