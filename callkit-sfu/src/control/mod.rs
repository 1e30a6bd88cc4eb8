//! The port that the server uses.
