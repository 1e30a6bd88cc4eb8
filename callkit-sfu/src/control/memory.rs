//! A media plane without media: records what it is asked for and says what a test tells it to.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use async_trait::async_trait;
use callkit_core::call::MAX_PARTICIPANTS;
use callkit_core::id::{ParticipantId, RoomId};

use super::{JoinError, JoinRequest, Joined, MediaPlane, RestartRequest, SfuEvent, Slots};
use crate::media::Grant;

/// What was asked of the plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaCall {
    /// Someone joined.
    Join {
        /// The room.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
        /// What they may send.
        grant: Grant,
    },
    /// Someone may send more or less than before.
    SetGrant {
        /// The room.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
        /// What.
        grant: Grant,
    },
    /// Someone's ICE was restarted.
    Restart {
        /// The room.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
    },
    /// Someone was taken out.
    Leave {
        /// The room.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
    },
    /// A room was closed.
    CloseRoom {
        /// The room.
        room: RoomId,
    },
}

type EventSink = Box<dyn Fn(SfuEvent) + Send + Sync>;

/// See the module. Rooms have their places and their limit of three, as in the real plane.
pub struct MemoryMediaPlane {
    state: Mutex<State>,
    events: EventSink,
}

#[derive(Debug, Default)]
struct State {
    rooms: BTreeMap<RoomId, Vec<ParticipantId>>,
    calls: Vec<MediaCall>,
    refusal: Option<JoinError>,
    overload: Option<JoinError>,
    holds_grants: bool,
    held: Vec<Waker>,
}

impl std::fmt::Debug for MemoryMediaPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryMediaPlane")
            .field("state", &self.lock())
            .finish_non_exhaustive()
    }
}

impl MemoryMediaPlane {
    /// A plane that hands its events to `events`.
    #[must_use]
    pub fn new(events: impl Fn(SfuEvent) + Send + Sync + 'static) -> Self {
        Self {
            state: Mutex::default(),
            events: Box::new(events),
        }
    }

    /// A plane with a queue of `capacity` events, as the real one has; events beyond are lost.
    #[cfg(feature = "net")]
    #[must_use]
    pub fn with_queue(capacity: usize) -> (Self, tokio::sync::mpsc::Receiver<SfuEvent>) {
        let (sender, receiver) = tokio::sync::mpsc::channel(capacity);
        let plane = Self::new(move |event| {
            // A test that reads no events wants none.
            let _ = sender.try_send(event);
        });
        (plane, receiver)
    }

    /// Everything asked for so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<MediaCall> {
        self.lock().calls.clone()
    }

    /// Who is in `room`, in order of joining.
    #[must_use]
    pub fn participants(&self, room: RoomId) -> Vec<ParticipantId> {
        self.lock().rooms.get(&room).cloned().unwrap_or_default()
    }

    /// Refuses joins with `error` until told `None`.
    pub fn refuse_joins(&self, error: Option<JoinError>) {
        self.lock().refusal = error;
    }

    /// Lets grants wait until told otherwise, as a busy shard does.
    pub fn hold_grants(&self, hold: bool) {
        let held = {
            let mut state = self.lock();
            state.holds_grants = hold;
            std::mem::take(&mut state.held)
        };
        held.into_iter().for_each(Waker::wake);
    }

    /// Has no room for new rooms until told `None`.
    pub fn refuse_new_rooms(&self, error: Option<JoinError>) {
        self.lock().overload = error;
    }

    /// Produces an event, as if media had done so.
    pub fn emit(&self, event: SfuEvent) {
        (self.events)(event);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn slots(people: &[ParticipantId], own: ParticipantId) -> Slots {
    let mut others = people.iter().copied().filter(|one| *one != own);
    [others.next(), others.next()]
}

#[async_trait]
impl MediaPlane for MemoryMediaPlane {
    fn admits(&self) -> Result<(), JoinError> {
        self.lock().overload.clone().map_or(Ok(()), Err)
    }

    async fn join(&self, request: JoinRequest) -> Result<Joined, JoinError> {
        let JoinRequest {
            room,
            participant,
            grant,
            ..
        } = request;
        let (joined, changed) = {
            let mut state = self.lock();
            if let Some(error) = &state.refusal {
                return Err(error.clone());
            }
            let people = state.rooms.entry(room).or_default();
            let is_new = !people.contains(&participant);
            if is_new && people.len() == MAX_PARTICIPANTS {
                return Err(JoinError::RoomFull);
            }
            if is_new {
                people.push(participant);
            }
            let people = people.clone();
            state.calls.push(MediaCall::Join {
                room,
                participant,
                grant,
            });
            let joined = Joined {
                answer: "v=0\r\n".to_owned(),
                slots: slots(&people, participant),
            };
            (joined, if is_new { people } else { Vec::new() })
        };
        for other in changed.iter().copied().filter(|one| *one != participant) {
            self.emit(SfuEvent::Slots {
                room,
                participant: other,
                slots: slots(&changed, other),
            });
        }
        Ok(joined)
    }

    async fn set_grant(&self, room: RoomId, participant: ParticipantId, grant: Grant) {
        poll_fn(|context| {
            let mut state = self.lock();
            if state.holds_grants {
                state.held.push(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        self.lock().calls.push(MediaCall::SetGrant {
            room,
            participant,
            grant,
        });
    }

    async fn restart(&self, request: RestartRequest) -> Result<String, JoinError> {
        let RestartRequest {
            room, participant, ..
        } = request;
        let mut state = self.lock();
        let is_in = state
            .rooms
            .get(&room)
            .is_some_and(|people| people.contains(&participant));
        if !is_in {
            return Err(JoinError::CannotRestart);
        }
        state.calls.push(MediaCall::Restart { room, participant });
        Ok("v=0\r\n".to_owned())
    }

    async fn leave(&self, room: RoomId, participant: ParticipantId) {
        let rest = {
            let mut state = self.lock();
            state.calls.push(MediaCall::Leave { room, participant });
            let Some(people) = state.rooms.get_mut(&room) else {
                return;
            };
            let before = people.len();
            people.retain(|one| *one != participant);
            let rest = if people.len() < before {
                people.clone()
            } else {
                Vec::new()
            };
            if people.is_empty() {
                state.rooms.remove(&room);
            }
            rest
        };
        for other in rest.iter().copied() {
            self.emit(SfuEvent::Slots {
                room,
                participant: other,
                slots: slots(&rest, other),
            });
        }
    }

    async fn close_room(&self, room: RoomId) {
        let mut state = self.lock();
        state.calls.push(MediaCall::CloseRoom { room });
        state.rooms.remove(&room);
    }
}
