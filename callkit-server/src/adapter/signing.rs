//! The key that signs tokens and cookies, and the signed form itself: `<kind>.<payload>.<mac>`, payload and
//! mac in unpadded base64url, mac = HMAC-SHA256 (RFC 2104) over `<kind>.<payload>`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Length of the key: the output of SHA-256, more adds nothing (RFC 2104 section 3).
const KEY_BYTES: usize = 32;
/// Longest signed text that is looked at.
const MAX_TOKEN: usize = 4096;

/// The key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("cannot use the signing key {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It holds something else than a key.
    #[error("{} is not a signing key of {KEY_BYTES} bytes", path.display())]
    Form {
        /// Which file.
        path: PathBuf,
    },
    /// The operating system gives no randomness.
    #[error("the operating system gives no random numbers")]
    Entropy,
}

/// Signs and checks. Whoever has the key can be anybody, so it neither prints nor leaves its file.
pub struct SigningKey(hmac::Key);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// 32 fresh bytes of the operating system's randomness.
///
/// # Errors
/// [`KeyFileError::Entropy`].
pub(crate) fn entropy() -> Result<[u8; KEY_BYTES], KeyFileError> {
    let mut bytes = [0; KEY_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| KeyFileError::Entropy)?;
    Ok(bytes)
}

impl SigningKey {
    /// The key with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// A key for this process only.
    ///
    /// # Errors
    /// [`KeyFileError::Entropy`].
    pub fn ephemeral() -> Result<Self, KeyFileError> {
        Ok(Self::from_bytes(&entropy()?))
    }

    /// The key kept in `path`; made, readable by its owner only, if there is none. So tokens issued before a
    /// restart stay valid after it.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn open_or_create(path: &Path) -> Result<Self, KeyFileError> {
        let io = |source| KeyFileError::Io {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent() {
            create_folder(folder).map_err(io)?;
        }
        match create_private(path) {
            Ok(mut file) => {
                let bytes = entropy()?;
                file.write_all(&bytes)
                    .and_then(|()| file.sync_all())
                    .map_err(io)?;
                Ok(Self::from_bytes(&bytes))
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let mut bytes = Vec::with_capacity(KEY_BYTES + 1);
                let file = File::open(path).map_err(io)?;
                warn_if_readable_by_others(path, &file);
                file.take(KEY_BYTES as u64 + 1)
                    .read_to_end(&mut bytes)
                    .map_err(io)?;
                let bytes = bytes.try_into().map_err(|_| KeyFileError::Form {
                    path: path.to_owned(),
                })?;
                Ok(Self::from_bytes(&bytes))
            }
            Err(error) => Err(io(error)),
        }
    }

    /// `payload` in signed form. `kind` keeps tokens for one use from being taken for another.
    pub(crate) fn sign<T: Serialize>(&self, kind: &str, payload: &T) -> String {
        let json = serde_json::to_vec(payload).expect("token payloads are plain structs");
        let signed = format!("{kind}.{}", URL_SAFE_NO_PAD.encode(json));
        let mac = hmac::sign(&self.0, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// The payload of `token`, if it is of this `kind` and was signed with this key.
    pub(crate) fn open<T: DeserializeOwned>(&self, kind: &str, token: &str) -> Option<T> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (signed, mac) = token.rsplit_once('.')?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        hmac::verify(&self.0, signed.as_bytes(), &mac).ok()?;
        let payload = signed.strip_prefix(kind)?.strip_prefix('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }
}

/// Makes `path` and what leads to it, readable by this user only.
pub(super) fn create_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn create_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn warn_if_readable_by_others(path: &Path, file: &File) {
    use std::os::unix::fs::PermissionsExt;
    let open = file
        .metadata()
        .is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0);
    if open {
        tracing::warn!(path = %path.display(), "the signing key is readable by others: chmod 600");
    }
}

#[cfg(not(unix))]
fn warn_if_readable_by_others(_path: &Path, _file: &File) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_only_whole_for_its_kind_and_under_its_key() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let token = key.sign("ckv", &"anna");
        assert_eq!(key.open::<String>("ckv", &token).as_deref(), Some("anna"));
        assert_eq!(key.open::<String>("cks", &token), None);
        assert_eq!(key.open::<String>("ck", &token), None);
        assert_eq!(
            SigningKey::from_bytes(&[8; 32]).open::<String>("ckv", &token),
            None
        );
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert_eq!(key.open::<String>("ckv", &changed), None, "byte {at}");
            }
        }
        assert_eq!(key.open::<String>("ckv", ""), None);
        assert_eq!(key.open::<String>("ckv", &"a.".repeat(5000)), None);
    }

    #[test]
    fn the_key_survives_a_restart_and_is_its_owners_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        let token = SigningKey::open_or_create(&path).unwrap().sign("ckv", &1);
        assert_eq!(
            SigningKey::open_or_create(&path)
                .unwrap()
                .open::<u8>("ckv", &token),
            Some(1)
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(
            SigningKey::open_or_create(&path),
            Err(KeyFileError::Form { .. })
        ));
    }
}
