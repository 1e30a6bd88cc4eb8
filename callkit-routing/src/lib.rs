//! Routing for contact centres as a state machine without I/O: who waits, who rings, who talks.
//!
//! [`Dispatcher`] owns the open calls and the agents together, so an offer takes a call and an agent in the
//! same transition and no call can ring twice, no agent can get two. It has no clock, task or lock: a
//! driver gives it [`Input`]s with the time, writes [`Effects::commit`] in one transaction, then performs
//! [`Effects::actions`] in order. Equal inputs give equal effects, so a log of inputs replays a day.
//!
//! ```
//! use std::sync::Arc;
//! use callkit_core::agent::{AgentProfile, Presence};
//! use callkit_core::call::Customer;
//! use callkit_core::id::{AgentId, CustomerId, IdSource, QueueId};
//! use callkit_core::redact::Private;
//! use callkit_core::time::Timestamp;
//! use callkit_routing::{Dispatcher, Effects, Input, LongestIdle, QueueConfig, RoutingConfig};
//!
//! let (queue, agent) = (QueueId::new("support")?, AgentId::new("irina")?);
//! let name = Private::new("Irina".to_owned());
//! let config = RoutingConfig {
//!     queues: vec![QueueConfig::new(queue.clone(), "Support")],
//!     agents: vec![AgentProfile { id: agent.clone(), name, queues: vec![queue.clone()] }],
//!     ..RoutingConfig::default()
//! };
//! config.check()?;
//! let mut dispatcher = Dispatcher::new(&config, Arc::new(LongestIdle), IdSource::seeded(1));
//!
//! let (now, mut fx) = (Timestamp::from_millis(1_000), Effects::default());
//! dispatcher.handle(now, Input::AgentLink { agent: agent.clone(), up: true }, &mut fx)?;
//! let presence = Presence::Available;
//! dispatcher.handle(now, Input::SetPresence { agent: agent.clone(), presence }, &mut fx)?;
//! let customer = Customer { id: CustomerId::from(7), name: None, verified: false };
//! dispatcher.handle(now, Input::RequestCall { customer, queue, priority: 0 }, &mut fx)?;
//!
//! let offer = dispatcher.offer_of(&agent).expect("the only agent is offered the only call").id;
//! // Here a driver writes `fx.commit`, then performs `fx.actions`, and sends a tick at the next deadline.
//! dispatcher.handle(now, Input::Accept { agent, offer }, &mut Effects::default())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Agents
//!
//! Three axes, one writer each: `presence` is the person's, `activity` the dispatcher's, `link` the
//! connection's. An agent can get a call if Available, Idle, Up, without pending presence and not in
//! cool-down. Idle since: the end of the last work, becoming Available, or the last missed or declined
//! offer, whichever is latest.
//!
//! | row | from | event | to |
//! |---|---|---|---|
//! | A1 | Idle | matched | Reserved, with the call in the same transition |
//! | A2 | Reserved | accept before the deadline | Connecting; later or for a closed offer: [`Refused::OfferClosed`] |
//! | A3 | Reserved | decline | Idle with a cool-down; the call returns to its place |
//! | A4 | Reserved | deadline | Idle, or NotResponding after [`Timers::max_misses`]; the call goes on at once |
//! | A5 | Reserved | customer left | Idle at no cost |
//! | A6 | Reserved | sets Away or Offline | Idle; the offer is taken back, no miss |
//! | A7 | Reserved | link lost for [`Timers::ring_grace`] | Idle; taken back as unreachable. Idle without link for [`Timers::agent_grace`]: Offline |
//! | A8 | Connecting | media of both sides | InCall |
//! | A9 | Connecting | agent's media fails, or [`Timers::connect`] passes | Idle; the call returns to the top, at most [`Timers::max_connects`] times |
//! | A10 | InCall | call ended | WrapUp if the queue says so, else Idle |
//! | A11 | InCall | own media lost for [`Timers::media_grace`] | as A10; the call returns to the top |
//! | A12 | Connecting, InCall | sets presence | kept as pending, applied when the work is done |
//! | A13 | WrapUp | done or deadline | Idle, pending presence applied |
//! | A16 | NotResponding | sets Available | can get calls |
//! | A17 | any | second console | nothing changes |
//! | A18 | any | restart | follows from the calls, see [`Dispatcher::restore`] |
//!
//! # Calls
//!
//! Served by priority, then age of the place, then id. The place is kept over refused offers, lost
//! connections and restarts. While a call waits, the customer's *signaling* counts as being there; in a
//! talk only *media* does.
//!
//! | row | from | event | to |
//! |---|---|---|---|
//! | C4 | - | request | Queued; refused if the queue is full or the customer has an open call |
//! | C5 | Queued | an agent can get it | Offering |
//! | C7 | Queued | longest wait of the queue | Ended: queue timeout |
//! | C9 | Queued, Offering | signaling lost | Queued, detached: place kept for [`Timers::queue_grace`], not offered; then Ended: abandoned |
//! | C10 | Queued, Offering, Connecting | customer hangs up | Ended: abandoned |
//! | C12 | Offering | declined, missed, agent gone | Queued; the agent is passed over while another can get it |
//! | C13 | Queued | all who can get it refused it | a new pass, cool-downs apply |
//! | C14 | Offering | longest wait | the ring finishes, then C7 |
//! | C15 | Connecting | media of both sides | Active; the wait ends here |
//! | C16 | Active | customer's media lost | [`Timers::media_grace`] to come back, then Ended: customer lost |
//! | C17 | Active | agent's media lost | A11 |
//! | C18 | Active | both lost | Ended: both lost, when the later of the two deadlines passes |
//! | C20 | Active | hang-up, administrator | Ended |
//!
//! # Supervision
//!
//! A supervisor is the third participant of a talk and never its agent: the third place begins, changes and
//! ends without a change to the talk of the two. One supervisor per call, one call per supervisor.
//!
//! | row | from | event | to |
//! |---|---|---|---|
//! | S1 | Active, supervisor Idle | asks to listen, whisper or barge | third participant, Supervising |
//! | S2 | Supervising | asks with another mode | that mode, at once |
//! | S3 | Supervising | leaves, or hangs up | Idle, pending presence applied; the talk goes on |
//! | S4 | Supervising | media not up within [`Timers::connect`], or lost for [`Timers::media_grace`] | as S3, as lost |
//! | S5 | Supervising | the call ends or returns to the queue | Idle |
//! | S6 | any other | asks | refused: [`Refused::NotTalking`], [`Refused::Busy`], [`Refused::CallFull`] |
//! | S7 | Supervising | restart | stays, [`Timers::media_grace`] for the media to come back |
//! | S8 | Supervising, not barging | writes | [`Refused::MayNotWrite`] |
//!
//! # What is left out, and where it goes
//!
//! Hours and overflow decide before C4 and beside C7, in the files of `dispatcher` that own those rows.
//! Skills and preferred agents are policies, with more to see in [`policy::AgentView`] and
//! [`policy::WaitingCall`]; their steps are one more deadline of a queued call. A transfer is an offer of
//! an Active call, closed by the same function. Taking over (a supervisor becomes the agent) ends the stay
//! and begins one with the supervisor's participant. Further wrap-up modes are variants of [`WrapUp`]. A
//! callback is a queued call whose customer is detached without a deadline. Each new deadline goes into the functions that derive a record's next one; nothing else keeps timers.

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
