//! Idempotency keys of requests that start no run: a repeated key with the same request gets the first
//! reply, another request is a conflict, and of two concurrent ones the second waits for the first. The
//! registry handles the keys of runs where it creates them.
//!
//! One process owns the database, so the first request is always in this process: a waiting request is
//! notified of its end. If the caller of the first request disconnects, its key is released, and one of the
//! waiting requests is executed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use greenroom_protocol::{Cause, Clock, Deadline, ErrorCode, Reply, TenantId};
use greenroom_registry::core::{CoreStore, KeyClaim, Unit};
use greenroom_registry::idempotency::{KeyStatus, ReservedKey};
use greenroom_registry::ledger::Settled;
use greenroom_registry::runs::DedupKey;
use greenroom_rego::{Grant, Idempotency};
use tokio::sync::watch;

/// The result of claiming the key of a request.
pub enum RequestClaim {
    /// The request is executed, and its reply completes the key.
    Claimed(ClaimedKey),
    /// The stored reply of the first request.
    Replay(Box<Reply>),
}

/// A key within its tenant.
type TenantKey = (TenantId, DedupKey);

/// A claimed key, to be completed with a reply. If it is dropped, its caller has disconnected: the key is released,
/// and one of the waiting requests is executed.
pub struct ClaimedKey {
    key: TenantKey,
    reserved: Option<ReservedKey>,
    waiters: Arc<KeyWaiters>,
}

/// Claims and completes idempotency keys.
pub struct IdempotencyKeys {
    core: Arc<dyn CoreStore>,
    clock: Arc<dyn Clock>,
    waiters: Arc<KeyWaiters>,
}

/// Notifies the requests that wait for the first request with their key.
#[derive(Default)]
struct KeyWaiters(Mutex<HashMap<TenantKey, watch::Sender<()>>>);

impl IdempotencyKeys {
    /// The keys of this store.
    #[must_use]
    pub fn new(core: Arc<dyn CoreStore>, clock: Arc<dyn Clock>) -> Self {
        Self { core, clock, waiters: Arc::default() }
    }

    /// Claims the key of a request; `None` if it has no key. `tickets` is dropped before a wait.
    ///
    /// # Errors
    /// [`ErrorCode::IdempotencyConflict`] if the key was used with another request, [`ErrorCode::TimedOut`] if the
    /// first request does not end before the deadline; those of the store.
    pub async fn claim<T>(&self, grant: &Grant, tickets: T) -> Result<Option<RequestClaim>, Cause> {
        let Some(Idempotency { key, request_hash }) = grant.idempotency() else { return Ok(None) };
        let principal = grant.principal();
        let dedup_key = DedupKey::Caller { user: principal.user.clone(), key: key.clone() };
        let key = (principal.tenant.clone(), dedup_key);
        let mut tickets = Some(tickets);
        loop {
            // Subscribed before the store is read, so that no end is missed between the two.
            let waiter = self.waiters.subscribe(&key);
            let claim = self.core.begin_key(&key.0, &key.1, request_hash, self.clock.now()).await;
            match claim.map_err(|error| error.cause())? {
                KeyClaim::Reserved(reserved) => {
                    let waiters = Arc::clone(&self.waiters);
                    let claimed = ClaimedKey { key: key.clone(), reserved: Some(reserved), waiters };
                    return Ok(Some(RequestClaim::Claimed(claimed)));
                }
                KeyClaim::Used(KeyStatus::Completed(reply)) => return Ok(Some(RequestClaim::Replay(reply))),
                // A request that starts a run differs from this one, whatever its hash.
                KeyClaim::Used(KeyStatus::Conflict | KeyStatus::RunStarted(_)) => {
                    let message = "the idempotency key was used before with another request";
                    return Err(Cause::new(ErrorCode::IdempotencyConflict, message));
                }
                KeyClaim::Used(KeyStatus::InProgress | KeyStatus::New) => {
                    drop(tickets.take());
                    self.wait(waiter, grant.deadline()).await?;
                }
            }
        }
    }

    async fn wait(&self, mut waiter: KeyWaiter<'_>, deadline: Deadline) -> Result<(), Cause> {
        let timeout = deadline.remaining(self.clock.now());
        // The notification is that the sender is dropped.
        match tokio::time::timeout(timeout, waiter.ended.changed()).await {
            Ok(_) => Ok(()),
            Err(_elapsed) => {
                let message = "the deadline passed while the first request with this idempotency key was in progress";
                Err(Cause::new(ErrorCode::TimedOut, message))
            }
        }
    }

    /// Stores the reply under the key, together with the settlements of what it has cost. A retryable error releases
    /// the key instead.
    pub async fn complete(&self, mut claimed: ClaimedKey, reply: &Reply, settled: Vec<Settled>) {
        let Some(reserved) = claimed.reserved.take() else { return };
        let unit = Unit::new(self.clock.now()).settle(settled);
        let is_retryable = reply.error.as_ref().is_some_and(|cause| cause.code.is_retryable());
        let unit = if is_retryable { unit.abandon_key(reserved) } else { unit.finish_key(reserved, reply) };
        if let Err(error) = self.core.commit(unit).await {
            tracing::error!(error.message = %error, "cannot complete an idempotency key");
        }
        // Dropping the claim notifies the waiting requests.
    }
}

/// Waits for the end of the first request with a key.
struct KeyWaiter<'a> {
    waiters: &'a KeyWaiters,
    key: &'a TenantKey,
    ended: watch::Receiver<()>,
}

impl Drop for KeyWaiter<'_> {
    /// Removes the sender of a key that no other request waits for.
    fn drop(&mut self) {
        let mut all = self.waiters.all();
        let is_notified = self.ended.has_changed().is_err();
        if !is_notified && all.get(self.key).is_some_and(|sender| sender.receiver_count() <= 1) {
            all.remove(self.key);
        }
    }
}

impl Drop for ClaimedKey {
    fn drop(&mut self) {
        // The store releases the key before it executes what the waiting requests submit.
        drop(self.reserved.take());
        self.waiters.notify(&self.key);
    }
}

impl KeyWaiters {
    fn all(&self) -> MutexGuard<'_, HashMap<TenantKey, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribe<'a>(&'a self, key: &'a TenantKey) -> KeyWaiter<'a> {
        let ended = self.all().entry(key.clone()).or_insert_with(|| watch::Sender::new(())).subscribe();
        KeyWaiter { waiters: self, key, ended }
    }

    /// Notifies all requests that wait for this key.
    fn notify(&self, key: &TenantKey) {
        drop(self.all().remove(key));
    }
}
