//! The third in a call: a supervisor who listens, whispers or joins in (rows S1 to S8). The supervisor is
//! never counted as the agent: what happens to the third place leaves the talk of the two as it is.

use callkit_core::agent::{Activity, Link};
use callkit_core::call::{
    CallRecord, CallState, MAX_PARTICIPANTS, Participant, Party, SuperviseMode, Supervision,
};
use callkit_core::event::{EventKind, LeaveCause};
use callkit_core::id::{AgentId, CallId};

use super::calls::grace;
use super::{Dispatcher, Step};
use crate::effects::Action;
use crate::input::Refused;
use crate::record::CallExt as _;

impl Dispatcher {
    /// S1, S2, S6.
    pub(super) fn supervise(
        &mut self,
        step: &mut Step,
        agent: &AgentId,
        call: CallId,
        mode: SuperviseMode,
    ) -> Result<(), Refused> {
        let person = self.agent(agent).ok_or(Refused::UnknownAgent)?;
        let record = self.call(call).ok_or(Refused::UnknownCall)?;
        if let Some(now) = record.supervision_of(&Party::Agent(agent.clone())) {
            if now.mode != mode {
                self.switch(step, agent, call, mode);
            }
            return Ok(());
        }
        if person.link == Link::Down {
            return Err(Refused::NotConnected);
        }
        if person.activity != Activity::Idle {
            return Err(Refused::Busy);
        }
        if !matches!(record.state, CallState::Active { .. }) {
            return Err(Refused::NotTalking);
        }
        let present = record.participants.iter().filter(|one| one.left_at.is_none());
        if present.count() >= MAX_PARTICIPANTS {
            return Err(Refused::CallFull);
        }
        let now = step.now;
        let participant = Participant {
            id: self.ids.next_id(),
            party: Party::Agent(agent.clone()),
            joined_at: now,
            media_at: None,
            left_at: None,
            supervising: Some(Supervision {
                mode,
                link: grace(now, self.book.timers.connect),
            }),
        };
        self.book
            .edit_call(call, |open| open.record.participants.push(participant));
        self.book.edit_agent(agent, |record| {
            record.activity = Activity::Supervising { call };
            record.activity_since = now;
        });
        let agent = agent.clone();
        self.emit(step, call, EventKind::SupervisorJoined { agent, mode });
        Ok(())
    }

    fn switch(&mut self, step: &mut Step, agent: &AgentId, call: CallId, mode: SuperviseMode) {
        self.edit_supervision(call, |_, own| own.mode = mode);
        let agent = agent.clone();
        self.emit(step, call, EventKind::SupervisorMode { agent, mode });
    }

    /// S3.
    pub(super) fn stop_supervising(
        &mut self,
        step: &mut Step,
        agent: &AgentId,
        call: CallId,
    ) -> Result<(), Refused> {
        self.agent(agent).ok_or(Refused::UnknownAgent)?;
        let party = Party::Agent(agent.clone());
        let record = self.check_party(call, &party)?;
        record.supervision_of(&party).ok_or(Refused::NotInCall)?;
        self.supervisor_out(step, call, LeaveCause::Left);
        Ok(())
    }

    /// S3, S4, S5: the third place becomes free, the supervisor too.
    pub(super) fn supervisor_out(&mut self, step: &mut Step, call: CallId, cause: LeaveCause) {
        let Some((one, _)) = self.call(call).and_then(CallRecord::supervisor) else {
            return;
        };
        let (participant, party) = (one.id, one.party.clone());
        let now = step.now;
        self.edit_supervision(call, |one, own| {
            one.left_at = Some(now);
            if cause == LeaveCause::Lost {
                own.link = Link::Down;
            }
        });
        let Party::Agent(agent) = party else { return };
        self.emit(
            step,
            call,
            EventKind::SupervisorLeft {
                agent: agent.clone(),
                cause,
            },
        );
        if cause != LeaveCause::CallOver {
            step.last.push(Action::DropParticipant { call, participant });
        }
        if self
            .agent(&agent)
            .is_some_and(|record| record.activity == Activity::Supervising { call })
        {
            self.settle(step, &agent);
        }
    }

    /// The media of the supervisor came up or was lost (S4).
    pub(super) fn supervisor_link(&mut self, step: &mut Step, call: CallId, next: Link) {
        let Some((one, own)) = self.call(call).and_then(CallRecord::supervisor) else {
            return;
        };
        if (own.link == Link::Up) == (next == Link::Up) {
            return;
        }
        let (party, first) = (one.party.clone(), one.media_at.is_none());
        let now = step.now;
        self.edit_supervision(call, |one, own| {
            own.link = next;
            if next == Link::Up {
                one.media_at = one.media_at.or(Some(now));
            }
        });
        if !first {
            self.emit_link(step, call, party, next == Link::Up);
        }
    }

    /// S7: a supervisor stays over a restart, in a talk that goes on and with nothing else to do.
    pub(super) fn restore_supervisor(&mut self, step: &mut Step, call: CallId) {
        let Some((one, own)) = self.call(call).and_then(CallRecord::supervisor) else {
            return;
        };
        let party = one.party.clone();
        let stays = match (&party, self.call(call).map(|record| &record.state)) {
            (Party::Agent(agent), Some(CallState::Active { .. })) => self
                .agent(agent)
                .is_some_and(|record| record.activity == Activity::Supervising { call }),
            _ => false,
        };
        if !stays {
            return self.supervisor_out(step, call, LeaveCause::CallOver);
        }
        let link = grace(step.now, self.book.timers.media_grace);
        self.edit_supervision(call, |_, own| own.link = link);
        if own.link == Link::Up {
            self.emit_link(step, call, party, false);
        }
    }

    fn edit_supervision(&mut self, call: CallId, edit: impl FnOnce(&mut Participant, &mut Supervision)) {
        self.book.edit_call(call, |open| {
            let mut present = open.record.participants.iter_mut().rev();
            let found = present.find(|one| one.left_at.is_none() && one.supervising.is_some());
            if let Some((one, mut own)) = found.and_then(|one| one.supervising.map(|own| (one, own))) {
                edit(one, &mut own);
                one.supervising = Some(own);
            }
        });
    }
}
