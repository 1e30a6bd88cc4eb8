//! The laws of [`SignalTransport`]. Use them by [`signal_transport_conformance!`](crate::signal_transport_conformance).

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::message::{MAX_FRAME, MAX_SERVER_FRAME, Refusal};
use crate::transport::{CloseReason, SignalTransport, TransportError};

/// The server's end and the client's end of a new connection.
pub type Pair = (Box<dyn SignalTransport>, Box<dyn SignalTransport>);

/// Longer than anything here takes; a law that hangs fails.
const PATIENCE: Duration = Duration::from_secs(20);

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen"),
    }
}

async fn frame(end: &mut dyn SignalTransport) -> Bytes {
    in_time("a frame", end.recv())
        .await
        .expect("the connection is sound")
        .expect("the connection is open")
}

/// Frames arrive whole and in order, in both directions.
pub async fn frames_arrive_whole_and_in_order((mut server, mut client): Pair) {
    for round in 0..20u32 {
        let sizes = [1usize, 100, 5_000, 60_000];
        let text = |size: usize| Bytes::from(format!("{round}:{}", "ы".repeat(size / 2)));
        for size in sizes {
            let (sent, received) = tokio::join!(client.send(text(size)), frame(server.as_mut()));
            sent.expect("the connection is sound");
            assert_eq!(received, text(size));
            let (sent, received) = tokio::join!(server.send(text(size)), frame(client.as_mut()));
            sent.expect("the connection is sound");
            assert_eq!(received, text(size));
        }
    }
}

/// The largest frame of each direction arrives.
pub async fn the_largest_frames_arrive((mut server, mut client): Pair) {
    let (up, down) = (
        Bytes::from("u".repeat(MAX_FRAME)),
        Bytes::from("d".repeat(MAX_SERVER_FRAME)),
    );
    let (sent, received) = tokio::join!(client.send(up.clone()), frame(server.as_mut()));
    sent.expect("the connection is sound");
    assert_eq!(received, up);
    let (sent, received) = tokio::join!(server.send(down.clone()), frame(client.as_mut()));
    sent.expect("the connection is sound");
    assert_eq!(received, down);
}

/// A frame above the limit is refused, and the client is told why.
pub async fn a_frame_above_the_limit_is_refused_with_the_reason((mut server, mut client): Pair) {
    let big = Bytes::from("x".repeat(MAX_FRAME + 1));
    let server_side = async {
        let refused = in_time("the refusal", server.recv()).await;
        assert!(matches!(refused, Err(TransportError::TooLarge)), "{refused:?}");
        server
            .send(Bytes::from_static(b"{\"why\":1}"))
            .await
            .expect("the reason can still be sent");
        let _ = server.close(CloseReason::Refused(Refusal::TooLarge)).await;
    };
    let client_side = async {
        let _ = client.send(big).await;
        assert_eq!(frame(client.as_mut()).await, Bytes::from_static(b"{\"why\":1}"));
    };
    tokio::join!(server_side, client_side);
}

/// What was sent before an orderly close arrives, then the end.
pub async fn frames_before_an_orderly_close_arrive((mut server, mut client): Pair) {
    let server_side = async {
        for number in 0..10 {
            server
                .send(Bytes::from(format!("{number}")))
                .await
                .expect("the connection is sound");
        }
        server
            .close(CloseReason::Refused(Refusal::Replaced))
            .await
            .expect("closing works");
        server
            .close(CloseReason::Normal)
            .await
            .expect("closing again does nothing");
        assert!(matches!(
            server.send(Bytes::from_static(b"x")).await,
            Err(TransportError::Closed)
        ));
        assert!(matches!(server.recv().await, Err(TransportError::Closed)));
    };
    let client_side = async {
        for number in 0..10 {
            assert_eq!(frame(client.as_mut()).await, Bytes::from(format!("{number}")));
        }
        assert!(matches!(in_time("the end", client.recv()).await, Ok(None)));
    };
    tokio::join!(server_side, client_side);
}

/// An end that is dropped without a word is noticed.
pub async fn a_dropped_end_is_noticed((mut server, client): Pair) {
    drop(client);
    let end = in_time("the end", server.recv()).await;
    assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");
}

/// Dropping `recv` loses nothing.
pub async fn a_dropped_recv_loses_no_frame((mut server, mut client): Pair) {
    for number in 0..50 {
        let text = Bytes::from(format!("{number}:{}", "x".repeat(number * 200)));
        let sending = client.send(text.clone());
        let receiving = async {
            loop {
                // Polled once and dropped, again and again.
                let once = tokio::select! {
                    biased;
                    received = server.recv() => Some(received),
                    () = tokio::task::yield_now() => None,
                };
                if let Some(received) = once {
                    return received
                        .expect("the connection is sound")
                        .expect("the connection is open");
                }
            }
        };
        let (sent, received) = in_time("a frame", async { tokio::join!(sending, receiving) }).await;
        sent.expect("the connection is sound");
        assert_eq!(received, text);
    }
}

/// A peer that does not read makes `send` wait, and does not make memory grow without end.
pub async fn a_peer_that_does_not_read_makes_send_wait((mut server, client): Pair) {
    let flood = async {
        // More than any buffer of a connection holds.
        for _ in 0..4_000 {
            server
                .send(Bytes::from("x".repeat(32 * 1024)))
                .await
                .expect("the connection is sound");
        }
    };
    assert!(
        timeout(Duration::from_secs(3), flood).await.is_err(),
        "128 MiB went into a connection nobody reads"
    );
    drop(client);
}

/// Expands to one test per law of [`SignalTransport`](crate::transport::SignalTransport).
///
/// The argument is an async function or closure without arguments that gives a
/// [`Pair`](crate::testing::transport::Pair). The tests run in a tokio runtime of one thread.
///
/// ```
/// # use callkit_signal::transport::MemoryTransport;
/// mod my_transport {
///     callkit_signal::signal_transport_conformance!(async || {
///         let (server, client) = callkit_signal::transport::MemoryTransport::pair();
///         (Box::new(server) as _, Box::new(client) as _)
///     });
/// }
/// ```
#[macro_export]
macro_rules! signal_transport_conformance {
    ($pair:expr) => {
        $crate::signal_transport_conformance!(
            @laws $pair;
            frames_arrive_whole_and_in_order,
            the_largest_frames_arrive,
            a_frame_above_the_limit_is_refused_with_the_reason,
            frames_before_an_orderly_close_arrive,
            a_dropped_end_is_noticed,
            a_dropped_recv_loses_no_frame,
            a_peer_that_does_not_read_makes_send_wait,
        );
    };
    (@laws $pair:expr; $($law:ident,)*) => {$(
        #[tokio::test]
        async fn $law() {
            let pair = $pair;
            $crate::testing::transport::$law(pair().await).await;
        }
    )*};
}
