//! The limits of sessions and connections, with the reason of each default.

use std::time::Duration;

use crate::message::{Limits, MAX_FRAME};

/// Limits of sessions. `SessionConfig::default()` suits browsers on the open internet.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    pub(crate) auth_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) silence_timeout: Duration,
    pub(crate) resume_window: Duration,
    pub(crate) replay_events: usize,
    pub(crate) replay_bytes: usize,
    pub(crate) outbox_frames: usize,
    pub(crate) outbox_bytes: usize,
    pub(crate) frames_per_second: u32,
    pub(crate) frame_burst: u32,
    pub(crate) open_requests: usize,
    pub(crate) kept_answers: usize,
    pub(crate) kept_answer_bytes: usize,
    pub(crate) max_links: usize,
    pub(crate) max_sessions: usize,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            auth_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(5),
            silence_timeout: Duration::from_secs(15),
            resume_window: Duration::from_secs(60),
            replay_events: 1024,
            replay_bytes: 1024 * 1024,
            outbox_frames: 1024,
            outbox_bytes: 2 * 1024 * 1024,
            frames_per_second: 50,
            frame_burst: 100,
            open_requests: 32,
            kept_answers: 64,
            kept_answer_bytes: 256 * 1024,
            max_links: 10_000,
            max_sessions: 20_000,
        }
    }
}

impl SessionConfig {
    /// How long a connection may take to authenticate. 5 s: longer lets strangers hold connections for
    /// nothing, shorter refuses slow mobile networks.
    #[must_use]
    pub fn with_auth_timeout(mut self, timeout: Duration) -> Self {
        self.auth_timeout = timeout;
        self
    }

    /// How often a client pings (default 5 s) and after which silence its connection is taken for dead
    /// (default 15 s: three lost pings). Shorter costs traffic and drops people in a tunnel, longer leaves
    /// the other side looking at somebody who is gone.
    #[must_use]
    pub fn with_heartbeat(mut self, ping_interval: Duration, silence_timeout: Duration) -> Self {
        self.ping_interval = ping_interval;
        self.silence_timeout = silence_timeout;
        self
    }

    /// How long a session waits for its client to come back. 60 s: a reboot of a router; longer costs
    /// memory for clients that never return.
    #[must_use]
    pub fn with_resume_window(mut self, window: Duration) -> Self {
        self.resume_window = window;
        self
    }

    /// How many events, and how many bytes of them, are kept until the client confirms them (default 1024
    /// and 1 MiB per session). Less means that a client opens a new session after a shorter absence.
    #[must_use]
    pub fn with_replay(mut self, events: usize, bytes: usize) -> Self {
        self.replay_events = events;
        self.replay_bytes = bytes;
        self
    }

    /// How many frames and bytes, beside a whole replay, may wait for a client that reads too slowly before
    /// its connection is closed (default 1024 and 2 MiB).
    #[must_use]
    pub fn with_outbox(mut self, frames: usize, bytes: usize) -> Self {
        self.outbox_frames = frames;
        self.outbox_bytes = bytes;
        self
    }

    /// Token bucket of a connection (default 50 frames per second, 100 at once). A page sends one frame
    /// every few seconds, and a burst when it resumes; more is a fault or an attack.
    #[must_use]
    pub fn with_rate(mut self, frames_per_second: u32, burst: u32) -> Self {
        self.frames_per_second = frames_per_second;
        self.frame_burst = burst;
        self
    }

    /// Connections (default 10 000) and sessions (default 20 000: connected ones and those within the
    /// resume window) that the server holds at most.
    #[must_use]
    pub fn with_capacity(mut self, links: usize, sessions: usize) -> Self {
        self.max_links = links;
        self.max_sessions = sessions;
        self
    }

    /// What `hello` tells a client.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Limits {
            max_frame: u32::try_from(MAX_FRAME).unwrap_or(u32::MAX),
            ping_interval_ms: millis(self.ping_interval),
            silence_timeout_ms: millis(self.silence_timeout),
            resume_window_ms: millis(self.resume_window),
        }
    }
}
