//! The deduplication key of a request that starts a run.

use greenroom_protocol::ContentHash;
use greenroom_protocol::request::StartRun;
use greenroom_registry::runs::DedupKey;
use greenroom_rego::{Caller, Grant};

/// The deduplication key of a request: the caller's idempotency key and the request hash; else, for a call of a run
/// or a team, the call key, because its inputs may be bound again after a crash.
pub(super) fn dedup_key(grant: &Grant, start: &StartRun) -> (ContentHash, Option<DedupKey>) {
    if let Some(idempotency) = grant.idempotency() {
        let key = DedupKey::Caller { user: grant.principal().user.clone(), key: idempotency.key.clone() };
        return (idempotency.request_hash, Some(key));
    }
    match (grant.caller(), team_dedup_key(start)) {
        (Caller::Team { .. }, Some((body, key))) => (body, Some(key)),
        (Caller::Workflow { .. } | Caller::Agent { .. } | Caller::Team { .. }, _) => {
            (ContentHash::from_content(grant.request_id().as_str().as_bytes()), None)
        }
        (Caller::User { .. } | Caller::None, _) => (request_hash(start), None),
    }
}

/// The deduplication key of a team's request for its run, if the request for the team had an idempotency key.
pub(crate) fn team_dedup_key(start: &StartRun) -> Option<(ContentHash, DedupKey)> {
    start.key.as_ref().map(|key| (request_hash(start), DedupKey::Call(key.clone())))
}

fn request_hash(start: &StartRun) -> ContentHash {
    ContentHash::from_content(serde_json::to_string(start).unwrap_or_default().as_bytes())
}
