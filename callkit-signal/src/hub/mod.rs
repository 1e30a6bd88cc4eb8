//! [`Hub`]: what a server uses. Serves connections, keeps sessions, delivers events, passes requests on.
//!
//! ```text
//!  connection --serve--> Registry (decides) --HubEvent--> application
//!  connection <--------- Registry <-- send, welcome, ok/error -- application
//! ```
//!
//! There is one task per connection (the caller's, in [`Hub::serve`]) and one per hub that ends expired
//! sessions. What the application is told comes in the order in which it happened: a place in its queue is
//! taken before the registry is asked, so that no task can overtake another between the two.

mod driver;
#[cfg(all(test, feature = "testing"))]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use callkit_core::auth::Principal;
use callkit_core::id::{IdSource, SessionId};
use callkit_core::redact::Secret;
use callkit_core::time::{Clock, Timestamp};
use tokio::sync::{Notify, mpsc, watch};

use crate::codec::EncodedEvent;
use crate::message::{ErrorBody, Event, Outcome, Refusal, Request, Snapshot, codes};
use crate::session::{Change, LinkId, Output, Registry, encode_answer};
use crate::transport::SignalTransport;

pub use crate::session::{PrincipalKey, SessionConfig};

/// Tells whose a token is.
///
/// # Contract
/// Answers who the holder is, or refuses with [`Refusal::InvalidToken`], [`Refusal::ExpiredToken`] or
/// [`Refusal::Unavailable`]. A one-time token is used up by the first answer.
///
/// # Cancellation
/// Dropping the future has no effect on later calls. It is dropped after [`HubConfig::with_verify_timeout`].
///
/// # Security
/// A wrong `Ok` lets a stranger in. The token may not be logged.
#[async_trait]
pub trait TokenVerifier: fmt::Debug + Send + Sync + 'static {
    /// Who holds `token`.
    async fn verify(&self, now: Timestamp, token: &Secret<String>) -> Result<Principal, Refusal>;
}

#[async_trait]
impl<V: TokenVerifier + ?Sized> TokenVerifier for Arc<V> {
    async fn verify(&self, now: Timestamp, token: &Secret<String>) -> Result<Principal, Refusal> {
        (**self).verify(now, token).await
    }
}

/// Limits of a hub.
#[derive(Debug, Clone)]
pub struct HubConfig {
    session: SessionConfig,
    verify_timeout: Duration,
    send_timeout: Duration,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            session: SessionConfig::default(),
            verify_timeout: Duration::from_secs(10),
            send_timeout: Duration::from_secs(15),
        }
    }
}

impl HubConfig {
    /// Limits of sessions and connections.
    #[must_use]
    pub fn with_session(mut self, session: SessionConfig) -> Self {
        self.session = session;
        self
    }

    /// How long the check of a token may take (default 10 s); then the client is told `unavailable`.
    #[must_use]
    pub fn with_verify_timeout(mut self, timeout: Duration) -> Self {
        self.verify_timeout = timeout;
        self
    }

    /// How long one frame may take to be handed to the network (default 15 s, as the silence timeout);
    /// then the client is a slow consumer.
    #[must_use]
    pub fn with_send_timeout(mut self, timeout: Duration) -> Self {
        self.send_timeout = timeout;
        self
    }
}

/// What the application has to know.
#[derive(Debug)]
#[non_exhaustive]
pub enum HubEvent {
    /// A principal opened a session, the first or a new one in place of an older.
    Opened {
        /// Whose.
        key: PrincipalKey,
        /// Who.
        principal: Principal,
        /// How to complete it.
        open: OpenReply,
    },
    /// A session whose connection was lost was resumed.
    LinkUp {
        /// Whose.
        key: PrincipalKey,
    },
    /// The connection of a session was lost; the session is kept for the resume window.
    LinkDown {
        /// Whose.
        key: PrincipalKey,
        /// Whether it was taken for dead because nothing came any more, rather than closed by the other end.
        silent: bool,
    },
    /// The resume window of a session is over.
    Expired {
        /// Whose.
        key: PrincipalKey,
    },
    /// A request to carry out.
    Request {
        /// Whose.
        key: PrincipalKey,
        /// Who.
        principal: Principal,
        /// What is asked.
        request: Request,
        /// How to answer it.
        reply: RequestReply,
    },
}

/// Completes a session. Dropped unused, the client is refused as `unavailable`.
#[derive(Debug)]
pub struct OpenReply {
    shared: Arc<Shared>,
    session: Option<SessionId>,
}

impl OpenReply {
    /// Gives the client its snapshot. Everything that [`Hub::send`] is given after this is numbered after
    /// the snapshot; what it was given before must be part of it.
    pub fn welcome(mut self, snapshot: Snapshot) {
        if let Some(session) = self.session.take() {
            self.shared
                .with(|registry, out| registry.welcome(session, snapshot, out));
        }
    }

    /// Does not open the session.
    pub fn refuse(mut self, refusal: Refusal) {
        self.refuse_with(refusal);
    }

    fn refuse_with(&mut self, refusal: Refusal) {
        if let Some(session) = self.session.take() {
            self.shared
                .with(|registry, out| registry.refuse(session, refusal, out));
        }
    }
}

impl Drop for OpenReply {
    fn drop(&mut self) {
        self.refuse_with(Refusal::Unavailable);
    }
}

/// Answers a request. Dropped unused, the client is told `internal`.
#[derive(Debug)]
pub struct RequestReply {
    shared: Arc<Shared>,
    session: SessionId,
    id: Option<u64>,
}

impl RequestReply {
    /// The request was carried out.
    pub fn ok(mut self, outcome: Outcome) {
        self.answer(Ok(outcome));
    }

    /// The request was not carried out.
    pub fn error(mut self, error: ErrorBody) {
        self.answer(Err(error));
    }

    fn answer(&mut self, result: Result<Outcome, ErrorBody>) {
        if let Some(id) = self.id.take() {
            let frame = encode_answer(id, result);
            self.shared
                .with(|registry, out| registry.answer_encoded(self.session, id, frame, out));
        }
    }
}

impl Drop for RequestReply {
    fn drop(&mut self) {
        self.answer(Err(ErrorBody::new(
            codes::INTERNAL,
            "the request was not answered",
        )));
    }
}

/// Serves connections and keeps sessions. A cheap handle; the hub ends with the last one or with
/// [`stop`](Self::stop).
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("Hub")
            .field("links", &state.registry.links())
            .field("sessions", &state.registry.sessions())
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Starts a hub within a tokio runtime. `ids` must be seeded with real entropy outside tests. While
    /// the queue of `events` is full, clients with requests wait; pings are still answered.
    #[must_use]
    pub fn start(
        config: HubConfig,
        clock: Arc<dyn Clock>,
        ids: IdSource,
        verifier: Arc<dyn TokenVerifier>,
        events: mpsc::Sender<HubEvent>,
    ) -> Self {
        let sweep = Arc::new(Notify::new());
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                registry: Registry::new(config.session.clone(), ids),
                wakers: std::collections::BTreeMap::new(),
                abandoned: Vec::new(),
            }),
            stopped: watch::Sender::new(false),
            config,
            clock,
            verifier,
            events,
            sweep: Arc::clone(&sweep),
            emptied: Notify::new(),
        });
        tokio::spawn(driver::sweep(Arc::downgrade(&shared), sweep));
        Self { shared }
    }

    /// Serves one connection until it is closed. Dropping the future ends the connection without a word.
    pub async fn serve(&self, transport: Box<dyn SignalTransport>) {
        driver::serve(Arc::clone(&self.shared), transport).await;
    }

    /// Sends an event to `key`: numbered, kept for a client that is away for a moment, and dropped if
    /// nobody of that name has a session. Never waits.
    pub fn send(&self, key: &PrincipalKey, event: &Event) {
        let event = EncodedEvent::new(event);
        self.shared
            .with(|registry, out| registry.send_encoded(key, &event, out));
    }

    /// Ends the session of `key`; nothing more is reported of it.
    pub fn disconnect(&self, key: &PrincipalKey, refusal: Refusal) {
        self.shared
            .with(|registry, out| registry.disconnect(key, refusal, out));
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.lock().registry.links()
    }

    /// How many sessions there are, those that wait for their client included.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.shared.lock().registry.sessions()
    }

    /// Ends all sessions, tells every client `server_stopping` and waits until all connections are closed,
    /// at most 3 s. Nothing is reported to the application from here on.
    pub async fn stop(&self) {
        self.shared.with(Registry::stop);
        self.shared.stopped.send_replace(true);
        self.shared.sweep.notify_one();
        let emptied = async {
            loop {
                let emptied = self.shared.emptied.notified();
                if self.connections() == 0 {
                    return;
                }
                emptied.await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(3), emptied).await;
    }
}

/// What the tasks of a hub have in common.
struct Shared {
    state: Mutex<State>,
    config: HubConfig,
    clock: Arc<dyn Clock>,
    verifier: Arc<dyn TokenVerifier>,
    events: mpsc::Sender<HubEvent>,
    stopped: watch::Sender<bool>,
    /// Wakes the task that ends expired sessions: there is a new first deadline.
    sweep: Arc<Notify>,
    /// The last connection was closed.
    emptied: Notify,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The sweeper waits without holding the hub; it has to notice that the hub is gone.
        self.sweep.notify_one();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared(..)")
    }
}

struct State {
    registry: Registry,
    wakers: std::collections::BTreeMap<LinkId, Arc<Notify>>,
    /// Connections whose task was dropped before it could report the end.
    abandoned: Vec<LinkId>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The registry has no states between which a panic could leave it: going on is better than
        // ending every session.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an input that cannot lead to something to report.
    fn with(&self, input: impl FnOnce(&mut Registry, &mut Output)) {
        let mut out = Output::default();
        let mut state = self.lock();
        input(&mut state.registry, &mut out);
        state.wake(&out);
    }

    /// A place in the application's queue; `None` if the hub is stopped or the application is gone.
    async fn place(&self) -> Option<mpsc::Permit<'_, HubEvent>> {
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            place = self.events.reserve() => place.ok(),
            _ = stopped.wait_for(|stopped| *stopped) => None,
        }
    }

    /// Runs an input that may lead to something to report, and reports it in the place taken in advance.
    fn with_place(
        self: &Arc<Self>,
        place: mpsc::Permit<'_, HubEvent>,
        input: impl FnOnce(&mut State, Timestamp, &mut Output),
    ) {
        let mut out = Output::default();
        let mut state = self.lock();
        let now = self.clock.now();
        input(&mut state, now, &mut out);
        state.wake(&out);
        if let Some(change) = out.change {
            let deadline_changed = matches!(change, Change::LinkDown { .. } | Change::Opened { .. });
            // Under the lock: the order of reports is the order of decisions.
            place.send(self.event(change));
            if deadline_changed {
                self.sweep.notify_one();
            }
        }
    }

    fn event(self: &Arc<Self>, change: Change) -> HubEvent {
        match change {
            Change::Opened {
                key,
                principal,
                session,
            } => {
                let open = OpenReply {
                    shared: Arc::clone(self),
                    session: Some(session),
                };
                HubEvent::Opened { key, principal, open }
            }
            Change::LinkUp { key } => HubEvent::LinkUp { key },
            Change::LinkDown { key, silent } => HubEvent::LinkDown { key, silent },
            Change::Expired { key } => HubEvent::Expired { key },
            Change::Request {
                key,
                principal,
                session,
                id,
                request,
            } => {
                let reply = RequestReply {
                    shared: Arc::clone(self),
                    session,
                    id: Some(id),
                };
                HubEvent::Request {
                    key,
                    principal,
                    request,
                    reply,
                }
            }
        }
    }
}

impl State {
    fn wake(&self, out: &Output) {
        for link in &out.wake {
            if let Some(waker) = self.wakers.get(link) {
                waker.notify_one();
            }
        }
    }
}
