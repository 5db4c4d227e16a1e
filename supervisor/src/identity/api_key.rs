//! The text of an API key: `grk_`, 256 random bits, and a checksum. The text is shown once and stored nowhere; its hash
//! finds the key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use greenroom_protocol::{Cause, ContentHash, ErrorCode, UserId};

use crate::cluster::keys::random;

/// What each key begins with, so that scanners for secrets find it.
const PREFIX: &str = "grk_";
/// Random bytes of a key.
const RANDOM_BYTES: usize = 32;
/// Characters of the random part.
const RANDOM_CHARS: usize = 43;
/// Hex digits of the checksum, which refuses a mistyped key without a look into the store.
const CHECKSUM_CHARS: usize = 6;
/// What the id of a key begins with.
const ID_PREFIX: &str = "k_";
/// Hex digits of the hash in the id.
const ID_CHARS: usize = 16;

/// The text of a key. Neither its `Debug` prints it, nor is it serialized.
pub(crate) struct ApiKey {
    text: String,
    name: KeyName,
}

/// What finds a key: its id, and the hash of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyName {
    pub(crate) id: UserId,
    pub(crate) hash: ContentHash,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ApiKey").field(&self.name.id).finish()
    }
}

impl ApiKey {
    /// A new key.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] if the system has no random bytes.
    pub(crate) fn generate() -> Result<Self, Cause> {
        let internal = |problem: String| Cause::new(ErrorCode::Internal, problem);
        let bytes = random::<RANDOM_BYTES>().map_err(|error| internal(error.to_string()))?;
        let body = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        let text = format!("{body}{}", checksum(&body));
        let name = KeyName::parse(&text).ok_or_else(|| internal("a generated key is not valid".to_owned()))?;
        Ok(Self { text, name })
    }

    /// The text, for the one reply that has it.
    pub(crate) fn reveal(&self) -> &str {
        &self.text
    }

    /// What finds the key.
    pub(crate) const fn name(&self) -> &KeyName {
        &self.name
    }
}

impl KeyName {
    /// What finds the key of this text; `None` if the text is not one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() != PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS || !text.starts_with(PREFIX) {
            return None;
        }
        let (body, found) = text.split_at_checked(PREFIX.len() + RANDOM_CHARS)?;
        if checksum(body) != found {
            return None;
        }
        let hash = ContentHash::from_content(text.as_bytes());
        let digits = hash.to_string();
        let id = UserId::new(format!("{ID_PREFIX}{}", digits.get(..ID_CHARS)?)).ok()?;
        Some(Self { id, hash })
    }
}

/// It protects against typing errors only.
fn checksum(body: &str) -> String {
    let mut digits = ContentHash::from_content(body.as_bytes()).to_string();
    digits.truncate(CHECKSUM_CHARS);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_found_by_its_text_and_shown_by_nothing_else() {
        let key = ApiKey::generate().unwrap();
        assert_eq!(KeyName::parse(key.reveal()).as_ref(), Some(key.name()));
        assert!(key.reveal().starts_with("grk_") && key.name().id.as_str().starts_with("k_"));
        assert!(!format!("{key:?}").contains(key.reveal()));
        assert_ne!(key.reveal(), ApiKey::generate().unwrap().reveal());
    }

    #[test]
    fn the_id_of_a_key_never_changes() {
        let body = format!("grk_{}", "A".repeat(RANDOM_CHARS));
        let text = format!("{body}{}", checksum(&body));
        let name = KeyName::parse(&text).unwrap();
        assert_eq!(name.hash, ContentHash::from_content(text.as_bytes()));
        assert_eq!(name.id.as_str(), format!("k_{}", &name.hash.to_string()[..16]));
    }

    #[test]
    fn what_is_mistyped_cut_or_foreign_is_no_key() {
        let key = ApiKey::generate().unwrap();
        let text = key.reveal();
        let last = if text.ends_with('0') { '1' } else { '0' };
        let mistyped = format!("{}{last}", &text[..text.len() - 1]);
        for other in ["", "grk_", "key", &mistyped, &text[..text.len() - 1], &format!("{text}a"), &"é".repeat(26)] {
            assert_eq!(KeyName::parse(other), None, "{other}");
        }
    }
}
