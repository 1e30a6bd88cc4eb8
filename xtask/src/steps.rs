//! Runs commands as named steps with their wall times. The first failure ends the run.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Why a command of xtask failed, as one line for a person.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) type Done<T = ()> = Result<T, Failure>;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// The folder that cargo builds into.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The cargo that runs xtask.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    // Set by the outer cargo for xtask itself; an inner build must not be rebuilt because of them.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Any other program, run in `dir`.
pub(crate) fn program(name: &str, args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(name);
    command.args(args).current_dir(dir);
    command
}

/// Runs a command; its output goes to the terminal.
pub(crate) fn call(command: &mut Command) -> Done {
    let shown = show(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| not_started(&shown, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("`{shown}` failed: {status}")))
    }
}

/// Runs a command and gives what it printed; its complaints go to the terminal.
pub(crate) fn read(command: &mut Command) -> Done<String> {
    let shown = show(command);
    let Output { status, stdout, .. } = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| not_started(&shown, &error))?;
    if !status.success() {
        return Err(Failure::new(format!("`{shown}` failed: {status}")));
    }
    String::from_utf8(stdout)
        .map_err(|_| Failure::new(format!("`{shown}` printed something that is not UTF-8")))
}

fn not_started(shown: &str, error: &io::Error) -> Failure {
    Failure::new(format!("`{shown}` could not be started: {error}"))
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
    let text = format!("{program} {}", args.join(" "));
    if text.chars().count() > 160 {
        text.chars().take(157).chain("...".chars()).collect()
    } else {
        text
    }
}

/// The steps of one run and how long each took.
#[derive(Debug)]
pub(crate) struct Steps {
    began: Instant,
    done: Vec<(String, Duration)>,
    left_out: Vec<String>,
}

impl Steps {
    #[expect(
        clippy::disallowed_methods,
        reason = "wall time of the steps is what is reported"
    )]
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
            done: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Runs one step. Its failure names it.
    #[expect(
        clippy::disallowed_methods,
        reason = "wall time of the steps is what is reported"
    )]
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> Done) -> Done {
        println!("\n== {name}");
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        match result {
            Ok(()) => {
                println!("== {name}: ok, {:.1} s", took.as_secs_f64());
                self.done.push((name.to_owned(), took));
                Ok(())
            }
            Err(failure) => {
                self.done.push((format!("{name} (failed)"), took));
                self.print();
                Err(Failure::new(format!("{name}: {failure}")))
            }
        }
    }

    /// Says that something was not run, and why.
    pub(crate) fn leave_out(&mut self, what: &str) {
        self.left_out.push(what.to_owned());
    }

    /// Prints the summary.
    pub(crate) fn print(&self) {
        println!("\n== summary");
        for (name, took) in &self.done {
            println!("{:>8.1} s  {name}", took.as_secs_f64());
        }
        println!("{:>8.1} s  in all", self.began.elapsed().as_secs_f64());
        for what in &self.left_out {
            println!("NOT RUN: {what}");
        }
    }

    /// How many steps were run.
    pub(crate) fn count(&self) -> usize {
        self.done.len()
    }
}
