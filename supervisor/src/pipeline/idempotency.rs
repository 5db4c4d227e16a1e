//! Idempotency keys of requests that start no run (`docs/idempotency.md`): a repeated key with the same request gets
//! the first reply, another request is a conflict, and of two concurrent ones the second waits for the first. The
//! registry handles the keys of runs where it creates and ends them.
//!
//! One process owns the database, so the first request is always in this process: a waiting request is notified of its
//! end. A key in progress that no request of this process has (it was reserved too late for its caller) is read, with a
//! growing delay, until it is free or has a reply; the wait writes nothing. A claim that ends without a stored reply
//! releases its key, whatever ended it: a caller that has disconnected, a failure that may pass, or a store that did not
//! reply in time, whose permit for the key releases it. What cannot be written at once is written by the
//! [`KeyReleaser`], and the requests that wait for the key go on after that.

mod claims;
mod releaser;

use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::supervision::Backoff;
use greenroom_protocol::{Cause, Clock, ContentHash, Deadline, ErrorCode, Reply, Request, RequestId};
use greenroom_registry::core::{CoreStore, KeyClaim, Unit};
use greenroom_registry::idempotency::{IdempotencyStore, KeyStatus};
use greenroom_registry::ledger::Settled;
use greenroom_registry::runs::DedupKey;
use greenroom_rego::{Grant, Idempotency};
use tokio::sync::{mpsc, watch};

use self::claims::{Claims, LocalClaim, TenantKey};
pub use self::releaser::KeyReleaser;
use self::releaser::{KeyEnd, KeyEnding};

/// Endings of keys that wait for the releaser; further ones are written once, without waiting for the disk.
const ENDINGS_MAX: usize = 65_536;
/// Delay before each read of a key in progress that no request of this process has.
const LOOKUP_BACKOFF: Backoff = Backoff { first: Duration::from_millis(20), max: Duration::from_secs(1) };

/// The result of claiming the key of a request.
pub enum RequestClaim {
    /// The request is executed, and its reply completes the key.
    Claimed(ClaimedKey),
    /// The stored reply of the first request.
    Replay(Box<Reply>),
}

/// A claimed key, to be completed with a reply. If it is dropped, its caller has disconnected, and the key is
/// released.
pub struct ClaimedKey {
    /// What is still to be written to the store.
    ending: Option<KeyEnding>,
    endings: mpsc::Sender<KeyEnding>,
}

/// Claims and completes idempotency keys.
pub struct IdempotencyKeys {
    core: Arc<dyn CoreStore>,
    stored_keys: Arc<dyn IdempotencyStore>,
    clock: Arc<dyn Clock>,
    claims: Arc<Claims>,
    endings: mpsc::Sender<KeyEnding>,
}

/// True if the reply to a request is stored here under its key. The key of a run is stored with the run, and a read
/// has no effect that a key could keep.
#[must_use]
pub const fn stores_reply(request: &Request) -> bool {
    match request {
        Request::StartRun(_) | Request::StartTeam(_) => false,
        Request::Invoke(_)
        | Request::SignalRun(_)
        | Request::ResumeRun(_)
        | Request::ContextRead(_)
        | Request::ContextWrite(_)
        | Request::MemoryRead(_)
        | Request::MemoryWrite(_)
        | Request::CallTool(_)
        | Request::Query(_)
        | Request::Maintain(_) => !request.is_read(),
    }
}

impl IdempotencyKeys {
    /// The keys of this store, and the releaser of those whose end could not be written at once.
    #[must_use]
    pub fn new(
        core: Arc<dyn CoreStore>,
        stored_keys: Arc<dyn IdempotencyStore>,
        clock: Arc<dyn Clock>,
    ) -> (Self, KeyReleaser) {
        let (endings, receiver) = mpsc::channel(ENDINGS_MAX);
        let releaser = KeyReleaser::new(Arc::clone(&core), Arc::clone(&clock), receiver);
        (Self { core, stored_keys, clock, claims: Arc::default(), endings }, releaser)
    }

    /// Claims the key of a request; `None` if it has no key. Its audit entry need not be open yet: the key is reserved in
    /// the same commit where possible. `tickets` is dropped before a wait.
    ///
    /// # Errors
    /// [`ErrorCode::IdempotencyConflict`] if the key was used with another request, [`ErrorCode::TimedOut`] if the
    /// first request does not end before the deadline; those of the store.
    pub async fn claim<T>(&self, grant: &Grant, tickets: T) -> Result<Option<RequestClaim>, Cause> {
        let Some(Idempotency { key, request_hash }) = grant.idempotency() else { return Ok(None) };
        let principal = grant.principal();
        let dedup_key = DedupKey::Caller { principal: principal.id.clone(), key: key.clone() };
        let key = (principal.id.tenant.clone(), dedup_key);
        self.claim_key(grant.request_id(), &key, request_hash, grant.deadline(), tickets).await.map(Some)
    }

    async fn claim_key<T>(
        &self,
        request: &RequestId,
        key: &TenantKey,
        request_hash: &ContentHash,
        deadline: Deadline,
        tickets: T,
    ) -> Result<RequestClaim, Cause> {
        let mut tickets = Some(tickets);
        let mut ending = loop {
            match self.claims.acquire(key, request_hash) {
                LocalClaim::Acquired => break KeyEnding::new(key.clone(), Arc::clone(&self.claims)),
                LocalClaim::Busy(ended) => {
                    drop(tickets.take());
                    self.wait(ended, deadline).await?;
                }
                LocalClaim::Conflict => return Err(conflict_error()),
            }
        };
        loop {
            let claim = self.core.begin_key_of(request, (&key.0, &key.1), request_hash, self.clock.now()).await;
            match claim.map_err(|error| error.cause())? {
                KeyClaim::Reserved(reserved) => {
                    ending.reserved = Some(reserved);
                    let endings = self.endings.clone();
                    return Ok(RequestClaim::Claimed(ClaimedKey { ending: Some(ending), endings }));
                }
                KeyClaim::Used(KeyStatus::Completed(reply)) => return Ok(RequestClaim::Replay(reply)),
                // A request that starts a run differs from this one, whatever its hash.
                KeyClaim::Used(KeyStatus::Conflict | KeyStatus::RunStarted(_)) => return Err(conflict_error()),
                // No request of this process has it: it was reserved too late for its caller, and is being released.
                KeyClaim::Used(KeyStatus::New | KeyStatus::InProgress) => {
                    drop(tickets.take());
                    self.wait_in_store(key, request_hash, deadline).await?;
                }
            }
        }
    }

    /// Waits for the end of the request of this process that has the key.
    async fn wait(&self, mut ended: watch::Receiver<()>, deadline: Deadline) -> Result<(), Cause> {
        let timeout = deadline.remaining(self.clock.now());
        // The notification is that the sender is dropped.
        tokio::time::timeout(timeout, ended.changed()).await.map(drop).map_err(|_| in_progress_error())
    }

    /// Waits until a key that no request of this process has is no longer in progress. It only reads, so that the
    /// requests that wait do not load the writer of the store.
    async fn wait_in_store(
        &self,
        key: &TenantKey,
        request_hash: &ContentHash,
        deadline: Deadline,
    ) -> Result<(), Cause> {
        let timeout = deadline.remaining(self.clock.now());
        let ended = async {
            let mut lookups: u32 = 0;
            loop {
                lookups = lookups.saturating_add(1);
                tokio::time::sleep(LOOKUP_BACKOFF.delay_before(lookups)).await;
                let status = self.stored_keys.lookup(&key.0, &key.1, request_hash).await;
                if status.map_err(|error| error.cause())? != KeyStatus::InProgress {
                    return Ok::<(), Cause>(());
                }
            }
        };
        tokio::time::timeout(timeout, ended).await.unwrap_or_else(|_| Err(in_progress_error()))
    }

    /// Stores the reply under the key if it is final ([`Reply::is_final`]), and else releases the key; together with
    /// the settlements of what the request has cost.
    pub async fn complete(&self, mut claimed: ClaimedKey, reply: Reply, settled: Vec<Settled>) {
        let Some(ending) = &mut claimed.ending else { return };
        if reply.is_final() {
            ending.end = KeyEnd::Store(Box::new(reply));
        }
        let unit = Unit::new(self.clock.now()).settle(settled);
        if let Err(error) = ending.write(&*self.core, unit).await {
            // The drop of the claim leaves it to the releaser.
            tracing::warn!(error.message = %error, "idempotency key will be completed later");
        }
    }
}

impl Drop for ClaimedKey {
    fn drop(&mut self) {
        let Some(ending) = self.ending.take().filter(|ending| ending.reserved.is_some()) else { return };
        // If the releaser has no room, or has ended, the ending is dropped, and the store releases the key.
        drop(self.endings.try_send(ending));
    }
}

fn conflict_error() -> Cause {
    Cause::new(ErrorCode::IdempotencyConflict, "the idempotency key was used before with another request")
}

fn in_progress_error() -> Cause {
    let message = "the deadline passed while the first request with this idempotency key was in progress";
    Cause::new(ErrorCode::TimedOut, message)
}

#[cfg(test)]
mod tests;
