//! Versions of definitions in PostgreSQL.

use async_trait::async_trait;
use greenroom_protocol::ContentHash;
use sqlx::postgres::PgRow;

use crate::columns::Columns as _;
use crate::definition_store::{DefinitionStore, VersionInService, check_size};
use crate::error::StoreError;
use crate::postgres::columns::text_of_bytes;
use crate::postgres::error::sqlx_error;
use crate::postgres::handle::StoreHandle;
use crate::postgres::readers::Reader;
use crate::postgres::transaction::{begin, commit};

const INSERT_DEFINITION: &str =
    "INSERT INTO definition_versions (hash, body) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING";
const INSERT_IN_SERVICE: &str =
    "INSERT INTO definitions_in_service (kind, id, source, file, hash) VALUES ($1, $2, $3, $4, $5)";
const SELECT_IN_SERVICE: &str = "SELECT s.kind, s.id, s.file, s.hash, v.body FROM definitions_in_service s \
                                 JOIN definition_versions v ON v.hash = s.hash WHERE s.source = $1 \
                                 ORDER BY s.kind COLLATE \"C\", s.id COLLATE \"C\"";

/// The versions of definitions.
pub(super) struct PostgresDefinitions(pub(super) StoreHandle);

#[async_trait]
impl DefinitionStore for PostgresDefinitions {
    async fn put(&self, hash: &ContentHash, body: &str) -> Result<(), StoreError> {
        check_size(body)?;
        let mut transaction = begin(&self.0).await?;
        insert_definition(&mut transaction, hash, body).await?;
        commit(transaction).await
    }

    async fn get(&self, hash: &ContentHash) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT body FROM definition_versions WHERE hash = $1")
            .bind(hash.as_bytes().as_slice())
            .fetch_optional(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        row.as_ref().map(|row| text_of_bytes(row, "body")).transpose()
    }

    async fn set_in_service(&self, source: &str, versions: &[VersionInService]) -> Result<(), StoreError> {
        versions.iter().try_for_each(|version| check_size(&version.body))?;
        // Most starts change nothing, and then write nothing.
        if is_same(&self.list_in_service(source).await?, versions) {
            return Ok(());
        }
        let mut transaction = begin(&self.0).await?;
        // Locked, so that another pod replaces them before or after, and not at the same time.
        for sql in
            ["LOCK TABLE definitions_in_service IN SHARE ROW EXCLUSIVE MODE", "DELETE FROM definitions_in_service"]
        {
            sqlx::query(sql).execute(&mut *transaction).await.map_err(|error| sqlx_error(&error))?;
        }
        for VersionInService { kind, id, file, hash, body } in versions {
            insert_definition(&mut transaction, hash, body).await?;
            sqlx::query(INSERT_IN_SERVICE)
                .bind(kind)
                .bind(id)
                .bind(source)
                .bind(file.as_deref())
                .bind(hash.as_bytes().as_slice())
                .execute(&mut *transaction)
                .await
                .map_err(|error| sqlx_error(&error))?;
        }
        commit(transaction).await
    }

    async fn list_in_service(&self, source: &str) -> Result<Vec<VersionInService>, StoreError> {
        let rows = sqlx::query(SELECT_IN_SERVICE)
            .bind(source)
            .fetch_all(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        rows.iter().map(decode_version).collect()
    }
}

/// True if these versions are in service already.
fn is_same(stored: &[VersionInService], versions: &[VersionInService]) -> bool {
    !versions.is_empty() && stored.len() == versions.len() && versions.iter().all(|version| stored.contains(version))
}

async fn insert_definition(connection: &mut Reader, hash: &ContentHash, body: &str) -> Result<(), StoreError> {
    sqlx::query(INSERT_DEFINITION)
        .bind(hash.as_bytes().as_slice())
        .bind(body.as_bytes())
        .execute(connection)
        .await
        .map(drop)
        .map_err(|error| sqlx_error(&error))
}

fn decode_version(row: &PgRow) -> Result<VersionInService, StoreError> {
    Ok(VersionInService {
        kind: row.text("kind")?.to_owned(),
        id: row.text("id")?.to_owned(),
        file: row.optional_text("file")?.map(str::to_owned),
        hash: row.hash("hash")?,
        body: text_of_bytes(row, "body")?.into(),
    })
}
