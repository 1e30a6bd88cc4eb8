//! The signaling life of synthetic people: a customer who calls when told to, an operator who takes what rings, a
//! supervisor who joins the call of a place. Each is a task over the Rust client of the protocol.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use callkit_core::call::SuperviseMode;
use callkit_core::id::{CallId, IdSource, QueueId};
use callkit_core::redact::Secret;
use callkit_core::time::Clock;
use callkit_sfu::testing::{MediaPeer, MediaShape, PeerNotice, Seat, Swarm, SyntheticClient};
use callkit_sfu::transport::DtlsIdentity;
use callkit_signal::client::{Client, ClientError, ClientEvent, Events};
use callkit_signal::message::{CallView, Event, Outcome, Phase, PresenceChoice, Request};
use http::StatusCode;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep_until;

use super::connect::{ConnectError, Connector};
use super::journal::Journal;
use super::plan::Side;

/// Notices of one's own media that may wait.
const NOTICES: usize = 8;
/// Orders of the plan that may wait for a customer who is slow.
pub(super) const ORDERS: usize = 64;
/// Sign-ins at the same time: each costs the server tens of milliseconds of hashing.
const SIGN_INS: usize = 4;

/// How long a refused sign-in is tried again, and the pause before.
const SIGN_IN_PATIENCE: Duration = Duration::from_secs(60);
const SIGN_IN_PAUSE: Duration = Duration::from_millis(500);

/// What everybody shares.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) connector: Connector,
    pub(super) swarm: Swarm,
    pub(super) journal: Journal,
    pub(super) clock: Arc<dyn Clock>,
    /// One certificate for all: making one each would only load the tester.
    pub(super) identity: Arc<DtlsIdentity>,
    pub(super) shape: MediaShape,
    pub(super) participants: usize,
    pub(super) queue: QueueId,
    pub(super) seed: u64,
    sign_ins: Semaphore,
    /// How to tell the operator of a call to end it.
    operators: Mutex<BTreeMap<CallId, mpsc::Sender<CallId>>>,
}

impl Stage {
    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of a struct with private ones"
    )]
    pub(super) fn new(
        connector: Connector,
        swarm: Swarm,
        clock: Arc<dyn Clock>,
        identity: DtlsIdentity,
        shape: MediaShape,
        participants: usize,
        queue: QueueId,
        seed: u64,
    ) -> Self {
        Self {
            connector,
            swarm,
            journal: Journal::default(),
            clock,
            identity: Arc::new(identity),
            shape,
            participants,
            queue,
            seed,
            sign_ins: Semaphore::new(SIGN_INS),
            operators: Mutex::default(),
        }
    }

    fn now(&self) -> Instant {
        self.clock.monotonic()
    }

    fn with_operators<T>(&self, f: impl FnOnce(&mut BTreeMap<CallId, mpsc::Sender<CallId>>) -> T) -> T {
        // Single insertions and removals: a panic elsewhere leaves the map whole.
        f(&mut self.operators.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why somebody cannot take part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PersonError {
    #[error("signing in")]
    Connect(#[from] ConnectError),
    #[error("signaling")]
    Signal(#[from] ClientError),
}

impl PersonError {
    fn code(&self) -> String {
        match self {
            Self::Connect(error) => error.code(),
            Self::Signal(error) => code_of(error),
        }
    }
}

fn code_of(error: &ClientError) -> String {
    match error {
        ClientError::Rejected(body) => body.code.clone(),
        ClientError::Refused(refusal) => format!("refused_{}", refusal.as_str()),
        ClientError::NotConnected => "not_connected".to_owned(),
        ClientError::Timeout => "no_answer".to_owned(),
        _ => "connection_lost".to_owned(),
    }
}

/// An account of the server.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) user: String,
    pub(super) password: Secret<String>,
}

/// What a person is in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Customer,
    Operator,
    Third,
}

/// Media that was offered, from then on.
#[derive(Debug)]
struct Live {
    seat: Seat,
    notices: mpsc::Receiver<PeerNotice>,
    offered: Instant,
    joined: bool,
}

/// A person with an open session.
#[derive(Debug)]
struct Person {
    stage: Arc<Stage>,
    number: u32,
    part: Part,
    client: Client,
    events: Events,
    live: Option<(CallId, Live)>,
    media_count: u64,
}

/// What a person hears.
#[derive(Debug)]
enum Heard {
    Event(Box<Event>),
    /// The first packet of somebody else, or without media the connection, took this long.
    Joined,
    /// One's own media ended without being told to.
    MediaGone,
    Lost,
}

impl Person {
    async fn open(
        stage: &Arc<Stage>,
        number: u32,
        part: Part,
        token: Secret<String>,
    ) -> Result<Self, PersonError> {
        let transport = stage.connector.signal(number).await?;
        let (client, _, events) = Box::pin(Client::open(Box::new(transport), token)).await?;
        Ok(Self {
            stage: Arc::clone(stage),
            number,
            part,
            client,
            events,
            live: None,
            media_count: 0,
        })
    }

    /// The next thing heard.
    async fn hear(&mut self) -> Heard {
        loop {
            let notice = match &mut self.live {
                None => match self.events.next().await {
                    Some(ClientEvent::Event { event, .. }) => return Heard::Event(Box::new(event)),
                    _ => return Heard::Lost,
                },
                Some((_, live)) => tokio::select! {
                    event = self.events.next() => match event {
                        Some(ClientEvent::Event { event, .. }) => return Heard::Event(Box::new(event)),
                        _ => return Heard::Lost,
                    },
                    notice = live.notices.recv() => notice,
                },
            };
            let muted = self.stage.shape == MediaShape::MUTED;
            match notice {
                Some(PeerNotice::Closed) => return Heard::MediaGone,
                Some(PeerNotice::Failed) | None => {
                    self.stage.journal.refused("media_failed");
                    return Heard::MediaGone;
                }
                Some(PeerNotice::Connected) if !muted => {}
                Some(_) => {
                    let now = self.stage.now();
                    if let Some((_, live)) = self.live.as_mut().filter(|(_, live)| !live.joined) {
                        live.joined = true;
                        let took = now.saturating_duration_since(live.offered);
                        self.stage.journal.joined(took, self.part == Part::Third);
                        return Heard::Joined;
                    }
                }
            }
        }
    }

    /// Brings media up or down as the call's new state asks for. Returns whether the call is over.
    async fn follow(&mut self, call: &CallView) -> bool {
        match call.phase {
            Phase::Connecting | Phase::Active { .. } => {
                if self.live.as_ref().is_none_or(|(known, _)| *known != call.id) {
                    self.hang_up_media();
                    if let Err(code) = self.bring_up(call.id).await {
                        self.stage.journal.refused(&code);
                    }
                }
                false
            }
            Phase::Queued { .. } => {
                self.hang_up_media();
                false
            }
            Phase::Ended { .. } => {
                self.hang_up_media();
                true
            }
        }
    }

    async fn bring_up(&mut self, call: CallId) -> Result<(), String> {
        let stage = Arc::clone(&self.stage);
        self.media_count += 1;
        let seed = stage.seed ^ (u64::from(self.number) << 32) ^ self.media_count;
        let mut random = IdSource::seeded(seed);
        let client_random = IdSource::seeded(random.next_u64());
        let client = SyntheticClient::new(Arc::clone(&stage.identity), client_random);
        let offer = client.offer();
        let listeners = stage.participants - 1;
        let mut peer = MediaPeer::new(client, stage.shape, random, stage.swarm.epoch(), listeners);
        let offered = stage.now();
        let answer = self
            .client
            .request(Request::MediaOffer { call, sdp: offer })
            .await
            .map_err(|error| code_of(&error))?;
        let Outcome::Media { sdp } = answer else {
            return Err("unexpected_answer".to_owned());
        };
        let candidates = peer
            .client()
            .accept(stage.now(), &sdp)
            .map(|answer| answer.candidates.clone())
            .unwrap_or_default();
        let server = candidates
            .iter()
            .find(|address| address.is_ipv4())
            .or_else(|| candidates.first());
        let server = *server.ok_or("no_candidate")?;
        let (notify, notices) = mpsc::channel(NOTICES);
        let seat = stage.swarm.add(peer, server, notify).map_err(|error| {
            tracing::warn!(%error, "a participant cannot be played");
            "tester_failed".to_owned()
        })?;
        let live = Live {
            seat,
            notices,
            offered,
            joined: false,
        };
        self.live = Some((call, live));
        Ok(())
    }

    fn hang_up_media(&mut self) {
        if let Some((call, live)) = self.live.take() {
            self.stage.swarm.remove(live.seat, true);
            if live.joined {
                self.stage.journal.left();
            }
            if self.part == Part::Operator {
                self.stage.with_operators(|operators| operators.remove(&call));
            }
        }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        self.hang_up_media();
    }
}

/// What a customer is told by the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Call.
    Start,
    /// End the call, and call again.
    Replace(Side),
    /// End the call and go.
    Leave,
}

/// A customer: signs in as a visitor with the first order, and follows orders until told to leave.
pub(super) async fn customer(
    stage: Arc<Stage>,
    number: u32,
    mut orders: mpsc::Receiver<Order>,
    third: Option<mpsc::Sender<CallId>>,
) {
    // Nothing happens before the first order.
    let Some(Order::Start) = orders.recv().await else {
        return;
    };
    stage.journal.asked();
    let opened = async {
        let token = stage.connector.visitor(number).await?;
        Person::open(&stage, number, Part::Customer, token).await
    };
    let mut person = match Box::pin(opened).await {
        Ok(person) => person,
        Err(error) => {
            stage.journal.refused(&error.code());
            return;
        }
    };
    let mut call = start(&person).await;
    let mut again = false;
    let mut leaving = false;
    let mut third_called = None;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Start) => {}
                Some(Order::Replace(side)) => {
                    again = true;
                    match call {
                        Some((call, _)) => hang_up(&person, call, side).await,
                        None => {
                            stage.journal.asked();
                            call = start(&person).await;
                            again = false;
                        }
                    }
                }
                Some(Order::Leave) | None => {
                    leaving = true;
                    match call {
                        Some((call, _)) => hang_up(&person, call, Side::Customer).await,
                        None => break,
                    }
                }
            },
            heard = person.hear() => match heard {
                Heard::Event(event) => {
                    let Event::Call { call: view } = *event else { continue };
                    if call.is_none_or(|(mine, _)| mine != view.id) {
                        continue;
                    }
                    if !person.follow(&view).await {
                        // A talk can be joined once both sides are in it.
                        if let (Phase::Active { .. }, Some(third)) = (&view.phase, &third)
                            && third_called != Some(view.id)
                        {
                            third_called = Some(view.id);
                            // A supervisor who is busy with the call before comes when that is over.
                            let _ = third.try_send(view.id);
                        }
                        continue;
                    }
                    if std::mem::take(&mut again) || leaving {
                        stage.journal.ended();
                    } else {
                        stage.journal.refused(&format!("call_{}", reason(&view)));
                    }
                    if leaving {
                        break;
                    }
                    stage.journal.asked();
                    call = start(&person).await;
                }
                Heard::Joined => {
                    if let Some((_, asked)) = call {
                        stage.journal.up(stage.now().saturating_duration_since(asked));
                    }
                }
                Heard::MediaGone => person.hang_up_media(),
                Heard::Lost => {
                    stage.journal.refused("connection_lost");
                    break;
                }
            },
        }
    }
    person.hang_up_media();
    person.client.close().await;
}

/// The reason of an end, as its code.
fn reason(call: &CallView) -> String {
    let code = match &call.phase {
        Phase::Ended { reason, .. } => serde_json::to_value(reason).ok(),
        _ => None,
    };
    code.and_then(|code| code.as_str().map(str::to_owned))
        .unwrap_or_else(|| "ended".to_owned())
}

/// Asks for a call; when it was asked for.
async fn start(person: &Person) -> Option<(CallId, Instant)> {
    let stage = &person.stage;
    let asked = stage.now();
    let queue = stage.queue.clone();
    match person.client.request(Request::CallStart { queue }).await {
        Ok(Outcome::Call { call }) => Some((call.id, asked)),
        Ok(_) => {
            stage.journal.refused("unexpected_answer");
            None
        }
        Err(error) => {
            stage.journal.refused(&code_of(&error));
            None
        }
    }
}

async fn hang_up(person: &Person, call: CallId, side: Side) {
    let operator = person
        .stage
        .with_operators(|operators| operators.get(&call).cloned());
    if let Some(operator) = operator.filter(|_| side == Side::Operator)
        && operator.send(call).await.is_ok()
    {
        return;
    }
    if let Err(error) = person.client.request(Request::CallHangup { call }).await {
        // The other side, or nobody's media, may have been quicker.
        tracing::debug!(%error, "hanging up");
    }
}

/// Signs a member of staff in.
async fn sign_in(
    stage: &Arc<Stage>,
    number: u32,
    part: Part,
    account: &Account,
) -> Result<Person, PersonError> {
    // Never closed.
    let turn = stage.sign_ins.acquire().await;
    let Account { user, password } = account;
    let end = stage.now() + SIGN_IN_PATIENCE;
    let cookie = loop {
        match stage.connector.sign_in(number, user, password).await {
            // Too many at once: a person tries again.
            Err(ConnectError::Status(StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS))
                if stage.now() < end =>
            {
                sleep_until((stage.now() + SIGN_IN_PAUSE).into()).await;
            }
            outcome => break outcome?,
        }
    };
    let ticket = stage.connector.ticket(number, &cookie).await?;
    drop(turn);
    Person::open(stage, number, part, ticket).await
}

/// An operator who takes every call that rings until `stop` is dropped. Tells `ready` once available.
pub(super) async fn operator(
    stage: Arc<Stage>,
    number: u32,
    account: Account,
    ready: mpsc::Sender<Result<(), PersonError>>,
    mut stop: mpsc::Receiver<()>,
) {
    let opened = async {
        let person = sign_in(&stage, number, Part::Operator, &account).await?;
        let presence = PresenceChoice::Available;
        person.client.request(Request::PresenceSet { presence }).await?;
        Ok(person)
    };
    let mut person = match Box::pin(opened).await {
        Ok(person) => person,
        Err(error) => {
            let _ = ready.send(Err(error)).await;
            return;
        }
    };
    let _ = ready.send(Ok(())).await;
    let (end, mut ends) = mpsc::channel(ORDERS);
    loop {
        tokio::select! {
            _ = stop.recv() => break,
            call = ends.recv() => {
                if let Some(call) = call
                    && let Err(error) = person.client.request(Request::CallHangup { call }).await
                {
                    tracing::debug!(%error, "hanging up");
                }
            }
            heard = person.hear() => match heard {
                Heard::Event(event) => match *event {
                    Event::OfferNew { offer } => {
                        let taken = person.client.request(Request::OfferAccept { offer: offer.id }).await;
                        if let Err(error) = taken {
                            // The customer may have gone in the same moment.
                            tracing::debug!(%error, "accepting");
                        }
                    }
                    Event::Call { call } => {
                        let is_over = !person.follow(&call).await;
                        if is_over && person.live.is_some() {
                            stage.with_operators(|operators| operators.insert(call.id, end.clone()));
                        }
                    }
                    _ => {}
                },
                Heard::Joined => {}
                Heard::MediaGone => person.hang_up_media(),
                Heard::Lost => {
                    stage.journal.refused("connection_lost");
                    break;
                }
            },
        }
    }
    person.hang_up_media();
    person.client.close().await;
}

/// A supervisor who joins each call named by `calls`, until that ends.
pub(super) async fn third(
    stage: Arc<Stage>,
    number: u32,
    account: Account,
    ready: mpsc::Sender<Result<(), PersonError>>,
    mut calls: mpsc::Receiver<CallId>,
) {
    let mut person = match Box::pin(sign_in(&stage, number, Part::Third, &account)).await {
        Ok(person) => person,
        Err(error) => {
            let _ = ready.send(Err(error)).await;
            return;
        }
    };
    let _ = ready.send(Ok(())).await;
    let mut current = None;
    loop {
        tokio::select! {
            call = calls.recv(), if current.is_none() => {
                let Some(call) = call else { break };
                let mode = SuperviseMode::Barge;
                match person.client.request(Request::SuperviseJoin { call, mode }).await {
                    Ok(_) => {
                        current = Some(call);
                        if let Err(code) = person.bring_up(call).await {
                            stage.journal.refused(&format!("third_{code}"));
                        }
                    }
                    Err(error) => stage.journal.refused(&format!("third_{}", code_of(&error))),
                }
            }
            heard = person.hear() => match heard {
                Heard::Event(event) => {
                    if let Event::Call { call } = *event
                        && current == Some(call.id)
                        && matches!(call.phase, Phase::Ended { .. } | Phase::Queued { .. })
                    {
                        person.hang_up_media();
                        current = None;
                    }
                }
                Heard::Joined => {}
                Heard::MediaGone => {
                    person.hang_up_media();
                    current = None;
                }
                Heard::Lost => {
                    stage.journal.refused("connection_lost");
                    break;
                }
            },
        }
    }
    person.hang_up_media();
    person.client.close().await;
}
