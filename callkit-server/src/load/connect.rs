//! How synthetic people reach the server: HTTP requests and signaling connections, each person from an address of
//! its own where there are enough.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callkit_core::BoxError;
use callkit_core::redact::Secret;
use callkit_signal::message::SUBPROTOCOL;
use callkit_signal::transport::{PeerInfo, WebSocketTransport};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpSocket, lookup_host};
use tokio::time::timeout;

/// Longest wait for an answer: a server under load may take seconds to check a password.
const PATIENCE: Duration = Duration::from_secs(30);
/// People per loopback address: below what a server allows one address in visitors, connections and sign-ins.
const PEOPLE_PER_ADDRESS: u32 = 40;
/// Longest answer of the API that is of interest.
const MAX_ANSWER: usize = 1024 * 1024;

/// Why the server was not reached, or what it said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot reach the server")]
    Unreachable(#[source] BoxError),
    #[error("the server answers with HTTP status {0}")]
    Status(StatusCode),
    #[error("the server does not answer in time")]
    Timeout,
    #[error("the server's answer is not what the API promises")]
    Answer,
}

impl ConnectError {
    /// A short name for the list of refusals.
    pub(super) fn code(&self) -> String {
        match self {
            Self::Unreachable(_) => "unreachable".to_owned(),
            Self::Status(status) => format!("http_{}", status.as_u16()),
            Self::Timeout => "http_timeout".to_owned(),
            Self::Answer => "http_answer".to_owned(),
        }
    }
}

fn unreachable(error: impl Into<BoxError>) -> ConnectError {
    ConnectError::Unreachable(error.into())
}

/// A signaling connection.
pub(super) type Signal = WebSocketTransport<TokioIo<hyper::upgrade::Upgraded>>;

/// Where the server is, and from where it is reached.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    server: SocketAddr,
    host: HeaderValue,
    sources: Vec<IpAddr>,
}

impl Connector {
    /// A connector to `authority` (`host:port`).
    pub(super) async fn new(authority: &str, sources: Vec<IpAddr>) -> Result<Self, ConnectError> {
        let server = lookup_host(authority)
            .await
            .map_err(unreachable)?
            .next()
            .ok_or_else(|| unreachable("no such host"))?;
        let host = HeaderValue::from_str(authority).map_err(unreachable)?;
        Ok(Self {
            server,
            host,
            sources,
        })
    }

    /// The address that person `number` connects from; `None` leaves it to the system. All of 127/8 is loopback on
    /// Linux, so a server on the same machine sees an office behind each address, not a crowd behind one.
    fn source(&self, number: u32) -> Option<IpAddr> {
        if !self.sources.is_empty() {
            return self.sources.get(number as usize % self.sources.len()).copied();
        }
        let local = cfg!(target_os = "linux") && self.server.is_ipv4() && self.server.ip().is_loopback();
        local.then(|| {
            let office = number / PEOPLE_PER_ADDRESS;
            Ipv4Addr::new(
                127,
                1 + (office / 40_000) as u8,
                (office / 200 % 200) as u8,
                1 + (office % 200) as u8,
            )
            .into()
        })
    }

    async fn send(&self, number: u32, request: Request<Body>) -> Result<Response<Incoming>, ConnectError> {
        let exchange = async {
            let socket = match self.server {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }
            .map_err(unreachable)?;
            if let Some(source) = self.source(number) {
                socket.bind(SocketAddr::new(source, 0)).map_err(unreachable)?;
            }
            let stream = socket.connect(self.server).await.map_err(unreachable)?;
            stream.set_nodelay(true).map_err(unreachable)?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(unreachable)?;
            tokio::spawn(async move {
                // What goes wrong here shows where the answer is read.
                let _ = connection.with_upgrades().await;
            });
            sender.send_request(request).await.map_err(unreachable)
        };
        Box::pin(timeout(PATIENCE, exchange))
            .await
            .map_err(|_| ConnectError::Timeout)?
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.host.clone())
    }

    /// Posts JSON and gives the answer with its cookie, if it sets one.
    async fn post(
        &self,
        number: u32,
        path: &str,
        body: &Value,
        cookie: Option<&Secret<String>>,
    ) -> Result<(Value, Option<Secret<String>>), ConnectError> {
        let mut request = self
            .request(Method::POST, path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close");
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, cookie.expose());
        }
        let body = Body::from(body.to_string());
        let response = self
            .send(number, request.body(body).map_err(unreachable)?)
            .await?;
        if !response.status().is_success() {
            return Err(ConnectError::Status(response.status()));
        }
        let cookie = response
            .headers()
            .get(header::SET_COOKIE)
            .and_then(|value| value.to_str().ok()?.split(';').next())
            .map(|pair| Secret::new(pair.to_owned()));
        let bytes = timeout(PATIENCE, to_bytes(Body::new(response.into_body()), MAX_ANSWER))
            .await
            .map_err(|_| ConnectError::Timeout)?
            .map_err(unreachable)?;
        let answer = serde_json::from_slice(&bytes).map_err(|_| ConnectError::Answer)?;
        Ok((answer, cookie))
    }

    /// A token of a new visitor.
    pub(super) async fn visitor(&self, number: u32) -> Result<Secret<String>, ConnectError> {
        let body = serde_json::json!({ "name": format!("Visitor {number}") });
        let (answer, _) = self.post(number, "/api/v1/visitors", &body, None).await?;
        text(&answer, "token")
    }

    /// Signs a member of staff in; the session's cookie.
    pub(super) async fn sign_in(
        &self,
        number: u32,
        user: &str,
        password: &Secret<String>,
    ) -> Result<Secret<String>, ConnectError> {
        let body = serde_json::json!({ "user": user, "password": password.expose() });
        let (_, cookie) = self.post(number, "/api/v1/staff/login", &body, None).await?;
        cookie.ok_or(ConnectError::Answer)
    }

    /// A ticket for a signaling session of a signed-in member of staff.
    pub(super) async fn ticket(
        &self,
        number: u32,
        cookie: &Secret<String>,
    ) -> Result<Secret<String>, ConnectError> {
        let body = serde_json::json!({});
        let (answer, _) = self
            .post(number, "/api/v1/staff/ticket", &body, Some(cookie))
            .await?;
        text(&answer, "ticket")
    }

    /// Opens a signaling connection (RFC 6455 section 4.1).
    pub(super) async fn signal(&self, number: u32) -> Result<Signal, ConnectError> {
        // The key tells a cache from a server; it need not be a secret, only to differ.
        let mut key = [0; 16];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let request = self
            .request(Method::GET, "/api/v1/signal")
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, STANDARD.encode(key))
            .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
            .body(Body::empty())
            .map_err(unreachable)?;
        let response = self.send(number, request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ConnectError::Status(response.status()));
        }
        let upgraded = timeout(PATIENCE, hyper::upgrade::on(response))
            .await
            .map_err(|_| ConnectError::Timeout)?
            .map_err(unreachable)?;
        Ok(WebSocketTransport::client(TokioIo::new(upgraded), PeerInfo::default()).await)
    }
}

fn text(answer: &Value, key: &str) -> Result<Secret<String>, ConnectError> {
    let text = answer.get(key).and_then(Value::as_str);
    text.map(|text| Secret::new(text.to_owned()))
        .ok_or(ConnectError::Answer)
}
