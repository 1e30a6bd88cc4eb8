//! Builds and runs the fuzz targets of tests/fuzz on the stable toolchain.

use std::path::PathBuf;
use std::process::Command;

use crate::install::{self, Tools};
use crate::steps::{Done, Failure, call, cargo, read, root};

/// What rustc's unstable sanitizer switch would set, as LLVM options: edge coverage by 8-bit counters and traced
/// comparisons, which is what libFuzzer reads.
const COVERAGE: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing";
/// Time per target when nothing else is said, seconds.
const DEFAULT_SECONDS: u32 = 60;
/// Longest input, bytes: a little more than the longest frame, so that the limit itself is met.
const MAX_LEN: &str = "-max_len=70000";
/// Memory of a target, MiB; an input that makes a parser take more is a finding.
const MEMORY: &str = "-rss_limit_mb=1024";
/// Longest run of a single input, seconds.
const INPUT_TIMEOUT: &str = "-timeout=5";

/// `cargo xtask fuzz [--seconds N] [TARGET..]`.
pub(crate) fn command(args: &[&str]) -> Done {
    let (seconds, targets) = match args {
        ["--seconds", n, rest @ ..] => {
            let seconds = n
                .parse()
                .map_err(|_| Failure::new(format!("--seconds {n}: not a number of seconds")))?;
            (seconds, rest)
        }
        rest => (DEFAULT_SECONDS, rest),
    };
    install::ensure(&[Tools::Fuzz])?;
    run(seconds, targets)
}

/// Builds all targets and runs the named ones, or all.
pub(crate) fn run(seconds: u32, only: &[&str]) -> Done {
    let known = targets()?;
    if let Some(wrong) = only.iter().find(|name| !known.iter().any(|k| k == *name)) {
        return Err(Failure::new(format!(
            "no fuzz target {wrong}; there are: {}",
            known.join(", ")
        )));
    }
    let host = host()?;
    // With --target the flags do not reach build scripts and macros.
    let mut built = vec!["build", "--release", "--target", host.as_str()];
    // The lockfile of its own follows the crates' dependencies; where nobody commits, it has to be right already.
    if std::env::var_os("CI").is_some() {
        built.push("--locked");
    }
    let folder = root().join("tests/fuzz");
    call(
        cargo(&built)
            .current_dir(&folder)
            .env("RUSTFLAGS", COVERAGE)
            .env("CARGO_TARGET_DIR", folder.join("target")),
    )?;
    for name in known
        .iter()
        .filter(|name| only.is_empty() || only.contains(&name.as_str()))
    {
        one(name, &host, seconds)?;
    }
    Ok(())
}

fn one(name: &str, host: &str, seconds: u32) -> Done {
    let folder = root().join("tests/fuzz");
    let made = |kind: &str| -> Done<PathBuf> {
        let path = folder.join(kind).join(name);
        std::fs::create_dir_all(&path)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        Ok(path)
    };
    let (corpus, artifacts) = (made("corpus")?, made("artifacts")?);
    println!("-- fuzz {name} for {seconds} s");
    let mut fuzzer = Command::new(folder.join("target").join(host).join("release").join(name));
    fuzzer
        .current_dir(&folder)
        .args([
            MAX_LEN,
            MEMORY,
            INPUT_TIMEOUT,
            "-print_final_stats=1",
            "-verbosity=0",
        ])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        // New inputs go into the first folder; the committed seeds are only read.
        .arg(corpus)
        .arg(folder.join("seeds").join(name));
    call(&mut fuzzer).map_err(|_| {
        Failure::new(format!(
            "{name}: the input is in tests/fuzz/artifacts/{name}; run the target with that file to repeat it"
        ))
    })
}

/// The targets are the files of tests/fuzz/targets; each has committed seeds.
fn targets() -> Done<Vec<String>> {
    let folder = root().join("tests/fuzz/targets");
    let entries =
        std::fs::read_dir(&folder).map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let is_rust = path.extension().is_some_and(|e| e == "rs");
            is_rust
                .then(|| path.file_stem()?.to_str().map(str::to_owned))
                .flatten()
        })
        .collect();
    names.sort();
    for name in &names {
        let seeds = root().join("tests/fuzz/seeds").join(name);
        if std::fs::read_dir(&seeds).map_or(0, Iterator::count) == 0 {
            return Err(Failure::new(format!("tests/fuzz/seeds/{name} has no seeds")));
        }
    }
    Ok(names)
}

fn host() -> Done<String> {
    let text = read(Command::new("rustc").arg("-vV").current_dir(root()))?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| Failure::new("rustc -vV names no host"))
}
