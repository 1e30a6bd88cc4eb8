//! [`OpenError`], and what a failure of SQLite means to the caller of the store.

use std::path::PathBuf;

use callkit_core::BoxError;
use callkit_core::store::StoreError;

/// The database cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder cannot be made or written.
    #[error("cannot use the data folder {}", path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Another server has it open.
    #[error("the data folder {} is in use by another server", path.display())]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
    /// SQLite cannot open it.
    #[error("cannot open the database {}", path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// Its schema is not ours, or was written by a newer version of this server.
    #[error("cannot bring the database {} up to date", path.display())]
    Schema {
        /// Which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<sqlx::migrate::MigrateError>,
    },
}

/// A stored document that cannot be read. Says where, never what: documents hold personal data.
#[derive(Debug, thiserror::Error)]
#[error("a document in {table} is not readable at line {line}, column {column}")]
struct Unreadable {
    table: &'static str,
    line: usize,
    column: usize,
}

/// A number that SQLite's signed 64 bits cannot hold.
#[derive(Debug, thiserror::Error)]
#[error("a number is out of range")]
pub(super) struct OutOfRange;

// Primary result codes, https://sqlite.org/rescode.html
const SQLITE_BUSY: i64 = 5;
const SQLITE_LOCKED: i64 = 6;
const SQLITE_FULL: i64 = 13;

/// A failure of a statement while `during`.
pub(super) fn failed(during: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| {
        if error
            .as_database_error()
            .is_some_and(|database| database.is_unique_violation())
        {
            return StoreError::Conflict;
        }
        if is_temporary(&error) {
            return StoreError::Unavailable {
                retry_after: None,
                source: error.into(),
            };
        }
        StoreError::Backend {
            during,
            source: error.into(),
        }
    }
}

fn is_temporary(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut => true,
        // An extended code carries the primary one in its low byte.
        sqlx::Error::Database(database) => database
            .code()
            .and_then(|code| code.parse::<i64>().ok())
            .is_some_and(|code| matches!(code & 0xff, SQLITE_BUSY | SQLITE_LOCKED | SQLITE_FULL)),
        _ => false,
    }
}

/// The failure of anything else while `during`.
pub(super) fn broken(during: &'static str, source: impl Into<BoxError>) -> StoreError {
    StoreError::Backend {
        during,
        source: source.into(),
    }
}

/// The document `text` of `table`.
pub(super) fn decode<T: serde::de::DeserializeOwned>(
    table: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| {
        broken(
            "reading a document",
            Unreadable {
                table,
                line: error.line(),
                column: error.column(),
            },
        )
    })
}

/// `record` as a document.
pub(super) fn encode<T: serde::Serialize>(record: &T) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|error| broken("writing a document", error))
}

/// `number` as SQLite keeps it.
pub(super) fn integer(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| broken("writing a number", OutOfRange))
}
