//! Pruning of ended runs in bounded pieces, so that other commits go on between them.
//!
//! A reader chooses each piece, and the writer deletes it. A run is pruned only if all runs of its tree have ended,
//! because the run that called it may need its reply again. Such a tree never becomes active again, so what a reader has
//! chosen is still right when the writer comes to it.

use greenroom_protocol as protocol;
use protocol::{RunId, TenantId, Timestamp};
use sqlx::Row as _;

use crate::error::StoreError;
use crate::journal::Seq;
use crate::sqlite::columns::Columns as _;
use crate::sqlite::command::WriteCommand;
use crate::sqlite::commit::Commit;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::statement_batch::to_int;
use crate::sqlite::writer_state::WriterState;

/// Journal entries of one piece.
const PRUNED_ENTRIES_MAX: u64 = 4_096;
/// Runs of one piece.
const PRUNED_RUNS_MAX: u32 = 256;

const SELECT_ENDED: &str = "SELECT number, run, (SELECT COUNT(*) FROM journal WHERE journal.run = runs.number) AS entries \
                            FROM runs WHERE ended = 1 AND updated < ?1 AND (?2 IS NULL OR tenant = ?2) AND number > ?3 \
                            AND root NOT IN (SELECT root FROM runs WHERE ended = 0) \
                            ORDER BY number LIMIT ?4";

/// Deletes what belongs to pruned runs, by their ids.
const PRUNE_BY_ID: [&str; 2] = [
    "DELETE FROM idempotency_keys WHERE run IN (SELECT value FROM json_each(?))",
    "DELETE FROM budgets WHERE budget IN (SELECT '{\"Run\":\"' || value || '\"}' FROM json_each(?))",
];
/// Deletes their journals, and then the runs themselves, by their numbers.
const PRUNE_BY_NUMBER: [&str; 2] = [
    "DELETE FROM journal WHERE run IN (SELECT value FROM json_each(?))",
    "DELETE FROM runs WHERE number IN (SELECT value FROM json_each(?)) AND ended = 1",
];

/// A run that is pruned, with the number of its entries.
struct EndedRun {
    number: i64,
    run: RunId,
    entries: u64,
}

/// Deletes the runs that ended before a time, and returns their number.
pub(in crate::sqlite) async fn prune(
    store: &StoreHandle,
    tenant: Option<&TenantId>,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let (mut pruned, mut after) = (0, 0);
    loop {
        let ended = select_ended(store, tenant, before, after).await?;
        let Some(last) = ended.last() else { return Ok(pruned) };
        after = last.number;
        let mut piece = PruneRuns::default();
        for EndedRun { number, run, entries } in ended {
            if entries > PRUNED_ENTRIES_MAX {
                prune_first_entries(store, number, entries - PRUNED_ENTRIES_MAX).await?;
            }
            if !piece.runs.is_empty() && piece.entries + entries > PRUNED_ENTRIES_MAX {
                pruned += store.queue.execute(std::mem::take(&mut piece)).await?;
            }
            piece.entries += entries.min(PRUNED_ENTRIES_MAX);
            piece.runs.push((number, run));
        }
        pruned += store.queue.execute(piece).await?;
    }
}

async fn select_ended(
    store: &StoreHandle,
    tenant: Option<&TenantId>,
    before: Timestamp,
    after: i64,
) -> Result<Vec<EndedRun>, StoreError> {
    let rows = sqlx::query(SELECT_ENDED)
        .bind(before.as_micros())
        .bind(tenant.map(TenantId::as_str))
        .bind(after)
        .bind(PRUNED_RUNS_MAX)
        .fetch_all(&store.readers)
        .await
        .map_err(|error| sqlx_error(&error))?;
    let decode = |row: &sqlx::sqlite::SqliteRow| {
        Ok(EndedRun { number: row.int("number")?, run: row.id("run")?, entries: row.number("entries")? })
    };
    rows.iter().map(decode).collect()
}

/// Deletes this many of the first entries of a run, in pieces. Its last entry, which has its reply, remains
/// until the run itself is deleted.
async fn prune_first_entries(store: &StoreHandle, number: i64, mut count: u64) -> Result<(), StoreError> {
    while count > 0 {
        let piece = count.min(PRUNED_ENTRIES_MAX);
        let sql = "SELECT seq FROM journal WHERE run = ? ORDER BY seq LIMIT 1 OFFSET ?";
        let row = sqlx::query(sql)
            .bind(number)
            .bind(to_int(piece - 1))
            .fetch_optional(&store.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let Some(row) = row else { return Ok(()) };
        let through = Seq(row.try_get::<i64, _>("seq").map_err(|error| sqlx_error(&error))?.unsigned_abs());
        store.queue.execute(PruneEntries { number, through }).await?;
        count -= piece;
    }
    Ok(())
}

/// Deletes the first entries of an ended run.
struct PruneEntries {
    number: i64,
    /// The last of them.
    through: Seq,
}

impl WriteCommand for PruneEntries {
    type Output = ();
    type Error = StoreError;

    fn apply(self, _state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        let values = vec![self.number.into(), self.through.0.into()];
        commit.statements.add("DELETE FROM journal WHERE run = ? AND seq <= ?", values);
        Ok(())
    }
}

/// Deletes ended runs, and returns their number.
#[derive(Default)]
struct PruneRuns {
    runs: Vec<(i64, RunId)>,
    /// Their entries together.
    entries: u64,
}

impl WriteCommand for PruneRuns {
    type Output = u64;
    type Error = StoreError;

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<u64, StoreError> {
        let numbers: Vec<_> = self.runs.iter().map(|(number, _)| number).collect();
        let runs: Vec<_> = self.runs.iter().map(|(_, run)| run).collect();
        let (numbers, runs) = (serde_json::to_string(&numbers)?, serde_json::to_string(&runs)?);
        let by_id = PRUNE_BY_ID.map(|sql| (sql, runs.as_str()));
        let by_number = PRUNE_BY_NUMBER.map(|sql| (sql, numbers.as_str()));
        for (sql, values) in by_id.into_iter().chain(by_number) {
            commit.statements.add(sql, vec![values.into()]);
        }
        for (_, run) in &self.runs {
            state.runs.forget(run);
        }
        Ok(self.runs.len() as u64)
    }
}
