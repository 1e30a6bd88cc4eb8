//! A store that fails: nothing is told that is not kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use callkit_core::call::CallRecord;
use callkit_core::chat::ChatMessage;
use callkit_core::event::EventEnvelope;
use callkit_core::id::CallId;
use callkit_core::memory::MemorySessionStore;
use callkit_core::quality::QualitySample;
use callkit_core::redact::Private;
use callkit_core::store::{Commit, HistoryFilter, OpenState, PageRequest, SessionStore, StoreError};
use callkit_signal::message::{Event, Request};

use crate::world::World;

/// A store whose next commits fail.
#[derive(Debug, Default)]
struct Failing {
    inner: MemorySessionStore,
    unavailable: AtomicU32,
    conflicts: AtomicU32,
    broken_reads: AtomicU32,
}

fn takes_one(counter: &AtomicU32) -> bool {
    counter
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
        .is_ok()
}

#[async_trait]
impl SessionStore for Failing {
    async fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        if takes_one(&self.unavailable) {
            return Err(StoreError::Unavailable {
                retry_after: None,
                source: "busy".into(),
            });
        }
        if takes_one(&self.conflicts) {
            return Err(StoreError::Conflict);
        }
        self.inner.commit(commit).await
    }

    async fn load_open(&self) -> Result<OpenState, StoreError> {
        if takes_one(&self.broken_reads) {
            return Err(StoreError::Backend {
                during: "reading",
                source: "broken".into(),
            });
        }
        self.inner.load_open().await
    }

    async fn call(&self, id: CallId) -> Result<Option<CallRecord>, StoreError> {
        self.inner.call(id).await
    }

    async fn calls(&self, filter: &HistoryFilter, page: PageRequest) -> Result<Vec<CallRecord>, StoreError> {
        self.inner.calls(filter, page).await
    }

    async fn chat(&self, call: CallId) -> Result<Vec<ChatMessage>, StoreError> {
        self.inner.chat(call).await
    }

    async fn quality(&self, call: CallId) -> Result<Vec<QualitySample>, StoreError> {
        self.inner.quality(call).await
    }

    async fn events(&self, after: u64, limit: u32) -> Result<Vec<(u64, EventEnvelope)>, StoreError> {
        self.inner.events(after, limit).await
    }
}

fn line(call: CallId) -> Request {
    Request::ChatSend {
        call,
        client_id: "c1".to_owned(),
        text: Private::new("hello".to_owned()),
    }
}

fn has_line(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::Chat { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_moment_delays_and_loses_nothing() {
    let store = Arc::new(Failing::default());
    let world = World::with_store(Arc::clone(&store) as Arc<dyn SessionStore>).await;
    let mut talk = world.talk().await;
    store.unavailable.store(3, Ordering::SeqCst);
    assert!(talk.customer.ask(line(talk.call)).await.is_ok());
    assert!(has_line(&talk.operator.heard().await));
    assert_eq!(store.chat(talk.call).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_kept_is_not_told_and_the_talk_goes_on() {
    let store = Arc::new(Failing::default());
    let world = World::with_store(Arc::clone(&store) as Arc<dyn SessionStore>).await;
    let mut talk = world.talk().await;
    talk.operator.heard().await;
    store.conflicts.store(1, Ordering::SeqCst);
    store.broken_reads.store(2, Ordering::SeqCst);

    assert_eq!(talk.customer.refused(line(talk.call)).await, "unavailable");
    assert!(!has_line(&talk.operator.heard().await));
    assert_eq!(store.chat(talk.call).await.unwrap(), []);

    // Media never stopped: the rebuilt server knows it, nobody was cut off.
    let view = world.sign_in("customer:1").await.snapshot.call.unwrap();
    assert!(crate::world::is_active(&view));
    assert!(
        view.participants
            .iter()
            .all(|one| one.link == callkit_signal::message::LinkView::Up)
    );
    assert!(talk.operator.ask(line(talk.call)).await.is_ok());
    assert!(has_line(&talk.operator.heard().await));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_opens_while_the_store_fails_opens_after() {
    let store = Arc::new(Failing::default());
    let world = World::with_store(Arc::clone(&store) as Arc<dyn SessionStore>).await;
    let (customer, call) = world.caller(1).await;
    drop(customer);
    store.conflicts.store(1, Ordering::SeqCst);
    // Opening changes the link of the waiting customer, which is a commit.
    let customer = world.sign_in("customer:1").await;
    assert_eq!(customer.snapshot.call.map(|call| call.id), Some(call));
    let mut irina = world.operator("irina").await;
    assert_eq!(irina.rings().await.call, call);
}
