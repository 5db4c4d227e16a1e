//! Pruning of ended runs in bounded pieces, each a transaction of its own. A run is pruned only if all runs of its tree
//! have ended, because the run that called it may need its reply again. Such a tree never becomes active again.

use greenroom_protocol as protocol;
use protocol::{RunId, TenantId, Timestamp};
use sqlx::Postgres;
use sqlx::postgres::PgConnection;

use crate::columns::{Columns as _, to_int};
use crate::error::StoreError;
use crate::ledger::Budget;
use crate::postgres::connection::{SEARCH_TIMEOUT, connect, in_time};
use crate::postgres::error::sqlx_error;
use crate::postgres::handle::StoreHandle;
use crate::postgres::transaction::{StoreTransaction, begin, commit};

/// Journal entries of one piece.
const PRUNED_ENTRIES_MAX: u64 = 4_096;
/// Runs of one piece.
const PRUNED_RUNS_MAX: i64 = 256;

const SELECT_ENDED: &str = "SELECT r.number, r.run, r.root, r.seq FROM runs r JOIN trees t ON t.root = r.root \
                            WHERE r.ended AND t.open_runs = 0 AND r.updated < $1 \
                            AND ($2::text IS NULL OR r.tenant = $2) AND r.number > $3 ORDER BY r.number LIMIT $4";

/// Deletes what belongs to pruned runs, by their ids.
const DELETE_BY_ID: [&str; 2] =
    ["DELETE FROM idempotency_keys WHERE run = ANY ($1)", "DELETE FROM inbox WHERE run = ANY ($1)"];
/// Deletes the budgets of pruned runs, by their names.
const DELETE_BY_ACCOUNT: [&str; 2] = [
    "DELETE FROM accounts WHERE account IN (SELECT account FROM accounts WHERE account = ANY ($1) \
     AND reserved_cost = 0 AND reserved_input = 0 AND reserved_output = 0 ORDER BY account FOR UPDATE SKIP LOCKED)",
    "DELETE FROM account_days WHERE account = ANY ($1)",
];
/// Deletes their journals, and then the runs themselves, by their numbers.
const DELETE_BY_NUMBER: [&str; 2] =
    ["DELETE FROM journal WHERE run = ANY ($1)", "DELETE FROM runs WHERE number = ANY ($1) AND ended"];
/// Deletes the trees that have no run any more.
const DELETE_TREES: &str = "DELETE FROM trees t WHERE t.root = ANY ($1) AND t.open_runs = 0 \
                            AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.root = t.root)";
const DELETE_ENTRIES: &str = "DELETE FROM journal WHERE run = $1 AND seq <= $2";

/// A run that is pruned, with the number of its entries.
struct EndedRun {
    number: i64,
    run: RunId,
    root: String,
    entries: u64,
}

/// Deletes the runs that ended before a time, and returns their number.
pub(in crate::postgres) async fn prune(
    store: &StoreHandle,
    tenant: Option<&TenantId>,
    before: Timestamp,
) -> Result<u64, StoreError> {
    store.check_open()?;
    // A connection of its own, because the search may take longer than a statement of a reader may.
    let mut connection = connect(&store.options).await?;
    let (mut pruned, mut after) = (0, 0);
    loop {
        let ended = select_ended(&mut connection, tenant, before, after).await?;
        let Some(last) = ended.last() else { return Ok(pruned) };
        after = last.number;
        let mut piece = Vec::new();
        let mut entries = 0;
        for run in ended {
            if run.entries > PRUNED_ENTRIES_MAX {
                prune_first_entries(store, &run).await?;
            }
            let count = run.entries.min(PRUNED_ENTRIES_MAX);
            if !piece.is_empty() && entries + count > PRUNED_ENTRIES_MAX {
                pruned += prune_piece(store, std::mem::take(&mut piece)).await?;
                entries = 0;
            }
            entries += count;
            piece.push(run);
        }
        pruned += prune_piece(store, piece).await?;
    }
}

async fn select_ended(
    connection: &mut PgConnection,
    tenant: Option<&TenantId>,
    before: Timestamp,
    after: i64,
) -> Result<Vec<EndedRun>, StoreError> {
    let reading = sqlx::query(SELECT_ENDED)
        .bind(before.as_micros())
        .bind(tenant.map(TenantId::as_str))
        .bind(after)
        .bind(PRUNED_RUNS_MAX)
        .fetch_all(connection);
    let rows = in_time(SEARCH_TIMEOUT, reading).await?;
    let decode = |row: &sqlx::postgres::PgRow| {
        let (number, run, root) = (row.int("number")?, row.id("run")?, row.text("root")?.to_owned());
        Ok(EndedRun { number, run, root, entries: row.number("seq")? })
    };
    rows.iter().map(decode).collect()
}

/// Deletes the first entries of a long journal, in pieces. Its last entry, which has its reply, remains until the run
/// itself is deleted.
async fn prune_first_entries(store: &StoreHandle, run: &EndedRun) -> Result<(), StoreError> {
    let last = run.entries.saturating_sub(PRUNED_ENTRIES_MAX);
    let mut through = 0;
    while through < last {
        through = last.min(through + PRUNED_ENTRIES_MAX);
        let mut transaction = begin(store).await?;
        sqlx::query(DELETE_ENTRIES)
            .bind(run.number)
            .bind(to_int(through))
            .execute(&mut *transaction)
            .await
            .map_err(|error| sqlx_error(&error))?;
        commit(transaction).await?;
    }
    Ok(())
}

async fn prune_piece(store: &StoreHandle, runs: Vec<EndedRun>) -> Result<u64, StoreError> {
    let mut transaction = begin(store).await?;
    let ids: Vec<&str> = runs.iter().map(|run| run.run.as_str()).collect();
    let numbers: Vec<i64> = runs.iter().map(|run| run.number).collect();
    let roots: Vec<&str> = runs.iter().map(|run| run.root.as_str()).collect();
    let budgets = runs.iter().map(|run| serde_json::to_string(&Budget::Run(run.run.clone())));
    let budgets = budgets.collect::<Result<Vec<_>, _>>()?;
    for sql in DELETE_BY_ID {
        delete(&mut transaction, sql, ids.as_slice()).await?;
    }
    for sql in DELETE_BY_ACCOUNT {
        delete(&mut transaction, sql, budgets.as_slice()).await?;
    }
    for sql in DELETE_BY_NUMBER {
        delete(&mut transaction, sql, numbers.as_slice()).await?;
    }
    delete(&mut transaction, DELETE_TREES, roots.as_slice()).await?;
    commit(transaction).await?;
    Ok(runs.len() as u64)
}

/// Executes a statement with one list.
async fn delete<'v, T>(transaction: &mut StoreTransaction, sql: &'static str, values: &'v [T]) -> Result<(), StoreError>
where
    &'v [T]: sqlx::Encode<'v, Postgres> + sqlx::Type<Postgres>,
{
    let deleted = sqlx::query(sql).bind(values).execute(&mut **transaction).await;
    deleted.map(drop).map_err(|error| sqlx_error(&error))
}
