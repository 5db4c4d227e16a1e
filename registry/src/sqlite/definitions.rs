//! Pinned versions of definitions in SQLite.

use async_trait::async_trait;
use greenroom_protocol::ContentHash;

use crate::definition_store::{DEFINITION_BYTES_MAX, DefinitionStore};
use crate::error::StoreError;
use crate::sqlite::command::WriteCommand;
use crate::sqlite::commit::Commit;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::statement_batch::SqlValue;
use crate::sqlite::writer_state::WriterState;

const INSERT_DEFINITION: &str =
    "INSERT INTO definition_versions (hash, body) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING";

/// The versions of definitions.
pub(super) struct SqliteDefinitions(pub(super) StoreHandle);

/// Stores one version.
struct PutDefinition {
    hash: ContentHash,
    body: String,
}

impl WriteCommand for PutDefinition {
    type Output = ();
    type Error = StoreError;

    fn apply(self, _state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        commit.statements.add(INSERT_DEFINITION, vec![SqlValue::from(&self.hash), self.body.into()]);
        Ok(())
    }
}

#[async_trait]
impl DefinitionStore for SqliteDefinitions {
    async fn put(&self, hash: &ContentHash, body: &str) -> Result<(), StoreError> {
        if body.len() > DEFINITION_BYTES_MAX {
            return Err(StoreError::Codec(format!("a definition has at most {DEFINITION_BYTES_MAX} bytes")));
        }
        self.0.queue.execute(PutDefinition { hash: *hash, body: body.to_owned() }).await
    }

    async fn get(&self, hash: &ContentHash) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT body FROM definition_versions WHERE hash = ?")
            .bind(hash.as_bytes().to_vec())
            .fetch_optional(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))
    }
}
