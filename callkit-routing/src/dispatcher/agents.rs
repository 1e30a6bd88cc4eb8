//! The three axes of an agent (rows A6, A7, A10, A12, A13, A16, A17). The person writes presence, this
//! file writes it only when the person is gone or does not respond.

use callkit_core::agent::{Activity, Link, Presence};
use callkit_core::call::{CancelCause, OfferOutcome};
use callkit_core::event::{EventEnvelope, EventKind};
use callkit_core::id::{AgentId, CallId};

use super::calls::grace;
use super::{Dispatcher, Step};
use crate::config::WrapUp;
use crate::input::{MAX_AWAY_REASON_CHARS, Refused};

impl Dispatcher {
    /// A7, and A17: a second console of the same agent changes nothing.
    pub(super) fn agent_link(&mut self, step: &Step, agent: &AgentId, up: bool) -> Result<(), Refused> {
        let link = self.agent(agent).ok_or(Refused::UnknownAgent)?.link;
        let next = match (link, up) {
            (Link::Grace { .. } | Link::Down, true) => Link::Up,
            (Link::Up, false) => grace(step.now, self.book.timers.agent_grace),
            (Link::Up, true) | (Link::Grace { .. } | Link::Down, false) => return Ok(()),
        };
        self.book.edit_agent(agent, |record| record.link = next);
        Ok(())
    }

    /// A6, A12, A15, A16.
    pub(super) fn choose_presence(
        &mut self,
        step: &mut Step,
        agent: &AgentId,
        presence: Presence,
    ) -> Result<(), Refused> {
        let record = self.agent(agent).ok_or(Refused::UnknownAgent)?;
        match &presence {
            Presence::Offline | Presence::Available => {}
            Presence::Away { reason } => {
                if reason
                    .as_ref()
                    .is_some_and(|text| text.chars().count() > MAX_AWAY_REASON_CHARS)
                {
                    return Err(Refused::InvalidPresence);
                }
            }
            _ => return Err(Refused::InvalidPresence),
        }
        if record.link == Link::Down && presence != Presence::Offline {
            return Err(Refused::NotConnected);
        }
        match record.activity {
            Activity::Idle => self.set_presence(step, agent, presence),
            Activity::Reserved { call, .. } => {
                // Presence first: the agent must not be matched again by the requeued call.
                let leaves = presence != Presence::Available;
                self.set_presence(step, agent, presence);
                if leaves {
                    self.give_back(
                        step,
                        call,
                        OfferOutcome::Canceled {
                            cause: CancelCause::AgentAway,
                        },
                    );
                }
            }
            _ => {
                let pending = (presence != record.presence).then_some(presence);
                if pending != record.pending_presence {
                    self.book
                        .edit_agent(agent, |record| record.pending_presence = pending);
                }
            }
        }
        Ok(())
    }

    /// A13, by the agent.
    pub(super) fn wrap_up_done(&mut self, step: &mut Step, agent: &AgentId) -> Result<(), Refused> {
        let record = self.agent(agent).ok_or(Refused::UnknownAgent)?;
        if !matches!(record.activity, Activity::WrapUp { .. }) {
            return Err(Refused::NotInWrapUp);
        }
        self.settle(step, agent);
        Ok(())
    }

    /// A deadline of the agent has passed.
    pub(super) fn agent_due(&mut self, step: &mut Step, agent: &AgentId) {
        let now = step.now;
        let Some(record) = self.agent(agent) else { return };
        if record.cooldown_until.is_some_and(|until| until <= now) {
            self.book.edit_agent(agent, |record| record.cooldown_until = None);
        }
        let Some(record) = self.agent(agent) else { return };
        if let (Link::Grace { since, deadline }, Activity::Reserved { call, .. }) =
            (record.link, &record.activity)
            && deadline.min(since + self.book.timers.ring_grace) <= now
        {
            let call = *call;
            self.give_back(
                step,
                call,
                OfferOutcome::Canceled {
                    cause: CancelCause::Unreachable,
                },
            );
        }
        let Some(record) = self.agent(agent) else { return };
        if matches!(record.activity, Activity::WrapUp { deadline: Some(deadline), .. } if deadline <= now) {
            self.settle(step, agent);
        }
        let Some(record) = self.agent(agent) else { return };
        if matches!(record.link, Link::Grace { deadline, .. } if deadline <= now) {
            let idle = record.activity == Activity::Idle;
            self.book.edit_agent(agent, |record| record.link = Link::Down);
            if idle {
                self.set_presence(step, agent, Presence::Offline);
            }
        }
    }

    /// A10: the call that the agent had is over.
    pub(super) fn release(&mut self, step: &mut Step, agent: &AgentId, call: CallId) {
        let talked = match self.agent(agent).map(|record| &record.activity) {
            Some(Activity::InCall { call: own }) if *own == call => true,
            Some(Activity::Connecting { call: own }) if *own == call => false,
            _ => return,
        };
        let queue = self.call(call).and_then(|record| self.book.queue(&record.queue));
        match queue.map_or(WrapUp::None, |queue| queue.config.wrap_up) {
            WrapUp::Forced(pause) if talked => {
                let deadline = Some(step.now + pause);
                self.book.edit_agent(agent, |record| {
                    record.activity = Activity::WrapUp { call, deadline };
                    record.activity_since = step.now;
                });
            }
            _ => self.settle(step, agent),
        }
    }

    /// All work is done: idle, with the presence chosen meanwhile, or Offline if nobody is there.
    pub(super) fn settle(&mut self, step: &mut Step, agent: &AgentId) {
        let now = step.now;
        let next = self.book.edit_agent(agent, |record| {
            record.activity = Activity::Idle;
            record.activity_since = now;
            record.idle_since = record.idle_since.max(now);
            let pending = record.pending_presence.take();
            if record.link == Link::Down {
                Some(Presence::Offline)
            } else {
                pending
            }
        });
        if let Some(presence) = next.flatten() {
            self.set_presence(step, agent, presence);
        }
    }

    /// The only writer of presence.
    pub(super) fn set_presence(&mut self, step: &mut Step, agent: &AgentId, presence: Presence) {
        let now = step.now;
        if self.agent(agent).is_none_or(|record| record.presence == presence) {
            return;
        }
        self.book.edit_agent(agent, |record| {
            record.presence = presence.clone();
            record.presence_since = now;
            record.pending_presence = None;
            if presence == Presence::Available {
                record.idle_since = record.idle_since.max(now);
                record.misses = 0;
            }
        });
        let kind = EventKind::AgentPresence {
            agent: agent.clone(),
            presence,
        };
        step.events.push(EventEnvelope {
            id: self.ids.next_id(),
            at: now,
            call: None,
            kind,
        });
    }
}
