//! The memories of agents in PostgreSQL. Their vectors are searched in the memory of each pod.

use std::collections::HashSet;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, PrincipalId, TenantId, Timestamp};
use sqlx::postgres::PgRow;

use crate::agent_memory::decode::{decode_memories, decode_stored, decode_stored_vectors, decode_vectors};
use crate::agent_memory::embedder::EmbedderId;
use crate::agent_memory::matrices::Matrices;
use crate::agent_memory::matrix::VectorRow;
use crate::agent_memory::search::{self, RowPosition, StoredMemory, VectorRows};
use crate::agent_memory::{
    ForgetSelection, LIST_MAX, Memory, MemoryBatch, MemoryCount, MemoryMatch, MemoryOwner, MemoryStore, StoredVectors,
    VectorQuery,
};
use crate::columns::{Columns as _, from_int};
use crate::error::StoreError;
use crate::postgres::columns::text_of_bytes;
use crate::postgres::error::sqlx_error;
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
const COUNT_VECTORS: &str = "SELECT count(*) FROM memories WHERE tenant = $1 AND agent = $2 AND embedder = $3";
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

#[async_trait]
impl VectorRows for PostgresRows {
    async fn version(&self, owner: &MemoryOwner) -> Result<i64, StoreError> {
        let row = sqlx::query(SELECT_VERSION)
            .bind(owner.tenant.as_str())
            .bind(owner.agent.as_str())
            .fetch_optional(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        row.map_or(Ok(0), |row| row.int("version"))
    }

    async fn count_vectors(&self, owner: &MemoryOwner, embedder: &EmbedderId) -> Result<u64, StoreError> {
        let count = sqlx::query_scalar::<_, i64>(COUNT_VECTORS)
            .bind(owner.tenant.as_str())
            .bind(owner.agent.as_str())
            .bind(embedder.as_str())
            .fetch_one(&self.0.readers)
            .await;
        count.map(from_int).map_err(|error| sqlx_error(&error))
    }

    async fn vectors_after(
        &self,
        owner: &MemoryOwner,
        embedder: &EmbedderId,
        after: &RowPosition,
        limit: u32,
    ) -> Result<Vec<VectorRow>, StoreError> {
        let rows = sqlx::query(SELECT_VECTORS)
            .bind(owner.tenant.as_str())
            .bind(owner.agent.as_str())
            .bind(embedder.as_str())
            .bind(after.version)
            .bind(after.id.as_slice())
            .bind(i64::from(limit))
            .fetch_all(&self.0.readers)
            .await;
        decode_vectors(&rows.map_err(|error| sqlx_error(&error))?)
    }

    async fn ids(&self, owner: &MemoryOwner, embedder: &EmbedderId) -> Result<HashSet<ContentHash>, StoreError> {
        let rows = sqlx::query(SELECT_IDS)
            .bind(owner.tenant.as_str())
            .bind(owner.agent.as_str())
            .bind(embedder.as_str())
            .fetch_all(&self.0.readers)
            .await;
        rows.map_err(|error| sqlx_error(&error))?.iter().map(|row| row.hash("id")).collect()
    }

    async fn by_ids(
        &self,
        owner: &MemoryOwner,
        embedder: &EmbedderId,
        ids: &[ContentHash],
    ) -> Result<Vec<StoredMemory>, StoreError> {
        let rows = sqlx::query(SELECT_BY_IDS)
            .bind(owner.tenant.as_str())
            .bind(owner.agent.as_str())
            .bind(embedder.as_str())
            .bind(bytes_of(ids))
            .fetch_all(&self.0.readers)
            .await;
        decode_stored(&rows.map_err(|error| sqlx_error(&error))?, read_text)
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
        let rows = sqlx::query(SELECT_STORED_VECTORS)
            .bind(owner.tenant.as_str())
            .bind(owner.agent.as_str())
            .bind(bytes_of(ids))
            .fetch_all(&self.store().readers)
            .await;
        decode_stored_vectors(&rows.map_err(|error| sqlx_error(&error))?, embedder)
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
        let rows = sqlx::query(SELECT_NEWEST)
            .bind(owner.tenant.as_str())
            .bind(owner.agent.as_str())
            .bind(now.as_micros())
            .bind(i64::try_from(limit.min(LIST_MAX)).unwrap_or(i64::MAX))
            .fetch_all(&self.store().readers)
            .await;
        decode_memories(&rows.map_err(|error| sqlx_error(&error))?, read_text)
    }

    async fn count(&self, owner: &MemoryOwner, now: Timestamp) -> Result<MemoryCount, StoreError> {
        let row = sqlx::query(COUNT_MEMORIES)
            .bind(owner.tenant.as_str())
            .bind(owner.agent.as_str())
            .bind(now.as_micros())
            .fetch_one(&self.store().readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        Ok(MemoryCount { memories: row.number("memories")?, of_documents: row.number("of_documents")? })
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
