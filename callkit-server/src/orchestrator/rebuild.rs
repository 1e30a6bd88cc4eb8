//! From the store back to a working orchestrator: at the start, and after a commit that did not happen.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callkit_core::chat::ChatMessage;
use callkit_core::id::IdSource;
use callkit_core::store::{OpenState, StoreError};
use callkit_core::time::Timestamp;
use callkit_routing::{Dispatcher, Effects};

use super::desk::{Batch, Desk, Outbox};
use super::{Driver, Parts, requests, until};

/// The first pause between attempts to read a store that fails, and the longest.
const REBUILD_PAUSE: Duration = Duration::from_millis(200);
const REBUILD_PAUSE_MAX: Duration = Duration::from_secs(5);

/// What the store holds of open calls.
struct Stored {
    open: OpenState,
    chat: Vec<ChatMessage>,
}

async fn load(parts: &Parts) -> Result<Stored, StoreError> {
    let open = parts.store.load_open().await?;
    let mut chat = Vec::new();
    for call in open.calls.iter().filter(|call| call.chat_seq > 0) {
        chat.extend(parts.store.chat(call.id).await?);
    }
    Ok(Stored { open, chat })
}

/// A dispatcher over what the store holds, and what the restart changes.
fn restore(parts: &Parts, ids: &mut IdSource, now: Timestamp, stored: &Stored) -> (Dispatcher, Effects) {
    // A generator of its own, so that a rebuilt dispatcher does not repeat the ids of its predecessor.
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(&ids.next_u128().to_le_bytes());
    seed[16..].copy_from_slice(&ids.next_u128().to_le_bytes());
    let policy = Arc::clone(&parts.policy);
    let Stored { open, chat } = stored;
    Dispatcher::restore(
        &parts.routing,
        policy,
        IdSource::from_entropy(seed),
        now,
        open.clone(),
        chat.clone(),
    )
}

/// A desk with what the store holds, what has to be sent for it, and the time it begins at.
pub(super) async fn open(parts: &Parts, ids: &mut IdSource) -> Result<(Desk, Outbox, Timestamp), StoreError> {
    let stored = load(parts).await?;
    let now = parts.clock.now().max(stored.open.latest);
    let (dispatcher, fx) = restore(parts, ids, now, &stored);
    if !fx.commit.is_empty() {
        parts.store.commit(&fx.commit).await?;
    }
    let mut desk = Desk::new(
        dispatcher,
        &parts.routing,
        Arc::clone(&parts.access),
        Arc::clone(&parts.ice),
        stored.chat,
    );
    let outbox = desk.settle(
        now,
        Batch {
            fx,
            ..Batch::default()
        },
    );
    Ok((desk, outbox, now))
}

impl Driver {
    /// Takes the store's word for what is true, after `batch` could not be written. Its requests are
    /// answered `unavailable`; what is known of connections is told to the new dispatcher; everybody is
    /// shown what there is.
    pub(super) async fn rebuild(&mut self, error: StoreError, batch: Batch) {
        tracing::error!(error = %Chain(&error), "a commit failed; going back to what the store holds");
        for answer in batch.answers {
            answer.reply.error(requests::unavailable());
        }
        for (_, join) in batch.joins {
            join.reply.error(requests::unavailable());
        }
        let mut pause = REBUILD_PAUSE;
        let outbox = loop {
            match self.reopen().await {
                Ok(outbox) => break outbox,
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "the store cannot be read; trying again")
                }
            }
            until(Some(pause)).await;
            pause = (pause * 2).min(REBUILD_PAUSE_MAX);
        };
        self.perform(outbox);
        let now = self.now();
        let outbox = self.desk.show_all(now, batch.openings);
        self.perform(outbox);
    }

    async fn reopen(&mut self) -> Result<Outbox, StoreError> {
        let stored = load(&self.parts).await?;
        self.latest = self.latest.max(stored.open.latest);
        let now = self.now();
        let (dispatcher, fx) = restore(&self.parts, &mut self.ids, now, &stored);
        if !fx.commit.is_empty() {
            self.parts.store.commit(&fx.commit).await?;
        }
        self.desk.rebase(dispatcher, stored.chat);
        // A batch of its own: the links are news after what the restart changed.
        let mut outbox = self.desk.settle(
            now,
            Batch {
                fx,
                ..Batch::default()
            },
        );
        let mut links = Batch::default();
        self.desk.note_present_links(now, &mut links);
        self.parts.store.commit(&links.fx.commit).await?;
        outbox.append(self.desk.settle(now, links));
        Ok(outbox)
    }
}

/// An error with its causes, for the log.
struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
