//! The key that signs the head of the audit, and the file with the newest signed head. Both are outside
//! the database, so that write access to the database is not enough to forge either.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use greenroom_protocol::Timestamp;

use crate::audit::chain::ChainTip;
use crate::audit::head::{HeadKind, SignedHead, message};
use crate::error::StoreError;

/// Only the owner of the key file may read it.
const KEY_MODE: u32 = 0o600;
/// Bytes that are read of a key file or a head file.
const FILE_BYTES_MAX: u64 = 4096;

/// Signs the head of the audit. Its `Debug` never prints the key.
pub struct Signer {
    key: SigningKey,
    head: Option<PathBuf>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("head", &self.head).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads the key from the file `key`, or creates it from the 32 random bytes of `seed` if the file
    /// does not exist. The newest signed head is stored beside it, with the extension `head`.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read, is no key, or is readable by other users.
    pub fn open(key: &Path, seed: impl FnOnce() -> io::Result<[u8; 32]>) -> Result<Self, StoreError> {
        let seed = match read_key(key)? {
            Some(seed) => seed,
            None => {
                let seed = seed()?;
                write_new(key, hex::encode(seed).as_bytes())?;
                seed
            }
        };
        Ok(Self { key: SigningKey::from_bytes(&seed), head: Some(key.with_extension("head")) })
    }

    /// A key that is stored nowhere, for in-memory stores.
    #[must_use]
    pub fn ephemeral(seed: [u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(&seed), head: None }
    }

    /// The public key.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    /// Signs the statement that the chain has this record.
    #[must_use]
    pub fn sign(&self, kind: HeadKind, tip: ChainTip, at: Timestamp) -> SignedHead {
        let signature = hex::encode(self.key.sign(&message(kind, tip, at)).to_bytes());
        SignedHead { kind, number: tip.number, hash: tip.hash, at, signature }
    }

    /// Reads the head that was saved last; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read or is no head.
    pub fn load_head(&self) -> Result<Option<SignedHead>, StoreError> {
        let Some(text) = self.head.as_deref().map(read_bounded).transpose()?.flatten() else { return Ok(None) };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| StoreError::Chain(format!("the signed head cannot be read: {error}")))
    }

    /// Replaces the saved head. After a crash the file has either the old head or the new one, never
    /// a part of one.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written.
    pub fn save_head(&self, head: &SignedHead) -> Result<(), StoreError> {
        let Some(path) = &self.head else { return Ok(()) };
        let staging = path.with_extension("head.new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(KEY_MODE).open(&staging)?;
        file.write_all(&serde_json::to_vec(head)?)?;
        file.sync_data()?;
        fs::rename(&staging, path)?;
        Ok(())
    }
}

fn read_key(path: &Path) -> Result<Option<[u8; 32]>, StoreError> {
    use std::os::unix::fs::MetadataExt;

    let Some(text) = read_bounded(path)? else { return Ok(None) };
    if fs::metadata(path)?.mode() & 0o077 != 0 {
        return Err(StoreError::Failed(format!(
            "other users may read the key {}: set its mode to 600",
            path.display()
        )));
    }
    let mut seed = [0; 32];
    hex::decode_to_slice(text.trim(), &mut seed)
        .map_err(|_| StoreError::Failed(format!("{} is not an audit key, which has 64 hex digits", path.display())))?;
    Ok(Some(seed))
}

fn read_bounded(path: &Path) -> Result<Option<String>, StoreError> {
    use std::io::Read;

    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::Failed(format!("{}: {error}", path.display()))),
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(Some(text))
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(KEY_MODE).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_created_once_and_read_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.key");
        let first = Signer::open(&path, || Ok([7; 32])).unwrap();
        let reopened = Signer::open(&path, || Err(io::Error::other("the key exists already"))).unwrap();
        assert_eq!(first.verifying_key(), reopened.verifying_key());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let open_to_all = Signer::open(&path, || Ok([7; 32]));
        assert!(open_to_all.unwrap_err().to_string().contains("600"));
    }

    #[test]
    fn a_saved_head_is_read_back_and_only_its_own_key_verifies_it() {
        let dir = tempfile::tempdir().unwrap();
        let signer = Signer::open(&dir.path().join("audit.key"), || Ok([7; 32])).unwrap();
        assert_eq!(signer.load_head().unwrap(), None);
        let head = signer.sign(HeadKind::Running, ChainTip::genesis(), Timestamp::from_micros(5));
        signer.save_head(&head).unwrap();
        assert_eq!(signer.load_head().unwrap(), Some(head.clone()));
        assert!(head.is_signed_by(&signer.verifying_key()));
        assert!(!head.is_signed_by(&Signer::ephemeral([8; 32]).verifying_key()));
        let closed = SignedHead { kind: HeadKind::Closed, ..head };
        assert!(!closed.is_signed_by(&signer.verifying_key()), "a signature is valid for its own statement only");
    }
}
