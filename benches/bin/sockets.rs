//! Measures the SFU with real sockets and prints what came out, in words. Arguments choose the scenario:
//! `sockets plain|runs|even CALLS SHARDS|frames CALLS SHARDS|speed CALLS FACTOR|memory CALLS`. Build it with `--release`.

use std::env;
use std::io::{self, Write};

use callkit_benches::sockets::{self, Scenario, traffic::Spacing};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |place: usize, otherwise: usize| {
        let text = arguments.get(place).and_then(|text| text.parse().ok());
        text.unwrap_or(otherwise)
    };
    let mut out = io::stdout().lock();
    let scenario = match arguments.first().map(String::as_str) {
        Some("plain") => Scenario::saturated(false),
        Some("runs") | None => Scenario::saturated(true),
        Some("even") => Scenario::calm(number(1, 25), number(2, 1)),
        Some("frames") => Scenario {
            spacing: Spacing::Frames,
            ..Scenario::calm(number(1, 25), number(2, 1))
        },
        Some("speed") => Scenario {
            spacing: Spacing::Frames,
            speed: arguments.get(2).and_then(|text| text.parse().ok()),
            ..Scenario::calm(number(1, 100), 1)
        },
        Some("memory") => {
            return writeln!(
                out,
                "{:.1} KiB per participant",
                sockets::memory_kib(number(1, 50))?
            );
        }
        Some(other) => return Err(io::Error::other(format!("no scenario is called {other}"))),
    };
    writeln!(out, "{}", sockets::run(scenario)?)
}
