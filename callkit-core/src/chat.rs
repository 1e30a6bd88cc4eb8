//! Text messages inside a call (R1.3).

use serde::{Deserialize, Serialize};

use crate::call::Party;
use crate::id::{CallId, MessageId};
use crate::redact::Private;
use crate::time::Timestamp;

/// Longest chat text, in Unicode scalar values.
pub const MAX_CHAT_CHARS: usize = 4000;

/// A line of chat, as kept with the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Identity of the message.
    pub id: MessageId,
    /// The call it belongs to.
    pub call: CallId,
    /// Position in the call's chat, from 1, without gaps.
    pub seq: u64,
    /// Who wrote it.
    pub from: Party,
    /// The author's own key for it: a message sent again after a lost connection is kept once.
    pub client_id: String,
    /// What was written.
    pub text: Private<String>,
    /// When the server accepted it.
    pub at: Timestamp,
}
