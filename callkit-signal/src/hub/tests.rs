//! Laws of the hub, with in-memory connections and virtual time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callkit_core::auth::Principal;
use callkit_core::id::{CallId, IdSource, OfferId, QueueId};
use callkit_core::redact::{Private, Secret};
use callkit_core::time::Timestamp;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Hub, HubConfig, HubEvent, PrincipalKey, RequestReply};
use crate::client::{Client, ClientError, ClientEvent, Events};
use crate::message::{ErrorBody, Event, Outcome, Refusal, Request, Role, Snapshot, You, codes};
use crate::session::SessionConfig;
use crate::testing::{MemoryTokens, TokioClock};
use crate::transport::{MemoryLink, MemoryTransport, SignalListener, SignalTransport, WsListener};

struct World {
    hub: Hub,
    events: mpsc::Receiver<HubEvent>,
    tokens: Arc<MemoryTokens>,
}

fn anna() -> Principal {
    Principal::Customer {
        id: 7.into(),
        name: Some(Private::new("Anna".to_owned())),
        verified: false,
    }
}

fn key() -> PrincipalKey {
    PrincipalKey::Customer(7.into())
}

fn snapshot() -> Snapshot {
    let you = You {
        role: Role::Customer,
        id: "7".to_owned(),
        name: None,
    };
    Snapshot {
        you,
        agent: None,
        offer: None,
        call: None,
        ended: None,
        chat: Vec::new(),
        queues: Vec::new(),
        calls: Vec::new(),
    }
}

fn event(number: u64) -> Event {
    Event::OfferClosed {
        offer: OfferId::from(0),
        outcome: number.to_string(),
        cause: None,
    }
}

fn start_call() -> Request {
    Request::CallStart {
        queue: QueueId::new("support").expect("a queue id"),
    }
}

fn token() -> Secret<String> {
    Secret::new("anna".to_owned())
}

impl World {
    fn new(config: HubConfig, queue: usize) -> Self {
        let tokens = Arc::new(MemoryTokens::default().with("anna", anna()));
        let (sender, events) = mpsc::channel(queue);
        let clock = Arc::new(TokioClock::new(Timestamp::from_millis(1_000)));
        let verifier = Arc::clone(&tokens);
        let hub = Hub::start(config, clock, IdSource::seeded(3), verifier, sender);
        Self { hub, events, tokens }
    }

    /// The client's end of a connection that the hub serves.
    fn connect(&self) -> (Box<dyn SignalTransport>, MemoryLink) {
        let (server, client, link) = MemoryTransport::pair_with_link();
        let hub = self.hub.clone();
        tokio::spawn(async move { hub.serve(Box::new(server)).await });
        (Box::new(client), link)
    }

    async fn next(&mut self) -> HubEvent {
        let next = timeout(Duration::from_secs(300), self.events.recv()).await;
        next.expect("an event in time").expect("the hub goes on")
    }

    async fn welcome(&mut self) {
        let HubEvent::Opened {
            key: whose,
            principal,
            open,
        } = self.next().await
        else {
            panic!("not opened")
        };
        assert_eq!((whose, principal), (key(), anna()));
        open.welcome(snapshot());
    }

    async fn open(&mut self) -> (Client, Events, MemoryLink) {
        let (transport, link) = self.connect();
        let (opened, ()) = tokio::join!(Client::open(transport, token()), self.welcome());
        let (client, _, events) = opened.expect("the session opens");
        (client, events, link)
    }

    async fn request(&mut self) -> (Request, RequestReply) {
        let HubEvent::Request { request, reply, .. } = self.next().await else {
            panic!("not a request")
        };
        (request, reply)
    }
}

fn world() -> World {
    World::new(HubConfig::default(), 16)
}

fn number(event: Option<ClientEvent>) -> u64 {
    let Some(ClientEvent::Event {
        event: Event::OfferClosed { outcome, .. },
        ..
    }) = event
    else {
        panic!("{event:?}")
    };
    outcome.parse().expect("a number")
}

#[tokio::test(start_paused = true)]
async fn a_request_is_passed_on_and_answered() {
    let mut world = world();
    let (client, mut events, _) = world.open().await;
    let (answer, ()) = tokio::join!(client.request(start_call()), async {
        let (request, reply) = world.request().await;
        assert_eq!(request, start_call());
        world.hub.send(&key(), &event(1));
        reply.ok(Outcome::Done);
    });
    assert!(matches!(answer, Ok(Outcome::Done)));
    assert_eq!(number(events.next().await), 1);
    let (answer, ()) = tokio::join!(client.request(start_call()), async {
        let (_, reply) = world.request().await;
        reply.error(ErrorBody::new(codes::CALL_OPEN, "one at a time"));
    });
    assert!(matches!(answer, Err(ClientError::Rejected(error)) if error.code == codes::CALL_OPEN));
    let (answer, ()) = tokio::join!(client.request(start_call()), async {
        let (_, reply) = world.request().await;
        drop(reply);
    });
    assert!(matches!(answer, Err(ClientError::Rejected(error)) if error.code == codes::INTERNAL));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_loses_no_event_and_no_request() {
    let mut world = world();
    let (client, mut events, link) = world.open().await;
    world.hub.send(&key(), &event(1));
    assert_eq!(number(events.next().await), 1);
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.request(start_call()).await }
    });
    let (_, reply) = world.request().await;
    link.cut();
    assert!(matches!(world.next().await, HubEvent::LinkDown { key: whose, .. } if whose == key()));
    reply.ok(Outcome::Done);
    world.hub.send(&key(), &event(2));
    assert_eq!(events.next().await, Some(ClientEvent::Lost(None)));
    let (transport, _) = world.connect();
    client.resume(transport).await.expect("the session goes on");
    assert!(matches!(world.next().await, HubEvent::LinkUp { .. }));
    assert_eq!(number(events.next().await), 2);
    assert!(matches!(asking.await.expect("no panic"), Ok(Outcome::Done)));
    assert!(
        world.events.try_recv().is_err(),
        "the request was not passed on twice"
    );
}

#[tokio::test(start_paused = true)]
async fn the_loss_of_a_replaced_connection_is_not_reported() {
    let mut world = world();
    let (_older, mut older_events, _) = world.open().await;
    let (newer, mut newer_events, _) = world.open().await;
    assert_eq!(
        older_events.next().await,
        Some(ClientEvent::Lost(Some(Refusal::Replaced)))
    );
    world.hub.send(&key(), &event(1));
    assert_eq!(number(newer_events.next().await), 1);
    newer.close().await;
    assert!(matches!(world.next().await, HubEvent::LinkDown { .. }));
    assert!(matches!(world.next().await, HubEvent::Expired { .. }));
    assert_eq!((world.hub.connections(), world.hub.sessions()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_falls_silent_is_noticed_and_its_session_ends_after_the_window() {
    let mut world = world();
    let (_client, _events, link) = world.open().await;
    let start = tokio::time::Instant::now();
    link.hold();
    assert!(matches!(world.next().await, HubEvent::LinkDown { .. }));
    let silent_for = start.elapsed();
    assert!(
        (Duration::from_secs(10)..Duration::from_secs(18)).contains(&silent_for),
        "{silent_for:?}"
    );
    assert!(matches!(world.next().await, HubEvent::Expired { .. }));
    assert!(start.elapsed() - silent_for >= Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_quiet_client_that_pings_stays() {
    let mut world = world();
    let (_client, mut events, _) = world.open().await;
    let waited = timeout(Duration::from_secs(600), world.events.recv()).await;
    assert!(waited.is_err(), "{waited:?}");
    world.hub.send(&key(), &event(1));
    assert_eq!(number(events.next().await), 1);
}

#[tokio::test(start_paused = true)]
async fn strangers_are_refused_and_others_do_not_wait_for_them() {
    let mut world = world();
    world.tokens.set("old", Err(Refusal::ExpiredToken));
    for (text, refusal) in [("nobody", Refusal::InvalidToken), ("old", Refusal::ExpiredToken)] {
        let (transport, _) = world.connect();
        let refused = Client::open(transport, Secret::new(text.to_owned())).await;
        assert!(
            matches!(refused, Err(ClientError::Refused(code)) if code == refusal),
            "{refused:?}"
        );
    }
    let (mut silent, _) = world.connect();
    world.open().await;
    let hello = silent.recv().await.expect("sound").expect("open");
    assert!(hello.starts_with(b"{\"type\":\"hello\""));
    let refused = silent.recv().await.expect("sound").expect("open");
    assert!(
        std::str::from_utf8(&refused)
            .expect("text")
            .contains("auth_required")
    );
    assert!(matches!(silent.recv().await, Ok(None)));
}

#[derive(Debug)]
struct Hanging;

#[async_trait::async_trait]
impl super::TokenVerifier for Hanging {
    async fn verify(&self, _now: Timestamp, _token: &Secret<String>) -> Result<Principal, Refusal> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_service_that_hangs_is_unavailable() {
    let (sender, _events) = mpsc::channel(1);
    let clock = Arc::new(TokioClock::new(Timestamp::default()));
    let hub = Hub::start(
        HubConfig::default(),
        clock,
        IdSource::seeded(1),
        Arc::new(Hanging),
        sender,
    );
    let (server, client) = MemoryTransport::pair();
    let serving = tokio::spawn(async move { hub.serve(Box::new(server)).await });
    let refused = Client::open(Box::new(client), token()).await;
    assert!(
        matches!(refused, Err(ClientError::Refused(Refusal::Unavailable))),
        "{refused:?}"
    );
    serving.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_loses_its_connection_and_disturbs_nobody() {
    let session = SessionConfig::default()
        .with_outbox(100, 1_000_000)
        .with_replay(300, 10_000_000);
    let mut world = World::new(HubConfig::default().with_session(session), 16);
    let (client, mut events, link) = world.open().await;
    link.hold();
    for count in 1..=500 {
        world.hub.send(&key(), &event(count));
        tokio::task::yield_now().await;
    }
    assert!(matches!(world.next().await, HubEvent::LinkDown { .. }));
    link.cut();
    assert_eq!(events.next().await, Some(ClientEvent::Lost(None)));
    let (transport, _) = world.connect();
    let resumed = client.resume(transport).await;
    assert!(
        matches!(resumed, Err(ClientError::Refused(Refusal::TooFarBehind))),
        "{resumed:?}"
    );
    let (_client, mut events, _) = world.open().await;
    world.hub.send(&key(), &event(501));
    assert_eq!(number(events.next().await), 501);
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_while_the_application_is_busy() {
    let mut world = World::new(HubConfig::default(), 1);
    let (client, _events, link) = world.open().await;
    let asking = tokio::spawn(async move { client.request(start_call()).await });
    // The request fills the application's queue and stays there for long; the connection lives.
    tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_secs(100)).await;
    let (_, reply) = world.request().await;
    reply.ok(Outcome::Done);
    assert!(matches!(asking.await.expect("no panic"), Ok(Outcome::Done)));
    drop(link);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_connection_task_is_reported_as_a_lost_connection() {
    let mut world = world();
    let (server, client) = MemoryTransport::pair();
    let serving = tokio::spawn({
        let hub = world.hub.clone();
        async move { hub.serve(Box::new(server)).await }
    });
    let (opened, ()) = tokio::join!(Client::open(Box::new(client), token()), world.welcome());
    let _client = opened.expect("the session opens");
    serving.abort();
    assert!(matches!(world.next().await, HubEvent::LinkDown { .. }));
    assert_eq!(world.hub.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn stopping_tells_every_client_and_ends_every_connection() {
    let mut world = world();
    let (client, mut events, _) = world.open().await;
    world.hub.stop().await;
    assert_eq!(
        events.next().await,
        Some(ClientEvent::Lost(Some(Refusal::ServerStopping)))
    );
    assert_eq!(world.hub.connections(), 0);
    assert!(matches!(
        client.request(start_call()).await,
        Err(ClientError::NotConnected)
    ));
    let (transport, _) = world.connect();
    let late = Client::open(transport, token()).await;
    assert!(
        matches!(late, Err(ClientError::Refused(Refusal::ServerStopping))),
        "{late:?}"
    );
    assert!(world.events.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn stopping_does_not_wait_for_an_application_that_is_gone_or_busy() {
    let mut world = World::new(HubConfig::default(), 1);
    let (client, ..) = world.open().await;
    for _ in 0..3 {
        let client = client.clone();
        tokio::spawn(async move { client.request(start_call()).await });
    }
    tokio::time::advance(Duration::from_millis(10)).await;
    let start = tokio::time::Instant::now();
    world.hub.stop().await;
    assert_eq!(world.hub.connections(), 0);
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn the_application_ends_a_session_with_a_reason() {
    let mut world = world();
    let (_client, mut events, _) = world.open().await;
    world.hub.disconnect(&key(), Refusal::ExpiredToken);
    assert_eq!(
        events.next().await,
        Some(ClientEvent::Lost(Some(Refusal::ExpiredToken)))
    );
    assert!(
        timeout(Duration::from_secs(200), world.events.recv())
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_reply_is_dropped_is_refused() {
    let mut world = world();
    let (transport, _) = world.connect();
    let (refused, ()) = tokio::join!(Client::open(transport, token()), async {
        drop(world.next().await);
    });
    assert!(
        matches!(refused, Err(ClientError::Refused(Refusal::Unavailable))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn hostile_frames_over_a_websocket_cost_only_their_own_connection() {
    let mut world = world();
    let mut listener = WsListener::bind(([127, 0, 0, 1], 0).into())
        .await
        .expect("a free port");
    let url = format!("ws://{}/", listener.address());
    let hub = world.hub.clone();
    tokio::spawn(async move {
        while let Ok(transport) = listener.accept().await {
            let hub = hub.clone();
            tokio::spawn(async move { hub.serve(transport).await });
        }
    });
    let mut clients = Vec::new();
    for (frame, refusal) in [
        (Bytes::from("x".repeat(70_000)), Refusal::TooLarge),
        (Bytes::from_static(b"garbage"), Refusal::Malformed),
        (Bytes::from("[".repeat(60_000)), Refusal::Malformed),
        (
            Bytes::from_static(b"{\"type\":\"auth\",\"token\":\"x\"}"),
            Refusal::Malformed,
        ),
    ] {
        let (opened, ()) = tokio::join!(Client::connect(&url, token()), world.welcome());
        let (client, _, mut events) = opened.expect("the session opens");
        client.send_raw(frame).await.expect("connected");
        assert_eq!(events.next().await, Some(ClientEvent::Lost(Some(refusal))));
        assert!(matches!(world.next().await, HubEvent::LinkDown { .. }));
        client.reconnect(&url).await.expect("the session goes on");
        assert!(matches!(world.next().await, HubEvent::LinkUp { .. }));
        world.hub.send(&key(), &event(1));
        assert_eq!(number(events.next().await), 1);
        let hang_up = Request::CallHangup {
            call: CallId::from(1),
        };
        let (answer, ()) = tokio::join!(client.request(hang_up), async {
            let (_, reply) = world.request().await;
            reply.ok(Outcome::Done);
        });
        assert!(answer.is_ok());
        // The next round opens a new session of the same customer in place of this one.
        clients.push(client);
    }
    world.hub.stop().await;
}
