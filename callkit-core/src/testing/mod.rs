//! Conformance suites for implementors of the ports, and a clock that tests move by hand.

mod clock;

pub use clock::ManualClock;
