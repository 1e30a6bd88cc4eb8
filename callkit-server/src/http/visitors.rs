//! Anonymous visitors.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use callkit_core::id::CustomerId;
use callkit_core::redact::Private;
use serde::{Deserialize, Serialize};

use super::extract::Json;
use super::{HttpState, Problem, client_address};

/// Longest name that a visitor can give, in Unicode scalar values: it is shown to operators as it is.
const MAX_NAME_CHARS: usize = 80;

#[derive(Deserialize)]
pub(super) struct NewVisitor {
    #[serde(default)]
    name: Option<Private<String>>,
}

#[derive(Serialize)]
struct Visitor {
    token: String,
    customer: CustomerId,
    expires_at_ms: u64,
}

/// `POST /api/v1/visitors`: a token for an anonymous visitor.
pub(super) async fn create(
    State(state): State<HttpState>,
    parts: Parts,
    Json(visitor): Json<NewVisitor>,
) -> Result<impl IntoResponse, Problem> {
    let name = visitor.name.map(cleaned).transpose()?.flatten();
    if let Some(address) = client_address(
        &parts.extensions,
        &parts.headers,
        state.0.config.http.behind_tls_proxy,
    ) {
        state
            .throttled(|throttles, now| throttles.visitor_address.take(now, &address.to_string()))
            .map_err(Problem::retry_after)?;
    }
    let issued = state.0.identity.issue_visitor(name);
    let visitor = Visitor {
        token: issued.token.expose().clone(),
        customer: issued.customer,
        expires_at_ms: issued.expires_at.as_millis(),
    };
    Ok((StatusCode::CREATED, axum::Json(visitor)))
}

/// The name without surrounding space; `None` if nothing is left.
fn cleaned(name: Private<String>) -> Result<Option<Private<String>>, Problem> {
    let text = name.expose().trim();
    if text.chars().count() > MAX_NAME_CHARS || text.chars().any(char::is_control) {
        return Err(Problem::InvalidBody);
    }
    Ok((!text.is_empty()).then(|| Private::new(text.to_owned())))
}
