//! `native:read_artifact`: a page of an artifact that is too large for a message, such as a long result of another tool.

use async_trait::async_trait;
use greenroom_actors::handler::{FileAccess, HandlerMode};
use greenroom_actors::tool::{Tool, ToolInput};
use greenroom_protocol::{ArtifactRef, Cause, ErrorCode, Json};
use serde::Deserialize;
use serde_json::json;

use super::computation::invalid;

/// Bytes of a page without a length.
const LENGTH_DEFAULT: u64 = 16 * 1024;
/// Maximum bytes of a page.
const LENGTH_MAX: u64 = 48 * 1024;
/// Maximum size of a page as JSON, below what a model reads of one result: characters may be longer there.
const PAGE_JSON_BYTES_MAX: usize = 56 * 1024;
/// Bytes beyond a page that are read, so that its last character is whole.
const CHARACTER_BYTES_MAX: u64 = 3;

/// The arguments.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    artifact: Json,
    #[serde(default)]
    offset: Option<u64>,
    #[serde(default)]
    length: Option<u64>,
}

/// The tool.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ReadArtifact;

#[async_trait]
impl Tool for ReadArtifact {
    fn name(&self) -> &str {
        "read_artifact"
    }

    fn description(&self) -> &str {
        "Reads a page of a text that is stored as an artifact, such as a long result of another tool. Continue at \
         `next_offset` until there is none."
    }

    fn parameters(&self) -> Json {
        json!({
            "type": "object",
            "properties": {
                "artifact": { "type": "object", "description": "The reference of the artifact, unchanged" },
                "offset": { "type": "integer", "description": "The byte at which the page begins; 0 if absent" },
                "length": { "type": "integer", "description": "Bytes of the page; 16384 if absent, at most 49152" }
            },
            "required": ["artifact"],
            "additionalProperties": false
        })
    }

    fn result(&self) -> Json {
        json!({
            "type": "object",
            "properties": {
                "text": { "type": "string" },
                "offset": { "type": "integer" },
                "next_offset": { "type": "integer" },
                "total_bytes": { "type": "integer" }
            }
        })
    }

    fn mode(&self) -> HandlerMode {
        HandlerMode::Async
    }

    async fn call(&self, input: &ToolInput, files: &FileAccess) -> Result<Json, Cause> {
        let arguments = Json::Object(input.arguments.clone().into_iter().collect());
        let Arguments { artifact, offset, length } =
            serde_json::from_value(arguments).map_err(|error| invalid(error.to_string()))?;
        let artifact = ArtifactRef::from_json(&artifact).ok_or_else(|| {
            invalid("`artifact` must be the whole reference, an object with the member `$artifact`, unchanged")
        })?;
        let (offset, length) = (offset.unwrap_or(0), length.unwrap_or(LENGTH_DEFAULT));
        if length == 0 || length > LENGTH_MAX {
            return Err(invalid(format!("`length` is {length}; it is a number from 1 to {LENGTH_MAX}")));
        }
        // One character at least, whatever the length.
        let wanted = length.saturating_add(CHARACTER_BYTES_MAX);
        let (bytes, total) = files.read_artifact_part(&artifact, offset, wanted).await?;
        if offset > total {
            return Err(invalid(format!("`offset` is {offset}, and the artifact has {total} bytes")));
        }
        let text = page(&bytes, usize::try_from(length).unwrap_or(usize::MAX), offset.saturating_add(length) >= total)
            .ok_or_else(|| not_text(&artifact, offset))?;
        let next = offset.saturating_add(text.len() as u64);
        let next_offset = (next < total).then_some(next);
        Ok(json!({ "text": text, "offset": offset, "next_offset": next_offset, "total_bytes": total }))
    }
}

/// The text of a page that ends with a whole character, and whose JSON is within its bound; `None` if the bytes are no
/// text.
fn page(bytes: &[u8], length: usize, is_last: bool) -> Option<&str> {
    let valid = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // The bytes beyond the page may end within a character.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()?,
        Err(_) => return None,
    };
    let mut end = if is_last { valid.len() } else { valid.floor_char_boundary(length) };
    if end == 0 {
        // A character that is longer than the page.
        end = valid.chars().next().map_or(0, char::len_utf8);
    }
    let mut text = valid.get(..end)?;
    while json_bytes(text) > PAGE_JSON_BYTES_MAX {
        text = text.get(..text.floor_char_boundary(text.len() / 2))?;
    }
    (!text.is_empty() || bytes.is_empty()).then_some(text)
}

/// The size of a text as JSON.
fn json_bytes(text: &str) -> usize {
    text.chars()
        .map(|c| match c {
            '"' | '\\' | '\n' | '\r' | '\t' => 2,
            c if c.is_control() => 6,
            c => c.len_utf8(),
        })
        .sum()
}

fn not_text(artifact: &ArtifactRef, offset: u64) -> Cause {
    let message = format!(
        "{} ({}) has no UTF-8 text at byte {offset}; continue at a `next_offset`, or use a tool that reads such files",
        artifact.name, artifact.media_type
    );
    Cause::new(ErrorCode::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::{CallKey, ContentHash, Values};

    use super::super::super::tests::{Harness, harness};
    use super::*;

    async fn read(harness: &Harness, arguments: Json) -> Result<Json, Cause> {
        let arguments: Values = serde_json::from_value(arguments).unwrap();
        ReadArtifact.call(&ToolInput { arguments, key: CallKey::new("k").unwrap(), trace: None }, &harness.files).await
    }

    #[tokio::test]
    async fn pages_follow_each_other_and_end_with_whole_characters() {
        let harness = harness();
        let text = "aä€😀".repeat(9_000);
        let stored = harness.files.store_artifact(text.as_bytes(), "long.txt", "text/plain").await.unwrap();
        for length in [1, 2, 7, 4_099, LENGTH_MAX] {
            let (mut joined, mut offset) = (String::new(), Some(0));
            while let Some(at) = offset.filter(|at| *at < 200) {
                let arguments = json!({ "artifact": stored.to_json(), "offset": at, "length": length });
                let page = read(&harness, arguments).await.unwrap();
                joined.push_str(page["text"].as_str().unwrap());
                assert_eq!(page["total_bytes"], text.len());
                offset = page["next_offset"].as_u64();
            }
            assert!(!joined.is_empty() && text.starts_with(&joined), "{length}");
        }
        let last = json!({ "artifact": stored.to_json(), "offset": text.len() - 4 });
        let last = read(&harness, last).await.unwrap();
        assert_eq!((&last["text"], &last["next_offset"]), (&json!("😀"), &Json::Null));
        let end = read(&harness, json!({ "artifact": stored.to_json(), "offset": text.len() })).await.unwrap();
        assert_eq!(end["text"], "");
    }

    #[tokio::test]
    async fn a_page_is_small_enough_for_a_model_whatever_it_has() {
        let harness = harness();
        let stored = harness.files.store_artifact(&[1; 100_000], "control.txt", "text/plain").await.unwrap();
        let page = read(&harness, json!({ "artifact": stored.to_json(), "length": LENGTH_MAX })).await.unwrap();
        assert!(page.to_string().len() < 64 * 1024);
        assert!(page["next_offset"].as_u64().unwrap() > 1_000);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_with_the_reason() {
        let harness = harness();
        let binary = harness.files.store_artifact(&[0xff, 0xfe, 0], "a.bin", "application/octet-stream").await.unwrap();
        let unknown = ArtifactRef { hash: ContentHash::from_content(b"none"), ..binary.clone() };
        let text = harness.files.store_artifact("ä".as_bytes(), "a.txt", "text/plain").await.unwrap();
        for (arguments, code, word) in [
            (json!({ "artifact": binary.to_json() }), ErrorCode::InvalidData, "no UTF-8 text"),
            (json!({ "artifact": text.to_json(), "offset": 1 }), ErrorCode::InvalidData, "next_offset"),
            (json!({ "artifact": text.to_json(), "offset": 3 }), ErrorCode::InvalidInput, "2 bytes"),
            (json!({ "artifact": text.to_json(), "length": 0 }), ErrorCode::InvalidInput, "`length`"),
            (json!({ "artifact": text.to_json(), "length": 50_000 }), ErrorCode::InvalidInput, "`length`"),
            (json!({ "artifact": unknown.to_json() }), ErrorCode::UnknownRecord, "no artifact"),
            (json!({ "artifact": text.hash.to_string() }), ErrorCode::InvalidInput, "`$artifact`"),
            (json!({}), ErrorCode::InvalidInput, "artifact"),
        ] {
            let cause = read(&harness, arguments).await.unwrap_err();
            assert!(cause.code == code && cause.message.contains(word), "{cause}");
        }
    }
}
