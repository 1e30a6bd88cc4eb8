//! [`IceServers`]: which STUN and TURN servers a person is told, with credentials of their own.

use std::time::Duration;

use callkit_core::auth::Principal;
use callkit_core::redact::Private;
use callkit_core::time::Timestamp;
use callkit_sfu::turn::TurnSecret;
use callkit_signal::message::{IceServer, Outcome};

/// What pages are told while there is nothing to tell; they may ask again then.
const NOTHING_FOR: Duration = Duration::from_secs(3600);

/// See the module.
#[derive(Debug)]
pub(crate) struct IceServers {
    relay: Option<Relay>,
}

/// Servers that share a secret with us.
#[derive(Debug)]
struct Relay {
    urls: Vec<String>,
    secret: TurnSecret,
    ttl: Duration,
}

impl IceServers {
    /// No servers: clients reach the media ports themselves.
    pub(crate) fn none() -> Self {
        Self { relay: None }
    }

    /// The servers at `urls`, whose credentials are valid for `ttl`.
    pub(crate) fn at(urls: Vec<String>, secret: TurnSecret, ttl: Duration) -> Self {
        Self {
            relay: Some(Relay { urls, secret, ttl }),
        }
    }

    /// What `who` may use from `now` on.
    pub(crate) fn issue(&self, now: Timestamp, who: &Principal) -> Outcome {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let Some(Relay { urls, secret, ttl }) = &self.relay else {
            return Outcome::Servers {
                ice_servers: Vec::new(),
                expires_in_ms: millis(NOTHING_FOR),
            };
        };
        let person = match who {
            Principal::Customer { id, .. } => format!("customer {id}"),
            Principal::Staff { id, .. } => format!("staff {id}"),
            _ => "other".to_owned(),
        };
        let issued = secret.issue(now + *ttl, &secret.pseudonym(&person));
        Outcome::Servers {
            ice_servers: vec![IceServer {
                urls: urls.clone(),
                username: Some(Private::new(issued.username)),
                credential: Some(Private::new(issued.password.expose().clone())),
            }],
            expires_in_ms: millis(*ttl),
        }
    }
}

#[cfg(test)]
mod tests {
    use callkit_core::auth::StaffRole;
    use callkit_core::id::{AgentId, CustomerId};
    use callkit_core::redact::Secret;

    use super::*;

    fn staff(id: &str) -> Principal {
        Principal::Staff {
            id: AgentId::new(id).unwrap(),
            name: Private::new("Irina".to_owned()),
            role: StaffRole::Operator,
        }
    }

    fn username(servers: &IceServers, now: u64, who: &Principal) -> String {
        match servers.issue(Timestamp::from_millis(now), who) {
            Outcome::Servers {
                ice_servers,
                expires_in_ms: 300_000,
            } => ice_servers[0].username.as_ref().unwrap().expose().clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn credentials_are_personal_time_limited_and_without_a_name() {
        let secret = TurnSecret::new(Secret::new("s".to_owned()));
        let servers = IceServers::at(vec!["turn:h:1".to_owned()], secret, Duration::from_secs(300));
        let irina = username(&servers, 1_000_000, &staff("irina"));
        assert!(irina.starts_with("1300:p") && !irina.contains("irina"), "{irina}");
        assert_ne!(irina, username(&servers, 1_000_000, &staff("oleg")));
        let customer = Principal::Customer {
            id: CustomerId::from(7),
            name: None,
            verified: false,
        };
        assert_ne!(irina, username(&servers, 1_000_000, &customer));
        // Later credentials of one person count for the same quota.
        let later = username(&servers, 2_000_000, &staff("irina"));
        assert_eq!(irina.split(':').nth(1), later.split(':').nth(1));
    }

    #[test]
    fn without_servers_the_list_is_empty() {
        let issued = IceServers::none().issue(Timestamp::from_millis(0), &staff("irina"));
        assert!(matches!(issued, Outcome::Servers { ice_servers, .. } if ice_servers.is_empty()));
    }
}
