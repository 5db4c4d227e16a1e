//! What a team shares while it runs: versioned values under keys, changed by compare-and-set or by
//! appending, watched, and gone when their time is up. Only the owner of the last fence may write.

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

/// Keys of one context.
pub const CONTEXT_KEYS_MAX: usize = 1_000;
/// Bytes of one value; a larger one belongs into the artifact store.
pub const CONTEXT_VALUE_BYTES_MAX: usize = 16 * INLINE_VALUE_BYTES_MAX;

/// The number of a change of one context. A key's version is that of its last change, so versions
/// order the changes of all keys; zero stands before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

/// A value and the change that made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned {
    /// The change.
    pub version: Version,
    /// The value.
    pub value: Json,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub struct ContextPut {
    /// The key.
    pub key: ContextKey,
    /// The version that the writer has seen; zero if it has seen none. Without it, whatever is
    /// there is replaced.
    pub expect: Option<Version>,
    /// What to write.
    pub change: ContextChange,
    /// For how long; without it, for as long as the context.
    pub ttl: Option<Duration>,
}

/// What watching a context shows: the newest value of each key that changed. Of several changes of
/// one key only the last may be seen.
#[derive(Debug, Clone, PartialEq)]
pub struct ContextEvent {
    /// The change.
    pub version: Version,
    /// The key.
    pub key: ContextKey,
    /// Its value now; none if its time was up.
    pub value: Option<Json>,
}

/// A whole context at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// The last change.
    pub version: Version,
    /// Every value that is there.
    pub values: BTreeMap<ContextKey, Versioned>,
}

/// Why a context refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ContextError {
    /// Another owner has taken the context over.
    #[error("another owner has taken over the context")]
    Fenced,
    /// Nobody has claimed this context yet, or it is gone.
    #[error("there is no such context")]
    Unknown,
    /// The key has another version than the writer has seen.
    #[error("the key `{key}` has version {}, not the one expected", .found.0)]
    Conflict {
        /// The key.
        key: ContextKey,
        /// Its version; zero if it is not there.
        found: Version,
    },
    /// The value under the key is no list.
    #[error("the value under `{key}` is no list to append to")]
    NotAList {
        /// The key.
        key: ContextKey,
    },
    /// The value is larger than [`CONTEXT_VALUE_BYTES_MAX`].
    #[error("the value under `{key}` has {bytes} bytes, at most {CONTEXT_VALUE_BYTES_MAX} are kept")]
    TooLarge {
        /// The key.
        key: ContextKey,
        /// How large it would be.
        bytes: usize,
    },
    /// The context has [`CONTEXT_KEYS_MAX`] keys already.
    #[error("a context has at most {CONTEXT_KEYS_MAX} keys")]
    TooManyKeys,
    /// The store failed, and nothing was written.
    #[error("the context cannot be kept")]
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

/// Keeps the shared contexts of teams, each named by its run.
#[async_trait]
pub trait ContextStore: Send + Sync {
    /// Takes a context over, making it if there is none: every fence given before is stale from
    /// now. The answer is durable.
    ///
    /// # Errors
    /// [`ContextError::Store`], and then nothing was taken.
    async fn claim(&self, run: &RunId) -> Result<Fence, ContextError>;

    /// The values under these keys, in their order; `None` where there is none.
    ///
    /// # Errors
    /// [`ContextError::Store`] if they cannot be read.
    async fn read(
        &self,
        run: &RunId,
        keys: &[ContextKey],
        now: Timestamp,
    ) -> Result<Vec<Option<Versioned>>, ContextError>;

    /// Writes one key; durable when the version is there.
    ///
    /// # Errors
    /// [`ContextError`], and then nothing was written.
    async fn write(&self, run: &RunId, fence: Fence, put: ContextPut, now: Timestamp) -> Result<Version, ContextError>;

    /// Everything.
    ///
    /// # Errors
    /// [`ContextError::Store`] if it cannot be read.
    async fn snapshot(&self, run: &RunId, now: Timestamp) -> Result<Snapshot, ContextError>;

    /// Changes after this one, those that come later too, until the context is removed or the store
    /// closes.
    fn watch(&self, run: &RunId, after: Version) -> BoxStream<'static, Result<ContextEvent, ContextError>>;

    /// Removes the values whose time is up, so that watchers see it, and answers how many. Reading
    /// never shows them, whether this was called or not.
    ///
    /// # Errors
    /// [`ContextError`], and then none was removed.
    async fn expire(&self, run: &RunId, fence: Fence, now: Timestamp) -> Result<u64, ContextError>;

    /// Forgets the whole context.
    ///
    /// # Errors
    /// [`ContextError`], and then it is still there.
    async fn remove(&self, run: &RunId, fence: Fence) -> Result<(), ContextError>;
}
