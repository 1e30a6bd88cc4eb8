//! Pages and API over HTTP: [`router`], which a platform can mount into its own, and [`listener`], the accept
//! loop of the stand-alone server.
//!
//! Handlers stay thin: who somebody is comes from [`Identity`], what they may do from the [`AccessPolicy`],
//! what they see from the store. Status codes are decided in `problem.rs` only.

mod calls;
mod course;
mod extract;
pub mod listener;
mod origin;
mod pages;
mod problem;
mod staff;
mod throttle;
mod visitors;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Router, body::Body};
use callkit_core::auth::AccessPolicy;
use callkit_core::store::SessionStore;
use callkit_core::time::Timestamp;

use crate::adapter::identity::Identity;
use crate::assets::Assets;
use crate::config::Config;
use crate::ws::{SignalEndpoint, UpgradeError};

pub use extract::client_address;
pub use problem::Problem;

use throttle::{Limits, Throttle};

/// Largest body of a request, bytes. No request of the API comes near it.
const MAX_BODY: usize = 64 * 1024;
/// Name of the cookie of a staff session.
const STAFF_COOKIE: &str = "callkit_staff";

/// Everything a handler needs.
#[derive(Clone)]
pub struct HttpState(Arc<Inner>);

struct Inner {
    config: Config,
    origins: Vec<String>,
    store: Arc<dyn SessionStore>,
    access: Arc<dyn AccessPolicy>,
    identity: Arc<Identity>,
    assets: Assets,
    signal: Option<SignalEndpoint>,
    throttles: Mutex<Throttles>,
}

/// How often what may be tried. The figures are in `throttle.rs`.
#[derive(Debug)]
struct Throttles {
    sign_in_account: Throttle<String>,
    sign_in_address: Throttle<String>,
    visitor_address: Throttle<String>,
}

impl fmt::Debug for HttpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpState")
            .field("origins", &self.0.origins)
            .finish_non_exhaustive()
    }
}

impl HttpState {
    /// The state of a server with `config` that listens on `port`. Signaling connections go to `signal`;
    /// without one `/api/v1/signal` does not exist.
    #[must_use]
    pub fn new(
        config: &Config,
        port: u16,
        identity: Arc<Identity>,
        store: Arc<dyn SessionStore>,
        access: Arc<dyn AccessPolicy>,
        signal: impl Into<Option<SignalEndpoint>>,
    ) -> Self {
        let assets = config
            .http
            .web_dir
            .as_ref()
            .map_or_else(Assets::embedded, |folder| Assets::folder(folder.clone()));
        Self(Arc::new(Inner {
            config: config.clone(),
            origins: config.http.origins(port),
            store,
            access,
            identity,
            assets,
            signal: signal.into(),
            throttles: Mutex::new(Throttles {
                sign_in_account: Throttle::new(Limits::SIGN_IN_ACCOUNT),
                sign_in_address: Throttle::new(Limits::SIGN_IN_ADDRESS),
                visitor_address: Throttle::new(Limits::VISITOR_ADDRESS),
            }),
        }))
    }

    fn throttled<T>(&self, check: impl FnOnce(&mut Throttles, Timestamp) -> T) -> T {
        // A bucket changes in a single assignment, so a panic elsewhere leaves the tables whole.
        let mut throttles = self.0.throttles.lock().unwrap_or_else(PoisonError::into_inner);
        check(&mut throttles, self.0.identity.now())
    }
}

/// Pages, API and signaling of this server, at the paths of docs/operations.md.
pub fn router(state: HttpState) -> Router {
    let api = Router::new()
        .route("/config", get(pages::config))
        .route("/visitors", post(visitors::create))
        .route("/staff/login", post(staff::login))
        .route("/staff/logout", post(staff::logout))
        .route("/staff/me", get(staff::me))
        .route("/staff/ticket", post(staff::ticket))
        .route("/calls", get(calls::list))
        .route("/calls/{id}", get(calls::one))
        .route("/signal", get(signal))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(state.clone(), origin::guard))
        .layer(middleware::map_response(no_store));
    Router::new()
        .route("/", get(pages::root))
        .route("/call", get(pages::customer_redirect))
        .route("/call/", get(pages::customer))
        .route("/console", get(pages::console_redirect))
        .route("/console/", get(pages::console))
        .route("/web/{*path}", get(pages::asset))
        .route("/healthz", get(healthz))
        .nest("/api/v1", api)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::map_response(security_headers))
        .with_state(state)
}

async fn healthz() -> &'static str {
    "ok"
}

async fn not_found() -> Problem {
    Problem::NotFound
}

async fn method_not_allowed() -> Problem {
    Problem::MethodNotAllowed
}

/// Opens a signaling connection. Browsers let any page open a WebSocket anywhere and tell only its origin.
async fn signal(State(state): State<HttpState>, mut request: Request<Body>) -> Response {
    let Some(endpoint) = &state.0.signal else {
        return Problem::NotFound.into_response();
    };
    if !origin::is_allowed(&state.0.origins, request.headers()) {
        return Problem::OriginRefused.into_response();
    }
    let address = client_address(
        request.extensions(),
        request.headers(),
        state.0.config.http.behind_tls_proxy,
    );
    endpoint.upgrade(address, &mut request).unwrap_or_else(|refused| {
        let problem = match refused {
            UpgradeError::TooMany => Problem::TooManyRequests { retry_after_s: 10 },
            UpgradeError::NotWebSocket | UpgradeError::Subprotocol => Problem::NotWebSocket,
        };
        problem.into_response()
    })
}

/// Answers of the API are about one person at one moment.
async fn no_store(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What a page of ours may load and do: scripts, styles and connections from here only; camera, microphone
/// and screen for ourselves; not inside a frame of somebody else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; \
    connect-src 'self' ws: wss:; img-src 'self' data: blob:; media-src 'self' blob: mediastream:; \
    font-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

async fn security_headers(mut response: Response) -> Response {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(self), microphone=(self), display-capture=(self), geolocation=(), payment=(), usb=()",
        ),
    ];
    for (name, value) in fixed {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests;
