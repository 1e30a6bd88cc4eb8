//! The way of a call: asked for, queued, back in the queue, ended (rows C4, C7, C9, C10, C14, C20).

use callkit_core::agent::Link;
use callkit_core::call::{
    CallRecord, CallState, CancelCause, Customer, EndReason, OfferOutcome, Participant, Party, Segment,
};
use callkit_core::event::{EventKind, LeaveCause};
use callkit_core::id::{AgentId, CallId, QueueId};
use callkit_core::time::Timestamp;

use super::{ChatLog, Dispatcher, Step};
use crate::book::{OpenCall, wait_limit};
use crate::effects::Action;
use crate::input::Refused;
use crate::record::{AgentExt as _, CallExt as _};

/// The priority of a call that was answered and has to be answered again.
const TOP: u8 = u8::MAX;

impl Dispatcher {
    /// C4.
    pub(super) fn request_call(
        &mut self,
        step: &mut Step,
        customer: Customer,
        queue: &QueueId,
        priority: u8,
    ) -> Result<(), Refused> {
        if let Some(call) = self.book.call_of_customer(customer.id) {
            return Err(Refused::AlreadyCalling {
                customer: customer.id,
                call,
            });
        }
        let known = self.book.queue(queue).ok_or(Refused::UnknownQueue)?;
        if known.places.len() >= known.config.max_len {
            return Err(Refused::QueueFull);
        }
        let id: CallId = self.ids.next_id();
        let who = customer.id;
        let participant = Participant {
            id: self.ids.next_id(),
            party: Party::Customer,
            joined_at: step.now,
            media_at: None,
            left_at: None,
            supervising: None,
        };
        let record = CallRecord {
            id,
            version: 0,
            event_seq: 0,
            chat_seq: 0,
            customer,
            queue: queue.clone(),
            priority: priority.min(TOP - 1),
            created_at: step.now,
            enqueued_at: step.now,
            state: CallState::Queued { customer: Link::Up },
            refused_by: Vec::new(),
            segments: vec![stay(queue, step.now)],
            participants: vec![participant],
        };
        self.book.add_call(OpenCall {
            record,
            customer_up: true,
            chat: ChatLog::default(),
        });
        self.emit(
            step,
            id,
            EventKind::CallQueued {
                queue: queue.clone(),
                customer: who,
            },
        );
        Ok(())
    }

    /// C9. While the call waits, signaling is the customer's presence; in a talk, media is.
    pub(super) fn customer_link(&mut self, step: &mut Step, call: CallId, up: bool) -> Result<(), Refused> {
        let (customer_up, _) = self.book.beside(call).ok_or(Refused::UnknownCall)?;
        *customer_up = up;
        let waits = match self.call(call).map(|record| &record.state) {
            Some(CallState::Queued { customer }) => Some((*customer == Link::Up) != up),
            Some(CallState::Offering { .. }) => (!up).then_some(false),
            _ => None,
        };
        match waits {
            Some(true) => {
                let link = self.waiting_link(step, up);
                self.book.edit_call(call, |open| {
                    open.record.state = CallState::Queued { customer: link }
                });
                self.emit_link(step, call, Party::Customer, up);
            }
            Some(false) if !up => {
                let outcome = OfferOutcome::Canceled {
                    cause: CancelCause::CustomerLeft,
                };
                if self.close_offer(step, call, outcome).is_some() {
                    self.emit_link(step, call, Party::Customer, false);
                    self.requeue(step, call);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// C10 and C20. A supervisor who hangs up leaves (S3).
    pub(super) fn hang_up(&mut self, step: &mut Step, call: CallId, by: &Party) -> Result<(), Refused> {
        let record = self.check_party(call, by)?;
        if record.supervision_of(by).is_some() {
            self.supervisor_out(step, call, LeaveCause::Left);
            return Ok(());
        }
        let reason = match (by, &record.state) {
            (Party::Agent(_), _) => EndReason::Agent,
            (Party::Customer, CallState::Active { .. }) => EndReason::Customer,
            // The wait ends when both sides' media is up (C15); until then leaving is giving up.
            (Party::Customer, _) => EndReason::Abandoned,
        };
        self.end(step, call, reason, step.now);
        Ok(())
    }

    /// C20, by the system or an administrator.
    pub(super) fn end_by_system(
        &mut self,
        step: &mut Step,
        call: CallId,
        reason: EndReason,
    ) -> Result<(), Refused> {
        self.call(call).ok_or(Refused::UnknownCall)?;
        self.end(step, call, reason, step.now);
        Ok(())
    }

    /// A deadline of the call has passed.
    pub(super) fn call_due(&mut self, step: &mut Step, call: CallId) {
        let Some(record) = self.call(call) else { return };
        match &record.state {
            CallState::Queued {
                customer: Link::Grace { since, deadline },
            } if *deadline <= step.now => {
                let since = *since;
                self.end(step, call, EndReason::Abandoned, since);
            }
            CallState::Queued { .. } => self.end(step, call, EndReason::QueueTimeout, step.now),
            CallState::Offering { .. } => self.give_back(step, call, OfferOutcome::Missed),
            CallState::Connecting { .. } => self.connect_expired(step, call),
            CallState::Active { .. } => self.link_expired(step, call),
            _ => {}
        }
    }

    /// Brings a call whose offer was closed back to its place, unless the longest wait was reached while it
    /// rang (C14, C7).
    pub(super) fn requeue(&mut self, step: &mut Step, call: CallId) {
        let Some(open) = self.book.call(call) else { return };
        let queue = open.record.queue.clone();
        let config = self.book.queue(&queue).map(|queue| &queue.config);
        if wait_limit(config, &open.record).is_some_and(|limit| limit <= step.now) {
            return self.end(step, call, EndReason::QueueTimeout, step.now);
        }
        let link = self.waiting_link(step, open.customer_up);
        self.book.edit_call(call, |open| {
            open.record.state = CallState::Queued { customer: link }
        });
        self.emit(step, call, EventKind::CallRequeued { queue });
    }

    /// Takes an answered call away from its agent and back to the top of the queue at its original place
    /// (A9, A11). The stay that was answered is over; a new one begins.
    pub(super) fn requeue_on_top(&mut self, step: &mut Step, call: CallId) {
        let Some(open) = self.book.call(call) else { return };
        let Some(agent) = open.record.owner().cloned() else {
            return;
        };
        let queue = open.record.queue.clone();
        if self.book.queue(&queue).is_none() {
            // The queue is no longer configured: nobody would ever answer.
            return self.end(step, call, EndReason::System, step.now);
        }
        let link = self.waiting_link(step, open.customer_up);
        let now = step.now;
        self.supervisor_out(step, call, LeaveCause::CallOver);
        self.book.edit_call(call, |open| {
            let record = &mut open.record;
            record.priority = TOP;
            record.state = CallState::Queued { customer: link };
            if !record.refused_by.contains(&agent) {
                record.refused_by.push(agent.clone());
            }
            if let Some(last) = record.segments.last_mut() {
                last.ended_at = Some(now);
            }
            record.segments.push(stay(&queue, now));
            leave(record, Some(&agent), now);
        });
        self.emit(step, call, EventKind::CallRequeued { queue });
        step.last.push(Action::CloseRoom(call));
        let pause = self.book.timers.media_cooldown;
        self.book
            .edit_agent(&agent, |record| record.cool_down(now, pause));
        self.release(step, &agent, call);
    }

    /// The end of a call, from any state. `left_at` is when the customer was last there.
    pub(super) fn end(&mut self, step: &mut Step, call: CallId, reason: EndReason, left_at: Timestamp) {
        let now = step.now;
        let cause = match reason {
            EndReason::Customer | EndReason::Abandoned | EndReason::CustomerLost => CancelCause::CustomerLeft,
            _ => CancelCause::System,
        };
        self.close_offer(step, call, OfferOutcome::Canceled { cause });
        let Some(owner) = self.call(call).map(|record| record.owner().cloned()) else {
            return;
        };
        self.supervisor_out(step, call, LeaveCause::CallOver);
        self.book.edit_call(call, |open| {
            let record = &mut open.record;
            record.state = CallState::Ended { at: now, reason };
            record.refused_by.clear();
            if let Some(last) = record.segments.last_mut() {
                last.ended_at = Some(left_at);
            }
            leave(record, None, now);
        });
        self.emit(step, call, EventKind::CallEnded { reason });
        step.ended.push(call);
        if let Some(agent) = owner {
            step.last.push(Action::CloseRoom(call));
            self.release(step, &agent, call);
        }
    }

    /// The connection of a customer who waits.
    fn waiting_link(&self, step: &Step, up: bool) -> Link {
        if up {
            Link::Up
        } else {
            grace(step.now, self.book.timers.queue_grace)
        }
    }

    pub(super) fn emit_link(&mut self, step: &mut Step, call: CallId, party: Party, up: bool) {
        let kind = if up {
            EventKind::LinkRestored { party }
        } else {
            EventKind::LinkLost { party }
        };
        self.emit(step, call, kind);
    }
}

/// A link that was just lost.
pub(super) fn grace(now: Timestamp, keep: std::time::Duration) -> Link {
    Link::Grace {
        since: now,
        deadline: now + keep,
    }
}

/// A stay in `queue` that begins.
pub(super) fn stay(queue: &QueueId, now: Timestamp) -> Segment {
    Segment {
        queue: queue.clone(),
        enqueued_at: now,
        agent: None,
        accepted_at: None,
        connected_at: None,
        ended_at: None,
        offers: Vec::new(),
    }
}

/// Lets `agent`, or everybody, leave.
fn leave(record: &mut CallRecord, agent: Option<&AgentId>, now: Timestamp) {
    let leaves = |one: &&mut Participant| match (agent, &one.party) {
        (None, _) => true,
        (Some(agent), Party::Agent(id)) => id == agent,
        (Some(_), Party::Customer) => false,
    };
    for one in record
        .participants
        .iter_mut()
        .filter(|one| one.left_at.is_none())
        .filter(leaves)
    {
        one.left_at = Some(now);
    }
}
