//! The accounts' lane: one batch at a time, with settlements, reservations and what is read of the accounts. Every
//! reservation of this pod is decided here, so that the accounts that many calls share are locked once for all of them.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cluster::LeaseStatus;
use crate::error::StoreError;
use crate::group_commit::{CommandReceiver, ReplySender};
use crate::ledger::{Budget, Charged};
use crate::postgres::command::AccountsCommand;
use crate::postgres::handle::StoreHandle;
use crate::postgres::link::Link;

use batch::AccountsResult;
use callers::{Batch, Finished};
use charged::{ChargedQuery, ChargedRows};
use waiting::{RETRY_INTERVAL, WaitingCall, WaitingCalls};

mod batch;
mod callers;
mod charged;
mod waiting;

/// The number of the accounts' lane, which has no audit chain.
const ACCOUNTS_LANE: i32 = -1;
/// How often the counts of requests are written.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Settlements that one batch shows in the accounts; if it has shown so many, there may be more.
const SHOWN_MAX: usize = 2_000;
/// How long the lane waits after a batch that has failed.
const FAILURE_DELAY: Duration = Duration::from_millis(200);

/// The accounts' lane.
pub(super) struct AccountsLane {
    store: StoreHandle,
    link: Link,
    waiting: WaitingCalls,
    /// What remains of a batch that has failed.
    retained: Batch,
    /// Something was settled, so the waiting calls are decided again with the next batch.
    has_settled: bool,
    retry_at: Instant,
    /// When the counts of requests are written, if no batch has written them before.
    flush_at: Instant,
}

impl AccountsLane {
    pub(super) fn new(store: StoreHandle) -> Self {
        let link = Link::new(store.options.clone(), store.pod.id, ACCOUNTS_LANE);
        Self {
            store,
            link,
            waiting: WaitingCalls::default(),
            retained: Batch::default(),
            has_settled: false,
            retry_at: Instant::now(),
            flush_at: Instant::now() + FLUSH_INTERVAL,
        }
    }

    /// Writes until the store is closed.
    pub(super) async fn run(mut self, mut commands: CommandReceiver<AccountsCommand>) -> Result<(), StoreError> {
        loop {
            let mut received = Vec::new();
            let has_callers = commands.next_batch(&mut received, self.next_at()).await;
            let close = self.write(received).await?;
            if close.is_none() && has_callers {
                continue;
            }
            commands.close();
            self.flush_at = Instant::now();
            let mut rest = Vec::new();
            while commands.next_batch(&mut rest, Instant::now() + FLUSH_INTERVAL).await {}
            let close = close.or(self.write(rest).await?);
            self.waiting.end();
            if let Some(reply) = close {
                reply.send(Ok(()));
            }
            return Ok(());
        }
    }

    /// When the next batch is written, if no command starts one before.
    fn next_at(&self) -> Instant {
        let now = Instant::now();
        if self.has_settled && !self.waiting.is_empty() {
            return now;
        }
        self.waiting.next_at(now).map_or(self.flush_at, |at| at.min(self.flush_at))
    }

    /// Writes a batch of these commands, and then replies to those that only read. Returns the caller that closes the
    /// store, if it is among them.
    async fn write(&mut self, commands: Vec<AccountsCommand>) -> Result<Option<ReplySender<()>>, StoreError> {
        self.waiting.expire(Instant::now());
        let mut batch = std::mem::take(&mut self.retained);
        for command in commands {
            batch.add(command);
        }
        let (close, charged) = (batch.close.take(), std::mem::take(&mut batch.charged));
        self.take_waiting(&mut batch);
        // What only reads writes no counts, or it would have a commit after all.
        let is_due = Instant::now() >= self.flush_at || close.is_some();
        if is_due || !batch.is_empty() {
            self.flush_at = Instant::now() + FLUSH_INTERVAL;
        }
        while !batch.is_empty() || is_due && self.store.usage.has_counted() {
            batch.encode(&self.waiting, &self.store.usage.send(), &self.store);
            batch = match self.execute(batch).await? {
                // There may be more settlements to show; a caller of a flush waits for them too.
                Some(flushes) => Batch::showing(flushes),
                None => break,
            };
        }
        self.read_charged(charged).await;
        Ok(close)
    }

    /// Reads what budgets have been charged, and replies to these callers. What they have settled before is settled.
    async fn read_charged(&mut self, callers: Vec<(Budget, ReplySender<Charged>)>) {
        if callers.is_empty() {
            return;
        }
        let query = ChargedQuery::new(callers.iter().map(|(budget, _)| budget), &self.store.reservations);
        let read = match self.try_read_charged(&query).await {
            Ok(rows) => Ok(rows),
            Err(_) => {
                // The connection may have been lost since the last batch.
                self.link.disconnect();
                self.try_read_charged(&query).await.inspect_err(|_| self.link.disconnect())
            }
        };
        let read = match self.store.wait_released().await {
            LeaseStatus::Dead => Err(StoreError::OutcomeUnknown),
            LeaseStatus::Live | LeaseStatus::Lapsed => read,
        };
        for (budget, reply) in callers {
            reply.send(read.as_ref().map(|rows| rows.charged(&budget)).map_err(StoreError::clone));
        }
    }

    async fn try_read_charged(&mut self, query: &ChargedQuery) -> Result<ChargedRows, StoreError> {
        query.read(self.link.reader().await?, self.store.pod.id).await
    }

    /// Takes the calls that have waited longest, if something may be free for them.
    fn take_waiting(&mut self, batch: &mut Batch) {
        self.has_settled |= batch.has_settlements();
        if self.waiting.is_empty() || !self.has_settled && Instant::now() < self.retry_at {
            return;
        }
        (self.has_settled, self.retry_at) = (false, Instant::now() + RETRY_INTERVAL);
        batch.retry(self.waiting.take_first());
    }

    /// Executes a batch, and replies. If there may be more settlements to show, the callers that wait for them are
    /// returned.
    async fn execute(&mut self, batch: Batch) -> Result<Option<Vec<ReplySender<()>>>, StoreError> {
        let executed = match self.link.execute(batch.json()).await {
            Ok(result) => match self.store.wait_released().await {
                // Nothing is reserved for a pod that is dead.
                LeaseStatus::Dead => Err(StoreError::OutcomeUnknown),
                LeaseStatus::Live | LeaseStatus::Lapsed => Ok(result),
            },
            Err(error) => Err(error),
        };
        let (error, is_known) = match executed.map(|text| serde_json::from_str::<AccountsResult>(&text)) {
            Ok(Ok(result)) => {
                self.store.usage.on_written();
                return Ok(self.finish(batch, &result));
            }
            // It is committed, but its result cannot be read.
            Ok(Err(error)) => {
                tracing::error!(error = %error, "the result of a batch of the accounts cannot be read");
                (StoreError::OutcomeUnknown, false)
            }
            Err(StoreError::OutcomeUnknown) => (StoreError::OutcomeUnknown, false),
            Err(error) => (error, true),
        };
        tracing::error!(error = %error, "a batch of the accounts failed, and its callers are rejected");
        if is_known {
            self.store.usage.on_failed();
        } else {
            self.store.usage.on_written();
        }
        self.retained = batch.fail(&error, is_known, &self.store);
        match error {
            StoreError::PodDead => {
                self.store.on_dead();
                Err(error)
            }
            _ => {
                sleep(FAILURE_DELAY).await;
                Ok(None)
            }
        }
    }

    /// Replies to the callers of a batch that is durable.
    fn finish(&mut self, batch: Batch, result: &AccountsResult) -> Option<Vec<ReplySender<()>>> {
        let Finished { refused, flushes, has_served } = batch.finish(result, &self.store);
        self.has_settled |= result.settlements > 0 || has_served;
        for call in refused {
            self.wait_or_refuse(call);
        }
        if result.settlements >= SHOWN_MAX {
            return Some(flushes);
        }
        flushes.into_iter().for_each(|reply| reply.send(Ok(())));
        None
    }

    /// A call that would fit but for the reservations of others waits for them, as long as it may.
    fn wait_or_refuse(&mut self, call: WaitingCall) {
        let may_wait = call.error.may_fit_later() && Instant::now() < call.until;
        let refused = if may_wait { self.waiting.insert(call) } else { Some(call) };
        if let Some(WaitingCall { reply, error, .. }) = refused {
            // Its caller may not wait any more.
            let _ = reply.send(Err(error));
        }
    }
}
