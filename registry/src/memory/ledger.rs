//! Usage and money in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{CallKey, Timestamp};

use crate::error::StoreError;
use crate::ledger::book::Book;
use crate::ledger::deltas::{Spend, SpendKey};
use crate::ledger::tally::day_of;
use crate::ledger::{Account, Amount, CostRow, Ledger, Limit, Refusal, Reservation, Scope, Settlement, Usage};
use crate::memory::{Shared, lock};

#[derive(Debug, Default)]
struct Books {
    book: Book,
    costs: BTreeMap<SpendKey, Spend>,
}

/// The ledger.
#[derive(Debug)]
pub(super) struct MemoryLedger {
    shared: Arc<Shared>,
    books: Mutex<Books>,
}

impl MemoryLedger {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, books: Mutex::default() }
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn count(&self, who: &Scope, now: Timestamp) -> Result<Usage, StoreError> {
        self.shared.admit()?;
        Ok(lock(&self.books).book.count(who, now))
    }

    async fn usage(&self, who: &Scope, now: Timestamp) -> Result<Usage, StoreError> {
        Ok(lock(&self.books).book.usage(who, now))
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
        lock(&self.books).book.reserve(account, limits, worst, key, now)
    }

    async fn settle(
        &self,
        reservation: Reservation,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Amount, StoreError> {
        self.shared.admit()?;
        let mut books = lock(&self.books);
        let booked = books.book.settle(reservation.id(), settlement, now);
        for (key, spend) in books.book.take_deltas().spend {
            books.costs.entry(key).or_default().add(&spend);
        }
        Ok(booked)
    }

    async fn costs(&self, since: Option<Timestamp>) -> Result<Vec<CostRow>, StoreError> {
        let first = since.map_or(i64::MIN, day_of);
        let books = lock(&self.books);
        Ok(books.costs.iter().filter(|(key, _)| key.day >= first).map(|(key, spend)| key.row(spend)).collect())
    }
}
