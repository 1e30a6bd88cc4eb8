//! RTP and RTCP on the wire: views that borrow, writers into given buffers, counters that do not wrap.
//!
//! Everything here is total: any bytes give a value or a refusal, never a panic, and nothing allocates.
//! What a packet means for a call is decided in [`media`](crate::media).

pub mod counter;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
pub mod packet;
pub mod rtcp;
pub mod transport_cc;

pub use counter::{Unwrapper, newer16, newer32};
pub use packet::{Malformed, Outgoing, Packet, header_length, is_rtcp};
