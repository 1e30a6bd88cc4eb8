//! History: ended and open calls, for staff.

use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use callkit_core::auth::{Action, Principal, StaffRole};
use callkit_core::call::{CallRecord, CallState, Offer, OfferOutcome, Participant, Party, SuperviseMode};
use callkit_core::chat::ChatMessage;
use callkit_core::id::{AgentId, CallId, OfferId, ParticipantId};
use callkit_core::redact::Private;
use callkit_core::store::{HistoryFilter, PageRequest, StoreError};
use callkit_core::time::Timestamp;
use callkit_signal::message::{ChatView, HistoryEntry, Role};
use serde::{Deserialize, Serialize};

use super::course::{Period, periods};
use super::extract::Staff;
use super::{HttpState, Problem};
use crate::orchestrator::views;

/// Calls of a page when nothing is said.
const DEFAULT_PAGE: u32 = 50;

#[derive(Deserialize)]
pub(super) struct PageQuery {
    #[serde(default)]
    limit: Option<u32>,
    #[serde(default)]
    before: Option<CallId>,
}

#[derive(Serialize)]
struct CallList {
    calls: Vec<HistoryEntry>,
}

#[derive(Serialize)]
struct CallDetail {
    call: HistoryEntry,
    participants: Vec<ParticipantEntry>,
    chat: Vec<ChatView>,
    offers: Vec<OfferEntry>,
    /// How connections did.
    quality: Vec<Period>,
}

#[derive(Serialize)]
struct ParticipantEntry {
    id: ParticipantId,
    role: Role,
    /// The mode that a supervisor was in last.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<SuperviseMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentId>,
    name: Option<Private<String>>,
    joined_ms: u64,
    media_ms: Option<u64>,
    left_ms: Option<u64>,
}

#[derive(Serialize)]
struct OfferEntry {
    id: OfferId,
    agent: AgentId,
    offered_ms: u64,
    closed_ms: Option<u64>,
    #[serde(flatten)]
    outcome: Option<OfferOutcome>,
}

/// `GET /api/v1/calls`: ended calls, newest first; operators see their own.
pub(super) async fn list(
    State(state): State<HttpState>,
    Staff(principal): Staff,
    query: Result<Query<PageQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Query(page) = query.map_err(|_| Problem::InvalidParameter)?;
    let agent = match &principal {
        Principal::Staff { role, .. } if *role >= StaffRole::Supervisor => None,
        Principal::Staff { id, .. } => Some(id.clone()),
        _ => return Err(Problem::Forbidden),
    };
    let filter = HistoryFilter {
        agent,
        customer: None,
        ended: Some(true),
    };
    let page = PageRequest {
        before: page.before,
        limit: page.limit.unwrap_or(DEFAULT_PAGE),
    };
    let calls = state.0.store.calls(&filter, page).await.map_err(unavailable)?;
    // A platform's own policy may be stricter than the filter.
    let visible = calls
        .iter()
        .filter(|call| state.0.access.check(&principal, &Action::ReadCall(call)).is_ok());
    Ok(axum::Json(CallList {
        calls: visible.map(entry).collect(),
    }))
}

/// `GET /api/v1/calls/{id}`: everything that is kept of one call. A call that one may not read is not there.
pub(super) async fn one(
    State(state): State<HttpState>,
    Staff(principal): Staff,
    id: Result<Path<CallId>, axum::extract::rejection::PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Path(id) = id.map_err(|_| Problem::NotFound)?;
    let call = state
        .0
        .store
        .call(id)
        .await
        .map_err(unavailable)?
        .ok_or(Problem::NotFound)?;
    state
        .0
        .access
        .check(&principal, &Action::ReadCall(&call))
        .map_err(|_| Problem::NotFound)?;
    let chat = state.0.store.chat(id).await.map_err(unavailable)?;
    let quality = state.0.store.quality(id).await.map_err(unavailable)?;
    let me = principal.party();
    Ok(axum::Json(CallDetail {
        participants: call
            .participants
            .iter()
            .map(|one| participant(&state, &call, one))
            .collect(),
        chat: chat.iter().map(|message| line(&call, message, &me)).collect(),
        offers: call
            .segments
            .iter()
            .flat_map(|segment| &segment.offers)
            .map(offer)
            .collect(),
        quality: periods(&call, &quality),
        call: entry(&call),
    }))
}

fn unavailable(error: StoreError) -> Problem {
    tracing::warn!(error = %crate::console::Chain(&error), "history cannot be read");
    if error.is_retryable() {
        Problem::Unavailable
    } else {
        Problem::Internal
    }
}

/// What a list shows of `call`.
fn entry(call: &CallRecord) -> HistoryEntry {
    let answered = call.segments.iter().rev().find(|segment| segment.agent.is_some());
    let (ended_ms, reason) = match &call.state {
        CallState::Ended { at, reason } => (Some(at.as_millis()), Some(*reason)),
        _ => (None, None),
    };
    HistoryEntry {
        id: call.id,
        queue: call.queue.clone(),
        customer: call.customer.id,
        name: call.customer.name.clone(),
        agent: answered.and_then(|segment| segment.agent.clone()),
        created_ms: call.created_at.as_millis(),
        started_ms: call
            .segments
            .iter()
            .find_map(|segment| segment.connected_at)
            .map(Timestamp::as_millis),
        ended_ms,
        reason,
    }
}

fn participant(state: &HttpState, call: &CallRecord, one: &Participant) -> ParticipantEntry {
    let (agent, name) = match &one.party {
        Party::Customer => (None, call.customer.name.clone()),
        Party::Agent(id) => (Some(id.clone()), state.0.identity.staff_name(id)),
    };
    ParticipantEntry {
        id: one.id,
        role: views::role_of(one),
        mode: one.supervising.map(|own| own.mode),
        agent,
        name,
        joined_ms: one.joined_at.as_millis(),
        media_ms: one.media_at.map(Timestamp::as_millis),
        left_ms: one.left_at.map(Timestamp::as_millis),
    }
}

fn line(call: &CallRecord, message: &ChatMessage, me: &Party) -> ChatView {
    ChatView {
        client_id: None,
        ..views::chat_view(call, message, me)
    }
}

fn offer(offer: &Offer) -> OfferEntry {
    OfferEntry {
        id: offer.id,
        agent: offer.agent.clone(),
        offered_ms: offer.offered_at.as_millis(),
        closed_ms: offer.closed_at.map(Timestamp::as_millis),
        outcome: offer.outcome,
    }
}
