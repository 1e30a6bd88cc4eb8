//! Conformance suites for implementors of the ports, sample records, and a clock that tests move by hand.
//!
//! A suite is one line in the implementor's tests; it expands to one `#[test]` per law of the port's
//! contract:
//!
//! ```
//! # #[cfg(test)]
//! mod my_store {
//!     callkit_core::session_store_conformance!(|| async { callkit_core::memory::MemorySessionStore::default() });
//! }
//! ```

mod clock;
mod executor;

pub mod auth;
pub mod samples;
pub mod store;

pub use clock::ManualClock;
pub use executor::{block_on, concurrently, poll_times};
