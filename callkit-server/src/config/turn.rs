//! Section `turn`: the way for clients that cannot reach the media ports.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use callkit_core::redact::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::ConfigError;

/// Shortest and longest life of credentials, seconds: time to connect, and a day.
const CREDENTIALS_S: std::ops::RangeInclusive<u64> = 60..=86_400;
/// Shorter secrets can be guessed from one pair of credentials.
const MIN_SECRET: usize = 16;
/// More servers only slow browsers down; Firefox warns from five on.
const MAX_URLS: usize = 8;

/// Which STUN and TURN server pages are told to use.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TurnSection {
    /// Whose server.
    pub mode: TurnMode,
    /// How long the credentials of a page open connections, seconds. What is open by then goes on.
    pub credentials_s: u64,
    /// `external`: its URLs (`turn:turn.example.com:3478?transport=udp`).
    pub urls: Vec<String>,
    /// `external`: the secret shared with it, coturn's `static-auth-secret`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    #[schemars(with = "Option<String>")]
    pub secret: Option<Secret<String>>,
    /// `embedded`: address to listen on.
    pub bind: IpAddr,
    /// `embedded`: port of UDP and TCP; 0 takes a free one.
    pub port: u16,
    /// `embedded`: name or address in the URLs that pages get; left out: the first of
    /// `media.external_addresses`, else an address of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `embedded`: port of TLS, if there is a certificate.
    pub tls_port: u16,
    /// `embedded`: certificate chain of `host`, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_certificate: Option<PathBuf>,
    /// `embedded`: its key, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// `embedded`: relays of one person; a browser makes one per transport and network interface.
    pub max_allocations_per_person: usize,
    /// `embedded`: relays from one address; a company behind a NAT comes from one.
    pub max_allocations_per_address: usize,
    /// `embedded`: relays in all.
    pub max_allocations: usize,
    /// `embedded`: most that one relay carries in each direction, kbit/s; 0: no limit.
    pub max_kbit_per_s: u64,
}

/// Whose STUN and TURN server is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TurnMode {
    /// None: clients reach the media ports themselves.
    #[default]
    Off,
    /// One in this process, which leads to the media ports only.
    Embedded,
    /// Another, such as coturn, that shares a secret with this server.
    External,
}

impl Default for TurnSection {
    fn default() -> Self {
        Self {
            mode: TurnMode::Off,
            credentials_s: 300,
            urls: Vec::new(),
            secret: None,
            bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 3478,
            host: None,
            tls_port: 5349,
            tls_certificate: None,
            tls_key: None,
            max_allocations_per_person: 12,
            max_allocations_per_address: 300,
            max_allocations: 2000,
            max_kbit_per_s: 0,
        }
    }
}

impl TurnSection {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if !CREDENTIALS_S.contains(&self.credentials_s) {
            return Err(ConfigError::invalid(
                "turn.credentials_s",
                format!("must be {} to {}", CREDENTIALS_S.start(), CREDENTIALS_S.end()),
            ));
        }
        match self.mode {
            TurnMode::Off => Ok(()),
            TurnMode::Embedded => self.validate_embedded(),
            TurnMode::External => self.validate_external(),
        }
    }

    fn validate_embedded(&self) -> Result<(), ConfigError> {
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return Err(ConfigError::invalid(
                "turn.tls_certificate",
                "needs turn.tls_key, and that needs it",
            ));
        }
        if self.tls_certificate.is_some() && self.host.is_none() {
            return Err(ConfigError::invalid(
                "turn.host",
                "is needed with a certificate: the name that is in it",
            ));
        }
        if let Some(host) = &self.host
            && (host.is_empty() || !is_host(host))
        {
            return Err(ConfigError::invalid(
                "turn.host",
                "must be a name or an address, without port",
            ));
        }
        for (key, limit) in [
            ("turn.max_allocations_per_person", self.max_allocations_per_person),
            (
                "turn.max_allocations_per_address",
                self.max_allocations_per_address,
            ),
            ("turn.max_allocations", self.max_allocations),
        ] {
            if limit == 0 {
                return Err(ConfigError::invalid(key, "must be at least 1"));
            }
        }
        Ok(())
    }

    fn validate_external(&self) -> Result<(), ConfigError> {
        if self.urls.is_empty() || self.urls.len() > MAX_URLS {
            return Err(ConfigError::invalid(
                "turn.urls",
                format!("must name 1 to {MAX_URLS} servers"),
            ));
        }
        let is_known = |url: &&String| {
            ["stun:", "stuns:", "turn:", "turns:"]
                .iter()
                .any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
        };
        if let Some(bad) = self.urls.iter().find(|url| !is_known(url)) {
            return Err(ConfigError::invalid(
                "turn.urls",
                format!("{bad:?} is no stun:, turn: or turns: URL"),
            ));
        }
        let length = self.secret.as_ref().map_or(0, |secret| secret.expose().len());
        if length < MIN_SECRET {
            return Err(ConfigError::invalid(
                "turn.secret",
                format!("must have at least {MIN_SECRET} characters"),
            ));
        }
        Ok(())
    }
}

/// Whether it can stand in a URL: a name, or an address without brackets.
fn is_host(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
        || host
            .chars()
            .all(|one| one.is_ascii_alphanumeric() || matches!(one, '-' | '.'))
}

fn redacted<S: Serializer>(_secret: &Option<Secret<String>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("[secret]")
}
