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
use crate::ledger::reserve::ticket;
use crate::ledger::{Reservation, ReservationRequest, ReserveTicket, Settled, Settlement};
use crate::runs::leases::NewLease;
use crate::runs::record::{StatusChange, releases_key};
use crate::runs::{ClaimedTree, Fence, RunRecord};

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

    async fn renew(&self, root: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.0.check_open()?;
        self.0.leases.renew(root, fence, Some(lease), now)
    }
}

impl InMemoryCore {
    fn write(&self, mut unit: Unit<'_>) -> Result<Receipts, UnitError> {
        let mut runs = self.0.runs();
        let checked = self.check(&mut unit, &runs);
        let Unit {
            at,
            run,
            key,
            reserve,
            ticket,
            opening,
            event,
            closing,
            settled,
            key_reply,
            tree: _,
            outlasts_outage: _,
        } = unit;
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
                receipts.reservation = reserve.zip(ticket).map(|(request, ticket)| self.reserve(&request, ticket));
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

    /// Checks every request. What is reserved is set aside at once, because the calls that wait are given tickets by
    /// other threads too.
    fn check(&self, unit: &mut Unit<'_>, runs: &Runs) -> Result<(), UnitError> {
        if let Some(change) = &unit.run {
            self.check_change(change, unit.at, runs)?;
        }
        if let Some(KeyRequest { tenant, key, request_hash, .. }) = &unit.key
            && let Some(key_use) = runs.keys.get(&(key.to_stored(), (*tenant).clone()))
        {
            return Err(UnitError::Conflict(Conflict::Key(key_use.status_for(request_hash))));
        }
        if let Some(request) = unit.reserve.filter(|_| unit.ticket.is_none()) {
            let id = self.0.ledger().state.reserve(request.into(), unit.at)?;
            unit.ticket = Some(ticket(self.0.clone(), id));
        }
        Ok(())
    }

    fn check_change(&self, change: &RunChange<'_>, at: Timestamp, runs: &Runs) -> Result<(), UnitError> {
        let record =
            |run: &RunId| runs.find(run).map(|stored| &stored.record).ok_or(UnitError::Conflict(Conflict::UnknownRun));
        match change {
            RunChange::Create { run, key, entries } => {
                StatusChange::check_entries(&StatusChange::from_entries(entries))?;
                let key = key.map(|key| (key.to_stored(), run.tenant().clone()));
                if let Some(key_use) = key.and_then(|key| runs.keys.get(&key)) {
                    let is_same = key_use.request_hash == run.request_hash;
                    return Err(UnitError::Conflict(Conflict::Run(key_use.run.clone().filter(|_| is_same))));
                }
                if let Some(existing) = runs.find(run.id()) {
                    return Err(UnitError::Conflict(existing.record.conflict_with(run)));
                }
                match run.caller() {
                    Some((parent, fence)) => Ok(record(parent)?.check_calls(fence)?),
                    None => Ok(()),
                }
            }
            RunChange::Claim { root, .. } => {
                record(root)?;
                let (has_open_run, is_leased) =
                    (runs.open_runs(root).next().is_some(), self.0.leases.is_leased(root, at));
                RunRecord::check_claim(has_open_run, is_leased).map_err(UnitError::Conflict)
            }
            RunChange::Append { position, entries } => {
                let changes = StatusChange::from_entries(entries);
                Ok(record(position.run)?.check_append(position.fence, position.after, &changes)?)
            }
            RunChange::Release { .. } | RunChange::Fail { .. } => Ok(()),
        }
    }

    /// Applies a checked change.
    fn apply(&self, change: RunChange<'_>, at: Timestamp, runs: &mut Runs, receipts: &mut Receipts) {
        match change {
            RunChange::Create { run: new, key, entries } => {
                let run = new.id().clone();
                let record = RunRecord::with_entries(&new, &StatusChange::from_entries(entries), at);
                let (fence, duration, is_ended) = (record.fence, new.lease, record.status.is_terminal());
                let key = key.filter(|_| !releases_key(entries)).map(|key| (key.to_stored(), new.tenant().clone()));
                let number = runs.insert(record, key, at);
                match new.caller() {
                    _ if is_ended => {}
                    Some(_) => self.0.leases.add_run(&new.started.root, fence),
                    None => {
                        let lease = NewLease { root: &run, number, fence, duration, granted_at: at };
                        self.0.leases.grant_created(lease);
                    }
                }
                receipts.fence = Some(fence);
                if !entries.is_empty() {
                    receipts.journal = Some(runs.extend_journal(&run, Seq(0), entries, at));
                    self.0.journal_notifiers.notify(&run);
                }
            }
            RunChange::Claim { root, pod, lease: duration } => {
                let Some((number, stored)) = runs.find_mut(root) else { return };
                let fence = stored.record.transfer_to(pod);
                let (failures, owned) = (stored.record.failures, stored.record.clone());
                let transfer = |record: &mut RunRecord| {
                    record.follow(&owned);
                    record.clone()
                };
                let tree: Vec<_> = runs.open_runs_mut(root).map(transfer).collect();
                let last_activity = self.0.leases.last_activity(root);
                let lease = NewLease { root, number, fence, duration, granted_at: at };
                self.0.leases.grant_claimed(lease, tree.len(), last_activity);
                receipts.tree = Some(ClaimedTree { fence, failures, runs: tree, last_activity });
            }
            RunChange::Append { position, entries } => {
                let Some((_, stored)) = runs.find_mut(position.run) else { return };
                let changes = StatusChange::from_entries(entries);
                stored.record.append(&changes, at);
                let (root, is_ended) = (stored.record.root.clone(), stored.record.status.is_terminal());
                if let Some((_, stored)) = runs.find_mut(&root).filter(|_| StatusChange::are_progress(&changes)) {
                    stored.record.failures = 0;
                }
                self.0.leases.on_written(&root, position.fence);
                // An owner whose lease expired keeps the tree as long as no other owner has claimed it.
                let _ = self.0.leases.renew(&root, position.fence, None, at);
                if is_ended {
                    self.0.leases.remove_run(&root, position.fence);
                    self.0.leases.forget_ended(&root, position.fence);
                }
                if releases_key(entries) {
                    runs.release_key(position.run);
                }
                receipts.journal = Some(runs.extend_journal(position.run, position.after, entries, at));
                self.0.journal_notifiers.notify(position.run);
            }
            RunChange::Release { root, fence } => self.0.leases.release(root, fence, at),
            RunChange::Fail { root, fence, .. } => {
                if let Some((_, stored)) = runs.find_mut(root).filter(|(_, stored)| stored.record.fence == fence) {
                    stored.record.failures = stored.record.failures.saturating_add(1);
                }
                self.0.leases.release(root, fence, at);
            }
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

    /// Confirms what the check has set aside.
    fn reserve(&self, request: &ReservationRequest<'_>, ticket: ReserveTicket) -> Reservation {
        let ReservationRequest { upper_bound, key, .. } = *request;
        let id = ticket.into_id();
        self.0.ledger().state.confirm_reservation(id);
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
