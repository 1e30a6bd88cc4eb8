//! Measures what the benchmarks' library can measure and prints one JSON object per line. Arguments choose among
//! `forwarding`, `deciding` and `sockets`; without, all. Build it with `--release`: anything else measures the compiler's
//! debug mode.

use std::env;
use std::io::{self, Write};

use callkit_benches::{Figure, forwarding, routing, sockets};

fn main() -> io::Result<()> {
    let chosen: Vec<String> = env::args().skip(1).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|one| one == name);
    if is_chosen("forwarding") {
        print(forwarding::figures())?;
    }
    if is_chosen("deciding") {
        let decision = routing::decision_us_p99(5000, 10_000);
        print(vec![Figure::at_most(
            "decision_us_p99",
            decision,
            "us",
            Some(1000.0),
        )])?;
    }
    if is_chosen("sockets") {
        print(sockets::figures()?)?;
    }
    Ok(())
}

fn print(figures: Vec<Figure>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for figure in figures {
        writeln!(out, "{}", figure.to_json())?;
    }
    Ok(())
}
