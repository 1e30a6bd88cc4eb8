//! What became of a person whose media is lost, put together from what media and signaling know: the page
//! is gone, the network is, or only media does not get through. And calls that ended a short while ago, for
//! pages that come back and ask.

use std::collections::BTreeMap;
use std::time::Duration;

use callkit_core::call::{CallRecord, Party};
use callkit_core::id::{CallId, ParticipantId};
use callkit_core::quality::Cause;
use callkit_core::time::Timestamp;
use callkit_sfu::control::LossCause;
use callkit_signal::hub::PrincipalKey;
use callkit_signal::message::{CallView, LinkCause, Phase};

use super::desk::{Batch, Desk, address, present};
use super::views::Lost;

/// How long a call that ended is told to a page that opens its session anew.
const ENDED_FOR: Duration = Duration::from_secs(120);
/// Ended calls that are remembered; beyond, the oldest are forgotten early.
const MAX_ENDED: usize = 4096;

/// What is known of a connection that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Loss {
    /// What media says.
    media: LossCause,
    /// How long nothing had come when that was noticed.
    silent_for: Duration,
    /// What signaling says.
    page: Page,
}

/// What signaling knows of a page since its media was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    /// Connected, and not heard since.
    Unheard,
    /// Heard since.
    Heard,
    /// It, or the system that it ran on, closed the connection.
    Closed,
    /// It went silent.
    Silent,
}

impl Loss {
    const fn cause(self) -> Option<LinkCause> {
        match (self.media, self.page) {
            (_, Page::Closed) | (LossCause::Closed, Page::Silent) => Some(LinkCause::LeftPage),
            (LossCause::Silent, Page::Silent) => Some(LinkCause::NoNetwork),
            (LossCause::Silent, Page::Heard) => Some(LinkCause::MediaOnly),
            // A page that ends its media and stays is about to build it anew.
            (LossCause::Closed, Page::Unheard | Page::Heard) | (LossCause::Silent, Page::Unheard) => None,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Presences {
    losses: BTreeMap<ParticipantId, Loss>,
    /// Of each lost participant, as far as known: for views.
    pub(super) lost: BTreeMap<ParticipantId, Lost>,
    ended: BTreeMap<PrincipalKey, (Timestamp, CallView)>,
}

impl Presences {
    /// Media of somebody is lost, or more is known about it. Returns whether the cause changed.
    fn lose(&mut self, participant: ParticipantId, loss: Loss) -> bool {
        self.losses.insert(participant, loss);
        let (cause, silent_for) = (loss.cause(), loss.silent_for);
        let before = self.lost.insert(participant, Lost { cause, silent_for });
        before.and_then(|before| before.cause) != cause
    }

    /// Somebody is there, or not expected any more.
    pub(super) fn found(&mut self, participant: ParticipantId) {
        self.losses.remove(&participant);
        self.lost.remove(&participant);
    }

    /// Remembers the view of a call that is over for `key`.
    pub(super) fn note_shown(&mut self, now: Timestamp, key: &PrincipalKey, view: &CallView) {
        if !matches!(view.phase, Phase::Ended { .. }) {
            return;
        }
        self.ended.retain(|_, (at, _)| now.since(*at) < ENDED_FOR);
        if self.ended.len() >= MAX_ENDED && !self.ended.contains_key(key) {
            let oldest = self.ended.iter().min_by_key(|(_, (at, _))| *at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.ended.remove(&oldest);
            }
        }
        self.ended.insert(key.clone(), (now, view.clone()));
    }

    /// The last call of `key`, if it ended a short while ago.
    pub(super) fn ended(&self, now: Timestamp, key: &PrincipalKey) -> Option<CallView> {
        let (at, view) = self.ended.get(key)?;
        (now.since(*at) < ENDED_FOR).then(|| view.clone())
    }
}

impl Desk {
    /// Media of a participant is lost.
    pub(super) fn note_loss(
        &mut self,
        now: Timestamp,
        call: CallId,
        participant: ParticipantId,
        (media, silent_for): (LossCause, Duration),
        batch: &mut Batch,
    ) {
        let Some(key) = self.key_of(call, participant) else {
            return;
        };
        let before = self.presences.losses.get(&participant).map(|loss| loss.page);
        let page = match self.sessions.get(&key) {
            Some(session) if session.connected && before == Some(Page::Heard) => Page::Heard,
            Some(session) if session.connected => Page::Unheard,
            Some(session) if session.silent => Page::Silent,
            _ => Page::Closed,
        };
        let loss = Loss {
            media,
            silent_for,
            page,
        };
        self.presences.lose(participant, loss);
        let cause = (loss.cause() != Some(LinkCause::LeftPage)).then_some(Cause::Network);
        self.quality_lost(now, call, participant, cause, batch);
        batch.reshow.insert(call);
    }

    /// The room failed: nobody's line or page did.
    pub(super) fn note_room_failure(
        &mut self,
        now: Timestamp,
        call: CallId,
        participant: ParticipantId,
        batch: &mut Batch,
    ) {
        let loss = Loss {
            silent_for: Duration::ZERO,
            media: LossCause::Silent,
            page: Page::Heard,
        };
        self.presences.lose(participant, loss);
        self.quality_lost(now, call, participant, Some(Cause::Server), batch);
        batch.reshow.insert(call);
    }

    /// The page of `key` was heard.
    pub(super) fn note_heard(&mut self, key: &PrincipalKey, batch: &mut Batch) {
        self.note_page(key, Page::Heard, batch);
    }

    /// The connection of the page of `key` is gone.
    pub(super) fn note_gone(&mut self, key: &PrincipalKey, silent: bool, batch: &mut Batch) {
        let page = if silent { Page::Silent } else { Page::Closed };
        self.note_page(key, page, batch);
    }

    fn note_page(&mut self, key: &PrincipalKey, page: Page, batch: &mut Batch) {
        if self.presences.losses.is_empty() {
            return;
        }
        let call = match key {
            PrincipalKey::Customer(customer) => self.dispatcher.call_of_customer(*customer),
            PrincipalKey::Agent(agent) => self
                .dispatcher
                .agent(agent)
                .and_then(|agent| self.dispatcher.call(agent.activity.call()?)),
        };
        let Some(record) = call else { return };
        let own = |party: &Party| address(record, party) == *key;
        let (id, mut changed) = (record.id, false);
        for one in present(record).filter(|one| own(&one.party)) {
            if let Some(loss) = self.presences.losses.get(&one.id).copied() {
                changed |= self.presences.lose(one.id, Loss { page, ..loss });
            }
        }
        if changed {
            batch.reshow.insert(id);
        }
    }

    /// Who a participant of an open call is for the signaling.
    fn key_of(&self, call: CallId, participant: ParticipantId) -> Option<PrincipalKey> {
        let record: &CallRecord = self.dispatcher.call(call)?;
        let one = present(record).find(|one| one.id == participant)?;
        Some(address(record, &one.party))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_pages_dead_networks_and_blocked_media_are_told_apart() {
        use LinkCause::{LeftPage, MediaOnly, NoNetwork};
        let cases = [
            (LossCause::Closed, Page::Closed, Some(LeftPage)),
            // Killed: the system closes the socket, nobody takes leave of the media.
            (LossCause::Silent, Page::Closed, Some(LeftPage)),
            (LossCause::Silent, Page::Silent, Some(NoNetwork)),
            (LossCause::Silent, Page::Heard, Some(MediaOnly)),
            (LossCause::Silent, Page::Unheard, None),
            // A page that connects its media anew ends the old one first.
            (LossCause::Closed, Page::Unheard, None),
            (LossCause::Closed, Page::Heard, None),
        ];
        for (media, page, cause) in cases {
            assert_eq!(
                Loss {
                    media,
                    silent_for: Duration::ZERO,
                    page
                }
                .cause(),
                cause,
                "{media:?} {page:?}"
            );
        }
    }
}
