//! A reservation in a unit.

use greenroom_protocol::Timestamp;

use crate::core::UnitError;
use crate::ledger::reservation::ReservationId;
use crate::ledger::reserve::ticket;
use crate::ledger::waiting::OwnedRequest;
use crate::ledger::{Reservation, ReservationRequest, ReserveTicket, Settlement};
use crate::sqlite::handle::WriterQueue;
use crate::sqlite::ledger::flush_soon;
use crate::sqlite::writer_state::WriterState;

/// Reserves the worst case of a call.
pub(super) struct Reserve {
    request: OwnedRequest,
    /// Given to a call that has waited for its budgets, else by the check.
    ticket: Option<ReserveTicket>,
}

impl Reserve {
    pub(super) fn encode(request: ReservationRequest<'_>, ticket: Option<ReserveTicket>) -> Self {
        Self { request: request.into(), ticket }
    }

    /// Sets the amount aside at once, because the calls that wait are given tickets by other threads too.
    pub(super) fn check(&mut self, state: &WriterState, at: Timestamp) -> Result<(), UnitError> {
        if self.ticket.is_none() {
            let id = state.shared.ledger().reserve(self.request.clone(), at)?;
            self.ticket = Some(ticket(state.shared.clone(), id));
        }
        Ok(())
    }

    /// Confirms what the check has set aside.
    pub(super) fn apply(self, queue: &WriterQueue, state: &WriterState) -> Option<Reservation> {
        let OwnedRequest { upper_bound, key, .. } = self.request;
        let id = self.ticket?.into_id();
        state.shared.ledger().confirm_reservation(id);
        let (shared, queue) = (state.shared.clone(), queue.clone());
        let settle = move |id: ReservationId, settlement: Settlement| {
            let mut ledger = shared.ledger();
            if let Some(record) = ledger.settle(id, settlement, shared.clock.now()) {
                ledger.add_settlement(record);
            }
            drop(ledger);
            flush_soon(&queue);
        };
        Some(Reservation::new(id, key, upper_bound, Some(Box::new(settle))))
    }
}
