//! Licences and sources of all dependencies, as deny.toml allows them. The same policy as cargo-deny would enforce,
//! checked over `cargo metadata` so that it needs nothing installed.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::steps::{Done, Failure, cargo, read, root};

/// The only registry that dependencies come from, as `cargo metadata` names it.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks every package of the lockfile.
pub(crate) fn check() -> Done {
    let allowed = allowed()?;
    let metadata = read(&mut cargo(&[
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--all-features",
    ]))?;
    let metadata: Value =
        serde_json::from_str(&metadata).map_err(|error| Failure::new(format!("cargo metadata: {error}")))?;
    let packages = metadata
        .get("packages")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut broken = Vec::new();
    for package in packages {
        let text = |key: &str| package.get(key).and_then(Value::as_str);
        let name = format!(
            "{} {}",
            text("name").unwrap_or("?"),
            text("version").unwrap_or("?")
        );
        match text("license") {
            Some(expression) if satisfied(expression, &allowed) => {}
            Some(expression) => broken.push(format!("{name}: licence {expression} is not allowed")),
            None => broken.push(format!("{name}: no licence")),
        }
        match text("source") {
            None | Some(CRATES_IO) => {}
            Some(source) => broken.push(format!("{name}: comes from {source}")),
        }
    }
    if broken.is_empty() {
        println!(
            "{} packages, all from crates.io or this repository, all licences allowed",
            packages.len()
        );
        return Ok(());
    }
    Err(Failure::new(broken.join("\n  ")))
}

/// The list `[licenses] allow` of deny.toml, one name per line.
fn allowed() -> Done<BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("deny.toml"))
        .map_err(|error| Failure::new(format!("deny.toml: {error}")))?;
    let names: BTreeSet<String> = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or("").trim())
        .skip_while(|line| *line != "[licenses]")
        .skip_while(|line| *line != "allow = [")
        .skip(1)
        .take_while(|line| *line != "]")
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().trim_matches('"').to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() {
        Err(Failure::new("deny.toml has no list `allow` under [licenses]"))
    } else {
        Ok(names)
    }
}

/// Whether an SPDX expression can be met with the allowed licences. `AND` binds tighter than `OR`; the old spelling
/// `MIT/Apache-2.0` means `OR`.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser {
        tokens: &tokens,
        allowed,
    };
    let met = parser.any();
    met && parser.tokens.is_empty()
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    allowed: &'a BTreeSet<String>,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.tokens.first() == Some(&word);
        if found {
            self.next();
        }
        found
    }

    fn any(&mut self) -> bool {
        let mut met = self.all();
        while self.take("OR") {
            // Not `||`: the other side has to be read in any case.
            met |= self.all();
        }
        met
    }

    fn all(&mut self) -> bool {
        let mut met = self.one();
        while self.take("AND") {
            met &= self.one();
        }
        met
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let met = self.any();
            return self.take(")") && met;
        }
        let Some(name) = self.next() else { return false };
        if self.take("WITH") {
            let Some(exception) = self.next() else {
                return false;
            };
            return self.allowed.contains(name) || self.allowed.contains(&format!("{name} WITH {exception}"));
        }
        self.allowed.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::{allowed, satisfied};

    #[test]
    fn one_allowed_side_of_or_is_enough_and_and_needs_both() {
        let list = ["MIT".to_owned(), "ISC".to_owned()].into();
        assert!(satisfied("MIT OR Apache-2.0", &list));
        assert!(satisfied("GPL-3.0/MIT", &list));
        assert!(satisfied("(GPL-3.0 OR MIT) AND ISC", &list));
        assert!(!satisfied("MIT AND GPL-3.0", &list));
        assert!(!satisfied("GPL-3.0", &list));
        assert!(!satisfied("", &list));
        assert!(!satisfied("MIT )", &list));
    }

    #[test]
    fn the_policy_file_is_read() {
        let list = allowed().expect("deny.toml is in the repository");
        assert!(list.contains("MIT") && list.contains("Apache-2.0"));
        assert!(!list.contains("GPL-3.0"));
    }
}
