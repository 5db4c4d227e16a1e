//! Waits for a reservation, as a caller does, whatever store has the ledger.

use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::Timestamp;
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::ledger::ReserveError;
use crate::ledger::reservation::{ReservationId, ReserveTicket};
use crate::ledger::state::LedgerState;
use crate::ledger::waiting::{Arrival, OwnedRequest, ReserveOutcome};

/// The state of a ledger, as one store locks it.
pub(crate) trait LockLedger: Sync {
    /// Changes the state at the present time.
    fn with_state<R>(&self, change: impl FnOnce(&mut LedgerState, Timestamp) -> R) -> R;
}

/// A call that waits. If it is dropped, the calls behind it are served.
struct Waiting<'l, L: LockLedger> {
    ledger: &'l L,
    arrival: Arrival,
    reply: oneshot::Receiver<Result<ReservationId, ReserveError>>,
    has_reply: bool,
}

impl<L: LockLedger> Waiting<'_, L> {
    async fn wait(&mut self, wait_max: Duration) -> Result<ReservationId, ReserveError> {
        if let Ok(reply) = tokio::time::timeout(wait_max, &mut self.reply).await {
            self.has_reply = true;
            return reply.unwrap_or_else(|_| Err(StoreError::Closed.into()));
        }
        let error = self.ledger.with_state(|state, now| state.stop_waiting(self.arrival, now));
        self.has_reply = true;
        match error {
            Some(error) => Err(error),
            // It was served at this moment.
            None => self.reply.try_recv().unwrap_or_else(|_| Err(StoreError::Closed.into())),
        }
    }
}

impl<L: LockLedger> Drop for Waiting<'_, L> {
    fn drop(&mut self) {
        if self.has_reply {
            return;
        }
        self.reply.close();
        let unused = self.reply.try_recv();
        self.ledger.with_state(|state, now| {
            if let Ok(Ok(id)) = unused {
                state.cancel_reservation(id, now);
            }
            drop(state.stop_waiting(self.arrival, now));
        });
    }
}

/// The ticket for a reservation that a unit must confirm.
pub(crate) fn ticket(ledger: impl LockLedger + Send + 'static, id: ReservationId) -> ReserveTicket {
    let cancel = move |id| ledger.with_state(|state, now| state.cancel_reservation(id, now));
    ReserveTicket::new(id, Box::new(cancel))
}

/// Reserves, or waits for at most `wait_max` for the reservations of calls in flight.
pub(crate) async fn wait_for_budgets(
    ledger: &(impl LockLedger + Clone + Send + 'static),
    request: OwnedRequest,
    wait_max: Duration,
    now: Timestamp,
) -> Result<ReserveTicket, ReserveError> {
    let id = match ledger.with_state(|state, _| state.reserve_or_wait(request, now))? {
        ReserveOutcome::Reserved(id) => id,
        ReserveOutcome::Waiting(arrival, reply) => {
            Waiting { ledger, arrival, reply, has_reply: false }.wait(wait_max).await?
        }
    };
    Ok(ticket(ledger.clone(), id))
}
