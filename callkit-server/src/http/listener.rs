//! The accept loop of the stand-alone server: limits that no handler can enforce.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// A client sends the head of its request within this time, or it is not a browser (slowloris); a connection
/// without a request is kept as long, also between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer is taken within this time: pages and their modules are small.
const TAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// A request is complete and answered within this time: bodies are small and handlers do not wait for people.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests that are being answered when the server stops get this long.
const DRAIN: Duration = Duration::from_secs(3);
/// Pause after accepting failed because the process is out of file descriptors: trying at once would only
/// burn processor time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Connections that one address may have open, unless a proxy stands in front: an office behind one address
/// works, one machine cannot take all connections.
const CONNECTIONS_PER_ADDRESS: u32 = 512;

/// Limits of the accept loop.
#[derive(Debug, Clone, Copy)]
pub struct ListenLimits {
    /// Connections open at the same time.
    pub connections: u32,
    /// Connections of one address; `None` where every connection comes from a proxy.
    pub per_address: Option<u32>,
}

impl ListenLimits {
    /// The limits that `config` asks for.
    #[must_use]
    pub fn of(config: &crate::config::HttpConfig) -> Self {
        Self {
            connections: config.max_connections,
            per_address: (!config.behind_tls_proxy).then_some(CONNECTIONS_PER_ADDRESS),
        }
    }
}

/// A connection's place among those that may be open, in the extensions of its requests. Whoever upgrades the
/// connection keeps it as long as the connection lives.
#[derive(Debug, Clone)]
pub struct Held(
    #[expect(dead_code, reason = "given back when the last holder drops it")]
    Arc<(OwnedSemaphorePermit, Guest)>,
);

/// Serves `router` on `listener` until `shutdown` ends, then stops accepting and lets requests finish.
/// Upgraded connections are not waited for: they belong to whoever upgraded them.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ListenLimits,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(limits.connections as usize));
    let addresses = Arc::new(Addresses::default());
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            // Taken before accepting: beyond the limit, connections wait in the kernel's backlog.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    sleep_until(Instant::now() + ACCEPT_PAUSE).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            let Some(guest) = addresses.admit(peer.ip(), limits.per_address) else {
                continue;
            };
            let (router, stopping) = (router.clone(), stopping.clone());
            let held = Held(Arc::new((place, guest)));
            connections.spawn(connection(stream, peer, held, router, stopping));
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown => {}
    }
    drop(listener);
    // Receivers are gone only if there is no connection.
    stop.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, all).await.is_err() {
        tracing::info!("requests were still open when the server stopped");
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    held: Held,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    // Small messages in both directions: Nagle's algorithm would hold signaling back.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let router = TowerToHyperService::new(router);
    let (requests, mut changed) = watch::channel(0_u32);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(held.clone());
        let open = OpenRequest::begin(&requests);
        let answer = router.call(request);
        async move {
            let answer = answer.await;
            drop(open);
            answer
        }
    });
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    // The header timeout runs from a request's first byte; a connection that sends none has this one.
    let mut deadline = Instant::now() + HEADER_TIMEOUT;
    loop {
        tokio::select! {
            result = &mut serving => {
                if let Err(error) = result {
                    tracing::debug!(error = %crate::console::Chain(error.as_ref()), "a connection failed");
                }
                return;
            }
            () = sleep_until(deadline) => return,
            Ok(()) = changed.changed() => {
                let answered = *changed.borrow_and_update() == 0;
                deadline = Instant::now() + if answered { TAKE_TIMEOUT } else { REQUEST_TIMEOUT };
            }
            stopped = stopping.changed() => {
                serving.as_mut().graceful_shutdown();
                if stopped.is_err() {
                    return;
                }
            }
        }
    }
}

/// A request that is being answered; over when dropped, however it ends.
struct OpenRequest(watch::Sender<u32>);

impl OpenRequest {
    fn begin(requests: &watch::Sender<u32>) -> Self {
        requests.send_modify(|open| *open += 1);
        Self(requests.clone())
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// Whether accepting failed because of the connection that was to be accepted, not because of us.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Open connections per address.
#[derive(Debug, Default)]
struct Addresses(Mutex<BTreeMap<IpAddr, u32>>);

/// One connection of an address; given back when dropped.
#[derive(Debug)]
struct Guest {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    fn admit(self: &Arc<Self>, address: IpAddr, limit: Option<u32>) -> Option<Guest> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if limit.is_some_and(|limit| *count >= limit) {
            return None;
        }
        *count += 1;
        Some(Guest {
            addresses: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut open = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    const ROOMY: ListenLimits = ListenLimits {
        connections: 10,
        per_address: None,
    };

    /// A listener with one path, and its address.
    async fn listening(
        limits: ListenLimits,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", axum::routing::get(async || "here"));
        (address, tokio::spawn(serve(listener, router, limits, stop)))
    }

    /// What comes back until the server closes, and how long that takes.
    async fn until_closed(address: SocketAddr, sent: &str) -> (String, Duration) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let (begun, mut got) = (Instant::now(), Vec::new());
        // A reset says the same as an end.
        drop(stream.read_to_end(&mut got).await);
        (String::from_utf8(got).unwrap(), begun.elapsed())
    }

    // Time stands still until every task waits, and then goes to the next deadline: real sockets, no waiting.
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_for_nothing_is_closed() {
        let (address, _server) = listening(ROOMY, std::future::pending()).await;
        for (sent, answer, limit) in [
            ("", "", HEADER_TIMEOUT),
            ("GET / HTTP/1.1\r\nHost: x\r\n", "", HEADER_TIMEOUT),
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "here", HEADER_TIMEOUT),
        ] {
            let (got, took) = until_closed(address, sent).await;
            assert!(
                got.ends_with(answer) && got.is_empty() == answer.is_empty(),
                "{sent:?}: {got:?}"
            );
            assert!(
                took >= limit && took < limit + Duration::from_secs(2),
                "{sent:?} was closed after {took:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_server_that_stops_closes_idle_connections_and_its_port() {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (address, server) = listening(ROOMY, async { drop(stopped.await) }).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = [0; 12];
        idle.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        stop.send(()).unwrap();
        server.await.unwrap();
        idle.read_to_end(&mut Vec::new()).await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[test]
    fn one_address_cannot_take_every_connection() {
        let addresses = Arc::new(Addresses::default());
        let (greedy, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let held: Vec<_> = (0..2).map(|_| addresses.admit(greedy, Some(2))).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(addresses.admit(greedy, Some(2)).is_none());
        assert!(addresses.admit(other, Some(2)).is_some());
        drop(held);
        assert!(addresses.admit(greedy, Some(2)).is_some());
        assert!(
            addresses.0.lock().unwrap().is_empty(),
            "addresses without connections are forgotten"
        );
    }
}
