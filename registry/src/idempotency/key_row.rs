//! An idempotency key as a database has it.

use greenroom_protocol as protocol;
use protocol::{ContentHash, PodId, Reply, RunId};

use crate::error::StoreError;
use crate::idempotency::KeyStatus;

/// The request that used a key, and its outcome.
#[derive(Debug, Clone)]
pub(crate) struct KeyRow {
    pub(crate) request_hash: ContentHash,
    pub(crate) run: Option<RunId>,
    /// The reply as JSON.
    pub(crate) reply: Option<String>,
    /// The pod that has reserved the key.
    pub(crate) pod: PodId,
}

impl KeyRow {
    /// Returns the status of the key for a request with this hash.
    pub(crate) fn status_for(&self, request_hash: &ContentHash) -> Result<KeyStatus, StoreError> {
        if self.request_hash != *request_hash {
            return Ok(KeyStatus::Conflict);
        }
        used_by_same(self.run.as_ref(), self.reply.as_deref())
    }
}

/// The status of a key that the same request has used, by the run that it started or the reply as JSON.
pub(crate) fn used_by_same(run: Option<&RunId>, reply: Option<&str>) -> Result<KeyStatus, StoreError> {
    if let Some(run) = run {
        return Ok(KeyStatus::RunStarted(run.clone()));
    }
    let reply = reply.map(serde_json::from_str::<Reply>).transpose()?;
    Ok(reply.map_or(KeyStatus::InProgress, |reply| KeyStatus::Completed(Box::new(reply))))
}
