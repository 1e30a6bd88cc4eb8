//! [`MemorySessionStore`]: the reference behaviour of [`SessionStore`].

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::agent::AgentRecord;
use crate::call::CallRecord;
use crate::chat::ChatMessage;
use crate::event::EventEnvelope;
use crate::id::{AgentId, CallId};
use crate::quality::QualitySample;
use crate::store::{Commit, HistoryFilter, MAX_PAGE, OpenState, PageRequest, SessionStore, StoreError};

/// Keeps everything in memory; lost with the process.
#[derive(Debug, Default)]
pub struct MemorySessionStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    calls: BTreeMap<CallId, CallRecord>,
    agents: BTreeMap<AgentId, AgentRecord>,
    chat: BTreeMap<CallId, Vec<ChatMessage>>,
    events: Vec<EventEnvelope>,
    quality: BTreeMap<CallId, Vec<QualitySample>>,
}

impl MemorySessionStore {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each write happens after all checks, so a panic elsewhere leaves the data whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn check(&self, commit: &Commit) -> Result<(), StoreError> {
        let calls = commit
            .calls
            .iter()
            .all(|change| self.calls.get(&change.next.id).map_or(0, |known| known.version) == change.expect);
        let agents = commit
            .agents
            .iter()
            .all(|change| self.agents.get(&change.next.id).map_or(0, |known| known.version) == change.expect);
        let chat = commit.chat.iter().enumerate().all(|(at, message)| {
            let known = self.chat.get(&message.call).into_iter().flatten();
            !known.chain(&commit.chat[..at]).any(|other| {
                other.id == message.id
                    || (other.call == message.call
                        && (other.seq == message.seq
                            || (other.from == message.from && other.client_id == message.client_id)))
            })
        });
        if calls && agents && chat {
            Ok(())
        } else {
            Err(StoreError::Conflict)
        }
    }
}

fn matches(call: &CallRecord, filter: &HistoryFilter) -> bool {
    let agent = filter.agent.as_ref().is_none_or(|agent| {
        call.participants
            .iter()
            .any(|one| matches!(&one.party, crate::call::Party::Agent(id) if id == agent))
    });
    let customer = filter
        .customer
        .is_none_or(|customer| call.customer.id == customer);
    agent && customer && filter.ended.is_none_or(|ended| call.is_ended() == ended)
}

#[async_trait]
impl SessionStore for MemorySessionStore {
    async fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.check(commit)?;
        for change in &commit.calls {
            inner.calls.insert(change.next.id, change.next.clone());
        }
        for change in &commit.agents {
            inner.agents.insert(change.next.id.clone(), change.next.clone());
        }
        for message in &commit.chat {
            inner.chat.entry(message.call).or_default().push(message.clone());
        }
        inner.events.extend_from_slice(&commit.events);
        for sample in &commit.quality {
            inner.quality.entry(sample.call).or_default().push(sample.clone());
        }
        Ok(())
    }

    async fn load_open(&self) -> Result<OpenState, StoreError> {
        let inner = self.lock();
        let mut calls: Vec<_> = inner
            .calls
            .values()
            .filter(|call| !call.is_ended())
            .cloned()
            .collect();
        calls.sort_by_key(|call| (call.enqueued_at, call.id));
        Ok(OpenState {
            calls,
            agents: inner.agents.values().cloned().collect(),
            latest: inner
                .events
                .iter()
                .map(|event| event.at)
                .max()
                .unwrap_or_default(),
        })
    }

    async fn call(&self, id: CallId) -> Result<Option<CallRecord>, StoreError> {
        Ok(self.lock().calls.get(&id).cloned())
    }

    async fn calls(&self, filter: &HistoryFilter, page: PageRequest) -> Result<Vec<CallRecord>, StoreError> {
        let inner = self.lock();
        let mut calls: Vec<_> = inner
            .calls
            .values()
            .filter(|call| matches(call, filter))
            .collect();
        calls.sort_by_key(|call| std::cmp::Reverse((call.created_at, call.id)));
        let start = match page.before.and_then(|id| inner.calls.get(&id)) {
            Some(last) => (last.created_at, last.id),
            None if page.before.is_some() => return Ok(Vec::new()),
            None => (
                crate::time::Timestamp::from_millis(u64::MAX),
                CallId::from(u128::MAX),
            ),
        };
        let first = page.before.is_none();
        Ok(calls
            .into_iter()
            .filter(|call| first || (call.created_at, call.id) < start)
            .take(page.limit.min(MAX_PAGE) as usize)
            .cloned()
            .collect())
    }

    async fn chat(&self, call: CallId) -> Result<Vec<ChatMessage>, StoreError> {
        let mut chat = self.lock().chat.get(&call).cloned().unwrap_or_default();
        chat.sort_by_key(|message| message.seq);
        Ok(chat)
    }

    async fn quality(&self, call: CallId) -> Result<Vec<QualitySample>, StoreError> {
        let mut samples = self.lock().quality.get(&call).cloned().unwrap_or_default();
        samples.sort_by_key(|sample| sample.at);
        Ok(samples)
    }

    async fn events(&self, after: u64, limit: u32) -> Result<Vec<(u64, EventEnvelope)>, StoreError> {
        let inner = self.lock();
        let start = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(inner
            .events
            .iter()
            .enumerate()
            .skip(start)
            .take(limit as usize)
            .map(|(at, event)| (at as u64 + 1, event.clone()))
            .collect())
    }
}
