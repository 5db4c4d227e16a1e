//! The data of the in-memory audit: the chain and its open entries.

use std::collections::BTreeSet;

use greenroom_protocol as protocol;
use protocol::Timestamp;
use protocol::audit::Event;

use crate::audit::chain::{ChainRow, ChainTip, EventJson};
use crate::audit::head::SignedHead;
use crate::audit::{AuditScope, AuditSeq, EntrySubject};
use crate::error::StoreError;

/// A record of the chain.
#[derive(Debug)]
pub(super) struct StoredEntry {
    pub(super) row: ChainRow,
    pub(super) at: Timestamp,
    /// None for an event of the platform.
    pub(super) subject: Option<EntrySubject>,
}

impl StoredEntry {
    /// True if a reader of this scope may see it.
    pub(super) fn is_in(&self, scope: &AuditScope) -> bool {
        match &self.subject {
            Some(subject) => scope.tenant().is_none_or(|tenant| *tenant == subject.tenant),
            None => scope.has_system_events(),
        }
    }
}

/// The chain with its open entries.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) tip: ChainTip,
    pub(super) rows: Vec<StoredEntry>,
    pub(super) open: BTreeSet<u64>,
    pub(super) anchor: Option<SignedHead>,
}

impl Default for Chain {
    fn default() -> Self {
        Self { tip: ChainTip::genesis(), rows: Vec::new(), open: BTreeSet::new(), anchor: None }
    }
}

impl Chain {
    /// Appends a record, and returns its number.
    pub(super) fn append(
        &mut self,
        event: &Event,
        subject: Option<EntrySubject>,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        let row = self.tip.append(at, &EventJson::from_event(event)?);
        let number = row.number;
        self.rows.push(StoredEntry { row, at, subject });
        Ok(number)
    }

    /// Appends the record that opens an entry.
    pub(super) fn open(&mut self, event: &Event, subject: EntrySubject, at: Timestamp) -> Result<u64, StoreError> {
        let number = self.append(event, Some(subject), at)?;
        self.open.insert(number);
        Ok(number)
    }

    /// Appends the record that closes an entry.
    pub(super) fn close(
        &mut self,
        opened: AuditSeq,
        event: &Event,
        subject: EntrySubject,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.open.remove(&opened.0);
        self.append(event, Some(subject), at).map(drop)
    }
}
