//! The canonical JSON of a definition, which is hashed, stored and read back.

use std::sync::Arc;

use greenroom_protocol::{Cause, ContentHash, ErrorCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The canonical JSON of a definition and its hash. Members stand in the order of the struct, and
/// maps in the order of their keys, so the same definition always has the same hash.
pub(crate) fn canonical_body<T: Serialize>(spec: &T) -> (Arc<str>, ContentHash) {
    // A definition holds no map with keys that are not text, so writing it as JSON cannot fail.
    let text = serde_json::to_string(spec).unwrap_or_default();
    let hash = ContentHash::of(text.as_bytes());
    (Arc::from(text), hash)
}

pub(crate) fn parse_stored<T: DeserializeOwned>(body: &str, kind: &str) -> Result<T, Cause> {
    serde_json::from_str(body).map_err(|error| {
        Cause::new(ErrorCode::Internal, format!("the stored body of the {kind} cannot be read: {error}"))
    })
}
