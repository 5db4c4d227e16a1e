//! A response → the result of a tool: a value of JSON, a text, or an artifact. What a server writes is data; nothing here
//! interprets it: an object that looks like a reference to an artifact is none.

use greenroom_actors::concurrency::spawn_blocking;
use greenroom_actors::handler::FileAccess;
use greenroom_protocol::{Cause, ErrorCode, Json};

use super::operation::Operation;
use crate::foreign::without_references;
use crate::outbound::credentials::Credentials;
use crate::outbound::failure::{OutboundError, cause_from_status};
use crate::outbound::response::OutboundResponse;

/// Maximum bytes of a value or a text; more is stored as an artifact.
const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a body above which it is parsed on a blocking thread.
const INLINE_PARSE_BYTES_MAX: usize = 256 * 1024;
/// Maximum bytes of the extension of an artifact's name.
const EXTENSION_BYTES_MAX: usize = 8;
/// The media type of bytes of which nothing is known.
const UNKNOWN_BYTES: &str = "application/octet-stream";

/// Reads the result.
///
/// # Errors
/// [`ErrorCode::ServiceFailed`] for a body that is not what its headers say; a cause of the status; those of the store of
/// artifacts.
pub(super) async fn read(
    response: OutboundResponse,
    server: &str,
    operation: &Operation,
    credentials: &Credentials,
    files: &FileAccess,
) -> Result<Json, Cause> {
    if !response.status.is_success() {
        return Err(cause_from_status(&response, server, credentials));
    }
    if response.body.is_empty() {
        return Ok(Json::Null);
    }
    let media_type = response.media_type();
    if response.body.len() <= VALUE_BYTES_MAX {
        if response.is_json() {
            return parse(response.body, server).await.map(without_references);
        }
        if is_text(&media_type)
            && let Ok(text) = std::str::from_utf8(&response.body)
        {
            return Ok(text.into());
        }
    }
    let media_type = if is_media_type(&media_type) { media_type.as_str() } else { UNKNOWN_BYTES };
    let stored = files.store_artifact(&response.body, &file_name(operation, media_type), media_type).await?;
    Ok(stored.to_json())
}

async fn parse(body: Vec<u8>, server: &str) -> Result<Json, Cause> {
    let parsed = if body.len() <= INLINE_PARSE_BYTES_MAX {
        serde_json::from_slice(&body)
    } else {
        let parsing = spawn_blocking(move || serde_json::from_slice(&body));
        parsing.await.map_err(|_| Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down"))?
    };
    parsed.map_err(|error| {
        let problem = format!("it is no JSON at line {}, column {}", error.line(), error.column());
        OutboundError::Unreadable(problem).cause(server)
    })
}

/// True for a media type of text, and for a response without one: it is a text if its bytes are.
fn is_text(media_type: &str) -> bool {
    let is_named = matches!(
        media_type,
        "" | "application/xml" | "application/yaml" | "application/x-yaml" | "application/x-ndjson"
    );
    is_named || media_type.starts_with("text/") || media_type.ends_with("+xml") || media_type.ends_with("+yaml")
}

/// True for a type and a subtype of plain characters, as the store of artifacts needs it.
fn is_media_type(media_type: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | '_');
    let is_part = |part: &str| !part.is_empty() && part.len() <= 100 && part.chars().all(is_plain);
    media_type.split_once('/').is_some_and(|(kind, subtype)| is_part(kind) && is_part(subtype))
}

/// The name of the artifact: the operation, and an extension from the media type.
fn file_name(operation: &Operation, media_type: &str) -> String {
    let subtype = media_type.rsplit(['/', '+']).next().unwrap_or_default();
    let is_extension = |text: &&str| {
        (1..=EXTENSION_BYTES_MAX).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let extension = Some(subtype).filter(is_extension).filter(|_| media_type != UNKNOWN_BYTES).unwrap_or("bin");
    let plain = |c: char| if c == '/' { '_' } else { c };
    format!("{}.{extension}", operation.id.chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_a_text_or_a_file_by_its_media_type() {
        for text in ["", "text/csv", "text/html", "application/xml", "application/atom+xml", "application/yaml"] {
            assert!(is_text(text), "{text}");
        }
        for file in ["application/pdf", "image/png", "application/octet-stream", "application/zip"] {
            assert!(!is_text(file), "{file}");
        }
        for valid in ["application/pdf", "image/svg+xml", "application/vnd.ms-excel"] {
            assert!(is_media_type(valid), "{valid}");
        }
        for invalid in ["", "pdf", "a/", "/b", "a/b c", "a/b/c", "a/\u{e4}"] {
            assert!(!is_media_type(invalid), "{invalid}");
        }
    }
}
