//! [`SqliteStore`]: the session store in one SQLite file.
//!
//! Records are JSON documents with the searched fields beside them in columns (migrations/). One connection
//! writes, so commits never wait for each other's locks; a few read. The folder is locked while a store is
//! open: two servers on one file would decide against each other.

mod error;
mod read;
mod write;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use callkit_core::call::CallRecord;
use callkit_core::chat::ChatMessage;
use callkit_core::event::EventEnvelope;
use callkit_core::id::CallId;
use callkit_core::quality::QualitySample;
use callkit_core::store::{Commit, HistoryFilter, OpenState, PageRequest, SessionStore, StoreError};
use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

pub use error::OpenError;

use crate::adapter::signing::create_folder;

/// Connections that read at the same time. Reads are history pages and chat, a few per second at most.
const READERS: u32 = 4;
/// How long a statement waits for a lock held outside this process (a backup) before the commit is retried.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps everything in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    path: PathBuf,
    _lock: File,
}

impl SqliteStore {
    /// Opens the database file `path`, makes it and its folder if they do not exist, and brings its schema up
    /// to date.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let lock = lock_folder(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL syncs the log on each commit: what was confirmed survives a power failure too. NORMAL would
            // survive kill -9 only.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let failed = |source| OpenError::Database {
            path: path.to_owned(),
            source,
        };
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await
            .map_err(failed)?;
        migrator()
            .run(&writer)
            .await
            .map_err(|source| OpenError::Schema {
                path: path.to_owned(),
                source: Box::new(source),
            })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.pragma("query_only", "on"))
            .await
            .map_err(failed)?;
        Ok(Self {
            writer,
            readers,
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finishes what is being written and folds the log into the file. A store that is dropped without it
    /// loses nothing that was confirmed.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn migrator() -> Migrator {
    let migrations = [
        ("calls", include_str!("../../../migrations/0001_calls.sql")),
        ("quality", include_str!("../../../migrations/0002_quality.sql")),
    ];
    let numbered = (1..).zip(migrations).map(|(number, (name, statements))| {
        let statements = statements.into_sql_str();
        Migration::new(
            number,
            Cow::Borrowed(name),
            MigrationType::Simple,
            statements,
            false,
        )
    });
    Migrator::with_migrations(numbered.collect())
}

/// Makes the folder of `path` and locks it. The kernel gives the lock back when the process ends, however
/// it ends.
fn lock_folder(path: &Path) -> Result<File, OpenError> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let io = |source| OpenError::Folder {
        path: folder.to_owned(),
        source,
    };
    create_folder(folder).map_err(io)?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        write::commit(&self.writer, commit).await
    }

    async fn load_open(&self) -> Result<OpenState, StoreError> {
        read::open_state(&self.readers).await
    }

    async fn call(&self, id: CallId) -> Result<Option<CallRecord>, StoreError> {
        read::call(&self.readers, id).await
    }

    async fn calls(&self, filter: &HistoryFilter, page: PageRequest) -> Result<Vec<CallRecord>, StoreError> {
        read::calls(&self.readers, filter, page).await
    }

    async fn chat(&self, call: CallId) -> Result<Vec<ChatMessage>, StoreError> {
        read::chat(&self.readers, call).await
    }

    async fn quality(&self, call: CallId) -> Result<Vec<QualitySample>, StoreError> {
        read::quality(&self.readers, call).await
    }

    async fn events(&self, after: u64, limit: u32) -> Result<Vec<(u64, EventEnvelope)>, StoreError> {
        read::events(&self.readers, after, limit).await
    }
}
