//! Units with one change each, for callers that need nothing more.

use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::audit::{Closing, Opening};
use protocol::journal::Entry;
use protocol::{ContentHash, PodId, Reply, RequestId, RunId, TenantId, Timestamp};

use crate::audit::{AuditError, AuditSeq, OpenAuditEntry};
use crate::core::CoreStore;
use crate::core::pending::{PendingAppend, PendingAuditEntry, missing_receipt};
use crate::core::receipts::{Conflict, Refusal, UnitError};
use crate::core::unit::Unit;
use crate::error::StoreError;
use crate::group_commit::CommitTiming;
use crate::idempotency::{KeyStatus, ReservedKey};
use crate::journal::{AppendPosition, JournalError, Receipt};
use crate::ledger::{Ledger, Reservation, ReservationRequest, ReserveError, Settled};
use crate::runs::{ClaimedTree, Created, DedupKey, Fence, NewRun};

/// The result of [`CoreStore::begin_key`](trait.CoreStore.html).
#[derive(Debug)]
pub enum KeyClaim {
    /// The key is new; this caller alone may execute the request.
    Reserved(ReservedKey),
    /// The key was used before.
    Used(KeyStatus),
}

impl dyn CoreStore + '_ {
    /// Creates a run with these entries, once: a second request with the same key or the same run id finds the
    /// first run. A new run comes with the receipt of its entries.
    ///
    /// # Errors
    /// [`JournalError::Ended`] if the run that calls it has ended, [`JournalError::Fenced`] if its tree has another
    /// owner; [`JournalError`]. No run was created then.
    pub async fn create_run(
        &self,
        run: NewRun,
        key: Option<&DedupKey>,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<(Created, Option<Receipt>), JournalError> {
        self.create_run_within(run, key, entries, CommitTiming::Immediate, now).await
    }

    /// As `create_run`, in a commit of this timing.
    ///
    /// # Errors
    /// As `create_run`.
    pub async fn create_run_within(
        &self,
        run: NewRun,
        key: Option<&DedupKey>,
        entries: &[Entry],
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<(Created, Option<Receipt>), JournalError> {
        // That of a run that another run calls is a part of that one.
        let is_called = run.tree_fence.is_some();
        let unit = Unit::new(now).create(run, key, entries).outlast_outage(is_called);
        match self.submit(unit, timing).await?.wait().await {
            Ok(receipts) => {
                let fence = receipts.fence.ok_or_else(missing_receipt)?;
                Ok((Created::New(fence), receipts.journal))
            }
            Err(error) => Ok((error.into_created()?, None)),
        }
    }

    /// Claims a tree; `None` if its root does not exist, if no run of it is open, or if it has an owner.
    ///
    /// # Errors
    /// [`StoreError`], and then the tree was not claimed.
    pub async fn claim_tree(
        &self,
        root: &RunId,
        pod: &PodId,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Option<ClaimedTree>, StoreError> {
        match self.commit(Unit::new(now).claim(root, pod, lease)).await {
            Ok(receipts) => receipts.tree.ok_or_else(missing_receipt).map(Some),
            Err(UnitError::Conflict(Conflict::UnknownRun | Conflict::Ended | Conflict::Owned)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Releases a tree. A release by an earlier owner does nothing.
    pub async fn release_tree(&self, root: &RunId, fence: Fence, now: Timestamp) {
        if let Err(error) = self.commit(Unit::new(now).release(root, fence)).await {
            tracing::debug!(run.id = %root, error = %error, "a tree is not released, but its lease expires");
        }
    }

    /// Releases a tree that has failed, and counts the failure. A call of an earlier owner does nothing.
    ///
    /// # Errors
    /// [`StoreError`], and then the failure is not counted.
    pub async fn fail_tree(&self, root: &RunId, fence: Fence, now: Timestamp) -> Result<(), StoreError> {
        self.fail_tree_until(root, fence, now, now).await
    }

    /// As [`CoreStore::fail_tree`](trait.CoreStore.html); pods that share the store do not claim the tree before
    /// `retry_at`.
    ///
    /// # Errors
    /// [`StoreError`], and then the failure is not counted.
    pub async fn fail_tree_until(
        &self,
        root: &RunId,
        fence: Fence,
        retry_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        Ok(self.commit(Unit::new(now).fail(root, fence, retry_at)).await.map(drop)?)
    }

    /// Appends entries and waits until they are durable.
    ///
    /// # Errors
    /// [`JournalError`], and then nothing was written.
    pub async fn append(
        &self,
        position: AppendPosition<'_>,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<Receipt, JournalError> {
        self.submit_append(position, entries, CommitTiming::Immediate, now).await?.wait_receipt().await
    }

    /// Submits entries.
    ///
    /// # Errors
    /// [`JournalError`] if they could not be submitted.
    pub async fn submit_append(
        &self,
        position: AppendPosition<'_>,
        entries: &[Entry],
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAppend, JournalError> {
        self.submit_entries(Unit::new(now).append(position, entries), timing).await
    }

    /// Submits a unit that appends entries, among others.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be submitted.
    pub async fn submit_entries(&self, unit: Unit<'_>, timing: CommitTiming) -> Result<PendingAppend, JournalError> {
        Ok(PendingAppend(self.submit(unit, timing).await?))
    }

    /// Opens an audit entry and waits until it is durable.
    ///
    /// # Errors
    /// [`AuditError`]: the call must not be executed.
    pub async fn open_entry(&self, opening: Opening, now: Timestamp) -> Result<OpenAuditEntry, AuditError> {
        self.submit_opening(opening, CommitTiming::Immediate, now).await?.into_open_entry().await
    }

    /// Submits the opening of an audit entry.
    ///
    /// # Errors
    /// [`AuditError`] if it could not be submitted.
    pub async fn submit_opening(
        &self,
        opening: Opening,
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAuditEntry, AuditError> {
        self.submit_opening_unit(Unit::new(now).open(opening), timing).await
    }

    /// Submits a unit that opens an audit entry.
    ///
    /// # Errors
    /// [`AuditError`] if it could not be submitted.
    pub async fn submit_opening_unit(
        &self,
        unit: Unit<'_>,
        timing: CommitTiming,
    ) -> Result<PendingAuditEntry, AuditError> {
        Ok(PendingAuditEntry::from_unit(self.submit(unit, timing).await?))
    }

    /// Closes an audit entry without waiting for the disk. A failure is logged and never reverts the call.
    pub async fn close_entry(&self, entry: OpenAuditEntry, closing: Closing, now: Timestamp) {
        let opened = entry.opened();
        if let Err(error) = self.send(Unit::new(now).close(entry, closing)).await {
            tracing::error!(audit.opened = opened.0, error = %error, "an audit entry cannot be closed");
        }
    }

    /// Records an event of the platform itself, and waits until it is durable.
    ///
    /// # Errors
    /// [`AuditError`] if it cannot be written.
    pub async fn record_system_event(
        &self,
        subject: &str,
        message: &str,
        now: Timestamp,
    ) -> Result<AuditSeq, AuditError> {
        let recorded = self.commit(Unit::new(now).record(subject, message)).await;
        let receipts = recorded.map_err(StoreError::from)?;
        Ok(receipts.event.ok_or_else(missing_receipt)?)
    }

    /// Reserves an idempotency key; one caller alone gets it.
    ///
    /// # Errors
    /// [`StoreError`], and then the key was not reserved. If it is after [`StoreError::OutcomeUnknown`], its permit
    /// reaches nobody and releases it.
    pub async fn begin_key(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        request_hash: &ContentHash,
        now: Timestamp,
    ) -> Result<KeyClaim, StoreError> {
        self.submit_key(Unit::new(now).begin_key(tenant, key, request_hash)).await
    }

    /// As `begin_key`, for this request, whose audit entry was opened before: both are one commit where possible.
    ///
    /// # Errors
    /// As `begin_key`.
    pub async fn begin_key_of(
        &self,
        request: &RequestId,
        (tenant, key): (&TenantId, &DedupKey),
        request_hash: &ContentHash,
        now: Timestamp,
    ) -> Result<KeyClaim, StoreError> {
        self.submit_key(Unit::new(now).begin_key(tenant, key, request_hash).of_request(request)).await
    }

    async fn submit_key(&self, unit: Unit<'_>) -> Result<KeyClaim, StoreError> {
        match self.commit(unit).await {
            Ok(receipts) => receipts.key.ok_or_else(missing_receipt).map(KeyClaim::Reserved),
            Err(UnitError::Conflict(Conflict::Key(status))) => Ok(KeyClaim::Used(status)),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores the reply of a request that reserved its key, and waits until it is durable.
    ///
    /// # Errors
    /// [`StoreError`], and then the key is released, unless it has the reply all the same.
    pub async fn finish_key(&self, key: ReservedKey, reply: &Reply, now: Timestamp) -> Result<(), StoreError> {
        self.end_key(key, Some(reply), now).await
    }

    /// Releases a reserved key, and waits until that is durable.
    ///
    /// # Errors
    /// [`StoreError`], and then its release is submitted again, without waiting for it.
    pub async fn abandon_key(&self, key: ReservedKey, now: Timestamp) -> Result<(), StoreError> {
        self.end_key(key, None, now).await
    }

    async fn end_key(&self, key: ReservedKey, reply: Option<&Reply>, now: Timestamp) -> Result<(), StoreError> {
        let unit = match reply {
            Some(reply) => Unit::new(now).finish_key(&key, reply),
            None => Unit::new(now).abandon_key(&key),
        };
        drop(self.commit(unit).await?);
        key.end();
        Ok(())
    }

    /// Reserves the worst case of a call, and waits until it is durable.
    ///
    /// # Errors
    /// [`ReserveError::Exceeded`] names the first limit that would be exceeded; nothing was reserved.
    pub async fn reserve(&self, request: ReservationRequest<'_>, now: Timestamp) -> Result<Reservation, ReserveError> {
        let receipts = self.commit(Unit::new(now).reserve(request)).await?;
        Ok(receipts.reservation.ok_or_else(missing_receipt)?)
    }

    /// Reserves the worst case of a call as `reserve` does. These settlements become durable in the same unit, or before
    /// it. If only the reservations of calls in flight are in the way of the call, it waits for them, for at most
    /// `wait_max`. The call of a run also waits for the server of a store that pods share.
    ///
    /// # Errors
    /// [`ReserveError::Exceeded`] names the first limit that would be exceeded; nothing was reserved.
    pub async fn reserve_or_wait(
        &self,
        request: ReservationRequest<'_>,
        settled: Vec<Settled>,
        ledger: &dyn Ledger,
        wait_max: Duration,
        now: Timestamp,
    ) -> Result<Reservation, ReserveError> {
        let unit = || Unit::new(now).outlast_outage(request.account.run.is_some());
        let receipts = match self.commit(unit().reserve(request).settle(settled)).await {
            Err(UnitError::Refused(Refusal::Budget(error))) if error.may_fit_later() => {
                let ticket = ledger.wait_for_budgets(request, wait_max, now).await?;
                self.commit(unit().reserve_with(request, ticket)).await?
            }
            taken => taken?,
        };
        Ok(receipts.reservation.ok_or_else(missing_receipt)?)
    }

    /// Writes a settlement by itself, without waiting for the disk. What the call has produced must not be recorded
    /// later: it belongs into the same unit.
    ///
    /// # Errors
    /// [`StoreError`] once the store is closed; the reservation is then settled at the next start.
    pub async fn write_settlement(&self, settled: Settled, now: Timestamp) -> Result<(), StoreError> {
        self.send(Unit::new(now).settle([settled])).await
    }
}
