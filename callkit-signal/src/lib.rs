//! Signaling of calls: the `callkit.v1` protocol and how it is carried.
//!
//! ```text
//!  client --- hello, auth, welcome ---> session opens            docs/protocol.md has the whole protocol
//!         --- request {id} <-> ok/error {re}
//!         <-- event {seq} ...                                    numbered, kept until confirmed
//!     ~~~ connection lost ~~~
//!         --- hello, resume {last_seq}, resumed, missed events   each event exactly once
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`message`] | the wire types and the codes |
//! | [`codec`] | bytes to messages and back, total on hostile input |
//! | [`session`] | sessions and connections as a state machine without I/O |
//! | [`transport`] | the ports [`SignalTransport`](transport::SignalTransport) and [`SignalListener`](transport::SignalListener); in memory, WebSocket |
//! | `hub` | (feature `ws`) the driver that a server uses |
//! | `client` | (feature `ws`) a client for tests, tools and load |
//! | `testing` | (feature `testing`) conformance suite of transports, a clock, tokens |
//!
//! What a call is, and who may do what in it, is not known here: requests go to the application, events
//! come from it. A server in one piece:
//!
#![cfg_attr(all(feature = "ws", feature = "testing"), doc = "```")]
#![cfg_attr(not(all(feature = "ws", feature = "testing")), doc = "```ignore")]
//! use std::sync::Arc;
//!
//! use callkit_core::auth::Principal;
//! use callkit_core::id::{IdSource, QueueId};
//! use callkit_core::redact::Secret;
//! use callkit_core::time::SystemClock;
//! use callkit_signal::client::Client;
//! use callkit_signal::hub::{Hub, HubConfig, HubEvent};
//! use callkit_signal::message::{Outcome, Request, Role, Snapshot, You};
//! use callkit_signal::testing::MemoryTokens;
//! use callkit_signal::transport::MemoryTransport;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let anna = Principal::Customer { id: 7.into(), name: None, verified: false };
//! let tokens = Arc::new(MemoryTokens::default().with("ticket", anna));
//! let (report, mut reports) = tokio::sync::mpsc::channel(64);
//! let hub = Hub::start(HubConfig::default(), Arc::new(SystemClock::new()), IdSource::seeded(1), tokens, report);
//!
//! // The application: one loop.
//! tokio::spawn(async move {
//!     while let Some(report) = reports.recv().await {
//!         match report {
//!             HubEvent::Opened { open, .. } => {
//!                 let you = You { role: Role::Customer, id: "7".into(), name: None };
//!                 open.welcome(Snapshot { you, agent: None, offer: None, call: None, ended: None, chat: vec![], queues: vec![], calls: vec![] });
//!             }
//!             HubEvent::Request { reply, .. } => reply.ok(Outcome::Done),
//!             _ => {}
//!         }
//!     }
//! });
//!
//! // A connection: here in memory, in a server a WebSocket.
//! let (server, client) = MemoryTransport::pair();
//! tokio::spawn(async move { hub.serve(Box::new(server)).await });
//! let (client, _welcome, _events) = Client::open(Box::new(client), Secret::new("ticket".into())).await?;
//! let outcome = client.request(Request::CallStart { queue: QueueId::new("support")? }).await?;
//! assert_eq!(outcome, Outcome::Done);
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "ws")]
pub mod client;
pub mod codec;
#[cfg(feature = "ws")]
pub mod hub;
pub mod message;
pub mod session;
#[cfg(all(feature = "testing", feature = "ws"))]
pub mod testing;
pub mod transport;
