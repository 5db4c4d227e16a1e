//! The canonical JSON of a definition, which is hashed, stored and read back.

use std::sync::Arc;

use greenroom_protocol::{Cause, ContentHash, ErrorCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Returns the canonical JSON of a definition and its hash. Members are in the order of the struct and
/// maps in the order of their keys, so that equal definitions have equal hashes.
pub(crate) fn canonical_body<T: Serialize>(spec: &T) -> (Arc<str>, ContentHash) {
    // All maps of a definition have text keys, so serialization cannot fail.
    let text = serde_json::to_string(spec).unwrap_or_default();
    let hash = ContentHash::from_content(text.as_bytes());
    (Arc::from(text), hash)
}

pub(crate) fn parse_stored<T: DeserializeOwned>(body: &str, kind: &str) -> Result<T, Cause> {
    serde_json::from_str(body).map_err(|error| {
        Cause::new(ErrorCode::Internal, format!("the stored body of the {kind} cannot be read: {error}"))
    })
}
