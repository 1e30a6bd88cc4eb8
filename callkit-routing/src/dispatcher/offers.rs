//! Offers: made, accepted, declined, missed, taken back. An offer takes the call and the agent in the same
//! transition and gives both back in the same transition (rows A1-A6, C5, C12, C13).

use callkit_core::agent::{Activity, Presence};
use callkit_core::call::{CallState, Explanation, Offer, OfferOutcome, Participant, Party};
use callkit_core::event::EventKind;
use callkit_core::id::{AgentId, CallId, OfferId};

use super::{Dispatcher, Step};
use crate::effects::Action;
use crate::input::Refused;
use crate::policy::WaitingCall;
use crate::record::{AgentExt as _, CallExt as _};

/// Candidates and exclusions listed in an explanation, each: enough to see why, small enough to keep.
const EXPLAINED: usize = 20;
/// Offers of a stay that keep their explanation; older ones keep outcome and times.
const EXPLAINED_OFFERS: usize = 16;
/// Offers kept with a stay. A single agent who declines for half an hour gets there; the events of the
/// older offers remain.
const KEPT_OFFERS: usize = 300;

impl Dispatcher {
    /// Offers `call` to the agent whom the policy prefers. False if it named nobody.
    pub(super) fn make_offer(&mut self, step: &mut Step, call: CallId) -> bool {
        let Some(record) = self.call(call) else {
            return false;
        };
        let queue = record.queue.clone();
        let waiting = WaitingCall::of(record);
        let mut refused = record.refused_by.clone();
        let mut pool = self.book.pool(&queue, &refused);
        if pool.agents.is_empty() {
            // Everybody who could get it has refused it: a new pass begins, or the caller would starve (C13).
            refused.clear();
            pool = self.book.pool(&queue, &refused);
        }

        let total = pool.agents.len();
        let ranked = self.policy.rank(step.now, &waiting, &pool, EXPLAINED);
        let eligible = |agent: &AgentId| !refused.contains(agent) && self.book.in_pool(&queue, agent);
        let candidates: Vec<_> = ranked
            .into_iter()
            .filter(|one| eligible(&one.agent))
            .take(EXPLAINED)
            .collect();
        let Some(agent) = candidates.first().map(|one| one.agent.clone()) else {
            return false;
        };
        let (excluded, more_excluded) = self.book.excluded(&queue, &refused, EXPLAINED);
        let because = Explanation {
            policy: self.policy.name().to_owned(),
            more_candidates: count(total.saturating_sub(candidates.len())),
            candidates,
            excluded,
            more_excluded: count(more_excluded),
        };

        let Some(timeout) = self.book.queue(&queue).map(|queue| queue.config.offer_timeout) else {
            return false;
        };
        let id: OfferId = self.ids.next_id();
        let offer = Offer {
            id,
            agent: agent.clone(),
            offered_at: step.now,
            deadline: step.now + timeout,
            outcome: None,
            closed_at: None,
            because,
        };
        let dropped = self.book.edit_call(call, |open| {
            open.record.refused_by = refused;
            open.record.state = CallState::Offering {
                offer: id,
                agent: agent.clone(),
            };
            open.record
                .segments
                .last_mut()
                .and_then(|stay| keep(&mut stay.offers, offer))
        });
        if let Some(dropped) = dropped.flatten() {
            self.book.unindex_offer(dropped);
        }
        self.book.index_offer(id, call);
        self.book.edit_agent(&agent, |record| {
            record.activity = Activity::Reserved { offer: id, call };
            record.activity_since = step.now;
        });
        self.emit(
            step,
            call,
            EventKind::CallOffered {
                offer: id,
                agent: agent.clone(),
            },
        );
        step.first.push(Action::OfferMade {
            offer: id,
            agent,
            call,
        });
        true
    }

    /// Closes the open offer of `call` and frees its agent, or moves it on if the outcome is acceptance.
    /// The state of the call is the caller's to change.
    pub(super) fn close_offer(
        &mut self,
        step: &mut Step,
        call: CallId,
        outcome: OfferOutcome,
    ) -> Option<AgentId> {
        let now = step.now;
        let CallState::Offering { offer, agent } = &self.call(call)?.state else {
            return None;
        };
        let (offer, agent) = (*offer, agent.clone());
        let closed = self.book.edit_call(call, |open| {
            let offers = &mut open.record.segments.last_mut()?.offers;
            let one = offers
                .iter_mut()
                .rev()
                .find(|one| one.id == offer && one.outcome.is_none())?;
            one.outcome = Some(outcome);
            one.closed_at = Some(now);
            Some(())
        });
        closed.flatten()?;
        let not_responding = self.answered(step, &agent, offer, call, outcome);
        self.emit(
            step,
            call,
            EventKind::OfferClosed {
                offer,
                agent: agent.clone(),
                outcome,
            },
        );
        step.first.push(Action::OfferClosed {
            offer,
            agent: agent.clone(),
            call,
            outcome,
        });
        if not_responding {
            self.set_presence(step, &agent, Presence::NotResponding);
        }
        Some(agent)
    }

    /// What the end of an offer means for its agent; whether too many in a row were missed.
    fn answered(
        &mut self,
        step: &Step,
        agent: &AgentId,
        offer: OfferId,
        call: CallId,
        outcome: OfferOutcome,
    ) -> bool {
        let rings = Activity::Reserved { offer, call };
        // After a restart the agent was freed before the offer is closed.
        if self.agent(agent).is_none_or(|record| record.activity != rings) {
            return false;
        }
        let now = step.now;
        let timers = self.book.timers;
        let not_responding = self.book.edit_agent(agent, |record| {
            record.activity_since = now;
            record.activity = Activity::Idle;
            match outcome {
                OfferOutcome::Accepted => {
                    record.activity = Activity::Connecting { call };
                    record.misses = 0;
                }
                OfferOutcome::Declined => {
                    record.misses = 0;
                    record.idle_since = record.idle_since.max(now);
                    record.cool_down(now, timers.decline_cooldown);
                }
                OfferOutcome::Missed => {
                    record.misses = record.misses.saturating_add(1);
                    record.idle_since = record.idle_since.max(now);
                    record.cool_down(now, timers.miss_cooldown);
                    return record.misses >= timers.max_misses;
                }
                // Taken back: costs the agent nothing, not even the place among the idle (A5).
                _ => {}
            }
            false
        });
        not_responding == Some(true)
    }

    /// A2.
    pub(super) fn accept(&mut self, step: &mut Step, agent: &AgentId, offer: OfferId) -> Result<(), Refused> {
        let call = self.open_offer(step, agent, offer)?;
        let deadline = step.now + self.book.timers.connect;
        let participant = Participant {
            id: self.ids.next_id(),
            party: Party::Agent(agent.clone()),
            joined_at: step.now,
            media_at: None,
            left_at: None,
            supervising: None,
        };
        self.close_offer(step, call, OfferOutcome::Accepted);
        self.book.edit_call(call, |open| {
            let record = &mut open.record;
            if let Some(stay) = record.segments.last_mut() {
                stay.agent = Some(agent.clone());
                stay.accepted_at = Some(step.now);
            }
            record.participants.push(participant);
            record.state = CallState::Connecting {
                agent: agent.clone(),
                deadline,
                customer_media: false,
                agent_media: false,
            };
        });
        step.first.push(Action::OpenRoom(call));
        Ok(())
    }

    /// A3.
    pub(super) fn decline(
        &mut self,
        step: &mut Step,
        agent: &AgentId,
        offer: OfferId,
    ) -> Result<(), Refused> {
        let call = self.open_offer(step, agent, offer)?;
        self.give_back(step, call, OfferOutcome::Declined);
        Ok(())
    }

    /// Ends the offer of `call` without an answer: the call returns to its place, the agent is passed over
    /// while somebody else is there (C12).
    pub(super) fn give_back(&mut self, step: &mut Step, call: CallId, outcome: OfferOutcome) {
        let Some(agent) = self.close_offer(step, call, outcome) else {
            return;
        };
        self.book.edit_call(call, |open| {
            if !open.record.refused_by.contains(&agent) {
                open.record.refused_by.push(agent);
            }
        });
        self.requeue(step, call);
    }

    /// The call that rings at `agent` with `offer`, if it may still be answered.
    fn open_offer(&self, step: &Step, agent: &AgentId, offer: OfferId) -> Result<CallId, Refused> {
        if self.agent(agent).is_none() {
            return Err(Refused::UnknownAgent);
        }
        let rings = self
            .offer_of(agent)
            .filter(|open| open.id == offer && step.now < open.deadline);
        let call = self.book.call_of_offer(offer);
        if let (Some(_), Some(call)) = (rings, call) {
            return Ok(call.id);
        }
        // An offer to somebody else tells nothing about its call.
        let own = call.filter(|call| call.offer(offer).is_some_and(|one| one.agent == *agent));
        Err(Refused::OfferClosed {
            call: own.map(|call| call.id),
            owner: own.and_then(|call| call.owner().cloned()),
            outcome: own.and_then(|call| call.offer(offer)).and_then(|one| one.outcome),
        })
    }
}

/// Adds an offer to a stay and keeps the list within its limits; the id of the offer dropped for it.
fn keep(offers: &mut Vec<Offer>, offer: Offer) -> Option<OfferId> {
    offers.push(offer);
    if let Some(old) = offers.len().checked_sub(EXPLAINED_OFFERS + 1) {
        offers[old].because = Explanation::default();
    }
    (offers.len() > KEPT_OFFERS).then(|| offers.remove(0).id)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
