//! Forwarding: what arrives from a participant goes to the others, rewritten for each. Without I/O.
