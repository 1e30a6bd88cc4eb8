//! The server as its clients see it: signaling over in-memory connections, media that a test moves by hand,
//! a store in memory, virtual time. What is asserted is what people are told.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod chat;
mod life;
mod media;
mod presence;
mod quality;
mod restart;
mod rights;
mod store;
mod supervise;
mod websocket;
mod world;
