//! [`IceServer`]: where a client finds a way to the media server when it cannot reach it directly.

use callkit_core::redact::Private;
use serde::{Deserialize, Serialize};

/// STUN or TURN servers with one pair of credentials: an `RTCIceServer` of the browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// `stun:`, `turn:` and `turns:` URLs (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// Name for `turn:` and `turns:`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<Private<String>>,
    /// Password for it. Both are of no use after the time given in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Private<String>>,
}
