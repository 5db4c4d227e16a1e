//! Replies by idempotency key: the same key with the same request gets the same reply, with another
//! request it is a conflict. The key of a run is written with the run: it names the run until the run has ended,
//! and keeps its reply if that is final ([`Reply::is_final`]). A [`ReservedKey`] is that of any other request.

use std::fmt;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Reply, RunId, TenantId};

use crate::error::StoreError;
use crate::runs::DedupKey;

pub(crate) mod key_row;

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

/// A key as it is stored, with its tenant.
pub(crate) type StoredKey = (String, TenantId);

/// Called with a key that is dropped before it has a reply.
pub(crate) type OnDrop = Box<dyn FnOnce(StoredKey) + Send + Sync>;

/// A key that is durably reserved for one request. [`crate::core::Unit::finish_key`] stores the reply under it, and can
/// be repeated until it is durable; after that, [`ReservedKey::end`] ends the reservation. If it is dropped before, the
/// key is released, so that the request can be repeated. Only a unit of the stores yields it:
///
/// ```compile_fail
/// use greenroom_registry::idempotency::ReservedKey;
/// let key = ReservedKey { key: todo!(), on_drop: None };
/// ```
///
/// ```compile_fail
/// use greenroom_registry::idempotency::ReservedKey;
/// let key = ReservedKey::new(todo!(), None);
/// ```
#[must_use = "a reserved key must get a reply or be released"]
pub struct ReservedKey {
    key: StoredKey,
    on_drop: Option<OnDrop>,
}

impl ReservedKey {
    pub(crate) const fn new(key: StoredKey, on_drop: Option<OnDrop>) -> Self {
        Self { key, on_drop }
    }

    /// The key as it is stored.
    pub(crate) const fn as_stored(&self) -> &StoredKey {
        &self.key
    }

    /// Disables the callback, because the key is not reserved after all.
    pub(crate) fn disarm(&mut self) {
        self.on_drop = None;
    }

    /// Ends the reservation without releasing the key: it has a reply, or was released, or has to remain reserved until
    /// the next start.
    pub fn end(mut self) {
        self.disarm();
    }
}

impl Drop for ReservedKey {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            on_drop(self.key.clone());
        }
    }
}

impl fmt::Debug for ReservedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReservedKey").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Reads the replies by key, within a tenant. Keys are reserved and answered by a [`crate::core::Unit`].
#[async_trait]
pub trait IdempotencyStore: Send + Sync {
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
}
