//! An in-memory implementation of each port: reference behaviour, quick start, test double.

mod auth;
mod store;

pub use auth::MemoryAuth;
pub use store::MemorySessionStore;

#[cfg(all(test, feature = "testing"))]
mod tests;
