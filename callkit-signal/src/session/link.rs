//! One connection as the registry knows it: how far its handshake is, when it was heard, what waits for it.

use std::collections::VecDeque;

use bytes::Bytes;
use callkit_core::id::SessionId;
use callkit_core::time::Timestamp;

use super::config::SessionConfig;
use super::rate::TokenBucket;
use crate::codec::encode_server;
use crate::message::{Refusal, ServerMessage};
use crate::transport::CloseReason;

/// Names a connection within one registry; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub(super) u64);

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    /// `hello` was sent; `auth` or `resume` has to come by then.
    Greeted { deadline: Timestamp, resumes_left: u8 },
    /// The token is being checked.
    Verifying,
    /// It carries a session.
    Bound(SessionId),
    /// The last frames go out, then it is closed; what comes in is ignored.
    Closing,
}

/// What the driver does next with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// Send this.
    Frame(Bytes),
    /// Everything is sent: close.
    Close(CloseReason),
    /// Nothing now.
    Idle,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) state: LinkState,
    /// The session that it carries or carried.
    pub(super) session: Option<SessionId>,
    pub(super) heard_at: Timestamp,
    pub(super) bucket: TokenBucket,
    outbox: VecDeque<Bytes>,
    outbox_bytes: usize,
    close: Option<CloseReason>,
}

/// A refused `resume` may be tried this often on one connection: once with what the page kept, once more
/// for a page that kept it in two places.
const RESUMES: u8 = 2;

/// Frames that an idle connection may keep room for: a burst leaves no memory behind.
const IDLE_CAPACITY: usize = 32;

impl Link {
    pub(super) fn new(now: Timestamp, config: &SessionConfig) -> Self {
        Self {
            state: LinkState::Greeted {
                deadline: now + config.auth_timeout,
                resumes_left: RESUMES,
            },
            session: None,
            heard_at: now,
            bucket: TokenBucket::new(now, config.frames_per_second, config.frame_burst),
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            close: None,
        }
    }

    /// When something has to happen even if nothing comes in.
    pub(super) fn deadline(&self, config: &SessionConfig) -> Option<(Timestamp, Refusal)> {
        match self.state {
            LinkState::Greeted { deadline, .. } => Some((deadline, Refusal::AuthRequired)),
            LinkState::Bound(_) => Some((self.heard_at + config.silence_timeout, Refusal::Silent)),
            // The driver bounds the check of a token, and the sending of the last frames.
            LinkState::Verifying | LinkState::Closing => None,
        }
    }

    pub(super) fn bind(&mut self, session: SessionId) {
        self.state = LinkState::Bound(session);
        self.session = Some(session);
    }

    /// Queues a frame. A client that does not read loses the connection, not the session.
    pub(super) fn push(&mut self, frame: Bytes, config: &SessionConfig) {
        if self.state == LinkState::Closing {
            return;
        }
        // A resumed session may begin with all of its replay.
        let max_frames = config.outbox_frames + config.replay_events;
        let max_bytes = config.outbox_bytes + config.replay_bytes;
        if self.outbox.len() >= max_frames || self.outbox_bytes + frame.len() > max_bytes {
            self.outbox.clear();
            self.outbox_bytes = 0;
            self.close(Refusal::SlowConsumer);
            return;
        }
        self.outbox_bytes += frame.len();
        self.outbox.push_back(frame);
    }

    /// Ends the connection after what is queued, with the reason as the last frame.
    pub(super) fn close(&mut self, code: Refusal) {
        self.end(code, &ServerMessage::Closing { code });
    }

    /// Ends the connection before it has a session.
    pub(super) fn refuse(&mut self, code: Refusal) {
        self.end(code, &refused(code));
    }

    fn end(&mut self, code: Refusal, last: &ServerMessage) {
        if self.state == LinkState::Closing {
            return;
        }
        self.state = LinkState::Closing;
        self.close = Some(CloseReason::Refused(code));
        let frame = encode_server(last);
        self.outbox_bytes += frame.len();
        self.outbox.push_back(frame);
    }

    /// Whether it ends because the other end was not heard, or did not read, any more.
    pub(super) fn went_silent(&self) -> bool {
        matches!(
            self.close,
            Some(CloseReason::Refused(Refusal::Silent | Refusal::SlowConsumer))
        )
    }

    pub(super) fn transmit(&mut self) -> Transmit {
        if let Some(frame) = self.outbox.pop_front() {
            self.outbox_bytes -= frame.len();
            if self.outbox.is_empty() && self.outbox.capacity() > IDLE_CAPACITY {
                self.outbox = VecDeque::new();
            }
            return Transmit::Frame(frame);
        }
        self.close.map_or(Transmit::Idle, Transmit::Close)
    }
}

pub(super) fn refused(code: Refusal) -> ServerMessage {
    ServerMessage::Refused {
        code,
        message: code.explanation().to_owned(),
    }
}
