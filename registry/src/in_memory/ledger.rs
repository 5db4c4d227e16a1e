//! Usage and money in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{CallKey, Clock, Timestamp};

use crate::error::StoreError;
use crate::in_memory::{Shared, lock};
use crate::ledger::deltas::{Spend, SpendKey};
use crate::ledger::state::Book;
use crate::ledger::usage::day_of;
use crate::ledger::{
    Account, Amount, CostRow, Ledger, Limit, Periods, Refusal, Reservation, ReservationId, Scope, Settlement, Usage,
};

#[derive(Debug, Default)]
struct Books {
    book: Book,
    costs: BTreeMap<SpendKey, Spend>,
}

impl Books {
    fn settle(&mut self, id: ReservationId, settlement: Settlement, now: Timestamp) -> Amount {
        let booked = self.book.settle(id, settlement, now);
        for (key, spend) in self.book.take_deltas().spend {
            self.costs.entry(key).or_default().add(&spend);
        }
        booked
    }
}

/// The ledger.
pub(super) struct MemoryLedger {
    shared: Arc<Shared>,
    books: Arc<Mutex<Books>>,
    clock: Arc<dyn Clock>,
}

impl MemoryLedger {
    pub(super) fn new(shared: Arc<Shared>, clock: Arc<dyn Clock>) -> Self {
        Self { shared, books: Arc::default(), clock }
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn count(&self, who: &Scope, over: Periods, now: Timestamp) -> Result<Usage, StoreError> {
        self.shared.admit()?;
        let mut books = lock(&self.books);
        let usage = books.book.count(who, over, now);
        // Nobody writes these down.
        books.book.take_deltas();
        Ok(usage)
    }

    async fn usage(&self, who: &Scope, over: Periods, now: Timestamp) -> Result<Usage, StoreError> {
        Ok(lock(&self.books).book.usage(who, over, now))
    }

    async fn reserve(
        &self,
        account: &Account,
        limits: &[Limit],
        worst: Amount,
        key: &CallKey,
        now: Timestamp,
    ) -> Result<Reservation, Refusal> {
        self.shared.admit()?;
        let id = lock(&self.books).book.reserve(account, limits, worst, key, now)?;
        let (books, clock) = (self.books.clone(), self.clock.clone());
        let abandoned = move |id| {
            lock(&books).settle(id, Settlement::Estimated, clock.now());
        };
        Ok(Reservation::new(id, key.clone(), worst, Some(Box::new(abandoned))))
    }

    async fn settle(
        &self,
        reservation: Reservation,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Amount, StoreError> {
        self.shared.admit()?;
        Ok(lock(&self.books).settle(reservation.into_id(), settlement, now))
    }

    async fn costs(&self, since: Option<Timestamp>) -> Result<Vec<CostRow>, StoreError> {
        let first = since.map_or(i64::MIN, day_of);
        let books = lock(&self.books);
        Ok(books.costs.iter().filter(|(key, _)| key.day >= first).map(|(key, spend)| key.row(spend)).collect())
    }
}
