//! Laws of the hub, with in-memory connections and virtual time.
