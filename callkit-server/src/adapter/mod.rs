//! Adapters: one real system behind one port each.

pub mod auth_static;
pub mod identity;
mod signing;
pub mod store_sqlite;

pub use signing::{KeyFileError, SigningKey};
