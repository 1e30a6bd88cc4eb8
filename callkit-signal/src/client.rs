//! [`Client`]: speaks `callkit.v1` from Rust. For tests, examples and load; without media.
//!
//! It is explicit about connections: when one is lost, [`ClientEvent::Lost`] says so, and the owner decides
//! when [`Client::resume`] goes on over another. Requests without an answer are sent again by then.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use callkit_core::BoxError;
use callkit_core::id::SessionId;
use callkit_core::redact::Secret;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::codec::{DecodeError, Incoming, decode_server, encode_client};
use crate::message::{
    ClientInfo, ClientMessage, ErrorBody, Event, Limits, Outcome, Refusal, Request, RequestFrame,
    ServerMessage, Snapshot,
};
use crate::transport::{CloseReason, SignalTransport, TransportError, connect_websocket};

/// How long the server may take to open or resume a session.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// Frames and events that may wait; then reading waits, and the server sees a slow consumer.
const QUEUE: usize = 1024;

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server refused the connection.
    #[error("refused: {}", .0.as_str())]
    Refused(Refusal),
    /// The server answered the request with an error.
    #[error("{}: {}", .0.code, .0.message)]
    Rejected(ErrorBody),
    /// There is no connection, or it was lost before the answer and the client was dropped.
    #[error("not connected")]
    NotConnected,
    /// The transport failed.
    #[error("the connection failed")]
    Transport(#[source] TransportError),
    /// The server does not speak the protocol.
    #[error("the server sent something that is not the protocol: {0}")]
    Protocol(&'static str),
    /// The server did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The address cannot be connected to.
    #[error("cannot connect")]
    Connect(#[source] BoxError),
}

/// What a client hears.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// An event of the server, each once and in order over all connections of the session.
    Event {
        /// Its number.
        seq: u64,
        /// What happened.
        event: Event,
    },
    /// The connection was lost; `None` if the server gave no reason.
    Lost(Option<Refusal>),
    /// Events are missing or out of order: the server broke the protocol.
    Gap {
        /// The number that should have come.
        expected: u64,
        /// The number that came.
        got: u64,
    },
}

/// What the server said when the session opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Welcome {
    /// Changes with each start of the server.
    pub instance: String,
    /// What to keep to.
    pub limits: Limits,
    /// The session.
    pub session: SessionId,
    /// What to know.
    pub snapshot: Snapshot,
}

/// A session at a server. A cheap handle.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

/// The events of a [`Client`].
#[derive(Debug)]
pub struct Events(mpsc::Receiver<ClientEvent>);

impl Events {
    /// The next one; `None` when the client is dropped.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        self.0.recv().await
    }

    /// The next one if it is there already.
    pub fn try_next(&mut self) -> Option<ClientEvent> {
        self.0.try_recv().ok()
    }
}

struct Shared {
    state: Mutex<State>,
    events: mpsc::Sender<ClientEvent>,
}

struct State {
    session: SessionId,
    resume_token: Secret<String>,
    last_seq: u64,
    next_request: u64,
    /// Requests without an answer, in the order they were made.
    open: BTreeMap<u64, (Request, oneshot::Sender<Result<Outcome, ErrorBody>>)>,
    /// Frames for the connection, while there is one.
    outgoing: Option<mpsc::Sender<Outgoing>>,
    /// Numbers the connections, so that the end of an older one is not taken for that of a newer.
    connection: u64,
}

enum Outgoing {
    Frame(Bytes),
    Close,
    Drop,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("Client")
            .field("session", &state.session)
            .field("last_seq", &state.last_seq)
            .finish()
    }
}

impl Client {
    /// Opens a session at `ws://host:port/path` with a token of the HTTP API.
    ///
    /// # Errors
    /// [`ClientError::Connect`], [`ClientError::Refused`] and those of a broken connection.
    pub async fn connect(url: &str, token: Secret<String>) -> Result<(Self, Welcome, Events), ClientError> {
        let transport = connect_websocket(url, None)
            .await
            .map_err(|error| ClientError::Connect(Box::new(error)))?;
        Self::open(Box::new(transport), token).await
    }

    /// Opens a session over any transport.
    ///
    /// # Errors
    /// [`ClientError::Refused`] and those of a broken connection.
    pub async fn open(
        mut transport: Box<dyn SignalTransport>,
        token: Secret<String>,
    ) -> Result<(Self, Welcome, Events), ClientError> {
        let client = ClientInfo {
            name: "callkit-signal".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let auth = ClientMessage::Auth { token, client };
        let opened = Box::pin(timeout(HANDSHAKE, shake_hands(transport.as_mut(), &auth)));
        let ((instance, limits), message) = opened.await.map_err(|_| ClientError::Timeout)??;
        let ServerMessage::Welcome {
            session,
            resume_token,
            seq,
            snapshot,
        } = message
        else {
            return Err(ClientError::Protocol("auth was not answered by welcome"));
        };
        let (events, heard) = mpsc::channel(QUEUE);
        let state = State {
            session,
            resume_token: Secret::new(resume_token.expose().clone()),
            last_seq: seq,
            next_request: 1,
            open: BTreeMap::new(),
            outgoing: None,
            connection: 0,
        };
        let client = Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                events,
            }),
        };
        client.run(transport, limits, Vec::new());
        Ok((
            client,
            Welcome {
                instance,
                limits,
                session,
                snapshot,
            },
            Events(heard),
        ))
    }

    /// Continues the session over a new connection. Missed events follow, and requests without an answer
    /// are sent again.
    ///
    /// # Errors
    /// [`ClientError::Refused`]: with `session_unknown` or `too_far_behind` a new session is needed.
    pub async fn resume(&self, mut transport: Box<dyn SignalTransport>) -> Result<(), ClientError> {
        // An older connection may not deliver any more: what it has not delivered will be sent again.
        self.drop_connection();
        let resume = {
            let state = self.shared.lock();
            let (session, last_seq) = (state.session, state.last_seq);
            ClientMessage::Resume {
                session,
                resume_token: state.resume_token.clone(),
                last_seq,
            }
        };
        let resumed = Box::pin(timeout(HANDSHAKE, shake_hands(transport.as_mut(), &resume)));
        let ((_, limits), message) = resumed.await.map_err(|_| ClientError::Timeout)??;
        let ServerMessage::Resumed { .. } = message else {
            return Err(ClientError::Protocol("resume was not answered by resumed"));
        };
        let again = self
            .shared
            .lock()
            .open
            .iter()
            .map(|(id, (request, _))| encode_request(*id, request))
            .collect();
        self.run(transport, limits, again);
        Ok(())
    }

    /// As [`resume`](Self::resume), over a new WebSocket connection.
    ///
    /// # Errors
    /// As there, and [`ClientError::Connect`].
    pub async fn reconnect(&self, url: &str) -> Result<(), ClientError> {
        let transport = connect_websocket(url, None)
            .await
            .map_err(|error| ClientError::Connect(Box::new(error)))?;
        self.resume(Box::new(transport)).await
    }

    /// Asks for something and waits for the answer, over a lost connection if it is resumed.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with the server's code, [`ClientError::NotConnected`] if there is no
    /// connection now.
    pub async fn request(&self, request: Request) -> Result<Outcome, ClientError> {
        let (give, answer) = oneshot::channel();
        let (outgoing, frame) = {
            let mut state = self.shared.lock();
            let outgoing = state.outgoing.clone().ok_or(ClientError::NotConnected)?;
            let id = state.next_request;
            state.next_request += 1;
            let frame = encode_request(id, &request);
            state.open.insert(id, (request, give));
            (outgoing, frame)
        };
        // If the connection is lost by now, the request goes out again with the next one.
        let _ = outgoing.send(Outgoing::Frame(frame)).await;
        answer
            .await
            .map_err(|_| ClientError::NotConnected)?
            .map_err(ClientError::Rejected)
    }

    /// Sends raw bytes as a frame: for tests of what a server does with them.
    ///
    /// # Errors
    /// [`ClientError::NotConnected`].
    pub async fn send_raw(&self, frame: Bytes) -> Result<(), ClientError> {
        self.outgoing(Outgoing::Frame(frame)).await
    }

    /// Confirms the events that arrived, beside the regular pings.
    ///
    /// # Errors
    /// [`ClientError::NotConnected`].
    pub async fn ping(&self) -> Result<(), ClientError> {
        let last_seq = self.shared.lock().last_seq;
        self.outgoing(Outgoing::Frame(encode_client(&ClientMessage::Ping { last_seq })))
            .await
    }

    /// The number of the last event that arrived.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.shared.lock().last_seq
    }

    /// Closes the connection in an orderly way. The server keeps the session for the resume window.
    pub async fn close(&self) {
        let _ = self.outgoing(Outgoing::Close).await;
    }

    /// Drops the connection without a word, as a network failure does. [`ClientEvent::Lost`] does not
    /// follow: the caller knows.
    pub fn drop_connection(&self) {
        let outgoing = {
            let mut state = self.shared.lock();
            state.connection += 1;
            state.outgoing.take()
        };
        if let Some(outgoing) = outgoing {
            // Full or not: when the last sender is gone the connection's task ends.
            let _ = outgoing.try_send(Outgoing::Drop);
        }
    }

    async fn outgoing(&self, outgoing: Outgoing) -> Result<(), ClientError> {
        let sender = self
            .shared
            .lock()
            .outgoing
            .clone()
            .ok_or(ClientError::NotConnected)?;
        sender.send(outgoing).await.map_err(|_| ClientError::NotConnected)
    }

    fn run(&self, transport: Box<dyn SignalTransport>, limits: Limits, first: Vec<Bytes>) {
        let (outgoing, frames) = mpsc::channel(QUEUE);
        let connection = {
            let mut state = self.shared.lock();
            state.connection += 1;
            state.outgoing = Some(outgoing);
            state.connection
        };
        let link = Connection {
            shared: Arc::downgrade(&self.shared),
            number: connection,
            limits,
        };
        tokio::spawn(link.run(transport, frames, first));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(outgoing) = self.lock().outgoing.take() {
            let _ = outgoing.try_send(Outgoing::Drop);
        }
    }
}

fn encode_request(id: u64, request: &Request) -> Bytes {
    encode_client(&ClientMessage::Request(RequestFrame {
        id,
        request: request.clone(),
    }))
}

/// Waits for `hello`, sends `first`, gives what the server answers to it.
async fn shake_hands(
    transport: &mut dyn SignalTransport,
    first: &ClientMessage,
) -> Result<((String, Limits), ServerMessage), ClientError> {
    let greeting = match next_message(transport).await? {
        ServerMessage::Hello { instance, limits, .. } => (instance, limits),
        ServerMessage::Closing { code } => return Err(ClientError::Refused(code)),
        _ => return Err(ClientError::Protocol("the first frame was not hello")),
    };
    let sent = transport.send(encode_client(first)).await;
    let answer = match (next_message(transport).await, sent) {
        (Ok(answer), _) => answer,
        // The server had closed already, and its reason did not arrive.
        (Err(_), Err(error)) => return Err(ClientError::Transport(error)),
        (Err(error), Ok(())) => return Err(error),
    };
    match answer {
        ServerMessage::Refused { code, .. } | ServerMessage::Closing { code } => {
            Err(ClientError::Refused(code))
        }
        answer => Ok((greeting, answer)),
    }
}

async fn next_message(transport: &mut dyn SignalTransport) -> Result<ServerMessage, ClientError> {
    loop {
        let frame = transport.recv().await.map_err(ClientError::Transport)?;
        let frame = frame.ok_or(ClientError::Transport(TransportError::Closed))?;
        match decode_server(&frame) {
            Ok(Incoming::Message(message)) => return Ok(message),
            Ok(Incoming::UnknownEvent { .. } | Incoming::Unknown) => {}
            Err(_) => return Err(ClientError::Protocol("a frame is not a message")),
        }
    }
}

/// One connection of a client.
struct Connection {
    shared: std::sync::Weak<Shared>,
    number: u64,
    limits: Limits,
}

impl Connection {
    async fn run(
        self,
        mut transport: Box<dyn SignalTransport>,
        mut frames: mpsc::Receiver<Outgoing>,
        first: Vec<Bytes>,
    ) {
        let mut reason = None;
        for frame in first {
            if transport.send(frame).await.is_err() {
                return self.lost(reason).await;
            }
        }
        let ping_every = Duration::from_millis(u64::from(self.limits.ping_interval_ms).max(1));
        let silence = Duration::from_millis(u64::from(self.limits.silence_timeout_ms).max(1));
        let (mut next_ping, mut heard) = (Instant::now() + ping_every, Instant::now());
        loop {
            let sent = tokio::select! {
                outgoing = frames.recv() => match outgoing {
                    Some(Outgoing::Frame(frame)) => transport.send(frame).await,
                    Some(Outgoing::Close) => {
                        let _ = transport.close(CloseReason::Normal).await;
                        break;
                    }
                    Some(Outgoing::Drop) | None => return,
                },
                received = transport.recv() => {
                    let Ok(Some(frame)) = received else { break };
                    heard = Instant::now();
                    match self.take(&frame).await {
                        Ok(closing) => reason = closing.or(reason),
                        Err(_) => break,
                    }
                    Ok(())
                }
                () = sleep_until(next_ping) => {
                    next_ping += ping_every;
                    let Some(shared) = self.shared.upgrade() else { return };
                    let last_seq = shared.lock().last_seq;
                    drop(shared);
                    transport.send(encode_client(&ClientMessage::Ping { last_seq })).await
                }
                () = sleep_until(heard + silence) => break,
            };
            if sent.is_err() {
                break;
            }
        }
        self.lost(reason).await;
    }

    /// Takes a frame of the server; gives the reason if it announces the end.
    async fn take(&self, frame: &Bytes) -> Result<Option<Refusal>, DecodeError> {
        let (seq, event) = match decode_server(frame)? {
            Incoming::Message(ServerMessage::Event(frame)) => (frame.seq, Some(frame.event)),
            Incoming::UnknownEvent { seq } => (seq, None),
            Incoming::Message(ServerMessage::Ok { re, outcome }) => return Ok(self.answer(re, Ok(outcome))),
            Incoming::Message(ServerMessage::Error { re: Some(re), error }) => {
                return Ok(self.answer(re, Err(error)));
            }
            Incoming::Message(ServerMessage::Closing { code }) => return Ok(Some(code)),
            Incoming::Message(_) | Incoming::Unknown => return Ok(None),
        };
        let Some(shared) = self.shared.upgrade() else {
            return Ok(None);
        };
        let expected = {
            let mut state = shared.lock();
            if state.connection != self.number {
                return Ok(None);
            }
            let expected = state.last_seq + 1;
            state.last_seq = seq;
            expected
        };
        if seq != expected {
            let _ = shared.events.send(ClientEvent::Gap { expected, got: seq }).await;
        }
        if let Some(event) = event {
            let _ = shared.events.send(ClientEvent::Event { seq, event }).await;
        }
        Ok(None)
    }

    fn answer(&self, re: u64, result: Result<Outcome, ErrorBody>) -> Option<Refusal> {
        let shared = self.shared.upgrade()?;
        let open = shared.lock().open.remove(&re);
        if let Some((_, give)) = open {
            // Nobody waits any more: the request was dropped.
            let _ = give.send(result);
        }
        None
    }

    async fn lost(&self, reason: Option<Refusal>) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        {
            let mut state = shared.lock();
            if state.connection != self.number {
                return;
            }
            state.outgoing = None;
        }
        let _ = shared.events.send(ClientEvent::Lost(reason)).await;
    }
}
