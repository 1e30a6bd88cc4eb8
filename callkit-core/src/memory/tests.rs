//! The suites on the in-memory implementations, also through `Arc<dyn>`; and the suites themselves: a store
//! that breaks a promise is found out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;

use super::{MemoryAuth, MemorySessionStore};
use crate::auth::{AuthError, AuthProvider, Credential, Principal, StaffRole};
use crate::call::CallRecord;
use crate::chat::ChatMessage;
use crate::event::EventEnvelope;
use crate::id::CallId;
use crate::quality::QualitySample;
use crate::redact::Private;
use crate::store::{Commit, HistoryFilter, OpenState, PageRequest, SessionStore, StoreError};
use crate::testing::{block_on, samples, store as laws};
use crate::time::Timestamp;

mod store {
    crate::session_store_conformance!(|| async { super::MemorySessionStore::default() });
}

mod store_behind_arc_dyn {
    use super::*;

    crate::session_store_conformance!(|| async {
        Arc::new(MemorySessionStore::default()) as Arc<dyn SessionStore>
    });
}

/// Memory does not survive a crash; the laws of durability are shown on a store that is handed on.
mod store_handed_on {
    use super::*;

    crate::session_store_conformance!(
        block_on = block_on,
        open = async || (Arc::new(MemorySessionStore::default()), ()),
        reopen = async |(store, held)| (store, held)
    );
}

fn irina() -> Principal {
    Principal::Staff {
        id: samples::agent_id("irina"),
        name: Private::new("Irina".to_owned()),
        role: StaffRole::Operator,
    }
}

fn memory_auth() -> MemoryAuth {
    MemoryAuth::default().with_user("irina", "correct horse", irina())
}

mod auth {
    crate::auth_provider_conformance!(
        || async { super::memory_auth() },
        user = "irina",
        password = "correct horse"
    );
}

mod auth_behind_arc_dyn {
    use super::*;

    crate::auth_provider_conformance!(
        || async { Arc::new(memory_auth()) as Arc<dyn AuthProvider> },
        user = "irina",
        password = "correct horse"
    );
}

/// A promise that [`Broken`] does not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    IgnoresVersions,
    WritesEventsOfRefusedCommits,
    WritesInTwoSteps,
    LosesTheLastEvent,
    KeepsChatTwice,
    ListsOldestFirst,
    IgnoresTheFilter,
    RepeatsTheLastOfAPage,
    ShowsEndedCallsAsOpen,
    TellsNoTime,
    StartsPositionsAnew,
    ListsQualityAsWritten,
}

#[derive(Debug)]
struct Broken {
    inner: MemorySessionStore,
    fault: Fault,
    reopened: AtomicU32,
}

impl Broken {
    fn with(fault: Fault) -> Self {
        Self {
            inner: MemorySessionStore::default(),
            fault,
            reopened: AtomicU32::new(0),
        }
    }
}

#[async_trait]
impl SessionStore for Broken {
    async fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut commit = commit.clone();
        match self.fault {
            Fault::IgnoresVersions => {
                for change in &mut commit.calls {
                    let known = self.inner.call(change.next.id).await?;
                    change.expect = known.map_or(0, |known| known.version);
                }
            }
            Fault::WritesEventsOfRefusedCommits => {
                let events = std::mem::take(&mut commit.events);
                self.inner
                    .commit(&Commit {
                        events,
                        ..Commit::default()
                    })
                    .await?;
            }
            Fault::WritesInTwoSteps => {
                let calls = std::mem::take(&mut commit.calls);
                self.inner
                    .commit(&Commit {
                        calls,
                        ..Commit::default()
                    })
                    .await?;
                let mut yielded = false;
                std::future::poll_fn(|context| {
                    if std::mem::replace(&mut yielded, true) {
                        return std::task::Poll::Ready(());
                    }
                    context.waker().wake_by_ref();
                    std::task::Poll::Pending
                })
                .await;
            }
            Fault::LosesTheLastEvent => drop(commit.events.pop()),
            Fault::KeepsChatTwice => {
                for message in &mut commit.chat {
                    message.client_id = format!("{:?}{}", message.id, message.seq);
                }
            }
            _ => {}
        }
        self.inner.commit(&commit).await
    }

    async fn load_open(&self) -> Result<OpenState, StoreError> {
        let mut open = self.inner.load_open().await?;
        match self.fault {
            Fault::ShowsEndedCallsAsOpen => {
                let page = PageRequest {
                    before: None,
                    limit: 100,
                };
                open.calls = self.inner.calls(&HistoryFilter::default(), page).await?;
            }
            Fault::TellsNoTime => open.latest = Timestamp::default(),
            _ => {}
        }
        Ok(open)
    }

    async fn call(&self, id: CallId) -> Result<Option<CallRecord>, StoreError> {
        self.inner.call(id).await
    }

    async fn calls(&self, filter: &HistoryFilter, page: PageRequest) -> Result<Vec<CallRecord>, StoreError> {
        let everything = HistoryFilter::default();
        let filter = if self.fault == Fault::IgnoresTheFilter {
            &everything
        } else {
            filter
        };
        let mut calls = self.inner.calls(filter, page).await?;
        match self.fault {
            Fault::ListsOldestFirst => calls.reverse(),
            Fault::RepeatsTheLastOfAPage => {
                if let Some(last) = page.before.filter(|_| !calls.is_empty()) {
                    calls.extend(self.inner.call(last).await?);
                    calls.rotate_right(1);
                    calls.truncate(page.limit as usize);
                }
            }
            _ => {}
        }
        Ok(calls)
    }

    async fn chat(&self, call: CallId) -> Result<Vec<ChatMessage>, StoreError> {
        self.inner.chat(call).await
    }

    async fn quality(&self, call: CallId) -> Result<Vec<QualitySample>, StoreError> {
        let mut samples = self.inner.quality(call).await?;
        if self.fault == Fault::ListsQualityAsWritten {
            samples.reverse();
        }
        Ok(samples)
    }

    async fn events(&self, after: u64, limit: u32) -> Result<Vec<(u64, EventEnvelope)>, StoreError> {
        let restarts = u64::from(self.reopened.load(Ordering::SeqCst)) * 100;
        let events = self.inner.events(after.saturating_sub(restarts), limit).await?;
        Ok(events
            .into_iter()
            .map(|(position, event)| (position + restarts, event))
            .collect())
    }
}

fn is_caught<F: Future<Output = ()>>(law: F) -> bool {
    catch_unwind(AssertUnwindSafe(|| block_on(law))).is_err()
}

#[test]
fn a_store_that_breaks_a_promise_is_found_out() {
    let broken = Broken::with;
    assert!(is_caught(laws::a_stale_change_is_refused(&broken(
        Fault::IgnoresVersions
    ))));
    assert!(is_caught(laws::of_two_changes_from_one_version_one_wins(
        &broken(Fault::IgnoresVersions)
    )));
    assert!(is_caught(laws::a_refused_commit_writes_nothing(&broken(
        Fault::WritesEventsOfRefusedCommits
    ))));
    assert!(is_caught(laws::a_dropped_commit_is_whole_or_absent(&broken(
        Fault::WritesInTwoSteps
    ))));
    assert!(is_caught(laws::a_commit_is_read_back_whole(&broken(
        Fault::LosesTheLastEvent
    ))));
    assert!(is_caught(laws::events_keep_their_order_and_their_positions(
        &broken(Fault::LosesTheLastEvent)
    )));
    assert!(is_caught(laws::a_chat_message_is_kept_once(&broken(
        Fault::KeepsChatTwice
    ))));
    assert!(is_caught(laws::history_pages_cover_everything_once_newest_first(
        &broken(Fault::ListsOldestFirst)
    )));
    assert!(is_caught(laws::history_shows_only_what_was_asked_for(&broken(
        Fault::IgnoresTheFilter
    ))));
    assert!(is_caught(laws::history_shows_only_what_was_asked_for(&broken(
        Fault::RepeatsTheLastOfAPage
    ))));
    assert!(is_caught(laws::the_open_state_is_what_goes_on(&broken(
        Fault::ShowsEndedCallsAsOpen
    ))));
    assert!(is_caught(laws::quality_is_by_time_and_of_its_call(&broken(
        Fault::ListsQualityAsWritten
    ))));
    assert!(is_caught(laws::a_commit_is_read_back_whole(&broken(
        Fault::TellsNoTime
    ))));
    assert!(is_caught(laws::positions_go_on_after_a_crash(
        async || (broken(Fault::StartsPositionsAnew), ()),
        async |(store, held): (Broken, ())| {
            store.reopened.fetch_add(1, Ordering::SeqCst);
            (store, held)
        }
    )));
    assert!(is_caught(laws::what_was_committed_survives_a_crash(
        async || (MemorySessionStore::default(), ()),
        async |_| (MemorySessionStore::default(), ())
    )));
}

/// Lets everybody in who knows a name.
#[derive(Debug)]
struct Credulous;

#[async_trait]
impl AuthProvider for Credulous {
    async fn authenticate(&self, _now: Timestamp, credential: &Credential) -> Result<Principal, AuthError> {
        match credential {
            Credential::Password { user, .. } if user == "irina" => Ok(irina()),
            _ => Err(AuthError::Expired),
        }
    }
}

#[test]
fn a_provider_that_breaks_a_promise_is_found_out() {
    use crate::testing::auth as laws;
    assert!(is_caught(laws::a_wrong_password_gets_nobody_in(
        &Credulous, "irina", "secret"
    )));
    assert!(is_caught(
        laws::an_unknown_user_is_answered_like_a_wrong_password(&Credulous, "irina", "secret")
    ));
    assert!(is_caught(laws::a_made_up_token_gets_nobody_in(
        &Credulous, "irina", "secret"
    )));
}
