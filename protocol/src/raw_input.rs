//! An input whose type its sender does not know, such as a word of a command line. The pod replaces it by a value of
//! the type that the definition declares, so no sender has to query the definition first.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::{ArtifactRef, Json};

/// The member that marks an object as a raw input.
pub const RAW_MEMBER: &str = "$raw";

/// A raw input: one item, or several of a list. As a value it is `{"$raw": […]}`. It stands for a whole input of a
/// user's own request; inside of a value it is an ordinary object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RawInput(pub Vec<RawItem>);

/// One item of a raw input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum RawItem {
    /// A text as it was typed.
    #[serde(rename = "text")]
    Text(String),
    /// A file. If the input is no file, its content is the text of the input.
    #[serde(rename = "file")]
    File(RawFile),
    /// A file that was stored before.
    #[serde(rename = "$artifact")]
    Artifact(ArtifactRef),
}

/// A file that travels inside of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFile {
    /// Its content.
    pub content: String,
    /// The media type, such as `text/csv`.
    pub media_type: String,
    /// Its name; never a path.
    pub name: String,
}

impl RawInput {
    /// The raw input as a value.
    #[must_use]
    pub fn to_json(&self) -> Json {
        serde_json::json!({ RAW_MEMBER: self })
    }

    /// True if the value is marked as a raw input.
    #[must_use]
    pub fn is_marked(value: &Json) -> bool {
        value.as_object().is_some_and(|members| members.len() == 1 && members.contains_key(RAW_MEMBER))
    }

    /// Reads a value as a raw input; `None` if it is an ordinary value.
    #[must_use]
    pub fn from_json(value: &Json) -> Option<Self> {
        let object = value.as_object().filter(|members| members.len() == 1)?;
        serde_json::from_value(object.get(RAW_MEMBER)?.clone()).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::hash::ContentHash;
    use crate::value::for_each_artifact;

    #[test]
    fn a_raw_input_survives_as_a_value_and_its_artifacts_are_found_in_it() {
        let artifact = ArtifactRef {
            hash: ContentHash::from_content(b"x"),
            bytes: u64::MAX,
            media_type: "text/csv".into(),
            name: "a.csv".into(),
        };
        let file = RawFile { content: "1".into(), media_type: "text/plain".into(), name: "n.txt".into() };
        let raw = RawInput(vec![RawItem::Text("7".into()), RawItem::File(file), RawItem::Artifact(artifact.clone())]);
        let mut value = raw.to_json();
        assert_eq!(value["$raw"][0], json!({ "text": "7" }));
        assert_eq!(value["$raw"][2], artifact.to_json());
        assert_eq!(RawInput::from_json(&value), Some(raw));
        let mut found = 0;
        for_each_artifact(&mut value, &mut |artifact: &mut ArtifactRef| {
            (artifact.bytes, found) = (3, found + 1);
        });
        assert_eq!((found, &value["$raw"][2]["$artifact"]["bytes"]), (1, &json!(3)));
        for other in [json!({ "$raw": "7" }), json!({ "$raw": [], "more": 1 }), json!([{ "text": "7" }]), json!("7")] {
            assert_eq!(RawInput::from_json(&other), None, "{other}");
        }
    }
}
