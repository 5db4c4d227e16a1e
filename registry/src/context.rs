//! The shared context of a team: versioned values by key, changed by compare-and-set or by appending, which may
//! expire.
//!
//! The journal of the run has every change, and the number of its entry is the version of the value. The owner of
//! the run decides each change on the [`ContextData`], the fold of those entries, before the entry is written.
//! What others read is a [`ContextView`], which the owner writes after the receipt of the entry. A view is never
//! the truth: when it has lost something, the owner makes it anew from the data.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::limits::INLINE_VALUE_BYTES_MAX;
use protocol::request::ContextChange;
use protocol::{Cause, ContextKey, ErrorCode, Json, RunId, Timestamp};

use crate::error::StoreError;
use crate::runs::fence::Fence;

pub use data::{ContextData, ContextValue};

mod data;

/// Keys in one context.
pub const CONTEXT_KEYS_MAX: usize = 1_000;
/// Bytes of one value; a larger value belongs in the artifact store.
pub const CONTEXT_VALUE_BYTES_MAX: usize = 16 * INLINE_VALUE_BYTES_MAX;
/// How long a view lives without being used; the owner makes it anew when it is requested. A store may count writes as
/// use only.
pub const CONTEXT_VIEW_TTL: Duration = Duration::from_secs(60 * 60);

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

/// One requested write.
#[derive(Debug, Clone, PartialEq)]
pub struct ContextPut {
    /// The key.
    pub key: ContextKey,
    /// The version that the caller has read; zero if the key had no value. Without it, any value is
    /// replaced.
    pub expect: Option<Version>,
    /// The change.
    pub change: ContextChange,
    /// When the value expires; without it, the value lasts as long as the context.
    pub until: Option<Timestamp>,
}

/// Values of a context at one time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// The version of the last change of the context.
    pub version: Version,
    /// The values that have not expired.
    pub values: BTreeMap<ContextKey, Versioned>,
}

/// Why a write is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
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
}

impl ContextError {
    /// The cause that a user sees.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Conflict { key, found } => Cause::new(ErrorCode::VersionConflict, self.to_string())
                .with_details(serde_json::json!({ "key": key, "version": found.0 })),
            Self::NotAList { .. } => Cause::new(ErrorCode::InvalidInput, self.to_string()),
            Self::TooLarge { .. } | Self::TooManyKeys => Cause::new(ErrorCode::PayloadTooLarge, self.to_string()),
        }
    }
}

/// An error of a view.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ViewError {
    /// Another owner has claimed the view; this one must stop.
    #[error("another owner has claimed the context")]
    Fenced,
    /// `context_lost`: the view does not exist, or lacks changes. Its owner claims it again with the data.
    #[error("the view of the context was lost")]
    Lost,
    /// The view cannot be written or read.
    #[error("the view of the context cannot be written or read")]
    Store(#[from] StoreError),
}

impl ViewError {
    /// The cause that a user sees.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Fenced => Cause::new(ErrorCode::LeaseLost, self.to_string()),
            Self::Lost => Cause::new(ErrorCode::StoreUnavailable, self.to_string()),
            Self::Store(error) => error.cause(),
        }
    }
}

/// The live view of shared contexts, each named by its run. Every operation carries the last version that its
/// caller knows of, so a view that has lost a change is noticed and never read.
#[async_trait]
pub trait ContextView: Send + Sync {
    /// Claims the view for the owner with this fence, and replaces what it has by the data. Only this creates a view.
    /// A claim that arrives after one of the same owner with a later version changes nothing.
    ///
    /// # Errors
    /// [`ViewError::Fenced`] if an owner with a larger fence has claimed it; [`ViewError::Store`].
    async fn claim(&self, run: &RunId, fence: Fence, data: &ContextData, now: Timestamp) -> Result<(), ViewError>;

    /// Applies changed values, in the order of their versions, to a view whose last version is `after`. Values that
    /// the view has already change nothing.
    ///
    /// # Errors
    /// [`ViewError::Lost`] if the view has not been claimed with this fence, or if it is older than `after`;
    /// [`ViewError::Fenced`] if an owner with a larger fence has claimed it.
    async fn apply(
        &self,
        run: &RunId,
        fence: Fence,
        after: Version,
        changes: &[(ContextKey, ContextValue)],
        now: Timestamp,
    ) -> Result<(), ViewError>;

    /// Reads the values of these keys, or of all if there are none, from a view that has at least this version.
    ///
    /// # Errors
    /// [`ViewError::Lost`] if there is no such view.
    async fn read(
        &self,
        run: &RunId,
        keys: &[ContextKey],
        at_least: Version,
        now: Timestamp,
    ) -> Result<Snapshot, ViewError>;

    /// Removes the view of a run that has ended. A call of an earlier owner does nothing.
    ///
    /// # Errors
    /// [`ViewError::Store`]; the view is then removed after [`CONTEXT_VIEW_TTL`].
    async fn remove(&self, run: &RunId, fence: Fence) -> Result<(), ViewError>;
}
