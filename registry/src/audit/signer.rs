//! The key that signs the head of the audit. It is outside the database, in a file that only its owner may
//! read.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey};
use greenroom_protocol::Timestamp;
use greenroom_protocol::audit::RecordRef;
use sha2::{Digest, Sha256};

use crate::audit::chain::ChainTip;
use crate::audit::chain_key::{ChainKey, SavedHead, certificate_message, read_bounded};
use crate::audit::head::{HeadKind, SignedHead, message};
use crate::error::StoreError;

/// Only the owner of the key file may read it.
const KEY_MODE: u32 = 0o600;
/// What is wrong with a text that is no key.
const NO_KEY: &str = "is not an audit key, which has 64 hex digits";

/// Signs the head of the audit. Its `Debug` never prints the key.
pub struct Signer {
    key: SigningKey,
    chain_key: ChainKey,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("chain_key", &self.chain_key).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads the key from the file `key`, or creates it from the 32 random bytes of `seed` if the file
    /// does not exist. The newest signed head is stored beside it, with the extension `head`.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read, is no key, or is readable by other users.
    pub fn open(key: &Path, seed: impl FnOnce() -> io::Result<[u8; 32]>) -> Result<Self, StoreError> {
        if let Some(signer) = Self::open_existing(key)? {
            return Ok(signer);
        }
        let seed = seed()?;
        write_new(key, hex::encode(seed).as_bytes())?;
        Ok(Self::from_seed(&seed, Some(head_file(key))))
    }

    /// As [`Signer::open`], for a key that must exist; `None` if it does not.
    ///
    /// # Errors
    /// As [`Signer::open`].
    pub fn open_existing(key: &Path) -> Result<Option<Self>, StoreError> {
        Ok(read_key(key)?.map(|seed| Self::from_seed(&seed, Some(head_file(key)))))
    }

    /// The key with these 64 hex digits, which a host has in another way than as a file. The newest signed head is stored
    /// where it is for the file `key`.
    ///
    /// # Errors
    /// [`StoreError`] if the digits are no key, or the file exists and has another one.
    pub fn from_digits(digits: &str, key: &Path) -> Result<Self, StoreError> {
        let seed = read_digits(digits).ok_or_else(|| StoreError::Failed(format!("the audit key {NO_KEY}")))?;
        if read_key(key)?.is_some_and(|stored| stored != seed) {
            return Err(StoreError::Failed(format!(
                "{} has another audit key than the configuration: remove one of them",
                key.display()
            )));
        }
        Ok(Self::from_seed(&seed, Some(head_file(key))))
    }

    /// A key that is stored nowhere, for in-memory stores.
    #[must_use]
    pub fn ephemeral(seed: [u8; 32]) -> Self {
        Self::from_seed(&seed, None)
    }

    fn from_seed(seed: &[u8; 32], head_file: Option<PathBuf>) -> Self {
        let key = SigningKey::from_bytes(seed);
        let chain_key = ChainKey::new(key.verifying_key(), head_file);
        Self { key, chain_key }
    }

    /// The key of one chain of a database that many pods share. It is derived from this one, so that it is stored
    /// nowhere, and signs the heads of this chain only.
    #[must_use]
    pub fn for_chain(&self, database: &str, chain: u64) -> Self {
        let mut digest = Sha256::new();
        digest.update(b"greenroom audit chain key 1\n");
        digest.update(self.key.to_bytes());
        digest.update(format!("{database}\n{chain}\n"));
        Self::from_seed(&digest.finalize().into(), None)
    }

    /// Certifies that this key signs the heads of a chain.
    #[must_use]
    pub fn certify(&self, database: &str, chain: u64, key: &ChainKey) -> String {
        hex::encode(self.key.sign(&certificate_message(database, chain, &key.to_hex())).to_bytes())
    }

    /// Signs the message of an anchor of the root chain.
    #[must_use]
    pub(crate) fn sign_anchor(&self, message: &[u8]) -> String {
        hex::encode(self.key.sign(message).to_bytes())
    }

    /// The same key with another file for the newest signed head.
    #[must_use]
    pub fn with_head_file(self, head_file: PathBuf) -> Self {
        Self { chain_key: self.chain_key.with_head_file(head_file), ..self }
    }

    /// The public key, and the file of the newest signed head.
    #[must_use]
    pub const fn chain_key(&self) -> &ChainKey {
        &self.chain_key
    }

    /// Signs the statement that the chain has this record.
    #[must_use]
    pub fn sign(&self, kind: HeadKind, tip: ChainTip, at: Timestamp) -> SignedHead {
        self.sign_head(kind, tip, at, None)
    }

    /// Signs the statement that this record names a break, at which the chain of `replaced` was replaced.
    #[must_use]
    pub fn sign_break(&self, tip: ChainTip, at: Timestamp, replaced: Option<RecordRef>) -> SignedHead {
        self.sign_head(HeadKind::Break, tip, at, replaced)
    }

    fn sign_head(&self, kind: HeadKind, tip: ChainTip, at: Timestamp, replaced: Option<RecordRef>) -> SignedHead {
        let signature = hex::encode(self.key.sign(&message(kind, tip, at, replaced)).to_bytes());
        SignedHead { kind, number: tip.number, hash: tip.hash, at, replaced, signature }
    }

    /// Replaces the saved head. After a crash the file has either the old head or the new one, never
    /// a part of one.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written.
    pub fn save_head(&self, saved: &SavedHead) -> Result<(), StoreError> {
        let Some(path) = self.chain_key.head_file() else { return Ok(()) };
        let staging = path.with_extension("head.new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(KEY_MODE).open(&staging)?;
        file.write_all(&serde_json::to_vec(saved)?)?;
        file.sync_data()?;
        fs::rename(&staging, path)?;
        Ok(())
    }
}

/// The file of the newest signed head beside a key.
fn head_file(key: &Path) -> PathBuf {
    key.with_extension("head")
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
    let seed = read_digits(&text).ok_or_else(|| StoreError::Failed(format!("{} {NO_KEY}", path.display())))?;
    Ok(Some(seed))
}

fn read_digits(text: &str) -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    hex::decode_to_slice(text.trim(), &mut seed).ok()?;
    Some(seed)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(KEY_MODE).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| StoreError::from_io(path, &error))
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
        assert_eq!(first.chain_key(), reopened.chain_key());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let open_to_all = Signer::open(&path, || Ok([7; 32]));
        assert!(open_to_all.unwrap_err().to_string().contains("600"));
    }

    #[test]
    fn a_key_of_the_configuration_is_written_nowhere_and_agrees_with_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.key");
        let digits = hex::encode([7; 32]);
        let configured = Signer::from_digits(&digits, &path).unwrap();
        assert!(!path.exists());
        let file = Signer::open(&path, || Ok([7; 32])).unwrap();
        assert_eq!(configured.chain_key(), file.chain_key(), "with the same file for the newest head");
        assert_eq!(Signer::from_digits(&digits, &path).unwrap().chain_key(), file.chain_key());
        let other = Signer::from_digits(&hex::encode([8; 32]), &path).unwrap_err().to_string();
        assert!(other.contains("another audit key") && !other.contains("0808"), "{other}");
        let no_key = Signer::from_digits("hunter2", &path).unwrap_err().to_string();
        assert!(no_key.contains("64 hex digits") && !no_key.contains("hunter2"), "{no_key}");
    }

    #[test]
    fn a_saved_head_is_read_back_and_only_its_own_key_verifies_it() {
        let dir = tempfile::tempdir().unwrap();
        let signer = Signer::open(&dir.path().join("audit.key"), || Ok([7; 32])).unwrap();
        let (own, other) = (signer.chain_key(), Signer::ephemeral([8; 32]));
        assert_eq!(own.load_head().unwrap(), None);
        let head = signer.sign(HeadKind::Running, ChainTip::genesis(), Timestamp::from_micros(5));
        let saved = SavedHead { database: "d".into(), head: head.clone() };
        signer.save_head(&saved).unwrap();
        assert_eq!(own.load_head().unwrap(), Some(saved));
        assert!(head.is_signed_by(own.verifying_key()) && !head.is_signed_by(other.chain_key().verifying_key()));
        let replaced = Some(RecordRef { number: 1, hash: head.hash });
        for changed in [SignedHead { kind: HeadKind::Closed, ..head.clone() }, SignedHead { replaced, ..head }] {
            assert!(!changed.is_signed_by(own.verifying_key()), "a signature is valid for its own statement only");
        }
    }

    #[test]
    fn each_chain_has_a_key_of_its_own_which_only_the_certifying_key_certifies() {
        let (signer, other) = (Signer::ephemeral([7; 32]), Signer::ephemeral([8; 32]));
        let chain = signer.for_chain("d", 1);
        assert_eq!(chain.chain_key(), signer.for_chain("d", 1).chain_key());
        for different in [signer.for_chain("d", 2), signer.for_chain("e", 1), other.for_chain("d", 1)] {
            assert_ne!(chain.chain_key(), different.chain_key());
        }
        let certificate = signer.certify("d", 1, chain.chain_key());
        let key = chain.chain_key().to_hex();
        assert!(signer.chain_key().has_certified("d", 1, &key, &certificate));
        assert!(!signer.chain_key().has_certified("d", 2, &key, &certificate));
        assert!(!other.chain_key().has_certified("d", 1, &key, &certificate));
        assert!(!signer.chain_key().has_certified("d", 1, &key, "00"));
    }

    #[test]
    fn a_missing_key_is_not_created_if_it_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.key");
        assert!(Signer::open_existing(&path).unwrap().is_none() && !path.exists());
        let created = Signer::open(&path, || Ok([7; 32])).unwrap();
        assert_eq!(Signer::open_existing(&path).unwrap().unwrap().chain_key(), created.chain_key());
    }
}
