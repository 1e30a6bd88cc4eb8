//! The random company of a run and its random inputs.

use std::time::Duration;

use callkit_core::agent::{Activity, AgentProfile, Presence};
use callkit_core::call::{CallState, Customer, EndReason, Party, SuperviseMode};
use callkit_core::id::{AgentId, CallId, CustomerId, OfferId, QueueId};
use callkit_core::redact::Private;
use callkit_routing::{Dispatcher, Input, QueueConfig, RoutingConfig, Timers, WrapUp};

use crate::view::waits;

/// Random choices from a seed: SplitMix64 (Steele, Lea, Flood 2014), many times faster without optimisation
/// than the generator of the ids.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }

    /// True once in `odds`.
    pub(crate) fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.below(from.len() as u64)).ok()?;
        from.get(at)
    }
}

pub(crate) fn queue_id(number: u64) -> QueueId {
    QueueId::new(&format!("queue-{number}"))
        .unwrap_or_else(|_| unreachable!("digits and a hyphen are allowed"))
}

fn agent_id(number: u64) -> AgentId {
    AgentId::new(&format!("agent-{number}"))
        .unwrap_or_else(|_| unreachable!("digits and a hyphen are allowed"))
}

/// A company: one to three queues, one to six agents, limits and wrap-up now and then.
pub(crate) fn company(dice: &mut Dice) -> RoutingConfig {
    let queues = 1 + dice.below(3);
    let agents = 1 + dice.below(6);
    let queue = |number: u64, dice: &mut Dice| QueueConfig {
        max_len: if dice.one_in(4) { 3 } else { 100 },
        max_wait: dice.one_in(3).then(|| Duration::from_secs(30 + dice.below(120))),
        wrap_up: if dice.one_in(3) {
            WrapUp::Forced(Duration::from_secs(10))
        } else {
            WrapUp::None
        },
        ..QueueConfig::new(queue_id(number), "Queue")
    };
    let profile = |number: u64, dice: &mut Dice| AgentProfile {
        id: agent_id(number),
        name: Private::new(String::new()),
        queues: (0..queues).filter(|_| !dice.one_in(3)).map(queue_id).collect(),
    };
    let mut timers = Timers::default();
    if dice.one_in(3) {
        timers.miss_cooldown = Duration::from_secs(3);
    }
    RoutingConfig {
        queues: (0..queues).map(|number| queue(number, dice)).collect(),
        agents: (0..agents).map(|number| profile(number, dice)).collect(),
        timers,
    }
}

/// Everything that was ever named in a run, so that stale names come up too.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) calls: Vec<CallId>,
    pub(crate) offers: Vec<(OfferId, AgentId)>,
}

/// Mostly a recent one, sometimes any.
fn recent<'a, T>(dice: &mut Dice, from: &'a [T]) -> Option<&'a T> {
    let start = if dice.one_in(10) {
        0
    } else {
        from.len().saturating_sub(4)
    };
    dice.pick(&from[start..])
}

fn open_call(dice: &mut Dice, dispatcher: &Dispatcher, known: &Known) -> CallId {
    let open: Vec<_> = dispatcher.open_calls().map(|call| call.id).collect();
    let stale = dice.one_in(20);
    let chosen = if stale {
        recent(dice, &known.calls)
    } else {
        dice.pick(&open)
    };
    chosen.copied().unwrap_or_else(|| CallId::from(1))
}

fn party_of(dice: &mut Dice, dispatcher: &Dispatcher, call: CallId, agents: u64) -> Party {
    let owner = dispatcher.call(call).and_then(|call| match &call.state {
        CallState::Connecting { agent, .. } | CallState::Active { agent, .. } => Some(agent.clone()),
        _ => None,
    });
    let third = dispatcher.call(call).and_then(|call| call.supervisor());
    match owner {
        _ if third.is_some() && dice.one_in(3) => third.map_or(Party::Customer, |(one, _)| one.party.clone()),
        Some(owner) if !dice.one_in(2) => Party::Agent(owner),
        _ if dice.one_in(10) => Party::Agent(agent_id(dice.below(agents))),
        _ => Party::Customer,
    }
}

/// The next random input. Inputs that keep calls moving are likelier than those that end them.
pub(crate) fn next_input(
    dice: &mut Dice,
    config: &RoutingConfig,
    dispatcher: &Dispatcher,
    known: &Known,
) -> Input {
    let agents = config.agents.len() as u64;
    // Now and then somebody or some queue that does not exist.
    let stranger = u64::from(dice.one_in(50));
    let agent = agent_id(dice.below(agents + stranger));
    let call = open_call(dice, dispatcher, known);
    match dice.below(100) {
        0..16 => Input::RequestCall {
            customer: Customer {
                id: CustomerId::from(u128::from(dice.below(12))),
                name: None,
                verified: false,
            },
            queue: queue_id(dice.below(config.queues.len() as u64 + stranger)),
            priority: if dice.one_in(4) {
                u8::try_from(dice.below(256)).unwrap_or(0)
            } else {
                0
            },
        },
        16..24 => Input::CustomerLink {
            call,
            up: !dice.one_in(3),
        },
        24..36 => Input::AgentLink {
            agent,
            up: !dice.one_in(5),
        },
        36..48 => {
            let presence = match dice.below(10) {
                0 => Presence::Offline,
                1 => Presence::Away { reason: None },
                2 => Presence::NotResponding,
                _ => Presence::Available,
            };
            Input::SetPresence { agent, presence }
        }
        48..62 => {
            let ringing: Vec<_> = dispatcher
                .agents()
                .filter_map(|agent| match agent.activity {
                    Activity::Reserved { offer, .. } => Some((offer, agent.id.clone())),
                    _ => None,
                })
                .collect();
            let stale = dice.one_in(6);
            let chosen = if stale {
                recent(dice, &known.offers)
            } else {
                dice.pick(&ringing)
            };
            let (offer, owner) = chosen
                .cloned()
                .unwrap_or_else(|| (OfferId::from(1), agent.clone()));
            let agent = if dice.one_in(20) { agent } else { owner };
            if dice.one_in(4) {
                Input::Decline { agent, offer }
            } else {
                Input::Accept { agent, offer }
            }
        }
        62..82 => {
            // Media is a matter of answered calls, rarely of others.
            let answered: Vec<_> = dispatcher
                .open_calls()
                .filter(|call| !waits(call))
                .map(|call| call.id)
                .collect();
            let other = dice.one_in(10);
            let call = dice.pick(&answered).copied().filter(|_| !other).unwrap_or(call);
            let party = party_of(dice, dispatcher, call, agents);
            match dice.below(20) {
                0 if dice.one_in(2) => Input::MediaFailed { call, party },
                1..5 => Input::MediaLost { call, party },
                _ => Input::MediaUp { call, party },
            }
        }
        82..88 => {
            let by = party_of(dice, dispatcher, call, agents);
            Input::HangUp { call, by }
        }
        88..92 => {
            let talks: Vec<_> = dispatcher
                .open_calls()
                .filter(|call| matches!(call.state, CallState::Active { .. }))
                .map(|call| call.id)
                .collect();
            let other = dice.one_in(10);
            let call = dice.pick(&talks).copied().filter(|_| !other).unwrap_or(call);
            let present = dispatcher.call(call).and_then(|call| call.supervisor());
            let agent = match present {
                Some((one, _)) if !dice.one_in(4) => match &one.party {
                    Party::Agent(agent) => agent.clone(),
                    Party::Customer => agent,
                },
                _ => agent,
            };
            let modes = [
                SuperviseMode::Listen,
                SuperviseMode::Whisper,
                SuperviseMode::Barge,
            ];
            match dice.pick(&modes) {
                Some(mode) if present.is_none() || !dice.one_in(3) => Input::SuperviseJoin {
                    agent,
                    call,
                    mode: *mode,
                },
                _ => Input::SuperviseLeave { agent, call },
            }
        }
        92..96 => Input::Chat {
            call,
            from: party_of(dice, dispatcher, call, agents),
            client_id: dice.below(8).to_string(),
            text: Private::new(if dice.one_in(20) {
                String::new()
            } else {
                "text".to_owned()
            }),
        },
        96 => Input::EndCall {
            call,
            reason: EndReason::System,
        },
        97 => Input::WrapUpDone { agent },
        _ => Input::Tick,
    }
}
