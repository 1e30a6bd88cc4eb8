//! [`Authenticator`]: long-term credentials (RFC 8489 section 9.2) over time-limited names, and nonces that
//! prove themselves, so that a flood of first requests leaves nothing behind.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use callkit_core::redact::Secret;
use callkit_core::time::Timestamp;
use ring::hmac;
use rtc_crypto::providers::RingProvider;
use rtc_crypto::{HashAlgorithm, RTCCrypto, RTCCryptoProvider as _};
use rtc_stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME};

use super::allocation::Allocation;
use super::credentials::{TurnSecret, Username};
use super::message::{Refusal, Request};
use super::meter::network;

/// How long a nonce is good (RFC 8656 section 5 asks for an hour at most).
const NONCE_LIFETIME: Duration = Duration::from_secs(3600);
/// Bytes of the proof in a nonce. A guess is right once in 2^64, and gains only a longer life of the nonce.
const PROOF: usize = 8;

/// The key of the message signatures of a name.
pub(super) type Key = Secret<Vec<u8>>;

/// Who signed a request.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) username: Box<[u8]>,
    pub(super) who: Box<str>,
    pub(super) key: Key,
}

/// The provider of MD5 and HMAC-SHA1, with a Debug form, which the foreign type lacks.
#[derive(Clone, Default)]
pub(super) struct Crypto(Arc<RingProvider>);

impl Crypto {
    pub(super) fn crypto(&self) -> &dyn RTCCrypto {
        self.0.crypto()
    }
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Crypto")
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Authenticator {
    secrets: Vec<TurnSecret>,
    nonces: hmac::Key,
    crypto: Crypto,
}

impl Authenticator {
    /// Names the server in challenges.
    pub(super) const REALM: &str = "callkit";

    pub(super) fn new(secrets: Vec<TurnSecret>, key: &Secret<[u8; 32]>, crypto: Crypto) -> Self {
        Self {
            secrets,
            nonces: hmac::Key::new(hmac::HMAC_SHA256, key.expose()),
            crypto,
        }
    }

    /// A nonce for a client at `ip`: `<end, Unix seconds, hex><proof, hex>`.
    pub(super) fn nonce(&self, now: Timestamp, ip: IpAddr) -> String {
        let end = (now + NONCE_LIFETIME).as_millis() / 1000;
        self.nonce_until(end, ip)
    }

    fn nonce_until(&self, end: u64, ip: IpAddr) -> String {
        let mut proven = end.to_be_bytes().to_vec();
        match network(ip) {
            IpAddr::V4(v4) => proven.extend(v4.octets()),
            IpAddr::V6(v6) => proven.extend(v6.octets()),
        }
        let tag = hmac::sign(&self.nonces, &proven);
        let proof: String = tag.as_ref()[..PROOF]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{end:08x}{proof}")
    }

    fn is_fresh(&self, now: Timestamp, ip: IpAddr, nonce: &[u8]) -> bool {
        let end = nonce
            .len()
            .checked_sub(2 * PROOF)
            .and_then(|split| std::str::from_utf8(&nonce[..split]).ok())
            .and_then(|end| u64::from_str_radix(end, 16).ok());
        end.is_some_and(|end| {
            let expected = Secret::new(self.nonce_until(end, ip).into_bytes());
            end > now.as_millis() / 1000 && expected.matches(nonce)
        })
    }

    /// Checks who signed `request`, which came from the client of `allocation` if there is one. The error
    /// says whether the answer has to carry a challenge.
    pub(super) fn check(
        &self,
        now: Timestamp,
        ip: IpAddr,
        request: &mut Request,
        allocation: Option<&Allocation>,
    ) -> Result<Claim, (Refusal, bool)> {
        let unauthorized = (Refusal::Unauthorized, true);
        if !request.is_signed() {
            return Err(unauthorized);
        }
        let (Some(name), Some(realm), Some(nonce)) = (
            request.get(ATTR_USERNAME),
            request.get(ATTR_REALM),
            request.get(ATTR_NONCE),
        ) else {
            return Err((Refusal::BadRequest, false));
        };
        if !self.is_fresh(now, ip, nonce) {
            return Err((Refusal::StaleNonce, true));
        }
        if realm != Self::REALM.as_bytes() {
            return Err(unauthorized);
        }
        let username: Box<[u8]> = name.into();
        let crypto = &self.crypto;
        if let Some(allocation) = allocation {
            if *allocation.username != *username {
                return Err((Refusal::WrongCredentials, false));
            }
            // The end in the name is for opening: a call may last longer than its credentials.
            let key = allocation.key.clone();
            return match request.is_signed_with(key.expose(), crypto.crypto()) {
                true => Ok(Claim {
                    username,
                    who: allocation.who.clone(),
                    key,
                }),
                false => Err(unauthorized),
            };
        }
        let who: Box<str> = match Username::parse(&username) {
            Some(parsed) if parsed.expires > now => parsed.who.into(),
            _ => return Err(unauthorized),
        };
        for secret in &self.secrets {
            let Some(key) = self.key(&username, secret) else {
                continue;
            };
            if request.is_signed_with(key.expose(), crypto.crypto()) {
                return Ok(Claim { username, who, key });
            }
        }
        Err(unauthorized)
    }

    /// `MD5(name ":" realm ":" password)` (RFC 8489 section 9.2.2).
    fn key(&self, username: &[u8], secret: &TurnSecret) -> Option<Key> {
        let password = secret.password(username);
        let text = [
            username,
            b":",
            Self::REALM.as_bytes(),
            b":",
            password.expose().as_bytes(),
        ]
        .concat();
        let key = self.crypto.crypto().hash(HashAlgorithm::Md5, &text).ok()?;
        Some(Secret::new(key))
    }
}
