//! [`World`]: a dispatcher with a store and a clock, driven the way a server drives it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use callkit_core::agent::{Activity, AgentProfile, AgentRecord, Presence};
use callkit_core::call::{CallRecord, CallState, Customer, EndReason, Offer, OfferOutcome, Party};
use callkit_core::event::EventKind;
use callkit_core::id::{AgentId, CallId, CustomerId, IdSource, OfferId, QueueId};
use callkit_core::memory::MemorySessionStore;
use callkit_core::redact::Private;
use callkit_core::store::SessionStore as _;
use callkit_core::time::Timestamp;
use callkit_routing::{
    Action, Dispatcher, Effects, Input, LongestIdle, QueueConfig, Refused, RoutingConfig, Timers, WrapUp,
};

/// Waits for a future that never waits: the memory store.
pub(crate) fn now_or_panic<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the memory store answers at once"),
    }
}

pub(crate) fn secs(number: u64) -> Duration {
    Duration::from_secs(number)
}

pub(crate) fn agent_id(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

pub(crate) fn queue_id(name: &str) -> QueueId {
    QueueId::new(name).unwrap()
}

pub(crate) fn agent_party(name: &str) -> Party {
    Party::Agent(agent_id(name))
}

/// Agents `a`, `b`, `c` of the queue `main`, `d` of `main` and `side`.
pub(crate) fn config() -> RoutingConfig {
    let profile = |name: &str, queues: &[&str]| AgentProfile {
        id: agent_id(name),
        name: Private::new(name.to_owned()),
        queues: queues.iter().map(|queue| queue_id(queue)).collect(),
    };
    RoutingConfig {
        queues: vec![
            QueueConfig::new(queue_id("main"), "Main"),
            QueueConfig {
                wrap_up: WrapUp::Forced(secs(30)),
                ..QueueConfig::new(queue_id("side"), "Side")
            },
        ],
        agents: vec![
            profile("a", &["main"]),
            profile("b", &["main"]),
            profile("c", &["main"]),
            profile("d", &["main", "side"]),
        ],
        timers: Timers::default(),
    }
}

pub(crate) struct World {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) now: Timestamp,
    pub(crate) config: RoutingConfig,
    pub(crate) store: MemorySessionStore,
    pub(crate) events: Vec<EventKind>,
    /// Actions of the last input.
    pub(crate) actions: Vec<Action>,
    ended: BTreeMap<CallId, CallRecord>,
    customers: u128,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: RoutingConfig) -> Self {
        config.check().unwrap();
        Self {
            dispatcher: Dispatcher::new(&config, Arc::new(LongestIdle), IdSource::seeded(1)),
            now: Timestamp::from_millis(1_000_000),
            config,
            store: MemorySessionStore::default(),
            events: Vec::new(),
            actions: Vec::new(),
            ended: BTreeMap::new(),
            customers: 0,
        }
    }

    /// Writes and remembers what a batch caused.
    pub(crate) fn perform(&mut self, fx: Effects) {
        now_or_panic(self.store.commit(&fx.commit)).unwrap();
        self.events
            .extend(fx.commit.events.into_iter().map(|event| event.kind));
        self.actions = fx.actions;
        for change in fx
            .commit
            .calls
            .into_iter()
            .filter(|change| change.next.is_ended())
        {
            self.ended.insert(change.next.id, change.next);
        }
    }

    pub(crate) fn attempt(&mut self, input: Input) -> Result<(), Refused> {
        let mut fx = Effects::default();
        let result = self.dispatcher.handle(self.now, input, &mut fx);
        if result.is_err() {
            assert!(fx.is_empty(), "a refused input changes nothing");
        }
        self.perform(fx);
        result
    }

    pub(crate) fn run(&mut self, input: Input) {
        self.attempt(input).unwrap();
    }

    /// Lets time pass, with every deadline on time.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.dispatcher.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.run(Input::Tick);
        }
        self.now = end;
    }

    /// Lets time pass without a tick.
    pub(crate) fn jump(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// The server dies and starts again.
    pub(crate) fn restart(&mut self) {
        let open = now_or_panic(self.store.load_open()).unwrap();
        let chat = open
            .calls
            .iter()
            .flat_map(|call| now_or_panic(self.store.chat(call.id)).unwrap())
            .collect();
        let ids = IdSource::seeded(self.now.as_millis());
        let (dispatcher, fx) =
            Dispatcher::restore(&self.config, Arc::new(LongestIdle), ids, self.now, open, chat);
        self.dispatcher = dispatcher;
        self.perform(fx);
    }

    // People.

    pub(crate) fn available(&mut self, name: &str) {
        self.agent_link(name, true);
        self.presence(name, Presence::Available);
    }

    pub(crate) fn agent_link(&mut self, name: &str, up: bool) {
        self.run(Input::AgentLink {
            agent: agent_id(name),
            up,
        });
    }

    pub(crate) fn presence(&mut self, name: &str, presence: Presence) {
        self.run(Input::SetPresence {
            agent: agent_id(name),
            presence,
        });
    }

    pub(crate) fn next_customer(&mut self) -> Customer {
        self.customers += 1;
        Customer {
            id: CustomerId::from(self.customers),
            name: None,
            verified: false,
        }
    }

    pub(crate) fn calls_in(&mut self, queue: &str, priority: u8) -> CallId {
        let customer = self.next_customer();
        let id = customer.id;
        self.run(Input::RequestCall {
            customer,
            queue: queue_id(queue),
            priority,
        });
        self.dispatcher.call_of_customer(id).unwrap().id
    }

    pub(crate) fn calls(&mut self) -> CallId {
        self.calls_in("main", 0)
    }

    pub(crate) fn customer_link(&mut self, call: CallId, up: bool) {
        self.run(Input::CustomerLink { call, up });
    }

    pub(crate) fn offer(&self, name: &str) -> Option<(OfferId, CallId)> {
        match self.agent(name).activity {
            Activity::Reserved { offer, call } => Some((offer, call)),
            _ => None,
        }
    }

    pub(crate) fn accept(&mut self, name: &str) {
        let (offer, _) = self.offer(name).unwrap();
        self.run(Input::Accept {
            agent: agent_id(name),
            offer,
        });
    }

    pub(crate) fn decline(&mut self, name: &str) {
        let (offer, _) = self.offer(name).unwrap();
        self.run(Input::Decline {
            agent: agent_id(name),
            offer,
        });
    }

    pub(crate) fn media(&mut self, call: CallId, party: Party) {
        self.run(Input::MediaUp { call, party });
    }

    pub(crate) fn media_lost(&mut self, call: CallId, party: Party) {
        self.run(Input::MediaLost { call, party });
    }

    /// A call that `name` has accepted.
    pub(crate) fn connecting(&mut self, name: &str) -> CallId {
        self.available(name);
        let call = self.calls();
        self.accept(name);
        call
    }

    /// A call that `name` talks in.
    pub(crate) fn talk(&mut self, name: &str) -> CallId {
        let call = self.connecting(name);
        self.media(call, Party::Customer);
        self.media(call, agent_party(name));
        assert!(matches!(self.state(call), CallState::Active { .. }));
        call
    }

    // Questions.

    pub(crate) fn agent(&self, name: &str) -> &AgentRecord {
        self.dispatcher.agent(&agent_id(name)).unwrap()
    }

    pub(crate) fn call(&self, call: CallId) -> &CallRecord {
        self.dispatcher
            .call(call)
            .or_else(|| self.ended.get(&call))
            .unwrap()
    }

    pub(crate) fn state(&self, call: CallId) -> &CallState {
        &self.call(call).state
    }

    pub(crate) fn end_reason(&self, call: CallId) -> Option<EndReason> {
        match self.state(call) {
            CallState::Ended { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    pub(crate) fn offers(&self, call: CallId) -> Vec<&Offer> {
        self.call(call)
            .segments
            .iter()
            .flat_map(|stay| &stay.offers)
            .collect()
    }

    pub(crate) fn outcomes(&self, call: CallId) -> Vec<(String, Option<OfferOutcome>)> {
        self.offers(call)
            .into_iter()
            .map(|offer| (offer.agent.to_string(), offer.outcome))
            .collect()
    }
}
