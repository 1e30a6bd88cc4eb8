//! The same over a real socket: upgrade, subprotocol, origin. Real time, on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use callkit_core::memory::MemorySessionStore;
use callkit_core::redact::Secret;
use callkit_server::app::App;
use callkit_server::config::Config;
use callkit_sfu::control::MemoryMediaPlane;
use callkit_signal::client::{Client, ClientError};
use callkit_signal::message::{Outcome, Refusal, Request};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::world::support;

/// A server on a free port of loopback; ends with the test's runtime.
async fn serve() -> (SocketAddr, tempfile::TempDir) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.storage.path = folder.path().to_owned();
    let (media, events) = MemoryMediaPlane::with_queue(16);
    let app = App::builder(config)
        .with_port(address.port())
        .with_store(Arc::new(MemorySessionStore::default()))
        .with_media(Arc::new(media), events)
        .start()
        .await
        .unwrap();
    let service = app.router().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move {
        axum::serve(listener, service).await.unwrap();
        drop(app);
    });
    (address, folder)
}

/// Sends a request as written and gives the answer's head and what came of the body.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(request.replace('\n', "\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = vec![0; 8192];
    let mut length = 0;
    while !answer[..length].windows(4).any(|four| four == b"\r\n\r\n") {
        let read = stream.read(&mut answer[length..]).await.unwrap();
        assert!(read > 0, "the answer has a head");
        length += read;
    }
    String::from_utf8_lossy(&answer[..length]).to_lowercase()
}

async fn visitor_token(address: SocketAddr) -> String {
    let body = json!({ "name": "Anna" }).to_string();
    let request = format!(
        "POST /api/v1/visitors HTTP/1.1\nHost: {address}\nContent-Type: application/json\nConnection: close\n\
         Content-Length: {}\n\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(request.replace('\n', "\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let body: Value =
        serde_json::from_str(&body[body.find('{').unwrap()..=body.rfind('}').unwrap()]).unwrap();
    body["token"].as_str().unwrap().to_owned()
}

fn handshake(address: SocketAddr, more: &str) -> String {
    format!(
        "GET /api/v1/signal HTTP/1.1\nHost: {address}\nConnection: Upgrade\nUpgrade: websocket\n\
         Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n{more}\n"
    )
}

#[tokio::test]
async fn a_visitor_gets_a_token_and_calls_over_a_web_socket() {
    let (address, _folder) = serve().await;
    let token = Secret::new(visitor_token(address).await);
    let url = format!("ws://{address}/api/v1/signal");
    let (client, welcome, _events) = Client::connect(&url, token).await.unwrap();
    assert_eq!(welcome.snapshot.you.name.unwrap().expose(), "Anna");
    let outcome = client
        .request(Request::CallStart { queue: support() })
        .await
        .unwrap();
    let Outcome::Call { call } = outcome else {
        panic!("{outcome:?}")
    };

    client.drop_connection();
    client.reconnect(&url).await.unwrap();
    let again = client
        .request(Request::CallStart { queue: support() })
        .await
        .unwrap();
    assert!(matches!(again, Outcome::Call { call: again } if again.id == call.id));
}

#[tokio::test]
async fn a_forged_token_is_refused() {
    let (address, _folder) = serve().await;
    let url = format!("ws://{address}/api/v1/signal");
    let forged = Secret::new("ckv1.e30.AAAA".to_owned());
    match Client::connect(&url, forged).await {
        Err(ClientError::Refused(Refusal::InvalidToken)) => {}
        other => panic!("{:?}", other.map(|(_, welcome, _)| welcome)),
    }
}

#[tokio::test]
async fn a_foreign_page_cannot_open_a_connection() {
    let (address, _folder) = serve().await;
    let protocol = "Sec-WebSocket-Protocol: callkit.v1\n";
    let own = format!("{protocol}Origin: http://{address}\n");
    assert!(
        exchange(address, &handshake(address, &own))
            .await
            .starts_with("http/1.1 101")
    );
    let foreign = format!("{protocol}Origin: https://evil.example\n");
    assert!(
        exchange(address, &handshake(address, &foreign))
            .await
            .starts_with("http/1.1 403")
    );
}

#[tokio::test]
async fn only_the_protocol_spoken_here_is_answered() {
    let (address, _folder) = serve().await;
    let answer = exchange(
        address,
        &handshake(address, "Sec-WebSocket-Protocol: other, callkit.v1\n"),
    )
    .await;
    assert!(answer.starts_with("http/1.1 101") && answer.contains("sec-websocket-protocol: callkit.v1"));
    for other in ["", "Sec-WebSocket-Protocol: other\n"] {
        assert!(
            exchange(address, &handshake(address, other))
                .await
                .starts_with("http/1.1 426"),
            "{other:?}"
        );
    }
    let plain = format!("GET /api/v1/signal HTTP/1.1\nHost: {address}\n\n");
    assert!(exchange(address, &plain).await.starts_with("http/1.1 426"));
}
