//! The journal of a run: an append-only log of entries. The effects that follow from an entry may only
//! be released with the [`Receipt`], the proof that the entry is durable.

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_protocol as protocol;
use protocol::journal::Entry;
use protocol::{Cause, ErrorCode, RunId, Timestamp};

use crate::error::StoreError;
use crate::runs::fence::Fence;

/// The number of an entry in its run: 1, 2, 3, …; zero is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The number that is larger by `count`.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

/// Entries in one append.
pub const APPEND_ENTRIES_MAX: usize = 10_000;

/// Proof that the entries of one run are durable, up to one number. Only a unit of the
/// stores yields it:
///
/// ```compile_fail
/// use greenroom_protocol::RunId;
/// use greenroom_registry::journal::{Receipt, Seq};
/// let receipt = Receipt { run: RunId::new("run_1").unwrap(), after: Seq(0), through: Seq(1) };
/// ```
///
/// ```compile_fail
/// use greenroom_protocol::RunId;
/// use greenroom_registry::journal::{Receipt, Seq};
/// let receipt = Receipt::new(RunId::new("run_1").unwrap(), Seq(0), Seq(1));
/// ```
///
/// and it cannot be cloned:
///
/// ```compile_fail
/// fn twice(receipt: greenroom_registry::journal::Receipt) -> (greenroom_registry::journal::Receipt, greenroom_registry::journal::Receipt) {
///     (receipt.clone(), receipt)
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the effects of the entries may be released now"]
pub struct Receipt {
    run: RunId,
    after: Seq,
    through: Seq,
}

impl Receipt {
    pub(crate) const fn new(run: RunId, after: Seq, through: Seq) -> Self {
        Self { run, after, through }
    }

    /// A receipt for tests of other crates.
    #[cfg(feature = "testing")]
    pub const fn for_test(run: RunId, after: Seq, through: Seq) -> Self {
        Self::new(run, after, through)
    }

    /// The run of the entries.
    #[must_use]
    pub const fn run(&self) -> &RunId {
        &self.run
    }

    /// The number before the first entry.
    #[must_use]
    pub const fn after(&self) -> Seq {
        self.after
    }

    /// The number of the last entry.
    #[must_use]
    pub const fn through(&self) -> Seq {
        self.through
    }
}

/// An error of a journal.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// Another owner has claimed the run; this owner must stop.
    #[error("another owner has claimed the run")]
    Fenced,
    /// The run does not exist.
    #[error("the run does not exist")]
    Unknown,
    /// The run has ended, so no further entry is allowed.
    #[error("the run has ended")]
    Ended,
    /// The append does not follow the run's last entry.
    #[error("the run's last entry is {found:?}, not the one before the append")]
    OutOfOrder {
        /// The last entry of the run.
        found: Seq,
    },
    /// The append has more than [`APPEND_ENTRIES_MAX`] entries, none, or one after the end of the run.
    #[error("an append takes 1 to {APPEND_ENTRIES_MAX} entries, not {found}")]
    Size {
        /// The number of entries.
        found: usize,
    },
    /// The store failed, and nothing was written.
    #[error("the journal cannot be written or read")]
    Store(#[from] StoreError),
}

impl JournalError {
    /// The cause that a user sees.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Fenced => Cause::new(ErrorCode::LeaseLost, self.to_string()),
            Self::Unknown => Cause::new(ErrorCode::UnknownRun, self.to_string()),
            Self::Ended => Cause::new(ErrorCode::RunNotActive, self.to_string()),
            Self::OutOfOrder { .. } | Self::Size { .. } => Cause::new(ErrorCode::Internal, self.to_string()),
            Self::Store(error) => error.cause(),
        }
    }
}

/// A stored entry.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalRecord {
    /// The number of the entry.
    pub seq: Seq,
    /// When the entry was written.
    pub at: Timestamp,
    /// The entry.
    pub entry: Entry,
}

/// The position of an append: the run, its owner and the last entry that the owner knows.
#[derive(Debug, Clone, Copy)]
pub struct AppendPosition<'r> {
    /// The run.
    pub run: &'r RunId,
    /// The fence of the owner; a smaller one than the last is rejected.
    pub fence: Fence,
    /// The last entry before the append.
    pub after: Seq,
}

/// Reads the journals of runs. Entries are appended by a [`crate::core::Unit`].
#[async_trait]
pub trait Journal: Send + Sync {
    /// Reads at most `limit` entries after the one numbered `after`; none for a run that does not exist.
    ///
    /// # Errors
    /// [`JournalError::Store`] if they cannot be read.
    async fn read(&self, run: &RunId, after: Seq, limit: u32) -> Result<Vec<JournalRecord>, JournalError>;

    /// Streams the entries after the one numbered `after`, including later ones, until the run ends.
    /// The stream also ends when the store is closed. For a run that does not exist it waits.
    fn tail(&self, run: &RunId, after: Seq) -> BoxStream<'static, Result<JournalRecord, JournalError>>;
}
