//! The writer's state of the audit's hash chain: its tip is loaded and checked at the start, moved by each
//! commit, and signed at intervals.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::Timestamp;
use rusqlite::Connection;

use crate::audit::chain::{ChainRow, ChainTip, EventJson, RecordLink};
use crate::audit::chain_key::SavedHead;
use crate::audit::head::{HeadKind, SignedHead};
use crate::audit::signer::Signer;
use crate::audit::verify::ChainVerifier;
use crate::audit::{AuditSeq, ChainKey, EntrySubject};
use crate::error::StoreError;
use crate::sqlite::columns::{Columns, select};
use crate::sqlite::identity::Identity;
use crate::sqlite::statement_batch::{SqlValue, StatementBatch, from_int, to_int};

const INSERT_RECORD: &str = "INSERT INTO audit (number, hash, at, request, tenant, record) VALUES (?, ?, ?, ?, ?, ?)";
const UPSERT_HEAD: &str = "INSERT INTO audit_heads (number, kind, head) VALUES (?, ?, ?) \
                           ON CONFLICT (number, kind) DO UPDATE SET head = excluded.head";
const UPSERT_OPEN: &str = "INSERT INTO audit_open (id, through, open) VALUES (?, ?, ?) \
                           ON CONFLICT (id) DO UPDATE SET through = excluded.through, open = excluded.open";

/// The tip of the chain, as it is on the disk after the last commit.
pub(in crate::sqlite) struct Chain {
    tip: ChainTip,
    /// The head that this process signed last.
    signed: Option<SignedHead>,
    /// When the newest head was signed. A later head has a later time, also if the clock was set back.
    signed_at: Timestamp,
    /// The identity of the database.
    database: String,
}

/// A request to close an open entry. It has no reply, and is written again if its commit fails.
pub(in crate::sqlite) struct CloseEntry {
    pub(in crate::sqlite) opened: AuditSeq,
    pub(in crate::sqlite) event: EventJson,
    pub(in crate::sqlite) subject: EntrySubject,
    pub(in crate::sqlite) at: Timestamp,
}

/// The changes of one commit to the chain.
#[derive(Default)]
pub(in crate::sqlite) struct ChainChange {
    /// The tip before the commit, if the commit appends anything.
    tip_before: Option<ChainTip>,
    pub(in crate::sqlite) opened: Vec<u64>,
    closed: Vec<u64>,
    closings: Vec<CloseEntry>,
}

impl ChainChange {
    /// Updates the set of open entries, once the commit is durable.
    pub(in crate::sqlite) fn apply_to(self, open: &mut BTreeSet<u64>) {
        open.extend(self.opened);
        for number in &self.closed {
            open.remove(number);
        }
    }
}

impl Chain {
    /// Loads the tip of the chain, checks it against the last signed head, and returns the open entries
    /// too.
    pub(in crate::sqlite) fn load(
        conn: &Connection,
        path: &Path,
        key: &ChainKey,
    ) -> Result<(Self, BTreeSet<u64>), StoreError> {
        let identity = Identity::read(conn)?;
        identity.check_key(path, key)?;
        let saved = key.load_head()?;
        identity.check_saved(path, key, saved.as_ref())?;
        let signed = newest_head(conn, key, saved)?;
        let base = signed.as_ref().map_or_else(ChainTip::genesis, SignedHead::tip);
        if base.number > 0 && !contains(conn, &base)? {
            return Err(StoreError::Chain(missing_head(conn, path, base.number)?));
        }
        let mut verifier = ChainVerifier::from_tip(base);
        let rows = rows_after(conn, base.number)?;
        if signed.as_ref().is_none_or(|head| head.kind == HeadKind::Closed) && !rows.is_empty() {
            return Err(StoreError::Chain(format!("records after {} were inserted", base.number)));
        }
        rows.iter().for_each(|row| verifier.verify_next(row));
        let tip = verifier.tip().map_err(|violation| StoreError::Chain(violation.to_string()))?;
        let open = open_entries(conn)?;
        let signed_at = signed.map_or(Timestamp::from_micros(0), |head| head.at);
        Ok((Self { tip, signed: None, signed_at, database: identity.database }, open))
    }

    /// The last record.
    pub(in crate::sqlite) const fn tip(&self) -> ChainTip {
        self.tip
    }

    /// A head of this chain as it is saved outside the database.
    pub(in crate::sqlite) fn saved(&self, head: SignedHead) -> SavedHead {
        SavedHead { database: self.database.clone(), head }
    }

    /// Moves the tip back before a commit that failed, and returns the closings to write again.
    pub(in crate::sqlite) fn roll_back(&mut self, change: ChainChange) -> Vec<CloseEntry> {
        self.tip = change.tip_before.unwrap_or(self.tip);
        change.closings
    }

    /// Signs the tip, unless it is signed already, and stores which entries are open.
    pub(in crate::sqlite) fn sign_tip(
        &self,
        kind: HeadKind,
        signer: &Signer,
        now: Timestamp,
        open: &BTreeSet<u64>,
        statements: &mut StatementBatch,
    ) -> Result<Option<SignedHead>, StoreError> {
        let is_signed = |head: &SignedHead| (head.kind, head.number) == (kind, self.tip.number);
        if self.signed.as_ref().is_some_and(is_signed) {
            return Ok(None);
        }
        let head = signer.sign(kind, self.tip, now.max(self.signed_at.saturating_add(Duration::from_micros(1))));
        if let Some(covered) = self.signed.as_ref().filter(|signed| signed.is_covered_by(&head)) {
            statements.add("DELETE FROM audit_heads WHERE number = ? AND kind = 0", vec![covered.number.into()]);
        }
        add_head(&head, statements)?;
        let open = serde_json::to_string(open)?;
        statements.add(UPSERT_OPEN, vec![1_i64.into(), self.tip.number.into(), open.into()]);
        Ok(Some(head))
    }

    /// Remembers which head was signed last.
    pub(in crate::sqlite) fn on_signed(&mut self, head: SignedHead) {
        self.signed_at = head.at;
        self.signed = Some(head);
    }

    /// Appends a record and returns its number.
    pub(in crate::sqlite) fn append(
        &mut self,
        event: &EventJson,
        subject: Option<&EntrySubject>,
        at: Timestamp,
        change: &mut ChainChange,
        statements: &mut StatementBatch,
    ) -> u64 {
        change.tip_before.get_or_insert(self.tip);
        let ChainRow { number, hash, record } = self.tip.append(at, event);
        let values = vec![
            number.into(),
            SqlValue::from(&hash),
            at.as_micros().into(),
            subject.map(|subject| subject.request.as_str()).into(),
            subject.map(|subject| subject.tenant.as_str()).into(),
            record.into(),
        ];
        statements.add(INSERT_RECORD, values);
        number
    }
}

/// Appends the record that closes an entry.
pub(in crate::sqlite) fn append_closing(
    chain: &mut Chain,
    closing: CloseEntry,
    change: &mut ChainChange,
    statements: &mut StatementBatch,
) {
    chain.append(&closing.event, Some(&closing.subject), closing.at, change, statements);
    change.closed.push(closing.opened.0);
    change.closings.push(closing);
}

/// Decodes a stored record.
pub(super) fn decode_row(row: &impl Columns) -> Result<ChainRow, StoreError> {
    Ok(ChainRow { number: row.number("number")?, hash: row.hash("hash")?, record: row.text("record")?.to_owned() })
}

/// Stores a signed head.
pub(in crate::sqlite) fn add_head(head: &SignedHead, statements: &mut StatementBatch) -> Result<(), StoreError> {
    let kind = match head.kind {
        HeadKind::Running | HeadKind::Closed => 0_i64,
        HeadKind::Anchor => 1,
        HeadKind::Break => 2,
    };
    statements.add(UPSERT_HEAD, vec![head.number.into(), kind.into(), serde_json::to_string(head)?.into()]);
    Ok(())
}

/// Returns the newest signed head among those in the database and the saved one.
fn newest_head(conn: &Connection, key: &ChainKey, saved: Option<SavedHead>) -> Result<Option<SignedHead>, StoreError> {
    let newest = "SELECT head FROM audit_heads ORDER BY number DESC LIMIT 3";
    let mut heads = select(conn, newest, [], |row| decode_head(row))?;
    if let Some(SavedHead { head, .. }) = saved {
        let breaks = select(conn, "SELECT head FROM audit_heads WHERE kind = 2", [], |row| decode_head(row))?;
        if !head.is_replaced_by(&breaks, key.verifying_key()) {
            heads.push(head);
        }
    }
    if let Some(forged) = heads.iter().find(|head| !head.is_signed_by(key.verifying_key())) {
        return Err(StoreError::Chain(format!("the signature for record {} is not the key's", forged.number)));
    }
    Ok(heads.into_iter().max_by_key(|head| (head.number, head.at)))
}

fn decode_head(row: &impl Columns) -> Result<SignedHead, StoreError> {
    Ok(serde_json::from_str(row.text("head")?)?)
}

/// The problem of a chain that lacks the record of its newest head: it is older than the head, or was changed.
fn missing_head(conn: &Connection, path: &Path, number: u64) -> Result<String, StoreError> {
    let last = select(conn, "SELECT COALESCE(MAX(number), 0) AS last FROM audit", [], |row| row.number("last"))?;
    let last = last.first().copied().unwrap_or_default();
    Ok(if last < number {
        format!(
            "record {number} was signed, but {} ends with record {last}: it is an older copy, or its end was removed",
            path.display()
        )
    } else {
        format!("record {number} was signed, but has changed in {}", path.display())
    })
}

/// True if the chain has this record, or was pruned up to it.
fn contains(conn: &Connection, tip: &ChainTip) -> Result<bool, StoreError> {
    let number = [to_int(tip.number)];
    let hashes = select(conn, "SELECT hash FROM audit WHERE number = ?", number, |row| row.hash("hash"))?;
    if let Some(hash) = hashes.first() {
        return Ok(*hash == tip.hash);
    }
    let sql = "SELECT head FROM audit_heads WHERE number = ? AND kind = 1";
    let anchors = select(conn, sql, number, |row| decode_head(row))?;
    Ok(anchors.first().is_some_and(|anchor| anchor.tip() == *tip))
}

fn rows_after(conn: &Connection, number: u64) -> Result<Vec<ChainRow>, StoreError> {
    let sql = "SELECT number, hash, record FROM audit WHERE number > ? ORDER BY number";
    select(conn, sql, [to_int(number)], |row| decode_row(row))
}

/// Returns the entries that the last process left open: those stored with its last signature, and those
/// of the records after it.
fn open_entries(conn: &Connection) -> Result<BTreeSet<u64>, StoreError> {
    let stored = select(conn, "SELECT through, open FROM audit_open WHERE id = 1", [], |row| {
        Ok((from_int(row.int("through")?), serde_json::from_str::<BTreeSet<u64>>(row.text("open")?)?))
    })?;
    let (through, mut open) = stored.into_iter().next().unwrap_or_default();
    for row in rows_after(conn, through)? {
        let record = RecordLink::parse(&row.record)?;
        let event = record.event()?;
        match (event.kind.as_str(), event.opened) {
            ("opened", _) => {
                open.insert(record.number);
            }
            (_, Some(opened)) => {
                open.remove(&opened);
            }
            (_, None) => {}
        }
    }
    Ok(open)
}
