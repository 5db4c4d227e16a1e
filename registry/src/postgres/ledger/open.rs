//! The reservations of this pod: those that are made and not settled, and those whose settlement is not durable yet.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use greenroom_protocol::{TenantId, Timestamp};

use crate::ledger::reservation::{ReservationId, ReservationRecord, SettlementRecord};
use crate::ledger::{Budget, Settlement};
use crate::postgres::ledger::settled::SettledJson;
use crate::postgres::lock::lock;

/// The reservations of this pod. Their numbers are the pod's own.
#[derive(Default)]
pub(in crate::postgres) struct OpenReservations {
    state: Mutex<State>,
    last: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Made and not settled.
    open: HashMap<ReservationId, ReservationRecord>,
    /// Settled by units that are not durable yet. Their budgets have them at once, for what this pod reads.
    settling: HashMap<ReservationId, SettlementRecord>,
}

impl OpenReservations {
    /// The number of the next reservation.
    pub(in crate::postgres) fn next_id(&self) -> ReservationId {
        ReservationId(self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Adds a reservation that is durable.
    pub(in crate::postgres) fn insert(&self, record: ReservationRecord) {
        lock(&self.state).open.insert(record.id, record);
    }

    /// Settles a reservation, once.
    pub(in crate::postgres) fn settle(
        &self,
        id: ReservationId,
        settlement: Settlement,
        at: Timestamp,
    ) -> Option<SettlementRecord> {
        let mut state = lock(&self.state);
        let reservation = state.open.remove(&id)?;
        let record = SettlementRecord { reservation, settlement, at };
        state.settling.insert(id, record.clone());
        Some(record)
    }

    /// The settlements in these budgets that may not be durable yet.
    pub(in crate::postgres) fn settling(&self, budgets: &HashSet<&Budget>) -> Vec<SettledJson> {
        let state = lock(&self.state);
        let is_read =
            |record: &&SettlementRecord| record.reservation.budgets.iter().any(|budget| budgets.contains(budget));
        state.settling.values().filter(is_read).map(SettledJson::new).collect()
    }

    /// The settlements of the calls of a tenant that may not be durable yet.
    pub(in crate::postgres) fn settling_of(&self, tenant: &TenantId) -> Vec<SettlementRecord> {
        let state = lock(&self.state);
        let is_own = |record: &&SettlementRecord| record.reservation.account.principal.tenant == *tenant;
        state.settling.values().filter(is_own).cloned().collect()
    }

    /// Forgets settlements that are durable, or that are lost: then they are settled as estimated when this pod has ended.
    pub(in crate::postgres) fn forget(&self, settled: impl IntoIterator<Item = ReservationId>) {
        let mut state = lock(&self.state);
        for id in settled {
            state.settling.remove(&id);
        }
    }
}
