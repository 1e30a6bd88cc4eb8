//! The loops of a hub: one per connection, and one that ends expired sessions.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use callkit_core::time::{Clock, Timestamp};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::Shared;
use crate::codec::{DecodeError, decode_client};
use crate::message::{ClientMessage, Refusal};
use crate::session::{LinkId, Output, Transmit};
use crate::transport::{CloseReason, SignalTransport, TransportError};

/// Frames sent in a row before the connection is read again: what the application sends may not keep a
/// client from being heard.
const SEND_BATCH: usize = 32;
/// How long the last frames and the good-bye may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Waits until `deadline` of `clock`; the caller asks the clock again, which may not be tokio's.
async fn sleep_until_deadline(clock: &dyn Clock, deadline: Option<Timestamp>) {
    match deadline {
        // Rounded up: a millisecond clock shows the deadline only when all of it has passed.
        Some(at) => sleep_until(Instant::now() + at.since(clock.now()).max(Duration::from_millis(1))).await,
        None => std::future::pending().await,
    }
}

/// What a connection's loop does next.
enum Step {
    /// Look for something to transmit.
    Look,
    /// This came in.
    Frame(Result<ClientMessage, DecodeError>),
    /// The connection is gone.
    Gone,
}

/// Reports the end of a connection also if its task is dropped.
struct LinkGuard {
    shared: Arc<Shared>,
    link: Option<LinkId>,
}

impl LinkGuard {
    async fn finish(mut self) {
        let Some(link) = self.link else { return };
        let place = self.shared.place().await;
        self.link = None;
        match place {
            Some(place) => self
                .shared
                .with_place(place, |state, now, out| state.forget(now, link, out)),
            None => self
                .shared
                .lock()
                .forget(Timestamp::default(), link, &mut Output::default()),
        }
        self.shared.emptied.notify_waiters();
    }
}

impl Drop for LinkGuard {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            self.shared.lock().abandoned.push(link);
            self.shared.sweep.notify_one();
        }
    }
}

impl super::State {
    /// The connection of `link` is over.
    fn forget(&mut self, now: Timestamp, link: LinkId, out: &mut Output) {
        self.wakers.remove(&link);
        self.registry.handle_disconnect(now, link, out);
    }
}

pub(super) async fn serve(shared: Arc<Shared>, mut transport: Box<dyn SignalTransport>) {
    let wake = Arc::new(Notify::new());
    let link = {
        let mut state = shared.lock();
        let link = state.registry.handle_connect(shared.clock.now());
        state.wakers.insert(link, Arc::clone(&wake));
        link
    };
    let guard = LinkGuard {
        shared: Arc::clone(&shared),
        link: Some(link),
    };
    converse(&shared, link, &wake, transport.as_mut()).await;
    drop(transport);
    guard.finish().await;
}

async fn converse(shared: &Arc<Shared>, link: LinkId, wake: &Notify, transport: &mut dyn SignalTransport) {
    loop {
        match send_waiting(shared, link, wake, transport).await {
            Sent::All | Sent::More => {}
            Sent::Close(reason) => {
                let _ = timeout(FAREWELL, transport.close(reason)).await;
                return;
            }
            Sent::Gone => return,
        }
        let deadline = shared.lock().registry.deadline(link);
        let step = tokio::select! {
            () = wake.notified() => Step::Look,
            () = sleep_until_deadline(shared.clock.as_ref(), deadline) => {
                let now = shared.clock.now();
                shared.with(|registry, out| registry.tick(now, link, out));
                Step::Look
            }
            received = transport.recv() => received_step(received),
        };
        match step {
            Step::Look => {}
            Step::Frame(frame) => {
                if !take_frame(shared, link, frame).await {
                    return;
                }
            }
            Step::Gone => return,
        }
    }
}

fn received_step(received: Result<Option<Bytes>, TransportError>) -> Step {
    match received {
        Ok(Some(frame)) => Step::Frame(decode_client(&frame)),
        Err(TransportError::TooLarge) => Step::Frame(Err(DecodeError::TooLarge)),
        Err(TransportError::Protocol) => Step::Frame(Err(DecodeError::Malformed)),
        Ok(None) | Err(TransportError::Lost(_) | TransportError::Closed) => Step::Gone,
    }
}

/// Gives a frame to the registry; `false` if the application is gone without having stopped the hub.
async fn take_frame(shared: &Arc<Shared>, link: LinkId, frame: Result<ClientMessage, DecodeError>) -> bool {
    // Only a request or a handshake can lead to a report; a ping does not wait for the application.
    let reports = matches!(
        frame,
        Ok(ClientMessage::Request(_) | ClientMessage::Resume { .. })
    );
    if reports {
        let Some(place) = shared.place().await else {
            return *shared.stopped.borrow();
        };
        shared.with_place(place, |state, now, out| {
            state.registry.handle_frame(now, link, frame, out)
        });
        return true;
    }
    let token = {
        let mut out = Output::default();
        let mut state = shared.lock();
        state
            .registry
            .handle_frame(shared.clock.now(), link, frame, &mut out);
        state.wake(&out);
        out.verify
    };
    let Some(token) = token else { return true };
    let verify = shared.verifier.verify(shared.clock.now(), &token);
    let result = timeout(shared.config.verify_timeout, verify)
        .await
        .unwrap_or(Err(Refusal::Unavailable));
    let Some(place) = shared.place().await else {
        return *shared.stopped.borrow();
    };
    shared.with_place(place, |state, now, out| {
        state.registry.handle_verified(now, link, result, out)
    });
    true
}

enum Sent {
    All,
    More,
    Close(CloseReason),
    Gone,
}

async fn send_waiting(
    shared: &Arc<Shared>,
    link: LinkId,
    wake: &Notify,
    transport: &mut dyn SignalTransport,
) -> Sent {
    for _ in 0..SEND_BATCH {
        let next = shared.lock().registry.poll_transmit(link);
        match next {
            Transmit::Frame(frame) => {
                let mut sending = std::pin::pin!(transport.send(frame));
                let sent = tokio::select! {
                    sent = timeout(shared.config.send_timeout, &mut sending) => sent,
                    () = closing(shared, link, wake) => timeout(FAREWELL, sending).await,
                };
                // Not reading, or gone: either way nothing more can be told.
                let Ok(Ok(())) = sent else { return Sent::Gone };
            }
            Transmit::Close(reason) => return Sent::Close(reason),
            Transmit::Idle => return Sent::All,
        }
    }
    wake.notify_one();
    Sent::More
}

/// Waits until the connection is to be closed, whatever the client still has to take.
async fn closing(shared: &Arc<Shared>, link: LinkId, wake: &Notify) {
    while !shared.lock().registry.is_closing(link) {
        wake.notified().await;
    }
}

/// Ends sessions whose resume window is over, and reports connections whose task was dropped.
pub(super) async fn sweep(hub: Weak<Shared>, wake: Arc<Notify>) {
    loop {
        let Some(shared) = hub.upgrade() else { return };
        let (stopped, abandoned, expiry) = {
            let state = shared.lock();
            (
                *shared.stopped.borrow(),
                !state.abandoned.is_empty(),
                state.registry.next_expiry(),
            )
        };
        let now = shared.clock.now();
        if stopped {
            for link in std::mem::take(&mut shared.lock().abandoned) {
                shared.lock().forget(now, link, &mut Output::default());
            }
            shared.emptied.notify_waiters();
        } else if abandoned || expiry.is_some_and(|at| at <= now) {
            let Some(place) = shared.place().await else { return };
            shared.with_place(place, |state, now, out| match state.abandoned.pop() {
                Some(link) => state.forget(now, link, out),
                None => state.registry.expire(now, out),
            });
            shared.emptied.notify_waiters();
            continue;
        }
        let clock = Arc::clone(&shared.clock);
        // The hub must be able to end while this waits.
        drop(shared);
        tokio::select! {
            () = wake.notified() => {}
            () = sleep_until_deadline(clock.as_ref(), expiry) => {}
        }
    }
}
