//! Idempotency keys of requests that start no run: a repeated key with the same request gets the first
//! reply, another request is a conflict, and of two concurrent ones the second waits for the first. The
//! registry handles the keys of runs where it creates them.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{Cause, Clock, Deadline, ErrorCode, Reply, TenantId};
use greenroom_registry::idempotency::{IdempotencyStore, KeyStatus};
use greenroom_registry::runs::DedupKey;
use greenroom_rego::{Grant, Idempotency};

/// How often a second request checks for the reply of the first.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The result of claiming a key.
pub enum KeyClaim {
    /// The request is executed, and its reply completes the key.
    Claimed(ClaimedKey),
    /// The stored reply of the first request.
    Replay(Box<Reply>),
}

/// A claimed key, to be completed with a reply.
pub struct ClaimedKey {
    tenant: TenantId,
    key: DedupKey,
}

/// Claims and completes idempotency keys.
pub struct IdempotencyKeys {
    pub(crate) store: Arc<dyn IdempotencyStore>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl IdempotencyKeys {
    /// Claims the key of a request; `None` if it has no key.
    ///
    /// # Errors
    /// [`ErrorCode::IdempotencyConflict`] if the key was used with another request, [`ErrorCode::TimedOut`] if the
    /// first request does not end before the deadline; those of the store.
    pub async fn claim(&self, grant: &Grant) -> Result<Option<KeyClaim>, Cause> {
        let Some(Idempotency { key, request_hash }) = grant.idempotency() else { return Ok(None) };
        let principal = grant.principal();
        let key = DedupKey::Caller { user: principal.user.clone(), key: key.clone() };
        let claimed = ClaimedKey { tenant: principal.tenant.clone(), key };
        loop {
            let now = self.clock.now();
            let status = self.store.begin(&claimed.tenant, &claimed.key, request_hash, now).await;
            match status.map_err(|error| error.cause())? {
                KeyStatus::New => return Ok(Some(KeyClaim::Claimed(claimed))),
                KeyStatus::Completed(reply) => return Ok(Some(KeyClaim::Replay(reply))),
                // A request that starts a run differs from this one, whatever its hash.
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
            let message = "the deadline passed while the first request with this idempotency key was in progress";
            return Err(Cause::new(ErrorCode::TimedOut, message));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
        Ok(())
    }

    /// Stores the reply under the key. A retryable error releases the key instead.
    pub async fn complete(&self, claimed: ClaimedKey, reply: &Reply) {
        let is_retryable = reply.error.as_ref().is_some_and(|cause| cause.code.is_retryable());
        let ClaimedKey { tenant, key } = claimed;
        let completed = if is_retryable {
            self.store.abandon(&tenant, &key).await
        } else {
            self.store.finish(&tenant, &key, reply, self.clock.now()).await
        };
        if let Err(error) = completed {
            tracing::error!(error.message = %error, "cannot store reply under its idempotency key");
        }
    }
}
