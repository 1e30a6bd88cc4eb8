//! The conformance suite on a real file, and what only a file can get wrong.

use std::path::Path;

use callkit_core::call::Party;
use callkit_core::store::{Change, Commit, SessionStore as _, StoreError};
use callkit_core::testing::samples;
use tempfile::TempDir;

use super::{OpenError, SqliteStore};

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

async fn open_in(folder: &Path) -> SqliteStore {
    SqliteStore::open(&folder.join("callkit.db")).await.unwrap()
}

async fn temporary() -> (SqliteStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (open_in(folder.path()).await, folder)
}

/// What is on disk at this moment, in another folder: what a kill -9 would leave behind.
fn as_killed(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["callkit.db", "callkit.db-wal"] {
        std::fs::copy(folder.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

mod after_a_kill {
    use super::*;

    callkit_core::session_store_conformance!(
        block_on = block_on,
        open = temporary,
        reopen = async |(_store, folder): (SqliteStore, TempDir)| {
            let folder = as_killed(folder.path());
            (open_in(folder.path()).await, folder)
        }
    );
}

mod dropped_without_closing {
    use super::*;

    callkit_core::session_store_conformance!(
        block_on = block_on,
        open = temporary,
        reopen = async |(store, folder): (SqliteStore, TempDir)| {
            drop(store);
            (open_in(folder.path()).await, folder)
        }
    );
}

fn one_call() -> Commit {
    Commit {
        calls: vec![Change {
            expect: 0,
            next: samples::call(1),
        }],
        ..Commit::default()
    }
}

#[test]
fn two_servers_do_not_share_a_data_folder() {
    block_on(async {
        let (store, folder) = temporary().await;
        let second = SqliteStore::open(&folder.path().join("callkit.db")).await;
        assert!(matches!(second, Err(OpenError::InUse { .. })));
        drop(store);
        open_in(folder.path()).await;
    });
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("callkit.db"),
            "not a database, but long enough to look at",
        )
        .unwrap();
        let opened = SqliteStore::open(&folder.path().join("callkit.db")).await;
        assert!(
            matches!(opened, Err(OpenError::Database { .. } | OpenError::Schema { .. })),
            "{opened:?}"
        );
    });
}

#[test]
fn a_database_of_a_newer_server_is_refused() {
    block_on(async {
        let (store, folder) = temporary().await;
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                     VALUES (999, 'later', TRUE, x'00', 0)";
        sqlx::query(newer).execute(&store.writer).await.unwrap();
        store.close().await;
        drop(store);
        let opened = SqliteStore::open(&folder.path().join("callkit.db")).await;
        assert!(matches!(opened, Err(OpenError::Schema { .. })), "{opened:?}");
    });
}

#[test]
fn a_damaged_document_is_reported_without_its_contents() {
    block_on(async {
        let (store, _folder) = temporary().await;
        store.commit(&one_call()).await.unwrap();
        let damage = "UPDATE calls SET record = '{\"id\": \"Anna Ivanova\"}'";
        sqlx::query(damage).execute(&store.writer).await.unwrap();
        let error = store.load_open().await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(matches!(error, StoreError::Backend { .. }));
        assert!(!shown.contains("Anna"), "{shown}");
    });
}

#[test]
fn a_lock_held_from_outside_is_unavailable_not_broken() {
    block_on(async {
        let (store, folder) = temporary().await;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("callkit.db"));
        let other = sqlx::sqlite::SqlitePool::connect_with(options).await.unwrap();
        sqlx::query("PRAGMA busy_timeout = 1")
            .execute(&store.writer)
            .await
            .unwrap();
        let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let error = store.commit(&one_call()).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        drop(held);
        other.close().await;
        store.commit(&one_call()).await.unwrap();
    });
}

#[test]
fn the_searches_of_the_running_server_use_their_indexes() {
    block_on(async {
        let (store, _folder) = temporary().await;
        for (query, index) in [
            (
                "SELECT record FROM calls WHERE ended = 0 ORDER BY enqueued_at, id",
                "calls_open",
            ),
            ("SELECT MAX(at) FROM events", "events_at"),
            (
                "SELECT record FROM calls WHERE 1 ORDER BY created_at DESC, id DESC LIMIT 50",
                "calls_newest",
            ),
        ] {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(explain).fetch_all(&store.writer).await.unwrap();
            let text: String = plan.into_iter().map(|step| step.3).collect();
            assert!(
                text.contains(index) && !text.contains("TEMP B-TREE"),
                "{query}: {text}"
            );
        }
    });
}

#[test]
fn chat_of_each_side_is_kept_apart() {
    block_on(async {
        let (store, _folder) = temporary().await;
        let call = samples::call(1);
        // An agent may be called "customer".
        let agent = Party::Agent(samples::agent_id("customer"));
        let mut second = samples::chat(call.id, agent, 2);
        second.client_id = samples::chat(call.id, Party::Customer, 1).client_id;
        let chat = vec![samples::chat(call.id, Party::Customer, 1), second];
        store.commit(&Commit { chat, ..one_call() }).await.unwrap();
        assert_eq!(store.chat(call.id).await.unwrap().len(), 2);
    });
}
