//! What follows from a batch that is durable: permits, leases, notifications and replies.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use greenroom_protocol as protocol;
use protocol::{RunId, Timestamp};

use crate::audit::AuditSeq;
use crate::audit::chain::ChainTip;
use crate::columns::to_int;
use crate::core::{Receipts, UnitError};
use crate::error::StoreError;
use crate::journal::{Receipt, Seq};
use crate::postgres::command::LaneCommand;
use crate::postgres::lane::batch::{UnitRecords, unit_number};
use crate::postgres::lane::records::NextRun;
use crate::postgres::lane::result::{ClaimedRow, Committed, CreatedRow, RefusedUnit, TipRow};
use crate::postgres::lane::{Lane, Written};
use crate::postgres::runs::row::select_numbered;
use crate::postgres::unit::run::{ChangeRun, CreateRun};
use crate::postgres::unit::{CloseEntry, QueuedUnit};
use crate::runs::leases::NewLease;
use crate::runs::{ClaimedTree, RunRecord};

/// What the database has decided about the requests of a taken unit.
struct Taken {
    /// Its run after it.
    next: Option<NextRun>,
    /// The number of the run that it has created.
    created: Option<u64>,
    claimed: Option<ClaimedRow>,
}

impl Lane {
    /// Follows a batch that is durable.
    pub(super) async fn finish(&mut self, units: Vec<QueuedUnit>, written: Written) {
        let Written { committed, records, runs } = written;
        let Committed { refused, created, claimed, tip } = committed;
        if let Some(TipRow { number, hash }) = tip {
            self.chain.tip = ChainTip { number, hash };
        }
        let mut refused: HashMap<i32, RefusedUnit> = refused.into_iter().map(|row| (row.unit, row)).collect();
        let created: HashMap<i32, u64> =
            created.into_iter().map(|CreatedRow { unit, number }| (unit, number)).collect();
        let mut claimed: HashMap<i32, ClaimedRow> = claimed.into_iter().map(|row| (row.unit, row)).collect();
        let mut repeated = Vec::new();
        let settled = units.iter().flat_map(|unit| &unit.settled);
        self.store.reservations.forget(settled.map(|record| record.reservation.id));
        for (index, ((mut unit, records), next)) in units.into_iter().zip(records).zip(runs).enumerate() {
            let number = unit_number(index);
            let mut receipts = std::mem::take(&mut unit.receipts);
            self.add_permits(&mut receipts, &unit, records);
            let refusal = match (unit.refusal.take(), refused.remove(&number).map(RefusedUnit::into_error)) {
                (Some(error), _) | (None, Some(Some(error))) => Some(error),
                (None, None) => None,
                (None, Some(None)) => {
                    unit.repeat_requests(receipts);
                    repeated.push(unit);
                    continue;
                }
            };
            let taken = Taken { next, created: created.get(&number).copied(), claimed: claimed.remove(&number) };
            let reply = unit.reply.take();
            let result = match refusal {
                Some(error) => {
                    if let UnitError::Fenced = error {
                        self.store.fenced_writes.fetch_add(1, Ordering::Relaxed);
                    }
                    self.refuse(unit, receipts, records.opened.is_some(), error)
                }
                None => self.take(unit, receipts, taken).await,
            };
            if let Some(reply) = reply {
                reply.send(result);
            }
        }
        for unit in repeated.into_iter().rev() {
            self.queue.push_front(LaneCommand::Unit(Box::new(unit)));
        }
    }

    /// Adds the permit of the entry that the unit has opened, and the number of its event.
    fn add_permits(&self, receipts: &mut Receipts, unit: &QueuedUnit, records: UnitRecords) {
        if let (Some(number), Some((_, subject))) = (records.opened, &unit.opening) {
            let opened = AuditSeq::in_chain(self.chain.chain, number);
            receipts.entry = Some(self.store.open_entry(opened, subject.clone(), unit.at));
        }
        if let Some(number) = records.event {
            receipts.event = Some(AuditSeq::in_chain(self.chain.chain, number));
        }
    }

    /// The requests of the unit are not taken. The entry that it has opened in this batch is closed in it too.
    fn refuse(
        &self,
        mut unit: QueuedUnit,
        receipts: Receipts,
        has_opened: bool,
        error: UnitError,
    ) -> Result<Receipts, UnitError> {
        // Its amount is free again before the caller learns of the refusal.
        drop(unit.reservation.take());
        if let Some(mut entry) = receipts.entry {
            entry.disarm();
            if !has_opened {
                let closing = CloseEntry::refused(entry.opened(), entry.subject().clone(), unit.at, &error);
                if let Err(error) = self.store.try_send(QueuedUnit::closing(closing)) {
                    tracing::error!(error = %error, "the entry of a unit that was not taken remains open");
                }
            }
        }
        Err(error)
    }

    /// The requests of the unit are taken.
    async fn take(
        &mut self,
        mut unit: QueuedUnit,
        mut receipts: Receipts,
        taken: Taken,
    ) -> Result<Receipts, UnitError> {
        let at = unit.at;
        let Taken { next, created, claimed } = taken;
        match unit.run.take() {
            Some(ChangeRun::Create(create)) => self.on_created(&create, next, created, at, &mut receipts)?,
            Some(ChangeRun::Append { run, fence, after, entries }) => {
                let through = after.plus(entries.texts.len() as u64);
                let record = next.as_ref().map(|next| &next.record);
                let root = record.map_or_else(|| self.store.root_of(&run), |record| record.root.clone());
                self.store.leases.on_written(&root, fence);
                // An owner whose lease expired keeps the tree as long as no other owner has claimed it.
                let _ = self.store.leases.renew(&root, fence, None, at);
                if record.is_some_and(|record| record.status.is_terminal()) {
                    self.store.leases.remove_run(&root, fence);
                    self.store.leases.forget_ended(&root, fence);
                    self.store.remove_root(&run);
                }
                if let Some(NextRun { number: Some(number), record }) = next {
                    self.records.insert(number, record);
                }
                self.store.journal_notifiers.notify(&run);
                receipts.journal = Some(Receipt::new(run, after, through));
            }
            Some(ChangeRun::Claim { root, lease, .. }) => {
                let row = claimed.ok_or_else(undecided)?;
                let tree = self.claimed_tree(&root, &row).await?;
                let (number, fence) = (row.number, tree.fence);
                let granted = NewLease { root: &root, number, fence, duration: lease, granted_at: at };
                self.store.leases.grant_claimed(granted, tree.runs.len(), tree.last_activity);
                receipts.tree = Some(tree);
            }
            // The next owner may be another pod, for which the database knows when this one was active.
            Some(ChangeRun::Release { root, fence, .. }) => self.store.leases.forget_released(&root, fence),
            None => {}
        }
        receipts.key = unit.key.take().map(|key| self.store.reserved_key(key.key));
        receipts.reservation = self.store.take_reservation(&mut unit);
        Ok(receipts)
    }

    fn on_created(
        &mut self,
        create: &CreateRun,
        next: Option<NextRun>,
        number: Option<u64>,
        at: Timestamp,
        receipts: &mut Receipts,
    ) -> Result<(), UnitError> {
        let (Some(NextRun { record, .. }), Some(number)) = (next, number) else { return Err(undecided()) };
        let (run, fence) = (record.run.clone(), record.fence);
        match create.new.caller() {
            _ if record.status.is_terminal() => {}
            Some(_) => {
                self.store.add_root(&run, &record.root);
                self.store.leases.add_run(&record.root, fence);
            }
            // Any pod claims it.
            None if create.new.is_unowned => {}
            None => {
                let lease = NewLease { root: &run, number, fence, duration: create.new.lease, granted_at: at };
                self.store.leases.grant_created(lease);
            }
        }
        receipts.fence = Some(fence);
        if record.seq > Seq(0) {
            self.store.journal_notifiers.notify(&run);
            receipts.journal = Some(Receipt::new(run, Seq(0), record.seq));
        }
        self.records.insert(to_int(number), record);
        Ok(())
    }

    /// Reads the runs of a tree that was claimed.
    async fn claimed_tree(&mut self, root: &RunId, row: &ClaimedRow) -> Result<ClaimedTree, StoreError> {
        let numbered = match self.open_runs(root).await {
            Ok(numbered) => numbered,
            Err(error) => {
                // This pod owns the tree; it is found by the next recovery.
                self.store.leases.add_unclaimed([row.number]);
                return Err(error);
            }
        };
        let mut runs = Vec::with_capacity(numbered.len());
        for (number, record) in numbered {
            self.store.add_root(&record.run, root);
            self.records.insert(number, record.clone());
            runs.push(record);
        }
        Ok(ClaimedTree { fence: row.fence(), failures: row.failures, runs, last_activity: row.last_activity() })
    }

    async fn open_runs(&mut self, root: &RunId) -> Result<Vec<(i64, RunRecord)>, StoreError> {
        if let Ok(runs) = select_numbered(self.link.reader().await?, root).await {
            return Ok(runs);
        }
        // The connection may have been lost since the batch.
        self.link.disconnect();
        let runs = select_numbered(self.link.reader().await?, root).await;
        runs.inspect_err(|_| self.link.disconnect())
    }
}

/// The error of a request that the database has not decided.
fn undecided() -> UnitError {
    StoreError::Failed("the database has not decided a unit".to_owned()).into()
}
