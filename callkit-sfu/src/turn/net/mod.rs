//! [`TurnService`]: the server on real sockets, on one thread of its own.
//!
//! One thread with a runtime of its own: no lock and no hand-over between tasks, and the media threads and
//! the rest of the process are not kept from their work by relaying.

mod listen;
mod stream;
mod tasks;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use callkit_core::id::IdSource;
use callkit_core::time::Clock;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::oneshot;
use tokio_rustls::rustls::{self, ServerConfig};

use super::{Peers, TurnLimits, TurnSecret, TurnServer, TurnStats};
use listen::Sockets;

/// Where the server listens, and how much it takes.
#[derive(Debug)]
pub struct TurnConfig {
    /// Address to listen on; `None` is all, of IPv4 and where possible IPv6.
    pub bind: Option<IpAddr>,
    /// Port of UDP and TCP. 0 takes one that is free for both.
    pub port: u16,
    /// TLS, with the port of it. 0 takes a free one.
    pub tls: Option<(u16, TurnTls)>,
    /// How many allocations, and how much each carries.
    pub limits: TurnLimits,
    /// Connections in all. Default 4000.
    pub max_connections: usize,
    /// Connections from one address, or one /64 of IPv6. Default 400.
    pub max_connections_per_source: usize,
}

impl Default for TurnConfig {
    fn default() -> Self {
        Self {
            bind: None,
            port: 3478,
            tls: None,
            limits: TurnLimits::default(),
            max_connections: 4000,
            max_connections_per_source: 400,
        }
    }
}

/// Certificate and key for TLS.
#[derive(Clone)]
pub struct TurnTls(Arc<ServerConfig>);

impl std::fmt::Debug for TurnTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TurnTls")
    }
}

/// The certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The text holds no certificate in PEM form.
    #[error("there is no PEM certificate in the certificate file")]
    NoCertificate,
    /// The text holds no private key in PEM form.
    #[error("there is no PEM private key in the key file")]
    NoKey,
    /// Certificate and key do not fit together, or are of a kind that is not supported.
    #[error("certificate and key cannot be used together")]
    Unusable(#[source] rustls::Error),
}

impl TurnTls {
    /// Reads a chain of certificates, the server's first, and its key.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or(TlsError::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(TlsError::Unusable)?;
        Ok(Self(Arc::new(config)))
    }
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TurnError {
    /// A port cannot be had.
    #[error("cannot listen on port {port} for TURN over {transport}")]
    Listen {
        /// `UDP`, `TCP` or `TLS`.
        transport: &'static str,
        /// Which port.
        port: u16,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The system refuses a thread.
    #[error("cannot start the TURN thread")]
    Thread(#[source] io::Error),
}

/// A running server. Dropping it ends it, with its allocations.
#[derive(Debug)]
pub struct TurnService {
    udp: SocketAddr,
    tls: Option<SocketAddr>,
    control: tokio::sync::mpsc::Sender<oneshot::Sender<TurnStats>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TurnService {
    /// Opens the sockets and starts the thread. `random` is real entropy.
    ///
    /// # Errors
    /// [`TurnError`]; nothing runs then.
    pub fn start(
        config: TurnConfig,
        peers: Peers,
        secrets: Vec<TurnSecret>,
        clock: Arc<dyn Clock>,
        random: IdSource,
    ) -> Result<Self, TurnError> {
        let sockets = Sockets::open(&config)?;
        let (udp, tls) = (sockets.udp_address, sockets.tls_address);
        let server = TurnServer::new(config.limits.clone(), peers, secrets, random, clock.now());
        let (stop, stopped) = oneshot::channel();
        let (control, questions) = tokio::sync::mpsc::channel(8);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(TurnError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("turn".to_owned())
            .spawn(move || {
                let local = tokio::task::LocalSet::new();
                let serve = tasks::serve(config, sockets, server, clock, questions, stopped);
                if let Err(error) = local.block_on(&runtime, serve) {
                    tracing::error!(%error, "the TURN thread ended");
                }
            })
            .map_err(TurnError::Thread)?;
        Ok(Self {
            udp,
            tls,
            control,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where UDP and TCP are listened on.
    #[must_use]
    pub fn listening(&self) -> SocketAddr {
        self.udp
    }

    /// Where TLS is listened on.
    #[must_use]
    pub fn listening_tls(&self) -> Option<SocketAddr> {
        self.tls
    }

    /// Counters.
    pub async fn stats(&self) -> TurnStats {
        let (reply, answer) = oneshot::channel();
        if self.control.send(reply).await.is_err() {
            return TurnStats::default();
        }
        answer.await.unwrap_or_default()
    }
}

impl Drop for TurnService {
    fn drop(&mut self) {
        // Without a receiver the thread has ended by itself.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the TURN thread panicked");
        }
    }
}
