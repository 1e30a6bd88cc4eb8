//! `cargo xtask test`: what CI runs, in the order that finds mistakes soonest.

use crate::install::{self, Tools};
use crate::steps::{Done, Failure, Steps, call, cargo};
use crate::{dependencies, fuzz, licences, source, web};

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything.
    Full,
    /// Without browsers.
    Fast,
}

/// Time of each fuzz target in a test run, seconds.
const FUZZ_SMOKE: u32 = 10;

/// One set of features for every build of the run: what one step compiled, the next one takes.
const WORKSPACE: [&str; 3] = ["--workspace", "--all-features", "--locked"];

/// Everything, in order; the first failure ends it.
pub(crate) fn run(extent: Extent) -> Done {
    let mut steps = Steps::begin();
    let tools: &[Tools] = match extent {
        Extent::Full => &[Tools::Fuzz, Tools::Turn, Tools::Web, Tools::Browsers],
        Extent::Fast => &[Tools::Fuzz, Tools::Turn, Tools::Web],
    };
    steps.step("tools", || install::ensure(tools))?;
    steps.step("format", || call(&mut cargo(&["fmt", "--all", "--check"])))?;
    steps.step("source", source::check)?;
    steps.step("dependency direction", dependencies::check)?;
    steps.step("licences and sources", licences::check)?;
    steps.step("web types", web::types)?;
    steps.step("web unit tests", web::units)?;
    steps.step("clippy", || {
        call(
            cargo(&["clippy"])
                .args(WORKSPACE)
                .args(["--all-targets", "--", "-D", "warnings"]),
        )
    })?;
    steps.step("tests", || {
        call(cargo(&["test", "--no-fail-fast"]).args(WORKSPACE).args([
            "--lib",
            "--bins",
            "--tests",
            "--examples",
        ]))
    })?;
    steps.step("doc tests", || {
        call(cargo(&["test"]).args(WORKSPACE).arg("--doc"))
    })?;
    steps.step("docs", || {
        call(
            cargo(&["doc", "--no-deps"])
                .args(WORKSPACE)
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    })?;
    steps.step("crates without default features", alone)?;
    steps.step("fuzz smoke", || fuzz::run(FUZZ_SMOKE, &[]))?;
    match extent {
        Extent::Full => {
            steps.step("server for the browsers", build_server)?;
            steps.step("browser tests", || web::browsers(&[]))?;
        }
        Extent::Fast => steps.leave_out("browser tests (--fast)"),
    }
    steps.print();
    println!("xtask: {} passed, 0 failed", steps.count());
    Ok(())
}

/// The crates that leave their drivers out by feature compile without them.
fn alone() -> Done {
    for package in ["callkit-core", "callkit-routing", "callkit-signal", "callkit-sfu"] {
        call(&mut cargo(&[
            "check",
            "--locked",
            "-p",
            package,
            "--no-default-features",
        ]))?;
    }
    Ok(())
}

/// The server, and the emulated link beside it. Cargo builds a program for the tests that run it. Asking for it in their way takes what the test step has
/// compiled; a plain build unifies other features and compiles most of the tree again.
fn build_server() -> Done {
    call(
        cargo(&["test", "--no-run"])
            .args(WORKSPACE)
            .args(["--test", "cli", "--test", "wire"]),
    )
}

/// Only the browser tests.
pub(crate) fn browser(names: &[&str]) -> Done {
    install::ensure(&[Tools::Web, Tools::Browsers])?;
    build_server()?;
    web::browsers(names)
}

/// Only the checks of the web code that need no browser.
pub(crate) fn web() -> Done {
    install::ensure(&[Tools::Web])?;
    web::types()?;
    web::units()
}

/// The checks that compile nothing.
pub(crate) fn checks(names: &[&str]) -> Done {
    for name in names {
        match *name {
            "dependencies" => dependencies::check()?,
            "licences" => licences::check()?,
            "source" => source::check()?,
            other => {
                return Err(Failure::new(format!(
                    "no check {other}: dependencies, licences or source"
                )));
            }
        }
    }
    Ok(())
}
