//! Pinned versions of definitions in memory.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use greenroom_protocol::ContentHash;

use crate::definition_store::{DEFINITION_BYTES_MAX, DefinitionStore};
use crate::error::StoreError;
use crate::in_memory::shared::lock;

/// The versions of definitions.
#[derive(Debug, Default)]
pub(super) struct InMemoryDefinitions(Mutex<HashMap<ContentHash, String>>);

#[async_trait]
impl DefinitionStore for InMemoryDefinitions {
    async fn put(&self, hash: &ContentHash, body: &str) -> Result<(), StoreError> {
        if body.len() > DEFINITION_BYTES_MAX {
            return Err(StoreError::Codec(format!("a definition has at most {DEFINITION_BYTES_MAX} bytes")));
        }
        lock(&self.0).entry(*hash).or_insert_with(|| body.to_owned());
        Ok(())
    }

    async fn get(&self, hash: &ContentHash) -> Result<Option<String>, StoreError> {
        Ok(lock(&self.0).get(hash).cloned())
    }
}
