//! Routing for contact centres as a state machine without I/O.

mod book;
pub mod config;
mod dispatcher;
mod effects;
mod input;
pub mod policy;
mod record;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use config::{ConfigError, QueueConfig, RoutingConfig, Timers, WrapUp};
pub use dispatcher::{Dispatcher, QueueView};
pub use effects::{Action, Effects};
pub use input::{
    Input, MAX_AWAY_REASON_CHARS, MAX_CHAT_BYTES, MAX_CHAT_MESSAGES, MAX_CLIENT_ID_BYTES, Refused,
};
pub use policy::{LongestIdle, RoutingPolicy};
