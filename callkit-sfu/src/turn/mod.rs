//! STUN and TURN for clients that cannot reach the media ports (RFC 8489, RFC 8656).
//!
//! ```text
//!  client ─ UDP, TCP, TLS ─► driver ─► TurnServer ─► socket of the allocation ─► media port, on this machine
//!                           (feature turn)  decides, without I/O
//! ```
//!
//! The relay is for the media server only: it has permissions for the media server's addresses and no
//! others, so it leads nowhere else, whatever a client asks for. Relays over TCP (RFC 6062) are not offered.
//! It runs on a thread and sockets of its own; the media threads see its packets as those of any client.

mod allocation;
mod auth;
mod credentials;
mod frame;
mod message;
mod meter;
#[cfg(feature = "turn")]
mod net;
mod peers;
mod server;
#[cfg(test)]
mod tests;

pub use credentials::{TurnCredentials, TurnSecret};
pub use frame::{BadStream, Deframer};
#[cfg(feature = "turn")]
pub use net::{TlsError, TurnConfig, TurnError, TurnService, TurnTls};
pub use peers::{NoPeers, Peers};
pub use server::{Action, AllocationId, Client, FromPeer, Link, ToPeer, TurnLimits, TurnServer, TurnStats};

/// Bytes before the data of a ChannelData message.
pub const CHANNEL_HEADER: usize = 4;
/// First byte of the lowest and the highest channel number. RFC 8656 section 12 ends at 0x4fff; clients of
/// RFC 5766 (section 11) go up to 0x7fff, and nothing else is spoken here.
const FIRST_CHANNEL: u8 = 0x40;
const LAST_CHANNEL: u8 = 0x7f;
