//! Values that do not print: [`Private`] for personal data, [`Secret`] for what grants access.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Personal data. `Debug` and `Display` show only that something is there; [`expose`](Self::expose) is
/// the one way to the value, so that each use can be found by its name.
///
/// It serialises as the value itself: the store keeps it, and views made for a role carry it to those who
/// may see it. It never goes into an error, a log line, a metric label or a URL.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Private<T>(T);

impl<T> Private<T> {
    /// Marks `value` as personal.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for a place that is allowed to have it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[private]")
    }
}

impl<T> fmt::Display for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[private]")
    }
}

/// A password, token or key: does not print, does not serialise, compares in constant time.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Marks `value` as secret.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the place that has to check or send it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: AsRef<[u8]>> Secret<T> {
    /// Whether `other` is the same, in time that depends on the lengths only.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        let own = self.0.as_ref();
        own.len() == other.len() && own.iter().zip(other).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_kind_prints_its_value() {
        let name = Private::new("Anna Ivanova");
        let key = Secret::new("hunter2");
        let printed = format!("{name} {name:?} {key:?}");
        assert!(
            !printed.contains("Anna") && !printed.contains("hunter2"),
            "{printed}"
        );
    }

    #[test]
    fn secrets_compare_by_value() {
        let key = Secret::new("hunter2");
        assert!(key.matches(b"hunter2"));
        assert!(!key.matches(b"hunter3") && !key.matches(b"hunter") && !key.matches(b""));
    }
}
