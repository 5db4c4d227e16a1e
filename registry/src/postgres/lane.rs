//! A lane: one connection, and one batch of units in flight. It takes what is queued, leaves units that change the same
//! thing to the next batch, and sends nothing while it does not know whether a batch was committed.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use greenroom_protocol::ContentHash;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::audit::head::HeadKind;
use crate::cluster::LeaseStatus;
use crate::error::StoreError;
use crate::group_commit::{BATCH_LENGTH_MAX, CommandReceiver};
use crate::postgres::audit::lane_chain::LaneChain;
use crate::postgres::command::LaneCommand;
use crate::postgres::handle::StoreHandle;
use crate::postgres::link::Link;
use crate::postgres::unit::QueuedUnit;
use crate::postgres::unit::footprint::Footprint;
use crate::postgres::unit::run::ChangeRun;
use crate::runs::RunRecord;

use batch::{KnownLease, LaneBatch, UnitRecords};
use plain::PlainBatch;
use records::{NextRun, RecordCache};
use result::{Committed, PlainCommitted, Tails, TipRow};

mod batch;
mod finish;
mod plain;
mod records;
mod result;
mod units_json;

/// How often the head of the chain is signed.
pub(super) const SIGN_INTERVAL: Duration = Duration::from_secs(10);
/// Bytes of the texts of one batch; a batch has at least one unit.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a lane waits after a batch that has failed.
const FAILURE_DELAY: Duration = Duration::from_millis(200);
/// Principals of which a lane remembers that they are stored.
const STORED_PRINCIPALS_MAX: usize = 10_000;

/// A batch that is durable: its result, and for each unit its records in the chain and its run.
struct Written {
    committed: Committed,
    records: Vec<UnitRecords>,
    runs: Vec<Option<NextRun>>,
}

/// A lane.
pub(super) struct Lane {
    store: StoreHandle,
    link: Link,
    chain: LaneChain,
    tails: Tails,
    records: RecordCache,
    /// The hashes of principals that are stored.
    principals: HashSet<ContentHash>,
    queue: VecDeque<LaneCommand>,
    /// What remains of a batch that has failed.
    retained: Vec<QueuedUnit>,
    /// The store is being closed, so nothing waits for a server that is away any more.
    is_closing: bool,
}

impl Lane {
    /// A lane with the chain of this number.
    pub(super) fn new(store: StoreHandle, lane: i32, chain: u64) -> Result<Self, StoreError> {
        let link = Link::new(store.options.clone(), store.pod.id, lane);
        let chain = LaneChain::new(chain, store.signer.for_chain(&store.database, chain));
        let (tails, records, principals) = (result::tails()?, RecordCache::default(), HashSet::new());
        let (queue, retained, is_closing) = (VecDeque::new(), Vec::new(), false);
        Ok(Self { store, link, chain, tails, records, principals, queue, retained, is_closing })
    }

    /// Writes until the store is closed.
    pub(super) async fn run(mut self, mut commands: CommandReceiver<LaneCommand>) -> Result<(), StoreError> {
        let mut sign_at = Instant::now() + SIGN_INTERVAL;
        loop {
            let now = Instant::now();
            if now >= sign_at {
                self.sign(HeadKind::Running);
                sign_at = now + SIGN_INTERVAL;
            }
            let until = match (self.queue.is_empty(), self.retained.is_empty()) {
                (true, true) => sign_at,
                (true, false) => now + FAILURE_DELAY,
                // Units that were left to this batch do not wait for others.
                (false, _) => now,
            };
            let mut received = Vec::new();
            let has_callers = commands.next_batch(&mut received, until).await;
            self.is_closing |= received.iter().any(|command| matches!(command, LaneCommand::Close(_)));
            self.queue.extend(received);
            if !has_callers {
                break;
            }
            self.write_next().await?;
            if let Some(LaneCommand::Close(_)) = self.queue.front() {
                break;
            }
        }
        commands.close();
        let mut rest = Vec::new();
        while commands.next_batch(&mut rest, Instant::now() + FAILURE_DELAY).await {}
        self.end(rest).await
    }

    /// Writes what is queued, also after the command that closes the store, and signs the end of the chain.
    async fn end(&mut self, rest: Vec<LaneCommand>) -> Result<(), StoreError> {
        let mut close = None;
        self.is_closing = true;
        let queue: VecDeque<_> = std::mem::take(&mut self.queue).into_iter().chain(rest).collect();
        for command in queue {
            match command {
                LaneCommand::Close(reply) => close = Some(reply),
                other => self.queue.push_back(other),
            }
        }
        while !self.queue.is_empty() {
            self.write_next().await?;
        }
        // The retained part of a failed batch has a last attempt.
        self.write(Vec::new()).await?;
        self.sign(HeadKind::Closed);
        if let Some(reply) = close {
            reply.send(Ok(()));
        }
        Ok(())
    }

    fn sign(&mut self, kind: HeadKind) {
        if let Some(head) = self.chain.sign(kind, self.store.clock.now()) {
            self.store.add_head(self.chain.chain, head);
        }
    }

    /// Writes the next batch of the queue, and replies to the callers that wait for what is durable then.
    async fn write_next(&mut self) -> Result<(), StoreError> {
        let units = self.take_units();
        if !units.is_empty() || !self.retained.is_empty() {
            self.write(units).await?;
        }
        while let Some(LaneCommand::Flush(_)) = self.queue.front() {
            let Some(LaneCommand::Flush(reply)) = self.queue.pop_front() else { break };
            let is_written = self.retained.is_empty();
            reply.send(if is_written { Ok(()) } else { Err(StoreError::Failed("a commit has failed".to_owned())) });
        }
        Ok(())
    }

    /// Takes the units of the next batch: those that do not change what a unit before them changes.
    fn take_units(&mut self) -> Vec<QueuedUnit> {
        let mut footprint = Footprint::default();
        let (mut units, mut left, mut bytes) = (Vec::new(), VecDeque::new(), 0);
        while let Some(command) = self.queue.pop_front() {
            let mut unit = match command {
                LaneCommand::Unit(unit) => unit,
                // What is queued after them waits too.
                other @ (LaneCommand::Flush(_) | LaneCommand::Close(_)) => {
                    left.push_back(other);
                    break;
                }
            };
            if unit.is_abandoned() {
                unit.drop_requests();
            }
            let size = unit.text_bytes();
            let has_room = units.is_empty() || units.len() < BATCH_LENGTH_MAX && bytes + size <= BATCH_BYTES_MAX;
            if footprint.admit(&unit, |run| self.store.root_of(run)) && has_room {
                bytes += size;
                units.push(*unit);
            } else {
                left.push_back(LaneCommand::Unit(unit));
            }
            if !has_room {
                break;
            }
        }
        left.append(&mut self.queue);
        self.queue = left;
        units
    }

    /// Writes a batch, and replies to its callers.
    async fn write(&mut self, units: Vec<QueuedUnit>) -> Result<(), StoreError> {
        let units: Vec<_> = std::mem::take(&mut self.retained).into_iter().chain(units).collect();
        if units.is_empty() {
            return Ok(());
        }
        let outcome = match self.try_write(&units).await {
            // Nothing that follows from the batch is released before it is known that the pod lives.
            Ok(written) => match self.store.wait_released().await {
                // Another pod continues what this batch has written.
                LeaseStatus::Dead => Err(StoreError::OutcomeUnknown),
                LeaseStatus::Live | LeaseStatus::Lapsed => Ok(written),
            },
            // From one that has failed nothing follows, so its callers learn the reason at once.
            Err(error) => Err(error),
        };
        let error = match outcome {
            Ok(written) => {
                self.finish(units, written).await;
                return Ok(());
            }
            Err(error) => error,
        };
        tracing::error!(error = %error, "a batch failed, and its callers are rejected");
        let is_known = !matches!(error, StoreError::OutcomeUnknown);
        let is_repeated = |unit: &QueuedUnit| !self.is_closing && unit.outlasts(&error);
        let (repeated, failed): (Vec<_>, Vec<_>) = units.into_iter().partition(is_repeated);
        let remaining = failed.into_iter().filter_map(|unit| unit.fail(&error));
        self.retained.extend(remaining.filter(|_| is_known));
        // They are written before what was submitted after them.
        for unit in repeated.into_iter().rev() {
            self.queue.push_front(LaneCommand::Unit(Box::new(unit)));
        }
        if matches!(error, StoreError::PodDead) {
            self.store.on_dead();
        }
        match error {
            // A chain whose tip is not known cannot be continued.
            StoreError::PodDead | StoreError::OutcomeUnknown => Err(error),
            _ => {
                sleep(FAILURE_DELAY).await;
                Ok(())
            }
        }
    }

    /// Sends a batch.
    async fn try_write(&mut self, units: &[QueuedUnit]) -> Result<Written, StoreError> {
        self.prefetch(units).await?;
        let runs: Vec<_> = units.iter().map(|unit| self.next_run(unit)).collect();
        let mut batch = LaneBatch::new(self.chain.chain, self.chain.tip, &self.tails);
        let mut records = Vec::with_capacity(units.len());
        for (index, (unit, run)) in units.iter().zip(&runs).enumerate() {
            let lease = match &unit.run {
                Some(ChangeRun::Claim { root, .. }) => {
                    let leases = &self.store.leases;
                    KnownLease { is_leased: leases.is_leased(root, unit.at), last_activity: leases.last_activity(root) }
                }
                Some(ChangeRun::Create(_) | ChangeRun::Append { .. } | ChangeRun::Release { .. }) | None => {
                    KnownLease::default()
                }
            };
            records.push(batch.add(index, unit, run.as_ref(), lease)?);
        }
        if let Some(plain) = PlainBatch::new(&batch, &self.principals)
            && let Some(result) = self.link.execute_whole(&plain).await?
        {
            let PlainCommitted { numbers } = parse_result(&result)?;
            let tip = TipRow { number: batch.tip.number, hash: batch.tip.hash };
            let (refused, created, claimed) = (Vec::new(), plain.created(numbers), Vec::new());
            let new_principals: Vec<_> = plain.principals().collect();
            if self.principals.len().saturating_add(new_principals.len()) > STORED_PRINCIPALS_MAX {
                self.principals.clear();
            }
            self.principals.extend(new_principals);
            return Ok(Written { committed: Committed { refused, created, claimed, tip: Some(tip) }, records, runs });
        }
        let committed = parse_result(&self.link.execute(&batch).await?)?;
        Ok(Written { committed, records, runs })
    }

    /// Reads the records of the runs that the batch appends to, as far as they are not cached.
    async fn prefetch(&mut self, units: &[QueuedUnit]) -> Result<(), StoreError> {
        let missing: Vec<&str> = units
            .iter()
            .filter_map(|unit| match &unit.run {
                Some(ChangeRun::Append { run, fence, after, .. }) if self.records.at(run, *fence, *after).is_none() => {
                    Some(run.as_str())
                }
                Some(_) | None => None,
            })
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        if self.read_records(&missing).await.is_ok() {
            return Ok(());
        }
        // The connection may have been lost since the last batch.
        self.link.disconnect();
        self.read_records(&missing).await.inspect_err(|_| self.link.disconnect())
    }

    async fn read_records(&mut self, runs: &[&str]) -> Result<(), StoreError> {
        self.records.prefetch(self.link.reader().await?, runs).await
    }

    /// The run of a unit after the unit, if the unit fits what is known of the run.
    fn next_run(&self, unit: &QueuedUnit) -> Option<NextRun> {
        match &unit.run {
            Some(ChangeRun::Create(create)) => {
                let record = RunRecord::with_entries(&create.new, &create.entries.changes, unit.at);
                Some(NextRun { number: None, record })
            }
            Some(ChangeRun::Append { run, fence, after, entries }) => {
                let (number, mut record) = self.records.at(run, *fence, *after)?.clone();
                record.append(&entries.changes, unit.at);
                Some(NextRun { number: Some(number), record })
            }
            Some(ChangeRun::Claim { .. } | ChangeRun::Release { .. }) | None => None,
        }
    }
}

/// Reads the result of a batch, which is committed.
fn parse_result<T: DeserializeOwned>(result: &str) -> Result<T, StoreError> {
    serde_json::from_str(result).map_err(|error| {
        tracing::error!(error = %error, "the result of a batch cannot be read");
        StoreError::OutcomeUnknown
    })
}
