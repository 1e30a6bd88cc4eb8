//! WebSocket connections (RFC 6455), one JSON text frame per message, over any byte stream.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use callkit_core::redact::Private;
use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use http::header::{ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, accept_hdr_async_with_config, connect_async_with_config,
};

use super::{CloseReason, PeerInfo, SignalListener, SignalTransport, TransportError};
use crate::message::{MAX_FRAME, MAX_SERVER_FRAME, SUBPROTOCOL};

/// Buffers of a connection in each direction. Most frames are a few hundred bytes and there are thousands
/// of idle connections, so small; a larger frame grows the buffer while it is on its way.
const BUFFER: usize = 4 * 1024;
/// How long a closed connection is read, so that the peer gets the last frames and not a reset.
const LINGER: Duration = Duration::from_secs(1);
/// How many bytes of a frame that was too large are read to the same end.
const LINGER_BYTES: usize = 4 * 1024 * 1024;
/// Control frames in a row without a message. Browsers send none; more is a flood that the rate limit of
/// messages would not see.
const MAX_CONTROL_FRAMES: u32 = 100;
/// How long the HTTP part of a new connection may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections of a [`WsListener`] in their HTTP part.
const MAX_HANDSHAKES: usize = 256;

/// A WebSocket connection after its HTTP upgrade.
pub struct WebSocketTransport<S> {
    stream: WebSocketStream<S>,
    peer: PeerInfo,
    closed: bool,
    /// The peer's frames cannot be read any more.
    broken: bool,
}

impl<S> fmt::Debug for WebSocketTransport<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketTransport")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> WebSocketTransport<S> {
    /// The server's end of an upgraded connection; `io` is what is left after the HTTP exchange.
    pub async fn server(io: S, peer: PeerInfo) -> Self {
        let stream = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits(MAX_FRAME))).await;
        Self {
            stream,
            peer,
            closed: false,
            broken: false,
        }
    }

    /// The client's end of an upgraded connection.
    pub async fn client(io: S, peer: PeerInfo) -> Self {
        let stream = WebSocketStream::from_raw_socket(io, Role::Client, Some(limits(MAX_SERVER_FRAME))).await;
        Self {
            stream,
            peer,
            closed: false,
            broken: false,
        }
    }

    /// Reads until the peer has closed as well.
    async fn linger(&mut self) {
        while !self.broken {
            match self.stream.next().await {
                Some(Ok(_)) => {}
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) | None => return,
                Some(Err(_)) => self.broken = true,
            }
        }
        // Frames cannot be told apart any more; what is left are bytes.
        let io = self.stream.get_mut();
        let _ = io.shutdown().await;
        let mut scrap = vec![0; BUFFER];
        let mut left = LINGER_BYTES;
        while let Ok(read @ 1..) = io.read(&mut scrap).await {
            let Some(rest) = left.checked_sub(read) else {
                return;
            };
            left = rest;
        }
    }
}

fn limits(max_frame: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(2 * MAX_SERVER_FRAME)
        .max_message_size(Some(max_frame))
        .max_frame_size(Some(max_frame))
}

fn transport_error(error: Error) -> TransportError {
    match error {
        Error::Capacity(_) => TransportError::TooLarge,
        Error::Protocol(_) | Error::Utf8(_) | Error::AttackAttempt => TransportError::Protocol,
        Error::ConnectionClosed | Error::AlreadyClosed => TransportError::Closed,
        other => TransportError::Lost(Box::new(other)),
    }
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> SignalTransport for WebSocketTransport<S> {
    fn peer(&self) -> &PeerInfo {
        &self.peer
    }

    async fn recv(&mut self) -> Result<Option<Bytes>, TransportError> {
        if self.closed {
            return Err(TransportError::Closed);
        }
        for _ in 0..MAX_CONTROL_FRAMES {
            match self.stream.next().await {
                None | Some(Err(Error::ConnectionClosed)) => return Ok(None),
                Some(Ok(Message::Text(text))) => return Ok(Some(Bytes::from(text))),
                Some(Ok(Message::Close(_))) => {
                    // The library has queued the answer to the peer's close frame.
                    let _ = self.stream.flush().await;
                    return Ok(None);
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Binary(_))) => return Err(TransportError::Protocol),
                Some(Err(error)) => {
                    self.broken = true;
                    return Err(transport_error(error));
                }
            }
        }
        Err(TransportError::Protocol)
    }

    async fn send(&mut self, frame: Bytes) -> Result<(), TransportError> {
        if self.closed {
            return Err(TransportError::Closed);
        }
        let text = Utf8Bytes::try_from(frame).map_err(|error| TransportError::Lost(Box::new(error)))?;
        self.stream
            .send(Message::Text(text))
            .await
            .map_err(transport_error)
    }

    async fn close(&mut self, reason: CloseReason) -> Result<(), TransportError> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        let frame = CloseFrame {
            code: CloseCode::from(reason.websocket_code()),
            reason: Utf8Bytes::from_static(reason.as_str()),
        };
        let farewell = async {
            let sent = self.stream.close(Some(frame)).await;
            self.linger().await;
            sent
        };
        match timeout(LINGER, farewell).await {
            Ok(Err(Error::ConnectionClosed | Error::AlreadyClosed)) | Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(error)) => Err(transport_error(error)),
        }
    }
}

/// Connects to a server at `ws://host:port/path`, without TLS: for tests, tools and the inside of a
/// network. `origin` is what a browser would send of its page.
///
/// # Errors
/// [`TransportError::Lost`] if the server cannot be reached or does not speak the protocol.
pub async fn connect_websocket(
    url: &str,
    origin: Option<&str>,
) -> Result<WebSocketTransport<MaybeTlsStream<TcpStream>>, TransportError> {
    let lost = |error: Error| TransportError::Lost(Box::new(error));
    let mut request = url.into_client_request().map_err(lost)?;
    request
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    if let Some(origin) = origin {
        let origin = HeaderValue::from_str(origin).map_err(|error| TransportError::Lost(Box::new(error)))?;
        request.headers_mut().insert(ORIGIN, origin);
    }
    let connect = Box::pin(connect_async_with_config(
        request,
        Some(limits(MAX_SERVER_FRAME)),
        true,
    ));
    let (stream, _) = timeout(HANDSHAKE_TIMEOUT, connect)
        .await
        .map_err(|elapsed| TransportError::Lost(Box::new(elapsed)))?
        .map_err(lost)?;
    Ok(WebSocketTransport {
        stream,
        peer: PeerInfo::default(),
        closed: false,
        broken: false,
    })
}

/// A TCP port of its own that takes WebSocket connections of any path and origin: for tests and tools. A
/// server for browsers checks the origin and upgrades within its HTTP stack.
#[derive(Debug)]
pub struct WsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<Box<dyn SignalTransport>>,
    acceptor: JoinHandle<()>,
}

impl WsListener {
    /// Listens on `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (hand_over, ready) = mpsc::channel(16);
        let acceptor = tokio::spawn(accept_all(listener, hand_over));
        Ok(Self {
            address,
            ready,
            acceptor,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for WsListener {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

#[async_trait]
impl SignalListener for WsListener {
    async fn accept(&mut self) -> Result<Box<dyn SignalTransport>, TransportError> {
        self.ready.recv().await.ok_or(TransportError::Closed)
    }
}

async fn accept_all(listener: TcpListener, hand_over: mpsc::Sender<Box<dyn SignalTransport>>) {
    let places = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        // An error of accept concerns one connection, or is a shortage that passes.
        let Ok((socket, address)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let hand_over = hand_over.clone();
        tokio::spawn(async move {
            let _place = place;
            let _ = socket.set_nodelay(true);
            let upgrade = Box::pin(accept_hdr_async_with_config(
                socket,
                choose_subprotocol,
                Some(limits(MAX_FRAME)),
            ));
            if let Ok(Ok(stream)) = timeout(HANDSHAKE_TIMEOUT, upgrade).await {
                let peer = PeerInfo {
                    address: Some(Private::new(address)),
                };
                let _ = hand_over
                    .send(Box::new(WebSocketTransport {
                        stream,
                        peer,
                        closed: false,
                        broken: false,
                    }))
                    .await;
            }
        });
    }
}

#[expect(clippy::result_large_err, reason = "the signature is the library's")]
fn choose_subprotocol(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offers_ours = offered
        .filter_map(|value| value.to_str().ok())
        .any(|list| list.split(',').any(|one| one.trim() == SUBPROTOCOL));
    if !offers_ours {
        let mut refusal = ErrorResponse::new(Some(format!("subprotocol {SUBPROTOCOL} required")));
        *refusal.status_mut() = http::StatusCode::BAD_REQUEST;
        return Err(refusal);
    }
    response
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}
