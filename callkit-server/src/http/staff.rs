//! Staff: signing in and out, tickets for signaling.

use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use callkit_core::auth::{AuthError, Credential, Principal, StaffRole};
use callkit_core::id::AgentId;
use callkit_core::redact::{Private, Secret};
use serde::{Deserialize, Serialize};

use super::extract::{Json, Staff, staff_cookie};
use super::{HttpState, Problem, STAFF_COOKIE, client_address};
use crate::adapter::identity::{SESSION_LIFETIME, TICKET_LIFETIME};

#[derive(Deserialize)]
pub(super) struct SignIn {
    user: String,
    password: Secret<String>,
}

/// Nothing to say; an empty object, so that requests stay extensible.
#[derive(Deserialize)]
pub(super) struct Nothing {}

#[derive(Serialize)]
struct Agent {
    id: AgentId,
    name: Private<String>,
    role: StaffRole,
}

#[derive(Serialize)]
pub(super) struct AgentAnswer {
    agent: Agent,
}

#[derive(Serialize)]
pub(super) struct TicketAnswer {
    ticket: String,
    expires_in_ms: u64,
}

fn answer(principal: Principal) -> Result<axum::Json<AgentAnswer>, Problem> {
    match principal {
        Principal::Staff { id, name, role } => Ok(axum::Json(AgentAnswer {
            agent: Agent { id, name, role },
        })),
        _ => Err(Problem::Forbidden),
    }
}

/// `POST /api/v1/staff/login`.
pub(super) async fn login(
    State(state): State<HttpState>,
    parts: Parts,
    Json(SignIn { user, password }): Json<SignIn>,
) -> Result<impl IntoResponse, Problem> {
    // Sign-in names are agent ids; anything else is nobody's, and is not remembered per name.
    let account = AgentId::new(&user).map(|id| id.to_string()).ok();
    let address = client_address(
        &parts.extensions,
        &parts.headers,
        state.0.config.http.behind_tls_proxy,
    )
    .map(|address| address.to_string());
    state
        .throttled(|throttles, now| {
            if let Some(address) = &address {
                throttles.sign_in_address.take(now, address)?;
            }
            account
                .iter()
                .try_for_each(|account| throttles.sign_in_account.take(now, account))
        })
        .map_err(Problem::retry_after)?;
    let signed_in = state
        .0
        .identity
        .sign_in(&Credential::Password { user, password })
        .await;
    let (principal, session) = signed_in.map_err(|error| match error {
        AuthError::Unavailable(_) => Problem::Unavailable,
        _ => Problem::InvalidCredentials,
    })?;
    state.throttled(|throttles, now| {
        if let Some(address) = &address {
            throttles.sign_in_address.give_back(now, address);
        }
        account
            .iter()
            .for_each(|account| throttles.sign_in_account.give_back(now, account));
    });
    let cookie = set_cookie(&state, session.expose(), SESSION_LIFETIME.as_secs());
    Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), answer(principal)?))
}

/// `POST /api/v1/staff/logout`: the session ends here, also for a copy of its cookie.
pub(super) async fn logout(
    State(state): State<HttpState>,
    headers: HeaderMap,
    Json(Nothing {}): Json<Nothing>,
) -> impl IntoResponse {
    if let Some(cookie) = staff_cookie(&headers) {
        state.0.identity.sign_out(cookie);
    }
    (
        StatusCode::NO_CONTENT,
        AppendHeaders([(header::SET_COOKIE, set_cookie(&state, "", 0))]),
    )
}

/// `GET /api/v1/staff/me`.
pub(super) async fn me(Staff(principal): Staff) -> Result<impl IntoResponse, Problem> {
    answer(principal)
}

/// `POST /api/v1/staff/ticket`: what opens a signaling session. The cookie itself never leaves its place.
pub(super) async fn ticket(
    State(state): State<HttpState>,
    Staff(principal): Staff,
    Json(Nothing {}): Json<Nothing>,
) -> Result<impl IntoResponse, Problem> {
    let ticket = state
        .0
        .identity
        .issue_ticket(principal)
        .map_err(|_| Problem::Internal)?;
    let lifetime = TICKET_LIFETIME.as_millis();
    Ok(axum::Json(TicketAnswer {
        ticket: ticket.expose().clone(),
        expires_in_ms: u64::try_from(lifetime).map_err(|_| Problem::Internal)?,
    }))
}

fn set_cookie(state: &HttpState, value: &str, max_age_s: u64) -> HeaderValue {
    let secure = if state.0.config.http.is_tls() {
        "; Secure"
    } else {
        ""
    };
    let cookie =
        format!("{STAFF_COOKIE}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={max_age_s}{secure}");
    HeaderValue::try_from(cookie).expect("signed sessions are base64url and dots")
}
