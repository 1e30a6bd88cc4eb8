//! From the configuration to STUN and TURN servers: the embedded one started, or another one named.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use callkit_core::id::IdSource;
use callkit_core::redact::Secret;
use callkit_core::time::Clock;
use callkit_sfu::control::Sfu;
use callkit_sfu::turn::{
    NoPeers, Peers, TlsError, TurnConfig, TurnError, TurnLimits, TurnSecret, TurnService, TurnTls,
};

use crate::config::{Config, TurnMode, TurnSection};
use crate::ice::IceServers;

/// Why there is no way around a firewall although one is configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The embedded server leads to the SFU of this process only, and there is none.
    #[error("turn.mode = \"embedded\" needs the SFU of this process")]
    NoSfu,
    /// The SFU listens nowhere that could be relayed to.
    #[error(transparent)]
    NoPeers(NoPeers),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Certificate and key cannot be used.
    #[error("turn.tls_certificate")]
    Tls(#[source] TlsError),
    /// The server does not start.
    #[error(transparent)]
    Start(TurnError),
}

/// Starts what the configuration says. Gives the embedded server, if there is one, and what pages are told.
pub(crate) fn start(
    config: &Config,
    sfu: Option<&Sfu>,
    clock: &Arc<dyn Clock>,
    mut random: IdSource,
) -> Result<(Option<TurnService>, IceServers), RelayError> {
    let section = &config.turn;
    let ttl = Duration::from_secs(section.credentials_s);
    match section.mode {
        TurnMode::Off => Ok((None, IceServers::none())),
        TurnMode::External => {
            let secret = section
                .secret
                .clone()
                .unwrap_or_else(|| Secret::new(String::new()));
            let servers = IceServers::at(section.urls.clone(), TurnSecret::new(secret), ttl);
            Ok((None, servers))
        }
        TurnMode::Embedded => {
            let sfu = sfu.ok_or(RelayError::NoSfu)?;
            let external = &config.media.external_addresses;
            let peers = Peers::new(sfu.candidates(), external).map_err(RelayError::NoPeers)?;
            // Nobody else has to know it, and credentials need not outlive this start: media does not either.
            let secret = format!("{:032x}{:032x}", random.next_u128(), random.next_u128());
            let secret = TurnSecret::new(Secret::new(secret));
            let service = TurnService::start(
                embedded(section)?,
                peers,
                vec![secret.clone()],
                Arc::clone(clock),
                random,
            )
            .map_err(RelayError::Start)?;
            let host = host(section, sfu.candidates());
            let urls = urls(&host, service.listening(), service.listening_tls());
            tracing::info!(?urls, "TURN");
            Ok((Some(service), IceServers::at(urls, secret, ttl)))
        }
    }
}

fn embedded(section: &TurnSection) -> Result<TurnConfig, RelayError> {
    let tls = match (&section.tls_certificate, &section.tls_key) {
        (Some(certificate), Some(key)) => {
            let tls = TurnTls::from_pem(&read(certificate)?, &read(key)?).map_err(RelayError::Tls)?;
            Some((section.tls_port, tls))
        }
        _ => None,
    };
    Ok(TurnConfig {
        bind: Some(section.bind).filter(|bind| !bind.is_unspecified()),
        port: section.port,
        tls,
        limits: TurnLimits {
            per_user: section.max_allocations_per_person,
            per_source: section.max_allocations_per_address,
            total: section.max_allocations,
            rate: (section.max_kbit_per_s > 0).then(|| section.max_kbit_per_s.saturating_mul(125)),
        },
        ..TurnConfig::default()
    })
}

fn read(path: &Path) -> Result<Vec<u8>, RelayError> {
    std::fs::read(path).map_err(|source| RelayError::File {
        path: path.to_owned(),
        source,
    })
}

/// What pages reach the embedded server by: as configured; else the address that it listens on; else the
/// first address that media is announced with, which is an external one where there is any.
fn host(section: &TurnSection, candidates: &[SocketAddr]) -> String {
    match (&section.host, section.bind) {
        (Some(host), _) => host.clone(),
        (None, bind) if !bind.is_unspecified() => bind.to_string(),
        (None, bind) => candidates
            .first()
            .map_or_else(|| bind.to_string(), |one| one.ip().to_string()),
    }
}

/// The forms of RFC 7064 and RFC 7065, least costly first: browsers try all and prefer the first.
fn urls(host: &str, plain: SocketAddr, tls: Option<SocketAddr>) -> Vec<String> {
    let host = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
        _ => host.to_owned(),
    };
    let port = plain.port();
    let mut urls = vec![
        format!("stun:{host}:{port}"),
        format!("turn:{host}:{port}?transport=udp"),
        format!("turn:{host}:{port}?transport=tcp"),
    ];
    urls.extend(tls.map(|tls| format!("turns:{host}:{}?transport=tcp", tls.port())));
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn p35_ipv6_addresses_have_brackets_in_urls() {
        let urls = urls("2001:db8::5", address("[::]:3478"), Some(address("[::]:443")));
        assert_eq!(
            urls,
            [
                "stun:[2001:db8::5]:3478",
                "turn:[2001:db8::5]:3478?transport=udp",
                "turn:[2001:db8::5]:3478?transport=tcp",
                "turns:[2001:db8::5]:443?transport=tcp",
            ]
        );
    }

    #[test]
    fn pages_are_told_the_configured_host_or_where_media_is_reached() {
        let candidates = [address("203.0.113.9:4000"), address("10.0.0.5:4000")];
        let mut section = TurnSection::default();
        assert_eq!(host(&section, &candidates), "203.0.113.9");
        section.bind = "10.0.0.7".parse().unwrap();
        assert_eq!(host(&section, &candidates), "10.0.0.7");
        section.host = Some("turn.example.com".to_owned());
        assert_eq!(host(&section, &candidates), "turn.example.com");
    }
}
