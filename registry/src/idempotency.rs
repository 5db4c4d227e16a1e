//! Answers by the key that a caller sent along: the same key and body get the same answer, another
//! body is a conflict. Runs have this in [`crate::runs::RunStore::create`]; this is for all else.

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Reply, RunId, TenantId, Timestamp};

use crate::error::StoreError;
use crate::runs::DedupKey;

/// What is known of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyStatus {
    /// Nothing: the caller may go on, and is the only one.
    New,
    /// The same request is under way.
    InProgress,
    /// The same request began this run, which has the answer or will have it.
    RunStarted(RunId),
    /// The same request was answered.
    Completed(Box<Reply>),
    /// The key was used with another body.
    Conflict,
}

/// Keeps answers by key, within a tenant.
#[async_trait]
pub trait IdempotencyStore: Send + Sync {
    /// Takes a key for a request. [`Once::New`] is durable, and goes to one caller only.
    ///
    /// # Errors
    /// [`StoreError`], and then the key was not taken.
    async fn begin(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        body: &ContentHash,
        now: Timestamp,
    ) -> Result<KeyStatus, StoreError>;

    /// Keeps the answer of a request that took its key; durable when it returns. A key that was not
    /// taken, or is answered already, stays as it is.
    ///
    /// # Errors
    /// [`StoreError`], and then the key is free again after the next start.
    async fn finish(&self, tenant: &TenantId, key: &DedupKey, reply: &Reply, now: Timestamp) -> Result<(), StoreError>;

    /// Frees a key whose request was never done, so that it can be asked again.
    ///
    /// # Errors
    /// [`StoreError`], and then the key is free again after the next start.
    async fn abandon(&self, tenant: &TenantId, key: &DedupKey) -> Result<(), StoreError>;

    /// What is known of a key, without taking it.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    async fn lookup(&self, tenant: &TenantId, key: &DedupKey, body: &ContentHash) -> Result<KeyStatus, StoreError>;

    /// Forgets the answers given before this moment, and answers how many.
    ///
    /// # Errors
    /// [`StoreError`], and then none was forgotten.
    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError>;
}
