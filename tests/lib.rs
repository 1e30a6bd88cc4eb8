//! Tests that cross the crates' borders; the package has no code of its own.
//!
//! | folder | what is tested | started by |
//! |---|---|---|
//! | `conformance/` | every adapter in the repository against the suite of its port | `cargo test -p callkit-tests` |
//! | `sim/` | the dispatcher under random events, in virtual time, by seed | `cargo test -p callkit-tests` |
//! | `wire/` | the JSON of every message, shared with the web client's tests | `cargo test -p callkit-tests` |
//! | `e2e/` | whole calls in Chromium and Firefox, by what is seen and heard | `cargo xtask browser` |
//! | `fuzz/` | hostile bytes: signaling, SDP, STUN, RTP, RTCP | `cargo xtask fuzz` |
