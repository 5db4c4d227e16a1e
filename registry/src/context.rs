//! The shared context of a team: versioned values by key. They are changed by compare-and-set or by
//! appending, can be watched, and expire. Only the owner with the last fence may write.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_protocol as protocol;
use protocol::limits::INLINE_VALUE_BYTES_MAX;
use protocol::request::ContextChange;
use protocol::{Cause, ContextKey, ErrorCode, Json, RunId, Timestamp};

use crate::error::StoreError;
use crate::runs::Fence;

pub(crate) mod data;

/// Keys in one context.
pub const CONTEXT_KEYS_MAX: usize = 1_000;
/// Bytes of one value; a larger value belongs in the artifact store.
pub const CONTEXT_VALUE_BYTES_MAX: usize = 16 * INLINE_VALUE_BYTES_MAX;

/// The number of a change of one context. The version of a key is that of its last change, so versions
/// order the changes of all keys; zero is before the first change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

/// A value and the version of its last change.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned {
    /// The version.
    pub version: Version,
    /// The value.
    pub value: Json,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub struct ContextPut {
    /// The key.
    pub key: ContextKey,
    /// The version that the caller has read; zero if the key had no value. Without it, any value is
    /// replaced.
    pub expect: Option<Version>,
    /// The change.
    pub change: ContextChange,
    /// How long until the value expires; without it, the value lasts as long as the context.
    pub ttl: Option<Duration>,
}

/// An event of a watched context: the newest value of a key that changed. Of several changes of one key
/// a watcher may see only the last.
#[derive(Debug, Clone, PartialEq)]
pub struct ContextEvent {
    /// The version of the change.
    pub version: Version,
    /// The key.
    pub key: ContextKey,
    /// Its new value; none if the value expired.
    pub value: Option<Json>,
}

/// A whole context at one time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// The version of the last change.
    pub version: Version,
    /// Every value that has not expired.
    pub values: BTreeMap<ContextKey, Versioned>,
}

/// An error of a context.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ContextError {
    /// Another owner has claimed the context.
    #[error("another owner has claimed the context")]
    Fenced,
    /// The context was never claimed, or was removed.
    #[error("the context does not exist")]
    Unknown,
    /// The key has another version than the caller has read.
    #[error("the key `{key}` has version {}, not the one expected", .found.0)]
    Conflict {
        /// The key.
        key: ContextKey,
        /// Its version; zero if it has no value.
        found: Version,
    },
    /// The value under the key is no list.
    #[error("the value under `{key}` is no list to append to")]
    NotAList {
        /// The key.
        key: ContextKey,
    },
    /// The value is larger than [`CONTEXT_VALUE_BYTES_MAX`].
    #[error("the value under `{key}` has {bytes} bytes, the limit is {CONTEXT_VALUE_BYTES_MAX}")]
    TooLarge {
        /// The key.
        key: ContextKey,
        /// The size of the new value.
        bytes: usize,
    },
    /// The context has [`CONTEXT_KEYS_MAX`] keys already.
    #[error("a context has at most {CONTEXT_KEYS_MAX} keys")]
    TooManyKeys,
    /// The store failed, and nothing was written.
    #[error("the context cannot be written or read")]
    Store(#[from] StoreError),
}

impl ContextError {
    /// The cause that a user sees.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Fenced => Cause::new(ErrorCode::LeaseLost, self.to_string()),
            Self::Unknown => Cause::new(ErrorCode::UnknownRun, self.to_string()),
            Self::Conflict { key, found } => Cause::new(ErrorCode::VersionConflict, self.to_string())
                .with_details(serde_json::json!({ "key": key, "version": found.0 })),
            Self::NotAList { .. } => Cause::new(ErrorCode::InvalidInput, self.to_string()),
            Self::TooLarge { .. } | Self::TooManyKeys => Cause::new(ErrorCode::PayloadTooLarge, self.to_string()),
            Self::Store(error) => error.cause(),
        }
    }
}

/// The shared contexts of teams, each named by its run.
#[async_trait]
pub trait ContextStore: Send + Sync {
    /// Claims a context, and creates it if it does not exist. Every earlier fence is rejected from now
    /// on. The result is durable.
    ///
    /// # Errors
    /// [`ContextError::Store`], and then the context was not claimed.
    async fn claim(&self, run: &RunId) -> Result<Fence, ContextError>;

    /// Reads the values of these keys, in their order; `None` for a key without a value.
    ///
    /// # Errors
    /// [`ContextError::Store`] if they cannot be read.
    async fn read(
        &self,
        run: &RunId,
        keys: &[ContextKey],
        now: Timestamp,
    ) -> Result<Vec<Option<Versioned>>, ContextError>;

    /// Writes one key, and waits until it is durable.
    ///
    /// # Errors
    /// [`ContextError`], and then nothing was written.
    async fn write(&self, run: &RunId, fence: Fence, put: ContextPut, now: Timestamp) -> Result<Version, ContextError>;

    /// Reads the whole context.
    ///
    /// # Errors
    /// [`ContextError::Store`] if it cannot be read.
    async fn snapshot(&self, run: &RunId, now: Timestamp) -> Result<Snapshot, ContextError>;

    /// Streams the changes after this version, including later ones, until the context is removed or
    /// the store is closed.
    fn watch(&self, run: &RunId, after: Version) -> BoxStream<'static, Result<ContextEvent, ContextError>>;

    /// Removes the expired values, so that watchers see it, and returns their number. Reads never
    /// return expired values, whether or not this was called.
    ///
    /// # Errors
    /// [`ContextError`], and then no value was removed.
    async fn expire(&self, run: &RunId, fence: Fence, now: Timestamp) -> Result<u64, ContextError>;

    /// Removes the whole context.
    ///
    /// # Errors
    /// [`ContextError`], and then the context was not removed.
    async fn remove(&self, run: &RunId, fence: Fence) -> Result<(), ContextError>;
}
