//! What agents remember, in SQLite: a look reads all of one owner and compares here.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::agent_memory::{MEMORIES_MAX, Memory, MemoryMatch, MemoryOwner, MemoryStore, VectorQuery, top_matches};
use crate::error::StoreError;
use crate::sqlite::commands::{AgentMemoryWrite, Command};
use crate::sqlite::statement_batch::{SqlValue, from_int};
use crate::sqlite::writer::{Commit, hash_of, refuse as refuse_one};
use crate::sqlite::{Shared, failed};

const REMEMBER: &str = "INSERT INTO memories (tenant, agent, id, at, expires_at, text, vector) \
                        VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, agent, id) DO NOTHING";
/// Those whose time is up, and those behind the newest ones.
const EVICT_OLDEST: &str = "DELETE FROM memories WHERE tenant = ? AND agent = ? AND (expires_at <= ? OR id IN \
                         (SELECT id FROM memories WHERE tenant = ? AND agent = ? \
                         ORDER BY at DESC, id DESC LIMIT -1 OFFSET ?))";
const FORGET_ONE: &str = "DELETE FROM memories WHERE tenant = ? AND agent = ? AND id = ?";
const FORGET_ALL: &str = "DELETE FROM memories WHERE tenant = ? AND agent = ?";
const SELECT_MEMORIES: &str = "SELECT id, at, expires_at, text, vector FROM memories WHERE tenant = ? AND agent = ? \
                      AND (expires_at IS NULL OR expires_at > ?) ORDER BY at DESC, id DESC LIMIT ?";
const COUNT: &str = "SELECT COUNT(*) FROM memories WHERE tenant = ? AND agent = ? AND (? IS NULL OR id = ?)";

/// Decides one command.
pub(super) fn apply(command: AgentMemoryWrite, commit: &mut Commit) {
    match command {
        AgentMemoryWrite::Remember { owner, memory, vector, now, answer } => {
            let whose = [SqlValue::from(owner.tenant.as_str()), owner.agent.as_str().into()];
            let (old, most) = ([now.as_micros().into()], [(MEMORIES_MAX as u64).into()]);
            let make_room = [&whose[..], &old, &whose, &most].concat();
            let kept = [
                SqlValue::from(&memory.id),
                memory.at.as_micros().into(),
                memory.expires_at.map(Timestamp::as_micros).into(),
                memory.text.into(),
                SqlValue::Blob(vector.iter().flat_map(|number| number.to_le_bytes()).collect()),
            ];
            commit.script.add(REMEMBER, whose.into_iter().chain(kept).collect());
            commit.script.add(EVICT_OLDEST, make_room);
            commit.answer(answer, ());
        }
        AgentMemoryWrite::Forget { owner, id, answer } => {
            let whose = vec![SqlValue::from(owner.tenant.as_str()), owner.agent.as_str().into()];
            match id {
                Some(id) => commit.script.add(FORGET_ONE, [whose, vec![SqlValue::from(&id)]].concat()),
                None => commit.script.add(FORGET_ALL, whose),
            }
            commit.answer(answer, ());
        }
    }
}

/// Refuses a command that could not be decided.
pub(super) fn refuse(command: AgentMemoryWrite, error: &StoreError) {
    match command {
        AgentMemoryWrite::Remember { answer, .. } | AgentMemoryWrite::Forget { answer, .. } => {
            refuse_one(answer, error)
        }
    }
}

/// The memories.
pub(super) struct SqliteMemories(pub(super) Arc<Shared>);

impl SqliteMemories {
    async fn newest(&self, owner: &MemoryOwner, most: usize, now: Timestamp) -> Result<Vec<SqliteRow>, StoreError> {
        sqlx::query(SELECT_MEMORIES)
            .bind(owner.tenant.as_str())
            .bind(owner.agent.as_str())
            .bind(now.as_micros())
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .fetch_all(&self.0.readers)
            .await
            .map_err(|error| failed(&error))
    }
}

fn memory_of(row: &SqliteRow) -> Result<Memory, StoreError> {
    let broken = |error| failed(&error);
    let id: &[u8] = row.try_get("id").map_err(broken)?;
    let until: Option<i64> = row.try_get("expires_at").map_err(broken)?;
    Ok(Memory {
        id: hash_of(id)?,
        text: row.try_get("text").map_err(broken)?,
        at: Timestamp::from_micros(row.try_get("at").map_err(broken)?),
        expires_at: until.map(Timestamp::from_micros),
    })
}

fn vector_of(row: &SqliteRow) -> Result<Vec<f32>, StoreError> {
    let bytes: &[u8] = row.try_get("vector").map_err(|error| failed(&error))?;
    Ok(bytes.chunks_exact(4).filter_map(|four| four.try_into().ok().map(f32::from_le_bytes)).collect())
}

#[async_trait]
impl MemoryStore for SqliteMemories {
    async fn remember(
        &self,
        owner: &MemoryOwner,
        memory: Memory,
        vector: &[f32],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (owner, memory, vector) = (owner.clone(), Box::new(memory), vector.to_vec());
        let remember = |answer| Command::Memory(AgentMemoryWrite::Remember { owner, memory, vector, now, answer });
        self.0.queue.request(remember).await
    }

    async fn recall(
        &self,
        owner: &MemoryOwner,
        near: VectorQuery<'_>,
        now: Timestamp,
    ) -> Result<Vec<MemoryMatch>, StoreError> {
        let rows = self.newest(owner, MEMORIES_MAX, now).await?;
        let all = rows.iter().map(|row| Ok((memory_of(row)?, vector_of(row)?)));
        Ok(top_matches(near, all.collect::<Result<Vec<_>, StoreError>>()?.into_iter()))
    }

    async fn list(&self, owner: &MemoryOwner, most: usize, now: Timestamp) -> Result<Vec<Memory>, StoreError> {
        self.newest(owner, most.min(MEMORIES_MAX), now).await?.iter().map(memory_of).collect()
    }

    async fn forget(&self, owner: &MemoryOwner, id: Option<&ContentHash>) -> Result<u64, StoreError> {
        let wanted = id.map(|id| id.as_bytes().to_vec());
        let many: i64 = sqlx::query_scalar(COUNT)
            .bind(owner.tenant.as_str())
            .bind(owner.agent.as_str())
            .bind(wanted.clone())
            .bind(wanted)
            .fetch_one(&self.0.readers)
            .await
            .map_err(|error| failed(&error))?;
        let (owner, id) = (owner.clone(), id.copied());
        self.0.queue.request(|answer| Command::Memory(AgentMemoryWrite::Forget { owner, id, answer })).await?;
        Ok(from_int(many))
    }
}
