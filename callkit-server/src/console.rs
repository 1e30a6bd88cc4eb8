//! What the program says to the person who runs it: the only place that prints.

use std::error::Error;
use std::fmt;

/// An error with its causes, in one line.
#[derive(Debug)]
pub(crate) struct Chain<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        write!(f, "{said}")?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Foreign errors often repeat their cause in their own text.
            if !said.contains(&text) {
                write!(f, ": {text}")?;
            }
            said = text;
            cause = error.source();
        }
        Ok(())
    }
}

/// A line on stdout.
#[expect(clippy::print_stdout, reason = "the one place for it")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// A line on stderr beside the result: how far something is.
#[expect(clippy::print_stderr, reason = "the one place for it")]
pub(crate) fn say_aside(line: &str) {
    eprintln!("{line}");
}

/// Why the program ends, as one line on stderr.
#[expect(clippy::print_stderr, reason = "the one place for it")]
pub(crate) fn complain(error: &dyn Error) {
    let line = Chain(error)
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    eprintln!("callkit-server: {line}");
}
