//! The audit in memory: the same chain, signed when it is verified.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::Timestamp;
use protocol::audit::Event;

use crate::audit::chain::{ChainRow, ChainTip};
use crate::audit::head::HeadKind;
use crate::audit::signer::Signer;
use crate::audit::verify::{ChainReport, ChainVerifier};
use crate::audit::{AuditError, AuditLog, AuditPage, AuditScope, AuditSeq, ListedRecord, PruneReport};
use crate::error::StoreError;
use crate::in_memory::audit_data::StoredEntry;
use crate::in_memory::shared::Shared;

/// The audit.
pub(super) struct InMemoryAudit {
    pub(super) shared: Arc<Shared>,
    pub(super) signer: Signer,
}

#[async_trait]
impl AuditLog for InMemoryAudit {
    async fn read(&self, scope: &AuditScope, before: Option<AuditSeq>, limit: u32) -> Result<AuditPage, AuditError> {
        let before = before.map_or(u64::MAX, |AuditSeq(number)| number);
        let chain = self.shared.audit();
        let mut rows = chain.rows.iter().rev().filter(|entry| entry.row.number < before && entry.is_in(scope));
        let page = rows.by_ref().take(limit as usize);
        let records = page.map(|entry| parse(&entry.row)).collect::<Result<Vec<_>, _>>()?;
        let is_more = rows.next().is_some();
        let next = records.last().filter(|_| is_more).map(|record| AuditSeq(record.number));
        Ok(AuditPage { records, next })
    }

    async fn find(&self, scope: &AuditScope, id: &str) -> Result<Vec<ListedRecord>, AuditError> {
        let number = id.parse::<u64>().ok();
        let matches = |entry: &&StoredEntry| match number {
            Some(number) => entry.row.number == number,
            None => entry.subject.as_ref().is_some_and(|subject| subject.request.as_str() == id),
        };
        let chain = self.shared.audit();
        Ok(chain
            .rows
            .iter()
            .filter(|entry| entry.is_in(scope))
            .filter(matches)
            .map(|entry| parse(&entry.row))
            .collect::<Result<_, _>>()?)
    }

    async fn verify(&self) -> Result<ChainReport, AuditError> {
        let chain = self.shared.audit();
        let head = self.signer.sign(HeadKind::Running, chain.tip, self.shared.clock.now());
        let mut verifier = ChainVerifier::new(
            self.signer.chain_key().verifying_key(),
            chain.anchor.iter().cloned().chain([head]).collect(),
        );
        chain.rows.iter().for_each(|entry| verifier.verify_next(&entry.row));
        Ok(verifier.finish())
    }
}

impl InMemoryAudit {
    pub(super) fn prune(&self, before: Timestamp, now: Timestamp) -> Result<PruneReport, StoreError> {
        let mut chain = self.shared.audit();
        let oldest_open = chain.open.first().copied().unwrap_or(u64::MAX);
        let is_old = |entry: &StoredEntry| entry.at < before && entry.row.number < oldest_open;
        let records = chain.rows.iter().take_while(|entry| is_old(entry)).count();
        let Some(last) = records.checked_sub(1).and_then(|last| chain.rows.get(last)) else {
            return Ok(PruneReport::default());
        };
        let tip = ChainTip { number: last.row.number, hash: last.row.hash };
        chain.anchor = Some(self.signer.sign(HeadKind::Anchor, tip, now));
        chain.rows.drain(..records);
        let message = format!("{records} records are pruned, through {}", tip.number);
        chain.append(&Event::System { subject: "audit".into(), message }, None, now)?;
        Ok(PruneReport { records: records as u64, through: AuditSeq(tip.number) })
    }
}

fn parse(row: &ChainRow) -> Result<ListedRecord, StoreError> {
    Ok(ListedRecord::of_only_chain(serde_json::from_str(&row.record)?))
}
