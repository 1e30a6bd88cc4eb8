//! The stand-alone server: from a configuration to a listener, and in order down again.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::signal;

use crate::app::{App, StartError};
use crate::config::Config;
use crate::http::listener::{ListenLimits, serve};

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The HTTP port cannot be had.
    #[error("cannot listen on {address} for HTTP")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A part does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Ctrl-C and SIGTERM cannot be waited for.
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
}

/// Runs a server with a checked configuration until it is told to stop (Ctrl-C or SIGTERM), and tells `ready`
/// where it listens as soon as it does.
///
/// # Errors
/// [`RunError`]; nothing runs then.
pub async fn run(config: Config, ready: impl FnOnce(SocketAddr)) -> Result<(), RunError> {
    let address = SocketAddr::new(config.http.bind, config.http.port);
    let listen = |source| RunError::Listen { address, source };
    // Before anything else starts: a second server by mistake should not touch the data of the first.
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let local = listener.local_addr().map_err(listen)?;
    let limits = ListenLimits::of(&config.http);
    let stop = stop_signal().map_err(RunError::Signals)?;
    let app = App::builder(config).with_port(local.port()).start().await?;
    tracing::info!(address = %local, "listening");
    ready(local);
    serve(listener, app.router(), limits, stop).await;
    tracing::info!("stopping");
    app.stop().await;
    Ok(())
}

/// Ends with Ctrl-C or SIGTERM.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal::unix::signal(signal::unix::SignalKind::interrupt())?;
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ends with Ctrl-C.
#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        // If waiting is not possible, the server runs until it is killed.
        if signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
