//! A batch of the accounts' lane with its callers: what each of them requests, and its reply.

use std::collections::HashMap;

use greenroom_protocol::{PrincipalId, Timestamp};

use crate::core::{Receipts, UnitError};
use crate::error::StoreError;
use crate::group_commit::ReplySender;
use crate::ledger::reservation::{ReservationId, ReservationRecord, SettlementRecord};
use crate::ledger::state::budgets_of;
use crate::ledger::waiting::OwnedRequest;
use crate::ledger::{Budget, Charged, LIMITS_MAX, Limit, PERIOD_DAYS_MAX, Period, ReserveError};
use crate::postgres::accounts::batch::{AccountsBatch, AccountsResult, ReservedRow};
use crate::postgres::accounts::waiting::{WaitingCall, WaitingCalls, first_queue};
use crate::postgres::command::{AccountsCommand, Reserver};
use crate::postgres::handle::StoreHandle;
use crate::postgres::ledger::usage::Minutes;
use crate::postgres::unit::{MadeReservation, QueuedUnit};

/// A reservation that a batch decides.
struct Deciding {
    id: ReservationId,
    request: OwnedRequest,
    budgets: Vec<Budget>,
    at: Timestamp,
    reserver: Reserver,
    /// The budget for which it has waited; it is the first one in the queue of this budget.
    waited_for: Option<Budget>,
}

/// A batch.
#[derive(Default)]
pub(in crate::postgres) struct Batch {
    json: AccountsBatch,
    settled: Vec<SettlementRecord>,
    units: Vec<QueuedUnit>,
    deciding: Vec<Deciding>,
    usage: Vec<(PrincipalId, Timestamp, ReplySender<()>)>,
    flushes: Vec<ReplySender<()>>,
    /// Settlements of other lanes are to be shown.
    is_showing: bool,
    /// What is read after the batch, and is no part of it.
    pub(in crate::postgres) charged: Vec<(Budget, ReplySender<Charged>)>,
    /// The caller that closes the store.
    pub(in crate::postgres) close: Option<ReplySender<()>>,
}

/// What remains to do after a batch.
pub(in crate::postgres) struct Finished {
    /// Calls that were refused, and may wait.
    pub(in crate::postgres) refused: Vec<WaitingCall>,
    /// Callers that wait until every settlement is shown.
    pub(in crate::postgres) flushes: Vec<ReplySender<()>>,
    /// A call that has waited is served, so the next one in its queue may be too.
    pub(in crate::postgres) has_served: bool,
}

impl Batch {
    /// A batch that only shows settlements, for these callers.
    pub(in crate::postgres) fn showing(flushes: Vec<ReplySender<()>>) -> Self {
        Self { flushes, is_showing: true, ..Self::default() }
    }

    /// Adds a command.
    pub(in crate::postgres) fn add(&mut self, command: AccountsCommand) {
        match command {
            AccountsCommand::Settle(mut unit) => {
                self.settled.append(&mut unit.settled);
                self.units.push(*unit);
            }
            AccountsCommand::SettleDropped(record) => self.settled.push(record),
            AccountsCommand::Reserve { id, request, at, reserver } => self.add_reserver(id, request, at, reserver),
            AccountsCommand::Charged(budget, reply) => self.charged.push((budget, reply)),
            AccountsCommand::Usage(principal, now, reply) => self.usage.push((principal, now, reply)),
            AccountsCommand::Flush(reply) => self.flushes.push(reply),
            AccountsCommand::Show => self.is_showing = true,
            AccountsCommand::Close(reply) => self.close = Some(reply),
        }
    }

    fn add_reserver(&mut self, id: ReservationId, request: OwnedRequest, at: Timestamp, mut reserver: Reserver) {
        if let Reserver::Unit(unit) = &mut reserver {
            self.settled.append(&mut unit.settled);
        }
        let budgets = budgets_of(&request.account, &request.limits);
        self.deciding.push(Deciding { id, request, budgets, at, reserver, waited_for: None });
    }

    /// Decides waiting calls again, before the others.
    pub(in crate::postgres) fn retry(&mut self, calls: Vec<WaitingCall>) {
        let retried = calls.into_iter().map(|call| {
            let WaitingCall { id, request, at, budget, reply, until, error: _ } = call;
            let budgets = budgets_of(&request.account, &request.limits);
            let reserver = Reserver::Call { reply, until };
            Deciding { id, request, budgets, at, reserver, waited_for: Some(budget) }
        });
        self.deciding.splice(0..0, retried);
    }

    /// True if it settles something.
    pub(in crate::postgres) const fn has_settlements(&self) -> bool {
        !self.settled.is_empty()
    }

    /// True if nothing is to be done.
    pub(in crate::postgres) const fn is_empty(&self) -> bool {
        self.settled.is_empty()
            && self.units.is_empty()
            && self.deciding.is_empty()
            && self.usage.is_empty()
            && self.flushes.is_empty()
            && !self.is_showing
    }

    /// The batch as the database receives it.
    pub(in crate::postgres) const fn json(&self) -> &AccountsBatch {
        &self.json
    }

    /// Encodes the batch. What needs no database is refused here.
    pub(in crate::postgres) fn encode(
        &mut self,
        waiting: &WaitingCalls,
        counted: &[(PrincipalId, Minutes)],
        store: &StoreHandle,
    ) {
        let mut json = AccountsBatch::default();
        self.settled.iter().for_each(|record| json.settle(record));
        counted.iter().for_each(|(principal, minutes)| json.count(principal, minutes));
        let mut contended = waiting.budgets();
        contended.extend(self.deciding.iter().filter_map(|deciding| deciding.waited_for.clone()));
        for deciding in std::mem::take(&mut self.deciding) {
            let Deciding { id, request, budgets, at, reserver, waited_for } = &deciding;
            if is_abandoned(reserver) {
                deciding.abandon(store);
                continue;
            }
            if !is_within_bounds(&request.limits) {
                drop(deciding.refuse(ReserveError::Bounds, store));
                continue;
            }
            let queue = if waited_for.is_none() { first_queue(&contended, &request.limits) } else { None };
            json.reserve(*id, request, budgets, queue, *at);
            self.deciding.push(deciding);
        }
        self.usage.iter().for_each(|(principal, now, _)| json.read_usage(principal, *now));
        self.json = json;
    }

    /// Replies to the callers of a batch that is durable.
    pub(in crate::postgres) fn finish(self, result: &AccountsResult, store: &StoreHandle) -> Finished {
        store.reservations.forget(self.settled.iter().map(|record| record.reservation.id));
        let rows: HashMap<u64, &ReservedRow> = result.reserved.iter().map(|row| (row.n, row)).collect();
        let (mut refused, mut has_served) = (Vec::new(), false);
        for deciding in self.deciding {
            match rows.get(&deciding.id.0).map(|row| row.error(&deciding.request)) {
                Some(None) => {
                    has_served |= deciding.waited_for.is_some();
                    deciding.take(store);
                }
                Some(Some(error)) => refused.extend(deciding.refuse(error, store)),
                None => {
                    let missing = StoreError::Failed("the database has not decided a reservation".to_owned());
                    refused.extend(deciding.refuse(missing.into(), store));
                }
            }
        }
        for unit in self.units {
            pass_on(unit, store);
        }
        for (principal, now, reply) in self.usage {
            let usage = result.usage(&principal, now);
            let settling = store.reservations.settling_of(&principal.tenant);
            store.usage.on_read(principal, usage, &settling);
            reply.send(Ok(()));
        }
        Finished { refused, flushes: self.flushes, has_served }
    }

    /// Rejects the callers of a batch that has failed. Returns what is to be written later, unless it is not known that
    /// nothing was written: the settlements, and the reservations whose callers wait until the server can write again.
    pub(in crate::postgres) fn fail(self, error: &StoreError, is_known: bool, store: &StoreHandle) -> Self {
        for unit in self.units {
            // Its settlements are those of the batch.
            drop(unit.fail(error));
        }
        let outlasts = |deciding: &Deciding| match &deciding.reserver {
            Reserver::Unit(unit) => is_known && unit.outlasts(error),
            Reserver::Call { .. } => false,
        };
        let (repeated, failed): (Vec<_>, Vec<_>) = self.deciding.into_iter().partition(outlasts);
        for deciding in failed {
            match deciding.reserver {
                Reserver::Unit(unit) => {
                    if let Some(rest) = unit.fail(error) {
                        pass_on(rest, store);
                    }
                }
                // Its caller may not wait any more.
                Reserver::Call { reply, .. } => drop(reply.send(Err(error.clone().into()))),
            }
        }
        self.usage.into_iter().for_each(|(_, _, reply)| reply.send(Err(error.clone())));
        self.flushes.into_iter().for_each(|reply| reply.send(Err(error.clone())));
        let settled = if is_known {
            self.settled
        } else {
            store.reservations.forget(self.settled.iter().map(|record| record.reservation.id));
            Vec::new()
        };
        Self { settled, deciding: repeated, close: self.close, ..Self::default() }
    }
}

impl Deciding {
    /// The reservation is made.
    fn take(self, store: &StoreHandle) {
        let Self { id, request, budgets, at, reserver, waited_for: _ } = self;
        let OwnedRequest { account, upper_bound, key, limits: _ } = request;
        store.reservations.insert(ReservationRecord { id, key: key.clone(), account, budgets, upper_bound, at });
        let ticket = store.ticket(id);
        match reserver {
            Reserver::Unit(mut unit) => {
                unit.reservation = Some(MadeReservation { ticket, key, upper_bound });
                pass_on(*unit, store);
            }
            // If its caller does not wait any more, the ticket comes back and is dropped.
            Reserver::Call { reply, .. } => drop(reply.send(Ok(ticket))),
        }
    }

    /// The reservation is not made. Returns the call if it may wait.
    fn refuse(self, error: ReserveError, store: &StoreHandle) -> Option<WaitingCall> {
        match (self.reserver, error) {
            (Reserver::Unit(mut unit), error) => {
                unit.refusal = Some(UnitError::from(error));
                pass_on(*unit, store);
                None
            }
            (Reserver::Call { reply, until }, ReserveError::Exceeded { budget, by }) => {
                let error = ReserveError::Exceeded { budget: budget.clone(), by };
                Some(WaitingCall { id: self.id, request: self.request, at: self.at, budget, error, reply, until })
            }
            (Reserver::Call { reply, .. }, error) => {
                // Its caller may not wait any more.
                drop(reply.send(Err(error)));
                None
            }
        }
    }

    /// No caller waits for it any more: what its unit reports is written all the same.
    fn abandon(self, store: &StoreHandle) {
        if let Reserver::Unit(mut unit) = self.reserver {
            unit.drop_requests();
            pass_on(*unit, store);
        }
    }
}

fn is_abandoned(reserver: &Reserver) -> bool {
    match reserver {
        Reserver::Unit(unit) => unit.is_abandoned(),
        Reserver::Call { reply, .. } => reply.is_closed(),
    }
}

fn is_within_bounds(limits: &[Limit]) -> bool {
    let is_too_long = |limit: &Limit| matches!(limit.period, Period::Days(days) if days > PERIOD_DAYS_MAX);
    limits.len() <= LIMITS_MAX && !limits.iter().any(is_too_long)
}

/// Submits the other parts of a unit to its lane; if it has none, its caller gets the reply.
fn pass_on(mut unit: QueuedUnit, store: &StoreHandle) {
    if !unit.is_of_accounts() {
        if let Err(error) = store.try_send(unit) {
            tracing::error!(error = %error, "the other parts of a unit cannot be submitted");
        }
        return;
    }
    let result = match unit.refusal.take() {
        Some(error) => {
            drop(unit.reservation.take());
            Err(error)
        }
        None => Ok(Receipts { reservation: store.take_reservation(&mut unit), ..Receipts::default() }),
    };
    if let Some(reply) = unit.reply.take() {
        reply.send(result);
    }
}
