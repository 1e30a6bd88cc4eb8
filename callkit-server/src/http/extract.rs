//! What handlers take from a request: a JSON body, the signed-in member of staff, the client's address.

use std::net::{IpAddr, SocketAddr};

use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use callkit_core::auth::{AuthError, Principal};
use serde::de::DeserializeOwned;

use super::{HttpState, Problem, STAFF_COOKIE};

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<HttpState> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &HttpState) -> Result<Self, Problem> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(JsonRejection::MissingJsonContentType(_)) => Err(Problem::UnsupportedMediaType),
            Err(JsonRejection::BytesRejection(_)) => Err(Problem::TooLarge),
            Err(_) => Err(Problem::InvalidBody),
        }
    }
}

/// The signed-in member of staff.
pub(super) struct Staff(pub(super) Principal);

impl FromRequestParts<HttpState> for Staff {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, Problem> {
        let cookie = staff_cookie(&parts.headers).ok_or(Problem::Unauthenticated)?;
        match state.0.identity.staff_session(cookie) {
            Ok(principal) => Ok(Self(principal)),
            Err(AuthError::Unavailable(_)) => Err(Problem::Unavailable),
            Err(_) => Err(Problem::Unauthenticated),
        }
    }
}

/// The value of the staff cookie (RFC 6265 section 4.2).
pub(super) fn staff_cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(STAFF_COOKIE)?.strip_prefix('='))
}

/// The client's address, for limits: of the connection, or as the trusted proxy in front tells it. `None` if
/// the surrounding server does not tell connections' addresses.
#[must_use]
pub fn client_address(extensions: &Extensions, headers: &HeaderMap, behind_proxy: bool) -> Option<IpAddr> {
    let peer = extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0.ip().to_canonical());
    if !behind_proxy {
        return peer;
    }
    // Earlier entries are whatever the client wrote itself; the proxy appends what it saw.
    let last = headers
        .get_all("x-forwarded-for")
        .into_iter()
        .next_back()
        .and_then(|line| line.to_str().ok());
    last.and_then(|line| line.rsplit(',').next()?.trim().parse().ok())
        .or(peer)
}
