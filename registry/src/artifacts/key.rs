//! The keys of the objects of a store: `TENANT/HASH/GENERATION` is the content of an artifact, and beside it are
//! objects without bytes, whose key says what they mean. A key is written once and never again, so an object that is
//! removed is no object that a concurrent put relies on.

use std::fmt;
use std::str::FromStr;

use greenroom_protocol::{ContentHash, TenantId, Timestamp};

/// The part of a key between the tenant and the generation, for content whose hash is not known yet.
const STAGING: &str = "staging";
/// Digits of a generation.
const GENERATION_DIGITS: usize = 32;
/// Digits of the digest that distinguishes two tenants whose ids differ in the case of letters only.
const DIGEST_DIGITS: usize = 16;
/// The end of the key of a mark for personal data.
const PERSONAL: &str = "personal";
/// The end of the key of a mark for content that may reference artifacts.
const REFERENCES: &str = "references";
/// The end of the key of a tombstone, up to its time.
const TOMBSTONE: &str = "tombstone-";

/// One put of an artifact that was not stored already; a later one sorts after an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(pub(crate) u128);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What objects belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyGroup {
    /// An artifact.
    Artifact(ContentHash),
    /// Content whose hash is not known yet.
    Staging,
}

impl fmt::Display for KeyGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Artifact(hash) => hash.fmt(f),
            Self::Staging => f.write_str(STAGING),
        }
    }
}

/// What an object means. All but the content have no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectKind {
    /// The content; an artifact exists if it has one.
    Content,
    /// The artifact holds personal data.
    Personal,
    /// The content is JSON with hashes, so it may reference artifacts.
    References,
    /// A sweep at this time found no reference to the artifact.
    Tombstone(Timestamp),
}

/// The key of an object, without its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectKey {
    pub(crate) group: KeyGroup,
    pub(crate) generation: Generation,
    pub(crate) kind: ObjectKind,
}

impl ObjectKey {
    /// The key of another object of the same generation.
    pub(crate) const fn with_kind(self, kind: ObjectKind) -> Self {
        Self { kind, ..self }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.generation)?;
        match self.kind {
            ObjectKind::Content => Ok(()),
            ObjectKind::Personal => write!(f, ".{PERSONAL}"),
            ObjectKind::References => write!(f, ".{REFERENCES}"),
            ObjectKind::Tombstone(at) => write!(f, ".{TOMBSTONE}{}", at.as_micros()),
        }
    }
}

/// The text is no key of this store.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownKey;

impl FromStr for ObjectKey {
    type Err = UnknownKey;

    fn from_str(text: &str) -> Result<Self, UnknownKey> {
        let (group, name) = text.split_once('/').ok_or(UnknownKey)?;
        let group = match group {
            STAGING => KeyGroup::Staging,
            hash => KeyGroup::Artifact(hash.parse().map_err(|_| UnknownKey)?),
        };
        let (generation, kind) = match name.split_once('.') {
            None => (name, ObjectKind::Content),
            Some((generation, PERSONAL)) => (generation, ObjectKind::Personal),
            Some((generation, REFERENCES)) => (generation, ObjectKind::References),
            Some((generation, other)) => {
                let at = other.strip_prefix(TOMBSTONE).and_then(|micros| micros.parse().ok()).ok_or(UnknownKey)?;
                (generation, ObjectKind::Tombstone(Timestamp::from_micros(at)))
            }
        };
        let is_generation = generation.len() == GENERATION_DIGITS;
        let number = u128::from_str_radix(generation, 16).ok().filter(|_| is_generation).ok_or(UnknownKey)?;
        Ok(Self { group, generation: Generation(number), kind })
    }
}

/// The keys of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TenantKeys(String);

impl TenantKeys {
    /// The keys of a tenant. They begin with its id, which a digest makes unique if a file system may confuse it with
    /// another one, as `Acme` with `acme`.
    pub(crate) fn new(tenant: &TenantId) -> Self {
        let id = tenant.as_str();
        if !id.contains(|c: char| c.is_ascii_uppercase()) {
            return Self(id.to_owned());
        }
        let digest = ContentHash::from_content(id.as_bytes()).to_string();
        let digest = digest.get(..DIGEST_DIGITS).unwrap_or_default();
        // No id has this character.
        Self(format!("{}!{digest}", id.to_ascii_lowercase()))
    }

    /// The keys that begin with this first part of a key.
    pub(crate) const fn from_prefix(prefix: String) -> Self {
        Self(prefix)
    }

    /// The first part of the keys.
    pub(crate) fn prefix(&self) -> &str {
        &self.0
    }

    /// The first two parts of the keys of a group.
    pub(crate) fn group(&self, group: KeyGroup) -> String {
        format!("{}/{group}", self.0)
    }

    /// The whole key of an object.
    pub(crate) fn key(&self, key: ObjectKey) -> String {
        format!("{}/{key}", self.0)
    }

    /// Reads a whole key; `None` if it is none of these.
    pub(crate) fn parse(&self, key: &str) -> Option<ObjectKey> {
        key.strip_prefix(self.0.as_str())?.strip_prefix('/')?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_another_name_is_none() {
        let keys = TenantKeys::new(&TenantId::new("acme").unwrap());
        let hash = ContentHash::from_content(b"x");
        for group in [KeyGroup::Artifact(hash), KeyGroup::Staging] {
            let content = ObjectKey { group, generation: Generation(7), kind: ObjectKind::Content };
            let tombstone = ObjectKind::Tombstone(Timestamp::from_micros(-5));
            for kind in [ObjectKind::Content, ObjectKind::Personal, ObjectKind::References, tombstone] {
                let key = content.with_kind(kind);
                assert_eq!(keys.parse(&keys.key(key)), Some(key), "{key}");
            }
        }
        let generation = Generation(7);
        for other in [
            format!("acme/{hash}"),
            format!("acme/{hash}/7"),
            format!("acme/{hash}/{generation}.tombstone-"),
            format!("acme/{hash}/{generation}.part"),
            format!("acme/notes/{generation}"),
            format!("acme2/{hash}/{generation}"),
        ] {
            assert_eq!(keys.parse(&other), None, "{other}");
        }
    }

    #[test]
    fn tenants_whose_ids_differ_in_case_only_have_distinct_keys_on_every_file_system() {
        let prefixes = ["acme", "Acme", "ACME", "aCME"].map(|id| {
            let keys = TenantKeys::new(&TenantId::new(id).unwrap());
            assert!(!keys.prefix().contains(|c: char| c.is_ascii_uppercase()), "{keys:?}");
            keys.prefix().to_owned()
        });
        assert_eq!(prefixes[0], "acme");
        assert_eq!(prefixes.iter().collect::<std::collections::HashSet<_>>().len(), prefixes.len());
        let longest = TenantKeys::new(&TenantId::new("A".repeat(128)).unwrap());
        assert!(longest.prefix().len() <= 255, "a file system has names of up to 255 bytes");
    }
}
