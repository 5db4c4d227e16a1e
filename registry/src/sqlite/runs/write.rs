//! What the writer does to runs and their journals.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use greenroom_protocol as protocol;
use protocol::{RunId, TenantId, Timestamp};
use rusqlite::Connection;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::row::{BEGIN, CHANGE, changed, head_of, row_of, select_heads};
use crate::error::StoreError;
use crate::journal::{JournalError, Receipt, Seq};
use crate::runs::{Created, NewRun, RunRecord};
use crate::sqlite::commands::{Append, Begin, Entries, RunWrite};
use crate::sqlite::idempotency::{INSERT_IDEMPOTENCY_KEY, KeyRow};
use crate::sqlite::statement_batch::SqlValue;
use crate::sqlite::writer::{Commit, Writer, refuse as refuse_one};
use crate::sqlite::{Shared, failed, write_error};

/// Heads that are remembered between commits.
const CACHED_RECORDS_MAX: usize = 100_000;

const JOURNAL: &str = "INSERT INTO journal (run, seq, at, entry) VALUES (?, ?, ?, ?)";

/// What goes with the runs that are forgotten; the runs themselves go last.
const PRUNING: [&str; 6] = [
    "DELETE FROM journal WHERE run IN (SELECT number FROM runs WHERE ended = 1 AND updated < ?)",
    "DELETE FROM idempotency_keys WHERE run IN (SELECT run FROM runs WHERE ended = 1 AND updated < ?)",
    "DELETE FROM context_values WHERE run IN (SELECT run FROM runs WHERE ended = 1 AND updated < ?)",
    "DELETE FROM contexts WHERE run IN (SELECT run FROM runs WHERE ended = 1 AND updated < ?)",
    "DELETE FROM budgets WHERE budget IN (SELECT '{\"Run\":\"' || run || '\"}' FROM runs WHERE ended = 1 AND updated < ?)",
    "DELETE FROM runs WHERE ended = 1 AND updated < ?",
];

struct CachedRecord {
    number: i64,
    head: RunRecord,
}

/// The heads of the runs that are being written.
#[derive(Default)]
pub(in crate::sqlite) struct RunRecordCache {
    /// `None` for a run that was looked up and is not there.
    known: HashMap<RunId, Option<CachedRecord>>,
    /// Those that were looked up in vain since the last commit.
    absent: Vec<RunId>,
    ended: Vec<RunId>,
    last: i64,
}

impl RunRecordCache {
    pub(in crate::sqlite) async fn load(connection: &mut SqliteConnection) -> Result<Self, StoreError> {
        let last = sqlx::query_scalar("SELECT COALESCE(MAX(number), 0) FROM runs")
            .fetch_one(connection)
            .await
            .map_err(|error| failed(&error))?;
        Ok(Self { last, ..Self::default() })
    }

    pub(in crate::sqlite) fn knows(&self, run: &RunId) -> bool {
        self.known.contains_key(run)
    }

    pub(in crate::sqlite) async fn prefetch(
        &mut self,
        conn: &mut Connection,
        connection: &mut SqliteConnection,
        unknown: Vec<RunId>,
    ) -> Result<(), StoreError> {
        // Most are new, which is found out here without a way to another thread.
        let there = existing_runs(conn, &unknown).map_err(|error| write_error(&error))?;
        let rows = if there.is_empty() { Vec::new() } else { heads_of(connection, &there).await? };
        // Only now: what could not be read is neither there nor absent.
        self.known.extend(unknown.iter().cloned().map(|run| (run, None)));
        self.absent.extend(unknown);
        for row in rows {
            let (number, head) = head_of(&row)?;
            self.known.insert(head.run.clone(), Some(CachedRecord { number, head }));
        }
        Ok(())
    }

    /// After a commit: what is not there may come, and what has ended is not asked for again.
    pub(in crate::sqlite) fn settle(&mut self) {
        for run in self.ended.drain(..) {
            self.known.remove(&run);
        }
        for run in self.absent.drain(..) {
            if self.known.get(&run).is_some_and(Option::is_none) {
                self.known.remove(&run);
            }
        }
        if self.known.len() > CACHED_RECORDS_MAX {
            self.known.clear();
        }
    }

    /// After a commit that failed: what is on the disk counts.
    pub(in crate::sqlite) fn forget(&mut self) {
        self.known.clear();
        self.absent.clear();
        self.ended.clear();
    }

    fn find_mut(&mut self, run: &RunId) -> Option<&mut CachedRecord> {
        self.known.get_mut(run)?.as_mut()
    }
}

fn existing_runs<'r>(conn: &Connection, runs: &'r [RunId]) -> rusqlite::Result<HashSet<&'r RunId>> {
    let mut select = conn.prepare_cached("SELECT 1 FROM runs WHERE run = ?")?;
    let mut there = HashSet::new();
    for run in runs {
        if select.exists([run.as_str()])? {
            there.insert(run);
        }
    }
    Ok(there)
}

async fn heads_of(connection: &mut SqliteConnection, runs: &HashSet<&RunId>) -> Result<Vec<SqliteRow>, StoreError> {
    sqlx::query(select_heads!("WHERE run IN (SELECT value FROM json_each(?))"))
        .bind(serde_json::to_string(runs)?)
        .fetch_all(connection)
        .await
        .map_err(|error| failed(&error))
}

/// The caller's key that a command has to know about.
pub(in crate::sqlite) fn key_of(command: &RunWrite) -> Option<(String, TenantId)> {
    match command {
        RunWrite::Begin(begin) => begin.key.clone().map(|key| (key, begin.new.tenant.clone())),
        RunWrite::Claim { .. } | RunWrite::Append(_) | RunWrite::Prune { .. } => None,
    }
}

/// Decides one command.
pub(in crate::sqlite) fn apply(writer: &mut Writer, command: RunWrite, commit: &mut Commit) {
    match command {
        RunWrite::Begin(begin) => self::begin(writer, *begin, commit),
        RunWrite::Claim { run, pod, lease, now, answer } => {
            let leases = &writer.shared.leases;
            let free = writer.heads.find_mut(&run).filter(|known| !known.head.status.is_terminal());
            let Some(known) = free.filter(|_| !leases.is_held(&run, now)) else {
                return commit.answer(answer, None);
            };
            let fence = known.head.transfer_to(&pod);
            commit.script.add(CHANGE, changed(known.number, &known.head));
            leases.grant(&run, fence, lease, now);
            release_on_failure(&writer.shared, &run, fence, commit);
            commit.answer(answer, Some(fence));
        }
        RunWrite::Append(append) => append_entries(writer, *append, commit),
        RunWrite::Prune { before, answer } => {
            for sql in PRUNING {
                commit.script.add(sql, vec![before.as_micros().into()]);
            }
            // How many there were was counted by the caller, from what has ended and cannot come back.
            writer.heads.forget();
            commit.answer(answer, 0);
        }
    }
}

fn begin(writer: &mut Writer, begin: Begin, commit: &mut Commit) {
    let Begin { new, key, entries, now, answer } = begin;
    let created = create(writer, &new, key, &entries, now, commit);
    let has_entries = !entries.texts.is_empty();
    let receipt = match created {
        Created::New(_) if has_entries => {
            let last = Seq(entries.texts.len() as u64);
            insert_entries(writer.heads.last, Seq(0), entries.texts, now, commit);
            commit.journal_notify.push(new.run.clone());
            Some(Receipt::new(new.run, Seq(0), last))
        }
        Created::New(_) | Created::Existing(_) | Created::Conflict => None,
    };
    commit.answer(answer, (created, receipt));
}

fn create(
    writer: &mut Writer,
    new: &NewRun,
    key: Option<String>,
    entries: &Entries,
    now: Timestamp,
    commit: &mut Commit,
) -> Created {
    let key = key.map(|key| (key, new.tenant.clone()));
    if let Some(used) = key.as_ref().and_then(|key| commit.keys.get(key)?.as_ref()) {
        let is_same = used.body == new.request_hash;
        return used.run.clone().filter(|_| is_same).map_or(Created::Conflict, Created::Existing);
    }
    if let Some(known) = writer.heads.find_mut(&new.run) {
        return if known.head.matches(new) { Created::Existing(new.run.clone()) } else { Created::Conflict };
    }
    let head = RunRecord::with_entries(new, &entries.marks, now);
    let (fence, is_ended) = (head.fence, head.status.is_terminal());
    writer.heads.last += 1;
    let number = writer.heads.last;
    commit.script.add(BEGIN, row_of(number, &head));
    writer.heads.known.insert(new.run.clone(), Some(CachedRecord { number, head }));
    if let Some((key, tenant)) = key {
        let row = KeyRow { body: new.request_hash, run: Some(new.run.clone()), reply: None };
        commit.script.add(INSERT_IDEMPOTENCY_KEY, row.values(&key, &tenant, now));
        commit.keys.insert((key, tenant), Some(row));
    }
    if is_ended {
        writer.heads.ended.push(new.run.clone());
    } else {
        writer.shared.leases.grant(&new.run, fence, new.lease, now);
        release_on_failure(&writer.shared, &new.run, fence, commit);
    }
    Created::New(fence)
}

fn release_on_failure(shared: &Arc<Shared>, run: &RunId, fence: crate::runs::Fence, commit: &mut Commit) {
    let (shared, run) = (shared.clone(), run.clone());
    commit.then(move |failure| {
        if failure.is_some() {
            shared.leases.release(&run, fence);
        }
    });
}

fn insert_entries(run: i64, after: Seq, entries: Vec<String>, now: Timestamp, commit: &mut Commit) {
    for (seq, entry) in (after.0.saturating_add(1)..).zip(entries) {
        commit.script.add(JOURNAL, vec![run.into(), seq.into(), now.as_micros().into(), SqlValue::Text(entry)]);
    }
}

fn append_entries(writer: &mut Writer, append: Append, commit: &mut Commit) {
    let Append { run, fence, after, entries, timing: _, now, answer } = append;
    let Some(known) = writer.heads.find_mut(&run) else {
        let _ = answer.send(Err(JournalError::Unknown));
        return;
    };
    let is_head_changed = match known.head.append(fence, after, &entries.marks, now) {
        Ok(is_changed) => is_changed,
        Err(error) => {
            let _ = answer.send(Err(error));
            return;
        }
    };
    insert_entries(known.number, after, entries.texts, now, commit);
    if is_head_changed {
        commit.script.add(CHANGE, changed(known.number, &known.head));
    }
    let receipt = Receipt::new(run.clone(), after, known.head.seq);
    let is_ended = known.head.status.is_terminal();
    if is_ended {
        writer.heads.ended.push(run.clone());
    }
    let (shared, name) = (writer.shared.clone(), run.clone());
    commit.then(move |failure| {
        if is_ended && failure.is_none() {
            shared.leases.release(&name, fence);
        } else {
            // A lapsed lease that nobody took is still the owner's.
            let _ = shared.leases.renew(&name, fence, None, now);
        }
    });
    commit.journal_notify.push(run);
    commit.answer(answer, receipt);
}

/// Refuses a command that could not be decided.
pub(in crate::sqlite) fn refuse(command: RunWrite, error: &StoreError) {
    match command {
        RunWrite::Begin(begin) => refuse_one(begin.answer, error),
        RunWrite::Claim { answer, .. } => refuse_one(answer, error),
        RunWrite::Append(append) => refuse_one(append.answer, error),
        RunWrite::Prune { answer, .. } => refuse_one(answer, error),
    }
}

/// How many runs a pruning takes.
pub(super) async fn count_prunable(shared: &Shared, before: Timestamp) -> Result<u64, StoreError> {
    let row = sqlx::query("SELECT COUNT(*) AS many FROM runs WHERE ended = 1 AND updated < ?")
        .bind(before.as_micros())
        .fetch_one(&shared.readers)
        .await
        .map_err(|error| failed(&error))?;
    let many: i64 = row.try_get("many").map_err(|error| failed(&error))?;
    Ok(crate::sqlite::statement_batch::from_int(many))
}
