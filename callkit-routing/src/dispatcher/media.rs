//! Media of both sides: from accepted to talking, lost and back (rows A8, A9, A11, C15-C18).

use callkit_core::agent::{Activity, Link};
use callkit_core::call::{CallRecord, CallState, EndReason, Party};
use callkit_core::event::{EventKind, LeaveCause};
use callkit_core::id::CallId;
use callkit_core::time::Timestamp;

use super::calls::grace;
use super::{Dispatcher, Step};
use crate::input::Refused;
use crate::record::CallExt as _;

/// The media links of a talk.
fn links(record: &CallRecord) -> Option<(Link, Link)> {
    match &record.state {
        CallState::Active {
            customer_link,
            agent_link,
            ..
        } => Some((*customer_link, *agent_link)),
        _ => None,
    }
}

fn is_over(link: Link, now: Timestamp) -> bool {
    matches!(link, Link::Grace { deadline, .. } if deadline <= now)
}

impl Dispatcher {
    /// A8, C15, and the way back of C16 and A11.
    pub(super) fn media_up(&mut self, step: &mut Step, call: CallId, party: &Party) -> Result<(), Refused> {
        let record = self.check_party(call, party)?;
        match &record.state {
            _ if record.supervision_of(party).is_some() => self.supervisor_link(step, call, Link::Up),
            CallState::Connecting { .. } => self.media_ready(step, call, party),
            CallState::Active { .. } => self.talk_link(step, call, party, Link::Up),
            // Late news of a room that is being closed.
            _ => {}
        }
        Ok(())
    }

    /// C16, A11: the place is kept. A lost signaling connection alone never gets here.
    pub(super) fn media_lost(&mut self, step: &mut Step, call: CallId, party: &Party) -> Result<(), Refused> {
        let record = self.check_party(call, party)?;
        let kept = self.book.timers.media_grace;
        match &record.state {
            _ if record.supervision_of(party).is_some() => {
                self.supervisor_link(step, call, grace(step.now, kept));
            }
            CallState::Connecting {
                customer_media,
                agent_media,
                ..
            } => {
                let up = if *party == Party::Customer {
                    *customer_media
                } else {
                    *agent_media
                };
                if up {
                    self.set_media(call, party, false);
                }
            }
            CallState::Active { .. } => {
                self.talk_link(step, call, party, grace(step.now, kept));
            }
            _ => {}
        }
        Ok(())
    }

    /// A9. In a talk it is a loss like any other: the browser may still get a new transport up.
    pub(super) fn media_failed(
        &mut self,
        step: &mut Step,
        call: CallId,
        party: &Party,
    ) -> Result<(), Refused> {
        let record = self.check_party(call, party)?;
        match (&record.state, party) {
            (CallState::Connecting { .. }, Party::Customer) => {
                // No other agent could do better.
                self.end(step, call, EndReason::MediaFailed, step.now);
            }
            (CallState::Connecting { .. }, Party::Agent(_)) => self.connect_failed(step, call),
            _ => self.media_lost(step, call, party)?,
        }
        Ok(())
    }

    /// The time to connect is over.
    pub(super) fn connect_expired(&mut self, step: &mut Step, call: CallId) {
        let Some(open) = self.book.call(call) else { return };
        let CallState::Connecting {
            customer_media,
            agent_media,
            ..
        } = open.record.state
        else {
            return;
        };
        if agent_media && !customer_media && open.customer_up {
            // The agent and the server are fine, the customer's page is there and gets no media through.
            self.end(step, call, EndReason::MediaFailed, step.now);
        } else {
            self.connect_failed(step, call);
        }
    }

    /// Back to the top of the queue, but not for ever.
    fn connect_failed(&mut self, step: &mut Step, call: CallId) {
        let Some(record) = self.call(call) else { return };
        let attempts = u32::try_from(record.failed_connects()).unwrap_or(u32::MAX);
        if attempts >= self.book.timers.max_connects {
            self.end(step, call, EndReason::MediaFailed, step.now);
        } else {
            self.requeue_on_top(step, call);
        }
    }

    /// A side that was lost in a talk did not come back, or the third.
    pub(super) fn link_expired(&mut self, step: &mut Step, call: CallId) {
        let third = self.call(call).and_then(CallRecord::supervisor);
        if third.is_some_and(|(_, own)| is_over(own.link, step.now)) {
            self.supervisor_out(step, call, LeaveCause::Lost);
        }
        let Some((customer, agent)) = self.call(call).and_then(links) else {
            return;
        };
        let now = step.now;
        match (is_over(customer, now), is_over(agent, now)) {
            (true, true) => self.end(step, call, EndReason::BothLost, now),
            (true, false) => self.end(step, call, EndReason::CustomerLost, now),
            (false, true) => self.requeue_on_top(step, call),
            (false, false) => {}
        }
    }

    fn set_media(&mut self, call: CallId, party: &Party, up: bool) {
        self.book.edit_call(call, |open| {
            if let CallState::Connecting {
                customer_media,
                agent_media,
                ..
            } = &mut open.record.state
            {
                match party {
                    Party::Customer => *customer_media = up,
                    Party::Agent(_) => *agent_media = up,
                }
            }
        });
    }

    fn media_ready(&mut self, step: &mut Step, call: CallId, party: &Party) {
        let now = step.now;
        self.set_media(call, party, true);
        let started = self.book.edit_call(call, |open| {
            let record = &mut open.record;
            let mut present = record.participants.iter_mut().rev();
            if let Some(one) = present.find(|one| one.party == *party && one.left_at.is_none()) {
                one.media_at = one.media_at.or(Some(now));
            }
            let CallState::Connecting {
                agent,
                customer_media: true,
                agent_media: true,
                ..
            } = &record.state
            else {
                return None;
            };
            let agent = agent.clone();
            record.state = CallState::Active {
                agent: agent.clone(),
                since: now,
                customer_link: Link::Up,
                agent_link: Link::Up,
            };
            record.refused_by.clear();
            if let Some(stay) = record.segments.last_mut() {
                stay.connected_at = Some(now);
            }
            Some(agent)
        });
        if let Some(agent) = started.flatten() {
            self.book.edit_agent(&agent, |record| {
                record.activity = Activity::InCall { call };
                record.activity_since = now;
            });
            self.emit(step, call, EventKind::CallStarted { agent });
        }
    }

    /// Writes the media link of one side of a talk, if that is a change.
    fn talk_link(&mut self, step: &mut Step, call: CallId, party: &Party, next: Link) {
        let Some((customer, agent)) = self.call(call).and_then(links) else {
            return;
        };
        let link = if *party == Party::Customer {
            customer
        } else {
            agent
        };
        if (link == Link::Up) == (next == Link::Up) {
            return;
        }
        self.book.edit_call(call, |open| {
            if let CallState::Active {
                customer_link,
                agent_link,
                ..
            } = &mut open.record.state
            {
                match party {
                    Party::Customer => *customer_link = next,
                    Party::Agent(_) => *agent_link = next,
                }
            }
        });
        self.emit_link(step, call, party.clone(), next == Link::Up);
    }
}
