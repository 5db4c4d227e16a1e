//! Idempotency keys in a unit: reserving one, and answering or releasing it.

use greenroom_protocol as protocol;
use protocol::{ContentHash, Timestamp};

use crate::core::{Conflict, KeyReply, KeyRequest, UnitError};
use crate::error::StoreError;
use crate::idempotency::{ReservedKey, StoredKey};
use crate::sqlite::commit::Commit;
use crate::sqlite::handle::WriterQueue;
use crate::sqlite::idempotency::key_row::KeyRow;
use crate::sqlite::unit::QueuedUnit;
use crate::sqlite::writer_state::WriterState;

/// Reserves a key for a request.
pub(super) struct BeginKey {
    key: StoredKey,
    request_hash: ContentHash,
}

impl BeginKey {
    pub(super) fn encode(request: KeyRequest<'_>) -> Self {
        let KeyRequest { tenant, key, request_hash, request: _ } = request;
        Self { key: (key.to_stored(), tenant.clone()), request_hash: *request_hash }
    }

    pub(super) const fn stored(&self) -> &StoredKey {
        &self.key
    }

    pub(super) fn check(&self, commit: &Commit) -> Result<(), UnitError> {
        match commit.find_key(&self.key)? {
            Some(row) => Err(UnitError::Conflict(Conflict::Key(row.status_for(&self.request_hash)?))),
            None => Ok(()),
        }
    }

    /// Reserves a checked key.
    pub(super) fn apply(
        self,
        at: Timestamp,
        queue: &WriterQueue,
        state: &WriterState,
        commit: &mut Commit,
    ) -> ReservedKey {
        let Self { key, request_hash } = self;
        let pod = state.shared.pods.own().clone();
        commit.upsert_key(key.clone(), KeyRow { request_hash, run: None, reply: None, pod }, at);
        let (queue, clock) = (queue.clone(), state.shared.clock.clone());
        let release = move |key: StoredKey| {
            if let Err(error) = queue.try_send(Box::new(QueuedUnit::releasing(key, clock.now(), queue.clone()))) {
                tracing::warn!(error = %error, "a dropped idempotency key is released at the next start only");
            }
        };
        ReservedKey::new(key, Some(Box::new(release)))
    }
}

/// Stores the reply of a request under its key, or releases the key.
pub(super) struct CompleteKey {
    key: StoredKey,
    /// The reply as JSON.
    reply: Option<String>,
}

impl CompleteKey {
    pub(super) fn encode(key_reply: KeyReply<'_>) -> Result<Self, StoreError> {
        let reply = key_reply.reply.map(serde_json::to_string).transpose()?;
        Ok(Self { key: key_reply.key.as_stored().clone(), reply })
    }

    pub(super) const fn release(key: StoredKey) -> Self {
        Self { key, reply: None }
    }

    pub(super) const fn stored(&self) -> &StoredKey {
        &self.key
    }

    /// A key that is not reserved, or that has a reply, does not change.
    pub(super) fn apply(self, at: Timestamp, commit: &mut Commit) {
        let Self { key, reply } = self;
        let row = match commit.find_key(&key) {
            Ok(Some(row)) if row.run.is_none() && row.reply.is_none() => row.clone(),
            Ok(_) => return,
            Err(error) => {
                tracing::error!(error = %error, "an idempotency key cannot be read, and gets no reply");
                return;
            }
        };
        match reply {
            Some(reply) => commit.upsert_key(key, KeyRow { reply: Some(reply), ..row }, at),
            None => commit.delete_key(key),
        }
    }
}
