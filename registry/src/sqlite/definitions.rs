//! Bodies of definitions in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::ContentHash;

use crate::definition_store::{DEFINITION_BYTES_MAX, DefinitionStore};
use crate::error::StoreError;
use crate::sqlite::commands::Command;
use crate::sqlite::{Shared, failed};

/// The bodies.
pub(super) struct SqliteDefinitions(pub(super) Arc<Shared>);

#[async_trait]
impl DefinitionStore for SqliteDefinitions {
    async fn put(&self, hash: &ContentHash, body: &str) -> Result<(), StoreError> {
        if body.len() > DEFINITION_BYTES_MAX {
            return Err(StoreError::Codec(format!("a definition has at most {DEFINITION_BYTES_MAX} bytes")));
        }
        let (hash, body) = (*hash, body.to_owned());
        self.0.queue.request(|answer| Command::Body { hash, body, answer }).await
    }

    async fn get(&self, hash: &ContentHash) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT body FROM definition_versions WHERE hash = ?")
            .bind(hash.as_bytes().to_vec())
            .fetch_optional(&self.0.readers)
            .await
            .map_err(|error| failed(&error))
    }
}
