//! [`ConfigError`]: what is wrong with the configuration, in one line that names the place.

use std::path::PathBuf;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A line of the file is not TOML, or has a key or a value that is not known.
    #[error("{}:{line}: {message}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// An environment variable or a flag does not fit.
    #[error("{origin}: {message}")]
    Override {
        /// The variable or flag.
        origin: String,
        /// What is wrong with it.
        message: String,
    },
    /// A value does not fit the others.
    #[error("{key}: {message}")]
    Invalid {
        /// Dotted path of the setting.
        key: String,
        /// What is wrong.
        message: String,
    },
}

impl ConfigError {
    /// The error for `key`.
    pub(super) fn invalid(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid {
            key: key.into(),
            message: message.into(),
        }
    }
}
