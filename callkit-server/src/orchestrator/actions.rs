//! What is sent and done once a batch is committed: the dispatcher's actions and the answers, turned into
//! events for people and commands for the media plane.
//!
//! Every event carries the whole state of its subject, so a batch sends each subject once, as the batch
//! leaves it.

use std::collections::BTreeSet;

use callkit_core::agent::Link;
use callkit_core::call::{CallRecord, CallState, EndReason, Participant, Party};
use callkit_core::chat::ChatMessage;
use callkit_core::id::{AgentId, CallId, OfferId, QueueId};
use callkit_core::time::Timestamp;
use callkit_routing::Action;
use callkit_signal::hub::{OpenReply, PrincipalKey, RequestReply};
use callkit_signal::message::{Event, Outcome, QueueView};

use super::desk::{AnswerBody, Batch, Desk, Outbox, address};
use super::media::MediaOp;
use super::requests::{internal, not_in_call};
use super::views;

/// The dispatcher's actions of a batch, each subject once.
#[derive(Debug, Default)]
struct Changed {
    calls: BTreeSet<CallId>,
    agents: BTreeSet<AgentId>,
    queues: BTreeSet<QueueId>,
    made: Vec<(OfferId, AgentId, CallId)>,
    closed: Vec<(OfferId, AgentId, Event)>,
    chat: Vec<ChatMessage>,
}

impl Desk {
    /// What has to be sent and done now that `batch` is committed.
    pub(super) fn settle(&mut self, now: Timestamp, mut batch: Batch) -> Outbox {
        let mut out = Outbox::default();
        let mut changed = self.collect(&batch, &mut out);
        changed.calls.extend(&batch.reshow);

        let held = self.answer(now, &mut batch, &mut out);
        self.show_offers(now, &changed, &batch, &mut out);
        self.show_chat(&changed, &batch, &mut out);
        for call in &changed.calls {
            self.show_call(now, *call, &batch, &mut out);
        }
        self.list_talks(now, &changed.calls, &batch, &mut out);
        for agent in &changed.agents {
            self.show_agent(now, agent, &mut out);
        }
        for queue in &changed.queues {
            self.show_queue(now, queue, &changed.calls, &mut out);
        }
        self.show_quality(&batch, &mut out);
        self.show_demand(&mut batch.demand, &mut out);
        out.media.append(&mut batch.strays);

        for (key, open) in batch.openings {
            // A session that was replaced in the same batch has nothing to show.
            if let Some(snapshot) = self.snapshot(now, &key) {
                out.openings.push((open, snapshot));
            }
        }
        for (call, join) in batch.joins {
            // The batch may have ended the call after the request was checked.
            match self.party_of(call, join.participant) {
                Some(_) if join.restart => out.media.push((call, MediaOp::Restart(join))),
                Some(_) => {
                    let grant = self.grant_on_joining(call, join.participant);
                    out.media.push((call, MediaOp::Join(join, grant)));
                }
                None => out.answers.push((join.reply, Err(not_in_call()))),
            }
        }
        self.push_grants(&changed.calls, held, &mut out);
        for change in batch
            .fx
            .commit
            .calls
            .iter()
            .filter(|change| change.next.is_ended())
        {
            self.forget(&change.next);
        }
        out
    }

    fn collect(&mut self, batch: &Batch, out: &mut Outbox) -> Changed {
        let mut changed = Changed::default();
        for action in &batch.fx.actions {
            match action {
                Action::CallChanged(call) => {
                    changed.calls.insert(*call);
                }
                Action::AgentChanged(agent) => {
                    // Coming and going changes who could take a call.
                    changed
                        .queues
                        .extend(self.served.get(agent).into_iter().flatten().cloned());
                    changed.agents.insert(agent.clone());
                }
                Action::QueueChanged(queue) => {
                    changed.queues.insert(queue.clone());
                }
                Action::OfferMade { offer, agent, call } => changed.made.push((*offer, agent.clone(), *call)),
                Action::OfferClosed {
                    offer,
                    agent,
                    outcome,
                    ..
                } => {
                    let (outcome, cause) = views::outcome_words(outcome);
                    let event = Event::OfferClosed {
                        offer: *offer,
                        outcome,
                        cause,
                    };
                    changed.closed.push((*offer, agent.clone(), event));
                }
                // A room comes into being with the first join.
                Action::OpenRoom(_) => {}
                Action::CloseRoom(call) => {
                    if let Some(record) = record(self, batch, *call) {
                        for one in record.participants.iter().map(|one| one.id).collect::<Vec<_>>() {
                            self.slots.remove(&one);
                            self.supervisions.forget_place(one);
                        }
                    }
                    self.media_up.retain(|(other, _)| other != call);
                    out.media.push((*call, MediaOp::Close));
                }
                Action::DropParticipant { call, participant } => {
                    self.slots.remove(participant);
                    self.media.remove(participant);
                    self.presences.found(*participant);
                    self.qualities.left(*call, *participant);
                    self.supervisions.forget_place(*participant);
                    if let Some(party) = record(self, batch, *call).and_then(|record| {
                        record
                            .participants
                            .iter()
                            .find(|one| one.id == *participant)
                            .map(|one| one.party.clone())
                    }) {
                        self.media_up.remove(&(*call, party));
                    }
                    out.media.push((*call, MediaOp::Leave(*participant)));
                }
                Action::ChatAdded(message) => {
                    // What is not in the commit is the author's retry: the answer tells its fate.
                    if batch.fx.commit.chat.iter().any(|new| new.id == message.id) {
                        self.chat.entry(message.call).or_default().push(message.clone());
                        changed.chat.push(message.clone());
                    }
                }
            }
        }
        changed
    }

    /// Answers what can be answered now; gives the answers that wait for a mode to be in force.
    fn answer(&self, now: Timestamp, batch: &mut Batch, out: &mut Outbox) -> Vec<(CallId, RequestReply)> {
        let mut held = Vec::new();
        for answer in std::mem::take(&mut batch.answers) {
            let outcome = match answer.body {
                AnswerBody::Done => Ok(Outcome::Done),
                AnswerBody::Call(call) => record(self, batch, call)
                    .map(|call| Outcome::Call {
                        call: self.call_view(now, call, &Party::Customer),
                    })
                    .ok_or_else(internal),
                AnswerBody::Chat(message, reader) => record(self, batch, message.call)
                    .map(|call| Outcome::Chat {
                        message: views::chat_view(call, &message, &reader),
                    })
                    .ok_or_else(internal),
                AnswerBody::Supervising(call) => {
                    held.push((call, answer.reply));
                    continue;
                }
                AnswerBody::Media(sdp) => Ok(Outcome::Media { sdp }),
                AnswerBody::Servers(who) => Ok(self.ice.issue(now, &who)),
            };
            out.answers.push((answer.reply, outcome));
        }
        held
    }

    fn show_offers(&self, now: Timestamp, changed: &Changed, batch: &Batch, out: &mut Outbox) {
        for (_, agent, event) in &changed.closed {
            out.events
                .push((PrincipalKey::Agent(agent.clone()), event.clone()));
        }
        for (offer, agent, call) in &changed.made {
            // An offer that the batch closed again has not rung.
            let open = record(self, batch, *call)
                .and_then(|record| Some((record, views::find_offer(record, *offer)?)))
                .filter(|(_, offer)| offer.outcome.is_none());
            if let Some((record, offer)) = open {
                let offer = views::offer_view(record, offer, now);
                out.events
                    .push((PrincipalKey::Agent(agent.clone()), Event::OfferNew { offer }));
            }
        }
    }

    /// New lines for those who were in the call before; who is new gets them with the rest of the chat.
    fn show_chat(&self, changed: &Changed, batch: &Batch, out: &mut Outbox) {
        for message in &changed.chat {
            let Some(record) = record(self, batch, message.call) else {
                continue;
            };
            let audience = self.audience.get(&message.call);
            for one in &record.participants {
                if audience.is_some_and(|audience| audience.contains(&one.id)) {
                    let message = views::chat_view(record, message, &one.party);
                    out.events
                        .push((address(record, &one.party), Event::Chat { message }));
                }
            }
        }
    }

    /// The call to everybody in it; to those taken out of it, that it is over for them.
    fn show_call(&mut self, now: Timestamp, call: CallId, batch: &Batch, out: &mut Outbox) {
        let Some(record) = record(self, batch, call) else {
            return;
        };
        let mut audience = self.audience.get(&call).cloned().unwrap_or_default();
        let place = self.place(record);
        let mut shown = None;
        let first = out.events.len();
        for one in &record.participants {
            let key = address(record, &one.party);
            if views::is_listed(record, one) {
                let view = if one.party == Party::Customer {
                    // The customer is not told that something happened of which there is nothing to see.
                    let (view, now_shown) = self.news_for_customer(now, record, place).unzip();
                    shown = now_shown;
                    view
                } else {
                    Some(self.call_view_at(now, record, &one.party, place))
                };
                if let Some(call) = view {
                    out.events.push((key.clone(), Event::Call { call }));
                }
                if audience.insert(one.id) {
                    for message in self.chat.get(&call).into_iter().flatten() {
                        let message = views::chat_view(record, message, &one.party);
                        out.events.push((key.clone(), Event::Chat { message }));
                    }
                }
            } else if audience.remove(&one.id) {
                let view = views::left_view(record, one, reason_of_leaving(record, one), now);
                out.events.push((key, Event::Call { call: view }));
            }
        }
        if let Some(shown) = shown {
            self.note_shown(call, shown);
        }
        for (key, event) in &out.events[first..] {
            if let Event::Call { call } = event {
                self.presences.note_shown(now, key, call);
            }
        }
        self.shown_places.insert(call, place);
        self.audience.insert(call, audience);
    }

    /// Everything to everybody, and to the sessions that wait to be opened.
    pub(super) fn show_all(&mut self, now: Timestamp, openings: Vec<(PrincipalKey, OpenReply)>) -> Outbox {
        let mut batch = Batch {
            openings,
            ..Batch::default()
        };
        batch.reshow = self.dispatcher.open_calls().map(|call| call.id).collect();
        let mut out = Outbox::default();
        for agent in self
            .dispatcher
            .agents()
            .map(|agent| agent.id.clone())
            .collect::<Vec<_>>()
        {
            self.show_agent(now, &agent, &mut out);
        }
        for queue in self.queues.keys().cloned().collect::<Vec<_>>() {
            self.show_queue(now, &queue, &batch.reshow, &mut out);
        }
        out.append(self.settle(now, batch));
        out
    }

    fn show_agent(&self, now: Timestamp, agent: &AgentId, out: &mut Outbox) {
        if let Some(record) = self.dispatcher.agent(agent) {
            let agent = views::agent_view(record, now);
            out.events
                .push((PrincipalKey::Agent(record.id.clone()), Event::Agent { agent }));
        }
    }

    /// Counts to the staff of the queue and places to those who wait, as far as they changed.
    fn show_queue(&mut self, now: Timestamp, queue: &QueueId, shown: &BTreeSet<CallId>, out: &mut Outbox) {
        let Some(view) = self.queue_view(now, queue) else {
            return;
        };
        let counts = |view: &QueueView| (view.waiting, view.available);
        if self.shown_queues.get(queue).map(counts) != Some(counts(&view)) {
            for (key, session) in &self.sessions {
                if self.queues_of(&session.principal).contains(queue) {
                    out.events
                        .push((key.clone(), Event::Queue { queue: view.clone() }));
                }
            }
            self.shown_queues.insert(queue.clone(), view);
        }
        let staffed = self.is_staffed(queue);
        let mut moved = Vec::new();
        for (call, position) in self.dispatcher.waiting(queue).zip(1..) {
            let place = (Some(position), staffed);
            if !shown.contains(&call.id) && self.shown_places.get(&call.id) != Some(&place) {
                let news = self.news_for_customer(now, call, place);
                moved.push((call.id, place, address(call, &Party::Customer), news));
            }
        }
        for (call, place, key, news) in moved {
            if let Some((view, shown)) = news {
                out.events.push((key, Event::Call { call: view }));
                self.note_shown(call, shown);
            }
            self.shown_places.insert(call, place);
        }
    }
}

/// The call as the batch leaves it: an ended one is in the commit only.
fn record<'a>(desk: &'a Desk, batch: &'a Batch, call: CallId) -> Option<&'a CallRecord> {
    desk.dispatcher.call(call).or_else(|| batch.fx.call(call))
}

/// Why somebody was taken out of a call that goes on: the talk was lost, or never came about.
fn reason_of_leaving(record: &CallRecord, one: &Participant) -> EndReason {
    let Party::Agent(agent) = &one.party else {
        return EndReason::CustomerLost;
    };
    if let Some(own) = one.supervising {
        let goes_on = matches!(record.state, CallState::Active { .. });
        return if goes_on && own.link != Link::Down {
            EndReason::SupervisorLeft
        } else {
            EndReason::AgentLost
        };
    }
    let talked = record
        .segments
        .iter()
        .rev()
        .find(|segment| segment.agent.as_ref() == Some(agent))
        .is_some_and(|segment| segment.connected_at.is_some());
    if talked {
        EndReason::AgentLost
    } else {
        EndReason::MediaFailed
    }
}
