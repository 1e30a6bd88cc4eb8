//! Which pages may use the API: cross-site requests are refused by their origin.
//!
//! SameSite cookies alone would let other pages of the same site in, and say nothing about requests that
//! carry no cookie.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::{HttpState, Problem};

/// Whether the request comes from an allowed page, or from no page at all: programs send no origin, and no
/// person's cookies.
pub(super) fn is_allowed(origins: &[String], headers: &HeaderMap) -> bool {
    let mut sent = headers.get_all(header::ORIGIN).into_iter();
    let Some(origin) = sent.next() else { return true };
    sent.next().is_none() && origins.iter().any(|known| known.as_bytes() == origin.as_bytes())
}

/// Refuses what changes something unless an allowed page or a program sends it as JSON (a form of a foreign
/// page cannot), and tells browsers that the pages of allowed origins may read the answers.
pub(super) async fn guard(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let origin = headers.get(header::ORIGIN).cloned();
    let allowed = is_allowed(&state.0.origins, headers);
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = if request.method() == Method::OPTIONS && origin.is_some() {
        if allowed {
            preflight()
        } else {
            Problem::OriginRefused.into_response()
        }
    } else if !safe && !allowed {
        Problem::OriginRefused.into_response()
    } else if !safe && !is_json(headers) {
        Problem::UnsupportedMediaType.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin.filter(|_| allowed) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

/// The answer to a browser that asks whether a page may send JSON. Cookies stay out: no
/// `Access-Control-Allow-Credentials`.
fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
    else {
        return false;
    };
    kind.split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
}
