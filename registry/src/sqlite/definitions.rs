//! Versions of definitions in SQLite.

use std::collections::BTreeMap;

use async_trait::async_trait;
use greenroom_protocol::ContentHash;
use sqlx::sqlite::SqliteRow;

use crate::definition_store::{DefinitionStore, VersionInService, check_size};
use crate::error::StoreError;
use crate::sqlite::columns::Columns as _;
use crate::sqlite::command::WriteCommand;
use crate::sqlite::commit::Commit;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::statement_batch::SqlValue;
use crate::sqlite::writer_state::WriterState;

const INSERT_DEFINITION: &str =
    "INSERT INTO definition_versions (hash, body) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING";
const UPSERT_IN_SERVICE: &str = "INSERT INTO definitions_in_service (kind, id, source, file, hash) VALUES (?, ?, ?, ?, ?) \
                                 ON CONFLICT (kind, id) DO UPDATE SET source = excluded.source, file = excluded.file, \
                                 hash = excluded.hash";
const DELETE_IN_SERVICE: &str = "DELETE FROM definitions_in_service WHERE kind = ? AND id = ?";

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

/// The kind and the id of a definition.
type Key = (String, String);

/// Changes the versions in service.
struct ChangeInService {
    source: String,
    changed: Vec<VersionInService>,
    removed: Vec<Key>,
}

impl WriteCommand for ChangeInService {
    type Output = ();
    type Error = StoreError;

    fn apply(self, _state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        for (kind, id) in self.removed {
            commit.statements.add(DELETE_IN_SERVICE, vec![kind.into(), id.into()]);
        }
        for VersionInService { kind, id, file, hash, body } in self.changed {
            commit.statements.add(INSERT_DEFINITION, vec![SqlValue::from(&hash), (&*body).into()]);
            let source = self.source.as_str().into();
            commit.statements.add(UPSERT_IN_SERVICE, vec![kind.into(), id.into(), source, file.into(), (&hash).into()]);
        }
        Ok(())
    }
}

/// A row without its text.
#[derive(PartialEq, Eq)]
struct StoredVersion {
    source: String,
    file: Option<String>,
    hash: ContentHash,
}

impl SqliteDefinitions {
    async fn stored_versions(&self) -> Result<BTreeMap<Key, StoredVersion>, StoreError> {
        let rows = sqlx::query("SELECT kind, id, source, file, hash FROM definitions_in_service")
            .fetch_all(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        rows.iter().map(decode_stored).collect()
    }
}

fn decode_stored(row: &SqliteRow) -> Result<(Key, StoredVersion), StoreError> {
    let file = row.optional_text("file")?.map(str::to_owned);
    let version = StoredVersion { source: row.text("source")?.to_owned(), file, hash: row.hash("hash")? };
    Ok(((row.text("kind")?.to_owned(), row.text("id")?.to_owned()), version))
}

fn decode_version(row: &SqliteRow) -> Result<VersionInService, StoreError> {
    Ok(VersionInService {
        kind: row.text("kind")?.to_owned(),
        id: row.text("id")?.to_owned(),
        file: row.optional_text("file")?.map(str::to_owned),
        hash: row.hash("hash")?,
        body: row.text("body")?.into(),
    })
}

#[async_trait]
impl DefinitionStore for SqliteDefinitions {
    async fn put(&self, hash: &ContentHash, body: &str) -> Result<(), StoreError> {
        check_size(body)?;
        self.0.queue.execute(PutDefinition { hash: *hash, body: body.to_owned() }).await
    }

    async fn get(&self, hash: &ContentHash) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT body FROM definition_versions WHERE hash = ?")
            .bind(hash.as_bytes().to_vec())
            .fetch_optional(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))
    }

    async fn set_in_service(&self, source: &str, versions: &[VersionInService]) -> Result<(), StoreError> {
        versions.iter().try_for_each(|version| check_size(&version.body))?;
        // Most starts change nothing, and then write nothing.
        let mut stored = self.stored_versions().await?;
        let mut changed = Vec::new();
        for version in versions {
            let new = StoredVersion { source: source.to_owned(), file: version.file.clone(), hash: version.hash };
            if stored.remove(&(version.kind.clone(), version.id.clone())).as_ref() != Some(&new) {
                changed.push(version.clone());
            }
        }
        if changed.is_empty() && stored.is_empty() {
            return Ok(());
        }
        let removed = stored.into_keys().collect();
        self.0.queue.execute(ChangeInService { source: source.to_owned(), changed, removed }).await
    }

    async fn list_in_service(&self, source: &str) -> Result<Vec<VersionInService>, StoreError> {
        let sql = "SELECT kind, id, file, hash, body FROM definitions_in_service JOIN definition_versions USING (hash) \
                   WHERE source = ? ORDER BY kind, id";
        let rows =
            sqlx::query(sql).bind(source).fetch_all(&self.0.readers).await.map_err(|error| sqlx_error(&error))?;
        rows.iter().map(decode_version).collect()
    }
}
