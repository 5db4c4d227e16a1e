//! The writer's commands for shared contexts: each is decided on the whole context and written key by
//! key.

use greenroom_protocol as protocol;
use protocol::{RunId, Timestamp};

use crate::context::data::{ChangedValue, ContextData};
use crate::context::{ContextError, ContextPut, Version};
use crate::error::StoreError;
use crate::runs::Fence;
use crate::sqlite::command::{Needs, WriteCommand};
use crate::sqlite::commit::Commit;
use crate::sqlite::statement_batch::{SqlValue, StatementBatch};
use crate::sqlite::writer_state::WriterState;

const UPSERT_CONTEXT: &str = "INSERT INTO contexts (run, fence, version) VALUES (?, ?, ?) \
                              ON CONFLICT (run) DO UPDATE SET fence = excluded.fence, version = excluded.version";
const UPSERT_VALUE: &str = "INSERT INTO context_values (run, key, version, value, expires_at) VALUES (?, ?, ?, ?, ?) \
                            ON CONFLICT (run, key) DO UPDATE SET version = excluded.version, value = excluded.value, \
                            expires_at = excluded.expires_at";

/// Claims a context, and creates it if it does not exist.
pub(super) struct ClaimContext {
    pub(super) run: RunId,
}

impl WriteCommand for ClaimContext {
    type Output = Fence;
    type Error = ContextError;

    fn add_needs<'c>(&'c self, needs: &mut Needs<'c>) {
        needs.contexts.push(&self.run);
    }

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<Fence, ContextError> {
        let data = state.contexts.get_or_create(&self.run);
        let fence = data.claim();
        commit.statements.add(UPSERT_CONTEXT, context_values(&self.run, data));
        Ok(fence)
    }
}

/// Writes one key.
pub(super) struct WriteValue {
    pub(super) run: RunId,
    pub(super) fence: Fence,
    pub(super) put: ContextPut,
    pub(super) now: Timestamp,
}

impl WriteCommand for WriteValue {
    type Output = Version;
    type Error = ContextError;

    fn add_needs<'c>(&'c self, needs: &mut Needs<'c>) {
        needs.contexts.push(&self.run);
    }

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<Version, ContextError> {
        let Self { run, fence, put, now } = self;
        let data = state.contexts.find_mut(&run)?;
        let changed = data.put(fence, put, now)?;
        let version = changed.stored.version;
        write_changes(&run, data, &[changed], &mut commit.statements)?;
        commit.context_notify.push(run);
        Ok(version)
    }
}

/// Removes the expired values.
pub(super) struct ExpireValues {
    pub(super) run: RunId,
    pub(super) fence: Fence,
    pub(super) now: Timestamp,
}

impl WriteCommand for ExpireValues {
    type Output = u64;
    type Error = ContextError;

    fn add_needs<'c>(&'c self, needs: &mut Needs<'c>) {
        needs.contexts.push(&self.run);
    }

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<u64, ContextError> {
        let Self { run, fence, now } = self;
        let data = state.contexts.find_mut(&run)?;
        let changed = data.expire(fence, now)?;
        write_changes(&run, data, &changed, &mut commit.statements)?;
        commit.context_notify.push(run);
        Ok(changed.len() as u64)
    }
}

/// Removes a whole context.
pub(super) struct RemoveContext {
    pub(super) run: RunId,
    pub(super) fence: Fence,
}

impl WriteCommand for RemoveContext {
    type Output = ();
    type Error = ContextError;

    fn add_needs<'c>(&'c self, needs: &mut Needs<'c>) {
        needs.contexts.push(&self.run);
    }

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<(), ContextError> {
        let Self { run, fence } = self;
        state.contexts.find_mut(&run)?.check_fence(fence)?;
        state.contexts.remove(&run);
        commit.statements.add("DELETE FROM context_values WHERE run = ?", vec![run.as_str().into()]);
        commit.statements.add("DELETE FROM contexts WHERE run = ?", vec![run.as_str().into()]);
        commit.context_notify.push(run);
        Ok(())
    }
}

fn write_changes(
    run: &RunId,
    data: &ContextData,
    changed: &[ChangedValue],
    statements: &mut StatementBatch,
) -> Result<(), StoreError> {
    for ChangedValue { key, stored } in changed {
        let value = stored.value.as_ref().map(serde_json::to_string).transpose()?;
        let expires_at = stored.expires_at.map(Timestamp::as_micros);
        let version = stored.version.0;
        let values = vec![run.as_str().into(), key.as_str().into(), version.into(), value.into(), expires_at.into()];
        statements.add(UPSERT_VALUE, values);
    }
    if !changed.is_empty() {
        statements.add(UPSERT_CONTEXT, context_values(run, data));
    }
    Ok(())
}

fn context_values(run: &RunId, data: &ContextData) -> Vec<SqlValue> {
    vec![run.as_str().into(), data.fence.0.into(), data.version.0.into()]
}
