//! Sessions and their connections without I/O: handshake, resume, numbering, limits, timeouts.
//!
//! A *link* is one connection; a *session* is what one principal has open, and outlives its links. The
//! [`Registry`] owns both and decides everything; a driver carries frames in and out and tells the time.
//!
//! ```text
//!            auth accepted, app says welcome          connection lost, silent, too slow
//!  (none) ----------------------------------> bound ----------------------------------> kept
//!                                               ^                                         |  resume window over,
//!                                               +--------------- resume ------------------+  newer auth of the same
//!                                                                                         v  principal
//!                                                                                       (none)
//! ```
//!
//! One session per principal: a newer `auth` of the same principal takes its place, and a newer connection
//! takes the place of an older one; the older gets `closing{replaced}`.

mod answers;
mod config;
mod link;
mod rate;
mod registry;
mod replay;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use callkit_core::auth::Principal;
use callkit_core::id::{AgentId, CustomerId, SessionId};
use callkit_core::redact::Private;
use callkit_core::time::Timestamp;

use answers::Answers;
pub use config::SessionConfig;
pub use link::{LinkId, Transmit};
#[cfg(feature = "ws")]
pub(crate) use registry::encode_answer;
pub use registry::{Change, Output, Registry};
use replay::Replay;

use crate::codec::EncodedEvent;

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrincipalKey {
    /// A customer.
    Customer(CustomerId),
    /// A member of staff.
    Agent(AgentId),
}

impl PrincipalKey {
    /// The key of `principal`; `None` for a kind of principal that has no sessions.
    #[must_use]
    pub fn of(principal: &Principal) -> Option<Self> {
        match principal {
            Principal::Customer { id, .. } => Some(Self::Customer(*id)),
            Principal::Staff { id, .. } => Some(Self::Agent(id.clone())),
            _ => None,
        }
    }
}

/// What one principal has open.
#[derive(Debug)]
struct Session {
    id: SessionId,
    /// Proves to `resume` that it is the same client.
    token: Private<String>,
    key: PrincipalKey,
    principal: Principal,
    /// The connection that carries it, if one does.
    link: Option<LinkId>,
    /// When it ends unless a connection resumes it; set while `link` is none.
    expires: Option<Timestamp>,
    /// Whether the client was told its snapshot. Events before that are part of the snapshot.
    welcomed: bool,
    replay: Replay,
    answers: Answers,
}

impl Session {
    /// Numbers and keeps an event; `None` before the snapshot, which will contain it.
    fn number(&mut self, event: &EncodedEvent) -> Option<Bytes> {
        self.welcomed.then(|| self.replay.push(|seq| event.frame(seq)))
    }
}
