//! Replies by idempotency key: the same key with the same request gets the same reply, with another
//! request it is a conflict. For runs [`crate::runs::RunStore::create`] does this: a key names its run until
//! the run has ended, and keeps its reply if that is final ([`Reply::is_final`]); this store is for all other
//! requests.

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Reply, RunId, TenantId, Timestamp};

use crate::error::StoreError;
use crate::runs::DedupKey;

/// The status of a key for one request.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyStatus {
    /// The key is new; this caller alone may execute the request.
    New,
    /// The same request is in flight.
    InProgress,
    /// The same request started this run, which has or will have the reply.
    RunStarted(RunId),
    /// The same request has this reply.
    Completed(Box<Reply>),
    /// The key was used for another request.
    Conflict,
}

/// Stores replies by key, within a tenant.
#[async_trait]
pub trait IdempotencyStore: Send + Sync {
    /// Reserves a key for a request. [`KeyStatus::New`] is durable, and one caller alone gets it.
    ///
    /// # Errors
    /// [`StoreError`], and then the key was not reserved, unless [`StoreError::is_outcome_unknown`]: a caller that
    /// does not use such a key has to release it.
    async fn begin(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        request_hash: &ContentHash,
        now: Timestamp,
    ) -> Result<KeyStatus, StoreError>;

    /// Stores the reply of a request that reserved its key, and waits until it is durable. A key that
    /// was not reserved, or that has a reply, does not change.
    ///
    /// # Errors
    /// [`StoreError`], and then the caller repeats it; otherwise the next start releases the key.
    async fn finish(&self, tenant: &TenantId, key: &DedupKey, reply: &Reply, now: Timestamp) -> Result<(), StoreError>;

    /// Releases a key that keeps no reply, so that the request can be repeated.
    ///
    /// # Errors
    /// [`StoreError`], and then the caller repeats it; otherwise the next start releases the key.
    async fn abandon(&self, tenant: &TenantId, key: &DedupKey) -> Result<(), StoreError>;

    /// Returns the status of a key, without reserving it.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    async fn lookup(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        request_hash: &ContentHash,
    ) -> Result<KeyStatus, StoreError>;

    /// Deletes the keys of a tenant (none: of all) whose reply was stored before this time, and returns their
    /// number.
    ///
    /// # Errors
    /// [`StoreError`], and then no key was deleted.
    async fn prune(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError>;
}
