//! Records as a role may see them. Pure: equal records, equal views; what is not put in here does not
//! leave the server.

use std::collections::BTreeMap;
use std::time::Duration;

use callkit_core::agent::{AgentRecord, Link};
use callkit_core::call::{
    CallRecord, CallState, Customer, EndReason, Offer, OfferOutcome, Participant, Party, SuperviseMode,
};
use callkit_core::chat::ChatMessage;
use callkit_core::id::{AgentId, ParticipantId};
use callkit_core::redact::Private;
use callkit_core::time::Timestamp;
use callkit_signal::message::{
    AgentView, CallView, ChatView, LinkCause, LinkView, MAX_SNAPSHOT_CHAT, MediaState, OfferView,
    ParticipantView, Phase, Role,
};

/// What a participant is taken to have switched on until it says so.
pub(crate) const ASSUMED_MEDIA: MediaState = MediaState {
    microphone: true,
    camera: true,
    screen: false,
    microphone_state: None,
    camera_state: None,
};

/// What is known of a connection that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lost {
    /// Why, as far as it can be told.
    pub(crate) cause: Option<LinkCause>,
    /// How long nothing had come when it was noticed.
    pub(crate) silent_for: Duration,
}

/// What a view of a call shows besides the record itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    /// The time of the view.
    pub(crate) now: Timestamp,
    /// Place in the queue, from 1.
    pub(crate) position: Option<u32>,
    /// Whether anybody of the queue is on shift.
    pub(crate) staffed: bool,
    /// Names of staff, as others see them.
    pub(crate) names: &'a BTreeMap<AgentId, Private<String>>,
    /// What participants have switched on, as far as they said so.
    pub(crate) media: &'a BTreeMap<ParticipantId, MediaState>,
    /// Whose media is in which receiving slot, by receiver.
    pub(crate) slots: &'a BTreeMap<ParticipantId, [Option<ParticipantId>; 2]>,
    /// Why media of lost participants is lost.
    pub(crate) lost: &'a BTreeMap<ParticipantId, Lost>,
    /// The modes of supervisors that are in force on the media plane.
    pub(crate) modes: &'a BTreeMap<ParticipantId, SuperviseMode>,
    /// The number of the customer's view.
    pub(crate) version: u64,
}

impl Scene<'_> {
    /// How `one` supervises, for people: what is in force counts until what was decided is.
    fn mode(&self, one: &Participant) -> Option<SuperviseMode> {
        let decided = one.supervising?.mode;
        Some(decided.max(self.modes.get(&one.id).copied().unwrap_or(decided)))
    }

    /// Whether `reader` may know that `one` is in the call.
    fn shows(&self, one: &Participant, reader: &Party) -> bool {
        *reader != Party::Customer || self.mode(one).is_none_or(|mode| mode == SuperviseMode::Barge)
    }
}

/// The side of a party, as the others see it.
pub(crate) fn role(party: &Party) -> Role {
    match party {
        Party::Customer => Role::Customer,
        Party::Agent(_) => Role::Operator,
    }
}

/// The part that somebody has in a call.
pub(crate) fn role_of(one: &Participant) -> Role {
    match one.supervising {
        Some(_) => Role::Supervisor,
        None => role(&one.party),
    }
}

/// The part that the author of a line of chat had when it was written.
pub(crate) fn role_of_author(record: &CallRecord, message: &ChatMessage) -> Role {
    let there = |one: &&Participant| {
        one.party == message.from
            && one.joined_at <= message.at
            && one.left_at.is_none_or(|left| left >= message.at)
    };
    let author = record.participants.iter().rev().find(there);
    author.map_or_else(|| role(&message.from), role_of)
}

/// The call as `reader` sees it.
pub(crate) fn call_view(record: &CallRecord, reader: &Party, scene: &Scene<'_>) -> CallView {
    let receiving = record
        .participants
        .iter()
        .rev()
        .find(|one| one.party == *reader)
        .and_then(|one| scene.slots.get(&one.id))
        .copied()
        .unwrap_or_default();
    CallView {
        id: record.id,
        queue: record.queue.clone(),
        version: if *reader == Party::Customer {
            scene.version
        } else {
            record.version
        },
        phase: phase(record, scene),
        participants: record
            .participants
            .iter()
            .filter(|one| is_listed(record, one) && scene.shows(one, reader))
            .map(|one| participant_view(record, one, reader, receiving, scene))
            .collect(),
    }
}

/// The call as somebody sees it who was taken out of it while it goes on without them: for them it is
/// over, for `reason`.
pub(crate) fn left_view(
    record: &CallRecord,
    left: &Participant,
    reason: EndReason,
    now: Timestamp,
) -> CallView {
    let until = left.left_at.unwrap_or(now);
    let talked_ms = left.media_at.map_or(0, |from| millis(until, from));
    CallView {
        id: record.id,
        queue: record.queue.clone(),
        version: record.version,
        phase: Phase::Ended { reason, talked_ms },
        participants: Vec::new(),
    }
}

/// Present people; of an ended call, those who were there at the end.
pub(super) fn is_listed(record: &CallRecord, one: &Participant) -> bool {
    match (&record.state, one.left_at) {
        (_, None) => true,
        (CallState::Ended { at, .. }, Some(left_at)) => left_at >= *at,
        (_, Some(_)) => false,
    }
}

fn phase(record: &CallRecord, scene: &Scene<'_>) -> Phase {
    match &record.state {
        CallState::Connecting { .. } => Phase::Connecting,
        CallState::Active { since, .. } => Phase::Active {
            for_ms: millis(scene.now, *since),
        },
        CallState::Ended { reason, .. } => Phase::Ended {
            reason: *reason,
            talked_ms: talked_ms(record),
        },
        // Who is being asked is none of the customer's business; a state of a later version of the core
        // that this one cannot name is shown as waiting.
        CallState::Queued { .. } | CallState::Offering { .. } | _ => Phase::Queued {
            position: scene.position,
            staffed: scene.staffed,
        },
    }
}

/// Time talked over all segments, in milliseconds.
fn talked_ms(record: &CallRecord) -> u64 {
    let end = match record.state {
        CallState::Ended { at, .. } => Some(at),
        _ => None,
    };
    record
        .segments
        .iter()
        .filter_map(|segment| Some(millis(segment.ended_at.or(end)?, segment.connected_at?)))
        .fold(0, u64::saturating_add)
}

fn participant_view(
    record: &CallRecord,
    one: &Participant,
    reader: &Party,
    receiving: [Option<ParticipantId>; 2],
    scene: &Scene<'_>,
) -> ParticipantView {
    let is_customer = one.party == Party::Customer;
    let name = match &one.party {
        Party::Customer => record.customer.name.clone(),
        Party::Agent(agent) => scene.names.get(agent).cloned(),
    };
    let slot = receiving.iter().position(|whose| *whose == Some(one.id));
    ParticipantView {
        id: one.id,
        role: role_of(one),
        you: one.party == *reader,
        name,
        slot: slot.and_then(|slot| u8::try_from(slot).ok()),
        link: link_view(record, one, scene),
        media: scene
            .media
            .get(&one.id)
            .copied()
            .unwrap_or_else(|| match one.supervising {
                None => ASSUMED_MEDIA,
                Some(_) => MediaState::default(),
            }),
        customer: (is_customer && *reader != Party::Customer).then_some(record.customer.id),
        verified: is_customer && record.customer.verified,
        supervising: scene.mode(one).filter(|_| *reader != Party::Customer),
    }
}

fn link_view(record: &CallRecord, one: &Participant, scene: &Scene<'_>) -> LinkView {
    let is_customer = one.party == Party::Customer;
    if let Some(own) = one.supervising {
        return match one.media_at {
            None => LinkView::Connecting,
            Some(_) => media_link(own.link, one, scene),
        };
    }
    match &record.state {
        CallState::Connecting {
            customer_media,
            agent_media,
            ..
        } => {
            if if is_customer {
                *customer_media
            } else {
                *agent_media
            } {
                LinkView::Up
            } else {
                LinkView::Connecting
            }
        }
        CallState::Active {
            customer_link,
            agent_link,
            ..
        } => {
            let link = if is_customer { *customer_link } else { *agent_link };
            media_link(link, one, scene)
        }
        _ => LinkView::Connecting,
    }
}

fn media_link(link: Link, one: &Participant, scene: &Scene<'_>) -> LinkView {
    let Lost { cause, silent_for } = scene.lost.get(&one.id).copied().unwrap_or_default();
    match link {
        Link::Up => LinkView::Up,
        Link::Grace { deadline, since } => LinkView::Reconnecting {
            for_ms: millis(deadline, scene.now),
            // What others see began when nothing came any more, not when that was noticed.
            lost_for_ms: millis(scene.now, since)
                .saturating_add(u64::try_from(silent_for.as_millis()).unwrap_or(u64::MAX)),
            cause,
        },
        Link::Down => LinkView::Reconnecting {
            for_ms: 0,
            lost_for_ms: 0,
            cause,
        },
    }
}

/// The offer as the agent sees it whom it rings at.
pub(crate) fn offer_view(record: &CallRecord, offer: &Offer, now: Timestamp) -> OfferView {
    let Customer { id, name, verified } = &record.customer;
    OfferView {
        id: offer.id,
        call: record.id,
        queue: record.queue.clone(),
        customer: *id,
        name: name.clone(),
        verified: *verified,
        waited_ms: millis(now, record.enqueued_at),
        expires_in_ms: millis(offer.deadline, now),
        ring_ms: millis(offer.deadline, offer.offered_at),
    }
}

/// The offer with this id, wherever it stands in the record.
pub(crate) fn find_offer(record: &CallRecord, id: callkit_core::id::OfferId) -> Option<&Offer> {
    record
        .segments
        .iter()
        .rev()
        .flat_map(|segment| segment.offers.iter().rev())
        .find(|offer| offer.id == id)
}

/// How an offer ended, in the words of the protocol: the outcome, and the cause of a cancellation.
pub(crate) fn outcome_words(outcome: &OfferOutcome) -> (String, Option<String>) {
    // The serialised form is the public one; these types serialise to plain words without failing.
    let word = |value: serde_json::Value| value.as_str().map(str::to_owned);
    let body = serde_json::to_value(outcome).unwrap_or_default();
    let outcome = word(body["outcome"].clone()).unwrap_or_else(|| "canceled".to_owned());
    (outcome, word(body["cause"].clone()))
}

/// The agent's own state.
pub(crate) fn agent_view(record: &AgentRecord, now: Timestamp) -> AgentView {
    AgentView {
        id: record.id.clone(),
        version: record.version,
        presence: record.presence.clone(),
        presence_for_ms: millis(now, record.presence_since),
        pending_presence: record.pending_presence.clone(),
        activity: record.activity.clone(),
        activity_for_ms: millis(now, record.activity_since),
    }
}

/// A line of chat as `reader` sees it.
pub(crate) fn chat_view(record: &CallRecord, message: &ChatMessage, reader: &Party) -> ChatView {
    let mine = message.from == *reader;
    ChatView {
        id: message.id,
        call: message.call,
        seq: message.seq,
        from: role_of_author(record, message),
        mine,
        client_id: mine.then(|| message.client_id.clone()),
        text: message.text.clone(),
        at_ms: message.at.as_millis(),
    }
}

/// The newest lines that fit into a snapshot, in order.
pub(crate) fn snapshot_chat(record: &CallRecord, chat: &[ChatMessage], reader: &Party) -> Vec<ChatView> {
    let mut bytes = 0;
    let fitting = chat
        .iter()
        .rev()
        .take_while(|message| {
            bytes += message.text.expose().len();
            bytes <= MAX_SNAPSHOT_CHAT
        })
        .count();
    chat[chat.len() - fitting..]
        .iter()
        .map(|message| chat_view(record, message, reader))
        .collect()
}

/// Milliseconds from `earlier` to `later`.
pub(super) fn millis(later: Timestamp, earlier: Timestamp) -> u64 {
    u64::try_from(later.since(earlier).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use callkit_core::call::{CancelCause, Segment};
    use callkit_core::id::{CallId, CustomerId, MessageId, QueueId};
    use callkit_signal::message::OfferView as Offered;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn irina() -> AgentId {
        AgentId::new("irina").unwrap()
    }

    fn participant(id: u128, party: Party) -> Participant {
        Participant {
            id: ParticipantId::from(id),
            party,
            joined_at: at(0),
            media_at: Some(at(10)),
            left_at: None,
            supervising: None,
        }
    }

    /// A talk of Anna and irina since 1 s.
    fn talk() -> CallRecord {
        let queue = QueueId::new("support").unwrap();
        CallRecord {
            id: CallId::from(1),
            version: 5,
            event_seq: 5,
            chat_seq: 0,
            customer: Customer {
                id: CustomerId::from(9),
                name: Some(Private::new("Anna".to_owned())),
                verified: true,
            },
            queue: queue.clone(),
            priority: 0,
            created_at: at(0),
            enqueued_at: at(0),
            state: CallState::Active {
                agent: irina(),
                since: at(1000),
                customer_link: Link::Up,
                agent_link: Link::Grace {
                    since: at(2000),
                    deadline: at(47_000),
                },
            },
            refused_by: Vec::new(),
            segments: vec![Segment {
                queue,
                enqueued_at: at(0),
                agent: Some(irina()),
                accepted_at: Some(at(500)),
                connected_at: Some(at(1000)),
                ended_at: None,
                offers: Vec::new(),
            }],
            participants: vec![
                participant(1, Party::Customer),
                participant(2, Party::Agent(irina())),
            ],
        }
    }

    fn seen_by(record: &CallRecord, reader: &Party) -> CallView {
        let names = BTreeMap::from([(irina(), Private::new("Irina P.".to_owned()))]);
        let slots = BTreeMap::from([(ParticipantId::from(1), [None, Some(ParticipantId::from(2))])]);
        let media = BTreeMap::new();
        let scene = Scene {
            now: at(3000),
            position: None,
            staffed: true,
            names: &names,
            media: &media,
            slots: &slots,
            lost: &BTreeMap::new(),
            modes: &BTreeMap::new(),
            version: 3,
        };
        call_view(record, reader, &scene)
    }

    #[test]
    fn a_customer_sees_the_agents_name_and_nothing_else_of_the_agent() {
        let wire = serde_json::to_string(&seen_by(&talk(), &Party::Customer)).unwrap();
        assert!(
            wire.contains("Irina P.") && !wire.contains("irina") && !wire.contains("cust_"),
            "{wire}"
        );
    }

    #[test]
    fn an_agent_sees_who_the_customer_is() {
        let view = seen_by(&talk(), &Party::Agent(irina()));
        let customer = &view.participants[0];
        assert_eq!(
            (customer.customer, customer.verified, customer.you),
            (Some(CustomerId::from(9)), true, false)
        );
        assert!(view.participants[1].you);
    }

    #[test]
    fn links_and_slots_are_those_of_the_record_and_the_reader() {
        let view = seen_by(&talk(), &Party::Customer);
        assert_eq!(view.phase, Phase::Active { for_ms: 2000 });
        assert_eq!(view.participants[0].link, LinkView::Up);
        assert_eq!(
            view.participants[1].link,
            LinkView::Reconnecting {
                for_ms: 44_000,
                lost_for_ms: 1000,
                cause: None
            }
        );
        assert_eq!(
            (view.participants[0].slot, view.participants[1].slot),
            (None, Some(1))
        );
        assert_eq!(
            seen_by(&talk(), &Party::Agent(irina())).participants[0].slot,
            None
        );
    }

    #[test]
    fn an_ended_call_says_why_how_long_and_with_whom() {
        let mut record = talk();
        record.state = CallState::Ended {
            at: at(5000),
            reason: EndReason::Agent,
        };
        record.segments[0].ended_at = Some(at(5000));
        for one in &mut record.participants {
            one.left_at = Some(at(5000));
        }
        let mut gone = participant(3, Party::Agent(AgentId::new("oleg").unwrap()));
        gone.left_at = Some(at(400));
        record.participants.push(gone);
        let view = seen_by(&record, &Party::Customer);
        assert_eq!(
            view.phase,
            Phase::Ended {
                reason: EndReason::Agent,
                talked_ms: 4000
            }
        );
        assert_eq!(view.participants.len(), 2);
    }

    #[test]
    fn a_waiting_customer_is_not_told_whom_it_rings_at() {
        let mut record = talk();
        record.state = CallState::Offering {
            offer: callkit_core::id::OfferId::from(4),
            agent: irina(),
        };
        record.participants.truncate(1);
        let wire = serde_json::to_string(&seen_by(&record, &Party::Customer)).unwrap();
        assert!(
            wire.contains("queued") && !wire.contains("irina") && !wire.contains("offer"),
            "{wire}"
        );
    }

    #[test]
    fn an_offer_counts_down() {
        let offer = Offer {
            id: callkit_core::id::OfferId::from(4),
            agent: irina(),
            offered_at: at(2000),
            deadline: at(22_000),
            outcome: None,
            closed_at: None,
            because: callkit_core::call::Explanation::default(),
        };
        let Offered {
            waited_ms,
            expires_in_ms,
            ring_ms,
            ..
        } = offer_view(&talk(), &offer, at(3000));
        assert_eq!((waited_ms, expires_in_ms, ring_ms), (3000, 19_000, 20_000));
    }

    #[test]
    fn outcomes_have_the_words_of_the_protocol() {
        let canceled = OfferOutcome::Canceled {
            cause: CancelCause::CustomerLeft,
        };
        assert_eq!(outcome_words(&OfferOutcome::Missed), ("missed".to_owned(), None));
        assert_eq!(
            outcome_words(&canceled),
            ("canceled".to_owned(), Some("customer_left".to_owned()))
        );
    }

    #[test]
    fn a_snapshot_has_the_newest_lines_that_fit() {
        let line = |seq: u64| ChatMessage {
            id: MessageId::from(u128::from(seq)),
            call: CallId::from(1),
            seq,
            from: Party::Customer,
            client_id: seq.to_string(),
            text: Private::new("x".repeat(4000)),
            at: at(seq),
        };
        let fitting = MAX_SNAPSHOT_CHAT / 4000;
        let newest = fitting as u64 + 20;
        let chat: Vec<_> = (1..=newest).map(line).collect();
        let shown = snapshot_chat(&talk(), &chat, &Party::Agent(irina()));
        assert_eq!(shown.len(), fitting);
        assert_eq!(
            shown.last().map(|line| (line.seq, line.mine)),
            Some((newest, false))
        );
        assert!(shown.iter().all(|line| line.client_id.is_none()));
    }
}
