//! Section `media`: audio and video.

use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Most media threads that make sense: their ports are consecutive.
const MAX_SHARDS: u16 = 64;

/// Where media is received and sent.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MediaConfig {
    /// Address to receive media on. Loopback alone does not work for every browser: Firefox ignores
    /// candidates of 127.0.0.1.
    pub bind: IpAddr,
    /// First UDP port; each shard takes one, counting up. 0 takes free ones.
    pub port: u16,
    /// Whether media is taken over TCP too (ICE-TCP), for networks that let no UDP through.
    pub tcp: bool,
    /// First TCP port of media, where it is not to be that of `port`.
    pub tcp_port: Option<u16>,
    /// Addresses under which clients reach the media ports from outside, when a NAT is in between; empty:
    /// the addresses of the machine's interfaces.
    pub external_addresses: Vec<IpAddr>,
    /// Media threads. A call lives on one; more than the machine has cores gains nothing.
    pub shards: u16,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 40000,
            tcp: true,
            tcp_port: None,
            external_addresses: Vec::new(),
            shards: 1,
        }
    }
}

impl MediaConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=MAX_SHARDS).contains(&self.shards) {
            return Err(ConfigError::invalid(
                "media.shards",
                format!("must be 1 to {MAX_SHARDS}"),
            ));
        }
        if self.port != 0 && self.port.checked_add(self.shards - 1).is_none() {
            return Err(ConfigError::invalid(
                "media.port",
                "leaves no ports for all shards below 65536",
            ));
        }
        let tcp_port = self.tcp_port.filter(|port| *port != 0);
        if tcp_port.is_some_and(|port| port.checked_add(self.shards - 1).is_none()) {
            return Err(ConfigError::invalid(
                "media.tcp_port",
                "leaves no ports for all shards below 65536",
            ));
        }
        if let Some(bad) = self
            .external_addresses
            .iter()
            .find(|address| address.is_unspecified())
        {
            return Err(ConfigError::invalid(
                "media.external_addresses",
                format!("{bad} is no address to reach"),
            ));
        }
        Ok(())
    }
}
