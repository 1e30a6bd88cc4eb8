//! [`App`]: the parts put together and running; [`AppBuilder`]: which parts.
//!
//! Everything has a default from the [`Config`]: an embedding platform exchanges what it has better of its
//! own (store, sign-in, tokens, rights, media, routing) and mounts [`App::router`] where it wants.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use callkit_core::agent::AgentProfile;
use callkit_core::auth::{AccessPolicy, AuthProvider, RolePolicy};
use callkit_core::id::IdSource;
use callkit_core::store::{SessionStore, StoreError};
use callkit_core::time::{Clock, SystemClock};
use callkit_routing::{LongestIdle, QueueConfig, RoutingConfig, RoutingPolicy};
use callkit_sfu::control::{MediaPlane, Sfu, SfuConfig, SfuError, SfuEvent, TcpListen};
use callkit_sfu::turn::TurnService;
use callkit_signal::hub::{Hub, HubConfig, TokenVerifier};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::mpsc;

use crate::adapter::auth_static::{InvalidHash, StaticAuth};
use crate::adapter::identity::Identity;
use crate::adapter::store_sqlite::{OpenError, SqliteStore};
use crate::adapter::{KeyFileError, SigningKey};
use crate::config::Config;
use crate::http::{self, HttpState};
use crate::orchestrator::{Orchestrator, Parts};
use crate::relay::{self, RelayError};
use crate::ws::SignalEndpoint;

/// Inputs from signaling that wait for the orchestrator; sessions wait when it is full.
const HUB_EVENTS: usize = 1024;

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The database cannot be opened.
    #[error("cannot open the database")]
    Database(#[source] OpenError),
    /// The store cannot be read.
    #[error("cannot read the open calls")]
    Store(#[source] StoreError),
    /// The signing key cannot be used.
    #[error(transparent)]
    Key(KeyFileError),
    /// A password hash of the configuration cannot be used.
    #[error("staff.users: a password hash {0}")]
    Staff(InvalidHash),
    /// Media cannot be received.
    #[error(transparent)]
    Media(SfuError),
    /// The way around firewalls does not start.
    #[error(transparent)]
    Relay(RelayError),
    /// Queues and agents do not fit together.
    #[error(transparent)]
    Routing(callkit_routing::ConfigError),
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers")]
    Entropy,
}

/// Which parts the server is made of.
pub struct AppBuilder {
    config: Config,
    routing: RoutingConfig,
    store: Option<Arc<dyn SessionStore>>,
    auth: Option<Arc<dyn AuthProvider>>,
    tokens: Option<Arc<dyn TokenVerifier>>,
    access: Arc<dyn AccessPolicy>,
    media: Option<(Arc<dyn MediaPlane>, mpsc::Receiver<SfuEvent>)>,
    clock: Option<Arc<dyn Clock>>,
    policy: Arc<dyn RoutingPolicy>,
    signal: HubConfig,
    port: u16,
}

impl AppBuilder {
    /// Keeps calls, chat and events in `store` instead of the SQLite file of the configuration.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn SessionStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Checks staff passwords with `auth` instead of the users of the configuration.
    #[must_use]
    pub fn with_auth(mut self, auth: Arc<dyn AuthProvider>) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Checks the tokens of signaling with `tokens`: for platforms that issue their own. Visitor tokens and
    /// staff tickets of the HTTP API are then not accepted unless `tokens` does.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Arc<dyn TokenVerifier>) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Decides with `access` who may do what.
    #[must_use]
    pub fn with_access(mut self, access: Arc<dyn AccessPolicy>) -> Self {
        self.access = access;
        self
    }

    /// Carries media with `media`, which reports to `events`, instead of the SFU of this process.
    #[must_use]
    pub fn with_media(mut self, media: Arc<dyn MediaPlane>, events: mpsc::Receiver<SfuEvent>) -> Self {
        self.media = Some((media, events));
        self
    }

    /// Tells the time with `clock`. One that starts behind what the store holds stands still until then.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Chooses agents with `policy` instead of [`LongestIdle`].
    #[must_use]
    pub fn with_policy(mut self, policy: Arc<dyn RoutingPolicy>) -> Self {
        self.policy = policy;
        self
    }

    /// Routes with `routing` instead of the queues and users of the configuration.
    #[must_use]
    pub fn with_routing(mut self, routing: RoutingConfig) -> Self {
        self.routing = routing;
        self
    }

    /// Other limits of signaling sessions.
    #[must_use]
    pub fn with_signal(mut self, signal: HubConfig) -> Self {
        self.signal = signal;
        self
    }

    /// The port that pages are served on, where the configuration leaves it to the system (0): it is part
    /// of the origins that are allowed.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Opens what was not given, goes on with the calls that the store holds, and starts.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(self) -> Result<App, StartError> {
        self.routing.check().map_err(StartError::Routing)?;
        let mut seeds = Seeds(SystemRandom::new());
        let (store, own_store) = match self.store {
            Some(store) => (store, None),
            None => {
                let own = SqliteStore::open(&self.config.storage.database())
                    .await
                    .map_err(StartError::Database)?;
                let own = Arc::new(own);
                (Arc::clone(&own) as Arc<dyn SessionStore>, Some(own))
            }
        };
        let clock = match self.clock {
            Some(clock) => clock,
            None => {
                // Not before what is stored: a wall clock that was set back would revive old deadlines.
                let open = store.load_open().await.map_err(StartError::Store)?;
                Arc::new(SystemClock::not_before(open.latest))
            }
        };
        let identity = Arc::new(identity(&self.config, self.auth, &clock)?);
        let tokens = self
            .tokens
            .unwrap_or_else(|| Arc::clone(&identity) as Arc<dyn TokenVerifier>);
        let (media, own_media, sfu_events) = match self.media {
            Some((media, events)) => (media, None, events),
            None => {
                let (sfu, events) = Sfu::start(sfu_config(&self.config), Arc::clone(&clock), seeds.next()?)
                    .map_err(StartError::Media)?;
                let sfu = Arc::new(sfu);
                (Arc::clone(&sfu) as Arc<dyn MediaPlane>, Some(sfu), events)
            }
        };
        let (turn, ice) = relay::start(&self.config, own_media.as_deref(), &clock, seeds.ids()?)
            .map_err(StartError::Relay)?;
        let (hub_sender, hub_events) = mpsc::channel(HUB_EVENTS);
        let hub = Hub::start(self.signal, Arc::clone(&clock), seeds.ids()?, tokens, hub_sender);
        let parts = Parts {
            store: Arc::clone(&store),
            access: Arc::clone(&self.access),
            clock: Arc::clone(&clock),
            media,
            ice: Arc::new(ice),
            policy: self.policy,
            routing: self.routing,
            ids: seeds.ids()?,
        };
        let orchestrator = Orchestrator::start(parts, hub.clone(), hub_events, sfu_events)
            .await
            .map_err(StartError::Store)?;
        let http = HttpState::new(
            &self.config,
            self.port,
            identity,
            store,
            self.access,
            SignalEndpoint::new(hub.clone()),
        );
        Ok(App {
            http,
            hub,
            orchestrator,
            own_media,
            turn,
            own_store,
        })
    }
}

impl fmt::Debug for AppBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppBuilder")
            .field("routing", &self.routing)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// A running server without a listener: signaling, routing, media and storage, and the router that leads
/// to them.
#[derive(Debug)]
pub struct App {
    http: HttpState,
    hub: Hub,
    orchestrator: Orchestrator,
    own_media: Option<Arc<Sfu>>,
    turn: Option<TurnService>,
    own_store: Option<Arc<SqliteStore>>,
}

impl App {
    /// A server as `config` says, each part of which can be exchanged.
    #[must_use]
    pub fn builder(config: Config) -> AppBuilder {
        AppBuilder {
            routing: routing_config(&config),
            port: config.http.port,
            config,
            store: None,
            auth: None,
            tokens: None,
            access: Arc::new(RolePolicy),
            media: None,
            clock: None,
            policy: Arc::new(LongestIdle),
            signal: HubConfig::default(),
        }
    }

    /// Pages, API and signaling, to be served or merged into another router. Serve it with
    /// `into_make_service_with_connect_info::<SocketAddr>()`, so that limits per address work.
    pub fn router(&self) -> Router {
        http::router(self.http.clone())
    }

    /// The signaling sessions: for transports besides WebSocket.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Stops: what is being decided is written, every page is told to come back later, media ends. Stop
    /// accepting connections before.
    pub async fn stop(self) {
        self.orchestrator.stop().await;
        self.hub.stop().await;
        // The last owner ends the media threads, and waits for them.
        if let Err(error) = tokio::task::spawn_blocking(move || drop((self.own_media, self.turn))).await {
            tracing::error!(%error, "media did not end in order");
        }
        if let Some(store) = self.own_store {
            store.close().await;
        }
    }
}

/// Seeds from the operating system.
struct Seeds(SystemRandom);

impl Seeds {
    fn next(&mut self) -> Result<[u8; 32], StartError> {
        let mut seed = [0; 32];
        self.0.fill(&mut seed).map_err(|_| StartError::Entropy)?;
        Ok(seed)
    }

    fn ids(&mut self) -> Result<IdSource, StartError> {
        self.next().map(IdSource::from_entropy)
    }
}

fn identity(
    config: &Config,
    auth: Option<Arc<dyn AuthProvider>>,
    clock: &Arc<dyn Clock>,
) -> Result<Identity, StartError> {
    let key = SigningKey::open_or_create(&config.storage.signing_key()).map_err(StartError::Key)?;
    match auth {
        Some(auth) => Identity::new(key, auth, Arc::clone(clock)).map_err(StartError::Key),
        None => {
            let known = Arc::new(StaticAuth::new(&config.staff).map_err(StartError::Staff)?);
            let identity = Identity::new(
                key,
                Arc::clone(&known) as Arc<dyn AuthProvider>,
                Arc::clone(clock),
            );
            Ok(identity.map_err(StartError::Key)?.with_directory(known))
        }
    }
}

/// Queues and agents as the configuration has them.
fn routing_config(config: &Config) -> RoutingConfig {
    let section = &config.routing;
    let queue = |queue: &crate::config::QueueConfig| QueueConfig {
        offer_timeout: section.offer_timeout(queue),
        max_len: usize::try_from(section.max_queue_length(queue)).unwrap_or(usize::MAX),
        max_wait: section.max_wait(queue),
        ..QueueConfig::new(queue.id.clone(), &queue.name)
    };
    let agent = |user: &crate::config::UserConfig| AgentProfile {
        id: user.id.clone(),
        name: user.name.clone(),
        queues: user.serves(section),
    };
    RoutingConfig {
        queues: section.queues.iter().map(queue).collect(),
        agents: config.staff.users.iter().map(agent).collect(),
        ..RoutingConfig::default()
    }
}

fn sfu_config(config: &Config) -> SfuConfig {
    let media = &config.media;
    SfuConfig {
        bind: Some(media.bind).filter(|bind| !bind.is_unspecified()),
        port: media.port,
        tcp: match (media.tcp, media.tcp_port) {
            (false, _) => TcpListen::Off,
            (true, None) => TcpListen::SamePort,
            (true, Some(port)) => TcpListen::From(port),
        },
        shards: usize::from(media.shards),
        external: media.external_addresses.clone(),
        ..SfuConfig::default()
    }
}
