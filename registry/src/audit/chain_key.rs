//! The public key of a chain, with which anyone verifies it, and the file with the newest signed head. Both are
//! outside the database, so that write access to the database is not enough to forge either.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::audit::head::SignedHead;
use crate::error::StoreError;

/// Bytes that are read of a key file or a head file.
const FILE_BYTES_MAX: u64 = 4096;
/// The lines around the key in a PEM file.
const PEM_LINES: [&str; 2] = ["-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"];
/// What precedes the 32 bytes of an Ed25519 key in the structure `SubjectPublicKeyInfo` (RFC 8410), in hex.
const SPKI_PREFIX: &str = "302a300506032b6570032100";

/// The newest signed head, as it is saved outside the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedHead {
    /// The identity of the database whose chain has the record.
    pub database: String,
    /// The signed statement.
    #[serde(flatten)]
    pub head: SignedHead,
}

/// The public key of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainKey {
    key: VerifyingKey,
    head_file: Option<PathBuf>,
}

impl ChainKey {
    pub(crate) const fn new(key: VerifyingKey, head_file: Option<PathBuf>) -> Self {
        Self { key, head_file }
    }

    /// The same key with the file of the newest signed head; without one, only the heads in the database are known.
    #[must_use]
    pub fn with_head_file(self, head_file: PathBuf) -> Self {
        Self { head_file: Some(head_file), ..self }
    }

    /// The same key, for the heads in a database alone.
    #[must_use]
    pub fn without_head_file(self) -> Self {
        Self { head_file: None, ..self }
    }

    /// Reads a public key from the text of a PEM file.
    ///
    /// # Errors
    /// A fragment that says what was expected.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        let expected = || "is not a public key of Ed25519 in PEM, as `greenroom audit export-key` writes it".to_owned();
        let [begin, end] = PEM_LINES;
        let body = text.trim().strip_prefix(begin).and_then(|rest| rest.strip_suffix(end)).ok_or_else(expected)?;
        let body: String = body.split_whitespace().collect();
        let bytes = STANDARD.decode(body).map_err(|_| expected())?;
        let prefix = hex::decode(SPKI_PREFIX).unwrap_or_default();
        let bytes: [u8; 32] = bytes.strip_prefix(&*prefix).and_then(|key| key.try_into().ok()).ok_or_else(expected)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| expected())?;
        Ok(Self { key, head_file: None })
    }

    /// The key as the text of a PEM file, which other programs read too.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let mut bytes = hex::decode(SPKI_PREFIX).unwrap_or_default();
        bytes.extend_from_slice(self.key.as_bytes());
        let [begin, end] = PEM_LINES;
        format!("{begin}\n{}\n{end}\n", STANDARD.encode(bytes))
    }

    /// The key in hex: 64 digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.key.as_bytes())
    }

    /// Reads a public key from 64 hex digits; `None` if they are none.
    pub(crate) fn from_hex(digits: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Self { key: VerifyingKey::from_bytes(&bytes).ok()?, head_file: None })
    }

    /// True if this key has certified the key of a chain, in hex.
    pub(crate) fn has_certified(&self, database: &str, chain: u64, key: &str, certificate: &str) -> bool {
        self.has_signed(&certificate_message(database, chain, key), certificate)
    }

    /// True if this key has signed a message; the signature is in hex.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &str) -> bool {
        let mut bytes = [0_u8; Signature::BYTE_SIZE];
        hex::decode_to_slice(signature, &mut bytes).is_ok()
            && self.key.verify(message, &Signature::from_bytes(&bytes)).is_ok()
    }

    /// The key of the signatures.
    pub(crate) const fn verifying_key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The file of the newest signed head.
    pub(crate) fn head_file(&self) -> Option<&Path> {
        self.head_file.as_deref()
    }

    /// Reads the head that was saved last; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read or is no head.
    pub fn load_head(&self) -> Result<Option<SavedHead>, StoreError> {
        let Some(path) = &self.head_file else { return Ok(None) };
        let Some(text) = read_bounded(path)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            StoreError::Chain(format!("the signed head in {} cannot be read: {error}", path.display()))
        })
    }
}

/// The bytes that certify the key of a chain. The first line separates them from anything else that the key may sign.
pub(super) fn certificate_message(database: &str, chain: u64, key: &str) -> Vec<u8> {
    format!("greenroom audit chain 1\n{database}\n{chain}\n{key}\n").into_bytes()
}

/// Reads a small file; `None` if it does not exist.
pub(super) fn read_bounded(path: &Path) -> Result<Option<String>, StoreError> {
    use std::io::Read;

    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::Failed(format!("{}: {error}", path.display()))),
    };
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| StoreError::Failed(format!("{}: {error}", path.display())))?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::signer::Signer;

    #[test]
    fn a_public_key_is_read_back_from_its_pem_and_from_no_other_text() {
        let key = Signer::ephemeral([7; 32]).chain_key().clone();
        let pem = key.to_pem();
        // As `openssl pkey -pubout` writes the same key.
        assert_eq!(pem.lines().map(str::len).collect::<Vec<_>>(), [26, 60, 24]);
        assert!(pem.contains("\nMCowBQYDK2VwAyEA"), "{pem}");
        assert_eq!(ChainKey::from_pem(&pem).unwrap(), key);
        assert_eq!(ChainKey::from_pem(&format!("\n{}\n", pem.replace('\n', "\r\n"))).unwrap(), key);
        for text in
            ["", "MCowBQYDK2VwAyEA", &pem.replace("PUBLIC", "PRIVATE"), &pem.replace("MCow", "MCox"), &key.to_hex()]
        {
            assert!(ChainKey::from_pem(text).unwrap_err().contains("export-key"), "{text}");
        }
    }
}
