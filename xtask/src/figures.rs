//! `cargo xtask figures`: measures in this run what docs/performance.md promises, one JSON object per line on standard output:
//! `{"name","value","unit","target","ok"}`. Names are stable, figures are never stored.

use serde_json::Value;

use crate::install::{self, Tools};
use crate::steps::{Done, Failure, call, cargo, program, read, root};
use crate::{load, web};

/// Builds in release mode and runs each measurement. A figure that misses its target does not fail the run: this
/// reports; a measurement that cannot be made does.
pub(crate) fn run() -> Done {
    install::ensure(&[Tools::Web, Tools::Browsers])?;
    call(&mut cargo(&[
        "build",
        "--quiet",
        "--release",
        "--locked",
        "-p",
        "callkit-benches",
        "--bin",
        "figures",
    ]))?;
    call(&mut cargo(&[
        "build",
        "--quiet",
        "--release",
        "--locked",
        "-p",
        "callkit-server",
    ]))?;
    let benches = crate::steps::target_dir().join("release").join("figures");
    print(&read(&mut std::process::Command::new(benches))?)?;
    load::figures(print)?;
    let folder = root().join("tests/e2e");
    print(&read(
        program("node", &["figures.mjs"], &folder).env("CALLKIT_BIN", web::server("release")),
    )?)
}

/// Passes figures on after a look at their shape.
fn print(lines: &str) -> Done {
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let figure: Value = serde_json::from_str(line)
            .map_err(|error| Failure::new(format!("not a figure ({error}): {line}")))?;
        if let Some(missing) = ["name", "value", "unit", "target", "ok"]
            .iter()
            .find(|key| figure.get(key).is_none())
        {
            return Err(Failure::new(format!("a figure without {missing}: {line}")));
        }
        println!("{figure}");
    }
    Ok(())
}
