//! Sample records: small, valid, and told apart by a number.

use crate::agent::{Activity, AgentRecord, Link, Presence};
use crate::call::{CallRecord, CallState, Customer, EndReason, Participant, Party, Segment};
use crate::chat::ChatMessage;
use crate::event::{CallPosition, EventEnvelope, EventKind};
use crate::id::{AgentId, CallId, CustomerId, EventId, MessageId, ParticipantId, QueueId};
use crate::quality::{Cause, Level, QualitySample};
use crate::redact::Private;
use crate::time::Timestamp;

/// The agent of this name.
#[must_use]
pub fn agent_id(name: &str) -> AgentId {
    AgentId::new(name).expect("sample names have the allowed characters")
}

/// The queue of all samples.
#[must_use]
pub fn queue_id() -> QueueId {
    QueueId::new("support").expect("a literal of the allowed characters")
}

/// Call number `n`, version 1, waiting since `n` seconds after a fixed moment.
#[must_use]
pub fn call(n: u64) -> CallRecord {
    let at = Timestamp::from_millis(1_700_000_000_000 + n * 1000);
    CallRecord {
        id: CallId::from(u128::from(n)),
        version: 1,
        event_seq: 0,
        chat_seq: 0,
        customer: Customer {
            id: CustomerId::from(u128::from(n)),
            name: Some(Private::new(format!("Анна \"{n}\" O'Neil"))),
            verified: false,
        },
        queue: queue_id(),
        priority: 0,
        created_at: at,
        enqueued_at: at,
        state: CallState::Queued { customer: Link::Up },
        refused_by: Vec::new(),
        segments: vec![Segment {
            queue: queue_id(),
            enqueued_at: at,
            agent: None,
            accepted_at: None,
            connected_at: None,
            ended_at: None,
            offers: Vec::new(),
        }],
        participants: vec![Participant {
            id: ParticipantId::from(u128::from(n)),
            party: Party::Customer,
            joined_at: at,
            media_at: None,
            left_at: None,
            supervising: None,
        }],
    }
}

/// `call` one version later, with `agent` in it.
#[must_use]
pub fn joined(mut call: CallRecord, agent: &AgentId) -> CallRecord {
    call.version += 1;
    call.participants.push(Participant {
        id: ParticipantId::from(u128::MAX - call.id.as_u128()),
        party: Party::Agent(agent.clone()),
        joined_at: call.created_at,
        media_at: None,
        left_at: None,
        supervising: None,
    });
    call
}

/// `call` one version later, over.
#[must_use]
pub fn ended(mut call: CallRecord) -> CallRecord {
    call.version += 1;
    call.state = CallState::Ended {
        at: call.created_at,
        reason: EndReason::Abandoned,
    };
    for participant in &mut call.participants {
        participant.left_at = Some(call.created_at);
    }
    call
}

/// The agent `name`, version 1, available and idle.
#[must_use]
pub fn agent(name: &str) -> AgentRecord {
    let at = Timestamp::from_millis(1_700_000_000_000);
    AgentRecord {
        id: agent_id(name),
        version: 1,
        presence: Presence::Available,
        presence_since: at,
        pending_presence: None,
        activity: Activity::Idle,
        activity_since: at,
        link: Link::Up,
        idle_since: at,
        cooldown_until: None,
        misses: 0,
    }
}

/// Line `seq` of the chat of `call`, with an id and a client id of its own.
#[must_use]
pub fn chat(call: CallId, from: Party, seq: u64) -> ChatMessage {
    ChatMessage {
        id: MessageId::from((call.as_u128() << 32) | u128::from(seq)),
        call,
        seq,
        from,
        client_id: format!("c{seq}"),
        text: Private::new(format!("line {seq} — 'quoted' \"and\" \u{1f600}\n")),
        at: Timestamp::from_millis(1_700_000_000_000 + seq),
    }
}

/// Event `seq` of `call`, at that many seconds after a fixed moment.
#[must_use]
pub fn event(call: &CallRecord, seq: u64) -> EventEnvelope {
    EventEnvelope {
        id: EventId::from((call.id.as_u128() << 32) | u128::from(seq)),
        at: call.created_at + std::time::Duration::from_secs(seq),
        call: Some(CallPosition { id: call.id, seq }),
        kind: EventKind::CallQueued {
            queue: call.queue.clone(),
            customer: call.customer.id,
        },
    }
}

/// A sample of the customer's quality, `seconds` after the call was created.
#[must_use]
pub fn quality(call: &CallRecord, seconds: u64) -> QualitySample {
    QualitySample {
        call: call.id,
        participant: call.participants[0].id,
        party: Party::Customer,
        at: call.created_at + std::time::Duration::from_secs(seconds),
        level: Level::Poor,
        score: 34,
        cause: Some(Cause::Network),
        loss_up_permille: 85,
        loss_down_permille: 0,
        rtt_ms: Some(140),
        jitter_ms: 22,
        up_kbps: 620,
        down_kbps: 900,
    }
}
