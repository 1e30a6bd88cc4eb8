//! Developer commands: `cargo xtask <command>`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks on the terminal"
)]

use std::process::ExitCode;

mod dependencies;
mod figures;
mod fuzz;
mod install;
mod licences;
mod load;
mod source;
mod steps;
mod tests;
mod web;

const USAGE: &str = "\
usage: cargo xtask <command>

  test [--fast]                    everything that CI checks; --fast leaves out the browser tests
  browser [NAME..]                 only the browser tests, or those of tests/e2e/NAME.test.mjs
  web                              only the type check and the unit tests of the web code
  fuzz [--seconds N] [TARGET..]    runs the fuzz targets, each N seconds (60)
  check [dependencies|licences|source]
                                   the checks that need no compilation
  figures                          measures what docs/performance.md promises; one JSON object per line
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["test"] => tests::run(tests::Extent::Full),
        ["test", "--fast"] => tests::run(tests::Extent::Fast),
        ["browser", names @ ..] => tests::browser(names),
        ["web"] => tests::web(),
        ["fuzz", rest @ ..] => fuzz::command(rest),
        ["check"] => tests::checks(&["dependencies", "licences", "source"]),
        ["check", what @ ..] => tests::checks(what),
        ["figures"] => figures::run(),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
