//! Hashes the policies' sources, so that a test can detect a stale bundle without OPA.

use std::collections::BTreeMap;

use greenroom_protocol::ContentHash;
use sha2::{Digest, Sha256};

/// Hashes files by path and content. `build.sh` computes the same hash from the tree and writes its
/// beginning into the bundle as the revision.
#[must_use]
pub fn source_hash(files: &BTreeMap<String, Vec<u8>>) -> ContentHash {
    let mut all = Sha256::new();
    for (path, content) in files {
        all.update(format!("{}  {path}\n", ContentHash::from_content(content)));
    }
    ContentHash::from_digest(all.finalize().into())
}
