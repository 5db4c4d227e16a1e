//! The caller's idempotency key, for work that is no run: the same key and body get the same answer,
//! another body is a conflict, and of two that come together one works and the other waits for it.
//! Runs have this in the registry, where they are created.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{Cause, Clock, Deadline, ErrorCode, Reply, TenantId};
use greenroom_registry::idempotency::{IdempotencyStore, KeyStatus};
use greenroom_registry::runs::DedupKey;
use greenroom_rego::{Grant, Idempotency as Asked};

/// How long the second one waits between two looks for the answer of the first.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What a key says.
pub enum KeyClaim {
    /// Go on, and finish the key with the answer.
    Claimed(ClaimedKey),
    /// It was answered before.
    Replay(Box<Reply>),
}

/// A key that was taken; without an answer it is given back.
pub struct ClaimedKey {
    tenant: TenantId,
    key: DedupKey,
}

/// Keeps keys.
pub struct IdempotencyKeys {
    pub(crate) store: Arc<dyn IdempotencyStore>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl IdempotencyKeys {
    /// Takes the key of a request, where it has one.
    ///
    /// # Errors
    /// [`ErrorCode::IdempotencyConflict`] if it was used with another body, [`ErrorCode::TimedOut`] if the first
    /// one takes longer than the deadline; what the store says.
    pub async fn claim(&self, grant: &Grant) -> Result<Option<KeyClaim>, Cause> {
        let Some(Asked { key, request_hash: body }) = grant.idempotency() else { return Ok(None) };
        let taken = ClaimedKey { tenant: grant.principal().tenant.clone(), key: DedupKey::Caller(key.clone()) };
        loop {
            let now = self.clock.now();
            let known = self.store.begin(&taken.tenant, &taken.key, body, now).await;
            match known.map_err(|error| error.cause())? {
                KeyStatus::New => return Ok(Some(KeyClaim::Claimed(taken))),
                KeyStatus::Completed(reply) => return Ok(Some(KeyClaim::Replay(reply))),
                // A request that begins a run is another one than this, whatever its hash.
                KeyStatus::Conflict | KeyStatus::RunStarted(_) => {
                    let message = "the idempotency key was used before with another request";
                    return Err(Cause::new(ErrorCode::IdempotencyConflict, message));
                }
                KeyStatus::InProgress => self.wait(grant.deadline()).await?,
            }
        }
    }

    async fn wait(&self, deadline: Deadline) -> Result<(), Cause> {
        if deadline.has_passed(self.clock.now()) {
            let message = "the deadline passed while the first request with this idempotency key was under way";
            return Err(Cause::new(ErrorCode::TimedOut, message));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
        Ok(())
    }

    /// Keeps the answer under the key. An answer that may be another one next time frees it instead.
    pub async fn complete(&self, taken: ClaimedKey, reply: &Reply) {
        let again = reply.error.as_ref().is_some_and(|cause| cause.code.is_retryable());
        let ClaimedKey { tenant, key } = taken;
        let kept = if again {
            self.store.abandon(&tenant, &key).await
        } else {
            self.store.finish(&tenant, &key, reply, self.clock.now()).await
        };
        if let Err(error) = kept {
            tracing::error!(error.message = %error, "answer not kept under its idempotency key");
        }
    }
}
