//! STUN and TURN for clients that cannot reach the media ports (RFC 8489, RFC 8656).

mod credentials;

pub use credentials::{TurnCredentials, TurnSecret};
