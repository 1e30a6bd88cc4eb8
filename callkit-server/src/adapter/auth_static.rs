//! [`StaticAuth`]: staff from the configuration, with argon2id password hashes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::Salt;
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash as Phc, PasswordHasher as _, Version};
use async_trait::async_trait;
use callkit_core::auth::{AuthError, AuthProvider, Credential, Principal};
use callkit_core::id::AgentId;
use callkit_core::redact::Secret;
use callkit_core::time::Timestamp;
use tokio::sync::Mutex;

use crate::adapter::identity::{StaffDirectory, StaffEntry};
use crate::adapter::signing::entropy;
use crate::config::StaffConfig;

/// A sign-in waits this long for its turn before it is told to come back.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Weakest memory cost that is accepted, KiB: OWASP's lowest recommendation for argon2id.
const MIN_MEMORY_KIB: u32 = 7168;
/// Longest password; beyond it hashing costs the server more than it adds.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// Answers for unknown users cost one verification of this: m=19456 KiB, t=2, p=1, as the hashes that
/// `hash-password` makes.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5$oWNvRCtYNPeJwGRGqsXUYBC7vUIeJTAHvnoIr2zCNiw";

/// A text that is not a usable password hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHash {
    /// Not an argon2id hash in PHC form.
    #[error("is not an argon2id hash; make one with `callkit-server hash-password`")]
    Form,
    /// Too cheap to compute.
    #[error("is too weak: argon2id with at least m={MIN_MEMORY_KIB} is needed")]
    Weak,
    /// Hashing failed.
    #[error("the password cannot be hashed")]
    Failed,
}

/// An argon2id hash in PHC form.
#[derive(Debug, Clone)]
pub struct PasswordHash(Secret<String>);

impl PasswordHash {
    /// Checks form and strength of `text`.
    ///
    /// # Errors
    /// [`InvalidHash`].
    pub fn parse(text: &Secret<String>) -> Result<Self, InvalidHash> {
        let phc = Phc::new(text.expose()).map_err(|_| InvalidHash::Form)?;
        if phc.algorithm != Algorithm::Argon2id.ident() || phc.salt.is_none() || phc.hash.is_none() {
            return Err(InvalidHash::Form);
        }
        let params = Params::try_from(&phc).map_err(|_| InvalidHash::Form)?;
        if params.m_cost() < MIN_MEMORY_KIB {
            return Err(InvalidHash::Weak);
        }
        Ok(Self(text.clone()))
    }

    /// Hashes `password` with a fresh salt.
    ///
    /// # Errors
    /// [`InvalidHash::Failed`] if there is no randomness or the password is too long.
    pub fn of(password: &Secret<String>) -> Result<Self, InvalidHash> {
        if password.expose().len() > MAX_PASSWORD_BYTES {
            return Err(InvalidHash::Failed);
        }
        let salt = entropy().map_err(|_| InvalidHash::Failed)?;
        let salt =
            argon2::password_hash::SaltString::encode_b64(&salt[..16]).map_err(|_| InvalidHash::Failed)?;
        let hash = hasher()
            .hash_password(password.expose().as_bytes(), &salt)
            .map_err(|_| InvalidHash::Failed)?;
        Ok(Self(Secret::new(hash.to_string())))
    }

    /// The PHC text, for the configuration file.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    pub(crate) fn verifies(&self, password: &Secret<String>, memory: &mut HashMemory) -> bool {
        self.compute(password, memory).unwrap_or(false)
    }

    /// Hashes `password` with the parameters and the salt of this hash, and compares.
    fn compute(&self, password: &Secret<String>, memory: &mut HashMemory) -> Option<bool> {
        let phc = Phc::new(self.0.expose()).ok()?;
        let params = Params::try_from(&phc).ok()?;
        let version = phc.version.map_or(Ok(Version::V0x13), Version::try_from).ok()?;
        let mut salt = [0; Salt::MAX_LENGTH];
        let salt = phc.salt?.decode_b64(&mut salt).ok()?;
        let expected = phc.hash?;
        let blocks = memory.blocks(params.block_count());
        let mut hash = vec![0; expected.len()];
        Argon2::new(Algorithm::Argon2id, version, params)
            .hash_password_into_with_memory(password.expose().as_bytes(), salt, &mut hash, blocks)
            .ok()?;
        Some(Secret::new(hash).matches(expected.as_bytes()))
    }
}

/// The working memory of hashing, kept from one sign-in to the next: freed and taken anew on changing threads,
/// every thread would end up with 19 MiB of its own.
#[derive(Default)]
pub(crate) struct HashMemory(Vec<Block>);

impl HashMemory {
    fn blocks(&mut self, count: usize) -> &mut [Block] {
        if self.0.len() < count {
            self.0.resize(count, Block::new());
        }
        &mut self.0[..count]
    }
}

impl std::fmt::Debug for HashMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HashMemory({} KiB)", self.0.len())
    }
}

fn hasher() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

#[derive(Debug)]
struct Member {
    principal: Principal,
    hash: PasswordHash,
}

/// Staff from the configuration. A change of the list needs a restart.
#[derive(Debug)]
pub struct StaticAuth {
    members: BTreeMap<String, Member>,
    nobody: PasswordHash,
    /// One sign-in at a time: each takes a core for some 20 ms, and more at once would let strangers take
    /// memory and processor time from calls.
    turn: Arc<Mutex<HashMemory>>,
}

impl StaticAuth {
    /// The staff of a checked configuration; entries whose hash cannot be used are left out by
    /// [`Config::validate`](crate::config::Config::validate) and are refused here.
    ///
    /// # Errors
    /// [`InvalidHash`].
    pub fn new(staff: &StaffConfig) -> Result<Self, InvalidHash> {
        let mut members = BTreeMap::new();
        for user in &staff.users {
            let principal = Principal::Staff {
                id: user.id.clone(),
                name: user.name.clone(),
                role: user.role.into(),
            };
            let hash = PasswordHash::parse(&user.password_hash)?;
            members.insert(user.id.to_string(), Member { principal, hash });
        }
        // With hashes of another cost than ours, an unknown user must cost what the known ones do.
        let nobody = members.values().next().map_or_else(
            || PasswordHash(Secret::new(NOBODY.to_owned())),
            |one| one.hash.clone(),
        );
        Ok(Self {
            members,
            nobody,
            turn: Arc::default(),
        })
    }
}

impl StaffDirectory for StaticAuth {
    fn find(&self, id: &AgentId) -> Option<StaffEntry> {
        let member = self.members.get(id.as_str())?;
        Some(StaffEntry {
            principal: member.principal.clone(),
            stamp: member.hash.0.clone(),
        })
    }
}

#[async_trait]
impl AuthProvider for StaticAuth {
    async fn authenticate(&self, _now: Timestamp, credential: &Credential) -> Result<Principal, AuthError> {
        let Credential::Password { user, password } = credential else {
            return Err(AuthError::Unsupported);
        };
        if password.expose().len() > MAX_PASSWORD_BYTES {
            return Err(AuthError::Invalid);
        }
        let member = self.members.get(user);
        let hash = member.map_or(&self.nobody, |member| &member.hash).clone();
        let mut memory = tokio::time::timeout(LONGEST_WAIT, Arc::clone(&self.turn).lock_owned())
            .await
            .map_err(|elapsed| AuthError::Unavailable(elapsed.into()))?;
        let password = password.clone();
        let right = tokio::task::spawn_blocking(move || hash.verifies(&password, &mut memory))
            .await
            .map_err(|failed| AuthError::Unavailable(failed.into()))?;
        match member {
            Some(member) if right => Ok(member.principal.clone()),
            Some(_) | None => Err(AuthError::Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use callkit_core::redact::Private;

    use super::*;
    use crate::config::{Role, UserConfig};

    fn staff() -> StaffConfig {
        let hash = PasswordHash::of(&Secret::new("correct horse".to_owned())).unwrap();
        StaffConfig {
            users: vec![UserConfig {
                id: AgentId::new("irina").unwrap(),
                name: Private::new("Irina".to_owned()),
                role: Role::Operator,
                queues: Vec::new(),
                password_hash: Secret::new(hash.expose().to_owned()),
            }],
        }
    }

    #[test]
    fn the_hash_of_nobody_is_a_real_one_of_our_cost() {
        let nobody = PasswordHash::parse(&Secret::new(NOBODY.to_owned())).unwrap();
        let ours = PasswordHash::of(&Secret::new("x".to_owned())).unwrap();
        let cost = |hash: &PasswordHash| Params::try_from(&Phc::new(hash.expose()).unwrap()).unwrap();
        let (nobody, ours) = (cost(&nobody), cost(&ours));
        assert_eq!(
            (nobody.m_cost(), nobody.t_cost(), nobody.p_cost()),
            (ours.m_cost(), ours.t_cost(), ours.p_cost())
        );
    }

    #[test]
    fn weak_and_foreign_hashes_are_refused() {
        for text in [
            "",
            "hunter2",
            "$2b$12$abcdefghijklmnopqrstuv",
            "$argon2i$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5$oWNvRCtYNPeJwGRGqsXUYBC7vUIeJTAHvnoIr2zCNiw",
        ] {
            assert_eq!(
                PasswordHash::parse(&Secret::new(text.to_owned())).err(),
                Some(InvalidHash::Form),
                "{text}"
            );
        }
        let cheap = NOBODY.replace("m=19456", "m=1024");
        assert_eq!(
            PasswordHash::parse(&Secret::new(cheap)).err(),
            Some(InvalidHash::Weak)
        );
    }

    mod conformance {
        use super::*;

        fn block_on<F: Future>(future: F) -> F::Output {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(future)
        }

        callkit_core::auth_provider_conformance!(
            block_on = block_on,
            || async { StaticAuth::new(&staff()).unwrap() },
            user = "irina",
            password = "correct horse"
        );
    }
}
