//! Units in memory: checked and applied under the locks of everything that a unit may change, which are always
//! acquired in the same order (runs, ledger, audit).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::audit::Event;
use protocol::{RunId, Timestamp};

use crate::audit::{AuditSeq, EntrySubject, OpenAuditEntry};
use crate::core::{Conflict, CoreStore, KeyReply, KeyRequest, PendingUnit, Receipts, RunChange, Unit, UnitError};
use crate::error::StoreError;
use crate::group_commit::CommitTiming;
use crate::idempotency::{ReservedKey, StoredKey};
use crate::in_memory::run_data::{KeyUse, Runs};
use crate::in_memory::shared::Shared;
use crate::journal::{JournalError, JournalRecord, Receipt, Seq};
use crate::ledger::reservation::ReservationId;
use crate::ledger::{Reservation, ReservationRequest, Settled, Settlement};
use crate::runs::record::{StatusChange, releases_key};
use crate::runs::{Fence, RunRecord};

/// The writer of units.
pub(super) struct InMemoryCore(pub(super) Arc<Shared>);

#[async_trait]
impl CoreStore for InMemoryCore {
    async fn submit(&self, unit: Unit<'_>, _: CommitTiming) -> Result<PendingUnit, StoreError> {
        self.0.check_open()?;
        Ok(PendingUnit::resolved(self.write(unit)))
    }

    async fn send(&self, unit: Unit<'_>) -> Result<(), StoreError> {
        self.0.check_open()?;
        if let Err(error) = self.write(unit) {
            tracing::error!(error = %error, "a unit that nobody waits for was not taken");
        }
        Ok(())
    }

    async fn renew(&self, run: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.0.check_open()?;
        self.0.leases.renew(run, fence, Some(lease), now)
    }
}

impl InMemoryCore {
    fn write(&self, unit: Unit<'_>) -> Result<Receipts, UnitError> {
        let mut runs = self.0.runs();
        let checked = self.check(&unit, &runs);
        let Unit { at, run, key, reserve, opening, event, closing, settled, key_reply } = unit;
        let mut receipts = Receipts::default();
        if let Some(opening) = opening {
            let subject = EntrySubject::from_opening(&opening);
            let number = self.0.audit().open(&Event::Opened(opening), subject.clone(), at)?;
            receipts.entry = Some(self.open_entry(AuditSeq(number), subject, at));
        }
        if let Some(event) = event {
            receipts.event = Some(AuditSeq(self.0.audit().append(&event, None, at)?));
        }
        if let Some((mut entry, closing)) = closing {
            let event = Event::Closed { opened: entry.opened().0, closing };
            self.0.audit().close(entry.opened(), &event, entry.subject().clone(), at)?;
            entry.disarm();
        }
        settled.into_iter().filter_map(Settled::into_record).for_each(|record| self.0.ledger().write(record));
        if let Some(KeyReply { key, reply }) = key_reply {
            runs.complete_key(key.as_stored(), reply, at);
        }
        match checked {
            Ok(()) => {
                if let Some(change) = run {
                    self.apply(change, at, &mut runs, &mut receipts);
                }
                receipts.key = key.map(|key| self.begin_key(&key, at, &mut runs));
                receipts.reservation = reserve.map(|request| self.reserve(&request, at));
                Ok(receipts)
            }
            Err(error) => {
                if let Some(mut entry) = receipts.entry {
                    entry.disarm();
                    let event = Event::Closed { opened: entry.opened().0, closing: error.closing() };
                    self.0.audit().close(entry.opened(), &event, entry.subject().clone(), at)?;
                }
                Err(error)
            }
        }
    }

    fn check(&self, unit: &Unit<'_>, runs: &Runs) -> Result<(), UnitError> {
        if let Some(change) = &unit.run {
            self.check_change(change, unit.at, runs)?;
        }
        if let Some(KeyRequest { tenant, key, request_hash }) = &unit.key
            && let Some(key_use) = runs.keys.get(&(key.to_stored(), (*tenant).clone()))
        {
            return Err(UnitError::Conflict(Conflict::Key(key_use.status_for(request_hash))));
        }
        if let Some(request) = &unit.reserve {
            self.0.ledger().state.check_reserve(request.limits, request.upper_bound, unit.at)?;
        }
        Ok(())
    }

    fn check_change(&self, change: &RunChange<'_>, at: Timestamp, runs: &Runs) -> Result<(), UnitError> {
        let record =
            |run: &RunId| runs.find(run).map(|stored| &stored.record).ok_or(UnitError::Conflict(Conflict::UnknownRun));
        match change {
            RunChange::Create { run, key, entries } => {
                StatusChange::check_entries(&StatusChange::from_entries(entries))?;
                let key = key.map(|key| (key.to_stored(), run.tenant.clone()));
                if let Some(key_use) = key.and_then(|key| runs.keys.get(&key)) {
                    let is_same = key_use.request_hash == run.request_hash;
                    return Err(UnitError::Conflict(Conflict::Run(key_use.run.clone().filter(|_| is_same))));
                }
                match runs.find(run.id()) {
                    Some(existing) => Err(UnitError::Conflict(existing.record.conflict_with(run))),
                    None => Ok(()),
                }
            }
            RunChange::Claim { run, .. } => {
                record(run)?.check_claim(self.0.leases.is_leased(run, at)).map_err(UnitError::Conflict)
            }
            RunChange::Append { position, entries } => {
                let changes = StatusChange::from_entries(entries);
                Ok(record(position.run)?.check_append(position.fence, position.after, &changes)?)
            }
            RunChange::Release { .. } => Ok(()),
        }
    }

    /// Applies a checked change.
    fn apply(&self, change: RunChange<'_>, at: Timestamp, runs: &mut Runs, receipts: &mut Receipts) {
        match change {
            RunChange::Create { run: new, key, entries } => {
                let run = new.id().clone();
                let record = RunRecord::with_entries(&new, &StatusChange::from_entries(entries), at);
                let (fence, is_ended) = (record.fence, record.status.is_terminal());
                let key = key.filter(|_| !releases_key(entries)).map(|key| (key.to_stored(), new.tenant.clone()));
                let number = runs.insert(record, key, at);
                if !is_ended {
                    self.0.leases.grant(&run, number, fence, new.lease, at);
                }
                receipts.fence = Some(fence);
                if !entries.is_empty() {
                    receipts.journal = Some(runs.extend_journal(&run, Seq(0), entries, at));
                    self.0.journal_notifiers.notify(&run);
                }
            }
            RunChange::Claim { run, pod, lease } => {
                let Some((number, stored)) = runs.find_mut(run) else { return };
                let fence = stored.record.transfer_to(pod);
                self.0.leases.grant(run, number, fence, lease, at);
                receipts.fence = Some(fence);
            }
            RunChange::Append { position, entries } => {
                let Some((number, stored)) = runs.find_mut(position.run) else { return };
                stored.record.append(&StatusChange::from_entries(entries), at);
                if stored.record.status.is_terminal() {
                    self.0.leases.forget(position.run, number);
                } else {
                    // An owner whose lease expired keeps the run as long as no other owner has claimed it.
                    let _ = self.0.leases.renew(position.run, position.fence, None, at);
                }
                if releases_key(entries) {
                    runs.release_key(position.run);
                }
                receipts.journal = Some(runs.extend_journal(position.run, position.after, entries, at));
                self.0.journal_notifiers.notify(position.run);
            }
            RunChange::Release { run, fence } => self.0.leases.release(run, fence),
        }
    }

    fn open_entry(&self, opened: AuditSeq, subject: EntrySubject, at: Timestamp) -> OpenAuditEntry {
        let (shared, name) = (self.0.clone(), subject.clone());
        let interrupt = move |opened: AuditSeq| {
            let event = Event::Interrupted { opened: opened.0 };
            let closed = shared.audit().close(opened, &event, name, shared.clock.now());
            if let Err(error) = closed {
                tracing::error!(audit.opened = opened.0, error = %error, "a dropped audit entry cannot be closed");
            }
        };
        OpenAuditEntry::new(opened, subject, at, Some(Box::new(interrupt)))
    }

    fn begin_key(&self, request: &KeyRequest<'_>, at: Timestamp, runs: &mut Runs) -> ReservedKey {
        let key = (request.key.to_stored(), request.tenant.clone());
        let key_use = KeyUse { request_hash: *request.request_hash, run: None, reply: None, at };
        runs.keys.insert(key.clone(), key_use);
        let shared = self.0.clone();
        let release = move |key: StoredKey| shared.runs().complete_key(&key, None, shared.clock.now());
        ReservedKey::new(key, Some(Box::new(release)))
    }

    fn reserve(&self, request: &ReservationRequest<'_>, at: Timestamp) -> Reservation {
        let ReservationRequest { account, limits, upper_bound, key } = *request;
        let id = self.0.ledger().state.reserve(account.clone(), limits, upper_bound, key.clone(), at);
        let shared = self.0.clone();
        let settle = move |id: ReservationId, settlement: Settlement| {
            let mut ledger = shared.ledger();
            if let Some(record) = ledger.state.settle(id, settlement, shared.clock.now()) {
                ledger.write(record);
            }
        };
        Reservation::new(id, key.clone(), upper_bound, Some(Box::new(settle)))
    }
}

impl Runs {
    /// Appends entries to the journal of a run.
    fn extend_journal(
        &mut self,
        run: &RunId,
        after: Seq,
        entries: &[protocol::journal::Entry],
        at: Timestamp,
    ) -> Receipt {
        let through = after.plus(entries.len() as u64);
        if let Some((_, stored)) = self.find_mut(run) {
            let numbered = (after.0.saturating_add(1)..).zip(entries);
            stored.journal.extend(numbered.map(|(seq, entry)| JournalRecord {
                seq: Seq(seq),
                at,
                entry: entry.clone(),
            }));
        }
        Receipt::new(run.clone(), after, through)
    }
}
