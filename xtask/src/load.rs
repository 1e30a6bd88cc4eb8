//! The figures of a server under load: `callkit-server load` in its scenarios, bounded in time.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::steps::{Done, Failure, read, target_dir};

/// A figure: its name, where it is in the tester's result, its unit and its target.
type Figure = (&'static str, [&'static str; 3], &'static str, Option<f64>);

/// A run of the tester and the figures taken from it.
struct Scenario {
    about: &'static str,
    arguments: &'static str,
    figures: &'static [Figure],
}

/// Together below four minutes, signing two hundred members of staff in included.
const SCENARIOS: [Scenario; 3] = [
    Scenario {
        about: "100 calls of 3 with 2 Mbit/s each",
        arguments: "--calls 100 --participants 3 --video-kbps 2000 --ramp 10 --duration 30",
        figures: &[
            ("load_100x3_cpu_percent", ["server", "cpu_percent", ""], "%", None),
            (
                "load_100x3_delivered_percent",
                ["media", "delivered_percent", ""],
                "%",
                None,
            ),
            (
                "load_100x3_packets_out_s",
                ["media", "out_packets_per_s", ""],
                "1/s",
                None,
            ),
            (
                "load_100x3_delay_ms_p99",
                ["media", "delay", "p99_ms"],
                "ms",
                None,
            ),
            (
                "load_100x3_join_third_ms_p95",
                ["join_third", "p95_ms", ""],
                "ms",
                Some(500.0),
            ),
            (
                "load_100x3_rss_kib_per_participant",
                ["server", "rss_kib_per_participant", ""],
                "KiB",
                None,
            ),
            (
                "load_100x3_tester_cpu_percent",
                ["tester", "cpu_percent", ""],
                "%",
                None,
            ),
            (
                "load_100x3_machine_percent",
                ["tester", "machine_percent", ""],
                "%",
                None,
            ),
        ],
    },
    Scenario {
        about: "300 connected muted participants",
        arguments: "--calls 150 --muted --ramp 20 --duration 30",
        figures: &[(
            "idle_300_cpu_percent",
            ["server", "cpu_percent", ""],
            "%",
            Some(2.0),
        )],
    },
    Scenario {
        about: "10 000 joins and leaves",
        arguments: "--calls 50 --muted --ramp 20 --churn 100 --duration 50",
        figures: &[
            (
                "churn_rss_growth_percent",
                ["server", "rss_growth_percent", ""],
                "%",
                Some(5.0),
            ),
            ("churn_joins", ["calls", "joined", ""], "", None),
        ],
    },
];

/// Runs each scenario with the release build and hands its figures, one JSON object each, to `print`.
pub(crate) fn figures(mut print: impl FnMut(&str) -> Done) -> Done {
    let server = target_dir().join("release").join("callkit-server");
    let result = target_dir().join("load.json");
    for scenario in SCENARIOS {
        eprintln!("{}", scenario.about);
        let measured = measure(&server, &result, scenario.arguments)?;
        for (name, place, unit, target) in scenario.figures {
            let value = place
                .iter()
                .filter(|key| !key.is_empty())
                .fold(&measured, |value, key| &value[*key])
                .as_f64()
                .ok_or_else(|| Failure::new(format!("{name}: the tester did not measure it")))?;
            let rounded = (value * 100.0).round() / 100.0;
            let ok = target.map(|target| rounded <= target);
            print(
                &json!({ "name": name, "value": rounded, "unit": unit, "target": target, "ok": ok })
                    .to_string(),
            )?;
        }
        // What to know before believing them.
        for warning in measured["warnings"].as_array().into_iter().flatten() {
            eprintln!("  {}", warning.as_str().unwrap_or_default());
        }
    }
    Ok(())
}

fn measure(server: &Path, result: &Path, arguments: &str) -> Done<Value> {
    let mut command = Command::new(server);
    // Refused calls are in the result; the run itself has not failed.
    command
        .args(["load", "--quiet", "--max-refused", "1000000", "--json"])
        .arg(result);
    eprint!("{}", read(command.args(arguments.split_whitespace()))?);
    let text = std::fs::read_to_string(result)
        .map_err(|error| Failure::new(format!("{}: {error}", result.display())))?;
    serde_json::from_str(&text).map_err(|error| Failure::new(format!("the tester's result: {error}")))
}
