//! Section `storage`: where data is kept.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where calls, chat, events and keys are kept.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Folder of the database and the signing key; created, readable by the server's user only, if it does
    /// not exist.
    pub path: PathBuf,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from("callkit-data"),
        }
    }
}

impl StorageConfig {
    /// The database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join("callkit.db")
    }

    /// The file of the key that signs tokens and cookies.
    #[must_use]
    pub fn signing_key(&self) -> PathBuf {
        self.path.join("signing.key")
    }
}
