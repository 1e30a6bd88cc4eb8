//! One test per row of the transition tables in the crate documentation, named after the row.

mod agents;
mod batch;
mod calls;
mod chat;
mod restart;
mod world;
