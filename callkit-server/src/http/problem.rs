//! [`Problem`]: every way a request can fail, with its status and code. The only such table.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Why a request failed, as `application/problem+json` (RFC 9457) with `code`, `message` and `status`.
/// Messages are for developers, in English, without personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The body is not what is expected.
    InvalidBody,
    /// A parameter is not what is expected.
    InvalidParameter,
    /// Name or password is wrong; which one is not told.
    InvalidCredentials,
    /// Nobody is signed in, or not any more.
    Unauthenticated,
    /// Signed in, but not allowed to.
    Forbidden,
    /// A page of this origin may not do that.
    OriginRefused,
    /// There is no such thing, or not for the one who asks.
    NotFound,
    /// Not with this method.
    MethodNotAllowed,
    /// The body is too large.
    TooLarge,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// This path is for WebSocket connections with the subprotocol `callkit.v1`.
    NotWebSocket,
    /// Too many attempts.
    TooManyRequests {
        /// When the next one may succeed, seconds.
        retry_after_s: u32,
    },
    /// Sign-in or storage does not answer.
    Unavailable,
    /// Our fault.
    Internal,
}

#[derive(Serialize)]
struct Body {
    code: &'static str,
    message: &'static str,
    status: u16,
}

impl Problem {
    /// Too many attempts; the next one may succeed after `wait`.
    pub(super) fn retry_after(wait: Duration) -> Self {
        Self::TooManyRequests {
            retry_after_s: u32::try_from(wait.as_secs())
                .unwrap_or(u32::MAX)
                .saturating_add(1),
        }
    }

    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::InvalidBody => (
                StatusCode::BAD_REQUEST,
                "invalid_body",
                "the body is not the expected JSON",
            ),
            Self::InvalidParameter => (
                StatusCode::BAD_REQUEST,
                "invalid_parameter",
                "a parameter is not valid",
            ),
            Self::InvalidCredentials => (
                StatusCode::UNAUTHORIZED,
                "invalid_credentials",
                "user or password is wrong",
            ),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "sign in first"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "not allowed"),
            Self::OriginRefused => (
                StatusCode::FORBIDDEN,
                "origin_refused",
                "pages of this origin are not allowed to do that",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "there is no such thing"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this method is not allowed here",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "the body is too large",
            ),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "send application/json",
            ),
            Self::NotWebSocket => (
                StatusCode::UPGRADE_REQUIRED,
                "websocket_required",
                "open a WebSocket with the subprotocol callkit.v1 here",
            ),
            Self::TooManyRequests { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "too many attempts, try again later",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "a part of the server does not answer, try again",
            ),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server failed"),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, message) = self.parts();
        let mut response = (
            status,
            Json(Body {
                code,
                message,
                status: status.as_u16(),
            }),
        )
            .into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match self {
            Self::TooManyRequests { retry_after_s } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
            }
            // RFC 9110 section 15.5.22: the answer names the protocol.
            Self::NotWebSocket => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            }
            _ => {}
        }
        response
    }
}
