//! Section `http`: pages, API and signaling.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Where pages, API and signaling are served.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address to listen on. Browsers give camera and microphone only to https pages and to localhost, so
    /// any other address than loopback needs `behind_tls_proxy`.
    pub bind: IpAddr,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Where browsers reach this server, if that is another address than the one it listens on
    /// (`https://calls.example.com`).
    pub public_url: Option<String>,
    /// Further origins whose pages may use API and signaling: sites that embed the customer widget.
    pub allowed_origins: Vec<String>,
    /// A proxy in front of this server ends TLS: cookies are marked Secure, and the last entry of
    /// `X-Forwarded-For` is the client.
    pub behind_tls_proxy: bool,
    /// Serve the pages from this folder instead of the embedded ones, read anew for each request.
    pub web_dir: Option<PathBuf>,
    /// Connections open at the same time; further ones wait in the kernel's backlog.
    pub max_connections: u32,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            public_url: None,
            allowed_origins: Vec::new(),
            behind_tls_proxy: false,
            web_dir: None,
            max_connections: 8192,
        }
    }
}

impl HttpConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if !self.bind.is_loopback() && !self.behind_tls_proxy {
            return Err(ConfigError::invalid(
                "http.bind",
                format!(
                    "{} is not loopback, and browsers refuse camera and microphone to pages without https: \
                     put a TLS proxy in front and set http.behind_tls_proxy = true",
                    self.bind
                ),
            ));
        }
        if let Some(url) = &self.public_url {
            let parsed = origin_of(url).ok_or_else(|| {
                ConfigError::invalid("http.public_url", "must be http(s)://host[:port] without a path")
            })?;
            if parsed.starts_with("http://") && self.behind_tls_proxy {
                return Err(ConfigError::invalid(
                    "http.public_url",
                    "must be https behind a TLS proxy",
                ));
            }
        }
        if let Some(bad) = self
            .allowed_origins
            .iter()
            .find(|origin| origin_of(origin).is_none())
        {
            return Err(ConfigError::invalid(
                "http.allowed_origins",
                format!("{bad:?} must be http(s)://host[:port] without a path"),
            ));
        }
        if self.max_connections == 0 {
            return Err(ConfigError::invalid("http.max_connections", "must be at least 1"));
        }
        Ok(())
    }

    /// Whether browsers reach this server over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.behind_tls_proxy
            || self
                .public_url
                .as_deref()
                .is_some_and(|url| url.starts_with("https://"))
    }

    /// The origins whose pages may use API and signaling, for a server that listens on `port`.
    #[must_use]
    pub fn origins(&self, port: u16) -> Vec<String> {
        let own = match &self.public_url {
            Some(url) => origin_of(url).into_iter().collect(),
            None => {
                let host = match self.bind {
                    IpAddr::V4(address) => address.to_string(),
                    IpAddr::V6(address) => format!("[{address}]"),
                };
                vec![
                    format!("http://{host}:{port}"),
                    format!("http://localhost:{port}"),
                ]
            }
        };
        own.into_iter()
            .chain(self.allowed_origins.iter().filter_map(|origin| origin_of(origin)))
            .collect()
    }
}

/// `url` as a browser writes it in `Origin`: scheme, host in lower case, port unless it is the default.
pub(super) fn origin_of(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let scheme = uri
        .scheme_str()
        .filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri
        .authority()
        .filter(|authority| !authority.as_str().contains('@'))?;
    if uri.path() != "/" || uri.query().is_some() {
        return None;
    }
    let default_port = if scheme == "https" { 443 } else { 80 };
    let host = authority.host().to_ascii_lowercase();
    Some(match authority.port_u16() {
        Some(port) if port != default_port => format!("{scheme}://{host}:{port}"),
        Some(_) | None => format!("{scheme}://{host}"),
    })
}
