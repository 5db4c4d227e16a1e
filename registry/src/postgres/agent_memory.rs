//! The memories of agents in PostgreSQL. Their vectors are searched in the memory of each pod.

use std::collections::HashSet;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, PrincipalId, TenantId, Timestamp};
use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;

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
use crate::columns::Columns as _;
use crate::error::StoreError;
use crate::postgres::columns::text_of_bytes;
use crate::postgres::handle::StoreHandle;

mod write;

const SELECT_NEWEST: &str = "SELECT tenant, id, at, expires_at, text, issuer, user_id AS \"user\", source, first_line, \
                             last_line FROM memories WHERE tenant = $1 AND agent = $2 \
                             AND (expires_at IS NULL OR expires_at > $3) ORDER BY at DESC, id DESC LIMIT $4";
const SELECT_BY_IDS: &str = "SELECT tenant, id, at, expires_at, text, vector, issuer, user_id AS \"user\", source, \
                             first_line, last_line FROM memories WHERE tenant = $1 AND agent = $2 AND embedder = $3 \
                             AND id = ANY ($4)";
const SELECT_STORED_VECTORS: &str =
    "SELECT id, embedder, vector FROM memories WHERE tenant = $1 AND agent = $2 AND id = ANY ($3)";
const SELECT_VECTORS: &str = "SELECT id, version, at, expires_at, vector FROM memories \
                              WHERE tenant = $1 AND agent = $2 AND embedder = $3 AND (version, id) > ($4, $5) \
                              ORDER BY version, id LIMIT $6";
const SELECT_IDS: &str = "SELECT id FROM memories WHERE tenant = $1 AND agent = $2 AND embedder = $3";
const SELECT_VERSION: &str = "SELECT version FROM memory_owners WHERE tenant = $1 AND agent = $2";
const COUNT_VECTORS: &str =
    "SELECT count(*) AS vectors FROM memories WHERE tenant = $1 AND agent = $2 AND embedder = $3";
const COUNT_MEMORIES: &str = "SELECT count(*) AS memories, count(source) AS of_documents FROM memories \
                              WHERE tenant = $1 AND agent = $2 AND (expires_at IS NULL OR expires_at > $3)";

/// The memories of agents.
pub(super) struct PostgresAgentMemory {
    rows: PostgresRows,
    matrices: Matrices,
}

impl PostgresAgentMemory {
    pub(super) fn new(store: StoreHandle) -> Self {
        Self { rows: PostgresRows(store), matrices: Matrices::default() }
    }

    const fn store(&self) -> &StoreHandle {
        &self.rows.0
    }
}

/// The rows of the database.
struct PostgresRows(StoreHandle);

/// A query about the memories of an owner, whose tenant and agent are its first values.
fn of_owner(sql: &'static str, owner: &MemoryOwner) -> Query<'static, Postgres, PgArguments> {
    sqlx::query(sql).bind(owner.tenant.as_str()).bind(owner.agent.as_str())
}

#[async_trait]
impl VectorRows for PostgresRows {
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
            .bind(i64::from(limit));
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
        let query = of_owner(SELECT_BY_IDS, owner).bind(embedder.as_str()).bind(bytes_of(ids));
        decode_stored(&self.0.read_rows(query).await?, read_text)
    }
}

fn bytes_of(ids: &[ContentHash]) -> Vec<Vec<u8>> {
    ids.iter().map(|id| id.as_bytes().to_vec()).collect()
}

fn read_text(row: &PgRow) -> Result<String, StoreError> {
    text_of_bytes(row, "text")
}

#[async_trait]
impl MemoryStore for PostgresAgentMemory {
    async fn remember(&self, owner: &MemoryOwner, batch: &MemoryBatch, now: Timestamp) -> Result<(), StoreError> {
        write::remember(self.store(), owner, batch, now).await
    }

    async fn find_vectors(
        &self,
        owner: &MemoryOwner,
        embedder: &EmbedderId,
        ids: &[ContentHash],
    ) -> Result<StoredVectors, StoreError> {
        let query = of_owner(SELECT_STORED_VECTORS, owner).bind(bytes_of(ids));
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
        write::forget(self.store(), owner, selection).await
    }

    async fn forget_of_tenant(&self, tenant: &TenantId, user: Option<&PrincipalId>) -> Result<u64, StoreError> {
        write::forget_of_tenant(self.store(), tenant, user).await
    }

    async fn prune(&self, tenant: Option<&TenantId>, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        write::prune(self.store(), tenant, before, now).await
    }

    fn set_cache_bytes_max(&self, bytes_max: usize) {
        self.matrices.set_bytes_max(bytes_max);
    }
}
