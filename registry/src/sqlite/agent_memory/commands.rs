//! The writer's commands for the memories of agents.

use greenroom_protocol as protocol;
use protocol::{ContentHash, Timestamp};

use crate::agent_memory::{MemoryBatch, MemoryOwner, NewMemory};
use crate::error::StoreError;
use crate::sqlite::command::WriteCommand;
use crate::sqlite::commit::Commit;
use crate::sqlite::statement_batch::SqlValue;
use crate::sqlite::writer_state::WriterState;

const NEXT_VERSION: &str = "INSERT INTO memory_owners (tenant, agent, version) VALUES (?, ?, 1) \
                            ON CONFLICT (tenant, agent) DO UPDATE SET version = version + 1";
/// A part of a document replaces what is stored under its id, unless that was remembered later; what an execution remembers
/// does not.
const INSERT_MEMORY: &str = "INSERT INTO memories (tenant, agent, id, at, expires_at, text, vector, embedder, version, \
                             issuer, user, source, first_line, last_line) \
                             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
                             (SELECT version FROM memory_owners WHERE tenant = ?1 AND agent = ?2), \
                             ?9, ?10, ?11, ?12, ?13) \
                             ON CONFLICT (tenant, agent, id) DO UPDATE SET at = excluded.at, \
                             expires_at = excluded.expires_at, text = excluded.text, vector = excluded.vector, \
                             embedder = excluded.embedder, version = excluded.version, issuer = excluded.issuer, \
                             user = excluded.user, source = excluded.source, first_line = excluded.first_line, \
                             last_line = excluded.last_line \
                             WHERE excluded.source IS NOT NULL AND excluded.at >= memories.at";
/// The signs let SQLite use the index of the few memories that expire.
const DELETE_EXPIRED: &str = "DELETE FROM memories WHERE +tenant = ? AND +agent = ? AND expires_at IS NOT NULL \
                              AND expires_at <= ?";
/// Deletes the oldest memories over the limit that are no parts of documents. They are counted at one of so many writes.
const EVICT_OLDEST: &str = "DELETE FROM memories WHERE tenant = ?1 AND agent = ?2 AND id IN \
                            (SELECT id FROM memories WHERE tenant = ?1 AND agent = ?2 AND source IS NULL \
                            ORDER BY at, id LIMIT CASE \
                            WHEN (SELECT version FROM memory_owners WHERE tenant = ?1 AND agent = ?2) % ?4 = 0 \
                            THEN max(0, (SELECT COUNT(*) FROM memories WHERE tenant = ?1 AND agent = ?2) - ?3) \
                            ELSE 0 END)";
const DELETE_ONE: &str =
    "DELETE FROM memories WHERE tenant = ?1 AND agent = ?2 AND id = ?3 AND (?4 IS NULL OR at < ?4)";

/// Stores memories.
pub(super) struct Remember {
    pub(super) owner: MemoryOwner,
    pub(super) batch: MemoryBatch,
    pub(super) now: Timestamp,
}

impl WriteCommand for Remember {
    type Output = ();
    type Error = StoreError;

    fn apply(self, _state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        let interval = self.batch.eviction_interval();
        let Self { owner, batch: MemoryBatch { embedder, memories, owner_max }, now } = self;
        let owner_values: [SqlValue; 2] = [owner.tenant.as_str().into(), owner.agent.as_str().into()];
        commit.statements.add(NEXT_VERSION, owner_values.to_vec());
        for NewMemory { memory, vector } in memories {
            let (issuer, user) = memory.user.map(|user| (user.issuer.to_string(), user.user.to_string())).unzip();
            let source = memory.source;
            let lines = source.as_ref().map(|source| (i64::from(source.first_line), i64::from(source.last_line)));
            let (first_line, last_line) = lines.unzip();
            let values = [
                SqlValue::from(&memory.id),
                memory.at.as_micros().into(),
                memory.expires_at.map(Timestamp::as_micros).into(),
                memory.text.into(),
                SqlValue::Blob(vector.to_bytes()),
                embedder.as_str().into(),
                issuer.into(),
                user.into(),
                source.map(|source| source.name).into(),
                first_line.into(),
                last_line.into(),
            ];
            commit.statements.add(INSERT_MEMORY, owner_values.iter().cloned().chain(values).collect());
        }
        let with = |values: Vec<SqlValue>| owner_values.iter().cloned().chain(values).collect::<Vec<_>>();
        commit.statements.add(DELETE_EXPIRED, with(vec![now.as_micros().into()]));
        commit.statements.add(EVICT_OLDEST, with(vec![(owner_max as u64).into(), interval.into()]));
        Ok(())
    }
}

/// The key of a row.
#[derive(Debug)]
pub(super) struct MemoryKey {
    pub(super) tenant: String,
    pub(super) agent: String,
    pub(super) id: ContentHash,
}

/// Deletes memories; with a time, those that were remembered before it.
pub(super) struct DeleteMemories {
    pub(super) keys: Vec<MemoryKey>,
    pub(super) before: Option<Timestamp>,
}

impl WriteCommand for DeleteMemories {
    type Output = ();
    type Error = StoreError;

    fn apply(self, _state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        let before = self.before.map(Timestamp::as_micros);
        for MemoryKey { tenant, agent, id } in self.keys {
            let values = vec![tenant.into(), agent.into(), SqlValue::from(&id), before.into()];
            commit.statements.add(DELETE_ONE, values);
        }
        Ok(())
    }
}
