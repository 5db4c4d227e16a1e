//! The caller's idempotency key, for work that is no run: the same key and body get the same answer,
//! another body is a conflict, and of two that come together one works and the other waits for it.
//! Runs have this in the registry, where they are created.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{Cause, Clock, Code, Deadline, Reply, TenantId};
use greenroom_registry::idempotency::{Idempotency, Once};
use greenroom_registry::runs::OnceKey;
use greenroom_rego::{Grant, Idempotency as Asked};

/// How long the second one waits between two looks for the answer of the first.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a key says.
pub enum Turned {
    /// Go on, and finish the key with the answer.
    Go(Taken),
    /// It was answered before.
    Answered(Box<Reply>),
}

/// A key that was taken; without an answer it is given back.
pub struct Taken {
    tenant: TenantId,
    key: OnceKey,
}

/// Keeps keys.
pub struct Keys {
    pub(crate) store: Arc<dyn Idempotency>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Keys {
    /// Takes the key of a request, where it has one.
    ///
    /// # Errors
    /// [`Code::IdempotencyConflict`] if it was used with another body, [`Code::TimedOut`] if the first
    /// one takes longer than the deadline; what the store says.
    pub async fn take(&self, grant: &Grant) -> Result<Option<Turned>, Cause> {
        let Some(Asked { key, body }) = grant.idempotency() else { return Ok(None) };
        let taken = Taken { tenant: grant.principal().tenant.clone(), key: OnceKey::Caller(key.clone()) };
        loop {
            let now = self.clock.now();
            let known = self.store.begin(&taken.tenant, &taken.key, body, now).await;
            match known.map_err(|error| error.cause())? {
                Once::New => return Ok(Some(Turned::Go(taken))),
                Once::Answered(reply) => return Ok(Some(Turned::Answered(reply))),
                // A request that begins a run is another one than this, whatever its hash.
                Once::Conflict | Once::Began(_) => {
                    let message = "the idempotency key was used before with another request";
                    return Err(Cause::new(Code::IdempotencyConflict, message));
                }
                Once::Running => self.wait(grant.deadline()).await?,
            }
        }
    }

    async fn wait(&self, deadline: Deadline) -> Result<(), Cause> {
        if deadline.passed(self.clock.now()) {
            let message = "the deadline passed while the first request with this idempotency key was under way";
            return Err(Cause::new(Code::TimedOut, message));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        Ok(())
    }

    /// Keeps the answer under the key. An answer that may be another one next time frees it instead.
    pub async fn finish(&self, taken: Taken, reply: &Reply) {
        let again = reply.error.as_ref().is_some_and(|cause| cause.code.may_retry());
        let Taken { tenant, key } = taken;
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
