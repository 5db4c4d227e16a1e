//! A request that is larger than a message of NATS may be: its largest inputs become artifacts, one after the other, and the
//! request refers to them. The pod reads them where they are used, so the callee receives the same values.

use greenroom_protocol::value::ARTIFACT_MEMBER;
use greenroom_protocol::{ArtifactRef, Json, Request};

/// Smaller inputs remain in the request: a reference is as large.
const ARTIFACT_BYTES_MIN: usize = 1_024;

/// An input that becomes an artifact.
#[derive(Debug, PartialEq)]
pub(super) struct LargeInput {
    pub(super) name: String,
    /// The value, or the text that it is.
    pub(super) content: Vec<u8>,
    pub(super) media_type: &'static str,
    /// The name of the artifact, which has the extension of the media type.
    pub(super) file_name: String,
}

/// The largest input of a request that is no artifact and not small.
pub(super) fn largest_input(request: &Request) -> Option<LargeInput> {
    let inputs = request.inputs()?.iter().filter(|(_, value)| ArtifactRef::from_json(value).is_none());
    let contents = inputs.filter_map(|(name, value)| Some((name, value, content(value)?)));
    let (name, value, content) = contents.max_by_key(|(_, _, content)| content.len())?;
    if content.len() < ARTIFACT_BYTES_MIN {
        return None;
    }
    let (media_type, extension) = if value.is_string() { ("text/plain", "txt") } else { ("application/json", "json") };
    Some(LargeInput { name: name.clone(), content, media_type, file_name: file_name(name, extension) })
}

/// The bytes of a value as the pod reads them from an artifact. A value with a reference inside cannot be one: the pod
/// would not find the reference.
fn content(value: &Json) -> Option<Vec<u8>> {
    match value {
        Json::String(text) => Some(text.clone().into_bytes()),
        Json::Null | Json::Bool(_) | Json::Number(_) => None,
        Json::Array(_) | Json::Object(_) => {
            let bytes = serde_json::to_vec(value).ok()?;
            let marker = format!("\"{ARTIFACT_MEMBER}\"");
            let has_reference = bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
            (!has_reference).then_some(bytes)
        }
    }
}

/// A file name for an input, whose name may have any character.
fn file_name(input: &str, extension: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let stem: String = input.chars().filter(|c| plain(*c)).take(64).collect();
    let stem = if stem.is_empty() { "input" } else { &stem };
    format!("{stem}.{extension}")
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ContentHash;
    use serde_json::json;

    use super::*;

    fn request(inputs: &Json) -> Request {
        Request::from_json(json!({ "verb": "invoke", "agent": "a", "inputs": inputs })).unwrap()
    }

    #[test]
    fn the_largest_input_is_a_text_or_a_document() {
        let (text, list) = ("x".repeat(3_000), vec!["y".repeat(100); 20]);
        let largest = largest_input(&request(&json!({ "text": text, "list": list, "count": 3 }))).unwrap();
        assert_eq!((largest.name.as_str(), largest.file_name.as_str()), ("text", "text.txt"));
        assert_eq!((largest.content.len(), largest.media_type), (3_000, "text/plain"));
        let largest = largest_input(&request(&json!({ "a list": list }))).unwrap();
        assert_eq!((largest.file_name.as_str(), largest.media_type), ("alist.json", "application/json"));
        assert_eq!(serde_json::from_slice::<Json>(&largest.content).unwrap(), json!(list));
    }

    #[test]
    fn small_inputs_and_artifacts_remain() {
        let artifact = ArtifactRef {
            hash: ContentHash::from_content(b"x"),
            bytes: 9_000_000,
            media_type: "text/csv".into(),
            name: "sales.csv".into(),
        };
        let nested = json!([artifact.to_json(), "x".repeat(5_000)]);
        let inputs = json!({ "file": artifact.to_json(), "nested": nested, "text": "x".repeat(1_000) });
        assert_eq!(largest_input(&request(&inputs)), None);
        assert_eq!(largest_input(&Request::from_json(json!({ "verb": "query", "query": "agents" })).unwrap()), None);
    }
}
