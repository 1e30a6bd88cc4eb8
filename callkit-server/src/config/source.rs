//! Where settings come from: file < environment < flags, merged as TOML before they get types.

use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

use super::{Config, ConfigError};

/// Prefix of environment variables that are settings.
const ENV_PREFIX: &str = "CALLKIT_";
/// Between section and key: `CALLKIT_HTTP__PORT` is `http.port`. Variables without it are not settings.
const ENV_SEPARATOR: &str = "__";

/// One setting from outside the file.
#[derive(Debug, Clone)]
pub struct Override {
    origin: String,
    path: Vec<String>,
    candidates: Vec<Value>,
}

impl Override {
    /// Sets the dotted `path` to `text`, which may be any TOML value or a bare string; errors name `origin`
    /// (the flag or the variable).
    #[must_use]
    pub fn new(origin: impl Into<String>, path: &str, text: &str) -> Self {
        Self::at(origin.into(), path.split('.').map(str::to_owned).collect(), text)
    }

    /// Sets the dotted `path` to `text` or what it says as a number or truth value, but never to a list or
    /// section: for flags whose value is a path or an address.
    #[must_use]
    pub(crate) fn text(origin: &str, path: &str, text: String) -> Self {
        let plain = text.parse::<i64>().ok().map(Value::Integer);
        let path = path.split('.').map(str::to_owned).collect();
        let candidates = plain.into_iter().chain([Value::String(text)]).collect();
        Self {
            origin: origin.to_owned(),
            path,
            candidates,
        }
    }

    fn at(origin: String, path: Vec<String>, text: &str) -> Self {
        // `0.0.0.0` is not TOML, and `2024` may be meant as a name: the text itself is the second choice.
        let typed = format!("value = {text}")
            .parse::<Table>()
            .ok()
            .and_then(|mut table| table.remove("value"));
        let candidates = typed
            .into_iter()
            .chain([Value::String(text.to_owned())])
            .collect();
        Self {
            origin,
            path,
            candidates,
        }
    }
}

/// The settings among `variables` (name and value), in the order of their names.
pub fn from_environment(variables: impl IntoIterator<Item = (String, String)>) -> Vec<Override> {
    let mut found: Vec<_> = variables
        .into_iter()
        .filter_map(|(name, value)| {
            let key = name.strip_prefix(ENV_PREFIX)?;
            let (section, rest) = key.split_once(ENV_SEPARATOR)?;
            let path = [section]
                .into_iter()
                .chain(rest.split(ENV_SEPARATOR))
                .map(str::to_ascii_lowercase)
                .collect();
            Some(Override::at(name.clone(), path, &value))
        })
        .collect();
    found.sort_by(|a, b| a.origin.cmp(&b.origin));
    found
}

/// Reads `file`, lays `overrides` over it in their order and checks the whole.
///
/// # Errors
/// [`ConfigError`] naming the file and line, the variable, the flag or the key that is wrong.
pub fn load(file: Option<&Path>, overrides: &[Override]) -> Result<Config, ConfigError> {
    let Some(path) = file else {
        return parse("", Path::new(""), overrides);
    };
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&text, path, overrides)
}

/// As [`load`], for the text of a file; `path` is for messages.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, path: &Path, overrides: &[Override]) -> Result<Config, ConfigError> {
    let in_file = |error: toml::de::Error| ConfigError::File {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        message: one_line(error.message()),
    };
    let mut config: Config = toml::from_str(text).map_err(in_file)?;
    let mut table: Table = toml::from_str(text).map_err(in_file)?;
    for one in overrides {
        (table, config) = apply(&table, one)?;
    }
    config.validate()?;
    Ok(config)
}

fn apply(table: &Table, one: &Override) -> Result<(Table, Config), ConfigError> {
    let refused = |message: String| ConfigError::Override {
        origin: one.origin.clone(),
        message,
    };
    let mut first_error = None;
    for candidate in &one.candidates {
        let mut next = table.clone();
        set(&mut next, &one.path, candidate.clone()).map_err(refused)?;
        match Config::deserialize(next.clone()) {
            Ok(config) => return Ok((next, config)),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(refused(
        first_error.map_or_else(String::new, |error| one_line(error.message())),
    ))
}

fn set(table: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    match path {
        [] => Err("names no setting".to_owned()),
        [key] => {
            table.insert(key.clone(), value);
            Ok(())
        }
        [section, rest @ ..] => {
            match table
                .entry(section.clone())
                .or_insert_with(|| Value::Table(Table::new()))
            {
                Value::Table(inner) => set(inner, rest, value),
                _ => Err(format!("`{section}` is not a section")),
            }
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(offset)
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
