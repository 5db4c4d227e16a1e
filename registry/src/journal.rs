//! What a run remembers, entry by entry. What follows from an entry may only be done with the
//! [`Receipt`] that says it is durable.

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_protocol as protocol;
use protocol::journal::Entry;
use protocol::{Cause, ErrorCode, RunId, Timestamp};

use crate::error::StoreError;
use crate::group_commit::{CommitTiming, SubmittedCommand};
use crate::runs::Fence;

/// The number of an entry in its run: 1, 2, 3, …; zero stands before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The number `count` later.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

/// Entries that one append may hold.
pub const APPEND_ENTRIES_MAX: usize = 10_000;

/// Proof that entries of one run are durable, up to one number. Only a journal makes it:
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
/// and it cannot be had twice:
///
/// ```compile_fail
/// fn twice(receipt: greenroom_registry::journal::Receipt) -> (greenroom_registry::journal::Receipt, greenroom_registry::journal::Receipt) {
///     (receipt.clone(), receipt)
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what was journalled may now be done"]
pub struct Receipt {
    run: RunId,
    after: Seq,
    through: Seq,
}

impl Receipt {
    pub(crate) const fn new(run: RunId, after: Seq, through: Seq) -> Self {
        Self { run, after, through }
    }

    /// A receipt for tests of other crates; never in the product.
    #[cfg(feature = "testing")]
    pub const fn for_test(run: RunId, after: Seq, through: Seq) -> Self {
        Self::new(run, after, through)
    }

    /// The run whose entries these are.
    #[must_use]
    pub const fn run(&self) -> &RunId {
        &self.run
    }

    /// The number before the first of them.
    #[must_use]
    pub const fn after(&self) -> Seq {
        self.after
    }

    /// The number of the last of them.
    #[must_use]
    pub const fn through(&self) -> Seq {
        self.through
    }
}

/// Entries that were handed in and may not be durable yet. Whatever is handed to the same stores after
/// them is durable no sooner than they are.
#[must_use = "nothing may be done before the receipt is there"]
pub struct PendingAppend(AppendState);

enum AppendState {
    Submitted(SubmittedCommand<Receipt, JournalError>),
    Resolved(Result<Receipt, JournalError>),
}

impl PendingAppend {
    pub(crate) const fn submitted(handed: SubmittedCommand<Receipt, JournalError>) -> Self {
        Self(AppendState::Submitted(handed))
    }

    /// Entries of which it is known already whether they are durable.
    pub const fn resolved(receipt: Result<Receipt, JournalError>) -> Self {
        Self(AppendState::Resolved(receipt))
    }

    /// Waits until they are durable.
    ///
    /// # Errors
    /// [`JournalError`], and then nothing was written.
    pub async fn wait_receipt(self) -> Result<Receipt, JournalError> {
        match self.0 {
            AppendState::Submitted(mut handed) => handed.wait_reply().await,
            AppendState::Resolved(receipt) => receipt,
        }
    }
}

/// Why a journal refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// Another owner has claimed the run; this one stops quietly.
    #[error("another owner has taken over the run")]
    Fenced,
    /// There is no such run.
    #[error("there is no such run")]
    Unknown,
    /// The run has ended, and nothing follows an end.
    #[error("the run has ended")]
    Ended,
    /// The writer does not know the run's last entry.
    #[error("the run's last entry is {found:?}, not the one that the writer knows")]
    OutOfOrder {
        /// The last entry that there is.
        found: Seq,
    },
    /// More entries at once than [`APPEND_ENTRIES_MAX`], or none.
    #[error("an append takes 1 to {APPEND_ENTRIES_MAX} entries, not {found}")]
    Size {
        /// How many there were.
        found: usize,
    },
    /// The store failed, and nothing was written.
    #[error("the journal cannot be kept")]
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

/// One entry as it was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalRecord {
    /// Its number.
    pub seq: Seq,
    /// When it was written.
    pub at: Timestamp,
    /// What it says.
    pub entry: Entry,
}

/// The end of a run's journal, as the run's owner knows it.
#[derive(Debug, Clone, Copy)]
pub struct AppendPosition<'r> {
    /// Whose journal it is.
    pub run: &'r RunId,
    /// Which owner speaks; an earlier one is refused.
    pub fence: Fence,
    /// The last entry that was written.
    pub after: Seq,
}

/// Keeps the journals of runs.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Writes entries behind the one numbered `after`, all or none; they are durable when the
    /// receipt is there. The run's head follows from them.
    ///
    /// # Errors
    /// [`JournalError`], and then nothing was written.
    async fn append(
        &self,
        run: &RunId,
        fence: Fence,
        after: Seq,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<Receipt, JournalError> {
        self.submit(AppendPosition { run, fence, after }, entries, CommitTiming::Immediate, now)
            .await?
            .wait_receipt()
            .await
    }

    /// As [`Journal::append`], but does not wait for the disk: with [`Haste::Company`] the entries share
    /// the commit of what the caller hands in next.
    ///
    /// # Errors
    /// [`JournalError`] if they could not even be handed in.
    async fn submit(
        &self,
        tip: AppendPosition<'_>,
        entries: &[Entry],
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAppend, JournalError>;

    /// At most `limit` entries behind the one numbered `after`; empty for a run that does not exist.
    ///
    /// # Errors
    /// [`JournalError::Store`] if they cannot be read.
    async fn read(&self, run: &RunId, after: Seq, limit: u32) -> Result<Vec<JournalRecord>, JournalError>;

    /// All entries behind the one numbered `after`, those that come later too, until the run ends.
    /// The stream also ends where the store closes; a run that does not exist is waited for.
    fn tail(&self, run: &RunId, after: Seq) -> BoxStream<'static, Result<JournalRecord, JournalError>>;
}
