//! Synthetic peers.
