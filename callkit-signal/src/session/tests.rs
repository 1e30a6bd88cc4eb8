//! Laws of sessions.
