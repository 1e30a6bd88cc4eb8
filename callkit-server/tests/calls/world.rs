//! The surroundings of a test: a server, and people who talk to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use callkit_core::agent::AgentProfile;
use callkit_core::auth::{Principal, StaffRole};
use callkit_core::id::{AgentId, CallId, CustomerId, OfferId, ParticipantId, QueueId, RoomId};
use callkit_core::memory::MemorySessionStore;
use callkit_core::redact::{Private, Secret};
use callkit_core::store::SessionStore;
use callkit_core::time::{Clock, Timestamp};
use callkit_routing::{QueueConfig, RoutingConfig};
use callkit_server::app::App;
use callkit_server::config::Config;
use callkit_sfu::control::{MemoryMediaPlane, SfuEvent};
use callkit_signal::client::{Client, ClientError, ClientEvent, Events};
use callkit_signal::hub::TokenVerifier;
use callkit_signal::message::{
    CallView, ErrorBody, Event, LinkView, OfferView, Outcome, ParticipantView, Phase, PresenceChoice,
    Refusal, Request, Role, Snapshot,
};
use callkit_signal::transport::MemoryTransport;
use tokio::time::timeout;

/// Longer than any deadline of the server. Virtual: a test that waits in vain fails at once.
const LONG: Duration = Duration::from_secs(600);

/// Time as tokio tells it to tests: it passes when everybody waits.
#[derive(Debug)]
struct VirtualClock(tokio::time::Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_000_000) + self.0.elapsed()
    }

    fn monotonic(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// Believes a token of the form `customer:7` or `operator:irina`.
#[derive(Debug)]
struct Believing;

#[async_trait]
impl TokenVerifier for Believing {
    async fn verify(&self, _now: Timestamp, token: &Secret<String>) -> Result<Principal, Refusal> {
        let (kind, name) = token.expose().split_once(':').ok_or(Refusal::InvalidToken)?;
        let shown = |name: &str| Private::new(format!("{name} shown"));
        let role = match kind {
            "customer" => {
                let number = name.parse::<u128>().map_err(|_| Refusal::InvalidToken)?;
                let name = Some(shown(name));
                return Ok(Principal::Customer {
                    id: CustomerId::from(number),
                    name,
                    verified: false,
                });
            }
            "operator" => StaffRole::Operator,
            "supervisor" => StaffRole::Supervisor,
            _ => return Err(Refusal::InvalidToken),
        };
        let id = AgentId::new(name).map_err(|_| Refusal::InvalidToken)?;
        Ok(Principal::Staff {
            id,
            name: shown(name),
            role,
        })
    }
}

/// A server whose parts a test can reach.
pub(crate) struct World {
    pub(crate) app: App,
    pub(crate) media: Arc<MemoryMediaPlane>,
    pub(crate) store: Arc<dyn SessionStore>,
    clock: Arc<dyn Clock>,
    // Holds the signing key.
    folder: tempfile::TempDir,
}

pub(crate) fn support() -> QueueId {
    QueueId::new("support").unwrap()
}

impl World {
    /// A server with the operators irina and oleg for the queue `support`.
    pub(crate) async fn new() -> Self {
        Self::with_store(Arc::new(MemorySessionStore::default())).await
    }

    pub(crate) async fn with_store(store: Arc<dyn SessionStore>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock(tokio::time::Instant::now()));
        let folder = tempfile::tempdir().unwrap();
        let (app, media) = start(&store, &clock, &folder).await;
        Self {
            app,
            media,
            store,
            clock,
            folder,
        }
    }

    /// The server dies without a word and comes up again over what it has stored.
    pub(crate) async fn restart(self) -> Self {
        let Self {
            app,
            store,
            clock,
            folder,
            ..
        } = self;
        drop(app);
        let (app, media) = start(&store, &clock, &folder).await;
        Self {
            app,
            media,
            store,
            clock,
            folder,
        }
    }

    fn connect(&self) -> MemoryTransport {
        let (server, client) = MemoryTransport::pair();
        let hub = self.app.hub().clone();
        tokio::spawn(async move { hub.serve(Box::new(server)).await });
        client
    }

    pub(crate) async fn try_sign_in(&self, token: &str) -> Result<Person, ClientError> {
        let opened = Client::open(Box::new(self.connect()), Secret::new(token.to_owned())).await;
        let (client, welcome, events) = opened?;
        Ok(Person {
            client,
            events,
            snapshot: welcome.snapshot,
        })
    }

    pub(crate) async fn sign_in(&self, token: &str) -> Person {
        self.try_sign_in(token).await.unwrap()
    }

    /// A customer who has asked for a call, later than all before.
    pub(crate) async fn caller(&self, number: u32) -> (Person, CallId) {
        tokio::time::advance(Duration::from_millis(1)).await;
        let customer = self.sign_in(&format!("customer:{number}")).await;
        let call = customer.start().await;
        (customer, call.id)
    }

    /// An operator on shift.
    pub(crate) async fn operator(&self, name: &str) -> Person {
        let person = self.sign_in(&format!("operator:{name}")).await;
        person
            .ask(Request::PresenceSet {
                presence: PresenceChoice::Available,
            })
            .await
            .unwrap();
        person
    }

    /// A talk of customer 1 and irina.
    pub(crate) async fn talk(&self) -> Talk {
        let mut operator = self.operator("irina").await;
        let (mut customer, call) = self.caller(1).await;
        let offer = operator.rings().await;
        operator
            .ask(Request::OfferAccept { offer: offer.id })
            .await
            .unwrap();
        customer.sees(call, |view| view.phase == Phase::Connecting).await;
        for person in [&customer, &operator] {
            let answer = person
                .ask(Request::MediaOffer {
                    call,
                    sdp: "v=0".to_owned(),
                })
                .await
                .unwrap();
            assert!(matches!(answer, Outcome::Media { .. }));
        }
        let [first, second] = self.media.participants(RoomId::from(call))[..] else {
            panic!("two are in the room")
        };
        self.media_up(call, first);
        self.media_up(call, second);
        let view = customer.sees(call, is_active).await;
        operator.sees(call, is_active).await;
        let of = |role| view.participants.iter().find(|one| one.role == role).unwrap().id;
        let (customer_id, operator_id) = (of(Role::Customer), of(Role::Operator));
        Talk {
            customer,
            operator,
            call,
            customer_id,
            operator_id,
        }
    }

    pub(crate) fn media_up(&self, call: CallId, participant: ParticipantId) {
        self.media.emit(SfuEvent::MediaUp {
            room: call.into(),
            participant,
        });
    }

    /// Resumes a session whose connection was lost.
    pub(crate) async fn resume(&self, person: &Person) {
        person.client.resume(Box::new(self.connect())).await.unwrap();
    }
}

async fn start(
    store: &Arc<dyn SessionStore>,
    clock: &Arc<dyn Clock>,
    folder: &tempfile::TempDir,
) -> (App, Arc<MemoryMediaPlane>) {
    let mut config = Config::default();
    config.storage.path = folder.path().to_owned();
    let agent = |name: &str| AgentProfile {
        id: AgentId::new(name).unwrap(),
        name: Private::new(format!("{name} shown")),
        queues: vec![support()],
    };
    let supervisor = |name: &str| AgentProfile {
        queues: Vec::new(),
        ..agent(name)
    };
    let routing = RoutingConfig {
        queues: vec![QueueConfig::new(support(), "Support")],
        agents: vec![agent("irina"), agent("oleg")]
            .into_iter()
            .chain(["maria", "nina"].map(supervisor))
            .chain((0..10).map(|number| supervisor(&format!("s{number}"))))
            .collect(),
        ..RoutingConfig::default()
    };
    let (media, events) = MemoryMediaPlane::with_queue(64);
    let media = Arc::new(media);
    let app = App::builder(config)
        .with_routing(routing)
        .with_store(Arc::clone(store))
        .with_clock(Arc::clone(clock))
        .with_tokens(Arc::new(Believing))
        .with_media(Arc::new(Arc::clone(&media)), events)
        .start()
        .await
        .unwrap();
    (app, media)
}

/// Two people in a call.
pub(crate) struct Talk {
    pub(crate) customer: Person,
    pub(crate) operator: Person,
    pub(crate) call: CallId,
    pub(crate) customer_id: ParticipantId,
    pub(crate) operator_id: ParticipantId,
}

/// Somebody at a page.
pub(crate) struct Person {
    pub(crate) client: Client,
    pub(crate) events: Events,
    pub(crate) snapshot: Snapshot,
}

impl Person {
    /// Asks for a call.
    pub(crate) async fn start(&self) -> CallView {
        match self.ask(Request::CallStart { queue: support() }).await.unwrap() {
            Outcome::Call { call } => call,
            other => panic!("call.start gave {other:?}"),
        }
    }

    /// Makes a request; an error of the server comes back as its body.
    pub(crate) async fn ask(&self, request: Request) -> Result<Outcome, ErrorBody> {
        match timeout(LONG, self.client.request(request))
            .await
            .expect("every request is answered")
        {
            Ok(outcome) => Ok(outcome),
            Err(ClientError::Rejected(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }

    /// The code of the error that the request is answered with.
    pub(crate) async fn refused(&self, request: Request) -> String {
        self.ask(request).await.expect_err("the request is refused").code
    }

    /// Waits for the first event that `wanted` makes something of.
    pub(crate) async fn hears<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let search = async {
            loop {
                match self.events.next().await {
                    Some(ClientEvent::Event { event, .. }) => {
                        if let Some(found) = wanted(&event) {
                            return found;
                        }
                    }
                    Some(ClientEvent::Lost(_)) => {}
                    other => panic!("the connection ended: {other:?}"),
                }
            }
        };
        timeout(LONG, search).await.expect("the event comes")
    }

    /// Waits until the call looks as `wanted` says.
    pub(crate) async fn sees(&mut self, call: CallId, wanted: impl Fn(&CallView) -> bool) -> CallView {
        self.hears(|event| match event {
            Event::Call { call: view } if view.id == call && wanted(view) => Some(view.clone()),
            _ => None,
        })
        .await
    }

    /// Waits for the phase in which the call ends.
    pub(crate) async fn sees_end(&mut self, call: CallId) -> callkit_core::call::EndReason {
        match self
            .sees(call, |view| matches!(view.phase, Phase::Ended { .. }))
            .await
            .phase
        {
            Phase::Ended { reason, .. } => reason,
            other => unreachable!("{other:?}"),
        }
    }

    /// Waits until a call rings.
    pub(crate) async fn rings(&mut self) -> OfferView {
        self.hears(|event| match event {
            Event::OfferNew { offer } => Some(offer.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until `offer` rings no longer; gives the outcome and its cause.
    pub(crate) async fn stops_ringing(&mut self, offer: OfferId) -> (String, Option<String>) {
        self.hears(|event| match event {
            Event::OfferClosed {
                offer: closed,
                outcome,
                cause,
            } if *closed == offer => Some((outcome.clone(), cause.clone())),
            _ => None,
        })
        .await
    }

    /// Everything heard up to now, once the server has nothing more to say for a moment.
    pub(crate) async fn heard(&mut self) -> Vec<Event> {
        let mut heard = Vec::new();
        // 50 ms of virtual time pass only when every task waits.
        while let Ok(Some(event)) = timeout(Duration::from_millis(50), self.events.next()).await {
            if let ClientEvent::Event { event, .. } = event {
                heard.push(event);
            }
        }
        heard
    }
}

pub(crate) fn is_active(view: &CallView) -> bool {
    matches!(view.phase, Phase::Active { .. })
}

/// The participant of `role`.
pub(crate) fn one(view: &CallView, role: Role) -> &ParticipantView {
    view.participants
        .iter()
        .find(|one| one.role == role)
        .expect("somebody has the role")
}

pub(crate) fn is_reconnecting(view: &CallView, role: Role) -> bool {
    matches!(one(view, role).link, LinkView::Reconnecting { .. })
}

/// Lets virtual time pass.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep_until(tokio::time::Instant::now() + time).await;
}
