//! Writing a commit: one transaction, every record fenced by its version.

use std::collections::BTreeSet;

use callkit_core::agent::AgentRecord;
use callkit_core::call::{CallRecord, Party};
use callkit_core::chat::ChatMessage;
use callkit_core::event::EventEnvelope;
use callkit_core::quality::QualitySample;
use callkit_core::store::{Change, Commit, StoreError};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqlitePool;

use super::error::{encode, failed, integer};

pub(super) async fn commit(pool: &SqlitePool, commit: &Commit) -> Result<(), StoreError> {
    // IMMEDIATE takes the write lock at once; a transaction that begins by reading could fail to get it later.
    // Dropped before `commit`, it rolls back.
    let mut transaction = pool
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed("beginning a transaction"))?;
    for change in &commit.calls {
        write_call(&mut transaction, change).await?;
    }
    for change in &commit.agents {
        write_agent(&mut transaction, change).await?;
    }
    for message in &commit.chat {
        write_chat(&mut transaction, message).await?;
    }
    for event in &commit.events {
        write_event(&mut transaction, event).await?;
    }
    for sample in &commit.quality {
        write_quality(&mut transaction, sample).await?;
    }
    transaction.commit().await.map_err(failed("committing"))
}

async fn write_call(
    connection: &mut SqliteConnection,
    change: &Change<CallRecord>,
) -> Result<(), StoreError> {
    let call = &change.next;
    let statement = if change.expect == 0 {
        "INSERT INTO calls (version, enqueued_at, ended, record, id, created_at, customer)
         VALUES (?1, ?2, ?3, ?4, ?5, ?7, ?8)
         ON CONFLICT (id) DO NOTHING"
    } else {
        "UPDATE calls SET version = ?1, enqueued_at = ?2, ended = ?3, record = ?4
         WHERE id = ?5 AND version = ?6 AND created_at = ?7 AND customer = ?8"
    };
    let id = call.id.to_string();
    let created_at = integer(call.created_at.as_millis())?;
    let written = sqlx::query(statement)
        .bind(integer(call.version)?)
        .bind(integer(call.enqueued_at.as_millis())?)
        .bind(call.is_ended())
        .bind(encode(call)?)
        .bind(&id)
        .bind(integer(change.expect)?)
        .bind(created_at)
        .bind(call.customer.id.to_string())
        .execute(&mut *connection)
        .await
        .map_err(failed("writing a call"))?;
    if written.rows_affected() != 1 {
        return Err(StoreError::Conflict);
    }
    let agents: BTreeSet<_> = call
        .participants
        .iter()
        .filter_map(|one| match &one.party {
            Party::Agent(agent) => Some(agent),
            Party::Customer => None,
        })
        .collect();
    for agent in agents {
        sqlx::query(
            "INSERT INTO call_agents (agent, created_at, call) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )
        .bind(agent.as_str())
        .bind(created_at)
        .bind(&id)
        .execute(&mut *connection)
        .await
        .map_err(failed("writing a participant"))?;
    }
    Ok(())
}

async fn write_agent(
    connection: &mut SqliteConnection,
    change: &Change<AgentRecord>,
) -> Result<(), StoreError> {
    let statement = if change.expect == 0 {
        "INSERT INTO agents (version, record, id) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING"
    } else {
        "UPDATE agents SET version = ?1, record = ?2 WHERE id = ?3 AND version = ?4"
    };
    let written = sqlx::query(statement)
        .bind(integer(change.next.version)?)
        .bind(encode(&change.next)?)
        .bind(change.next.id.as_str())
        .bind(integer(change.expect)?)
        .execute(connection)
        .await
        .map_err(failed("writing an agent"))?;
    if written.rows_affected() == 1 {
        Ok(())
    } else {
        Err(StoreError::Conflict)
    }
}

async fn write_chat(connection: &mut SqliteConnection, message: &ChatMessage) -> Result<(), StoreError> {
    let author = match &message.from {
        Party::Customer => "customer".to_owned(),
        Party::Agent(agent) => format!("agent:{agent}"),
    };
    sqlx::query(
        "INSERT INTO chat (call, seq, id, author, client_id, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .bind(message.call.to_string())
    .bind(integer(message.seq)?)
    .bind(message.id.to_string())
    .bind(author)
    .bind(&message.client_id)
    .bind(encode(message)?)
    .execute(connection)
    .await
    .map_err(failed("writing a chat message"))?;
    Ok(())
}

async fn write_event(connection: &mut SqliteConnection, event: &EventEnvelope) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO events (at, record) VALUES (?1, ?2)")
        .bind(integer(event.at.as_millis())?)
        .bind(encode(event)?)
        .execute(connection)
        .await
        .map_err(failed("writing an event"))?;
    Ok(())
}

async fn write_quality(connection: &mut SqliteConnection, sample: &QualitySample) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO quality (call, at, record) VALUES (?1, ?2, ?3)")
        .bind(sample.call.to_string())
        .bind(integer(sample.at.as_millis())?)
        .bind(encode(sample)?)
        .execute(connection)
        .await
        .map_err(failed("writing quality"))?;
    Ok(())
}
