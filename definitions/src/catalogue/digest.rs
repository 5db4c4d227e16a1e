//! The hash of a whole catalogue.

use std::collections::BTreeMap;
use std::sync::Arc;

use greenroom_protocol::{CategoryId, ContentHash};

use crate::canonical::canonical_body;
use crate::capability::Capability;
use crate::category::Category;
use crate::models::Models;
use crate::quarantine::Quarantined;

/// Hashes the definitions in service, and the reasons why others are not: a file that became invalid changes the
/// catalogue, even if its last valid version remains in service.
pub(super) fn digest<'a>(
    definitions: impl Iterator<Item = ContentHash>,
    categories: &BTreeMap<CategoryId, Arc<Category>>,
    capabilities: &BTreeMap<String, Capability>,
    models: &Models,
    quarantined: impl Iterator<Item = &'a Quarantined>,
) -> ContentHash {
    let mut bytes: Vec<u8> = definitions.flat_map(|hash| *hash.as_bytes()).collect();
    bytes.extend_from_slice(canonical_body(categories).1.as_bytes());
    bytes.extend_from_slice(canonical_body(capabilities).1.as_bytes());
    bytes.extend_from_slice(canonical_body(models).1.as_bytes());
    bytes.extend(quarantined.flat_map(|definition| *canonical_body(definition).1.as_bytes()));
    ContentHash::from_content(&bytes)
}
