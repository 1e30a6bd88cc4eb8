//! Calls inside a platform's own server: its axum router first, callkit's pages, API and signaling behind it.
//!
//! Run: `cargo run -p callkit-examples --example embed_server`, then open <http://127.0.0.1:8080/call/>.
//! Users to sign in at `/console/` come from the configuration: `callkit-server hash-password` makes their
//! password hashes.

#![expect(clippy::print_stdout, reason = "an example that prints")]

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use callkit_server::app::App;
use callkit_server::config::Config;

/// What the platform had before.
fn platform() -> Router {
    Router::new().route("/shop", get(|| async { "the shop" }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Queues, users, media ports and data folder: `callkit_server::config::load` reads a file. Store, sign-in,
    // tokens, rights, media and routing can each be the platform's own: see `AppBuilder::with_..`.
    let app = App::builder(Config::default()).start().await?;

    // The platform's routes win; what it does not know goes to callkit.
    let router = platform().fallback_service(app.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("http://{}/call/", listener.local_addr()?);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let stopped = async {
        // Without signals the server runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        served = axum::serve(listener, service).into_future() => served?,
        () = stopped => {}
    }
    app.stop().await;
    Ok(())
}
