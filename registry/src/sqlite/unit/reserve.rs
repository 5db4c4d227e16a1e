//! A reservation in a unit.

use greenroom_protocol as protocol;
use protocol::{CallKey, Timestamp};

use crate::core::UnitError;
use crate::ledger::reservation::ReservationId;
use crate::ledger::{Account, Amount, Limit, Reservation, ReservationRequest, Settlement};
use crate::sqlite::handle::WriterQueue;
use crate::sqlite::ledger::flush_soon;
use crate::sqlite::writer_state::WriterState;

/// Reserves the worst case of a call.
pub(super) struct Reserve {
    account: Account,
    limits: Vec<Limit>,
    upper_bound: Amount,
    key: CallKey,
}

impl Reserve {
    pub(super) fn encode(request: ReservationRequest<'_>) -> Self {
        let ReservationRequest { account, limits, upper_bound, key } = request;
        Self { account: account.clone(), limits: limits.to_vec(), upper_bound, key: key.clone() }
    }

    pub(super) fn check(&self, state: &WriterState, at: Timestamp) -> Result<(), UnitError> {
        Ok(state.shared.ledger().check_reserve(&self.limits, self.upper_bound, at)?)
    }

    /// Reserves a checked amount: only the writer reserves, so nothing was reserved since the check.
    pub(super) fn apply(self, at: Timestamp, queue: &WriterQueue, state: &WriterState) -> Reservation {
        let Self { account, limits, upper_bound, key } = self;
        let id = state.shared.ledger().reserve(account, &limits, upper_bound, key.clone(), at);
        let (shared, queue) = (state.shared.clone(), queue.clone());
        let settle = move |id: ReservationId, settlement: Settlement| {
            let mut ledger = shared.ledger();
            if let Some(record) = ledger.settle(id, settlement, shared.clock.now()) {
                ledger.add_settlement(record);
            }
            drop(ledger);
            flush_soon(&queue);
        };
        Reservation::new(id, key, upper_bound, Some(Box::new(settle)))
    }
}
