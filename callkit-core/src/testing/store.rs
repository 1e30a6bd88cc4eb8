//! The laws of [`SessionStore`]; each is one promise of its contract. Run them with
//! [`session_store_conformance!`](crate::session_store_conformance).

use super::executor::{concurrently, poll_times};
use super::samples;
use crate::call::Party;
use crate::id::CallId;
use crate::store::{
    Change, Commit, HistoryFilter, MAX_PAGE, OpenState, PageRequest, SessionStore, StoreError,
};

/// One `#[test]` per law of [`SessionStore`](crate::store::SessionStore). Each opens a store of its own; put
/// the line into a module of its own.
///
/// - `session_store_conformance!(open)`: `open` is `|| async { store }`; for stores that need no runtime.
/// - `session_store_conformance!(block_on = f, open)`: `f` runs a future to its end.
/// - `session_store_conformance!(block_on = f, open = open, reopen = reopen)`: `open` gives `(store, held)`,
///   where `held` is what must outlive the store (a folder); `reopen` takes both, ends the store as a crash
///   would, and gives both again. Adds the laws of durability.
#[macro_export]
macro_rules! session_store_conformance {
    ($open:expr) => {
        $crate::session_store_conformance!(block_on = $crate::testing::block_on, $open);
    };
    (block_on = $block_on:path, $open:expr) => {
        $crate::session_store_conformance!(@laws $block_on, || async { (($open)().await, ()) });
    };
    (block_on = $block_on:path, open = $open:expr, reopen = $reopen:expr) => {
        $crate::session_store_conformance!(@laws $block_on, $open);

        #[test]
        fn what_was_committed_survives_a_crash() {
            $block_on($crate::testing::store::what_was_committed_survives_a_crash($open, $reopen));
        }

        #[test]
        fn positions_go_on_after_a_crash() {
            $block_on($crate::testing::store::positions_go_on_after_a_crash($open, $reopen));
        }
    };
    (@laws $block_on:path, $open:expr) => {
        $crate::session_store_conformance!(@each $block_on, $open,
            a_commit_is_read_back_whole
            a_change_replaces_the_record
            a_refused_commit_writes_nothing
            a_new_record_does_not_replace_another
            a_stale_change_is_refused
            of_two_changes_from_one_version_one_wins
            a_dropped_commit_is_whole_or_absent
            a_chat_message_is_kept_once
            chat_is_in_order_and_of_its_call
            quality_is_by_time_and_of_its_call
            events_keep_their_order_and_their_positions
            the_open_state_is_what_goes_on
            history_pages_cover_everything_once_newest_first
            history_shows_only_what_was_asked_for
            what_is_not_there_is_absent_not_an_error
        );
    };
    (@each $block_on:path, $open:expr, $($law:ident)*) => {$(
        #[test]
        fn $law() {
            $block_on(async {
                let (store, _held) = ($open)().await;
                $crate::testing::store::$law(&store).await;
            });
        }
    )*};
}

/// The newest page.
const FIRST: PageRequest = PageRequest {
    before: None,
    limit: MAX_PAGE,
};

fn new<T>(next: T) -> Change<T> {
    Change { expect: 0, next }
}

async fn written<S: SessionStore + ?Sized>(store: &S, commit: &Commit) {
    if let Err(error) = store.commit(commit).await {
        panic!("a commit that fits was refused: {error:?}");
    }
}

async fn refused<S: SessionStore + ?Sized>(store: &S, commit: &Commit, why: &str) {
    match store.commit(commit).await {
        Err(StoreError::Conflict) => {}
        Err(other) => panic!("{why}: must be a Conflict, not {other:?}"),
        Ok(()) => panic!("{why}: must be refused"),
    }
}

async fn open_state<S: SessionStore + ?Sized>(store: &S) -> OpenState {
    store.load_open().await.expect("a working store loads")
}

async fn ids<S: SessionStore + ?Sized>(store: &S, filter: &HistoryFilter, page: PageRequest) -> Vec<CallId> {
    let calls = store.calls(filter, page).await.expect("a working store lists");
    calls.iter().map(|call| call.id).collect()
}

/// A commit that has one of everything.
fn full(n: u64) -> Commit {
    let call = samples::call(n);
    Commit {
        agents: vec![new(samples::agent(&format!("agent{n}")))],
        chat: vec![samples::chat(call.id, Party::Customer, 1)],
        events: vec![samples::event(&call, 1), samples::event(&call, 2)],
        quality: vec![samples::quality(&call, 1)],
        calls: vec![new(call)],
    }
}

/// Whether the parts of `commit` are there: all, none, or (a panic) some.
async fn presence<S: SessionStore + ?Sized>(store: &S, commit: &Commit) -> bool {
    let call = &commit.calls[0].next;
    let agents = open_state(store).await.agents;
    let events = store.events(0, 1000).await.expect("a working store reads events");
    let parts = [
        store
            .call(call.id)
            .await
            .expect("a working store reads")
            .is_some(),
        agents.contains(&commit.agents[0].next),
        !store
            .chat(call.id)
            .await
            .expect("a working store reads chat")
            .is_empty(),
        !store
            .quality(call.id)
            .await
            .expect("a working store reads quality")
            .is_empty(),
        events.iter().any(|(_, event)| event.id == commit.events[0].id),
        events.iter().any(|(_, event)| event.id == commit.events[1].id),
    ];
    assert!(
        parts.iter().all(|part| *part == parts[0]),
        "a commit is there in part: {parts:?}"
    );
    parts[0]
}

/// Atomic, and nothing is lost on the way through the store's own form.
pub async fn a_commit_is_read_back_whole<S: SessionStore + ?Sized>(store: &S) {
    let commit = full(1);
    written(store, &commit).await;
    let call = &commit.calls[0].next;
    assert_eq!(store.call(call.id).await.expect("reads").as_ref(), Some(call));
    let open = open_state(store).await;
    assert_eq!(
        open.calls,
        commit
            .calls
            .iter()
            .map(|change| change.next.clone())
            .collect::<Vec<_>>()
    );
    assert_eq!(open.agents, [commit.agents[0].next.clone()]);
    assert_eq!(
        open.latest, commit.events[1].at,
        "the latest time is that of the latest event"
    );
    assert_eq!(store.chat(call.id).await.expect("reads"), commit.chat);
    let events: Vec<_> = store
        .events(0, 10)
        .await
        .expect("reads")
        .into_iter()
        .map(|(_, event)| event)
        .collect();
    assert_eq!(events, commit.events);
    written(store, &Commit::default()).await;
}

/// A later version takes the place of the earlier one everywhere.
pub async fn a_change_replaces_the_record<S: SessionStore + ?Sized>(store: &S) {
    written(store, &full(1)).await;
    let mut agent = samples::agent("agent1");
    agent.version = 4;
    agent.misses = 2;
    let call = samples::ended(samples::joined(samples::call(1), &agent.id));
    let commit = Commit {
        calls: vec![Change {
            expect: 1,
            next: call.clone(),
        }],
        agents: vec![Change {
            expect: 1,
            next: agent.clone(),
        }],
        ..Commit::default()
    };
    written(store, &commit).await;
    assert_eq!(store.call(call.id).await.expect("reads"), Some(call.clone()));
    let open = open_state(store).await;
    assert_eq!(open.agents, [agent]);
    assert!(open.calls.is_empty(), "an ended call is not open");
    assert_eq!(ids(store, &HistoryFilter::default(), FIRST).await, [call.id]);
}

/// Atomic: one record that does not fit refuses all the others with it.
pub async fn a_refused_commit_writes_nothing<S: SessionStore + ?Sized>(store: &S) {
    written(store, &full(1)).await;
    let mut stale_call = full(2);
    stale_call.calls.push(Change {
        expect: 9,
        next: samples::ended(samples::call(1)),
    });
    let mut stale_agent = full(2);
    stale_agent.agents.push(Change {
        expect: 9,
        next: samples::agent("agent1"),
    });
    let mut repeated_chat = full(2);
    repeated_chat
        .chat
        .push(samples::chat(CallId::from(1), Party::Customer, 1));
    for (why, commit) in [
        ("a stale call", stale_call),
        ("a stale agent", stale_agent),
        ("a repeated chat message", repeated_chat),
    ] {
        refused(store, &commit, why).await;
        assert!(
            !presence(store, &commit).await,
            "{why}: the rest of the commit was written"
        );
    }
    written(store, &full(2)).await;
}

/// Fenced: `expect: 0` means that there is no such record.
pub async fn a_new_record_does_not_replace_another<S: SessionStore + ?Sized>(store: &S) {
    written(store, &full(1)).await;
    let mut call = samples::call(1);
    call.version = 7;
    refused(
        store,
        &Commit {
            calls: vec![new(call)],
            ..Commit::default()
        },
        "a call that is there",
    )
    .await;
    let mut agent = samples::agent("agent1");
    agent.version = 7;
    refused(
        store,
        &Commit {
            agents: vec![new(agent)],
            ..Commit::default()
        },
        "an agent who is there",
    )
    .await;
    assert_eq!(open_state(store).await.calls, [samples::call(1)]);
}

/// Fenced: a change is made from the stored version or not at all.
pub async fn a_stale_change_is_refused<S: SessionStore + ?Sized>(store: &S) {
    let absent = Change {
        expect: 1,
        next: samples::ended(samples::call(1)),
    };
    refused(
        store,
        &Commit {
            calls: vec![absent],
            ..Commit::default()
        },
        "a change of a call that is not there",
    )
    .await;
    written(store, &full(1)).await;
    for expect in [2, 3, 1 << 40] {
        let mut call = samples::call(1);
        call.version = expect + 1;
        let stale = Commit {
            calls: vec![Change { expect, next: call }],
            ..Commit::default()
        };
        refused(store, &stale, "a change from another version").await;
        let mut agent = samples::agent("agent1");
        agent.version = expect + 1;
        let stale = Commit {
            agents: vec![Change { expect, next: agent }],
            ..Commit::default()
        };
        refused(store, &stale, "a change from another version").await;
    }
    assert_eq!(open_state(store).await.calls, [samples::call(1)]);
}

/// Fenced, also when both come at the same time.
pub async fn of_two_changes_from_one_version_one_wins<S: SessionStore + ?Sized>(store: &S) {
    written(store, &full(1)).await;
    let commits: Vec<_> = (0..8u64)
        .map(|n| {
            let mut call = samples::ended(samples::call(1));
            call.event_seq = n;
            Commit {
                events: vec![samples::event(&call, 10 + n)],
                calls: vec![Change {
                    expect: 1,
                    next: call,
                }],
                ..Commit::default()
            }
        })
        .collect();
    let results = concurrently(commits.iter().map(|commit| store.commit(commit)).collect()).await;
    let winners: Vec<_> = results
        .iter()
        .enumerate()
        .filter(|(_, result)| result.is_ok())
        .map(|(at, _)| at)
        .collect();
    assert_eq!(winners.len(), 1, "commits {winners:?} were all accepted");
    let kept = store
        .call(CallId::from(1))
        .await
        .expect("reads")
        .map(|call| call.event_seq);
    assert_eq!(
        kept,
        Some(winners[0] as u64),
        "the record is not that of the accepted commit"
    );
    let events = store.events(0, 100).await.expect("reads");
    assert_eq!(events.len(), 3, "events of refused commits were written");
}

/// Atomic, also when the caller stops waiting in the middle.
pub async fn a_dropped_commit_is_whole_or_absent<S: SessionStore + ?Sized>(store: &S) {
    for polls in 1..24 {
        let commit = full(u64::from(polls));
        let finished = poll_times(store.commit(&commit), polls).await;
        // What was begun may still be going on behind the store; a commit after it waits for it.
        let barrier = new(samples::agent(&format!("barrier{polls}")));
        written(
            store,
            &Commit {
                agents: vec![barrier],
                ..Commit::default()
            },
        )
        .await;
        let there = presence(store, &commit).await;
        if let Some(result) = finished {
            assert!(result.is_ok() && there, "a confirmed commit is not there");
        }
    }
    written(store, &full(1000)).await;
}

/// Idempotent chat: a line sent again after a lost connection is an error of the caller, not a second line.
pub async fn a_chat_message_is_kept_once<S: SessionStore + ?Sized>(store: &S) {
    written(store, &full(1)).await;
    let call = CallId::from(1);
    let agent = Party::Agent(samples::agent_id("irina"));
    let line = |from: &Party, seq, client_id: &str| {
        let mut message = samples::chat(call, from.clone(), seq);
        client_id.clone_into(&mut message.client_id);
        message
    };
    let one = |message| Commit {
        chat: vec![message],
        ..Commit::default()
    };
    refused(
        store,
        &one(line(&Party::Customer, 2, "c1")),
        "the same key of the same author",
    )
    .await;
    refused(
        store,
        &one(line(&Party::Customer, 1, "other")),
        "the same place in the chat",
    )
    .await;
    let mut same_id = line(&Party::Customer, 2, "other");
    same_id.id = samples::chat(call, Party::Customer, 1).id;
    refused(store, &one(same_id), "the same id").await;
    let twice = vec![line(&agent, 2, "x"), line(&agent, 3, "x")];
    refused(
        store,
        &Commit {
            chat: twice,
            ..Commit::default()
        },
        "the same key twice in a commit",
    )
    .await;
    written(store, &one(line(&agent, 2, "c1"))).await;
    assert_eq!(
        store.chat(call).await.expect("reads").len(),
        2,
        "the same key of another author is another line"
    );
}

/// A chat is read by its numbers, whatever order it was written in.
pub async fn chat_is_in_order_and_of_its_call<S: SessionStore + ?Sized>(store: &S) {
    let (first, second) = (samples::call(1), samples::call(2));
    let line = |call, seq| samples::chat(call, Party::Customer, seq);
    let commit = Commit {
        chat: vec![
            line(first.id, 2),
            line(second.id, 1),
            line(first.id, 1),
            line(first.id, 10),
        ],
        calls: vec![new(first.clone()), new(second)],
        ..Commit::default()
    };
    written(store, &commit).await;
    written(
        store,
        &Commit {
            chat: vec![line(first.id, 9)],
            ..Commit::default()
        },
    )
    .await;
    let seqs: Vec<_> = store
        .chat(first.id)
        .await
        .expect("reads")
        .iter()
        .map(|message| message.seq)
        .collect();
    assert_eq!(seqs, [1, 2, 9, 10]);
}

/// Samples come back whole, by time whatever the order they were written in, also after the end of the call.
///
/// # Panics
/// If they do not.
pub async fn quality_is_by_time_and_of_its_call<S: SessionStore + ?Sized>(store: &S) {
    let (first, second) = (samples::call(1), samples::call(2));
    let begun = Commit {
        quality: vec![samples::quality(&first, 3), samples::quality(&second, 2)],
        calls: vec![new(first.clone()), new(second)],
        ..Commit::default()
    };
    written(store, &begun).await;
    let late = Commit {
        quality: vec![samples::quality(&first, 1), samples::quality(&first, 10)],
        ..Commit::default()
    };
    written(store, &late).await;
    let kept = store.quality(first.id).await.expect("reads");
    let wanted = [1, 3, 10].map(|at| samples::quality(&first, at));
    assert_eq!(kept, wanted);
}

/// Ordered: a consumer that remembers a position misses nothing and gets nothing twice.
pub async fn events_keep_their_order_and_their_positions<S: SessionStore + ?Sized>(store: &S) {
    let call = samples::call(1);
    for first in [1, 4, 7] {
        let events = (first..first + 3).map(|seq| samples::event(&call, seq)).collect();
        written(
            store,
            &Commit {
                events,
                ..Commit::default()
            },
        )
        .await;
    }
    let all = store.events(0, 100).await.expect("reads");
    let seqs: Vec<_> = all
        .iter()
        .filter_map(|(_, event)| event.call.map(|place| place.seq))
        .collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(
        all[0].0 > 0 && all.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "positions do not grow from 1"
    );
    let (mut after, mut read) = (0, Vec::new());
    loop {
        let part = store.events(after, 2).await.expect("reads");
        let Some((last, _)) = part.last() else { break };
        assert!(part.len() <= 2, "more events than asked for");
        after = *last;
        read.extend(part);
    }
    assert_eq!(read, all);
}

/// What a dispatcher is rebuilt from: the order of the queue is the order of the list.
pub async fn the_open_state_is_what_goes_on<S: SessionStore + ?Sized>(store: &S) {
    assert_eq!(
        open_state(store).await,
        OpenState::default(),
        "a new store is not empty"
    );
    let mut early = samples::call(5);
    early.enqueued_at = samples::call(1).created_at;
    let over = samples::ended(samples::call(2));
    let commit = Commit {
        calls: vec![
            new(samples::call(3)),
            new(early.clone()),
            new(over.clone()),
            new(samples::call(4)),
        ],
        agents: vec![new(samples::agent("oleg")), new(samples::agent("irina"))],
        events: vec![
            samples::event(&samples::call(4), 9),
            samples::event(&samples::call(3), 1),
        ],
        ..Commit::default()
    };
    written(store, &commit).await;
    let open = open_state(store).await;
    assert_eq!(open.calls, [early, samples::call(3), samples::call(4)]);
    assert_eq!(open.agents, [samples::agent("irina"), samples::agent("oleg")]);
    assert_eq!(
        open.latest,
        samples::event(&samples::call(4), 9).at,
        "not the latest time of any event"
    );
}

/// Reading page by page finds every call once, also those created in the same millisecond.
pub async fn history_pages_cover_everything_once_newest_first<S: SessionStore + ?Sized>(store: &S) {
    let mut calls: Vec<_> = (1..=u64::from(MAX_PAGE) + 5).map(samples::call).collect();
    for call in &mut calls[10..16] {
        call.created_at = samples::call(11).created_at;
    }
    written(
        store,
        &Commit {
            calls: calls.iter().cloned().map(new).collect(),
            ..Commit::default()
        },
    )
    .await;
    calls.sort_by_key(|call| std::cmp::Reverse((call.created_at, call.id)));
    let expected: Vec<_> = calls.iter().map(|call| call.id).collect();
    let everything = HistoryFilter::default();
    let largest = ids(
        store,
        &everything,
        PageRequest {
            before: None,
            limit: u32::MAX,
        },
    )
    .await;
    assert_eq!(
        largest,
        expected[..MAX_PAGE as usize],
        "a page is newest first and at most MAX_PAGE long"
    );
    let (mut before, mut read) = (None, Vec::new());
    loop {
        let page = ids(store, &everything, PageRequest { before, limit: 7 }).await;
        assert!(page.len() <= 7, "more calls than asked for");
        let Some(last) = page.last() else { break };
        before = Some(*last);
        read.extend(page);
    }
    assert_eq!(read, expected);
    assert!(
        ids(
            store,
            &everything,
            PageRequest {
                before: None,
                limit: 0
            }
        )
        .await
        .is_empty()
    );
}

/// All conditions of a filter hold at once.
pub async fn history_shows_only_what_was_asked_for<S: SessionStore + ?Sized>(store: &S) {
    let (irina, oleg) = (samples::agent_id("irina"), samples::agent_id("oleg"));
    let talk = samples::joined(samples::call(1), &irina);
    let over = samples::ended(samples::joined(samples::joined(samples::call(2), &irina), &oleg));
    let mut again = samples::call(3);
    again.customer.id = over.customer.id;
    let all = [talk, over.clone(), again];
    written(
        store,
        &Commit {
            calls: all.into_iter().map(new).collect(),
            ..Commit::default()
        },
    )
    .await;
    let number = |list: Vec<CallId>| list.into_iter().map(CallId::as_u128).collect::<Vec<_>>();
    let of = |agent: &crate::id::AgentId| Some(agent.clone());
    let customer = Some(over.customer.id);
    for (filter, expected) in [
        (
            HistoryFilter {
                agent: of(&irina),
                ..HistoryFilter::default()
            },
            vec![2, 1],
        ),
        (
            HistoryFilter {
                agent: of(&oleg),
                ..HistoryFilter::default()
            },
            vec![2],
        ),
        (
            HistoryFilter {
                agent: of(&samples::agent_id("nobody")),
                ..HistoryFilter::default()
            },
            vec![],
        ),
        (
            HistoryFilter {
                customer,
                ..HistoryFilter::default()
            },
            vec![3, 2],
        ),
        (
            HistoryFilter {
                ended: Some(true),
                ..HistoryFilter::default()
            },
            vec![2],
        ),
        (
            HistoryFilter {
                ended: Some(false),
                ..HistoryFilter::default()
            },
            vec![3, 1],
        ),
        (
            HistoryFilter {
                agent: of(&irina),
                ended: Some(false),
                ..HistoryFilter::default()
            },
            vec![1],
        ),
        (
            HistoryFilter {
                agent: of(&oleg),
                customer,
                ended: Some(true),
            },
            vec![2],
        ),
    ] {
        assert_eq!(number(ids(store, &filter, FIRST).await), expected, "{filter:?}");
    }
    let page = PageRequest {
        before: Some(CallId::from(2)),
        limit: 5,
    };
    let filter = HistoryFilter {
        agent: of(&irina),
        ..HistoryFilter::default()
    };
    assert_eq!(
        number(ids(store, &filter, page).await),
        [1],
        "the next page of a filtered list"
    );
}

/// Absence is an answer.
pub async fn what_is_not_there_is_absent_not_an_error<S: SessionStore + ?Sized>(store: &S) {
    let nobody = CallId::from(77);
    written(store, &full(1)).await;
    assert_eq!(store.call(nobody).await.expect("reads"), None);
    assert!(store.chat(nobody).await.expect("reads").is_empty());
    let after_nothing = PageRequest {
        before: Some(nobody),
        limit: 5,
    };
    assert!(
        ids(store, &HistoryFilter::default(), after_nothing)
            .await
            .is_empty()
    );
    assert!(store.events(u64::MAX, 5).await.expect("reads").is_empty());
    assert!(store.events(0, 0).await.expect("reads").is_empty());
}

/// Durable: what `commit` confirmed is there when the store is opened again after a crash.
pub async fn what_was_committed_survives_a_crash<S: SessionStore, H>(
    open: impl AsyncFnOnce() -> (S, H),
    reopen: impl AsyncFnOnce((S, H)) -> (S, H),
) {
    let (store, held) = open().await;
    for n in 1..=20 {
        written(&store, &full(n)).await;
    }
    let before = (
        open_state(&store).await,
        store.events(0, 1000).await.expect("reads"),
    );
    let (store, _held) = reopen((store, held)).await;
    let after = (
        open_state(&store).await,
        store.events(0, 1000).await.expect("reads"),
    );
    assert_eq!(after, before);
    for n in 1..=20 {
        assert!(presence(&store, &full(n)).await, "commit {n} is gone");
    }
}

/// Ordered: a position means the same event before and after.
pub async fn positions_go_on_after_a_crash<S: SessionStore, H>(
    open: impl AsyncFnOnce() -> (S, H),
    reopen: impl AsyncFnOnce((S, H)) -> (S, H),
) {
    let (store, held) = open().await;
    written(&store, &full(1)).await;
    let last = store
        .events(0, 100)
        .await
        .expect("reads")
        .last()
        .map_or(0, |(position, _)| *position);
    let (store, _held) = reopen((store, held)).await;
    written(&store, &full(2)).await;
    let added = store.events(last, 100).await.expect("reads");
    let ids: Vec<_> = added.iter().map(|(_, event)| event.id).collect();
    assert_eq!(
        ids,
        full(2).events.iter().map(|event| event.id).collect::<Vec<_>>()
    );
}
