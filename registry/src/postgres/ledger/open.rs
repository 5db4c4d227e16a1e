//! The reservations of this pod that are made and not settled.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use greenroom_protocol::Timestamp;

use crate::ledger::Settlement;
use crate::ledger::reservation::{ReservationId, ReservationRecord, SettlementRecord};
use crate::postgres::lock::lock;

/// The reservations of this pod that are made and not settled. Their numbers are the pod's own.
#[derive(Default)]
pub(in crate::postgres) struct OpenReservations {
    open: Mutex<HashMap<ReservationId, ReservationRecord>>,
    last: AtomicU64,
}

impl OpenReservations {
    /// The number of the next reservation.
    pub(in crate::postgres) fn next_id(&self) -> ReservationId {
        ReservationId(self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Adds a reservation that is durable.
    pub(in crate::postgres) fn insert(&self, record: ReservationRecord) {
        lock(&self.open).insert(record.id, record);
    }

    /// Settles a reservation, once.
    pub(in crate::postgres) fn settle(
        &self,
        id: ReservationId,
        settlement: Settlement,
        at: Timestamp,
    ) -> Option<SettlementRecord> {
        let reservation = lock(&self.open).remove(&id)?;
        Some(SettlementRecord { reservation, settlement, at })
    }
}
