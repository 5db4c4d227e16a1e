//! The result of a call, as a model reads it. Texts that are not small, pictures, sounds and other content become
//! artifacts of the agent's tenant. Nothing that a server writes is more than data: a text that looks like a reference to
//! an artifact is not one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use greenroom_actors::handler::FileAccess;
use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{Cause, ErrorCode, Json};
use serde_json::{Map, json};

use crate::foreign::{visible_text, without_references};

/// Parts of a result; further ones are omitted.
const PARTS_MAX: usize = 100;
/// Bytes of all texts of a result that are no artifacts.
const INLINE_BYTES_MAX: usize = 32 * 1024;
/// Bytes of the beginning of a text that is an artifact.
const PREVIEW_BYTES_MAX: usize = 1024;
/// Bytes of the text of a failure.
const FAILURE_BYTES_MAX: usize = 2 * 1024;
/// Bytes of a URI or a title.
const LABEL_BYTES_MAX: usize = 2 * 1024;
/// Bytes of a media type.
const MEDIA_TYPE_BYTES_MAX: usize = 100;
/// The media type of what has none.
const OCTETS: &str = "application/octet-stream";

/// Converts a result of this tool.
///
/// # Errors
/// [`ErrorCode::HandlerFailed`] if the tool reports a failure; those of [`FileAccess::store_artifact`].
pub(super) async fn convert(tool: &str, result: &Json, files: &FileAccess) -> Result<Json, Cause> {
    let parts = result.get("content").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    if result.get("isError").and_then(Json::as_bool).unwrap_or_default() {
        return Err(failure(tool, parts));
    }
    let mut converter = Converter { tool, files, inline_bytes: 0, stored: 0 };
    let structured = match result.get("structuredContent") {
        None | Some(Json::Null) => None,
        Some(value) => Some(converter.structured(value).await?),
    };
    // A server repeats structured content as one text, for clients that know none.
    let parts: &[Json] = match (parts, result.get("structuredContent")) {
        ([part], Some(value)) if is_text_of(part, value) => &[],
        (parts, _) => parts,
    };
    let mut content = Vec::new();
    for part in parts.iter().take(PARTS_MAX) {
        content.push(converter.part(part).await?);
    }
    if parts.len() > PARTS_MAX {
        content.push(json!({ "omitted_parts": parts.len() - PARTS_MAX }));
    }
    Ok(match (structured, content.as_slice()) {
        (Some(structured), []) => structured,
        (Some(structured), _) => json!({ "structured": structured, "content": content }),
        (None, [Json::String(text)]) => json!(text),
        (None, _) => json!({ "content": content }),
    })
}

fn failure(tool: &str, parts: &[Json]) -> Cause {
    let texts: Vec<&str> = parts.iter().take(PARTS_MAX).filter_map(|part| part.get("text")?.as_str()).collect();
    let text = texts.join("\n");
    let text = visible_text(text.trim(), FAILURE_BYTES_MAX);
    let message = match text.as_str() {
        "" => format!("the tool `{tool}` reports a failure"),
        text => format!("the tool `{tool}` reports a failure: {text}"),
    };
    Cause::new(ErrorCode::HandlerFailed, message)
}

/// True if a part is a text that is this value.
fn is_text_of(part: &Json, value: &Json) -> bool {
    let text = part.get("text").and_then(Json::as_str);
    text.is_some_and(|text| serde_json::from_str::<Json>(text).is_ok_and(|read| read == *value))
}

struct Converter<'c> {
    tool: &'c str,
    files: &'c FileAccess,
    inline_bytes: usize,
    stored: usize,
}

impl Converter<'_> {
    async fn structured(&mut self, value: &Json) -> Result<Json, Cause> {
        let text = value.to_string();
        if self.takes_inline(text.len()) {
            return Ok(without_references(value.clone()));
        }
        let artifact = self.store(text.as_bytes(), "json", "application/json").await?;
        Ok(json!({ "artifact": artifact }))
    }

    async fn part(&mut self, part: &Json) -> Result<Json, Cause> {
        let text_of = |name: &str| part.get(name).and_then(Json::as_str);
        match text_of("type") {
            Some("text") => self.text(text_of("text").unwrap_or_default(), Map::new()).await,
            Some(kind @ ("image" | "audio")) => {
                let media_type = media_type(text_of("mimeType"));
                self.blob(kind, text_of("data").unwrap_or_default(), media_type, Map::new()).await
            }
            Some("resource") => self.resource(part.get("resource").unwrap_or(&Json::Null)).await,
            Some("resource_link") => {
                let mut members = label(part, "uri");
                members.extend(label(part, "name"));
                members.insert("type".to_owned(), json!("resource_link"));
                Ok(Json::Object(members))
            }
            Some(_) | None => Ok(json!({ "problem": "the server returned a part of an unknown type" })),
        }
    }

    async fn resource(&mut self, resource: &Json) -> Result<Json, Cause> {
        let text_of = |name: &str| resource.get(name).and_then(Json::as_str);
        let members = label(resource, "uri");
        match (text_of("text"), text_of("blob")) {
            (Some(text), _) => self.text(text, members).await,
            (None, Some(blob)) => self.blob("resource", blob, media_type(text_of("mimeType")), members).await,
            (None, None) => Ok(json!({ "problem": "the server returned a resource without content" })),
        }
    }

    /// A text, with these members beside it. Alone, it is the value itself.
    async fn text(&mut self, text: &str, mut members: Map<String, Json>) -> Result<Json, Cause> {
        if self.takes_inline(text.len()) {
            if members.is_empty() {
                return Ok(json!(text));
            }
            members.insert("text".to_owned(), json!(text));
            return Ok(Json::Object(members));
        }
        let artifact = self.store(text.as_bytes(), "txt", "text/plain").await?;
        members.insert("artifact".to_owned(), artifact);
        members.insert("begins_with".to_owned(), json!(truncate_utf8(text, PREVIEW_BYTES_MAX)));
        Ok(Json::Object(members))
    }

    async fn blob(
        &mut self,
        kind: &str,
        data: &str,
        media_type: String,
        mut members: Map<String, Json>,
    ) -> Result<Json, Cause> {
        members.insert("type".to_owned(), json!(kind));
        match STANDARD.decode(data) {
            Ok(bytes) => {
                let ending = media_type.rsplit('/').next().unwrap_or("bin").to_owned();
                let artifact = self.store(&bytes, &ending, &media_type).await?;
                members.insert("artifact".to_owned(), artifact);
            }
            Err(_) => drop(members.insert("problem".to_owned(), json!("its data is no base64"))),
        }
        Ok(Json::Object(members))
    }

    fn takes_inline(&mut self, bytes: usize) -> bool {
        let total = self.inline_bytes.saturating_add(bytes);
        if total <= INLINE_BYTES_MAX {
            self.inline_bytes = total;
        }
        total <= INLINE_BYTES_MAX
    }

    async fn store(&mut self, bytes: &[u8], ending: &str, media_type: &str) -> Result<Json, Cause> {
        self.stored = self.stored.saturating_add(1);
        let plain = |text: &str| -> String {
            text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
        };
        let name = format!("{}-{}.{}", plain(self.tool), self.stored, plain(ending));
        Ok(self.files.store_artifact(bytes, &name, media_type).await?.to_json())
    }
}

/// One text of a server as a member, if it is there.
fn label(part: &Json, name: &str) -> Map<String, Json> {
    let text = part.get(name).and_then(Json::as_str).map(|text| truncate_utf8(text, LABEL_BYTES_MAX));
    text.map(|text| (name.to_owned(), json!(text))).into_iter().collect()
}

/// A media type of a server, if it has the form of one.
fn media_type(text: Option<&str>) -> String {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-_".contains(&byte))
    };
    let known = text.map(str::trim).filter(|text| text.len() <= MEDIA_TYPE_BYTES_MAX);
    let known = known.filter(|text| text.split_once('/').is_some_and(|(kind, sort)| is_word(kind) && is_word(sort)));
    known.unwrap_or(OCTETS).to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
