//! Typed identifiers. Random ones come from an injected [`IdSource`], so that a seed replays a run.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Crockford base 32 in lower case: no `i`, `l`, `o`, `u`, so an id can be read aloud on the phone.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 128 bits in base 32.
const DIGITS: usize = 26;

/// Where random identifiers come from: a ChaCha12 generator, seeded from the operating system in a
/// driver and from a number in tests. Ids are unguessable when the seed is.
#[derive(Clone)]
pub struct IdSource(ChaCha12Rng);

impl IdSource {
    /// A source that gives the same ids for the same seed: tests and simulations.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    /// A source from 32 bytes of real entropy: production.
    #[must_use]
    pub fn from_entropy(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// The next id of the wanted kind.
    pub fn next_id<T: From<u128>>(&mut self) -> T {
        T::from(self.next_u128())
    }

    /// 128 fresh random bits.
    pub fn next_u128(&mut self) -> u128 {
        (u128::from(self.0.next_u64()) << 64) | u128::from(self.0.next_u64())
    }

    /// 64 fresh random bits, for tie-breaking and jitter.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

impl fmt::Debug for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdSource(..)")
    }
}

/// An identifier that does not have the form of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}")]
pub struct InvalidId {
    kind: &'static str,
}

fn write_random(f: &mut fmt::Formatter<'_>, prefix: &str, value: u128) -> fmt::Result {
    let mut text = [0u8; DIGITS];
    let mut rest = value;
    for digit in text.iter_mut().rev() {
        *digit = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    // The alphabet is ASCII.
    write!(
        f,
        "{prefix}_{}",
        std::str::from_utf8(&text).map_err(|_| fmt::Error)?
    )
}

fn parse_random(text: &str, prefix: &'static str) -> Result<u128, InvalidId> {
    let invalid = InvalidId { kind: prefix };
    let digits = text
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'))
        .ok_or_else(|| invalid.clone())?;
    if digits.len() != DIGITS {
        return Err(invalid);
    }
    let mut value: u128 = 0;
    for byte in digits.bytes() {
        let digit = ALPHABET
            .iter()
            .position(|known| *known == byte)
            .ok_or_else(|| invalid.clone())?;
        if value >> 123 != 0 {
            return Err(invalid);
        }
        value = (value << 5) | digit as u128;
    }
    Ok(value)
}

macro_rules! random_ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// The 128 bits behind the text form.
            #[must_use]
            pub fn as_u128(self) -> u128 {
                self.0
            }
        }

        impl From<u128> for $name {
            fn from(value: u128) -> Self {
                Self(value)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_random(f, $prefix, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_random(text, $prefix).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

random_ids! {
    /// One request of a customer, from asking to the end of the talk.
    CallId = "call";
    /// A customer, stable over the customer's calls as far as the embedding platform knows it.
    CustomerId = "cust";
    /// An entry of the event catalogue; the key by which a consumer drops duplicates.
    EventId = "evt";
    /// A chat message.
    MessageId = "msg";
    /// One call offered to one agent: also the fencing token of accepting it.
    OfferId = "offer";
    /// A person in a call. A new transport of the same person keeps it.
    ParticipantId = "part";
    /// A media room.
    RoomId = "room";
    /// A signaling session; it outlives its connections.
    SessionId = "sess";
}

impl From<CallId> for RoomId {
    /// The media room of a call: one room per call.
    fn from(call: CallId) -> Self {
        Self(call.0)
    }
}

impl From<RoomId> for CallId {
    fn from(room: RoomId) -> Self {
        Self(room.0)
    }
}

/// Longest name of an agent or queue, in bytes.
const MAX_SLUG: usize = 64;

macro_rules! named_ids {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// 1 to 64 of `a-z 0-9 - _ . @`, chosen by the company.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the form of `text`.
            ///
            /// # Errors
            /// [`InvalidId`] if it is empty, too long or has another character.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.@".contains(&byte);
                if text.is_empty() || text.len() > MAX_SLUG || !text.bytes().all(allowed) {
                    return Err(InvalidId { kind: $kind });
                }
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

named_ids! {
    /// A member of staff who takes calls (the console says "operator").
    AgentId = "agent id";
    /// A queue of waiting calls.
    QueueId = "queue id";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_survive_text_and_reject_other_kinds() {
        let mut source = IdSource::seeded(7);
        for _ in 0..1000 {
            let id: CallId = source.next_id();
            assert_eq!(id.to_string().parse::<CallId>(), Ok(id));
            assert!(id.to_string().parse::<OfferId>().is_err());
        }
        for text in [
            "call_",
            "call_0000000000000000000000000l",
            "call_zzzzzzzzzzzzzzzzzzzzzzzzzz",
            "",
        ] {
            assert!(text.parse::<CallId>().is_err(), "{text}");
        }
        assert_eq!(
            CallId::from(u128::MAX).to_string().parse::<CallId>(),
            Ok(CallId::from(u128::MAX))
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let ids = |seed| {
            let mut source = IdSource::seeded(seed);
            [source.next_id::<CallId>(), source.next_id::<CallId>()]
        };
        assert_eq!(ids(1), ids(1));
        assert_ne!(ids(1), ids(2));
    }

    #[test]
    fn named_ids_refuse_what_would_hurt_in_a_path_or_a_log() {
        assert!(AgentId::new("irina.p@example.com").is_ok());
        for text in ["", "A", "a b", "a/b", "a\n", &"x".repeat(65)] {
            assert!(AgentId::new(text).is_err(), "{text:?}");
        }
    }
}
