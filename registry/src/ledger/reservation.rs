//! The permits of a call that costs money: a reservation before it is sent, its settlement afterwards.

use greenroom_protocol as protocol;
use protocol::{CallKey, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ledger::{Account, Amount, Budget, Settlement};

/// The number of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct ReservationId(pub(crate) u64);

/// A reservation that is not settled yet, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReservationRecord {
    pub(crate) id: ReservationId,
    pub(crate) key: CallKey,
    pub(crate) account: Account,
    /// The budgets in which it is reserved, each once.
    pub(crate) budgets: Vec<Budget>,
    pub(crate) upper_bound: Amount,
    pub(crate) at: Timestamp,
}

/// A reservation with its settlement, as a unit writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SettlementRecord {
    pub(crate) reservation: ReservationRecord,
    pub(crate) settlement: Settlement,
    pub(crate) at: Timestamp,
}

/// Called with the number of a reservation that is dropped before it is settled, and with its settlement.
pub(crate) type OnDrop = Box<dyn FnOnce(ReservationId, Settlement) + Send + Sync>;

/// Called with the number of a ticket that is dropped before a unit has taken it.
pub(crate) type OnTicketDropped = Box<dyn FnOnce(ReservationId) + Send + Sync>;

/// The worst case of a call that has waited for the reservations of others. It counts in its budgets, so that no other
/// call takes what the call has waited for, but only in the memory of this process: the unit that takes the ticket makes
/// the [`Reservation`] of it. If the ticket is dropped, its amount is free again.
#[must_use = "a ticket is for the unit that reserves"]
pub struct ReserveTicket {
    id: ReservationId,
    on_drop: Option<OnTicketDropped>,
}

impl ReserveTicket {
    pub(crate) const fn new(id: ReservationId, on_drop: OnTicketDropped) -> Self {
        Self { id, on_drop: Some(on_drop) }
    }

    /// Disables the callback, because the reservation is being confirmed.
    pub(crate) fn into_id(mut self) -> ReservationId {
        self.on_drop = None;
        self.id
    }
}

impl Drop for ReserveTicket {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            on_drop(self.id);
        }
    }
}

impl std::fmt::Debug for ReserveTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReserveTicket").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Money that is durably reserved for one call. A model call borrows the reservation and
/// [`crate::ledger::Ledger::settle`] consumes it. A reservation that is dropped, or that was open at a crash, is settled
/// as estimated. Only a unit of the stores yields it:
///
/// ```compile_fail
/// use greenroom_registry::ledger::Reservation;
/// let reservation = Reservation { id: todo!(), key: todo!(), upper_bound: todo!(), drop_as: todo!(), on_drop: None };
/// ```
///
/// ```compile_fail
/// use greenroom_registry::ledger::Reservation;
/// let reservation = Reservation::new(todo!(), todo!(), todo!(), None);
/// ```
#[must_use = "a reservation must be settled"]
pub struct Reservation {
    id: ReservationId,
    key: CallKey,
    upper_bound: Amount,
    /// A reservation that never reached its caller is not used.
    drop_as: Settlement,
    on_drop: Option<OnDrop>,
}

impl Reservation {
    pub(crate) const fn new(id: ReservationId, key: CallKey, upper_bound: Amount, on_drop: Option<OnDrop>) -> Self {
        Self { id, key, upper_bound, drop_as: Settlement::Unused, on_drop }
    }

    /// A reservation for tests of other crates.
    #[cfg(feature = "testing")]
    pub const fn for_test(key: CallKey, upper_bound: Amount) -> Self {
        Self::new(ReservationId(0), key, upper_bound, None)
    }

    /// The caller has it, so the call may be sent from now on.
    pub(crate) const fn deliver(&mut self) {
        self.drop_as = Settlement::Estimated;
    }

    /// Disables the callback, because the reservation is being settled.
    pub(crate) fn into_id(mut self) -> ReservationId {
        self.on_drop = None;
        self.id
    }

    /// The call that the reservation is for.
    #[must_use]
    pub const fn key(&self) -> &CallKey {
        &self.key
    }

    /// The maximum usage of the call.
    #[must_use]
    pub const fn upper_bound(&self) -> Amount {
        self.upper_bound
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            on_drop(self.id, self.drop_as);
        }
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation")
            .field("key", &self.key)
            .field("upper_bound", &self.upper_bound)
            .finish_non_exhaustive()
    }
}

/// Called with a settlement that is dropped before a unit has taken it.
pub(crate) type OnSettlementDropped = Box<dyn FnOnce(SettlementRecord) + Send + Sync>;

/// The settlement of a call, which a unit makes durable: for a step, the one that records its end. If it is
/// dropped, because what the call has produced is dropped too, the money is booked all the same.
#[must_use = "a settlement belongs into the unit that records the end of its call"]
pub struct Settled {
    amount: Amount,
    record: Option<SettlementRecord>,
    on_drop: Option<OnSettlementDropped>,
}

impl Settled {
    /// The settlement of an open reservation, which `write` writes if no unit takes it; without a record, of one that is not
    /// open any more.
    pub(crate) fn new(
        record: Option<SettlementRecord>,
        write: impl FnOnce(SettlementRecord) + Send + Sync + 'static,
    ) -> Self {
        let amount = record.as_ref().map(SettlementRecord::amount).unwrap_or_default();
        Self { amount, record, on_drop: Some(Box::new(write)) }
    }

    /// The amount that was charged.
    #[must_use]
    pub const fn amount(&self) -> Amount {
        self.amount
    }

    /// Moves the record into its unit.
    pub(crate) fn into_record(mut self) -> Option<SettlementRecord> {
        self.record.take()
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        if let (Some(record), Some(on_drop)) = (self.record.take(), self.on_drop.take()) {
            on_drop(record);
        }
    }
}

impl std::fmt::Debug for Settled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settled").field("amount", &self.amount).finish_non_exhaustive()
    }
}
