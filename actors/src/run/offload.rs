//! Stores values that are too large for a journal entry or a reply as artifacts.

use greenroom_protocol::journal::ResultRef;
use greenroom_protocol::limits::INLINE_VALUE_BYTES_MAX;
use greenroom_protocol::value::size_bytes;
use greenroom_protocol::{ArtifactRef, Cause, ContentHash, ErrorCode, Json, Values};

use super::artifacts::RunArtifacts;

/// Media type of stored values.
const JSON: &str = "application/json";

/// True if a journal entry and a reply can contain the value inline.
pub(super) fn fits_inline(value: &Json) -> bool {
    size_bytes(value) <= INLINE_VALUE_BYTES_MAX as u64
}

/// Stores values inline or as an artifact, and returns their hash.
///
/// # Errors
/// An error of the artifact store.
pub(super) async fn store_result(
    values: Values,
    name: &str,
    artifacts: RunArtifacts<'_>,
) -> Result<(ResultRef, ContentHash), Cause> {
    let bytes = serde_json::to_vec(&values).map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))?;
    let hash = ContentHash::from_content(&bytes);
    if bytes.len() <= INLINE_VALUE_BYTES_MAX {
        return Ok((ResultRef::Inline(values), hash));
    }
    let artifact = artifacts.put(bytes, JSON, &format!("{name}.json")).await?;
    Ok((ResultRef::Stored(artifact), hash))
}

/// Replaces every value that is too large for a journal entry or a reply by a reference to an artifact.
///
/// # Errors
/// An error of the artifact store.
pub(super) async fn offload_large(values: Values, artifacts: RunArtifacts<'_>) -> Result<Values, Cause> {
    let mut inline = Values::new();
    for (name, value) in values {
        let value = offload_if_large(&name, value, artifacts).await?;
        inline.insert(name, value);
    }
    Ok(inline)
}

/// The value, or a reference to its artifact if it is too large.
pub(super) async fn offload_if_large(name: &str, value: Json, artifacts: RunArtifacts<'_>) -> Result<Json, Cause> {
    if fits_inline(&value) || ArtifactRef::from_json(&value).is_some() {
        return Ok(value);
    }
    let (bytes, media_type, extension) = match value {
        Json::String(text) => (text.into_bytes(), "text/plain; charset=utf-8", "txt"),
        other => (other.to_string().into_bytes(), JSON, "json"),
    };
    let name: String = name.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '_' }).take(64).collect();
    Ok(artifacts.put(bytes, media_type, &format!("{name}.{extension}")).await?.to_json())
}
