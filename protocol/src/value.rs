//! Inputs and outputs of agents, and the claim check by which a large value travels.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hash::ContentHash;

/// Any JSON value.
pub type Json = serde_json::Value;

/// Named values: the inputs or outputs of an agent, a step or a run.
pub type Values = BTreeMap<String, Json>;

/// The member that marks an object as a reference to an artifact.
pub const ARTIFACT_MEMBER: &str = "$artifact";

/// A reference to a value in the artifact store, by the hash of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArtifactRef {
    /// SHA-256 of the bytes; also their name in the store.
    pub hash: ContentHash,
    /// The number of bytes.
    pub bytes: u64,
    /// The media type, such as `text/csv`.
    pub media_type: String,
    /// The file name that the owner gave, such as `sales.csv`; never a path.
    pub name: String,
}

impl ArtifactRef {
    /// The reference as a value: `{"$artifact": {…}}`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        serde_json::json!({ ARTIFACT_MEMBER: self })
    }

    /// Reads a value as a reference; `None` if it is an ordinary value.
    #[must_use]
    pub fn from_json(value: &Json) -> Option<Self> {
        let object = value.as_object().filter(|members| members.len() == 1)?;
        serde_json::from_value(object.get(ARTIFACT_MEMBER)?.clone()).ok()
    }
}

/// Calls `change` with each reference in a value, at any depth.
pub fn for_each_artifact(value: &mut Json, change: &mut impl FnMut(&mut ArtifactRef)) {
    if let Some(mut artifact) = ArtifactRef::from_json(value) {
        change(&mut artifact);
        *value = artifact.to_json();
        return;
    }
    match value {
        Json::Array(items) => items.iter_mut().for_each(|item| for_each_artifact(item, change)),
        Json::Object(members) => members.values_mut().for_each(|member| for_each_artifact(member, change)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// The size of a value in bytes: a text by its length, an artifact by the size of its content, any
/// other value approximately as compact JSON. The size of an artifact is what its reference claims; the
/// pipeline corrects the references of each request.
#[must_use]
pub fn size_bytes(value: &Json) -> u64 {
    if let Some(artifact) = ArtifactRef::from_json(value) {
        return artifact.bytes;
    }
    match value {
        Json::Null => 4,
        Json::Bool(_) => 5,
        Json::Number(_) => 8,
        Json::String(text) => text.len() as u64,
        Json::Array(items) => total(2, items.iter().map(|item| size_bytes(item).saturating_add(1))),
        Json::Object(members) => {
            let member_bytes =
                |(name, member): (&String, &Json)| size_bytes(member).saturating_add(name.len() as u64 + 4);
            total(2, members.iter().map(member_bytes))
        }
    }
}

/// The sum; sizes that a caller claims may exceed every number.
fn total(first: u64, sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(first, u64::saturating_add)
}

/// Truncates a text to at most `bytes_max` bytes, at the end of a whole character.
#[must_use]
pub fn truncate_utf8(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_survives_as_a_value_and_counts_the_bytes_of_its_artifact() {
        let artifact = ArtifactRef {
            hash: ContentHash::from_content(b"x"),
            bytes: 12_000_000,
            media_type: "text/csv".into(),
            name: "sales.csv".into(),
        };
        assert_eq!(ArtifactRef::from_json(&artifact.to_json()), Some(artifact.clone()));
        assert_eq!(size_bytes(&artifact.to_json()), 12_000_000);
        assert_eq!(ArtifactRef::from_json(&serde_json::json!({"$artifact": 1, "b": 2})), None);
    }

    #[test]
    fn a_text_is_truncated_at_the_end_of_a_whole_character() {
        let cases = [(3, "ä"), (4, "äö"), (0, ""), (1, ""), (9, "äö"), (usize::MAX, "äö")];
        for (bytes_max, expected) in cases {
            assert_eq!(truncate_utf8("äö", bytes_max), expected, "{bytes_max}");
        }
        assert_eq!(truncate_utf8("", 9), "");
        assert_eq!(truncate_utf8("a€😀", 7), "a€", "four bytes of the last character do not fit");
    }
}
