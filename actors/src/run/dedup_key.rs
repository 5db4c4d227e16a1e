//! The deduplication key of a request that starts a run, and the run that it has started.

use greenroom_protocol::request::StartRun;
use greenroom_protocol::{Cause, ContentHash, ErrorCode, RunId};
use greenroom_registry::idempotency::KeyStatus;
use greenroom_registry::runs::DedupKey;
use greenroom_rego::{Caller, Grant};

use super::handle::RunsHandle;

/// The deduplication key of a request and the hash that its repetitions have: the caller's idempotency key, also if a
/// team starts the run for its caller. A call of a run or a team needs no key, because its request id names the run,
/// and its inputs may be bound again after a crash.
pub(super) fn dedup_key(grant: &Grant, start: &StartRun) -> (ContentHash, Option<DedupKey>) {
    if let Some((key, body)) = caller_key(grant) {
        return (body, Some(key));
    }
    let hash = match grant.caller() {
        Caller::Workflow { .. } | Caller::Agent { .. } | Caller::Team { .. } => {
            ContentHash::from_content(grant.request_id().as_str().as_bytes())
        }
        Caller::User { .. } | Caller::None => {
            ContentHash::from_content(serde_json::to_string(start).unwrap_or_default().as_bytes())
        }
    };
    (hash, None)
}

impl RunsHandle {
    /// The run that the same request started before with its idempotency key, if the key still names one. It is looked
    /// up first, because the definition that the request names may have changed meanwhile.
    ///
    /// # Errors
    /// [`ErrorCode::IdempotencyConflict`] if another request has the key; those of the store.
    pub(crate) async fn find_existing_run(&self, grant: &Grant) -> Result<Option<RunId>, Cause> {
        let Some((key, body)) = caller_key(grant) else { return Ok(None) };
        let known = self.env().stores.idempotency.lookup(&grant.principal().id.tenant, &key, &body).await;
        match known.map_err(|error| error.cause())? {
            KeyStatus::RunStarted(run) => Ok(Some(run)),
            KeyStatus::Conflict => Err(key_conflict_error()),
            KeyStatus::New | KeyStatus::InProgress | KeyStatus::Completed(_) => Ok(None),
        }
    }
}

/// The idempotency key that the caller sent, as it is stored, and the hash of its request.
fn caller_key(grant: &Grant) -> Option<(DedupKey, ContentHash)> {
    let idempotency = grant.idempotency()?;
    let key = DedupKey::Caller { principal: grant.principal().id.clone(), key: idempotency.key.clone() };
    Some((key, idempotency.request_hash))
}

/// The cause for a key that another request has.
pub(super) fn key_conflict_error() -> Cause {
    Cause::new(ErrorCode::IdempotencyConflict, "the idempotency key was used before with another request")
}
