//! What people ask and what the media plane reports, turned into inputs of the dispatcher, with the checks
//! of who may ask for what.

use callkit_core::auth::{Action as Wish, Principal};
use callkit_core::call::{CallRecord, CallState, Customer, Party};
use callkit_core::id::{CallId, ParticipantId};
use callkit_core::time::Timestamp;
use callkit_routing::{Action, Input, Refused};
use callkit_sfu::control::SfuEvent;
use callkit_signal::hub::{HubEvent, PrincipalKey, RequestReply};
use callkit_signal::message::{ErrorBody, Request, codes};

use super::desk::{Answer, AnswerBody, Batch, Desk, Session};
use super::media::{Join, MediaOp};

/// Priority of a call whose customer has no special one.
const ORDINARY: u8 = 0;

impl Desk {
    /// Something came from the signaling.
    pub(super) fn hub_event(&mut self, now: Timestamp, event: HubEvent, batch: &mut Batch) {
        match event {
            HubEvent::Opened { key, principal, open } => {
                if let Principal::Staff { id, name, .. } = &principal {
                    self.names.insert(id.clone(), name.clone());
                }
                self.sessions.insert(
                    key.clone(),
                    Session {
                        principal,
                        connected: true,
                        silent: false,
                    },
                );
                self.note_heard(&key, batch);
                self.note_link(now, &key, true, batch);
                batch.openings.push((key, open));
            }
            HubEvent::LinkUp { key } => {
                self.note_heard(&key, batch);
                self.link(now, &key, true, batch);
            }
            HubEvent::LinkDown { key, silent } => {
                if let Some(session) = self.sessions.get_mut(&key) {
                    session.silent = silent;
                }
                self.note_gone(&key, silent, batch);
                self.link(now, &key, false, batch);
            }
            HubEvent::Expired { key } => {
                self.link(now, &key, false, batch);
                self.sessions.remove(&key);
            }
            HubEvent::Request {
                key,
                principal,
                request,
                reply,
            } => {
                self.note_heard(&key, batch);
                if let Err((reply, error)) = self.request(now, &principal, request, reply, batch) {
                    reply.error(error);
                }
            }
            _ => {}
        }
    }

    fn link(&mut self, now: Timestamp, key: &PrincipalKey, up: bool, batch: &mut Batch) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.connected = up;
        }
        self.note_link(now, key, up, batch);
    }

    /// A request. Refusals are answered at once: they change nothing, so they need no commit.
    fn request(
        &mut self,
        now: Timestamp,
        who: &Principal,
        request: Request,
        reply: RequestReply,
        batch: &mut Batch,
    ) -> Result<(), (RequestReply, ErrorBody)> {
        let made = match request {
            Request::CallStart { queue } => self.start_call(now, who, queue, batch),
            Request::CallHangup { call } => self.participant(who, call).and_then(|_| {
                self.carry_out(
                    now,
                    Input::HangUp {
                        call,
                        by: who.party(),
                    },
                    batch,
                )
            }),
            Request::OfferAccept { offer } => self
                .take_calls(who)
                .and_then(|agent| self.carry_out(now, Input::Accept { agent, offer }, batch)),
            Request::OfferDecline { offer } => self
                .take_calls(who)
                .and_then(|agent| self.carry_out(now, Input::Decline { agent, offer }, batch)),
            Request::PresenceSet { presence } => self.take_calls(who).and_then(|agent| {
                self.carry_out(
                    now,
                    Input::SetPresence {
                        agent,
                        presence: presence.to_presence(),
                    },
                    batch,
                )
            }),
            Request::MediaOffer { call, sdp } => {
                return self.take_offer(who, call, false, sdp, reply, batch);
            }
            Request::MediaRestart { call, sdp } => {
                return self.take_offer(who, call, true, sdp, reply, batch);
            }
            Request::MediaServers {} => self
                .may_use_servers(who)
                .map(|()| AnswerBody::Servers(who.clone())),
            Request::MediaStateSet { call, media } => self.participant(who, call).map(|participant| {
                if self.media.insert(participant, media) != Some(media) {
                    batch.reshow.insert(call);
                }
                AnswerBody::Done
            }),
            Request::MediaReport { call, report } => self.media_report(now, who, call, report),
            Request::ChatSend {
                call,
                client_id,
                text,
            } => self.participant(who, call).and_then(|_| {
                let from = who.party();
                let before = batch.fx.actions.len();
                self.carry_out(
                    now,
                    Input::Chat {
                        call,
                        from: from.clone(),
                        client_id,
                        text,
                    },
                    batch,
                )?;
                let kept = batch.fx.actions[before..].iter().find_map(|action| match action {
                    Action::ChatAdded(message) => Some(Box::new(message.clone())),
                    _ => None,
                });
                kept.map(|message| AnswerBody::Chat(message, from))
                    .ok_or_else(internal)
            }),
            Request::SuperviseJoin { call, mode } => self.supervise(now, who, call, mode, batch),
            Request::SuperviseLeave { call } => self.participant(who, call).and_then(|_| {
                let Party::Agent(agent) = who.party() else {
                    return Err(forbidden());
                };
                self.carry_out(now, Input::SuperviseLeave { agent, call }, batch)
            }),
            _ => Err(ErrorBody::new(
                codes::UNKNOWN_TYPE,
                "this server does not know the request",
            )),
        };
        match made {
            Ok(body) => {
                batch.answers.push(Answer { reply, body });
                Ok(())
            }
            Err(error) => Err((reply, error)),
        }
    }

    /// Staff is known; a visitor is somebody only while there is a call to have media in.
    fn may_use_servers(&self, who: &Principal) -> Result<(), ErrorBody> {
        match who {
            Principal::Customer { id, .. } if self.dispatcher.call_of_customer(*id).is_none() => {
                Err(not_in_call())
            }
            _ => Ok(()),
        }
    }

    /// Repeating it while a call is open gives that call: a page that does not know whether its request
    /// arrived asks again.
    fn start_call(
        &mut self,
        now: Timestamp,
        who: &Principal,
        queue: callkit_core::id::QueueId,
        batch: &mut Batch,
    ) -> Result<AnswerBody, ErrorBody> {
        let Principal::Customer { id, name, verified } = who else {
            return Err(forbidden());
        };
        self.access
            .check(who, &Wish::StartCall)
            .map_err(|_| forbidden())?;
        if self.dispatcher.call_of_customer(*id).is_none() {
            if batch.is_overloaded {
                return Err(overloaded());
            }
            let customer = Customer {
                id: *id,
                name: name.clone(),
                verified: *verified,
            };
            self.carry_out(
                now,
                Input::RequestCall {
                    customer,
                    queue,
                    priority: ORDINARY,
                },
                batch,
            )?;
        }
        self.dispatcher
            .call_of_customer(*id)
            .map(|call| AnswerBody::Call(call.id))
            .ok_or_else(internal)
    }

    fn carry_out(
        &mut self,
        now: Timestamp,
        input: Input,
        batch: &mut Batch,
    ) -> Result<AnswerBody, ErrorBody> {
        self.decide(now, input, batch)
            .map(|()| AnswerBody::Done)
            .map_err(|refused| error_of(&refused))
    }

    /// The open call, if `who` takes part in it. A call that somebody else is in looks like none.
    fn take_part(&self, who: &Principal, call: CallId) -> Result<&CallRecord, ErrorBody> {
        let none = || ErrorBody::new(codes::NOT_FOUND, "there is no such open call");
        let record = self.dispatcher.call(call).ok_or_else(none)?;
        match self.access.check(who, &Wish::TakePart(record)) {
            Ok(()) => Ok(record),
            Err(_) if self.access.check(who, &Wish::ReadCall(record)).is_ok() => Err(not_in_call()),
            Err(_) => Err(none()),
        }
    }

    /// The participant that `who` is in the open call.
    pub(super) fn participant(&self, who: &Principal, call: CallId) -> Result<ParticipantId, ErrorBody> {
        self.take_part(who, call)?
            .participant(&who.party())
            .map(|one| one.id)
            .ok_or_else(not_in_call)
    }

    /// Puts an SDP offer into the line of media commands; its answer comes from there.
    fn take_offer(
        &self,
        who: &Principal,
        call: CallId,
        restart: bool,
        sdp: String,
        reply: RequestReply,
        batch: &mut Batch,
    ) -> Result<(), (RequestReply, ErrorBody)> {
        match self.in_conversation(who, call) {
            Ok(participant) => {
                let join = Join {
                    participant,
                    restart,
                    sdp,
                    reply,
                };
                batch.joins.push((call, join));
                Ok(())
            }
            Err(error) => Err((reply, error)),
        }
    }

    /// The participant that `who` is in a call whose media may come up.
    fn in_conversation(&self, who: &Principal, call: CallId) -> Result<ParticipantId, ErrorBody> {
        match self.take_part(who, call)?.state {
            CallState::Connecting { .. } | CallState::Active { .. } => self.participant(who, call),
            _ => Err(ErrorBody::new(
                codes::WRONG_PHASE,
                "media comes up once the call is accepted",
            )),
        }
    }

    fn take_calls(&self, who: &Principal) -> Result<callkit_core::id::AgentId, ErrorBody> {
        let Principal::Staff { id, .. } = who else {
            return Err(forbidden());
        };
        self.access
            .check(who, &Wish::TakeCalls)
            .map_err(|_| forbidden())?;
        Ok(id.clone())
    }

    /// Something came from the media plane. A room that belongs to no open call is on its way to be closed.
    pub(super) fn sfu_event(&mut self, now: Timestamp, event: SfuEvent, batch: &mut Batch) {
        match event {
            SfuEvent::MediaUp { room, participant } | SfuEvent::MediaRestored { room, participant } => {
                let call = CallId::from(room);
                if let Some(party) = self.party_of(call, participant) {
                    self.media_up.insert((call, party.clone()));
                    self.presences.found(participant);
                    self.note(now, Input::MediaUp { call, party }, batch);
                }
            }
            SfuEvent::MediaLost {
                room,
                participant,
                cause,
                silent_for,
            } => {
                let call = room.into();
                self.note_loss(now, call, participant, (cause, silent_for), batch);
                self.media_lost(now, call, participant, batch);
            }
            SfuEvent::HandshakeFailed {
                room,
                participant,
                reason,
            } => {
                let call = CallId::from(room);
                tracing::info!(%call, %participant, ?reason, "media handshake failed");
                if let Some(party) = self.party_of(call, participant) {
                    self.media_up.remove(&(call, party.clone()));
                    self.note(now, Input::MediaFailed { call, party }, batch);
                }
            }
            SfuEvent::RoomFailed { room } => {
                let call = CallId::from(room);
                tracing::error!(%call, "the media room failed; its people have to come back");
                let people: Vec<_> = self
                    .dispatcher
                    .call(call)
                    .map(|record| super::desk::present(record).map(|one| one.id).collect())
                    .unwrap_or_default();
                for participant in people {
                    self.note_room_failure(now, call, participant, batch);
                    self.media_lost(now, call, participant, batch);
                }
            }
            SfuEvent::Slots {
                room,
                participant,
                slots,
            } => {
                let call = CallId::from(room);
                if self.party_of(call, participant).is_some()
                    && self.slots.insert(participant, slots) != Some(slots)
                {
                    batch.reshow.insert(call);
                }
            }
            SfuEvent::Demand {
                room,
                participant,
                demand,
            } => {
                batch.demand.insert((CallId::from(room), participant), demand);
            }
            SfuEvent::Quality {
                room,
                participant,
                quality,
            } => {
                let call = CallId::from(room);
                if self.party_of(call, participant).is_some() {
                    self.measured(now, call, participant, quality, batch);
                } else {
                    self.leave_nobody_behind(call, participant, batch);
                }
            }
            _ => {}
        }
    }

    fn media_lost(&mut self, now: Timestamp, call: CallId, participant: ParticipantId, batch: &mut Batch) {
        if let Some(party) = self.party_of(call, participant) {
            self.media_up.remove(&(call, party.clone()));
            self.note(now, Input::MediaLost { call, party }, batch);
        }
    }

    /// Media flows in a room for somebody who is not in its call, or whose call is over: however that came
    /// about, it ends now.
    fn leave_nobody_behind(&self, call: CallId, participant: ParticipantId, batch: &mut Batch) {
        let op = match self.dispatcher.call(call) {
            Some(_) => MediaOp::Leave(participant),
            None => MediaOp::Close,
        };
        batch.strays.push((call, op));
    }

    /// The side that a present participant of an open call is on.
    pub(super) fn party_of(&self, call: CallId, participant: ParticipantId) -> Option<Party> {
        let record = self.dispatcher.call(call)?;
        super::desk::present(record)
            .find(|one| one.id == participant)
            .map(|one| one.party.clone())
    }
}

/// The answer to a request that the dispatcher refused.
pub(super) fn error_of(refused: &Refused) -> ErrorBody {
    let code = match refused {
        Refused::UnknownCall => codes::NOT_FOUND,
        Refused::UnknownAgent => codes::FORBIDDEN,
        Refused::UnknownQueue => codes::UNKNOWN_QUEUE,
        Refused::AlreadyCalling { .. } => codes::CALL_OPEN,
        Refused::QueueFull => codes::QUEUE_FULL,
        Refused::OfferClosed { .. } => codes::OFFER_CLOSED,
        Refused::NotInCall => codes::NOT_IN_CALL,
        Refused::NotConnected => codes::UNAVAILABLE,
        Refused::InvalidPresence => codes::MALFORMED,
        Refused::InvalidChat | Refused::ChatFull => codes::CHAT_INVALID,
        Refused::CallFull => codes::ROOM_FULL,
        Refused::MayNotWrite => codes::FORBIDDEN,
        Refused::NotTalking | Refused::Busy | Refused::NotInWrapUp | _ => codes::WRONG_PHASE,
    };
    // The text of `AlreadyCalling` names ids, which are the customer's own.
    ErrorBody::new(code, refused.to_string())
}

pub(super) fn unavailable() -> ErrorBody {
    ErrorBody::new(codes::UNAVAILABLE, "the server cannot do it now")
}

pub(super) fn overloaded() -> ErrorBody {
    ErrorBody::new(
        codes::OVERLOADED,
        "the server has enough to do with the calls it has",
    )
}

pub(super) fn not_in_call() -> ErrorBody {
    ErrorBody::new(
        codes::NOT_IN_CALL,
        "not a participant of the call, or the call is over",
    )
}

pub(super) fn forbidden() -> ErrorBody {
    ErrorBody::new(codes::FORBIDDEN, "this role may not do that")
}

pub(super) fn internal() -> ErrorBody {
    ErrorBody::new(codes::INTERNAL, "the server does not find what it has just made")
}
