//! The audit in memory: the same chain, signed when it is walked.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::Clock;
use protocol::audit::{Closing, Event, Opening, Record};
use protocol::{RequestId, Timestamp};

use crate::audit::chain::{EventJson, Link, Row};
use crate::audit::head::{HeadKind, SignedHead};
use crate::audit::signer::Signer;
use crate::audit::verify::{Verdict, Walk};
use crate::audit::{AuditError, AuditLog, AuditPage, AuditSeq, Bracket, Opened, Pruned};
use crate::error::StoreError;
use crate::group_commit::Haste;
use crate::in_memory::{Shared, lock};

#[derive(Debug)]
struct Kept {
    row: Row,
    at: Timestamp,
    request: Option<RequestId>,
}

#[derive(Debug)]
struct Chain {
    link: Link,
    rows: Vec<Kept>,
    open: BTreeSet<u64>,
    anchor: Option<SignedHead>,
}

impl Chain {
    fn append(&mut self, event: &Event, request: Option<RequestId>, at: Timestamp) -> Result<u64, StoreError> {
        let row = self.link.append(at, &EventJson::of(event)?);
        let number = row.number;
        self.rows.push(Kept { row, at, request });
        Ok(number)
    }
}

/// The audit.
pub(super) struct MemoryAudit {
    shared: Arc<Shared>,
    chain: Arc<Mutex<Chain>>,
    signer: Signer,
    clock: Arc<dyn Clock>,
}

impl MemoryAudit {
    pub(super) fn new(shared: Arc<Shared>, signer: Signer, clock: Arc<dyn Clock>) -> Self {
        let chain = Chain { link: Link::genesis(), rows: Vec::new(), open: BTreeSet::new(), anchor: None };
        Self { shared, chain: Arc::new(Mutex::new(chain)), signer, clock }
    }

    fn bracket(&self, number: u64, request: RequestId, at: Timestamp) -> Bracket {
        let (chain, clock, name) = (self.chain.clone(), self.clock.clone(), request.clone());
        let abandoned = move |AuditSeq(opened): AuditSeq| {
            let mut chain = lock(&chain);
            chain.open.remove(&opened);
            if let Err(error) = chain.append(&Event::Interrupted { opened }, Some(name), clock.now()) {
                tracing::error!(audit.opened = opened, error = %error, "an abandoned record cannot be closed");
            }
        };
        Bracket::new(AuditSeq(number), request, at, Some(Box::new(abandoned)))
    }
}

#[async_trait]
impl AuditLog for MemoryAudit {
    async fn hand_in(&self, opening: Opening, _: Haste, now: Timestamp) -> Result<Opened, AuditError> {
        self.shared.admit()?;
        let request = opening.request.clone();
        let number = {
            let mut chain = lock(&self.chain);
            let number = chain.append(&Event::Opened(opening), Some(request.clone()), now)?;
            chain.open.insert(number);
            number
        };
        Ok(Opened::known(self.bracket(number, request, now)))
    }

    async fn close(&self, mut bracket: Bracket, closing: Closing, now: Timestamp) {
        bracket.defuse();
        let AuditSeq(opened) = bracket.opened();
        let mut chain = lock(&self.chain);
        chain.open.remove(&opened);
        let closed = chain.append(&Event::Closed { opened, closing }, Some(bracket.request().clone()), now);
        if let Err(error) = closed {
            tracing::error!(audit.opened = opened, error = %error, "a record cannot be closed");
        }
    }

    async fn note(&self, subject: &str, message: &str, now: Timestamp) -> Result<AuditSeq, AuditError> {
        self.shared.admit()?;
        let event = Event::Noted { subject: subject.to_owned(), message: message.to_owned() };
        Ok(AuditSeq(lock(&self.chain).append(&event, None, now)?))
    }

    async fn read(&self, before: Option<AuditSeq>, limit: u32) -> Result<AuditPage, AuditError> {
        let before = before.map_or(u64::MAX, |AuditSeq(number)| number);
        let chain = lock(&self.chain);
        let rows = chain.rows.iter().rev().filter(|kept| kept.row.number < before).take(limit as usize);
        let records = rows.map(|kept| parse(&kept.row)).collect::<Result<Vec<_>, _>>()?;
        let first = chain.rows.first().map_or(0, |kept| kept.row.number);
        let next = records.last().filter(|record| record.number > first).map(|record| AuditSeq(record.number));
        Ok(AuditPage { records, next })
    }

    async fn find(&self, id: &str) -> Result<Vec<Record>, AuditError> {
        let number = id.parse::<u64>().ok();
        let is_meant = |kept: &&Kept| match number {
            Some(number) => kept.row.number == number,
            None => kept.request.as_ref().is_some_and(|request| request.as_str() == id),
        };
        let chain = lock(&self.chain);
        Ok(chain.rows.iter().filter(is_meant).map(|kept| parse(&kept.row)).collect::<Result<_, _>>()?)
    }

    async fn verify(&self) -> Result<Verdict, AuditError> {
        let chain = lock(&self.chain);
        let now = self.signer.sign(HeadKind::Running, chain.link, self.clock.now());
        let mut walk = Walk::new(&self.signer.verifying_key(), chain.anchor.iter().cloned().chain([now]).collect());
        chain.rows.iter().for_each(|kept| walk.step(&kept.row));
        Ok(walk.end())
    }

    async fn prune(&self, before: Timestamp, now: Timestamp) -> Result<Pruned, AuditError> {
        self.shared.admit()?;
        let mut chain = lock(&self.chain);
        let oldest_open = chain.open.first().copied().unwrap_or(u64::MAX);
        let is_old = |kept: &Kept| kept.at < before && kept.row.number < oldest_open;
        let records = chain.rows.iter().take_while(|kept| is_old(kept)).count();
        let Some(last) = records.checked_sub(1).and_then(|last| chain.rows.get(last)) else {
            return Ok(Pruned::default());
        };
        let link = Link { number: last.row.number, hash: last.row.hash };
        chain.anchor = Some(self.signer.sign(HeadKind::Anchor, link, now));
        chain.rows.drain(..records);
        let message = format!("{records} records pruned, through {}", link.number);
        chain.append(&Event::Noted { subject: "audit".into(), message }, None, now)?;
        Ok(Pruned { records: records as u64, through: AuditSeq(link.number) })
    }
}

fn parse(row: &Row) -> Result<Record, StoreError> {
    Ok(serde_json::from_str(&row.record)?)
}
