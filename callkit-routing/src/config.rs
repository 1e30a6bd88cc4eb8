//! [`RoutingConfig`]: queues, agent profiles and every time limit that the dispatcher knows.

use std::collections::BTreeSet;
use std::time::Duration;

use callkit_core::agent::AgentProfile;
use callkit_core::id::{AgentId, QueueId};

/// What the company configures about routing.
#[derive(Debug, Clone, Default)]
pub struct RoutingConfig {
    /// The queues.
    pub queues: Vec<QueueConfig>,
    /// Who may take calls, and from which queues.
    pub agents: Vec<AgentProfile>,
    /// Time limits.
    pub timers: Timers,
}

impl RoutingConfig {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// [`ConfigError`] names the queue or agent at fault. A dispatcher made from a configuration that was
    /// not checked works, with the last of two equal names winning and unknown queues ignored.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut queues = BTreeSet::new();
        for queue in &self.queues {
            if !queues.insert(&queue.id) {
                return Err(ConfigError::DuplicateQueue(queue.id.clone()));
            }
            if queue.offer_timeout.is_zero() {
                return Err(ConfigError::NoTimeToAnswer(queue.id.clone()));
            }
        }
        let mut agents = BTreeSet::new();
        for agent in &self.agents {
            if !agents.insert(&agent.id) {
                return Err(ConfigError::DuplicateAgent(agent.id.clone()));
            }
            if let Some(queue) = agent.queues.iter().find(|queue| !queues.contains(queue)) {
                return Err(ConfigError::UnknownQueue {
                    agent: agent.id.clone(),
                    queue: queue.clone(),
                });
            }
        }
        Ok(())
    }
}

/// What is wrong with a [`RoutingConfig`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Two queues have the same id.
    #[error("queue {0} is configured twice")]
    DuplicateQueue(QueueId),
    /// Two agents have the same id.
    #[error("agent {0} is configured twice")]
    DuplicateAgent(AgentId),
    /// The offer timeout is zero: every call would be missed at once.
    #[error("queue {0}: the offer timeout is zero")]
    NoTimeToAnswer(QueueId),
    /// A profile names a queue that does not exist.
    #[error("agent {agent}: there is no queue {queue}")]
    UnknownQueue {
        /// Whose profile.
        agent: AgentId,
        /// The unknown queue.
        queue: QueueId,
    },
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// Identity.
    pub id: QueueId,
    /// Name shown to people.
    pub name: String,
    /// How long an offer rings. Default 20 s, the accept window of the large contact centres: shorter
    /// makes attentive agents miss calls, longer makes the customer wait for absent ones.
    pub offer_timeout: Duration,
    /// At most this many calls wait; further ones are refused. Default 1000: more than any team serves,
    /// small enough that a flood of requests cannot fill the memory.
    pub max_len: usize,
    /// The longest wait of one stay in the queue; `None` (default) waits without limit.
    pub max_wait: Option<Duration>,
    /// What follows a call for the agent.
    pub wrap_up: WrapUp,
}

impl QueueConfig {
    /// A queue with the defaults.
    #[must_use]
    pub fn new(id: QueueId, name: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            offer_timeout: Duration::from_secs(20),
            max_len: 1000,
            max_wait: None,
            wrap_up: WrapUp::None,
        }
    }
}

/// What follows a call for the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WrapUp {
    /// Free at once.
    #[default]
    None,
    /// Time for notes that ends by itself, or earlier when the agent says so.
    Forced(Duration),
}

/// Time limits of the dispatcher. All are steady time: setting the wall clock moves none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// From accepting to media of both sides. Default 15 s: ICE and DTLS take 1 s on a good path and give
    /// up after about 10 s on a bad one. Shorter loses slow mobile customers, longer keeps both in silence.
    pub connect: Duration,
    /// How long a place in the queue is kept without the customer's page. Default 60 s: a reload, a
    /// change from Wi-Fi to mobile, a tunnel. Longer only shows the others a longer queue.
    pub queue_grace: Duration,
    /// How long a talk waits for lost media. Default 45 s; both sides see that it is being restored.
    pub media_grace: Duration,
    /// How long an offer rings at a console that does not answer. Default 5 s: a socket that reconnects
    /// does so by then; every further second is the customer's.
    pub ring_grace: Duration,
    /// How long an agent's presence survives the loss of the console. Default 60 s: a reload or a short
    /// network loss must not end the shift.
    pub agent_grace: Duration,
    /// No offers for so long after declining. Default 5 s: enough not to ring in a loop at somebody who
    /// just said no, short enough that a customer with a single agent is not forgotten.
    pub decline_cooldown: Duration,
    /// No offers for so long after missing one. Default 0: the call goes to the others first anyway, and
    /// with nobody else the phone should keep ringing until [`max_misses`](Self::max_misses).
    pub miss_cooldown: Duration,
    /// No offers for so long after media of the agent could not be set up or was lost. Default 10 s: the
    /// next call would most likely fail as well before the browser has recovered.
    pub media_cooldown: Duration,
    /// Missed offers in a row that make an agent NotResponding. Default 3: one or two happen to anybody.
    pub max_misses: u32,
    /// Attempts to connect a call before it is given up. Default 3: each costs the customer up to
    /// `connect`, and three failures with three agents are the customer's own network.
    pub max_connects: u32,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            queue_grace: Duration::from_secs(60),
            media_grace: Duration::from_secs(45),
            ring_grace: Duration::from_secs(5),
            agent_grace: Duration::from_secs(60),
            decline_cooldown: Duration::from_secs(5),
            miss_cooldown: Duration::ZERO,
            media_cooldown: Duration::from_secs(10),
            max_misses: 3,
            max_connects: 3,
        }
    }
}
