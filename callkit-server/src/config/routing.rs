//! Section `routing`: queues and their times.

use std::collections::BTreeSet;
use std::time::Duration;

use callkit_core::id::QueueId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Queues and what they have in common.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingSection {
    /// The queue of customers who name none; empty: the first queue.
    #[schemars(with = "Option<String>")]
    pub default_queue: Option<QueueId>,
    /// How long a call rings at an operator before the next one gets it, seconds.
    pub offer_timeout_s: u64,
    /// Calls waiting in one queue; further customers are told that it is full.
    pub max_queue_length: u32,
    /// Longest wait in seconds, then the call ends; 0: no limit.
    pub max_wait_s: u64,
    /// The queues.
    pub queues: Vec<QueueConfig>,
}

/// A queue.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// Name in the API: 1 to 64 of `a-z 0-9 - _ . @`.
    #[schemars(with = "String")]
    pub id: QueueId,
    /// Name that people see.
    pub name: String,
    /// As `routing.offer_timeout_s`, for this queue.
    #[serde(default)]
    pub offer_timeout_s: Option<u64>,
    /// As `routing.max_queue_length`, for this queue.
    #[serde(default)]
    pub max_queue_length: Option<u32>,
    /// As `routing.max_wait_s`, for this queue.
    #[serde(default)]
    pub max_wait_s: Option<u64>,
}

impl Default for RoutingSection {
    fn default() -> Self {
        let support = QueueId::new("support").expect("a literal of the allowed characters");
        Self {
            default_queue: None,
            offer_timeout_s: 20,
            max_queue_length: 500,
            max_wait_s: 0,
            queues: vec![QueueConfig {
                id: support,
                name: "Support".to_owned(),
                offer_timeout_s: None,
                max_queue_length: None,
                max_wait_s: None,
            }],
        }
    }
}

impl RoutingSection {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.queues.is_empty() {
            return Err(ConfigError::invalid(
                "routing.queues",
                "there must be at least one queue",
            ));
        }
        let mut seen = BTreeSet::new();
        for queue in &self.queues {
            if !seen.insert(&queue.id) {
                return Err(ConfigError::invalid(
                    "routing.queues",
                    format!("queue {} is there twice", queue.id),
                ));
            }
            // Below 5 s nobody can react; above 5 min the customer has gone.
            if !(5..=300).contains(&self.offer_timeout(queue).as_secs()) {
                return Err(ConfigError::invalid(
                    "routing.offer_timeout_s",
                    "must be 5 to 300 seconds",
                ));
            }
            if self.max_queue_length(queue) == 0 {
                return Err(ConfigError::invalid(
                    "routing.max_queue_length",
                    "must be at least 1",
                ));
            }
        }
        match &self.default_queue {
            Some(queue) if !seen.contains(queue) => Err(ConfigError::invalid(
                "routing.default_queue",
                format!("there is no queue {queue}"),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// The queue of customers who name none. A checked section has one.
    #[must_use]
    pub fn default_queue(&self) -> Option<&QueueId> {
        self.default_queue
            .as_ref()
            .or_else(|| self.queues.first().map(|queue| &queue.id))
    }

    /// How long a call of `queue` rings.
    #[must_use]
    pub fn offer_timeout(&self, queue: &QueueConfig) -> Duration {
        Duration::from_secs(queue.offer_timeout_s.unwrap_or(self.offer_timeout_s))
    }

    /// How many calls may wait in `queue`.
    #[must_use]
    pub fn max_queue_length(&self, queue: &QueueConfig) -> u32 {
        queue.max_queue_length.unwrap_or(self.max_queue_length)
    }

    /// The longest wait in `queue`, if there is a limit.
    #[must_use]
    pub fn max_wait(&self, queue: &QueueConfig) -> Option<Duration> {
        Some(queue.max_wait_s.unwrap_or(self.max_wait_s))
            .filter(|limit| *limit > 0)
            .map(Duration::from_secs)
    }
}
