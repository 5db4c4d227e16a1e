//! The handle of each store of one pod: the shared state, and the queues of the lanes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use greenroom_protocol as protocol;
use protocol::{CallKey, Timestamp};
use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;

use crate::audit::{AuditSeq, EntrySubject, OpenAuditEntry};
use crate::core::{PendingUnit, Receipts, UnitError};
use crate::error::StoreError;
use crate::group_commit::{COMMIT_WAIT_MAX, CommandSender, SubmittedCommand};
use crate::idempotency::{ReservedKey, StoredKey};
use crate::ledger::reservation::{ReservationId, SettlementRecord};
use crate::ledger::waiting::OwnedRequest;
use crate::ledger::{Amount, Reservation, ReserveTicket, Settlement};
use crate::postgres::command::{AccountsCommand, LaneCommand, Reserver};
use crate::postgres::error::sqlx_error;
use crate::postgres::shared::Shared;
use crate::postgres::unit::{BeginKey, CloseEntry, EntryEnd, MadeReservation, QueuedUnit};

/// The queues of the lanes, and of the accounts' lane.
pub(super) struct Queues {
    pub(super) lanes: Vec<CommandSender<LaneCommand>>,
    pub(super) accounts: CommandSender<AccountsCommand>,
}

/// The handle of each store; cheap to clone.
#[derive(Clone)]
pub(super) struct StoreHandle {
    shared: Arc<Shared>,
    queues: Arc<Queues>,
}

impl Deref for StoreHandle {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl StoreHandle {
    pub(super) fn new(shared: Arc<Shared>, queues: Queues) -> Self {
        Self { shared, queues: Arc::new(queues) }
    }

    /// The rows of a query, read at once.
    pub(super) async fn read_rows(&self, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, StoreError> {
        query.fetch_all(&self.readers).await.map_err(|error| sqlx_error(&error))
    }

    /// The only row of a query, if there is one.
    pub(super) async fn read_row(&self, query: Query<'_, Postgres, PgArguments>) -> Result<Option<PgRow>, StoreError> {
        query.fetch_optional(&self.readers).await.map_err(|error| sqlx_error(&error))
    }

    /// The queue of the accounts' lane.
    pub(super) fn accounts(&self) -> &CommandSender<AccountsCommand> {
        &self.queues.accounts
    }

    /// Submits a unit whose caller waits for its receipts. A reservation that it needs comes first.
    pub(super) async fn submit(
        &self,
        unit: QueuedUnit,
        needed: Option<OwnedRequest>,
    ) -> Result<PendingUnit, StoreError> {
        if let Some((root, fence)) = unit.released_tree()
            && !self.leases.is_owner(root, fence)
        {
            // The tree has ended by a unit of this pod that is durable, or is released already: nothing is left to write.
            return Ok(PendingUnit::resolved(Ok(Receipts::default())));
        }
        let wait_max = (!unit.outlasts_outage).then_some(COMMIT_WAIT_MAX);
        let submitted: Result<SubmittedCommand<_, UnitError>, UnitError> = match needed {
            Some(request) => {
                let (id, at) = (self.reservations.next_id(), unit.at);
                let command = |reply| {
                    let reserver = Reserver::Unit(Box::new(unit.with_reply(reply)));
                    AccountsCommand::Reserve { id, request, at, reserver }
                };
                self.accounts().submit_within(wait_max, command).await
            }
            None if unit.is_of_accounts() => {
                let command = |reply| AccountsCommand::Settle(Box::new(unit.with_reply(reply)));
                self.accounts().submit_within(wait_max, command).await
            }
            None => {
                let lane = self.lane_of(&unit)?;
                lane.submit_within(wait_max, |reply| LaneCommand::Unit(Box::new(unit.with_reply(reply)))).await
            }
        };
        Ok(PendingUnit::submitted(submitted?))
    }

    /// Submits a unit that no caller waits for.
    pub(super) async fn send(&self, unit: QueuedUnit) -> Result<(), StoreError> {
        if unit.is_of_accounts() {
            return self.accounts().send(AccountsCommand::Settle(Box::new(unit))).await;
        }
        self.lane_of(&unit)?.send(LaneCommand::Unit(Box::new(unit))).await
    }

    /// As [`StoreHandle::send`], for callers that cannot wait.
    pub(super) fn try_send(&self, unit: QueuedUnit) -> Result<(), StoreError> {
        if unit.is_of_accounts() {
            return self.accounts().try_send(AccountsCommand::Settle(Box::new(unit)));
        }
        self.lane_of(&unit)?.try_send(LaneCommand::Unit(Box::new(unit)))
    }

    /// The lane of a unit: that of its tree of runs, else that of the entry that it closes, else that of the tree that its
    /// request belongs to, so that one batch has the start of a step and the opening of its call; else that of its request,
    /// so that one batch has the opening of a request and the reservation of its key.
    fn lane_of(&self, unit: &QueuedUnit) -> Result<&CommandSender<LaneCommand>, StoreError> {
        let own_chain =
            |closing: &CloseEntry| self.pod.chains.iter().position(|chain| *chain == closing.opened.chain());
        let index = match (&unit.run, &unit.closing, &unit.opening) {
            (Some(run), _, _) => self.lane_by(&self.root_of(run.run())),
            (None, Some(closing), _) => own_chain(closing).unwrap_or_default(),
            (None, None, Some((_, subject))) => match &unit.opening_run {
                Some(run) => self.lane_by(&self.root_of(run)),
                None => self.lane_by(&subject.request),
            },
            (None, None, None) => match (&unit.key, &unit.key_reply) {
                (Some(BeginKey { request: Some(request), .. }), _) => self.lane_by(request),
                (Some(key), _) => self.lane_by(&key.key),
                (None, Some(reply)) => self.lane_by(&reply.key),
                (None, None) => 0,
            },
        };
        self.queues.lanes.get(index).ok_or(StoreError::Closed)
    }

    fn lane_by(&self, subject: &impl Hash) -> usize {
        let mut hasher = DefaultHasher::new();
        subject.hash(&mut hasher);
        let lanes = self.queues.lanes.len().max(1) as u64;
        usize::try_from(hasher.finish() % lanes).unwrap_or_default()
    }

    /// The lanes, for commands that concern all of them.
    pub(super) fn lanes(&self) -> &[CommandSender<LaneCommand>] {
        &self.queues.lanes
    }

    /// Waits until everything that was submitted before is durable.
    pub(super) async fn flush(&self) -> Result<(), StoreError> {
        let lanes = self.lanes().iter().map(|lane| lane.request::<(), StoreError>(LaneCommand::Flush));
        for flushed in futures::future::join_all(lanes).await {
            flushed?;
        }
        // A unit of a lane may have settlements.
        self.accounts().request::<(), StoreError>(AccountsCommand::Flush).await
    }

    /// As [`StoreHandle::flush`]; a closed store, which has nothing left to write, is no error.
    pub(super) async fn flush_if_open(&self) -> Result<(), StoreError> {
        match self.flush().await {
            Ok(()) | Err(StoreError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The permit of an entry that was opened. If it is dropped, the entry is closed as interrupted.
    pub(super) fn open_entry(&self, opened: AuditSeq, subject: EntrySubject, at: Timestamp) -> OpenAuditEntry {
        let (store, name) = (self.clone(), subject.clone());
        let interrupt = move |opened: AuditSeq| {
            let at = store.clock.now();
            let closing = CloseEntry { opened, subject: name, at, end: EntryEnd::Interrupted };
            if let Err(error) = store.try_send(QueuedUnit::closing(closing)) {
                tracing::warn!(
                    audit.opened = opened.0,
                    error = %error,
                    "a dropped audit entry remains open until this pod has ended"
                );
            }
        };
        OpenAuditEntry::new(opened, subject, at, Some(Box::new(interrupt)))
    }

    /// The permit of a key that was reserved. If it is dropped, the key is released.
    pub(super) fn reserved_key(&self, key: StoredKey) -> ReservedKey {
        let store = self.clone();
        let release = move |key: StoredKey| {
            let at = store.clock.now();
            if let Err(error) = store.try_send(QueuedUnit::releasing(key, at)) {
                tracing::warn!(error = %error, "a dropped idempotency key is released when this pod has ended");
            }
        };
        ReservedKey::new(key, Some(Box::new(release)))
    }

    /// The ticket of a reservation that is made. If it is dropped, its amount is free again.
    pub(super) fn ticket(&self, id: ReservationId) -> ReserveTicket {
        let store = self.clone();
        ReserveTicket::new(id, Box::new(move |id| store.settle_dropped(id, Settlement::Unused)))
    }

    /// The permit of a reservation.
    fn reservation(&self, ticket: ReserveTicket, key: CallKey, upper_bound: Amount) -> Reservation {
        let store = self.clone();
        let settle = move |id: ReservationId, settlement: Settlement| store.settle_dropped(id, settlement);
        Reservation::new(ticket.into_id(), key, upper_bound, Some(Box::new(settle)))
    }

    /// The permit of the reservation that was made for a unit.
    pub(super) fn take_reservation(&self, unit: &mut QueuedUnit) -> Option<Reservation> {
        let MadeReservation { ticket, key, upper_bound } = unit.reservation.take()?;
        Some(self.reservation(ticket, key, upper_bound))
    }

    /// Settles a reservation whose permit was dropped.
    fn settle_dropped(&self, id: ReservationId, settlement: Settlement) {
        let Some(record) = self.reservations.settle(id, settlement, self.clock.now()) else { return };
        self.usage.settle(&record);
        self.send_settlement(record);
    }

    /// Writes a settlement that no unit has taken.
    pub(super) fn send_settlement(&self, record: SettlementRecord) {
        let id = record.reservation.id;
        if let Err(error) = self.accounts().try_send(AccountsCommand::SettleDropped(record)) {
            tracing::warn!(error = %error, "a settlement is lost, and counts as estimated when this pod has ended");
            self.reservations.forget([id]);
        }
    }
}
