//! The writer's commands for idempotency keys.

use greenroom_protocol as protocol;
use protocol::{ContentHash, TenantId, Timestamp};

use super::key_row::KeyRow;
use crate::error::StoreError;
use crate::idempotency::KeyStatus;
use crate::sqlite::command::{Needs, WriteCommand};
use crate::sqlite::commit::Commit;
use crate::sqlite::writer_state::WriterState;

/// Reserves a key for a request.
pub(super) struct BeginKey {
    /// The key and its tenant.
    pub(super) key: (String, TenantId),
    pub(super) request_hash: ContentHash,
    pub(super) now: Timestamp,
}

impl WriteCommand for BeginKey {
    type Output = KeyStatus;
    type Error = StoreError;

    fn needs(&self) -> Needs<'_> {
        Needs { key: Some((&self.key.0, &self.key.1)), ..Needs::default() }
    }

    fn apply(self, _state: &mut WriterState, commit: &mut Commit) -> Result<KeyStatus, StoreError> {
        let Self { key, request_hash, now } = self;
        if let Some(row) = commit.keys.get(&key).and_then(Option::as_ref) {
            return row.status_for(&request_hash);
        }
        let row = KeyRow { request_hash, run: None, reply: None };
        row.upsert(&key.0, &key.1, now, &mut commit.statements);
        commit.keys.insert(key, Some(row));
        Ok(KeyStatus::New)
    }
}

/// Stores the reply of a request that reserved its key.
pub(super) struct FinishKey {
    /// The key and its tenant.
    pub(super) key: (String, TenantId),
    /// The reply as JSON.
    pub(super) reply: String,
    pub(super) now: Timestamp,
}

impl WriteCommand for FinishKey {
    type Output = ();
    type Error = StoreError;

    fn needs(&self) -> Needs<'_> {
        Needs { key: Some((&self.key.0, &self.key.1)), ..Needs::default() }
    }

    fn apply(self, _state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        let Self { key, reply, now } = self;
        let row = commit.keys.get_mut(&key).and_then(Option::as_mut);
        if let Some(row) = row.filter(|row| row.reply.is_none()) {
            row.reply = Some(reply);
            row.upsert(&key.0, &key.1, now, &mut commit.statements);
        }
        Ok(())
    }
}

/// Releases a key whose request was not executed.
pub(super) struct AbandonKey {
    /// The key and its tenant.
    pub(super) key: (String, TenantId),
}

impl WriteCommand for AbandonKey {
    type Output = ();
    type Error = StoreError;

    fn needs(&self) -> Needs<'_> {
        Needs { key: Some((&self.key.0, &self.key.1)), ..Needs::default() }
    }

    fn apply(self, _state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        let key = self.key;
        let is_open = |row: &KeyRow| row.reply.is_none() && row.run.is_none();
        if commit.keys.get(&key).and_then(Option::as_ref).is_some_and(is_open) {
            let values = vec![key.0.as_str().into(), key.1.as_str().into()];
            commit.statements.add("DELETE FROM idempotency_keys WHERE key = ? AND tenant = ?", values);
            commit.keys.insert(key, None);
        }
        Ok(())
    }
}

/// Deletes the keys of a tenant (none: of all) whose reply was stored before a time.
pub(super) struct PruneKeys {
    pub(super) tenant: Option<TenantId>,
    pub(super) before: Timestamp,
}

impl WriteCommand for PruneKeys {
    type Output = ();
    type Error = StoreError;

    fn apply(self, _state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        let sql = "DELETE FROM idempotency_keys WHERE reply IS NOT NULL AND at < ? AND tenant = COALESCE(?, tenant)";
        let tenant = self.tenant.as_ref().map(|tenant| tenant.as_str());
        commit.statements.add(sql, vec![self.before.as_micros().into(), tenant.into()]);
        Ok(())
    }
}
