//! Section `staff`: who may sign in.

use std::collections::BTreeSet;

use callkit_core::auth::StaffRole;
use callkit_core::id::{AgentId, QueueId};
use callkit_core::redact::{Private, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::{ConfigError, RoutingSection};
use crate::adapter::auth_static::PasswordHash;

/// Who may sign in.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StaffConfig {
    /// The members of staff.
    pub users: Vec<UserConfig>,
}

/// A member of staff.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// Sign-in name: 1 to 64 of `a-z 0-9 - _ . @`.
    #[schemars(with = "String")]
    pub id: AgentId,
    /// Name that customers and colleagues see.
    #[schemars(with = "String")]
    pub name: Private<String>,
    /// What the person may be.
    #[serde(default)]
    pub role: Role,
    /// The queues whose calls the person gets; empty: all of them for operators, none for others.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub queues: Vec<QueueId>,
    /// Argon2id hash in PHC form, as printed by `callkit-server hash-password`.
    #[serde(serialize_with = "redacted")]
    #[schemars(with = "String")]
    pub password_hash: Secret<String>,
}

/// What a member of staff may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes calls.
    #[default]
    Operator,
    /// Takes calls and looks after operators.
    Supervisor,
    /// Runs the installation.
    Admin,
}

impl From<Role> for StaffRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Operator => Self::Operator,
            Role::Supervisor => Self::Supervisor,
            Role::Admin => Self::Admin,
        }
    }
}

fn redacted<S: Serializer>(_secret: &Secret<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("[secret]")
}

impl UserConfig {
    /// The queues whose calls the person gets.
    #[must_use]
    pub fn serves(&self, routing: &RoutingSection) -> Vec<QueueId> {
        if self.queues.is_empty() && self.role == Role::Operator {
            return routing.queues.iter().map(|queue| queue.id.clone()).collect();
        }
        self.queues.clone()
    }
}

impl StaffConfig {
    pub(super) fn validate(&self, routing: &RoutingSection) -> Result<(), ConfigError> {
        let mut seen = BTreeSet::new();
        for user in &self.users {
            let key = |field: &str| format!("staff.users.{}.{field}", user.id);
            if !seen.insert(&user.id) {
                return Err(ConfigError::invalid(key("id"), "is there twice"));
            }
            if user.name.expose().trim().is_empty() {
                return Err(ConfigError::invalid(key("name"), "must not be empty"));
            }
            if let Some(unknown) = user
                .queues
                .iter()
                .find(|queue| !routing.queues.iter().any(|known| known.id == **queue))
            {
                return Err(ConfigError::invalid(
                    key("queues"),
                    format!("there is no queue {unknown}"),
                ));
            }
            PasswordHash::parse(&user.password_hash)
                .map_err(|error| ConfigError::invalid(key("password_hash"), error.to_string()))?;
        }
        Ok(())
    }
}
