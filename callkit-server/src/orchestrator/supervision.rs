//! Supervision at the desk: which mode is in force on the media plane, what the customer may notice of it
//! (of a supervisor who listens or whispers: nothing), and the list of talks that can be supervised.
//!
//! A mode is shown to people as the wider of what was decided and what is in force. So a supervisor who
//! goes from barge to listen is shown until nothing of him is forwarded any more, never less than that.

use std::collections::{BTreeMap, BTreeSet};

use callkit_core::auth::{Action as Wish, Principal};
use callkit_core::call::{CallRecord, CallState, Participant, Party, SuperviseMode};
use callkit_core::id::{AgentId, CallId, ParticipantId};
use callkit_core::time::Timestamp;
use callkit_routing::Input;
use callkit_sfu::media::Grant;
use callkit_signal::hub::RequestReply;
use callkit_signal::message::{ActiveCallView, CallView, ErrorBody, Event, MAX_LISTED_CALLS, Outcome, codes};

use super::desk::{AnswerBody, Batch, Desk, Outbox, present};
use super::media::MediaOp;
use super::requests::{error_of, forbidden};
use super::views;

/// What the desk remembers of supervision. All of it is made anew after a restart.
#[derive(Debug, Default)]
pub(super) struct Supervisions {
    /// The mode that the media plane was told last, by the supervisor's participant.
    asked: BTreeMap<ParticipantId, SuperviseMode>,
    /// The mode that the media plane has confirmed.
    pub(super) in_force: BTreeMap<ParticipantId, SuperviseMode>,
    /// Talks that supervisors were told of, without durations.
    listed: BTreeMap<CallId, ActiveCallView>,
    /// What the customers of open calls were shown last. Their views are numbered by what changed for them:
    /// the numbers of the record would tell of changes that they are not shown.
    shown: BTreeMap<CallId, Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    version: u64,
    /// Without version and durations; `None`: to be shown again, whatever it was.
    view: Option<CallView>,
}

impl Supervisions {
    /// The number of the view that the customer was shown last.
    pub(super) fn version(&self, call: CallId) -> u64 {
        self.shown.get(&call).map_or(0, |shown| shown.version)
    }

    /// Everything is to be shown again.
    pub(super) fn show_again(&mut self) {
        self.listed.clear();
        for shown in self.shown.values_mut() {
            shown.view = None;
        }
    }

    /// The participant has no place on the media plane any more.
    pub(super) fn forget_place(&mut self, participant: ParticipantId) {
        self.asked.remove(&participant);
        self.in_force.remove(&participant);
    }

    /// Forgets what belonged to a call that is over.
    pub(super) fn forget(&mut self, record: &CallRecord) {
        self.shown.remove(&record.id);
        for one in &record.participants {
            self.forget_place(one.id);
        }
    }

    /// The media plane has confirmed `grant`; whether that changes what people are shown.
    pub(super) fn confirm(&mut self, participant: ParticipantId, grant: Grant) -> bool {
        let mode = mode_of(grant);
        mode.is_some_and(|mode| self.in_force.insert(participant, mode) != Some(mode))
    }

    /// The media plane did not answer in time; whether there is something to ask it for again.
    pub(super) fn ask_again(&mut self, participant: ParticipantId) -> bool {
        let Some(mode) = self.in_force.get(&participant) else {
            return false;
        };
        self.asked.insert(participant, *mode);
        true
    }
}

/// What `one` may send to the others in the call (R7.2 to R7.5).
pub(super) fn grant_of(record: &CallRecord, one: &Participant) -> Grant {
    let Some(own) = one.supervising else {
        return Grant::Full;
    };
    match (own.mode, &record.state) {
        (SuperviseMode::Barge, _) => Grant::Barge,
        (SuperviseMode::Whisper, CallState::Active { agent, .. }) => {
            match record.participant(&Party::Agent(agent.clone())) {
                Some(agent) => Grant::Whisper { to: agent.id },
                None => Grant::Listen,
            }
        }
        (SuperviseMode::Listen | SuperviseMode::Whisper, _) => Grant::Listen,
    }
}

const fn mode_of(grant: Grant) -> Option<SuperviseMode> {
    match grant {
        Grant::Full => None,
        Grant::Listen => Some(SuperviseMode::Listen),
        Grant::Whisper { .. } => Some(SuperviseMode::Whisper),
        Grant::Barge => Some(SuperviseMode::Barge),
    }
}

impl Desk {
    /// `supervise.join`.
    pub(super) fn supervise(
        &mut self,
        now: Timestamp,
        who: &Principal,
        call: CallId,
        mode: SuperviseMode,
        batch: &mut Batch,
    ) -> Result<AnswerBody, ErrorBody> {
        let agent = self.may_supervise(who, call)?;
        self.decide(now, Input::SuperviseJoin { agent, call, mode }, batch)
            .map_err(|refused| error_of(&refused))?;
        Ok(AnswerBody::Supervising(call))
    }

    /// Who `who` is as a supervisor of the call. A call that is not theirs to know of looks like none.
    fn may_supervise(&self, who: &Principal, call: CallId) -> Result<AgentId, ErrorBody> {
        let none = || ErrorBody::new(codes::NOT_FOUND, "there is no such open call");
        let Principal::Staff { id, .. } = who else {
            return Err(forbidden());
        };
        let record = self.dispatcher.call(call).ok_or_else(none)?;
        match self.access.check(who, &Wish::Supervise(record)) {
            Ok(()) => Ok(id.clone()),
            Err(_) if self.access.check(who, &Wish::ReadCall(record)).is_ok() => Err(forbidden()),
            Err(_) => Err(none()),
        }
    }

    /// The grant with which a participant of an open call joins, noted as what the media plane was told.
    pub(super) fn grant_on_joining(&mut self, call: CallId, participant: ParticipantId) -> Grant {
        let record = self.dispatcher.call(call);
        let one = record.and_then(|record| {
            Some((
                record,
                record.participants.iter().find(|one| one.id == participant)?,
            ))
        });
        // Who is in no open call is about to be taken out again: until then, nothing is heard.
        let grant = one.map_or(Grant::Listen, |(record, one)| grant_of(record, one));
        if let Some(mode) = mode_of(grant) {
            self.supervisions.asked.insert(participant, mode);
        }
        grant
    }

    /// Brings the media plane up to date with the modes of the changed calls. `held` are the answers to who
    /// asked for them: they go out when the mode is in force.
    pub(super) fn push_grants(
        &mut self,
        changed: &BTreeSet<CallId>,
        held: Vec<(CallId, RequestReply)>,
        out: &mut Outbox,
    ) {
        let mut replies: BTreeMap<CallId, Vec<RequestReply>> = BTreeMap::new();
        for (call, reply) in held {
            replies.entry(call).or_default().push(reply);
        }
        for call in changed {
            let Some(record) = self.dispatcher.call(*call) else {
                continue;
            };
            let Some((one, own)) = record.supervisor() else {
                continue;
            };
            let participant = one.id;
            // Who has not joined yet brings the mode along.
            let Some(asked) = self.supervisions.asked.get_mut(&participant) else {
                continue;
            };
            if *asked != own.mode {
                *asked = own.mode;
                let grant = grant_of(record, one);
                let replies = replies.remove(call).unwrap_or_default();
                out.media.push((
                    *call,
                    MediaOp::Grant {
                        participant,
                        grant,
                        replies,
                    },
                ));
            }
        }
        for reply in replies.into_values().flatten() {
            out.answers.push((reply, Ok(Outcome::Done)));
        }
    }

    /// The customer's view, if it is another than the one shown last; its number is the next one.
    pub(super) fn news_for_customer(
        &self,
        now: Timestamp,
        record: &CallRecord,
        place: (Option<u32>, bool),
    ) -> Option<(CallView, ShownView)> {
        let bare = CallView {
            version: 0,
            ..self.call_view_at(Timestamp::default(), record, &Party::Customer, place)
        };
        let shown = self.supervisions.shown.get(&record.id);
        if shown.and_then(|shown| shown.view.as_ref()) == Some(&bare) {
            return None;
        }
        let version = self.supervisions.version(record.id) + 1;
        let view = CallView {
            version,
            ..self.call_view_at(now, record, &Party::Customer, place)
        };
        Some((view, ShownView { version, bare }))
    }

    /// Remembers what the customer is shown.
    pub(super) fn note_shown(&mut self, call: CallId, ShownView { version, bare }: ShownView) {
        let view = Some(bare);
        self.supervisions.shown.insert(call, Shown { version, view });
    }

    /// Tells supervisors which talks began, changed hands or are over.
    pub(super) fn list_talks(
        &mut self,
        now: Timestamp,
        changed: &BTreeSet<CallId>,
        batch: &Batch,
        out: &mut Outbox,
    ) {
        for call in changed {
            let Some(record) = self.dispatcher.call(*call).or_else(|| batch.fx.call(*call)) else {
                continue;
            };
            let bare = self.active_view(Timestamp::default(), record);
            if self.supervisions.listed.get(call) == bare.as_ref() {
                continue;
            }
            let event = match self.active_view(now, record) {
                Some(call) => Event::CallsChanged { call },
                None => Event::CallsGone { call: *call },
            };
            for (key, session) in &self.sessions {
                if self.sees_talk(&session.principal, record) {
                    out.events.push((key.clone(), event.clone()));
                }
            }
            match bare {
                Some(view) => self.supervisions.listed.insert(*call, view),
                None => self.supervisions.listed.remove(call),
            };
        }
    }

    /// The talks for a snapshot: those that began last, if there are too many.
    pub(super) fn talks_for(&self, now: Timestamp, who: &Principal) -> Vec<ActiveCallView> {
        let mut talks: Vec<_> = self
            .dispatcher
            .open_calls()
            .filter(|record| self.sees_talk(who, record))
            .filter_map(|record| self.active_view(now, record))
            .collect();
        talks.sort_by_key(|talk| (talk.for_ms, talk.id));
        talks.truncate(MAX_LISTED_CALLS);
        talks
    }

    fn sees_talk(&self, who: &Principal, record: &CallRecord) -> bool {
        matches!(who, Principal::Staff { .. }) && self.access.check(who, &Wish::Supervise(record)).is_ok()
    }

    fn active_view(&self, now: Timestamp, record: &CallRecord) -> Option<ActiveCallView> {
        let CallState::Active { agent, since, .. } = &record.state else {
            return None;
        };
        let supervisor = present(record).find(|one| one.supervising.is_some());
        Some(ActiveCallView {
            id: record.id,
            queue: record.queue.clone(),
            agent: agent.clone(),
            agent_name: self.names.get(agent).cloned(),
            customer: record.customer.id,
            name: record.customer.name.clone(),
            for_ms: views::millis(now, *since),
            supervisor: supervisor.and_then(|one| match &one.party {
                Party::Agent(agent) => Some(agent.clone()),
                Party::Customer => None,
            }),
        })
    }
}

/// A view of the customer's, to be remembered as shown.
#[derive(Debug)]
pub(super) struct ShownView {
    version: u64,
    bare: CallView,
}
