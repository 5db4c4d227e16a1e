//! What a unit yields: its receipts, or the reason why its requests were not taken.

use greenroom_protocol as protocol;
use protocol::audit::Closing;
use protocol::reply::Status;
use protocol::{Cause, ErrorCode, MicroUsd, RunId, Tokens};

use crate::audit::{AuditSeq, OpenAuditEntry};
use crate::error::StoreError;
use crate::idempotency::{KeyStatus, ReservedKey};
use crate::journal::{JournalError, Receipt, Seq};
use crate::ledger::{Reservation, ReserveError};
use crate::runs::{ClaimedTree, Created, Fence};

/// The proofs that a unit is durable, one for each request that it had.
#[derive(Debug, Default)]
#[must_use = "the receipts are the proof that the unit is durable"]
pub struct Receipts {
    /// The fence of the run that was created.
    pub fence: Option<Fence>,
    /// The tree that was claimed.
    pub tree: Option<ClaimedTree>,
    /// The proof that the entries of the run are durable.
    pub journal: Option<Receipt>,
    /// The key that was reserved.
    pub key: Option<ReservedKey>,
    /// The worst case that was reserved.
    pub reservation: Option<Reservation>,
    /// The audit entry that was opened.
    pub entry: Option<OpenAuditEntry>,
    /// The number of the event that was recorded in the audit.
    pub event: Option<AuditSeq>,
}

impl Receipts {
    /// The caller has the receipts: from now on its reservation may be used.
    pub(crate) fn deliver(mut self) -> Self {
        if let Some(reservation) = &mut self.reservation {
            reservation.deliver();
        }
        self
    }

    /// Drops the receipts of a unit that is not durable after all: there is nothing to close or to release.
    pub(crate) fn void(mut self) {
        if let Some(entry) = &mut self.entry {
            entry.disarm();
        }
        if let Some(key) = &mut self.key {
            key.disarm();
        }
    }
}

/// Why the requests of a unit were not taken. Nothing of them was written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UnitError {
    /// Fenced: another owner has claimed the run; this owner must stop.
    #[error("another owner has claimed the run")]
    Fenced,
    /// Conflict: the unit does not fit what is stored.
    #[error("the unit does not fit what is stored: {0:?}")]
    Conflict(Conflict),
    /// Refused: a bound or a budget does not allow it.
    #[error(transparent)]
    Refused(Refusal),
    /// The store failed.
    #[error("the store cannot be written or read")]
    Store(#[from] StoreError),
}

/// What is stored and does not fit a unit.
#[derive(Debug, Clone, PartialEq)]
pub enum Conflict {
    /// The idempotency key was used before; its status for this request.
    Key(KeyStatus),
    /// The run, or its key, was used before: by the same request, which created this run, or by another one.
    Run(Option<RunId>),
    /// The run does not exist.
    UnknownRun,
    /// The run has ended, or all runs of its tree.
    Ended,
    /// The tree of the run has an owner.
    Owned,
    /// The entries do not follow the run's last one, which is this.
    OutOfOrder(Seq),
}

/// The bound that does not allow a unit.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// The number of entries, or an entry after the end of its run: [`JournalError::Size`].
    #[error("an append does not take {0} entries")]
    Entries(usize),
    /// A budget, or more limits than a reservation may have.
    #[error(transparent)]
    Budget(ReserveError),
}

impl UnitError {
    /// The cause that a user sees.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Conflict(Conflict::Key(_) | Conflict::Run(_)) => {
                Cause::new(ErrorCode::IdempotencyConflict, "the idempotency key was used before")
            }
            Self::Conflict(Conflict::Owned) => Cause::new(ErrorCode::RunNotActive, "the run has an owner"),
            Self::Refused(Refusal::Budget(error)) => error.cause(),
            Self::Store(error) => error.cause(),
            Self::Fenced
            | Self::Conflict(Conflict::UnknownRun | Conflict::Ended | Conflict::OutOfOrder(_))
            | Self::Refused(Refusal::Entries(_)) => JournalError::from(self.clone()).cause(),
        }
    }

    /// The closing of the entry that a unit opened, if the unit was not taken: nothing was executed.
    pub(crate) fn closing(&self) -> Closing {
        let cause = self.cause();
        Closing {
            status: Status::from_cause(&cause),
            code: Some(cause.code),
            checks: Vec::new(),
            policy_revision: None,
            version: None,
            elapsed_us: 0,
            tokens: Tokens::default(),
            cost: MicroUsd::default(),
        }
    }

    /// The result of a request that creates a run, if that is the reason.
    pub(crate) fn into_created(self) -> Result<Created, Self> {
        match self {
            Self::Conflict(Conflict::Run(existing)) => Ok(existing.map_or(Created::Conflict, Created::Existing)),
            other => Err(other),
        }
    }
}

impl From<JournalError> for UnitError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Fenced => Self::Fenced,
            JournalError::Unknown => Self::Conflict(Conflict::UnknownRun),
            JournalError::Ended => Self::Conflict(Conflict::Ended),
            JournalError::OutOfOrder { found } => Self::Conflict(Conflict::OutOfOrder(found)),
            JournalError::Size { found } => Self::Refused(Refusal::Entries(found)),
            JournalError::Store(error) => Self::Store(error),
        }
    }
}

impl From<UnitError> for JournalError {
    fn from(error: UnitError) -> Self {
        match error {
            UnitError::Fenced => Self::Fenced,
            UnitError::Conflict(Conflict::UnknownRun) => Self::Unknown,
            UnitError::Conflict(Conflict::Ended) => Self::Ended,
            UnitError::Conflict(Conflict::OutOfOrder(found)) => Self::OutOfOrder { found },
            UnitError::Refused(Refusal::Entries(found)) => Self::Size { found },
            UnitError::Store(error) => Self::Store(error),
            UnitError::Conflict(Conflict::Key(_) | Conflict::Run(_) | Conflict::Owned)
            | UnitError::Refused(Refusal::Budget(_)) => Self::Store(StoreError::from(error)),
        }
    }
}

impl From<ReserveError> for UnitError {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::Exceeded { .. } | ReserveError::Bounds => Self::Refused(Refusal::Budget(error)),
            ReserveError::Store(error) => Self::Store(error),
        }
    }
}

impl From<UnitError> for ReserveError {
    fn from(error: UnitError) -> Self {
        match error {
            UnitError::Refused(Refusal::Budget(error)) => error,
            other => Self::Store(other.into()),
        }
    }
}

impl From<UnitError> for StoreError {
    /// For a unit without requests that could be refused.
    fn from(error: UnitError) -> Self {
        match error {
            UnitError::Store(error) => error,
            other => Self::Failed(other.to_string()),
        }
    }
}
