//! One run: inputs in batches, commits, crashes and clock jumps, with the checker after every input.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hasher as _};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use callkit_core::agent::Link;
use callkit_core::call::{CallState, Party};
use callkit_core::id::IdSource;
use callkit_core::memory::MemorySessionStore;
use callkit_core::store::{HistoryFilter, MAX_PAGE, OpenState, PageRequest, SessionStore as _};
use callkit_core::time::Timestamp;
use callkit_routing::{Action, Dispatcher, Effects, Input, Refused, RoutingConfig};

use crate::check::{Checker, Violation};
use crate::fault::{Fault, policy};
use crate::view::View;
use crate::world::{Dice, Known, company, next_input};

/// Inputs of one run.
const STEPS: u32 = 300;

/// How often a run reached what it is meant to check.
#[derive(Debug, Default)]
pub(crate) struct Reached(BTreeMap<&'static str, u64>);

impl Reached {
    fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    /// Everything that has to be reached, with how often it was.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        const ALL: [&str; 20] = [
            "abandoned",
            "accepted",
            "agent_away",
            "back in the queue on top",
            "both_lost",
            "call_over",
            "crash",
            "customer_left",
            "customer_lost",
            "declined",
            "left",
            "lost",
            "lost batch",
            "media_failed",
            "missed",
            "restart",
            "supervised",
            "switched",
            "talk",
            "unreachable",
        ];
        ALL.into_iter()
            .map(|what| (what, self.0.get(what).copied().unwrap_or_default()))
    }
}

/// What to note of a run beside its invariants; costs as much time as they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// The invariants only.
    Nothing,
    /// [`Run::digest`] and [`Run::reached`] too.
    History,
}

/// A run that held all invariants.
#[derive(Debug)]
pub(crate) struct Run {
    /// A hash over everything that was committed.
    pub(crate) digest: u64,
    pub(crate) reached: Reached,
}

/// A run that did not.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    step: u32,
    pub(crate) violation: Violation,
    trace: VecDeque<(Timestamp, Note)>,
}

/// A line of the trace, put into words only when a run fails.
#[derive(Debug)]
enum Note {
    Answered(Input, Result<(), Refused>),
    Jumped(Duration),
    Crashed(Duration),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { invariant, detail } = &self.violation;
        writeln!(
            f,
            "{invariant} broken in step {} of seed {}: {detail}",
            self.step, self.seed
        )?;
        writeln!(f, "the last inputs:")?;
        for (now, note) in &self.trace {
            match note {
                Note::Answered(input, answer) => writeln!(f, "  {now:?} {input:?} -> {answer:?}")?,
                Note::Jumped(time) => writeln!(f, "  {now:?} {time:?} have passed without a tick")?,
                Note::Crashed(time) => writeln!(f, "  {now:?} crash, {time:?} down")?,
            }
        }
        writeln!(
            f,
            "replay: CALLKIT_SEED={} cargo test -p callkit-tests --test sim random_events",
            self.seed
        )
    }
}

fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the memory store answers at once"),
    }
}

struct Sim {
    dice: Dice,
    config: RoutingConfig,
    fault: Option<Fault>,
    dispatcher: Dispatcher,
    store: MemorySessionStore,
    checker: Checker,
    now: Timestamp,
    known: Known,
    digest: DefaultHasher,
    reached: Reached,
    trace: VecDeque<(Timestamp, Note)>,
    lives: u64,
    watch: Watch,
}

/// Runs `seed`.
pub(crate) fn run(seed: u64, fault: Option<Fault>, watch: Watch) -> Result<Run, Failure> {
    let mut sim = Sim::new(seed, fault, watch);
    let steps = STEPS;
    for step in 0..steps {
        if let Err(violation) = sim.step() {
            return Err(Failure {
                seed,
                step,
                violation,
                trace: sim.trace,
            });
        }
    }
    match sim.leave() {
        Ok(()) => Ok(Run {
            digest: sim.digest.finish(),
            reached: sim.reached,
        }),
        Err(violation) => Err(Failure {
            seed,
            step: steps,
            violation,
            trace: sim.trace,
        }),
    }
}

impl Sim {
    fn new(seed: u64, fault: Option<Fault>, watch: Watch) -> Self {
        let mut dice = Dice::new(seed);
        let config = company(&mut dice);
        let mut checker = Checker::new(&config);
        if fault == Some(Fault::LateAccept) {
            checker.early = Duration::from_secs(5);
        }
        Self {
            dispatcher: Dispatcher::new(&config, policy(fault), IdSource::seeded(seed)),
            store: MemorySessionStore::default(),
            checker,
            now: Timestamp::from_millis(1_000_000),
            known: Known::default(),
            digest: DefaultHasher::new(),
            reached: Reached::default(),
            trace: VecDeque::new(),
            lives: 0,
            watch,
            dice,
            config,
            fault,
        }
    }

    fn step(&mut self) -> Result<(), Violation> {
        match self.dice.below(100) {
            // Time passes with every tick on time.
            0..11 => {
                let limit = if self.dice.one_in(4) { 60_000 } else { 4_000 };
                let time = Duration::from_millis(self.dice.below(limit));
                self.pass(time)
            }
            // Nobody does anything for longer than any grace but the queue's.
            11 | 12 => self.pass(Duration::from_secs(50)),
            // Time jumps and nobody has noticed yet (I20).
            13 => {
                let time = Duration::from_millis(self.dice.below(120_000));
                self.now = self.now + time;
                self.note(Note::Jumped(time));
                Ok(())
            }
            14 if self.dice.one_in(2) => self.lose_batch(),
            14 => self.crash(),
            _ => self.batch(),
        }
    }

    fn note(&mut self, note: Note) {
        if self.trace.len() == 25 {
            self.trace.pop_front();
        }
        self.trace.push_back((self.now, note));
    }

    /// One to four inputs in one commit.
    fn batch(&mut self) -> Result<(), Violation> {
        let mut fx = Effects::default();
        let inputs = if self.dice.one_in(5) { 4 } else { 1 };
        for _ in 0..inputs {
            let input = next_input(&mut self.dice, &self.config, &self.dispatcher, &self.known);
            self.input(input, &mut fx)?;
        }
        self.commit(&fx)
    }

    /// Inputs that nobody will know of: the server dies before the commit.
    fn lose_batch(&mut self) -> Result<(), Violation> {
        let checker = self.checker.fork();
        let mut fx = Effects::default();
        for _ in 0..3 {
            let input = next_input(&mut self.dice, &self.config, &self.dispatcher, &self.known);
            self.input(input, &mut fx)?;
        }
        self.reached.count("lost batch");
        self.checker = checker;
        self.crash()
    }

    fn pass(&mut self, time: Duration) -> Result<(), Violation> {
        let end = self.now + time;
        while let Some(due) = self.dispatcher.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let mut fx = Effects::default();
            self.input(Input::Tick, &mut fx)?;
            self.commit(&fx)?;
        }
        self.now = end;
        Ok(())
    }

    /// Handles one input and checks everything that can be checked after one.
    fn input(&mut self, input: Input, fx: &mut Effects) -> Result<(), Violation> {
        // A driver's clock may be behind what the dispatcher has seen, which never goes back (I20).
        let mut told = self.now;
        if input != Input::Tick && self.dice.one_in(20) {
            self.input(Input::Tick, fx)?;
            told = Timestamp::from_millis(self.now.as_millis().saturating_sub(self.dice.below(10_000)));
        }
        let leaves = Checker::customer_leaves(&input);
        let before: Vec<_> = self.dispatcher.agents().filter(|_| leaves).cloned().collect();
        let (actions, events) = (fx.actions.len(), fx.commit.events.len());
        let changes = fx.commit.calls.len() + fx.commit.agents.len() + fx.commit.chat.len();
        let answer = self.dispatcher.handle(told, input.clone(), fx);
        let done = answer.is_ok();
        self.note(Note::Answered(input.clone(), answer));
        let (mut calls, mut agents) = (Vec::new(), Vec::new());
        let view = match self.fault {
            None => View::of(&self.dispatcher),
            Some(fault) => {
                calls.extend(self.dispatcher.open_calls().cloned());
                agents.extend(self.dispatcher.agents().cloned());
                fault.falsify(&input, &mut calls, &mut agents);
                View {
                    calls: calls.iter().collect(),
                    agents: agents.iter().collect(),
                }
            }
        };
        self.checker.accept_answered(self.now, &input, done)?;
        self.checker.customer_left(&before, &view)?;
        let after = fx.commit.calls.len() + fx.commit.agents.len() + fx.commit.chat.len();
        let same = (actions, events, changes) == (fx.actions.len(), fx.commit.events.len(), after);
        if !done && !same {
            let detail = format!("{input:?} was refused and changed something");
            return Err(Violation {
                invariant: "refused",
                detail,
            });
        }
        self.checker.events(&fx.commit.events[events..], &view)?;
        self.checker.offers_made(&fx.actions[actions..], &view)?;
        self.checker.moment(&view)?;
        if input == Input::Tick && self.dispatcher.next_deadline().is_some_and(|due| due <= self.now) {
            let detail = "a deadline is still due after a tick".to_owned();
            return Err(Violation {
                invariant: "I20",
                detail,
            });
        }
        for action in &fx.actions[actions..] {
            if let Action::OfferMade { offer, agent, call } = action {
                self.known.offers.push((*offer, agent.clone()));
                self.known.calls.push(*call);
            }
        }
        Ok(())
    }

    fn commit(&mut self, fx: &Effects) -> Result<(), Violation> {
        if self.fault.is_none() {
            self.checker
                .getters(&self.dispatcher, &View::of(&self.dispatcher))?;
        }
        if self.watch == Watch::History {
            self.watch(fx);
        }
        let failed = |error| Violation {
            invariant: "commit",
            detail: format!("{error}: {:?}", fx.commit),
        };
        at_once(self.store.commit(&fx.commit)).map_err(failed)
    }

    fn watch(&mut self, fx: &Effects) {
        for event in &fx.commit.events {
            let text = serde_json::to_value(&event.kind).unwrap_or_default();
            for key in ["cause", "outcome", "reason"] {
                match text.get(key).and_then(|value| value.as_str()) {
                    Some("canceled") | None => {}
                    Some(word) => self.reached.count(reached_name(word)),
                }
            }
            match text["type"].as_str() {
                Some("call.started") => self.reached.count("talk"),
                Some("call.supervisor_joined") => self.reached.count("supervised"),
                Some("call.supervisor_mode") => self.reached.count("switched"),
                _ => {}
            }
        }
        if fx
            .commit
            .calls
            .iter()
            .any(|change| change.next.priority == u8::MAX)
        {
            self.reached.count("back in the queue on top");
        }
        self.digest
            .write(&serde_json::to_vec(&fx.commit).unwrap_or_default());
    }

    /// Kill -9 and start again, some time later.
    fn crash(&mut self) -> Result<(), Violation> {
        self.reached.count("crash");
        let down = Duration::from_millis(self.dice.below(30_000));
        self.now = self.now + down;
        self.lives += 1;
        let failed = |error| Violation {
            invariant: "I14",
            detail: format!("{error:?}"),
        };
        let open = at_once(self.store.load_open()).map_err(failed)?;
        let mut chat = Vec::new();
        for call in &open.calls {
            chat.extend(at_once(self.store.chat(call.id)).map_err(failed)?);
        }
        let stored = open.calls.clone();
        let ids = IdSource::seeded(self.lives ^ self.now.as_millis() << 20);
        let open = self.damage(open);
        let (dispatcher, fx) =
            Dispatcher::restore(&self.config, policy(self.fault), ids, self.now, open, chat);
        self.dispatcher = dispatcher;
        self.note(Note::Crashed(down));
        let view = View::of(&self.dispatcher);
        self.checker.restarted(&stored, &view)?;
        self.checker.events(&fx.commit.events, &view)?;
        self.checker.offers_made(&fx.actions, &view)?;
        self.checker.moment(&view)?;
        self.commit(&fx)?;
        if self.dice.one_in(2) {
            self.come_back()
        } else {
            Ok(())
        }
    }

    /// Everybody finds back to the new server, as pages and consoles do.
    fn come_back(&mut self) -> Result<(), Violation> {
        let mut fx = Effects::default();
        let calls: Vec<_> = self.dispatcher.open_calls().map(|call| call.id).collect();
        for agent in self.config.agents.clone() {
            self.input(
                Input::AgentLink {
                    agent: agent.id,
                    up: true,
                },
                &mut fx,
            )?;
        }
        for call in calls {
            self.input(Input::CustomerLink { call, up: true }, &mut fx)?;
        }
        self.commit(&fx)
    }

    fn damage(&self, mut open: OpenState) -> OpenState {
        let waiting = open
            .calls
            .iter()
            .position(|call| matches!(call.state, CallState::Queued { .. }));
        match (self.fault, waiting) {
            (Some(Fault::LosesCall), Some(at)) => {
                open.calls.remove(at);
            }
            (Some(Fault::RenewsPlace), Some(at)) => open.calls[at].enqueued_at = self.now,
            _ => {}
        }
        open
    }

    /// Everybody leaves, every timer runs out, and nothing is left behind (I3, I4, I5).
    fn leave(&mut self) -> Result<(), Violation> {
        let calls: Vec<_> = self
            .dispatcher
            .open_calls()
            .map(|call| (call.id, call.state.clone()))
            .collect();
        let mut fx = Effects::default();
        for (call, state) in calls {
            self.input(Input::CustomerLink { call, up: false }, &mut fx)?;
            if let CallState::Connecting { agent, .. } | CallState::Active { agent, .. } = state {
                self.input(
                    Input::MediaLost {
                        call,
                        party: Party::Customer,
                    },
                    &mut fx,
                )?;
                self.input(
                    Input::MediaLost {
                        call,
                        party: Party::Agent(agent),
                    },
                    &mut fx,
                )?;
            }
        }
        for agent in self.config.agents.clone() {
            self.input(
                Input::AgentLink {
                    agent: agent.id,
                    up: false,
                },
                &mut fx,
            )?;
        }
        self.commit(&fx)?;
        self.pass(Duration::from_secs(600))?;

        let mut history = Vec::new();
        let mut page = PageRequest {
            before: None,
            limit: MAX_PAGE,
        };
        loop {
            let some = at_once(self.store.calls(&HistoryFilter::default(), page)).unwrap_or_default();
            let Some(last) = some.last() else { break };
            page.before = Some(last.id);
            history.extend(some);
        }
        let view = View::of(&self.dispatcher);
        self.checker.quiet(&view, &history)?;
        let stays = self.dispatcher.agents().find(|agent| agent.link != Link::Down);
        match stays {
            None => Ok(()),
            Some(agent) => Err(Violation {
                invariant: "I4",
                detail: format!("{agent:?} never leaves"),
            }),
        }
    }
}

fn reached_name(word: &str) -> &'static str {
    let all = [
        "abandoned",
        "accepted",
        "agent_away",
        "both_lost",
        "call_over",
        "customer_left",
        "customer_lost",
        "declined",
        "left",
        "lost",
        "media_failed",
        "missed",
        "restart",
        "unreachable",
    ];
    all.into_iter().find(|name| *name == word).unwrap_or("other")
}
