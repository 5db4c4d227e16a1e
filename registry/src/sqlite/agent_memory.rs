//! The memories of agents in SQLite. A query reads all memories of one owner and compares them here.

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Timestamp};
use sqlx::sqlite::SqliteRow;

use crate::agent_memory::decode::{decode_matches, decode_memories};
use crate::agent_memory::{MEMORIES_MAX, Memory, MemoryMatch, MemoryOwner, MemoryStore, VectorQuery};
use crate::error::StoreError;
use crate::sqlite::columns::Columns as _;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::statement_batch::from_int;

use commands::{Forget, Remember};

mod commands;

const SELECT_MEMORIES: &str = "SELECT id, at, expires_at, text, vector FROM memories WHERE tenant = ? AND agent = ? \
                               AND (expires_at IS NULL OR expires_at > ?) ORDER BY at DESC, id DESC LIMIT ?";
const COUNT_MEMORIES: &str = "SELECT COUNT(*) FROM memories WHERE tenant = ? AND agent = ? AND (? IS NULL OR id = ?)";

/// The memories of agents.
pub(super) struct SqliteAgentMemory(pub(super) StoreHandle);

impl SqliteAgentMemory {
    async fn select_newest(
        &self,
        owner: &MemoryOwner,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<SqliteRow>, StoreError> {
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

fn read_text(row: &SqliteRow) -> Result<String, StoreError> {
    Ok(row.text("text")?.to_owned())
}

#[async_trait]
impl MemoryStore for SqliteAgentMemory {
    async fn remember(
        &self,
        owner: &MemoryOwner,
        memory: Memory,
        vector: &[f32],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.queue.execute(Remember { owner: owner.clone(), memory, vector: vector.to_vec(), now }).await
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
        let id_bytes = id.map(|id| id.as_bytes().to_vec());
        let count: i64 = sqlx::query_scalar(COUNT_MEMORIES)
            .bind(owner.tenant.as_str())
            .bind(owner.agent.as_str())
            .bind(id_bytes.clone())
            .bind(id_bytes)
            .fetch_one(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        self.0.queue.execute(Forget { owner: owner.clone(), id: id.copied() }).await?;
        Ok(from_int(count))
    }
}
