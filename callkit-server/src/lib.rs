//! The callkit reference server as a library: configuration, HTTP API and pages, adapters to real systems,
//! orchestration.
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | all settings: file < environment < flags |
//! | [`app`] | the parts put together and running; each can be exchanged |
//! | [`http`] | pages, REST API, the accept loop |
//! | [`orchestrator`] | performs what the dispatcher decides |
//! | [`adapter`] | SQLite store, staff from the configuration, tokens and tickets |
//! | [`assets`] | the files of the pages |
//! | [`cli`] | the command line |
//! | `load` | synthetic people that load a server |
//!
//! A platform that has its own HTTP server takes [`app::App`] and mounts its router.

pub mod adapter;
pub mod app;
pub mod assets;
pub mod cli;
pub mod config;
mod console;
mod demo;
pub mod http;
mod ice;
mod load;
pub mod orchestrator;
pub mod relay;
pub mod run;
pub mod telemetry;
pub mod ws;
