//! A contact centre of any size for measuring the dispatcher, and the figure `decision_us_p99`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use callkit_core::agent::{AgentProfile, Presence};
use callkit_core::call::{CallState, Customer, Party};
use callkit_core::id::{AgentId, CallId, CustomerId, IdSource, QueueId};
use callkit_core::redact::Private;
use callkit_core::time::Timestamp;
use callkit_routing::{Action, Dispatcher, Effects, Input, LongestIdle, QueueConfig, RoutingConfig, Timers};

/// A dispatcher at work: each agent serves the queue `busy`; nobody serves `closed`, where calls only wait.
#[derive(Debug)]
pub struct Centre {
    dispatcher: Dispatcher,
    now: Timestamp,
    customers: u128,
    talks: Vec<CallId>,
}

fn agent_id(number: usize) -> AgentId {
    AgentId::new(&format!("agent-{number}")).expect("digits and a hyphen are allowed")
}

fn queue_id(name: &str) -> QueueId {
    QueueId::new(name).expect("a lower-case word is allowed")
}

impl Centre {
    fn new(agents: usize) -> Self {
        let queue = |name: &str| QueueConfig {
            max_len: usize::MAX,
            ..QueueConfig::new(queue_id(name), name)
        };
        let profile = |number| AgentProfile {
            id: agent_id(number),
            name: Private::new(String::new()),
            queues: vec![queue_id("busy")],
        };
        let config = RoutingConfig {
            queues: vec![queue("busy"), queue("closed")],
            agents: (0..agents).map(profile).collect(),
            timers: Timers::default(),
        };
        let dispatcher = Dispatcher::new(&config, Arc::new(LongestIdle), IdSource::seeded(1));
        let mut centre = Self {
            dispatcher,
            now: Timestamp::default(),
            customers: 0,
            talks: Vec::new(),
        };
        for number in 0..agents {
            let agent = agent_id(number);
            centre.handle(Input::AgentLink {
                agent: agent.clone(),
                up: true,
            });
            centre.handle(Input::SetPresence {
                agent,
                presence: Presence::Available,
            });
        }
        centre
    }

    /// All `agents` talk, `waiting` calls wait for them.
    ///
    /// # Panics
    /// Never: the numbers make valid names.
    #[must_use]
    pub fn busy(agents: usize, waiting: usize) -> Self {
        let mut centre = Self::new(agents);
        for _ in 0..agents {
            let call = centre.request("busy");
            centre.answer(call);
        }
        for _ in 0..waiting {
            centre.request("busy");
        }
        centre
    }

    /// All `agents` are free, `waiting` calls wait in a queue that nobody serves.
    ///
    /// # Panics
    /// Never: the numbers make valid names.
    #[must_use]
    pub fn idle(agents: usize, waiting: usize) -> Self {
        let mut centre = Self::new(agents);
        for _ in 0..waiting {
            centre.request("closed");
        }
        centre
    }

    /// An agent is freed and gets the next call: the time of that one decision. The centre is as full after it.
    ///
    /// # Panics
    /// If nothing was offered: then there is nothing to measure.
    pub fn free_an_agent(&mut self) -> Duration {
        let ended = self.talks.swap_remove(self.customers as usize % self.talks.len());
        let (fx, time) = self.timed(Input::HangUp {
            call: ended,
            by: Party::Customer,
        });
        let next = offered(&fx).expect("a call was waiting");
        self.answer(next);
        self.request("busy");
        time
    }

    /// A customer calls and is offered to one of the free agents: the time of that one decision. The centre
    /// is as free after it.
    ///
    /// # Panics
    /// If nothing was offered: then there is nothing to measure.
    pub fn take_a_call(&mut self) -> Duration {
        let request = self.request_input("busy");
        let (fx, time) = self.timed(request);
        let call = offered(&fx).expect("an agent was free");
        self.handle(Input::HangUp {
            call,
            by: Party::Customer,
        });
        time
    }

    fn request_input(&mut self, queue: &str) -> Input {
        self.customers += 1;
        let customer = Customer {
            id: CustomerId::from(self.customers),
            name: None,
            verified: false,
        };
        Input::RequestCall {
            customer,
            queue: queue_id(queue),
            priority: 0,
        }
    }

    fn request(&mut self, queue: &str) -> CallId {
        let request = self.request_input(queue);
        let fx = self.handle(request);
        fx.commit.calls[0].next.id
    }

    fn answer(&mut self, call: CallId) {
        let state = self.dispatcher.call(call).map(|call| call.state.clone());
        let Some(CallState::Offering { offer, agent }) = state else {
            return;
        };
        self.handle(Input::Accept {
            agent: agent.clone(),
            offer,
        });
        self.handle(Input::MediaUp {
            call,
            party: Party::Customer,
        });
        self.handle(Input::MediaUp {
            call,
            party: Party::Agent(agent),
        });
        self.talks.push(call);
    }

    fn handle(&mut self, input: Input) -> Effects {
        self.timed(input).0
    }

    #[expect(clippy::disallowed_methods, reason = "a measurement asks the machine's clock")]
    fn timed(&mut self, input: Input) -> (Effects, Duration) {
        self.now = self.now + Duration::from_millis(1);
        let mut fx = Effects::default();
        let start = Instant::now();
        let answer = self.dispatcher.handle(self.now, input, &mut fx);
        let time = start.elapsed();
        answer.expect("the centre sends what is allowed");
        (fx, time)
    }
}

fn offered(fx: &Effects) -> Option<CallId> {
    fx.actions.iter().find_map(|action| match action {
        Action::OfferMade { call, .. } => Some(*call),
        _ => None,
    })
}

/// The 99th percentile of the time from an event to the offer it leads to, in microseconds: of two
/// situations (all agents busy and one is freed; all free and a customer calls) the worse.
///
/// # Panics
/// Never: the numbers make valid names.
#[must_use]
pub fn decision_us_p99(agents: usize, waiting: usize) -> f64 {
    let mut busy = Centre::busy(agents, waiting);
    let mut idle = Centre::idle(agents, waiting);
    p99(|| busy.free_an_agent()).max(p99(|| idle.take_a_call()))
}

fn p99(mut decide: impl FnMut() -> Duration) -> f64 {
    const SAMPLES: usize = 5000;
    let mut times: Vec<_> = (0..SAMPLES).map(|_| decide()).collect();
    times.sort_unstable();
    times[SAMPLES * 99 / 100].as_secs_f64() * 1e6
}
