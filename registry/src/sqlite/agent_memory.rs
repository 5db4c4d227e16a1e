//! The memories of agents in SQLite. Their vectors are searched in memory.

use std::collections::HashSet;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, PrincipalId, TenantId, Timestamp};
use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};

use crate::agent_memory::decode::{
    decode_count, decode_memories, decode_stored, decode_stored_vectors, decode_vectors,
};
use crate::agent_memory::embedder::EmbedderId;
use crate::agent_memory::matrices::Matrices;
use crate::agent_memory::matrix::VectorRow;
use crate::agent_memory::search::{self, RowPosition, StoredMemory, VectorRows};
use crate::agent_memory::{
    ForgetSelection, Memory, MemoryBatch, MemoryCount, MemoryMatch, MemoryOwner, MemoryStore, StoredVectors,
    VectorQuery, listed_max,
};
use crate::error::StoreError;
use crate::sqlite::columns::Columns as _;
use crate::sqlite::handle::StoreHandle;

use commands::Remember;

mod commands;
mod delete;

const SELECT_NEWEST: &str = "SELECT tenant, id, at, expires_at, text, issuer, user, source, first_line, last_line \
                             FROM memories WHERE tenant = ? AND agent = ? AND (expires_at IS NULL OR expires_at > ?) \
                             ORDER BY at DESC, id DESC LIMIT ?";
/// The sign keeps SQLite from reading all rows of the embedder by their index.
const SELECT_BY_IDS: &str = "SELECT tenant, id, at, expires_at, text, vector, issuer, user, source, first_line, last_line \
                             FROM memories WHERE tenant = ?1 AND agent = ?2 AND +embedder = ?3 \
                             AND id IN (SELECT unhex(value) FROM json_each(?4))";
const SELECT_STORED_VECTORS: &str = "SELECT id, embedder, vector FROM memories WHERE tenant = ?1 AND agent = ?2 \
                                     AND id IN (SELECT unhex(value) FROM json_each(?3))";
const SELECT_VECTORS: &str = "SELECT id, version, at, expires_at, vector FROM memories \
                              WHERE tenant = ? AND agent = ? AND embedder = ? AND (version, id) > (?, ?) \
                              ORDER BY version, id LIMIT ?";
const SELECT_IDS: &str = "SELECT id FROM memories WHERE tenant = ? AND agent = ? AND embedder = ?";
const SELECT_VERSION: &str = "SELECT version FROM memory_owners WHERE tenant = ? AND agent = ?";
const COUNT_VECTORS: &str = "SELECT COUNT(*) AS vectors FROM memories WHERE tenant = ? AND agent = ? AND embedder = ?";
/// Counts in indexes only: all, less the few that have expired.
const COUNT_MEMORIES: &str = "SELECT (SELECT COUNT(*) FROM memories WHERE tenant = ?1 AND agent = ?2) \
                              - (SELECT COUNT(*) FROM memories WHERE +tenant = ?1 AND +agent = ?2 \
                              AND expires_at IS NOT NULL AND expires_at <= ?3) AS memories, \
                              (SELECT COUNT(*) FROM memories WHERE tenant = ?1 AND agent = ?2 AND source IS NOT NULL) \
                              - (SELECT COUNT(*) FROM memories WHERE +tenant = ?1 AND +agent = ?2 \
                              AND expires_at IS NOT NULL AND expires_at <= ?3 AND +source IS NOT NULL) AS of_documents";

/// The memories of agents.
pub(super) struct SqliteAgentMemory {
    rows: SqliteRows,
    matrices: Matrices,
}

impl SqliteAgentMemory {
    pub(super) fn new(store: StoreHandle) -> Self {
        Self { rows: SqliteRows(store), matrices: Matrices::default() }
    }

    const fn store(&self) -> &StoreHandle {
        &self.rows.0
    }
}

/// The rows of the database.
struct SqliteRows(StoreHandle);

/// A query about the memories of an owner, whose tenant and agent are its first values.
fn of_owner(sql: &'static str, owner: &MemoryOwner) -> Query<'static, Sqlite, SqliteArguments> {
    sqlx::query(sql).bind(owner.tenant.as_str()).bind(owner.agent.as_str())
}

#[async_trait]
impl VectorRows for SqliteRows {
    async fn version(&self, owner: &MemoryOwner) -> Result<i64, StoreError> {
        let row = self.0.read_row(of_owner(SELECT_VERSION, owner)).await?;
        row.map_or(Ok(0), |row| row.int("version"))
    }

    async fn count_vectors(&self, owner: &MemoryOwner, embedder: &EmbedderId) -> Result<u64, StoreError> {
        let row = self.0.read_row(of_owner(COUNT_VECTORS, owner).bind(embedder.as_str())).await?;
        row.map_or(Ok(0), |row| row.number("vectors"))
    }

    async fn vectors_after(
        &self,
        owner: &MemoryOwner,
        embedder: &EmbedderId,
        after: &RowPosition,
        limit: u32,
    ) -> Result<Vec<VectorRow>, StoreError> {
        let query = of_owner(SELECT_VECTORS, owner)
            .bind(embedder.as_str())
            .bind(after.version)
            .bind(after.id.as_slice())
            .bind(limit);
        decode_vectors(&self.0.read_rows(query).await?)
    }

    async fn ids(&self, owner: &MemoryOwner, embedder: &EmbedderId) -> Result<HashSet<ContentHash>, StoreError> {
        let rows = self.0.read_rows(of_owner(SELECT_IDS, owner).bind(embedder.as_str())).await?;
        rows.iter().map(|row| row.hash("id")).collect()
    }

    async fn by_ids(
        &self,
        owner: &MemoryOwner,
        embedder: &EmbedderId,
        ids: &[ContentHash],
    ) -> Result<Vec<StoredMemory>, StoreError> {
        let query = of_owner(SELECT_BY_IDS, owner).bind(embedder.as_str()).bind(serde_json::to_string(ids)?);
        decode_stored(&self.0.read_rows(query).await?, read_text)
    }
}

fn read_text(row: &SqliteRow) -> Result<String, StoreError> {
    Ok(row.text("text")?.to_owned())
}

#[async_trait]
impl MemoryStore for SqliteAgentMemory {
    async fn remember(&self, owner: &MemoryOwner, batch: &MemoryBatch, now: Timestamp) -> Result<(), StoreError> {
        self.store().queue.execute(Remember { owner: owner.clone(), batch: batch.clone(), now }).await
    }

    async fn find_vectors(
        &self,
        owner: &MemoryOwner,
        embedder: &EmbedderId,
        ids: &[ContentHash],
    ) -> Result<StoredVectors, StoreError> {
        let query = of_owner(SELECT_STORED_VECTORS, owner).bind(serde_json::to_string(ids)?);
        decode_stored_vectors(&self.store().read_rows(query).await?, embedder)
    }

    async fn recall(
        &self,
        owner: &MemoryOwner,
        query: VectorQuery<'_>,
        now: Timestamp,
    ) -> Result<Vec<MemoryMatch>, StoreError> {
        search::recall(&self.rows, &self.matrices, owner, query, now).await
    }

    async fn list(&self, owner: &MemoryOwner, limit: usize, now: Timestamp) -> Result<Vec<Memory>, StoreError> {
        let query = of_owner(SELECT_NEWEST, owner).bind(now.as_micros()).bind(listed_max(limit));
        decode_memories(&self.store().read_rows(query).await?, read_text)
    }

    async fn count(&self, owner: &MemoryOwner, now: Timestamp) -> Result<MemoryCount, StoreError> {
        let row = self.store().read_row(of_owner(COUNT_MEMORIES, owner).bind(now.as_micros())).await?;
        row.map_or_else(|| Ok(MemoryCount::default()), |row| decode_count(&row))
    }

    async fn forget(&self, owner: &MemoryOwner, selection: &ForgetSelection) -> Result<u64, StoreError> {
        delete::forget(self.store(), owner, selection).await
    }

    async fn forget_of_tenant(&self, tenant: &TenantId, user: Option<&PrincipalId>) -> Result<u64, StoreError> {
        delete::forget_of_tenant(self.store(), tenant, user).await
    }

    async fn prune(&self, tenant: Option<&TenantId>, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        delete::prune(self.store(), tenant, before, now).await
    }

    fn set_cache_bytes_max(&self, bytes_max: usize) {
        self.matrices.set_bytes_max(bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{COUNT_MEMORIES, SELECT_BY_IDS, SELECT_STORED_VECTORS};

    /// How SQLite executes a statement, a line for each table.
    fn plan(statement: &str) -> Vec<String> {
        let connection = Connection::open_in_memory().unwrap();
        for migration in [
            include_str!("../../migrations/sqlite/0001_stores.sql"),
            include_str!("../../migrations/sqlite/0004_memories.sql"),
        ] {
            connection.execute_batch(migration).unwrap();
        }
        let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let mut rows = explained.raw_query();
        let mut lines = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            lines.push(row.get::<_, String>("detail").unwrap());
        }
        lines.retain(|line| line.contains(" memories "));
        lines
    }

    #[test]
    fn memories_are_read_by_their_ids_and_counted_in_indexes_however_many_there_are() {
        for statement in [SELECT_BY_IDS, SELECT_STORED_VECTORS] {
            let plan = plan(statement);
            assert!(plan.iter().all(|line| line.contains("(tenant=? AND agent=? AND id=?)")), "{plan:?}");
            assert_eq!(plan.len(), 1);
        }
        let plan = plan(COUNT_MEMORIES);
        let is_bounded = |line: &String| line.contains("COVERING INDEX") || line.contains("memories_by_expiry");
        assert!(plan.len() == 4 && plan.iter().all(is_bounded), "{plan:?}");
    }
}
