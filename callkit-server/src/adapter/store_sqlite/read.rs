//! Reading records back.

use callkit_core::call::CallRecord;
use callkit_core::chat::ChatMessage;
use callkit_core::event::EventEnvelope;
use callkit_core::id::CallId;
use callkit_core::quality::QualitySample;
use callkit_core::store::{HistoryFilter, MAX_PAGE, OpenState, PageRequest, StoreError};
use callkit_core::time::Timestamp;
use sqlx::sqlite::{Sqlite, SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row as _};

use super::error::{OutOfRange, broken, decode, failed, integer};

/// Most events that one read gives, whatever was asked for.
const MAX_EVENTS: u32 = 10_000;

/// The document in the first column of `row`.
fn document<T: serde::de::DeserializeOwned>(table: &'static str, row: &SqliteRow) -> Result<T, StoreError> {
    let text: &str = row.try_get(0).map_err(failed("reading a row"))?;
    decode(table, text)
}

fn documents<T: serde::de::DeserializeOwned>(
    table: &'static str,
    rows: &[SqliteRow],
) -> Result<Vec<T>, StoreError> {
    rows.iter().map(|row| document(table, row)).collect()
}

pub(super) async fn open_state(pool: &SqlitePool) -> Result<OpenState, StoreError> {
    // One transaction: calls and agents of the same moment.
    let mut transaction = pool.begin().await.map_err(failed("beginning to read"))?;
    let calls = sqlx::query("SELECT record FROM calls WHERE ended = 0 ORDER BY enqueued_at, id")
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed("reading open calls"))?;
    let agents = sqlx::query("SELECT record FROM agents ORDER BY id")
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed("reading agents"))?;
    let latest: Option<i64> = sqlx::query_scalar("SELECT MAX(at) FROM events")
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed("reading the latest time"))?;
    Ok(OpenState {
        calls: documents("calls", &calls)?,
        agents: documents("agents", &agents)?,
        latest: Timestamp::from_millis(
            latest
                .and_then(|millis| u64::try_from(millis).ok())
                .unwrap_or_default(),
        ),
    })
}

pub(super) async fn call(pool: &SqlitePool, id: CallId) -> Result<Option<CallRecord>, StoreError> {
    let row = sqlx::query("SELECT record FROM calls WHERE id = ?1")
        .bind(id.to_string())
        .fetch_optional(pool)
        .await
        .map_err(failed("reading a call"))?;
    row.map(|row| document("calls", &row)).transpose()
}

pub(super) async fn calls(
    pool: &SqlitePool,
    filter: &HistoryFilter,
    page: PageRequest,
) -> Result<Vec<CallRecord>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT calls.record FROM calls WHERE 1");
    if let Some(agent) = &filter.agent {
        query.push(" AND EXISTS (SELECT 1 FROM call_agents AS taken WHERE taken.agent = ");
        query.push_bind(agent.as_str().to_owned());
        query.push(" AND taken.created_at = calls.created_at AND taken.call = calls.id)");
    }
    if let Some(customer) = filter.customer {
        query
            .push(" AND calls.customer = ")
            .push_bind(customer.to_string());
    }
    if let Some(ended) = filter.ended {
        query.push(" AND calls.ended = ").push_bind(ended);
    }
    if let Some(before) = page.before {
        // An unknown call compares with NULL: an empty page. Ids in text form order as their numbers do.
        query.push(" AND (calls.created_at, calls.id) < (SELECT created_at, id FROM calls WHERE id = ");
        query.push_bind(before.to_string()).push(")");
    }
    query
        .push(" ORDER BY calls.created_at DESC, calls.id DESC LIMIT ")
        .push_bind(i64::from(page.limit.min(MAX_PAGE)));
    let rows = query
        .build()
        .fetch_all(pool)
        .await
        .map_err(failed("reading calls"))?;
    documents("calls", &rows)
}

pub(super) async fn chat(pool: &SqlitePool, call: CallId) -> Result<Vec<ChatMessage>, StoreError> {
    let rows = sqlx::query("SELECT record FROM chat WHERE call = ?1 ORDER BY seq")
        .bind(call.to_string())
        .fetch_all(pool)
        .await
        .map_err(failed("reading chat"))?;
    documents("chat", &rows)
}

pub(super) async fn quality(pool: &SqlitePool, call: CallId) -> Result<Vec<QualitySample>, StoreError> {
    let rows = sqlx::query("SELECT record FROM quality WHERE call = ?1 ORDER BY at, rowid")
        .bind(call.to_string())
        .fetch_all(pool)
        .await
        .map_err(failed("reading quality"))?;
    documents("quality", &rows)
}

pub(super) async fn events(
    pool: &SqlitePool,
    after: u64,
    limit: u32,
) -> Result<Vec<(u64, EventEnvelope)>, StoreError> {
    let Ok(after) = integer(after) else {
        return Ok(Vec::new());
    };
    let rows =
        sqlx::query("SELECT record, position FROM events WHERE position > ?1 ORDER BY position LIMIT ?2")
            .bind(after)
            .bind(i64::from(limit.min(MAX_EVENTS)))
            .fetch_all(pool)
            .await
            .map_err(failed("reading events"))?;
    rows.iter()
        .map(|row| {
            let position: i64 = row.try_get(1).map_err(failed("reading a row"))?;
            let position = u64::try_from(position).map_err(|_| broken("reading a position", OutOfRange))?;
            Ok((position, document("events", row)?))
        })
        .collect()
}
