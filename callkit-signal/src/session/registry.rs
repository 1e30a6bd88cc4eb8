//! [`Registry`]: all sessions and links of a server, as one state machine that takes `now`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use callkit_core::auth::Principal;
use callkit_core::id::{IdSource, SessionId};
use callkit_core::redact::{Private, Secret};
use callkit_core::time::Timestamp;

use super::answers::{Admission, Answers};
use super::config::SessionConfig;
use super::link::{Link, LinkId, LinkState, Transmit, refused};
use super::replay::Replay;
use super::{PrincipalKey, Session};
use crate::codec::{DecodeError, EncodedEvent, encode_server};
use crate::message::{
    ClientMessage, ErrorBody, Event, MAX_SNAPSHOT_CHAT, Outcome, Refusal, Request, RequestFrame, SUBPROTOCOL,
    ServerMessage, Snapshot, codes,
};

/// What the application has to know.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// A principal opened a session; [`Registry::welcome`] completes it.
    Opened {
        /// Whose.
        key: PrincipalKey,
        /// Who, as verified for this session.
        principal: Principal,
        /// The session.
        session: SessionId,
    },
    /// A session whose connection was lost has one again.
    LinkUp {
        /// Whose.
        key: PrincipalKey,
    },
    /// The connection of a session was lost; the session is kept for the resume window.
    LinkDown {
        /// Whose.
        key: PrincipalKey,
        /// Whether it was taken for dead because nothing came any more.
        silent: bool,
    },
    /// The resume window of a session is over.
    Expired {
        /// Whose.
        key: PrincipalKey,
    },
    /// A request to carry out; [`Registry::answer`] completes it.
    Request {
        /// Whose.
        key: PrincipalKey,
        /// Who.
        principal: Principal,
        /// The session.
        session: SessionId,
        /// Its number in the session.
        id: u64,
        /// What is asked.
        request: Request,
    },
}

/// What an input led to. Reusable: [`Registry`] methods add to it.
#[derive(Debug, Default)]
pub struct Output {
    /// What the application has to know: at most one for each input.
    pub change: Option<Change>,
    /// A token to check; the result goes to [`Registry::handle_verified`] with the same link.
    pub verify: Option<Secret<String>>,
    /// Links with something to transmit.
    pub wake: Vec<LinkId>,
}

/// All sessions and links.
#[derive(Debug)]
pub struct Registry {
    config: SessionConfig,
    ids: IdSource,
    hello: Bytes,
    sessions: BTreeMap<SessionId, Session>,
    by_key: BTreeMap<PrincipalKey, SessionId>,
    links: BTreeMap<LinkId, Link>,
    last_link: u64,
    /// Sessions without a link, by the time at which they end.
    expiries: BTreeSet<(Timestamp, SessionId)>,
    stopping: bool,
}

impl Registry {
    /// An empty registry. `ids` names the sessions and makes their resume tokens, so it has to be seeded
    /// with real entropy outside tests.
    #[must_use]
    pub fn new(config: SessionConfig, mut ids: IdSource) -> Self {
        let hello = encode_server(&ServerMessage::Hello {
            protocol: SUBPROTOCOL.to_owned(),
            instance: format!("{:016x}", ids.next_u64()),
            limits: config.limits(),
        });
        Self {
            config,
            ids,
            hello,
            sessions: BTreeMap::new(),
            by_key: BTreeMap::new(),
            links: BTreeMap::new(),
            last_link: 0,
            expiries: BTreeSet::new(),
            stopping: false,
        }
    }

    /// How many connections there are, closing ones included.
    #[must_use]
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// How many sessions there are, those that wait for their client included.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// When [`tick`](Self::tick) has to be called for `link`.
    #[must_use]
    pub fn deadline(&self, link: LinkId) -> Option<Timestamp> {
        self.links.get(&link)?.deadline(&self.config).map(|(at, _)| at)
    }

    /// Whether `link` only waits for its last frames to be sent.
    #[must_use]
    pub fn is_closing(&self, link: LinkId) -> bool {
        self.links
            .get(&link)
            .is_none_or(|link| link.state == LinkState::Closing)
    }

    /// When [`expire`](Self::expire) has to be called.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        if self.sessions.len() > self.config.max_sessions {
            // Over capacity the session that ends next ends now.
            return self.expiries.first().map(|_| Timestamp::default());
        }
        self.expiries.first().map(|(at, _)| *at)
    }

    /// A connection was made; the caller transmits what waits for it.
    pub fn handle_connect(&mut self, now: Timestamp) -> LinkId {
        self.last_link += 1;
        let id = LinkId(self.last_link);
        let mut link = Link::new(now, &self.config);
        link.push(self.hello.clone(), &self.config);
        if self.stopping {
            link.close(Refusal::ServerStopping);
        } else if self.links.len() >= self.config.max_links {
            link.close(Refusal::Unavailable);
        }
        self.links.insert(id, link);
        id
    }

    /// A frame came in on `link`.
    pub fn handle_frame(
        &mut self,
        now: Timestamp,
        link: LinkId,
        frame: Result<ClientMessage, DecodeError>,
        out: &mut Output,
    ) {
        let Some(known) = self.links.get_mut(&link) else {
            return;
        };
        if known.state == LinkState::Closing {
            return;
        }
        known.heard_at = known.heard_at.max(now);
        out.wake.push(link);
        if !known.bucket.take(now) {
            return known.close(Refusal::RateLimited);
        }
        if frame.as_ref().is_err_and(|error| *error == DecodeError::TooLarge) {
            return known.close(Refusal::TooLarge);
        }
        match known.state {
            LinkState::Greeted { resumes_left, .. } => self.greeted(now, link, resumes_left, frame, out),
            LinkState::Bound(session) => self.bound(link, session, frame, out),
            // The driver reads on when the token is checked; nothing may come in between.
            LinkState::Verifying => known.close(Refusal::Malformed),
            LinkState::Closing => {}
        }
    }

    /// The token of `link` was checked.
    pub fn handle_verified(
        &mut self,
        now: Timestamp,
        link: LinkId,
        result: Result<Principal, Refusal>,
        out: &mut Output,
    ) {
        let Some(known) = self.links.get_mut(&link) else {
            return;
        };
        if known.state != LinkState::Verifying {
            return;
        }
        out.wake.push(link);
        known.heard_at = known.heard_at.max(now);
        let keyed = result.and_then(|principal| {
            let key = PrincipalKey::of(&principal).ok_or(Refusal::InvalidToken)?;
            Ok((key, principal))
        });
        let (key, principal) = match keyed {
            Ok(keyed) => keyed,
            Err(refusal) => return known.refuse(refusal),
        };
        let full = self.sessions.len() >= self.config.max_sessions && self.expiries.is_empty();
        if full && !self.by_key.contains_key(&key) {
            return known.refuse(Refusal::Unavailable);
        }
        let session = self.ids.next_id();
        known.bind(session);
        self.remove_session_of(&key, Refusal::Replaced, out);
        self.by_key.insert(key.clone(), session);
        self.sessions.insert(
            session,
            Session {
                id: session,
                token: Private::new(format!("{:032x}", self.ids.next_u128())),
                key: key.clone(),
                principal: principal.clone(),
                link: Some(link),
                expires: None,
                welcomed: false,
                replay: Replay::new(self.config.replay_events, self.config.replay_bytes),
                answers: Answers::new(
                    self.config.open_requests,
                    self.config.kept_answers,
                    self.config.kept_answer_bytes,
                ),
            },
        );
        out.change = Some(Change::Opened {
            key,
            principal,
            session,
        });
    }

    /// The connection of `link` is gone, whoever ended it.
    pub fn handle_disconnect(&mut self, now: Timestamp, link: LinkId, out: &mut Output) {
        let Some(gone) = self.links.remove(&link) else {
            return;
        };
        let silent = gone.went_silent();
        let Some(session) = gone.session.and_then(|id| self.sessions.get_mut(&id)) else {
            return;
        };
        if session.link != Some(link) {
            // A newer connection took the session over.
            return;
        }
        let expires = now + self.config.resume_window;
        session.link = None;
        session.expires = Some(expires);
        self.expiries.insert((expires, session.id));
        out.change = Some(Change::LinkDown {
            key: session.key.clone(),
            silent,
        });
    }

    /// Closes `link` if its deadline has passed.
    pub fn tick(&mut self, now: Timestamp, link: LinkId, out: &mut Output) {
        let Some(known) = self.links.get_mut(&link) else {
            return;
        };
        let Some((_, refusal)) = known.deadline(&self.config).filter(|(at, _)| *at <= now) else {
            return;
        };
        match known.state {
            LinkState::Greeted { .. } => known.refuse(refusal),
            LinkState::Verifying | LinkState::Bound(_) | LinkState::Closing => known.close(refusal),
        }
        out.wake.push(link);
    }

    /// Ends one session whose resume window is over, if there is one.
    pub fn expire(&mut self, now: Timestamp, out: &mut Output) {
        if self.next_expiry().is_none_or(|at| at > now) {
            return;
        }
        let Some((_, id)) = self.expiries.pop_first() else {
            return;
        };
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        self.by_key.remove(&session.key);
        out.change = Some(Change::Expired { key: session.key });
    }

    /// Completes a session that was reported as opened: events sent from here on are numbered after
    /// `snapshot`.
    pub fn welcome(&mut self, session: SessionId, mut snapshot: Snapshot, out: &mut Output) {
        let Some(known) = self.sessions.get_mut(&session).filter(|known| !known.welcomed) else {
            return;
        };
        known.welcomed = true;
        let Some(link) = known.link else { return };
        shorten_chat(&mut snapshot);
        let frame = encode_server(&ServerMessage::Welcome {
            session,
            resume_token: known.token.clone(),
            seq: known.replay.newest(),
            snapshot,
        });
        self.push(link, frame, out);
    }

    /// Ends a session that was reported as opened and cannot be completed. Nothing more is reported of it.
    pub fn refuse(&mut self, session: SessionId, refusal: Refusal, out: &mut Output) {
        let Some(known) = self.sessions.get(&session).filter(|known| !known.welcomed) else {
            return;
        };
        let key = known.key.clone();
        if let Some(link) = self.remove_session(&key) {
            if let Some(link) = self.links.get_mut(&link) {
                link.refuse(refusal);
            }
            out.wake.push(link);
        }
    }

    /// Answers a request. The answer is kept for the case that the client asks again.
    pub fn answer(
        &mut self,
        session: SessionId,
        id: u64,
        result: Result<Outcome, ErrorBody>,
        out: &mut Output,
    ) {
        self.answer_encoded(session, id, encode_answer(id, result), out);
    }

    pub(crate) fn answer_encoded(&mut self, session: SessionId, id: u64, frame: Bytes, out: &mut Output) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        if !known.answers.give(id, frame.clone()) {
            return;
        }
        if let Some(link) = known.link {
            self.push(link, frame, out);
        }
    }

    /// Sends an event to whoever `key` is: numbered, and kept until confirmed. Without a session, or
    /// before its snapshot, it is dropped.
    pub fn send(&mut self, key: &PrincipalKey, event: &Event, out: &mut Output) {
        self.send_encoded(key, &EncodedEvent::new(event), out);
    }

    pub(crate) fn send_encoded(&mut self, key: &PrincipalKey, event: &EncodedEvent, out: &mut Output) {
        let Some(session) = self.by_key.get(key).and_then(|id| self.sessions.get_mut(id)) else {
            return;
        };
        let Some(frame) = session.number(event) else {
            return;
        };
        if let Some(link) = session.link {
            self.push(link, frame, out);
        }
    }

    /// Ends the session of `key` with a reason. Nothing more is reported of it.
    pub fn disconnect(&mut self, key: &PrincipalKey, refusal: Refusal, out: &mut Output) {
        self.remove_session_of(key, refusal, out);
    }

    /// Ends everything: every connection gets `closing{server_stopping}`, new ones as well.
    pub fn stop(&mut self, out: &mut Output) {
        self.stopping = true;
        self.sessions.clear();
        self.by_key.clear();
        self.expiries.clear();
        for (id, link) in &mut self.links {
            link.close(Refusal::ServerStopping);
            out.wake.push(*id);
        }
    }

    /// The next frame for the connection of `link`.
    pub fn poll_transmit(&mut self, link: LinkId) -> Transmit {
        self.links.get_mut(&link).map_or(Transmit::Idle, Link::transmit)
    }

    fn greeted(
        &mut self,
        now: Timestamp,
        link: LinkId,
        resumes_left: u8,
        frame: Result<ClientMessage, DecodeError>,
        out: &mut Output,
    ) {
        let Some(known) = self.links.get_mut(&link) else {
            return;
        };
        match frame {
            Ok(ClientMessage::Auth { token, .. }) => {
                known.state = LinkState::Verifying;
                out.verify = Some(token);
            }
            Ok(ClientMessage::Resume {
                session,
                resume_token,
                last_seq,
            }) => {
                let refusal = match self.resume(link, session, &resume_token, last_seq, out) {
                    Ok(()) => return,
                    Err(refusal) => refusal,
                };
                let Some(known) = self.links.get_mut(&link) else {
                    return;
                };
                let Some(resumes_left) = resumes_left.checked_sub(1).filter(|left| *left > 0) else {
                    return known.refuse(refusal);
                };
                known.push(encode_server(&refused(refusal)), &self.config);
                known.state = LinkState::Greeted {
                    deadline: now + self.config.auth_timeout,
                    resumes_left,
                };
            }
            Ok(ClientMessage::Ping { .. } | ClientMessage::Ack { .. } | ClientMessage::Request(_)) => {
                known.refuse(Refusal::AuthRequired);
            }
            Err(_) => known.refuse(Refusal::Malformed),
        }
    }

    fn resume(
        &mut self,
        link: LinkId,
        session: SessionId,
        token: &Secret<String>,
        last_seq: u64,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        let known = self.sessions.get_mut(&session).ok_or(Refusal::SessionUnknown)?;
        if !known.welcomed || !token.matches(known.token.expose().as_bytes()) {
            return Err(Refusal::SessionUnknown);
        }
        if last_seq > known.replay.newest() {
            // An event that was never sent: whatever this client talked to, it was not this session.
            return Err(Refusal::SessionUnknown);
        }
        let missed: Vec<Bytes> = match known.replay.after(last_seq) {
            Ok(missed) => missed.cloned().collect(),
            Err(_) => return Err(Refusal::TooFarBehind),
        };
        known.replay.confirm(last_seq);
        let seq = known.replay.newest();
        let older = known.link.replace(link);
        if let Some(expires) = known.expires.take() {
            self.expiries.remove(&(expires, session));
            out.change = Some(Change::LinkUp {
                key: known.key.clone(),
            });
        }
        if let Some(older) = older {
            if let Some(older) = self.links.get_mut(&older) {
                older.close(Refusal::Replaced);
            }
            out.wake.push(older);
        }
        if let Some(known) = self.links.get_mut(&link) {
            known.bind(session);
        }
        self.push(link, encode_server(&ServerMessage::Resumed { session, seq }), out);
        for frame in missed {
            self.push(link, frame, out);
        }
        Ok(())
    }

    fn bound(
        &mut self,
        link: LinkId,
        session: SessionId,
        frame: Result<ClientMessage, DecodeError>,
        out: &mut Output,
    ) {
        let (Some(known), Some(carrier)) = (self.sessions.get_mut(&session), self.links.get_mut(&link))
        else {
            return;
        };
        match frame {
            Ok(ClientMessage::Ping { last_seq }) => {
                known.replay.confirm(last_seq);
                let seq = known.replay.newest();
                self.push(link, encode_server(&ServerMessage::Pong { seq }), out);
            }
            Ok(ClientMessage::Ack { last_seq }) => known.replay.confirm(last_seq),
            Ok(ClientMessage::Request(frame)) => self.request(link, session, frame, out),
            // A second handshake: this client has lost track of where it is.
            Ok(ClientMessage::Auth { .. } | ClientMessage::Resume { .. }) => {
                carrier.close(Refusal::Malformed)
            }
            Err(error) => match error.answer() {
                Some(answer) => self.push(link, encode_server(&answer), out),
                None => carrier.close(Refusal::Malformed),
            },
        }
    }

    fn request(&mut self, link: LinkId, session: SessionId, frame: RequestFrame, out: &mut Output) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        let RequestFrame { id, request } = frame;
        if let Err(error) = request.check() {
            return self.push(link, encode_answer(id, Err(error)), out);
        }
        let refusal = match known.answers.admit(id) {
            Admission::New => {
                let (key, principal) = (known.key.clone(), known.principal.clone());
                out.change = Some(Change::Request {
                    key,
                    principal,
                    session,
                    id,
                    request,
                });
                return;
            }
            Admission::Open => return,
            Admission::Given(answer) => return self.push(link, answer, out),
            Admission::Forgotten => {
                ErrorBody::new(codes::FORGOTTEN, "the answer to this request is not kept")
            }
            Admission::Busy => ErrorBody::new(codes::RATE_LIMITED, "too many requests without an answer"),
        };
        self.push(link, encode_answer(id, Err(refusal)), out);
    }

    fn push(&mut self, link: LinkId, frame: Bytes, out: &mut Output) {
        if let Some(known) = self.links.get_mut(&link) {
            known.push(frame, &self.config);
            out.wake.push(link);
        }
    }

    fn remove_session_of(&mut self, key: &PrincipalKey, refusal: Refusal, out: &mut Output) {
        if let Some(link) = self.remove_session(key) {
            if let Some(link) = self.links.get_mut(&link) {
                link.close(refusal);
            }
            out.wake.push(link);
        }
    }

    /// Forgets a session and gives the link that carried it.
    fn remove_session(&mut self, key: &PrincipalKey) -> Option<LinkId> {
        let session = self.sessions.remove(&self.by_key.remove(key)?)?;
        if let Some(expires) = session.expires {
            self.expiries.remove(&(expires, session.id));
        }
        session.link
    }
}

pub(crate) fn encode_answer(re: u64, result: Result<Outcome, ErrorBody>) -> Bytes {
    encode_server(&match result {
        Ok(outcome) => ServerMessage::Ok { re, outcome },
        Err(error) => ServerMessage::Error { re: Some(re), error },
    })
}

/// Leaves out the oldest lines of a long chat, so that `welcome` stays within what a client has to take.
fn shorten_chat(snapshot: &mut Snapshot) {
    let mut left = MAX_SNAPSHOT_CHAT;
    let fits = snapshot.chat.iter().rev().take_while(|line| {
        let size = serde_json::to_vec(line).map_or(usize::MAX, |json| json.len() + 1);
        left.checked_sub(size).inspect(|rest| left = *rest).is_some()
    });
    let keep = fits.count();
    snapshot.chat.drain(..snapshot.chat.len() - keep);
}
