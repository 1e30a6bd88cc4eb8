//! `GET /api/v1/signal`: from an HTTP request to a signaling connection.
//!
//! The upgrade is answered by hand (RFC 6455 section 4.2.2) because the transport of `callkit-signal` takes a
//! bare stream: the same one serves a listener without HTTP. Who may open one is decided here by origin,
//! address and number; who the person is, by the first frame.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callkit_core::redact::Private;
use callkit_signal::hub::Hub;
use callkit_signal::message::SUBPROTOCOL;
use callkit_signal::transport::{PeerInfo, WebSocketTransport};
use hyper_util::rt::TokioIo;
use ring::digest;

use crate::http::listener::Held;

/// Appended to the client's key before hashing (RFC 6455 section 1.3).
const HANDSHAKE_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Signaling connections that one address may have open: an office of this size behind one NAT works, a
/// single machine cannot take all of the server's connections.
pub const CONNECTIONS_PER_ADDRESS: u32 = 256;

/// Where signaling connections go, and how many one address may have.
#[derive(Debug, Clone)]
pub struct SignalEndpoint {
    hub: Hub,
    open: Arc<Mutex<BTreeMap<IpAddr, u32>>>,
    per_address: u32,
}

/// Why a request does not become a signaling connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// Not a WebSocket handshake of version 13.
    #[error("a WebSocket handshake is expected here")]
    NotWebSocket,
    /// The client does not speak the protocol.
    #[error("the subprotocol callkit.v1 is expected")]
    Subprotocol,
    /// As many connections as one address may have.
    #[error("too many connections from this address")]
    TooMany,
}

impl SignalEndpoint {
    /// Connections go to `hub`.
    #[must_use]
    pub fn new(hub: Hub) -> Self {
        Self {
            hub,
            open: Arc::default(),
            per_address: CONNECTIONS_PER_ADDRESS,
        }
    }

    /// Another limit of connections per address.
    #[must_use]
    pub fn with_connections_per_address(mut self, limit: u32) -> Self {
        self.per_address = limit;
        self
    }

    /// Answers the handshake and serves the connection in a task of its own. The caller has checked the
    /// origin; `address` is the client's, where it is known.
    ///
    /// # Errors
    /// [`UpgradeError`]: nothing was begun.
    pub fn upgrade(
        &self,
        address: Option<IpAddr>,
        request: &mut Request<Body>,
    ) -> Result<Response<Body>, UpgradeError> {
        let key = handshake_key(request)?;
        if !tokens(request.headers(), header::SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == SUBPROTOCOL) {
            return Err(UpgradeError::Subprotocol);
        }
        let place = self.take_place(address)?;
        // The connection goes on counting in the listener that accepted it.
        let held = request.extensions().get::<Held>().cloned();
        let upgrade = hyper::upgrade::on(request);
        let hub = self.hub.clone();
        tokio::spawn(async move {
            // The client may go away before the upgrade is done; there is nothing to end then.
            if let Ok(stream) = upgrade.await {
                let peer = PeerInfo {
                    address: address.map(|ip| Private::new(SocketAddr::new(ip, 0))),
                };
                let transport = WebSocketTransport::server(TokioIo::new(stream), peer).await;
                hub.serve(Box::new(transport)).await;
            }
            drop((place, held));
        });
        let response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, accept_value(&key))
            .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
        Ok(response
            .body(Body::empty())
            .expect("names are constants, the value is base64"))
    }

    fn take_place(&self, address: Option<IpAddr>) -> Result<Place, UpgradeError> {
        let network = address.map(network);
        if let Some(network) = network {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let count = open.entry(network).or_default();
            if *count >= self.per_address {
                return Err(UpgradeError::TooMany);
            }
            *count += 1;
        }
        Ok(Place {
            network,
            open: Arc::clone(&self.open),
        })
    }
}

/// One of an address's connections; given back when dropped.
#[derive(Debug)]
struct Place {
    network: Option<IpAddr>,
    open: Arc<Mutex<BTreeMap<IpAddr, u32>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(network) = self.network else { return };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                open.remove(&network);
            }
        }
    }
}

/// What counts as one address: an IPv6 subscriber has a /64 to choose from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The client's key, if the request is a WebSocket handshake (RFC 6455 section 4.2.1).
fn handshake_key(request: &Request<Body>) -> Result<String, UpgradeError> {
    let headers = request.headers();
    let names = |name, token: &str| tokens(headers, name).any(|one| one.eq_ignore_ascii_case(token));
    let is_handshake = request.method() == Method::GET
        && names(header::CONNECTION, "upgrade")
        && names(header::UPGRADE, "websocket")
        && names(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .and_then(|key| key.to_str().ok());
    match key {
        // 16 bytes in base64.
        Some(key) if is_handshake && key.len() == 24 => Ok(key.to_owned()),
        _ => Err(UpgradeError::NotWebSocket),
    }
}

/// The elements of a comma-separated header, in all its lines.
fn tokens(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}

fn accept_value(key: &str) -> String {
    let digest = digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{HANDSHAKE_GUID}").as_bytes(),
    );
    STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_that_of_the_rfc() {
        assert_eq!(
            accept_value("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn an_ipv6_subscriber_counts_as_one_address_however_many_it_uses() {
        let address = |text: &str| network(text.parse().unwrap());
        assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff::9"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    }

    #[test]
    fn a_plain_request_is_no_handshake() {
        let request = |headers: &[(&str, &str)]| {
            let mut request = Request::builder().uri("/api/v1/signal");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.body(Body::empty()).unwrap()
        };
        let mut headers = vec![
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert!(handshake_key(&request(&headers)).is_ok());
        for missing in 0..headers.len() {
            let removed = headers.remove(missing);
            assert_eq!(
                handshake_key(&request(&headers)),
                Err(UpgradeError::NotWebSocket),
                "{removed:?}"
            );
            headers.insert(missing, removed);
        }
    }
}
