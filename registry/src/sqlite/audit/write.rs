//! What the writer does to the audit: it alone knows the end of the chain.

use std::collections::BTreeSet;

use greenroom_protocol as protocol;
use protocol::audit::Event;
use protocol::{RequestId, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::audit::chain::{ChainRow, ChainTip, EventJson};
use crate::audit::head::{HeadKind, SignedHead};
use crate::audit::signer::Signer;
use crate::audit::verify::ChainVerifier;
use crate::audit::{AuditSeq, OpenAuditEntry, PruneReport};
use crate::error::StoreError;
use crate::group_commit::ReplySender;
use crate::sqlite::commands::{AuditWrite, Command};
use crate::sqlite::failed;
use crate::sqlite::statement_batch::{SqlValue, StatementBatch, from_int, to_int};
use crate::sqlite::writer::{Commit, Writer, hash_of, refuse as refuse_one};

const AUDIT: &str = "INSERT INTO audit (number, hash, at, request, record) VALUES (?, ?, ?, ?, ?)";
const HEADS: &str = "INSERT INTO audit_heads (number, is_anchor, head) VALUES (?, ?, ?) \
                     ON CONFLICT (number, is_anchor) DO UPDATE SET head = excluded.head";
const OPEN: &str = "INSERT INTO audit_open (id, through, open) VALUES (?, ?, ?) \
                    ON CONFLICT (id) DO UPDATE SET through = excluded.through, open = excluded.open";

/// The end of the chain, as it is on the disk.
pub(in crate::sqlite) struct Chain {
    link: ChainTip,
    signed: Option<(HeadKind, u64)>,
}

/// What a commit changes.
#[derive(Default)]
pub(in crate::sqlite) struct ChainChange {
    link: Option<ChainTip>,
    opened: Vec<u64>,
    closed: Vec<u64>,
    closings: Vec<AuditWrite>,
}

impl ChainChange {
    /// Says which brackets are open once this is durable.
    pub(in crate::sqlite) fn keep(self, open: &mut BTreeSet<u64>) {
        open.extend(self.opened);
        for number in &self.closed {
            open.remove(number);
        }
    }
}

impl Chain {
    /// Reads the end of the chain and holds it against what was signed last; answers also which
    /// brackets are open.
    pub(in crate::sqlite) async fn load(
        connection: &mut SqliteConnection,
        signer: &Signer,
    ) -> Result<(Self, BTreeSet<u64>), StoreError> {
        let signed = newest_head(connection, signer).await?;
        let base = signed.as_ref().map_or_else(ChainTip::genesis, SignedHead::tip);
        if base.number > 0 && !contains(connection, &base).await? {
            let text = format!("record {} was signed, and is gone or is another one now", base.number);
            return Err(StoreError::Chain(text));
        }
        let mut verifier = ChainVerifier::from_tip(base);
        let rows = rows_after(connection, base.number).await?;
        if signed.as_ref().is_none_or(|head| head.kind == HeadKind::Closed) && !rows.is_empty() {
            return Err(StoreError::Chain(format!("records behind {} were inserted", base.number)));
        }
        rows.iter().for_each(|row| verifier.verify_next(row));
        let link = verifier.tip().map_err(|fault| StoreError::Chain(fault.to_string()))?;
        let open = open_entries(connection).await?;
        Ok((Self { link, signed: None }, open))
    }

    /// Goes back behind a commit that failed, and answers what has to be written again.
    pub(in crate::sqlite) fn undo(&mut self, change: ChainChange) -> Vec<AuditWrite> {
        self.link = change.link.unwrap_or(self.link);
        change.closings
    }

    /// Signs the end, unless it is signed already, and notes which brackets are open.
    pub(in crate::sqlite) fn seal(
        &self,
        kind: HeadKind,
        signer: &Signer,
        now: Timestamp,
        open: &BTreeSet<u64>,
        script: &mut StatementBatch,
    ) -> Result<Option<SignedHead>, StoreError> {
        if self.signed == Some((kind, self.link.number)) {
            return Ok(None);
        }
        let head = signer.sign(kind, self.link, now);
        script.add(HEADS, vec![head.number.into(), 0_i64.into(), serde_json::to_string(&head)?.into()]);
        let open = serde_json::to_string(open)?;
        script.add(OPEN, vec![1_i64.into(), self.link.number.into(), open.into()]);
        Ok(Some(head))
    }

    /// Remembers what was signed.
    pub(in crate::sqlite) const fn sealed(&mut self, head: &SignedHead) {
        self.signed = Some((head.kind, head.number));
    }

    fn append(&mut self, event: &EventJson, request: Option<&RequestId>, at: Timestamp, commit: &mut Commit) -> u64 {
        commit.audit.link.get_or_insert(self.link);
        let ChainRow { number, hash, record } = self.link.append(at, event);
        let request = request.map(RequestId::as_str).into();
        commit
            .script
            .add(AUDIT, vec![number.into(), SqlValue::from(&hash), at.as_micros().into(), request, record.into()]);
        number
    }
}

/// Decides one command.
pub(in crate::sqlite) fn apply(writer: &mut Writer, command: AuditWrite, commit: &mut Commit) {
    match command {
        AuditWrite::Open { event, request, at, timing: _, answer } => {
            let number = writer.chain.append(&event, Some(&request), at, commit);
            commit.audit.opened.push(number);
            let entry = entry(writer, number, request, at);
            commit.answer(answer, entry);
        }
        AuditWrite::Close { opened, event, request, at } => {
            writer.chain.append(&event, Some(&request), at, commit);
            commit.audit.closed.push(opened.0);
            commit.audit.closings.push(AuditWrite::Close { opened, event, request, at });
        }
        AuditWrite::Note { event, at, answer } => {
            let number = writer.chain.append(&event, None, at, commit);
            commit.answer(answer, AuditSeq(number));
        }
        AuditWrite::Prune { through, records, now, answer } => prune(writer, through, records, now, answer, commit),
    }
}

/// A bracket that was dropped before it was closed says so itself.
fn entry(writer: &Writer, number: u64, request: RequestId, at: Timestamp) -> OpenAuditEntry {
    let (queue, clock, name) = (writer.shared.queue.clone(), writer.shared.clock.clone(), request.clone());
    let abandoned = move |opened: AuditSeq| {
        let event = EventJson::from_event(&Event::Interrupted { opened: opened.0 }).map_err(StoreError::from);
        let told = event.and_then(|event| {
            let close = AuditWrite::Close { opened, event, request: name, at: clock.now() };
            queue.try_send(Command::Audit(close))
        });
        if let Err(error) = told {
            tracing::warn!(audit.opened = opened.0, error = %error, "an abandoned record stays open until the next start");
        }
    };
    OpenAuditEntry::new(AuditSeq(number), request, at, Some(Box::new(abandoned)))
}

fn prune(
    writer: &mut Writer,
    through: ChainTip,
    records: u64,
    now: Timestamp,
    answer: ReplySender<PruneReport>,
    commit: &mut Commit,
) {
    let anchor = writer.signer.sign(HeadKind::Anchor, through, now);
    let message = format!("{records} records pruned, through {}", through.number);
    let event = Event::System { subject: "audit".into(), message };
    let written = EventJson::from_event(&event).and_then(|event| Ok((event, serde_json::to_string(&anchor)?)));
    let (event, anchor) = match written {
        Ok(written) => written,
        Err(error) => return refuse_one(answer, &error.into()),
    };
    let number = to_int(through.number);
    commit.script.add("DELETE FROM audit WHERE number <= ?", vec![number.into()]);
    commit.script.add("DELETE FROM audit_heads WHERE number < ?", vec![number.into()]);
    commit.script.add(HEADS, vec![number.into(), 1_i64.into(), anchor.into()]);
    writer.chain.append(&event, None, now, commit);
    commit.answer(answer, PruneReport { records, through: AuditSeq(through.number) });
}

/// Refuses a command that could not be decided; a closing is kept for the next commit.
pub(in crate::sqlite) fn refuse(command: AuditWrite, error: &StoreError) -> Option<AuditWrite> {
    match command {
        AuditWrite::Open { answer, .. } => refuse_one(answer, error),
        AuditWrite::Note { answer, .. } => refuse_one(answer, error),
        AuditWrite::Prune { answer, .. } => refuse_one(answer, error),
        close @ AuditWrite::Close { .. } => return Some(close),
    }
    None
}

/// A record as it was kept.
pub(super) fn row_of(row: &SqliteRow) -> Result<ChainRow, StoreError> {
    let number: i64 = row.try_get("number").map_err(|error| failed(&error))?;
    let hash: &[u8] = row.try_get("hash").map_err(|error| failed(&error))?;
    let record: String = row.try_get("record").map_err(|error| failed(&error))?;
    Ok(ChainRow { number: from_int(number), hash: hash_of(hash)?, record })
}

/// The newest statement of those in the database and the one beside it.
async fn newest_head(connection: &mut SqliteConnection, signer: &Signer) -> Result<Option<SignedHead>, StoreError> {
    let texts: Vec<String> = sqlx::query_scalar("SELECT head FROM audit_heads ORDER BY number DESC LIMIT 2")
        .fetch_all(connection)
        .await
        .map_err(|error| failed(&error))?;
    let mut heads = texts.iter().map(|text| serde_json::from_str(text)).collect::<Result<Vec<SignedHead>, _>>()?;
    heads.extend(signer.load_head()?);
    if let Some(forged) = heads.iter().find(|head| !head.is_signed_by(&signer.verifying_key())) {
        return Err(StoreError::Chain(format!("the signature for record {} is not the key's", forged.number)));
    }
    Ok(heads.into_iter().max_by_key(|head| (head.number, head.at)))
}

/// True if the chain has this record, or was pruned up to it.
async fn contains(connection: &mut SqliteConnection, link: &ChainTip) -> Result<bool, StoreError> {
    let hash: Option<Vec<u8>> = sqlx::query_scalar("SELECT hash FROM audit WHERE number = ?")
        .bind(to_int(link.number))
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| failed(&error))?;
    if let Some(hash) = hash {
        return Ok(hash_of(&hash)? == link.hash);
    }
    let anchor: Option<String> = sqlx::query_scalar("SELECT head FROM audit_heads WHERE number = ? AND is_anchor = 1")
        .bind(to_int(link.number))
        .fetch_optional(connection)
        .await
        .map_err(|error| failed(&error))?;
    let anchor = anchor.map(|text| serde_json::from_str::<SignedHead>(&text)).transpose()?;
    Ok(anchor.is_some_and(|anchor| anchor.tip() == *link))
}

async fn rows_after(connection: &mut SqliteConnection, number: u64) -> Result<Vec<ChainRow>, StoreError> {
    let rows = sqlx::query("SELECT number, hash, record FROM audit WHERE number > ? ORDER BY number")
        .bind(to_int(number))
        .fetch_all(connection)
        .await
        .map_err(|error| failed(&error))?;
    rows.iter().map(row_of).collect()
}

/// The brackets that the last process left open: those it noted with its last signature, and what
/// came behind that.
async fn open_entries(connection: &mut SqliteConnection) -> Result<BTreeSet<u64>, StoreError> {
    let noted = sqlx::query("SELECT through, open FROM audit_open WHERE id = 1")
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| failed(&error))?;
    let (through, mut open) = match noted {
        Some(row) => {
            let through: i64 = row.try_get("through").map_err(|error| failed(&error))?;
            let open: &str = row.try_get("open").map_err(|error| failed(&error))?;
            (from_int(through), serde_json::from_str(open)?)
        }
        None => (0, BTreeSet::new()),
    };
    for row in rows_after(connection, through).await? {
        let record: protocol::audit::Record = serde_json::from_str(&row.record)?;
        match record.event {
            Event::Opened(_) => {
                open.insert(record.number);
            }
            Event::Closed { opened, .. } | Event::Interrupted { opened } => {
                open.remove(&opened);
            }
            Event::System { .. } => {}
        }
    }
    Ok(open)
}
