//! A connection within the process, with the faults of real ones on demand. Needs no runtime.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;

use super::{CloseReason, PeerInfo, SignalListener, SignalTransport, TransportError};
use crate::message::MAX_FRAME;

/// Frames that may wait in one direction; then `send` waits, as a socket does.
const CAPACITY: usize = 64;

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    frames: VecDeque<Bytes>,
    closed: bool,
    /// Frames stay where they are until this is lifted.
    held: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Indexed by the writing end.
    pipes: [Pipe; 2],
    /// The connection broke: nothing arrives any more in either direction.
    cut: bool,
}

impl Shared {
    fn wake_all(&mut self) {
        for pipe in &mut self.pipes {
            for waker in [pipe.reader.take(), pipe.writer.take()].into_iter().flatten() {
                waker.wake();
            }
        }
    }
}

/// One end of an in-process connection.
#[derive(Debug)]
pub struct MemoryTransport {
    shared: Arc<Mutex<Shared>>,
    end: usize,
    peer: PeerInfo,
    /// Frames longer than this are refused when received.
    max_frame: usize,
}

/// The wire between two [`MemoryTransport`]s, for a test to break.
#[derive(Debug, Clone)]
pub struct MemoryLink(Arc<Mutex<Shared>>);

impl MemoryTransport {
    /// Two connected ends: the server's, which refuses frames above [`MAX_FRAME`], and the client's.
    #[must_use]
    pub fn pair() -> (Self, Self) {
        let (server, client, _) = Self::pair_with_link();
        (server, client)
    }

    /// As [`pair`](Self::pair), with the wire between them.
    #[must_use]
    pub fn pair_with_link() -> (Self, Self, MemoryLink) {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let end = |end, max_frame| Self {
            shared: Arc::clone(&shared),
            end,
            peer: PeerInfo::default(),
            max_frame,
        };
        (
            end(0, MAX_FRAME),
            end(1, usize::MAX),
            MemoryLink(Arc::clone(&shared)),
        )
    }

    fn poll_recv(&self, context: &Context<'_>) -> Poll<Result<Option<Bytes>, TransportError>> {
        let mut shared = lock(&self.shared);
        if shared.cut {
            return Poll::Ready(Err(TransportError::Lost("cut".into())));
        }
        if shared.pipes[self.end].closed {
            return Poll::Ready(Err(TransportError::Closed));
        }
        let pipe = &mut shared.pipes[1 - self.end];
        if !pipe.held {
            if let Some(frame) = pipe.frames.pop_front() {
                if let Some(writer) = pipe.writer.take() {
                    writer.wake();
                }
                let fits = frame.len() <= self.max_frame;
                return Poll::Ready(if fits {
                    Ok(Some(frame))
                } else {
                    Err(TransportError::TooLarge)
                });
            }
            if pipe.closed {
                return Poll::Ready(Ok(None));
            }
        }
        pipe.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn poll_send(
        &self,
        context: &Context<'_>,
        frame: &mut Option<Bytes>,
    ) -> Poll<Result<(), TransportError>> {
        let mut shared = lock(&self.shared);
        if shared.cut || shared.pipes[1 - self.end].closed {
            return Poll::Ready(Err(TransportError::Lost("the peer is gone".into())));
        }
        let pipe = &mut shared.pipes[self.end];
        if pipe.closed {
            return Poll::Ready(Err(TransportError::Closed));
        }
        if pipe.frames.len() >= CAPACITY {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        pipe.frames.extend(frame.take());
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl MemoryLink {
    /// Breaks the connection. Frames on the way are lost; both ends notice at once.
    pub fn cut(&self) {
        let mut shared = lock(&self.0);
        shared.cut = true;
        shared.wake_all();
    }

    /// Keeps all frames on the way, in both directions, until [`release`](Self::release): a delay as long
    /// as the test wants.
    pub fn hold(&self) {
        lock(&self.0).pipes.iter_mut().for_each(|pipe| pipe.held = true);
    }

    /// Lets held frames arrive.
    pub fn release(&self) {
        let mut shared = lock(&self.0);
        shared.pipes.iter_mut().for_each(|pipe| pipe.held = false);
        shared.wake_all();
    }

    /// Loses the frames that are on the way to the client without breaking the connection. No transport
    /// that keeps the contract does this; it shows that the layer above would notice.
    pub fn lose_frames_to_client(&self) -> usize {
        lock(&self.0).pipes[0].frames.drain(..).count()
    }
}

#[async_trait]
impl SignalTransport for MemoryTransport {
    fn peer(&self) -> &PeerInfo {
        &self.peer
    }

    async fn recv(&mut self) -> Result<Option<Bytes>, TransportError> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    async fn send(&mut self, frame: Bytes) -> Result<(), TransportError> {
        let mut frame = Some(frame);
        poll_fn(|context| self.poll_send(context, &mut frame)).await
    }

    async fn close(&mut self, _reason: CloseReason) -> Result<(), TransportError> {
        let mut shared = lock(&self.shared);
        shared.pipes[self.end].closed = true;
        shared.wake_all();
        Ok(())
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        if !shared.pipes[self.end].closed {
            // Dropped without good-bye: what a killed process looks like from the other side.
            shared.cut = true;
        }
        shared.wake_all();
    }
}

/// Hands out the server's ends of connections that [`connect`](Self::connect) makes.
#[derive(Debug, Clone, Default)]
pub struct MemoryListener {
    waiting: Arc<Mutex<(VecDeque<MemoryTransport>, Option<Waker>)>>,
}

impl MemoryListener {
    /// The client's end of a new connection.
    #[must_use]
    pub fn connect(&self) -> MemoryTransport {
        let (server, client) = MemoryTransport::pair();
        let mut waiting = lock(&self.waiting);
        waiting.0.push_back(server);
        if let Some(waker) = waiting.1.take() {
            waker.wake();
        }
        client
    }
}

#[async_trait]
impl SignalListener for MemoryListener {
    async fn accept(&mut self) -> Result<Box<dyn SignalTransport>, TransportError> {
        poll_fn(|context| {
            let mut waiting = lock(&self.waiting);
            match waiting.0.pop_front() {
                Some(transport) => Poll::Ready(Ok(Box::new(transport) as Box<dyn SignalTransport>)),
                None => {
                    waiting.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
