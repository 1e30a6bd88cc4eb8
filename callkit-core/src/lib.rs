//! The vocabulary of callkit and the ports of its business side.
//!
//! This crate runs nothing: no async runtime, no sockets, no clock of its own. It owns what every other
//! crate has to agree on:
//!
//! | module | owns |
//! |---|---|
//! | [`id`] | typed identifiers and the injected source they come from |
//! | [`time`] | [`Timestamp`](time::Timestamp), the [`Clock`](time::Clock) port |
//! | [`quality`] | how a connection did, in words and samples |
//! | [`redact`] | [`Private`](redact::Private) and [`Secret`](redact::Secret): values that do not print |
//! | [`auth`] | principals, roles, the [`AuthProvider`](auth::AuthProvider) and [`AccessPolicy`](auth::AccessPolicy) ports |
//! | [`call`] | the call record: states, segments, offers, participants |
//! | [`agent`] | the agent record: presence, activity, link |
//! | [`chat`] | chat messages |
//! | [`event`] | the public event catalogue |
//! | [`store`] | the [`SessionStore`](store::SessionStore) port: transitions and events, together or not at all |
//! | [`memory`] | an in-memory implementation of each port |
//! | `testing` | (feature `testing`) a conformance suite per port, a manual clock |
//!
//! What a call *does* is decided in `callkit-routing`; how it is carried, in `callkit-signal` and
//! `callkit-sfu`.

pub mod agent;
pub mod auth;
pub mod call;
pub mod chat;
pub mod event;
pub mod id;
pub mod memory;
pub mod quality;
pub mod redact;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;

/// The error type of a foreign implementation behind one of the ports.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
