//! The server's configuration: one section per file, defaults for everything, file < environment < flags.
//!
//! Nothing here binds, opens or reads anything but the configuration file itself.

mod brand;
mod error;
mod http;
mod media;
mod routing;
mod source;
mod staff;
mod storage;
mod telemetry;
mod turn;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use brand::{BrandConfig, Theme};
pub use error::ConfigError;
pub use http::HttpConfig;
pub use media::MediaConfig;
pub use routing::{QueueConfig, RoutingSection};
pub use source::{Override, from_environment, load, parse};
pub use staff::{Role, StaffConfig, UserConfig};
pub use storage::StorageConfig;
pub use telemetry::{LogFormat, TelemetryConfig};
pub use turn::{TurnMode, TurnSection};

/// All settings of the server. `config.example.toml` shows each with its default.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Pages, API and signaling.
    pub http: HttpConfig,
    /// Audio and video.
    pub media: MediaConfig,
    /// The way for clients that cannot reach the media ports.
    pub turn: TurnSection,
    /// Where data is kept.
    pub storage: StorageConfig,
    /// Queues and their times.
    pub routing: RoutingSection,
    /// Who may sign in.
    pub staff: StaffConfig,
    /// How the pages present themselves.
    pub brand: BrandConfig,
    /// Logs.
    pub telemetry: TelemetryConfig,
}

impl Config {
    /// Checks what single values cannot tell: references between sections and combinations that would
    /// start but not work.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] naming the first key that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.http.validate()?;
        self.media.validate()?;
        self.turn.validate()?;
        self.routing.validate()?;
        self.staff.validate(&self.routing)?;
        self.brand.validate()?;
        self.telemetry.validate()
    }

    /// The settings as TOML, with every secret replaced by `[secret]`.
    #[must_use]
    pub fn to_redacted_toml(&self) -> String {
        toml::to_string_pretty(self).expect("the sections serialise to TOML: maps with string keys only")
    }

    /// JSON schema of the configuration file.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}

#[cfg(test)]
mod tests;
