//! The transports of this crate keep the laws of their port.

use callkit_signal::testing::transport::Pair;
use callkit_signal::transport::{
    MemoryTransport, PeerInfo, SignalListener, WebSocketTransport, WsListener, connect_websocket,
};

mod memory {
    callkit_signal::signal_transport_conformance!(super::memory_pair);
}

mod websocket_over_a_pipe {
    callkit_signal::signal_transport_conformance!(super::pipe_pair);
}

mod websocket_over_tcp {
    callkit_signal::signal_transport_conformance!(super::tcp_pair);
}

async fn memory_pair() -> Pair {
    let (server, client) = MemoryTransport::pair();
    (Box::new(server), Box::new(client))
}

async fn pipe_pair() -> Pair {
    let (one, other) = tokio::io::duplex(4096);
    let server = WebSocketTransport::server(one, PeerInfo::default()).await;
    let client = WebSocketTransport::client(other, PeerInfo::default()).await;
    (Box::new(server), Box::new(client))
}

async fn tcp_pair() -> Pair {
    let mut listener = WsListener::bind(([127, 0, 0, 1], 0).into())
        .await
        .expect("a free port");
    let url = format!("ws://{}/any", listener.address());
    let (client, server) = tokio::join!(connect_websocket(&url, None), listener.accept());
    (
        server.expect("a connection"),
        Box::new(client.expect("a connection")),
    )
}

#[tokio::test]
async fn a_websocket_without_our_subprotocol_is_not_accepted() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = WsListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let mut socket = tokio::net::TcpStream::connect(listener.address()).await.unwrap();
    let upgrade = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(upgrade.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}
