//! One test per row of the transition tables in the crate documentation, named after the row.

mod agents;
mod batch;
mod calls;
mod chat;
mod restart;
mod supervise;
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod world;
