//! Measures what the benchmarks' library can measure and prints one JSON object per line. Build it with
//! `--release`: anything else measures the compiler's debug mode.

use std::io::{self, Write};

use callkit_benches::{Figure, forwarding, routing};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for figure in forwarding::figures() {
        writeln!(out, "{}", figure.to_json())?;
    }
    let decision = routing::decision_us_p99(5000, 10_000);
    let decision = Figure::at_most("decision_us_p99", decision, "us", Some(1000.0));
    writeln!(out, "{}", decision.to_json())
}
