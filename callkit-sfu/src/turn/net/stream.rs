//! One client's TCP or TLS connection: frames in, a bounded buffer out.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;

use super::super::Deframer;

/// Bytes that wait to be sent before media is dropped: a quarter of a second at 2 Mbit/s. More would only
/// delay it, and what TCP delays further is late anyway.
const MEDIA_WAITING: usize = 64 * 1024;
/// Bytes that wait before the connection is given up: only answers go beyond what media may use.
const MOST_WAITING: usize = MEDIA_WAITING + 16 * 1024;
/// Bytes of one read.
const READ: usize = 8 * 1024;

/// The sending side of a connection, as the rest of the server sees it.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    waiting: RefCell<Vec<u8>>,
    ready: Notify,
    closing: std::cell::Cell<bool>,
    closed: Notify,
}

impl Outgoing {
    /// Queues media, or drops it.
    pub(super) fn media(&self, frame: &[u8]) {
        if self.waiting.borrow().len() + frame.len() <= MEDIA_WAITING {
            self.push(frame);
        }
    }

    /// Queues an answer; a client that does not read its answers is disconnected.
    pub(super) fn answer(&self, frame: &[u8]) {
        if self.waiting.borrow().len() + frame.len() > MOST_WAITING {
            return self.close();
        }
        self.push(frame);
    }

    fn push(&self, frame: &[u8]) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.extend_from_slice(frame);
        // ChannelData is padded on streams (RFC 8656 section 12.5); STUN messages have whole words.
        let padded = waiting.len() + frame.len().next_multiple_of(4) - frame.len();
        waiting.resize(padded, 0);
        self.ready.notify_one();
    }

    /// Ends the connection, after what waits.
    pub(super) fn close(&self) {
        self.closing.set(true);
        self.ready.notify_one();
        self.closed.notify_one();
    }
}

/// Carries a connection until it ends, for whatever reason: frames of the client go to `handle`, what is
/// queued in `outgoing` goes to the client.
pub(super) async fn carry<S: AsyncRead + AsyncWrite>(
    stream: S,
    outgoing: &Rc<Outgoing>,
    handle: impl FnMut(&[u8]),
) {
    let (reader, writer) = tokio::io::split(stream);
    tokio::select! {
        _ = read(reader, outgoing, handle) => {}
        _ = write(writer, outgoing) => {}
    }
}

async fn read(
    mut reader: impl AsyncRead + Unpin,
    outgoing: &Outgoing,
    mut handle: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut deframer = Deframer::default();
    let mut bytes = vec![0; READ];
    loop {
        let received = tokio::select! {
            received = reader.read(&mut bytes) => received?,
            () = outgoing.closed.notified() => {
                // The writer says the rest and ends the connection.
                return std::future::pending().await;
            }
        };
        if received == 0 || deframer.push(&bytes[..received], &mut handle).is_err() {
            return Ok(());
        }
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, outgoing: &Outgoing) -> io::Result<()> {
    let mut sending = Vec::new();
    loop {
        std::mem::swap(&mut sending, &mut *outgoing.waiting.borrow_mut());
        if sending.is_empty() {
            if outgoing.closing.get() {
                return writer.shutdown().await;
            }
            outgoing.ready.notified().await;
            continue;
        }
        writer.write_all(&sending).await?;
        writer.flush().await?;
        sending.clear();
    }
}
