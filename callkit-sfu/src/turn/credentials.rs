//! Time-limited credentials from a shared secret (draft-uberti-behave-turn-rest-00): what a page gets, what
//! coturn with `use-auth-secret` and our own server check.
//!
//! The name is `<end, Unix seconds>:<who>`, the password `base64(HMAC-SHA1(secret, name))`. Nothing is stored:
//! whoever has the secret can tell a valid pair.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callkit_core::redact::Secret;
use callkit_core::time::Timestamp;
use ring::hmac;

/// Longest user name that is accepted, bytes. Ours have about 30; RFC 8489 section 14.3 allows 508.
pub(super) const MAX_USERNAME: usize = 128;

/// The secret that credentials are made of.
#[derive(Debug, Clone)]
pub struct TurnSecret(Secret<String>);

/// A name and its password.
#[derive(Debug, Clone)]
pub struct TurnCredentials {
    /// Goes over the network in clear with UDP and TCP: it holds no personal data if `who` does not.
    pub username: String,
    /// What proves it.
    pub password: Secret<String>,
}

/// What a user name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Username<'a> {
    pub(super) expires: Timestamp,
    /// Whom allocations count for; the same over all credentials of a person.
    pub(super) who: &'a str,
}

impl TurnSecret {
    /// The secret as configured, for all servers that check it.
    #[must_use]
    pub fn new(secret: Secret<String>) -> Self {
        Self(secret)
    }

    /// Credentials of `who` that open allocations until `expires`, rounded down to a second.
    #[must_use]
    pub fn issue(&self, expires: Timestamp, who: &str) -> TurnCredentials {
        let username = format!("{}:{who}", expires.as_millis() / 1000);
        let password = self.password(username.as_bytes());
        TurnCredentials { username, password }
    }

    /// A name that says nothing about the person and is the same each time: the quota per name holds over
    /// all credentials, and no reader of the network learns who it is.
    #[must_use]
    pub fn pseudonym(&self, person: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose().as_bytes());
        let tag = hmac::sign(&key, person.as_bytes());
        let hex: String = tag.as_ref()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("p{hex}")
    }

    pub(super) fn password(&self, username: &[u8]) -> Secret<String> {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.0.expose().as_bytes());
        Secret::new(STANDARD.encode(hmac::sign(&key, username)))
    }
}

impl<'a> Username<'a> {
    /// Reads a name of the form above.
    pub(super) fn parse(name: &'a [u8]) -> Option<Self> {
        if name.len() > MAX_USERNAME {
            return None;
        }
        let (expires, who) = std::str::from_utf8(name).ok()?.split_once(':')?;
        let seconds: u64 = expires.parse().ok()?;
        let expires = Timestamp::from_millis(seconds.checked_mul(1000)?);
        (!who.is_empty()).then_some(Self { expires, who })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> TurnSecret {
        TurnSecret::new(Secret::new("north".to_owned()))
    }

    #[test]
    fn a_password_is_what_the_draft_says() {
        let issued = secret().issue(Timestamp::from_millis(1_433_895_918_506), "bob");
        assert_eq!(issued.username, "1433895918:bob");
        // printf %s 1433895918:bob | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(issued.password.expose(), PASSWORD);
    }

    const PASSWORD: &str = "+qCJxktJhPsEAA0wfh7NCKO+G0M=";

    #[test]
    fn a_name_says_until_when_and_who() {
        let parsed = Username::parse(b"1433895918:p:q").unwrap();
        assert_eq!(parsed.expires, Timestamp::from_millis(1_433_895_918_000));
        assert_eq!(parsed.who, "p:q");
        for bad in [
            "",
            "bob",
            ":bob",
            "1433895918:",
            "-1:bob",
            "99999999999999999999:bob",
            "1.5:bob",
        ] {
            assert_eq!(Username::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Username::parse(&[b'1'; MAX_USERNAME + 1]), None);
    }

    #[test]
    fn a_pseudonym_is_stable_and_does_not_tell_the_person() {
        let name = secret().pseudonym("irina");
        assert_eq!(name, secret().pseudonym("irina"));
        assert_ne!(name, secret().pseudonym("oleg"));
        assert!(!name.contains("irina") && name.len() == 17);
    }
}
