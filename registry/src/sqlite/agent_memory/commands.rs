//! The writer's commands for the memories of agents.

use greenroom_protocol as protocol;
use protocol::{ContentHash, Timestamp};

use crate::agent_memory::{MEMORIES_MAX, Memory, MemoryOwner};
use crate::error::StoreError;
use crate::sqlite::command::WriteCommand;
use crate::sqlite::commit::Commit;
use crate::sqlite::statement_batch::SqlValue;
use crate::sqlite::writer_state::WriterState;

const INSERT_MEMORY: &str = "INSERT INTO memories (tenant, agent, id, at, expires_at, text, vector) \
                             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, agent, id) DO NOTHING";
/// Deletes the expired memories of an owner, and the oldest ones over the limit.
const EVICT_OLDEST: &str = "DELETE FROM memories WHERE tenant = ? AND agent = ? AND (expires_at <= ? OR id IN \
                            (SELECT id FROM memories WHERE tenant = ? AND agent = ? \
                            ORDER BY at DESC, id DESC LIMIT -1 OFFSET ?))";
const DELETE_ONE: &str = "DELETE FROM memories WHERE tenant = ? AND agent = ? AND id = ?";
const DELETE_ALL: &str = "DELETE FROM memories WHERE tenant = ? AND agent = ?";

/// Stores one memory.
pub(super) struct Remember {
    pub(super) owner: MemoryOwner,
    pub(super) memory: Memory,
    pub(super) vector: Vec<f32>,
    pub(super) now: Timestamp,
}

impl WriteCommand for Remember {
    type Output = ();
    type Error = StoreError;

    fn apply(self, _state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        let Self { owner, memory, vector, now } = self;
        let owner_values = owner_values(&owner);
        let (expiry, limit) = ([now.as_micros().into()], [(MEMORIES_MAX as u64).into()]);
        let evict_values = [&owner_values[..], &expiry, &owner_values, &limit].concat();
        let memory_values = [
            SqlValue::from(&memory.id),
            memory.at.as_micros().into(),
            memory.expires_at.map(Timestamp::as_micros).into(),
            memory.text.into(),
            SqlValue::Blob(vector.iter().flat_map(|number| number.to_le_bytes()).collect()),
        ];
        commit.statements.add(INSERT_MEMORY, owner_values.into_iter().chain(memory_values).collect());
        commit.statements.add(EVICT_OLDEST, evict_values);
        Ok(())
    }
}

/// Deletes one memory of an owner, or all of them.
pub(super) struct Forget {
    pub(super) owner: MemoryOwner,
    pub(super) id: Option<ContentHash>,
}

impl WriteCommand for Forget {
    type Output = ();
    type Error = StoreError;

    fn apply(self, _state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        let mut values = owner_values(&self.owner).to_vec();
        match self.id {
            Some(id) => {
                values.push(SqlValue::from(&id));
                commit.statements.add(DELETE_ONE, values);
            }
            None => commit.statements.add(DELETE_ALL, values),
        }
        Ok(())
    }
}

fn owner_values(owner: &MemoryOwner) -> [SqlValue; 2] {
    [owner.tenant.as_str().into(), owner.agent.as_str().into()]
}
