//! Session stores.

use std::sync::Arc;

use callkit_core::memory::MemorySessionStore;
use callkit_core::store::SessionStore;
use callkit_server::adapter::store_sqlite::SqliteStore;
use tempfile::TempDir;

use crate::block_on;

async fn sqlite_in(folder: &TempDir) -> Arc<dyn SessionStore> {
    Arc::new(
        SqliteStore::open(&folder.path().join("callkit.db"))
            .await
            .unwrap(),
    )
}

mod sqlite {
    use super::*;

    callkit_core::session_store_conformance!(
        block_on = block_on,
        open = async || {
            let folder = tempfile::tempdir().unwrap();
            (sqlite_in(&folder).await, folder)
        },
        reopen = async |(store, folder): (Arc<dyn SessionStore>, TempDir)| {
            // Not closed: what is confirmed must not depend on it.
            drop(store);
            (sqlite_in(&folder).await, folder)
        }
    );
}

mod memory {
    use super::*;

    callkit_core::session_store_conformance!(|| async {
        Arc::new(MemorySessionStore::default()) as Arc<dyn SessionStore>
    });
}
