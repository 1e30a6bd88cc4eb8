//! [`Dispatcher`]: the state machine itself. This file owns its shape: inputs in, effects out, getters.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use callkit_core::agent::{Activity, AgentRecord, Link, Presence};
use callkit_core::call::{CallRecord, Offer, Party};
use callkit_core::chat::ChatMessage;
use callkit_core::event::{CallPosition, EventEnvelope, EventKind};
use callkit_core::id::{AgentId, CallId, CustomerId, IdSource, QueueId};
use callkit_core::time::Timestamp;

use crate::book::{Book, Owner};
use crate::config::{QueueConfig, RoutingConfig};
use crate::effects::{Action, Effects};
use crate::input::{Input, Refused};
use crate::policy::RoutingPolicy;

mod agents;
mod calls;
mod chat;
mod media;
mod offers;
mod restore;
mod supervise;

pub(crate) use chat::ChatLog;

/// Decides on calls and agents together: who waits, who rings, who talks. See the crate documentation for
/// its transitions.
#[derive(Debug)]
pub struct Dispatcher {
    policy: Arc<dyn RoutingPolicy>,
    ids: IdSource,
    book: Book,
    /// The latest time seen: a `now` before it counts as it.
    clock: Timestamp,
}

/// A queue at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueView {
    /// Calls that wait or ring.
    pub waiting: usize,
    /// The age of the oldest place.
    pub oldest: Option<Timestamp>,
    /// Agents who would get a call at once.
    pub available: usize,
}

/// What one input has caused so far.
#[derive(Debug)]
struct Step {
    now: Timestamp,
    /// Actions that come before people are told of the changes.
    first: Vec<Action>,
    /// Actions that come after.
    last: Vec<Action>,
    events: Vec<EventEnvelope>,
    chat: Vec<ChatMessage>,
    ended: Vec<CallId>,
}

impl Step {
    fn new(now: Timestamp) -> Self {
        Self {
            now,
            first: Vec::new(),
            last: Vec::new(),
            events: Vec::new(),
            chat: Vec::new(),
            ended: Vec::new(),
        }
    }
}

impl Dispatcher {
    /// A dispatcher without calls, all agents offline.
    #[must_use]
    pub fn new(config: &RoutingConfig, policy: Arc<dyn RoutingPolicy>, ids: IdSource) -> Self {
        let mut book = Book::new(config);
        for profile in &config.agents {
            book.add_agent(fresh_agent(profile.id.clone()), &profile.queues);
        }
        Self {
            policy,
            ids,
            book,
            clock: Timestamp::default(),
        }
    }

    // Getters.

    /// An open call.
    #[must_use]
    pub fn call(&self, id: CallId) -> Option<&CallRecord> {
        self.book.call(id).map(|call| &call.record)
    }

    /// All open calls, by id.
    pub fn open_calls(&self) -> impl Iterator<Item = &CallRecord> {
        self.book.calls().map(|call| &call.record)
    }

    /// The open call of a customer.
    #[must_use]
    pub fn call_of_customer(&self, customer: CustomerId) -> Option<&CallRecord> {
        self.book
            .call_of_customer(customer)
            .and_then(|call| self.call(call))
    }

    /// An agent.
    #[must_use]
    pub fn agent(&self, id: &AgentId) -> Option<&AgentRecord> {
        self.book.agent(id)
    }

    /// All agents, by id.
    pub fn agents(&self) -> impl Iterator<Item = &AgentRecord> {
        self.book.agents()
    }

    /// The offer that rings at `agent`.
    #[must_use]
    pub fn offer_of(&self, agent: &AgentId) -> Option<&Offer> {
        let Activity::Reserved { offer, .. } = self.agent(agent)?.activity else {
            return None;
        };
        let call = self.book.call_of_offer(offer)?;
        call.segments
            .last()?
            .offers
            .iter()
            .rev()
            .find(|one| one.id == offer)
    }

    /// The configured queues, by id.
    pub fn queues(&self) -> impl Iterator<Item = &QueueConfig> {
        self.book.queues().map(|queue| &queue.config)
    }

    /// The calls that wait or ring in `queue`, in the order of service. The number in this order, from 1,
    /// is the position of each; for many of them at once this is cheaper than [`position`](Self::position).
    pub fn waiting(&self, queue: &QueueId) -> impl Iterator<Item = &CallRecord> {
        let places = self.book.queue(queue).map(|queue| queue.places.iter());
        places
            .into_iter()
            .flatten()
            .filter_map(|(_, _, call)| self.call(*call))
    }

    /// The position of a call that waits or rings: 1 is served next. Costs time in proportion to it.
    #[must_use]
    pub fn position(&self, call: CallId) -> Option<usize> {
        let record = self.call(call)?;
        let place = (Reverse(record.priority), record.enqueued_at, record.id);
        let places = &self.book.queue(&record.queue)?.places;
        places.contains(&place).then(|| places.range(..=place).count())
    }

    /// A queue at a glance; `None` if there is no such queue.
    #[must_use]
    pub fn queue_view(&self, queue: &QueueId) -> Option<QueueView> {
        let queue = self.book.queue(queue)?;
        // Places are sorted by priority first: the oldest is the first of one of the priorities.
        let mut oldest = None;
        let mut next = queue.places.first();
        while let Some((priority, since, _)) = next {
            oldest = Some(oldest.map_or(*since, |known: Timestamp| known.min(*since)));
            let past = (
                *priority,
                Timestamp::from_millis(u64::MAX),
                CallId::from(u128::MAX),
            );
            next = queue
                .places
                .range((Bound::Excluded(past), Bound::Unbounded))
                .next();
        }
        Some(QueueView {
            waiting: queue.places.len(),
            oldest,
            available: self.book.routable_count(queue),
        })
    }

    /// When [`Input::Tick`] is due; possibly in the past, then at once.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.book.next_due()
    }

    // Handling.

    /// Lets `input` happen at `now`, adding what it causes to `fx`.
    ///
    /// A `now` before an earlier one counts as the earlier one. Deadlines are acted on by [`Input::Tick`]
    /// only, however late it comes; what must not happen after a deadline (answering an offer) is refused
    /// even before.
    ///
    /// # Errors
    /// [`Refused`]: nothing has changed, `fx` included.
    pub fn handle(&mut self, now: Timestamp, input: Input, fx: &mut Effects) -> Result<(), Refused> {
        self.clock = self.clock.max(now);
        let mut step = Step::new(self.clock);
        match input {
            Input::RequestCall {
                customer,
                queue,
                priority,
            } => {
                self.request_call(&mut step, customer, &queue, priority)?;
            }
            Input::CustomerLink { call, up } => self.customer_link(&mut step, call, up)?,
            Input::AgentLink { agent, up } => self.agent_link(&step, &agent, up)?,
            Input::SetPresence { agent, presence } => self.choose_presence(&mut step, &agent, presence)?,
            Input::Accept { agent, offer } => self.accept(&mut step, &agent, offer)?,
            Input::Decline { agent, offer } => self.decline(&mut step, &agent, offer)?,
            Input::HangUp { call, by } => self.hang_up(&mut step, call, &by)?,
            Input::MediaUp { call, party } => self.media_up(&mut step, call, &party)?,
            Input::MediaLost { call, party } => self.media_lost(&mut step, call, &party)?,
            Input::MediaFailed { call, party } => self.media_failed(&mut step, call, &party)?,
            Input::Chat {
                call,
                from,
                client_id,
                text,
            } => self.chat(&mut step, call, from, client_id, text)?,
            Input::EndCall { call, reason } => self.end_by_system(&mut step, call, reason)?,
            Input::WrapUpDone { agent } => self.wrap_up_done(&mut step, &agent)?,
            Input::SuperviseJoin { agent, call, mode } => self.supervise(&mut step, &agent, call, mode)?,
            Input::SuperviseLeave { agent, call } => self.stop_supervising(&mut step, &agent, call)?,
            Input::Tick => self.tick(&mut step),
        }
        self.dispatch(&mut step);
        self.finish(step, fx);
        Ok(())
    }

    /// Acts on every deadline that has passed, earliest first.
    fn tick(&mut self, step: &mut Step) {
        while let Some(owner) = self.book.first_due(step.now) {
            match owner {
                Owner::Call(call) => self.call_due(step, call),
                Owner::Agent(agent) => self.agent_due(step, &agent),
            }
        }
    }

    /// Moves what `step` caused into `fx` and forgets the calls that ended.
    fn finish(&mut self, step: Step, fx: &mut Effects) {
        fx.actions.extend(step.first);
        let (calls, agents, queues) = self.book.report(fx);
        fx.actions.extend(calls.into_iter().map(Action::CallChanged));
        fx.actions.extend(agents.into_iter().map(Action::AgentChanged));
        fx.actions.extend(queues.into_iter().map(Action::QueueChanged));
        fx.actions.extend(step.last);
        fx.commit.events.extend(step.events);
        fx.commit.chat.extend(step.chat);
        for call in step.ended {
            self.book.remove_call(call);
        }
    }

    /// Adds an event of a call, numbered.
    fn emit(&mut self, step: &mut Step, call: CallId, kind: EventKind) {
        let seq = self.book.edit_call(call, |open| {
            open.record.event_seq += 1;
            open.record.event_seq
        });
        if let Some(seq) = seq {
            let position = Some(CallPosition { id: call, seq });
            step.events.push(EventEnvelope {
                id: self.ids.next_id(),
                at: step.now,
                call: position,
                kind,
            });
        }
    }

    /// Whether `party` is in the open call.
    fn check_party(&self, call: CallId, party: &Party) -> Result<&CallRecord, Refused> {
        let record = self.call(call).ok_or(Refused::UnknownCall)?;
        record
            .participant(party)
            .map(|_| record)
            .ok_or(Refused::NotInCall)
    }

    /// Offers calls to agents until no call that can be offered has an agent who can get it.
    fn dispatch(&mut self, step: &mut Step) {
        // Calls for which the policy named nobody.
        let mut left = BTreeSet::new();
        while let Some(call) = self.book.next_offerable(&left) {
            if !self.make_offer(step, call) {
                left.insert(call);
            }
        }
        self.book.ready.clear();
    }
}

/// An agent of whom nothing is stored.
fn fresh_agent(id: AgentId) -> AgentRecord {
    AgentRecord {
        id,
        version: 0,
        presence: Presence::Offline,
        presence_since: Timestamp::default(),
        pending_presence: None,
        activity: Activity::Idle,
        activity_since: Timestamp::default(),
        link: Link::Down,
        idle_since: Timestamp::default(),
        cooldown_until: None,
        misses: 0,
    }
}
