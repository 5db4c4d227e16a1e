//! What must be durable together, and the one way to write it.
//!
//! A [`Unit`] is a set of changes of one database: the record of a run with its journal entries, an idempotency
//! key, audit entries, a reservation, settlements. [`CoreStore::commit`] decides the unit and makes it durable
//! as a whole, and its [`Receipts`] are the only source of the permits [`crate::journal::Receipt`],
//! [`crate::audit::OpenAuditEntry`], [`crate::ledger::Reservation`] and [`crate::idempotency::ReservedKey`].
//! The other traits of this crate only read. Shared contexts, agent memories, definitions and artifacts are no part of a
//! unit and promise only their own durability.
//!
//! A unit has two kinds of parts. **Requests** (the change of a run, a new key, a reservation) are decided
//! together: all of them are taken, or none, and then the reason is a [`UnitError`]. **Consequences** (closings,
//! settlements, the reply under a key) report what has happened already; they are written whether or not the
//! requests of their unit are taken and whether or not their caller still waits. An opening is unconditional
//! too: the entry of a unit that is not taken is closed in the same commit, so the audit has no hole. A unit
//! that is not taken never affects another one.

use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{RunId, Timestamp};

use crate::error::StoreError;
use crate::group_commit::CommitTiming;
use crate::journal::JournalError;
use crate::runs::Fence;

mod pending;
mod receipts;
mod single;
mod unit;

pub use pending::{PendingAppend, PendingAuditEntry, PendingUnit};
pub use receipts::{Conflict, Receipts, Refusal, UnitError};
pub use single::KeyClaim;
pub use unit::Unit;
pub(crate) use unit::{KeyReply, KeyRequest, RunChange};

/// Writes units.
#[async_trait]
pub trait CoreStore: Send + Sync {
    /// Submits a unit, and waits only until it is queued. Units of one tree of runs, or of one request, that one caller
    /// submits one after the other are durable in this order. With [`CommitTiming::Coalesce`] the unit shares the commit
    /// of the next one.
    ///
    /// A unit whose caller does not wait for it any more when it comes to be decided is not executed, except
    /// for its consequences.
    ///
    /// # Errors
    /// [`StoreError`] if the unit could not be submitted; then nothing of it is written.
    async fn submit(&self, unit: Unit<'_>, timing: CommitTiming) -> Result<PendingUnit, StoreError>;

    /// Submits a unit that nobody waits for: it shares the next commit, or starts one soon. If that commit fails, its
    /// consequences are written by a later one.
    ///
    /// # Errors
    /// [`StoreError`] if the unit could not be submitted.
    async fn send(&self, unit: Unit<'_>) -> Result<(), StoreError>;

    /// Renews the lease of the owner of a tree. Every append to a run of the tree renews it too. A store on a disk
    /// records every few seconds that its pod is active, so that the next process knows it.
    ///
    /// # Errors
    /// [`JournalError::Fenced`] if the tree has another owner.
    async fn renew(&self, root: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError>;
}

impl dyn CoreStore + '_ {
    /// Submits a unit and waits until it is durable.
    ///
    /// # Errors
    /// [`UnitError`], and then none of its requests was taken.
    pub async fn commit(&self, unit: Unit<'_>) -> Result<Receipts, UnitError> {
        self.submit(unit, CommitTiming::Immediate).await?.wait().await
    }
}
