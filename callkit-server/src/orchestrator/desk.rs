//! [`Desk`]: all that the orchestrator remembers, and [`Batch`]: what a handful of inputs is going to do.
//!
//! The desk neither waits nor sends. Calls and agents are the dispatcher's; what is kept here beside it is
//! either of no worth after a restart (who is connected, what is switched on, what was shown) or a copy for
//! reading (chat, names).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use callkit_core::agent::{AgentProfile, Presence};
use callkit_core::auth::{AccessPolicy, Principal, StaffRole};
use callkit_core::call::{CallRecord, CallState, Party};
use callkit_core::chat::ChatMessage;
use callkit_core::id::{AgentId, CallId, ParticipantId, QueueId};
use callkit_core::redact::Private;
use callkit_core::time::Timestamp;
use callkit_routing::{Dispatcher, Effects, Input, Refused, RoutingConfig};
use callkit_sfu::media::Demand;
use callkit_sfu::quality::Assessment;
use callkit_signal::hub::{OpenReply, PrincipalKey, RequestReply};
use callkit_signal::message::{CallView, ErrorBody, MediaState, Outcome, QueueView, Role, Snapshot, You};

use crate::ice::IceServers;

use super::media::{Join, MediaOp};
use super::presence::Presences;
use super::quality::Qualities;
use super::supervision::Supervisions;
use super::views::{self, Scene};

/// Somebody with an open signaling session.
#[derive(Debug)]
pub(super) struct Session {
    /// Who.
    pub(super) principal: Principal,
    /// Whether the session has a connection.
    pub(super) connected: bool,
    /// Whether the last connection was taken for dead, not closed by the other end.
    pub(super) silent: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) dispatcher: Dispatcher,
    pub(super) access: Arc<dyn AccessPolicy>,
    pub(super) ice: Arc<IceServers>,
    /// Queues with the name to show.
    pub(super) queues: BTreeMap<QueueId, String>,
    /// The queues that each configured agent serves.
    pub(super) served: BTreeMap<AgentId, Vec<QueueId>>,
    /// Names of staff, from the configuration and from sign-ins.
    pub(super) names: BTreeMap<AgentId, Private<String>>,
    pub(super) sessions: BTreeMap<PrincipalKey, Session>,
    /// Chat of open calls; the dispatcher bounds its length.
    pub(super) chat: BTreeMap<CallId, Vec<ChatMessage>>,
    /// What the participants of open calls said is switched on.
    pub(super) media: BTreeMap<ParticipantId, MediaState>,
    /// Modes in force, talks listed, views shown.
    pub(super) supervisions: Supervisions,
    /// How connections do.
    pub(super) qualities: Qualities,
    /// Why connections are lost, and calls that ended a short while ago.
    pub(super) presences: Presences,
    /// Receiving slots of the participants of open calls.
    pub(super) slots: BTreeMap<ParticipantId, [Option<ParticipantId>; 2]>,
    /// Participants whose media flows; told again to a dispatcher that was rebuilt.
    pub(super) media_up: BTreeSet<(CallId, Party)>,
    /// Who was shown the call, per open call: somebody new gets the chat so far.
    pub(super) audience: BTreeMap<CallId, BTreeSet<ParticipantId>>,
    /// Place and staffing that the waiting customer was shown last.
    pub(super) shown_places: BTreeMap<CallId, (Option<u32>, bool)>,
    /// Queue counts that staff was shown last.
    pub(super) shown_queues: BTreeMap<QueueId, QueueView>,
}

/// Inputs that are decided together, written in one commit, and only then answered and performed.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The media plane takes no new calls just now. Calls that wait go on: there is room again before long.
    pub(super) is_overloaded: bool,
    /// What the dispatcher changed.
    pub(super) fx: Effects,
    /// Answers that wait for the commit.
    pub(super) answers: Vec<Answer>,
    /// Sessions to be opened with a snapshot of what the batch leaves behind.
    pub(super) openings: Vec<(PrincipalKey, OpenReply)>,
    /// Media commands of participants, after the commit.
    pub(super) joins: Vec<(CallId, Join)>,
    /// Calls to be shown again although their record did not change.
    pub(super) reshow: BTreeSet<CallId>,
    /// Media that flows for nobody, to be ended.
    pub(super) strays: Vec<(CallId, MediaOp)>,
    /// What participants should send, if that changed.
    pub(super) demand: BTreeMap<(CallId, ParticipantId), Demand>,
    /// Fresh assessments by call.
    pub(super) quality: BTreeMap<CallId, Vec<Assessment>>,
}

/// An answer to a request that was carried out.
#[derive(Debug)]
pub(super) struct Answer {
    /// Where it goes.
    pub(super) reply: RequestReply,
    /// What it says.
    pub(super) body: AnswerBody,
}

/// What an answer says, where it depends on what the batch leaves behind.
#[derive(Debug)]
pub(super) enum AnswerBody {
    /// Carried out.
    Done,
    /// The call, as the customer may see it.
    Call(CallId),
    /// The line of chat as it was kept.
    Chat(Box<ChatMessage>, Party),
    /// A supervisor is in the call; told once the mode is in force.
    Supervising(CallId),
    /// The SDP answer.
    Media(String),
    /// STUN and TURN servers for somebody.
    Servers(Principal),
}

/// What is to be sent and done after the commit.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Answers to requests, before any event.
    pub(super) answers: Vec<(RequestReply, Result<Outcome, ErrorBody>)>,
    /// Events, in order.
    pub(super) events: Vec<(PrincipalKey, callkit_signal::message::Event)>,
    /// Sessions to open, after the events: what they would say is in the snapshot.
    pub(super) openings: Vec<(OpenReply, Snapshot)>,
    /// Media commands, in order.
    pub(super) media: Vec<(CallId, MediaOp)>,
}

impl Outbox {
    /// Adds what comes after.
    pub(super) fn append(&mut self, later: Self) {
        self.answers.extend(later.answers);
        self.events.extend(later.events);
        self.openings.extend(later.openings);
        self.media.extend(later.media);
    }
}

impl Desk {
    /// A desk over a dispatcher; `chat` is that of the open calls.
    pub(super) fn new(
        dispatcher: Dispatcher,
        config: &RoutingConfig,
        access: Arc<dyn AccessPolicy>,
        ice: Arc<IceServers>,
        chat: Vec<ChatMessage>,
    ) -> Self {
        let profile_name = |profile: &AgentProfile| (profile.id.clone(), profile.name.clone());
        let mut desk = Self {
            dispatcher,
            access,
            ice,
            queues: config
                .queues
                .iter()
                .map(|queue| (queue.id.clone(), queue.name.clone()))
                .collect(),
            served: config
                .agents
                .iter()
                .map(|agent| (agent.id.clone(), agent.queues.clone()))
                .collect(),
            names: config.agents.iter().map(profile_name).collect(),
            sessions: BTreeMap::new(),
            chat: BTreeMap::new(),
            media: BTreeMap::new(),
            supervisions: Supervisions::default(),
            qualities: Qualities::default(),
            presences: Presences::default(),
            slots: BTreeMap::new(),
            media_up: BTreeSet::new(),
            audience: BTreeMap::new(),
            shown_places: BTreeMap::new(),
            shown_queues: BTreeMap::new(),
        };
        desk.rebase_copies(chat);
        desk
    }

    /// Puts a dispatcher that was rebuilt from the store in place of the present one.
    pub(super) fn rebase(&mut self, dispatcher: Dispatcher, chat: Vec<ChatMessage>) {
        self.dispatcher = dispatcher;
        self.rebase_copies(chat);
    }

    fn rebase_copies(&mut self, chat: Vec<ChatMessage>) {
        self.chat.clear();
        for message in chat {
            self.chat.entry(message.call).or_default().push(message);
        }
        let open: BTreeMap<_, _> = self.dispatcher.open_calls().map(|call| (call.id, call)).collect();
        self.media_up.retain(|(call, _)| open.contains_key(call));
        self.audience = open
            .iter()
            .map(|(id, call)| (*id, present(call).map(|one| one.id).collect()))
            .collect();
        self.shown_places.clear();
        self.shown_queues.clear();
        self.supervisions.show_again();
    }

    /// Gives `input` to the dispatcher.
    pub(super) fn decide(&mut self, now: Timestamp, input: Input, batch: &mut Batch) -> Result<(), Refused> {
        self.dispatcher.handle(now, input, &mut batch.fx)
    }

    /// Gives the dispatcher a fact. A fact about what is over or not configured is no news.
    pub(super) fn note(&mut self, now: Timestamp, input: Input, batch: &mut Batch) {
        if let Err(refused) = self.decide(now, input, batch) {
            tracing::debug!(%refused, "a fact came too late");
        }
    }

    /// Tells the dispatcher about the signaling of `key`.
    pub(super) fn note_link(&mut self, now: Timestamp, key: &PrincipalKey, up: bool, batch: &mut Batch) {
        match key {
            PrincipalKey::Customer(customer) => {
                if let Some(call) = self.dispatcher.call_of_customer(*customer).map(|call| call.id) {
                    self.note(now, Input::CustomerLink { call, up }, batch);
                }
            }
            PrincipalKey::Agent(agent) => {
                if self.dispatcher.agent(agent).is_some() {
                    self.note(
                        now,
                        Input::AgentLink {
                            agent: agent.clone(),
                            up,
                        },
                        batch,
                    );
                }
            }
        }
    }

    /// Tells a rebuilt dispatcher what is known to be connected.
    pub(super) fn note_present_links(&mut self, now: Timestamp, batch: &mut Batch) {
        let connected: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.connected)
            .map(|(key, _)| key.clone())
            .collect();
        for key in connected {
            self.note_link(now, &key, true, batch);
        }
        for (call, party) in self.media_up.clone() {
            self.note(now, Input::MediaUp { call, party }, batch);
        }
    }

    /// What a session of `key` has to know when it opens.
    pub(super) fn snapshot(&mut self, now: Timestamp, key: &PrincipalKey) -> Option<Snapshot> {
        let principal = &self.sessions.get(key)?.principal;
        let party = principal.party();
        let call = match principal {
            Principal::Customer { id, .. } => self.dispatcher.call_of_customer(*id),
            Principal::Staff { .. } => self.call_of_agent(&party),
            _ => None,
        };
        let agent = match principal {
            Principal::Staff { id, .. } => self.dispatcher.agent(id),
            _ => None,
        };
        let offer = agent.and_then(|agent| {
            let record = self.dispatcher.call(agent.activity.call()?)?;
            Some(views::offer_view(
                record,
                self.dispatcher.offer_of(&agent.id)?,
                now,
            ))
        });
        let snapshot = Snapshot {
            you: you(principal),
            agent: agent.map(|agent| views::agent_view(agent, now)),
            offer,
            call: call.map(|call| self.call_view(now, call, &party)),
            ended: (call.is_none()).then(|| self.presences.ended(now, key)).flatten(),
            chat: call
                .and_then(|call| self.chat.get(&call.id))
                .zip(call)
                .map(|(chat, call)| views::snapshot_chat(call, chat, &party))
                .unwrap_or_default(),
            queues: self
                .queues_of(principal)
                .iter()
                .filter_map(|queue| self.queue_view(now, queue))
                .collect(),
            calls: self.talks_for(now, principal),
        };
        let seen = call.and_then(|call| Some((call.id, call.participant(&party)?.id)));
        if let Some((call, participant)) = seen {
            self.audience.entry(call).or_default().insert(participant);
        }
        Some(snapshot)
    }

    /// The call that a member of staff is in.
    fn call_of_agent(&self, party: &Party) -> Option<&CallRecord> {
        let Party::Agent(agent) = party else { return None };
        let call = self
            .dispatcher
            .call(self.dispatcher.agent(agent)?.activity.call()?)?;
        call.participant(party).map(|_| call)
    }

    /// The call as `reader` sees it.
    pub(super) fn call_view(&self, now: Timestamp, record: &CallRecord, reader: &Party) -> CallView {
        self.call_view_at(now, record, reader, self.place(record))
    }

    /// The call as `reader` sees it, with the place known already.
    pub(super) fn call_view_at(
        &self,
        now: Timestamp,
        record: &CallRecord,
        reader: &Party,
        (position, staffed): (Option<u32>, bool),
    ) -> CallView {
        let scene = Scene {
            now,
            position,
            staffed,
            names: &self.names,
            media: &self.media,
            slots: &self.slots,
            lost: &self.presences.lost,
            modes: &self.supervisions.in_force,
            version: self.supervisions.version(record.id),
        };
        views::call_view(record, reader, &scene)
    }

    /// Place in the queue from 1, and whether anybody of the queue is on shift.
    pub(super) fn place(&self, record: &CallRecord) -> (Option<u32>, bool) {
        if !matches!(
            record.state,
            CallState::Queued { .. } | CallState::Offering { .. }
        ) {
            return (None, true);
        }
        let position = self
            .dispatcher
            .position(record.id)
            .and_then(|place| u32::try_from(place).ok());
        (position, self.is_staffed(&record.queue))
    }

    /// Whether anybody who serves the queue is at work.
    pub(super) fn is_staffed(&self, queue: &QueueId) -> bool {
        self.served.iter().any(|(agent, queues)| {
            queues.contains(queue)
                && self
                    .dispatcher
                    .agent(agent)
                    .is_some_and(|agent| agent.presence != Presence::Offline)
        })
    }

    /// A queue as staff sees it.
    pub(super) fn queue_view(&self, now: Timestamp, queue: &QueueId) -> Option<QueueView> {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let view = self.dispatcher.queue_view(queue)?;
        Some(QueueView {
            id: queue.clone(),
            name: self.queues.get(queue)?.clone(),
            waiting: count(view.waiting),
            longest_wait_ms: view.oldest.map(|since| views::millis(now, since)),
            available: count(view.available),
        })
    }

    /// The queues that a member of staff watches: those served; all of them for who serves none but looks
    /// after operators.
    pub(super) fn queues_of(&self, principal: &Principal) -> Vec<QueueId> {
        let Principal::Staff { id, role, .. } = principal else {
            return Vec::new();
        };
        match self.served.get(id) {
            Some(queues) if !queues.is_empty() => queues.clone(),
            _ if *role >= StaffRole::Supervisor => self.queues.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Forgets what belonged to a call that is over.
    pub(super) fn forget(&mut self, record: &CallRecord) {
        self.chat.remove(&record.id);
        self.audience.remove(&record.id);
        self.shown_places.remove(&record.id);
        self.qualities.forget(record.id);
        self.media_up.retain(|(call, _)| *call != record.id);
        self.supervisions.forget(record);
        for participant in &record.participants {
            self.media.remove(&participant.id);
            self.slots.remove(&participant.id);
            self.presences.found(participant.id);
        }
    }
}

/// The people who are in the call.
pub(super) fn present(record: &CallRecord) -> impl Iterator<Item = &callkit_core::call::Participant> {
    record.participants.iter().filter(|one| one.left_at.is_none())
}

/// Where events for a party of `record` go.
pub(super) fn address(record: &CallRecord, party: &Party) -> PrincipalKey {
    match party {
        Party::Customer => PrincipalKey::Customer(record.customer.id),
        Party::Agent(agent) => PrincipalKey::Agent(agent.clone()),
    }
}

fn you(principal: &Principal) -> You {
    match principal {
        Principal::Customer { id, name, .. } => You {
            role: Role::Customer,
            id: id.to_string(),
            name: name.clone(),
        },
        Principal::Staff { id, name, role } => You {
            role: if *role >= StaffRole::Supervisor {
                Role::Supervisor
            } else {
                Role::Operator
            },
            id: id.to_string(),
            name: Some(name.clone()),
        },
        // A kind of principal that this version does not know has no rights; it is shown as nobody.
        _ => You {
            role: Role::Customer,
            id: String::new(),
            name: None,
        },
    }
}
