//! Going on after a restart (row A18): places are kept, ringing starts anew, talks wait for both sides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use callkit_core::agent::{Activity, Link, Presence};
use callkit_core::call::{CallRecord, CallState, CancelCause, EndReason, OfferOutcome, Party};
use callkit_core::chat::ChatMessage;
use callkit_core::event::EventKind;
use callkit_core::id::{AgentId, CallId, IdSource};
use callkit_core::store::OpenState;
use callkit_core::time::Timestamp;

use super::calls::grace;
use super::{ChatLog, Dispatcher, Step};
use crate::book::OpenCall;
use crate::config::RoutingConfig;
use crate::effects::{Action, Effects};
use crate::policy::RoutingPolicy;
use crate::record::CallExt as _;

impl Dispatcher {
    /// A dispatcher that goes on from what a store has kept, and what that changes.
    ///
    /// Nobody is connected after a restart, so every link is in grace from `now` on. Waiting calls keep
    /// their places; offers are taken back, at no cost to the agent; calls that were being connected or
    /// talked in stay with their agents, with a room to come back to. What an agent does follows from the
    /// calls, whatever the agent's own record says.
    ///
    /// `chat` is the chat of the open calls, by which repeated messages are recognised.
    #[must_use]
    pub fn restore(
        config: &RoutingConfig,
        policy: Arc<dyn RoutingPolicy>,
        ids: IdSource,
        now: Timestamp,
        open: OpenState,
        chat: Vec<ChatMessage>,
    ) -> (Self, Effects) {
        let mut this = Self::new(config, policy, ids);
        this.clock = now.max(open.latest);
        let mut step = Step::new(this.clock);

        let profiles: BTreeMap<_, _> = config
            .agents
            .iter()
            .map(|one| (&one.id, &one.queues[..]))
            .collect();
        let needed: BTreeSet<_> = open
            .calls
            .iter()
            .flat_map(|call| call.owner().cloned().into_iter().chain(supervisor_of(call)))
            .collect();
        for record in open.agents {
            match profiles.get(&record.id) {
                Some(queues) => this.book.add_agent(record, queues),
                // No longer configured, but in a call: it goes on to its end.
                None if needed.contains(&record.id) => this.book.add_agent(record, &[]),
                None => {}
            }
        }
        let mut chats: BTreeMap<CallId, ChatLog> = BTreeMap::new();
        for message in chat {
            chats.entry(message.call).or_default().add(message);
        }
        let mut calls = Vec::new();
        for record in open.calls.into_iter().filter(|record| !record.is_ended()) {
            calls.push(record.id);
            let chat = chats.remove(&record.id).unwrap_or_default();
            this.book.add_call(OpenCall {
                record,
                customer_up: false,
                chat,
            });
        }
        // Reading is no change.
        this.book.changed_calls.clear();

        let owners = this.restore_agents(&mut step, &calls);
        for call in calls {
            this.restore_supervisor(&mut step, call);
            this.restore_call(&mut step, call, &owners);
        }
        this.dispatch(&mut step);
        let mut fx = Effects::default();
        this.finish(step, &mut fx);
        (this, fx)
    }

    /// Sets what every agent does from the calls; returns the calls that have an agent of their own.
    fn restore_agents(&mut self, step: &mut Step, calls: &[CallId]) -> BTreeSet<CallId> {
        let mut busy: BTreeMap<AgentId, Activity> = BTreeMap::new();
        let mut owners = BTreeSet::new();
        for id in calls {
            let Some(record) = self.call(*id) else { continue };
            let Some(agent) = record.owner().filter(|agent| self.agent(agent).is_some()) else {
                continue;
            };
            // A store that shows one agent in two calls is damaged; the older call keeps the agent.
            if busy.contains_key(agent) {
                continue;
            }
            let talks = matches!(record.state, CallState::Active { .. });
            let activity = if talks {
                Activity::InCall { call: *id }
            } else {
                Activity::Connecting { call: *id }
            };
            busy.insert(agent.clone(), activity);
            owners.insert(*id);
        }
        // Who has a call of his own cannot supervise another.
        for id in calls {
            let supervisor = self.call(*id).and_then(supervisor_of);
            if let Some(agent) = supervisor.filter(|agent| self.agent(agent).is_some()) {
                busy.entry(agent).or_insert(Activity::Supervising { call: *id });
            }
        }
        let agents: Vec<_> = self.agents().map(|agent| agent.id.clone()).collect();
        for id in agents {
            let activity = busy.remove(&id);
            self.restore_agent(step, &id, activity);
        }
        owners
    }

    fn restore_agent(&mut self, step: &mut Step, id: &AgentId, activity: Option<Activity>) {
        let now = step.now;
        let keep = self.book.timers.agent_grace;
        let Some(record) = self.agent(id) else { return };
        let gone = record.link == Link::Down && activity.is_none();
        let link = if gone { Link::Down } else { grace(now, keep) };
        let next = match (activity, &record.activity) {
            (Some(activity), _) => activity,
            (None, wrap_up @ Activity::WrapUp { .. }) => wrap_up.clone(),
            (None, _) => Activity::Idle,
        };
        let worked = matches!(
            record.activity,
            Activity::Connecting { .. } | Activity::InCall { .. } | Activity::Supervising { .. }
        );
        let freed = worked && next == Activity::Idle;
        if record.link != link || record.activity != next {
            self.book.edit_agent(id, |record| {
                record.link = link;
                if record.activity != next {
                    record.activity = next;
                    record.activity_since = now;
                }
                if freed {
                    record.idle_since = record.idle_since.max(now);
                }
            });
        }
        let Some(record) = self.agent(id).filter(|record| record.activity == Activity::Idle) else {
            return;
        };
        let presence = if gone {
            Some(Presence::Offline)
        } else {
            record.pending_presence.clone()
        };
        if record.pending_presence.is_some() {
            self.book.edit_agent(id, |record| record.pending_presence = None);
        }
        if let Some(presence) = presence {
            self.set_presence(step, id, presence);
        }
    }

    fn restore_call(&mut self, step: &mut Step, call: CallId, owners: &BTreeSet<CallId>) {
        let now = step.now;
        let timers = self.book.timers;
        let Some(record) = self.call(call) else { return };
        let queue = record.queue.clone();
        let waits = matches!(
            record.state,
            CallState::Queued { .. } | CallState::Offering { .. }
        );
        if waits && self.book.queue(&queue).is_none() {
            // The queue is no longer configured: nobody would ever answer.
            return self.end(step, call, EndReason::System, now);
        }
        match &record.state {
            CallState::Queued { customer } => {
                let was_up = *customer == Link::Up;
                let link = grace(now, timers.queue_grace);
                self.book.edit_call(call, |open| {
                    open.record.state = CallState::Queued { customer: link }
                });
                if was_up {
                    self.emit_link(step, call, Party::Customer, false);
                }
            }
            CallState::Offering { .. } => {
                // The agent was freed with all the others; this closes the offer in the call.
                self.close_offer(
                    step,
                    call,
                    OfferOutcome::Canceled {
                        cause: CancelCause::Restart,
                    },
                );
                let link = grace(now, timers.queue_grace);
                self.book.edit_call(call, |open| {
                    open.record.state = CallState::Queued { customer: link }
                });
                self.emit(step, call, EventKind::CallRequeued { queue });
                self.emit_link(step, call, Party::Customer, false);
            }
            CallState::Connecting { .. } | CallState::Active { .. } if !owners.contains(&call) => {
                self.end(step, call, EndReason::System, now);
            }
            CallState::Connecting { .. } => {
                self.book.edit_call(call, |open| {
                    if let CallState::Connecting {
                        deadline,
                        customer_media,
                        agent_media,
                        ..
                    } = &mut open.record.state
                    {
                        *deadline = now + timers.media_grace;
                        *customer_media = false;
                        *agent_media = false;
                    }
                });
                step.first.push(Action::OpenRoom(call));
            }
            CallState::Active {
                agent,
                customer_link,
                agent_link,
                ..
            } => {
                let lost = [
                    (*customer_link == Link::Up).then_some(Party::Customer),
                    (*agent_link == Link::Up).then(|| Party::Agent(agent.clone())),
                ];
                self.book.edit_call(call, |open| {
                    if let CallState::Active {
                        customer_link,
                        agent_link,
                        ..
                    } = &mut open.record.state
                    {
                        *customer_link = grace(now, timers.media_grace);
                        *agent_link = grace(now, timers.media_grace);
                    }
                });
                for party in lost.into_iter().flatten() {
                    self.emit_link(step, call, party, false);
                }
                step.first.push(Action::OpenRoom(call));
            }
            _ => {}
        }
    }
}

/// Who supervises `call`.
fn supervisor_of(call: &CallRecord) -> Option<AgentId> {
    match &call.supervisor()?.0.party {
        Party::Agent(agent) => Some(agent.clone()),
        Party::Customer => None,
    }
}
