//! The memories of agents in PostgreSQL. A query reads all memories of one owner and compares them here.

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Timestamp};
use sqlx::postgres::PgRow;

use crate::agent_memory::decode::{decode_matches, decode_memories};
use crate::agent_memory::{MEMORIES_MAX, Memory, MemoryMatch, MemoryOwner, MemoryStore, VectorQuery};
use crate::error::StoreError;
use crate::postgres::columns::text_of_bytes;
use crate::postgres::error::sqlx_error;
use crate::postgres::handle::StoreHandle;
use crate::postgres::transaction::{begin, commit};

const SELECT_MEMORIES: &str = "SELECT id, at, expires_at, text, vector FROM memories WHERE tenant = $1 AND agent = $2 \
                               AND (expires_at IS NULL OR expires_at > $3) ORDER BY at DESC, id DESC LIMIT $4";
/// Two executions of one owner store one after the other, so that both see how many memories there are.
const LOCK_OWNER: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 0))";
const INSERT_MEMORY: &str = "INSERT INTO memories (tenant, agent, id, at, expires_at, text, vector) \
                             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, agent, id) DO NOTHING";
/// Deletes the expired memories of an owner, and the oldest ones over the limit.
const EVICT_OLDEST: &str = "DELETE FROM memories WHERE tenant = $1 AND agent = $2 AND (expires_at <= $3 OR id IN \
                            (SELECT id FROM memories WHERE tenant = $1 AND agent = $2 \
                            ORDER BY at DESC, id DESC OFFSET $4))";
const DELETE: &str = "DELETE FROM memories WHERE tenant = $1 AND agent = $2 AND ($3::bytea IS NULL OR id = $3)";

/// The memories of agents.
pub(super) struct PostgresAgentMemory(pub(super) StoreHandle);

impl PostgresAgentMemory {
    async fn select_newest(&self, owner: &MemoryOwner, limit: usize, now: Timestamp) -> Result<Vec<PgRow>, StoreError> {
        sqlx::query(SELECT_MEMORIES)
            .bind(owner.tenant.as_str())
            .bind(owner.agent.as_str())
            .bind(now.as_micros())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))
    }
}

fn read_text(row: &PgRow) -> Result<String, StoreError> {
    text_of_bytes(row, "text")
}

#[async_trait]
impl MemoryStore for PostgresAgentMemory {
    async fn remember(
        &self,
        owner: &MemoryOwner,
        memory: Memory,
        vector: &[f32],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (tenant, agent) = (owner.tenant.as_str(), owner.agent.as_str());
        let vector: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        let mut transaction = begin(&self.0).await?;
        sqlx::query(LOCK_OWNER)
            .bind(tenant)
            .bind(agent)
            .execute(&mut *transaction)
            .await
            .map_err(|error| sqlx_error(&error))?;
        sqlx::query(INSERT_MEMORY)
            .bind(tenant)
            .bind(agent)
            .bind(memory.id.as_bytes().as_slice())
            .bind(memory.at.as_micros())
            .bind(memory.expires_at.map(Timestamp::as_micros))
            .bind(memory.text.as_bytes())
            .bind(vector)
            .execute(&mut *transaction)
            .await
            .map_err(|error| sqlx_error(&error))?;
        sqlx::query(EVICT_OLDEST)
            .bind(tenant)
            .bind(agent)
            .bind(now.as_micros())
            .bind(i64::try_from(MEMORIES_MAX).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
            .await
            .map_err(|error| sqlx_error(&error))?;
        commit(transaction).await
    }

    async fn recall(
        &self,
        owner: &MemoryOwner,
        query: VectorQuery<'_>,
        now: Timestamp,
    ) -> Result<Vec<MemoryMatch>, StoreError> {
        decode_matches(&self.select_newest(owner, MEMORIES_MAX, now).await?, read_text, query)
    }

    async fn list(&self, owner: &MemoryOwner, limit: usize, now: Timestamp) -> Result<Vec<Memory>, StoreError> {
        decode_memories(&self.select_newest(owner, limit.min(MEMORIES_MAX), now).await?, read_text)
    }

    async fn forget(&self, owner: &MemoryOwner, id: Option<&ContentHash>) -> Result<u64, StoreError> {
        let mut transaction = begin(&self.0).await?;
        let deleted = sqlx::query(DELETE)
            .bind(owner.tenant.as_str())
            .bind(owner.agent.as_str())
            .bind(id.map(|id| id.as_bytes().as_slice()))
            .execute(&mut *transaction)
            .await
            .map_err(|error| sqlx_error(&error))?;
        commit(transaction).await?;
        Ok(deleted.rows_affected())
    }
}
