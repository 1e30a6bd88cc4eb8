//! The orchestrator: one task that owns the dispatcher, the only place where signaling, routing, media and
//! storage meet.
//!
//! ```text
//! hub events ─┐                                                  ┌─> answers, events, snapshots (hub)
//! media events ├─> up to 64 inputs ─> dispatcher ─> one commit ──┤
//! media results│                       (one batch)               └─> joins, leaves, closings (media plane)
//! deadline ────┘
//! ```
//!
//! Inputs that are ready are decided together and written in one transaction; nothing is answered, shown or
//! done before it is durable. The commit is the only thing that the task waits for: media commands run in
//! tasks of their own and come back as inputs (`media`).
//!
//! When the store does not answer, the same commit is tried again for a while; when it refuses, or stays
//! away, everything is rebuilt from what it holds and the requests of the batch are answered `unavailable`.

mod actions;
mod desk;
mod media;
mod presence;
mod quality;
mod rebuild;
mod requests;
mod supervision;
pub(crate) mod views;

use std::sync::Arc;
use std::time::Duration;

use callkit_core::auth::AccessPolicy;
use callkit_core::id::{CallId, IdSource, ParticipantId, RoomId};
use callkit_core::store::{Commit, SessionStore, StoreError};
use callkit_core::time::{Clock, Timestamp};
use callkit_routing::{Input, RoutingConfig, RoutingPolicy};
use callkit_sfu::control::{JoinError, JoinRequest, Joined, MediaPlane, RestartRequest, SfuEvent};
use callkit_sfu::media::Grant;
use callkit_signal::hub::{Hub, HubEvent, RequestReply};
use callkit_signal::message::{ErrorBody, codes};
use tokio::sync::{mpsc, oneshot};

use crate::ice::IceServers;

use desk::{Answer, AnswerBody, Batch, Desk, Outbox};
use media::{Join, MediaLines, MediaOp};

/// Inputs of one batch. More would make the first of them wait for the last one's decision; fewer would
/// cost a transaction each under load.
const BATCH: usize = 64;
/// Results of media commands that wait for the loop; the tasks wait when it is full.
const RESULTS: usize = 256;
/// A media command that takes longer is given up: a shard answers within milliseconds.
const MEDIA_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a commit is tried while the store is unavailable, and the first pause; each further pause
/// doubles. Together 3.1 s: an SQLite checkpoint or a failover of a database passes, a page that waits for
/// its answer does not give up.
const COMMIT_TRIES: u32 = 6;
const COMMIT_PAUSE: Duration = Duration::from_millis(100);

/// What the orchestrator works with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) access: Arc<dyn AccessPolicy>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) media: Arc<dyn MediaPlane>,
    pub(crate) ice: Arc<IceServers>,
    pub(crate) policy: Arc<dyn RoutingPolicy>,
    pub(crate) routing: RoutingConfig,
    pub(crate) ids: IdSource,
}

/// A running orchestrator.
#[derive(Debug)]
pub(crate) struct Orchestrator {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

/// What a media command gave.
#[derive(Debug)]
struct MediaResult {
    call: CallId,
    outcome: MediaOutcome,
}

/// What became of a media command that somebody waits for.
#[derive(Debug)]
enum MediaOutcome {
    /// Nobody waits.
    Done,
    Joined(Join, Grant, Result<Joined, JoinError>),
    Restarted(Join, Result<String, JoinError>),
    /// Whether the grant is in force, and who wants to know.
    Granted {
        participant: ParticipantId,
        grant: Grant,
        in_force: bool,
        replies: Vec<RequestReply>,
    },
}

enum Arrival {
    Hub(HubEvent),
    Sfu(SfuEvent),
    Media(MediaResult),
    Deadline,
}

impl Orchestrator {
    /// Rebuilds what the store holds and starts to work.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read, or what the restart changes cannot be written.
    pub(crate) async fn start(
        parts: Parts,
        hub: Hub,
        hub_events: mpsc::Receiver<HubEvent>,
        sfu_events: mpsc::Receiver<SfuEvent>,
    ) -> Result<Self, StoreError> {
        let mut ids = parts.ids.clone();
        let (desk, opening, floor) = rebuild::open(&parts, &mut ids).await?;
        let (results_in, results) = mpsc::channel(RESULTS);
        let mut driver = Driver {
            parts,
            ids,
            hub,
            desk,
            lines: MediaLines::default(),
            results_in,
            latest: floor,
            writing: None,
        };
        driver.perform(opening);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(driver.run(hub_events, sfu_events, results, stopped));
        Ok(Self { stop, task })
    }

    /// Finishes the present batch and ends. What comes later is not decided any more.
    pub(crate) async fn stop(self) {
        // The task may have ended by itself, when everything it listens to was gone.
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the orchestrator did not end in order");
        }
    }
}

/// The loop and what it needs.
struct Driver {
    parts: Parts,
    ids: IdSource,
    hub: Hub,
    desk: Desk,
    lines: MediaLines,
    results_in: mpsc::Sender<MediaResult>,
    /// The latest time given to the dispatcher: a clock of the embedding platform that starts behind what
    /// the store holds does not take it back.
    latest: Timestamp,
    /// Writes samples of quality.
    writing: Option<tokio::task::JoinHandle<()>>,
}

impl Driver {
    async fn run(
        mut self,
        mut hub_events: mpsc::Receiver<HubEvent>,
        mut sfu_events: mpsc::Receiver<SfuEvent>,
        mut results: mpsc::Receiver<MediaResult>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        loop {
            let deadline = self.desk.dispatcher.next_deadline();
            let wait = deadline.map(|at| at.since(self.now()));
            let first = tokio::select! {
                _ = &mut stopped => return,
                Some(event) = hub_events.recv() => Arrival::Hub(event),
                Some(event) = sfu_events.recv() => Arrival::Sfu(event),
                Some(result) = results.recv() => Arrival::Media(result),
                () = until(wait) => Arrival::Deadline,
            };
            let now = self.now();
            let mut batch = Batch {
                is_overloaded: self.parts.media.admits().is_err(),
                ..Batch::default()
            };
            // Deadlines that have passed come first: an answer that arrives late finds its offer closed.
            self.desk.note(now, Input::Tick, &mut batch);
            self.take(now, first, &mut batch);
            for _ in 1..BATCH {
                let next = (hub_events.try_recv().map(Arrival::Hub))
                    .or_else(|_| sfu_events.try_recv().map(Arrival::Sfu))
                    .or_else(|_| results.try_recv().map(Arrival::Media));
                match next {
                    Ok(arrival) => self.take(now, arrival, &mut batch),
                    Err(_) => break,
                }
            }
            self.finish(now, batch).await;
        }
    }

    fn now(&mut self) -> Timestamp {
        self.latest = self.latest.max(self.parts.clock.now());
        self.latest
    }

    fn take(&mut self, now: Timestamp, arrival: Arrival, batch: &mut Batch) {
        match arrival {
            Arrival::Hub(event) => self.desk.hub_event(now, event, batch),
            Arrival::Sfu(event) => self.desk.sfu_event(now, event, batch),
            Arrival::Media(result) => self.media_result(result, batch),
            Arrival::Deadline => {}
        }
    }

    fn media_result(&mut self, result: MediaResult, batch: &mut Batch) {
        let MediaResult { call, outcome } = result;
        if let Some(next) = self.lines.done(call) {
            self.start_media(call, next);
        }
        let (join, grant, joined) = match outcome {
            MediaOutcome::Done => return,
            MediaOutcome::Joined(join, grant, joined) => (join, grant, joined),
            MediaOutcome::Restarted(join, restarted) => {
                match restarted {
                    Ok(answer) => batch.answers.push(Answer {
                        reply: join.reply,
                        body: AnswerBody::Media(answer),
                    }),
                    Err(error) => join.reply.error(join_error(&error)),
                }
                return;
            }
            MediaOutcome::Granted {
                participant,
                grant,
                in_force,
                replies,
            } => {
                let changed = if in_force {
                    self.desk.supervisions.confirm(participant, grant)
                } else {
                    self.desk.supervisions.ask_again(participant)
                };
                if changed {
                    batch.reshow.insert(call);
                }
                for reply in replies {
                    if in_force {
                        batch.answers.push(Answer {
                            reply,
                            body: AnswerBody::Done,
                        });
                    } else {
                        reply.error(requests::unavailable());
                    }
                }
                return;
            }
        };
        if joined.is_ok() && self.desk.supervisions.confirm(join.participant, grant) {
            batch.reshow.insert(call);
        }
        match joined {
            Ok(Joined { answer, slots, .. }) if self.desk.party_of(call, join.participant).is_some() => {
                if self.desk.slots.insert(join.participant, slots) != Some(slots) {
                    batch.reshow.insert(call);
                }
                batch.answers.push(Answer {
                    reply: join.reply,
                    body: AnswerBody::Media(answer),
                });
            }
            // The call ended meanwhile; its closing waits behind the join and cleans up.
            Ok(_) => join.reply.error(requests::not_in_call()),
            Err(error) => join.reply.error(join_error(&error)),
        }
    }

    /// Commits the batch, then answers, shows and performs it.
    async fn finish(&mut self, now: Timestamp, mut batch: Batch) {
        if !batch.fx.commit.is_empty() {
            batch.fx.commit.quality = self.desk.qualities.take();
        } else if self.desk.qualities.are_due(now) {
            self.write_samples();
        }
        match self.commit(&batch.fx.commit).await {
            Ok(()) => {
                let outbox = self.desk.settle(now, batch);
                self.perform(outbox);
            }
            Err(error) => self.rebuild(error, batch).await,
        }
    }

    /// Writes the samples of quality that found no commit to ride with, beside the loop: no call waits for
    /// them, and a store that fails loses them only.
    fn write_samples(&mut self) {
        if self.writing.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let store = Arc::clone(&self.parts.store);
        let commit = Commit {
            quality: self.desk.qualities.take(),
            ..Commit::default()
        };
        self.writing = Some(tokio::spawn(async move {
            if let Err(error) = store.commit(&commit).await {
                let samples = commit.quality.len();
                tracing::warn!(%error, samples, "samples of quality are lost");
            }
        }));
    }

    /// Writes `commit`, patiently while the store is unavailable.
    async fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        if commit.is_empty() {
            return Ok(());
        }
        let mut pause = COMMIT_PAUSE;
        for left in (0..COMMIT_TRIES).rev() {
            match self.parts.store.commit(commit).await {
                Err(error) if error.is_retryable() && left > 0 => {
                    tracing::warn!(error = %error, left, "the store is unavailable; trying again");
                    until(Some(pause)).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
        Ok(())
    }

    fn perform(&mut self, outbox: Outbox) {
        for (reply, outcome) in outbox.answers {
            match outcome {
                Ok(outcome) => reply.ok(outcome),
                Err(error) => reply.error(error),
            }
        }
        for (key, event) in outbox.events {
            self.hub.send(&key, &event);
        }
        for (open, snapshot) in outbox.openings {
            open.welcome(snapshot);
        }
        for (call, op) in outbox.media {
            let (start, overtaken) = self.lines.push(call, op);
            for join in overtaken {
                join.reply.error(ErrorBody::new(
                    codes::UNAVAILABLE,
                    "a newer request took its place",
                ));
            }
            if let Some(op) = start {
                self.start_media(call, op);
            }
        }
    }

    /// Runs a media command in a task of its own; the result comes back as an input.
    fn start_media(&self, call: CallId, op: MediaOp) {
        let media = Arc::clone(&self.parts.media);
        let results = self.results_in.clone();
        tokio::spawn(async move {
            let outcome = run_media(&*media, RoomId::from(call), op).await;
            // Without a receiver the orchestrator has stopped.
            let _ = results.send(MediaResult { call, outcome }).await;
        });
    }
}

async fn run_media(media: &dyn MediaPlane, room: RoomId, op: MediaOp) -> MediaOutcome {
    match op {
        MediaOp::Join(mut join, grant) => {
            let offer = std::mem::take(&mut join.sdp);
            let request = JoinRequest {
                room,
                participant: join.participant,
                offer,
                grant,
            };
            let joined = tokio::time::timeout(MEDIA_TIMEOUT, media.join(request)).await;
            MediaOutcome::Joined(join, grant, joined.unwrap_or(Err(JoinError::Overloaded)))
        }
        MediaOp::Restart(mut join) => {
            let offer = std::mem::take(&mut join.sdp);
            let request = RestartRequest {
                room,
                participant: join.participant,
                offer,
            };
            let restarted = tokio::time::timeout(MEDIA_TIMEOUT, media.restart(request)).await;
            MediaOutcome::Restarted(join, restarted.unwrap_or(Err(JoinError::Overloaded)))
        }
        MediaOp::Grant {
            participant,
            grant,
            replies,
        } => {
            let set = media.set_grant(room, participant, grant);
            let in_force = give_up_late(set, room, Some(participant)).await;
            MediaOutcome::Granted {
                participant,
                grant,
                in_force,
                replies,
            }
        }
        MediaOp::Leave(participant) => {
            give_up_late(media.leave(room, participant), room, Some(participant)).await;
            MediaOutcome::Done
        }
        MediaOp::Close => {
            give_up_late(media.close_room(room), room, None).await;
            MediaOutcome::Done
        }
    }
}

/// Whether the command was carried out in time.
async fn give_up_late(
    command: impl Future<Output = ()>,
    room: RoomId,
    participant: Option<ParticipantId>,
) -> bool {
    let in_time = tokio::time::timeout(MEDIA_TIMEOUT, command).await.is_ok();
    if !in_time {
        tracing::error!(%room, ?participant, "the media plane does not answer");
    }
    in_time
}

/// Waits for `wait`, or forever without one.
async fn until(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep_until(tokio::time::Instant::now() + wait).await,
        None => std::future::pending().await,
    }
}

fn join_error(error: &JoinError) -> ErrorBody {
    match error {
        JoinError::Offer(error) => ErrorBody::new(codes::SDP_INVALID, error.to_string()),
        JoinError::CannotRestart => ErrorBody::new(
            codes::NO_RESTART,
            "there is no transport that this offer could restart",
        ),
        JoinError::Overloaded | JoinError::AtCapacity => requests::overloaded(),
        JoinError::RoomFull => ErrorBody::new(
            codes::ROOM_FULL,
            "the call has as many participants as it may have",
        ),
        _ => requests::unavailable(),
    }
}
