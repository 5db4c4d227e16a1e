//! Units that were submitted and may not be durable yet.

use crate::audit::{AuditError, OpenAuditEntry};
use crate::core::receipts::{Receipts, UnitError};
use crate::error::StoreError;
use crate::group_commit::SubmittedCommand;
use crate::journal::{JournalError, Receipt};

/// A unit that may not be durable yet.
#[must_use = "what follows from a unit must wait for its receipts"]
pub struct PendingUnit(UnitState);

#[expect(
    clippy::large_enum_variant,
    reason = "a resolved unit is received at once, and a box would be an allocation for each unit in memory"
)]
enum UnitState {
    Submitted(SubmittedCommand<Receipts, UnitError>),
    Resolved(Result<Receipts, UnitError>),
}

impl PendingUnit {
    pub(crate) const fn submitted(command: SubmittedCommand<Receipts, UnitError>) -> Self {
        Self(UnitState::Submitted(command))
    }

    /// A unit of which it is known whether it is durable.
    pub const fn resolved(result: Result<Receipts, UnitError>) -> Self {
        Self(UnitState::Resolved(result))
    }

    /// A unit whose outcome a test sends.
    #[cfg(feature = "testing")]
    pub const fn for_test(outcome: tokio::sync::oneshot::Receiver<Result<Receipts, UnitError>>) -> Self {
        Self(UnitState::Submitted(SubmittedCommand::for_test(outcome)))
    }

    /// Waits until the unit is durable.
    ///
    /// # Errors
    /// [`UnitError`], and then none of its requests was taken; except for [`StoreError::OutcomeUnknown`].
    pub async fn wait(self) -> Result<Receipts, UnitError> {
        let receipts = match self.0 {
            UnitState::Submitted(mut command) => command.wait_reply().await,
            UnitState::Resolved(result) => result,
        };
        receipts.map(Receipts::deliver)
    }
}

/// Submitted entries that may not be durable yet. A unit that is submitted to the same store later is durable no
/// sooner than these entries.
#[must_use = "effects must wait for the receipt"]
pub struct PendingAppend(pub(super) PendingUnit);

impl PendingAppend {
    /// Waits until the entries are durable.
    ///
    /// # Errors
    /// [`JournalError`], and then nothing was written.
    pub async fn wait_receipt(self) -> Result<Receipt, JournalError> {
        self.0.wait().await?.journal.ok_or_else(|| JournalError::Store(missing_receipt()))
    }
}

/// An entry whose opening was submitted and may not be durable yet.
#[must_use = "the call must wait until the entry is durable"]
pub struct PendingAuditEntry(EntryState);

enum EntryState {
    Submitted(SubmittedCommand<Receipts, UnitError>),
    Resolved(Result<OpenAuditEntry, AuditError>),
}

impl PendingAuditEntry {
    pub(super) fn from_unit(unit: PendingUnit) -> Self {
        Self(match unit.0 {
            UnitState::Submitted(command) => EntryState::Submitted(command),
            UnitState::Resolved(result) => EntryState::Resolved(entry_of(result)),
        })
    }

    /// An entry that could not be opened, for tests of other crates.
    #[cfg(feature = "testing")]
    pub const fn failed_for_test() -> Self {
        Self(EntryState::Resolved(Err(AuditError::Store(StoreError::Full))))
    }

    /// Takes the entry for work that outlives its caller. What remains counts as not opened, until the entry is put back.
    pub const fn take(&mut self) -> Self {
        std::mem::replace(self, Self(EntryState::Resolved(Err(AuditError::Store(StoreError::Closed)))))
    }

    /// True if it is known that the entry could not be opened.
    #[must_use]
    pub const fn has_failed(&self) -> bool {
        matches!(self.0, EntryState::Resolved(Err(_)))
    }

    /// Waits until the entry is durable, and returns the proof by reference.
    ///
    /// # Errors
    /// [`AuditError`]: the call must not be executed.
    pub async fn wait_durable(&mut self) -> Result<&OpenAuditEntry, AuditError> {
        if let EntryState::Submitted(command) = &mut self.0 {
            let reply = command.wait_reply().await;
            self.0 = EntryState::Resolved(entry_of(reply));
        }
        match &self.0 {
            EntryState::Resolved(Ok(entry)) => Ok(entry),
            EntryState::Resolved(Err(error)) => Err(error.clone()),
            EntryState::Submitted(_) => Err(AuditError::Store(StoreError::Closed)),
        }
    }

    /// Waits until the entry is durable, and returns it, so that it can be closed.
    ///
    /// # Errors
    /// As [`PendingAuditEntry::wait_durable`].
    pub async fn into_open_entry(self) -> Result<OpenAuditEntry, AuditError> {
        match self.0 {
            EntryState::Submitted(mut command) => entry_of(command.wait_reply().await),
            EntryState::Resolved(result) => result,
        }
    }
}

fn entry_of(result: Result<Receipts, UnitError>) -> Result<OpenAuditEntry, AuditError> {
    let receipts = result.map_err(|error| AuditError::Store(error.into()))?;
    receipts.entry.ok_or_else(|| AuditError::Store(missing_receipt()))
}

/// A store has replied to a unit without the receipt of one of its requests.
pub(super) fn missing_receipt() -> StoreError {
    StoreError::Failed("the store returned no receipt for a request of the unit".to_owned())
}
