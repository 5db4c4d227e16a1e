//! The audit in memory: the same chain, signed when it is verified.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::Clock;
use protocol::Timestamp;
use protocol::audit::{Closing, Event, Opening, Record};

use crate::audit::chain::{ChainRow, ChainTip, EventJson};
use crate::audit::head::{HeadKind, SignedHead};
use crate::audit::signer::Signer;
use crate::audit::verify::{ChainReport, ChainVerifier};
use crate::audit::{
    AuditError, AuditLog, AuditPage, AuditScope, AuditSeq, EntrySubject, OpenAuditEntry, PendingAuditEntry, PruneReport,
};
use crate::error::StoreError;
use crate::group_commit::CommitTiming;
use crate::in_memory::shared::{Shared, lock};

#[derive(Debug)]
struct StoredEntry {
    row: ChainRow,
    at: Timestamp,
    /// None for an event of the platform.
    subject: Option<EntrySubject>,
}

impl StoredEntry {
    fn is_in(&self, scope: &AuditScope) -> bool {
        match &self.subject {
            Some(subject) => scope.tenant().is_none_or(|tenant| *tenant == subject.tenant),
            None => scope.has_system_events(),
        }
    }
}

#[derive(Debug)]
struct Chain {
    tip: ChainTip,
    rows: Vec<StoredEntry>,
    open: BTreeSet<u64>,
    anchor: Option<SignedHead>,
}

impl Chain {
    fn append(&mut self, event: &Event, subject: Option<EntrySubject>, at: Timestamp) -> Result<u64, StoreError> {
        let row = self.tip.append(at, &EventJson::from_event(event)?);
        let number = row.number;
        self.rows.push(StoredEntry { row, at, subject });
        Ok(number)
    }
}

/// The audit.
pub(super) struct InMemoryAudit {
    shared: Arc<Shared>,
    chain: Arc<Mutex<Chain>>,
    signer: Signer,
    clock: Arc<dyn Clock>,
}

impl InMemoryAudit {
    pub(super) fn new(shared: Arc<Shared>, signer: Signer, clock: Arc<dyn Clock>) -> Self {
        let chain = Chain { tip: ChainTip::genesis(), rows: Vec::new(), open: BTreeSet::new(), anchor: None };
        Self { shared, chain: Arc::new(Mutex::new(chain)), signer, clock }
    }

    fn entry(&self, number: u64, subject: EntrySubject, at: Timestamp) -> OpenAuditEntry {
        let (chain, clock, name) = (self.chain.clone(), self.clock.clone(), subject.clone());
        let interrupt = move |AuditSeq(opened): AuditSeq| {
            let mut chain = lock(&chain);
            chain.open.remove(&opened);
            if let Err(error) = chain.append(&Event::Interrupted { opened }, Some(name), clock.now()) {
                tracing::error!(audit.opened = opened, error = %error, "a dropped audit entry cannot be closed");
            }
        };
        OpenAuditEntry::new(AuditSeq(number), subject, at, Some(Box::new(interrupt)))
    }
}

#[async_trait]
impl AuditLog for InMemoryAudit {
    async fn submit(&self, opening: Opening, _: CommitTiming, now: Timestamp) -> Result<PendingAuditEntry, AuditError> {
        self.shared.check_open()?;
        let subject = EntrySubject::from_opening(&opening);
        let number = {
            let mut chain = lock(&self.chain);
            let number = chain.append(&Event::Opened(opening), Some(subject.clone()), now)?;
            chain.open.insert(number);
            number
        };
        Ok(PendingAuditEntry::resolved(self.entry(number, subject, now)))
    }

    async fn close(&self, mut entry: OpenAuditEntry, closing: Closing, now: Timestamp) {
        entry.disarm();
        let AuditSeq(opened) = entry.opened();
        let mut chain = lock(&self.chain);
        chain.open.remove(&opened);
        let closed = chain.append(&Event::Closed { opened, closing }, Some(entry.subject().clone()), now);
        if let Err(error) = closed {
            tracing::error!(audit.opened = opened, error = %error, "an audit entry cannot be closed");
        }
    }

    async fn record_system_event(&self, subject: &str, message: &str, now: Timestamp) -> Result<AuditSeq, AuditError> {
        self.shared.check_open()?;
        let event = Event::System { subject: subject.to_owned(), message: message.to_owned() };
        Ok(AuditSeq(lock(&self.chain).append(&event, None, now)?))
    }

    async fn read(&self, scope: &AuditScope, before: Option<AuditSeq>, limit: u32) -> Result<AuditPage, AuditError> {
        let before = before.map_or(u64::MAX, |AuditSeq(number)| number);
        let chain = lock(&self.chain);
        let mut rows = chain.rows.iter().rev().filter(|entry| entry.row.number < before && entry.is_in(scope));
        let page = rows.by_ref().take(limit as usize);
        let records = page.map(|entry| parse(&entry.row)).collect::<Result<Vec<_>, _>>()?;
        let is_more = rows.next().is_some();
        let next = records.last().filter(|_| is_more).map(|record| AuditSeq(record.number));
        Ok(AuditPage { records, next })
    }

    async fn find(&self, scope: &AuditScope, id: &str) -> Result<Vec<Record>, AuditError> {
        let number = id.parse::<u64>().ok();
        let matches = |entry: &&StoredEntry| match number {
            Some(number) => entry.row.number == number,
            None => entry.subject.as_ref().is_some_and(|subject| subject.request.as_str() == id),
        };
        let chain = lock(&self.chain);
        Ok(chain
            .rows
            .iter()
            .filter(|entry| entry.is_in(scope))
            .filter(matches)
            .map(|entry| parse(&entry.row))
            .collect::<Result<_, _>>()?)
    }

    async fn verify(&self) -> Result<ChainReport, AuditError> {
        let chain = lock(&self.chain);
        let head = self.signer.sign(HeadKind::Running, chain.tip, self.clock.now());
        let mut verifier = ChainVerifier::new(
            self.signer.chain_key().verifying_key(),
            chain.anchor.iter().cloned().chain([head]).collect(),
        );
        chain.rows.iter().for_each(|entry| verifier.verify_next(&entry.row));
        Ok(verifier.finish())
    }

    async fn prune(&self, before: Timestamp, now: Timestamp) -> Result<PruneReport, AuditError> {
        self.shared.check_open()?;
        let mut chain = lock(&self.chain);
        let oldest_open = chain.open.first().copied().unwrap_or(u64::MAX);
        let is_old = |entry: &StoredEntry| entry.at < before && entry.row.number < oldest_open;
        let records = chain.rows.iter().take_while(|entry| is_old(entry)).count();
        let Some(last) = records.checked_sub(1).and_then(|last| chain.rows.get(last)) else {
            return Ok(PruneReport::default());
        };
        let tip = ChainTip { number: last.row.number, hash: last.row.hash };
        chain.anchor = Some(self.signer.sign(HeadKind::Anchor, tip, now));
        chain.rows.drain(..records);
        let message = format!("{records} records pruned, through {}", tip.number);
        chain.append(&Event::System { subject: "audit".into(), message }, None, now)?;
        Ok(PruneReport { records: records as u64, through: AuditSeq(tip.number) })
    }
}

fn parse(row: &ChainRow) -> Result<Record, StoreError> {
    Ok(serde_json::from_str(&row.record)?)
}
