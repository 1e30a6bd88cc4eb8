//! Rooms and their participants on one thread.
