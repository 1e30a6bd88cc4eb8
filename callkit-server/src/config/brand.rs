//! Section `brand`: how the pages present themselves (R4.6).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Name and looks of the company.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BrandConfig {
    /// Name of the company or service.
    pub name: String,
    /// Path of a logo on this server (`/web/logo.svg`).
    pub logo: Option<String>,
    /// Accent colour, `#rrggbb`.
    pub accent: Option<String>,
    /// Light, dark, or as the visitor's system has it.
    pub theme: Theme,
}

/// Colour theme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    /// As the visitor's system has it.
    #[default]
    Auto,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Default for BrandConfig {
    fn default() -> Self {
        Self {
            name: "Callkit".to_owned(),
            logo: None,
            accent: None,
            theme: Theme::Auto,
        }
    }
}

impl BrandConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if let Some(accent) = &self.accent {
            let digits = accent.strip_prefix('#').unwrap_or_default();
            if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(ConfigError::invalid(
                    "brand.accent",
                    format!("{accent:?} is not of the form #rrggbb"),
                ));
            }
        }
        match &self.logo {
            // The pages load images from their own origin only.
            Some(logo) if !logo.starts_with('/') || logo.starts_with("//") => Err(ConfigError::invalid(
                "brand.logo",
                "must be a path on this server, beginning with /",
            )),
            Some(_) | None => Ok(()),
        }
    }
}
