//! The pages, their files, and what they have to know first.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use callkit_core::id::QueueId;
use serde::Serialize;

use super::{HttpState, Problem};
use crate::config::Theme;

#[derive(Serialize)]
pub(super) struct PublicConfig<'a> {
    brand: Brand<'a>,
    queues: Vec<Queue<'a>>,
    default_queue: Option<&'a QueueId>,
    signal: &'static str,
}

#[derive(Serialize)]
struct Brand<'a> {
    name: &'a str,
    logo: Option<&'a str>,
    accent: Option<&'a str>,
    theme: Theme,
}

#[derive(Serialize)]
struct Queue<'a> {
    id: &'a QueueId,
    name: &'a str,
}

/// `GET /api/v1/config`: what both pages have to know before anybody signs in. Public.
pub(super) async fn config(State(state): State<HttpState>) -> Response {
    let config = &state.0.config;
    let brand = &config.brand;
    let queues = config.routing.queues.iter().map(|queue| Queue {
        id: &queue.id,
        name: &queue.name,
    });
    axum::Json(PublicConfig {
        brand: Brand {
            name: &brand.name,
            logo: brand.logo.as_deref(),
            accent: brand.accent.as_deref(),
            theme: brand.theme,
        },
        queues: queues.collect(),
        default_queue: config.routing.default_queue(),
        signal: "/api/v1/signal",
    })
    .into_response()
}

/// `GET /`: customers are the ones who come without a path.
pub(super) async fn root() -> Response {
    (StatusCode::FOUND, [(header::LOCATION, "/call/")]).into_response()
}

pub(super) async fn customer_redirect() -> Redirect {
    Redirect::permanent("/call/")
}

pub(super) async fn console_redirect() -> Redirect {
    Redirect::permanent("/console/")
}

/// `GET /call/`: the customer's page.
pub(super) async fn customer(State(state): State<HttpState>, headers: HeaderMap) -> Response {
    file(&state, "call/index.html", &headers).await
}

/// `GET /console/`: the operator's page.
pub(super) async fn console(State(state): State<HttpState>, headers: HeaderMap) -> Response {
    file(&state, "console/index.html", &headers).await
}

/// `GET /web/**`: modules, styles, images.
pub(super) async fn asset(
    State(state): State<HttpState>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Response {
    file(&state, &path, &headers).await
}

/// A file of the pages, or 304 if the browser has it. Browsers keep the files but ask each time, so that a
/// page and its modules are always of the same version.
async fn file(state: &HttpState, path: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = state.0.assets.find(path).await else {
        return Problem::NotFound.into_response();
    };
    let (Ok(etag), Ok(kind)) = (
        HeaderValue::try_from(&asset.etag),
        HeaderValue::try_from(&asset.content_type),
    ) else {
        return Problem::Internal.into_response();
    };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|sent| {
        sent.to_str().is_ok_and(|list| {
            list.split(',')
                .any(|one| one.trim().trim_start_matches("W/") == asset.etag)
        })
    });
    let cache = HeaderValue::from_static("no-cache");
    if known {
        let headers = [(header::ETAG, etag), (header::CACHE_CONTROL, cache)];
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let headers = [
        (header::ETAG, etag),
        (header::CACHE_CONTROL, cache),
        (header::CONTENT_TYPE, kind),
    ];
    (headers, asset.body).into_response()
}
