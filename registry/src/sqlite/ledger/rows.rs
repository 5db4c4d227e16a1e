//! The ledger as rows: its changes as statements, and its state from the stored rows.

use greenroom_protocol as protocol;
use protocol::{MicroUsd, PodId, PrincipalId, Timestamp};
use rusqlite::{Connection, Row};
use serde::Serialize;

use crate::error::StoreError;
use crate::ledger::decode::actual_amount;
use crate::ledger::deltas::{BudgetDelta, CostEntry, CostKey, Deltas};
use crate::ledger::state::{EXECUTION_DAYS_MAX, RUN_DAYS_MAX};
use crate::ledger::usage::{UsageCounts, day_of, minute_of, window_minutes};
use crate::ledger::{Amount, Budget, PERIOD_DAYS_MAX};
use crate::sqlite::columns::{Columns as _, select};
use crate::sqlite::shared::Shared;
use crate::sqlite::statement_batch::{SqlValue, StatementBatch};

/// The assignments of sums. Amounts are never negative, and a sum that is too large for a column remains the
/// largest number.
macro_rules! add {
    ($column:literal) => {
        concat!($column, " = MIN(", $column, ", 9223372036854775807 - excluded.", $column, ") + excluded.", $column)
    };
    ($column:literal, $($others:literal),+) => {
        concat!(add!($column), ", ", add!($($others),+))
    };
}

const ADD_MINUTE: &str = concat!(
    "INSERT INTO usage_minutes (minute, issuer, tenant, user, requests, queries, tokens, cost) ",
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (minute, issuer, tenant, user) DO UPDATE SET ",
    add!("requests", "queries", "tokens", "cost")
);
const ADD_COST: &str = concat!(
    "INSERT INTO costs (day, issuer, tenant, user, agent, workflow, calls, tokens_input, tokens_output, cost, ",
    "calls_estimated, estimated_input, estimated_output, estimated_cost, calls_assumed, assumed_cost) ",
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ",
    "ON CONFLICT (day, issuer, tenant, user, agent, workflow) DO UPDATE SET ",
    add!("calls", "tokens_input", "tokens_output", "cost", "calls_estimated", "estimated_input", "estimated_output"),
    ", ",
    add!("estimated_cost", "calls_assumed", "assumed_cost")
);
const ADD_BUDGET: &str = concat!(
    "INSERT INTO budgets (budget, day, tokens_input, tokens_output, cost, models) VALUES (?, ?, ?, ?, ?, ?) ",
    "ON CONFLICT (budget) DO UPDATE SET day = excluded.day, models = excluded.models, ",
    add!("tokens_input", "tokens_output", "cost")
);
/// Deletes the budgets of one kind whose last call is too long ago.
const DELETE_BUDGETS: &str = "DELETE FROM budgets WHERE budget GLOB ? AND day <= ?";
/// The budgets that a request may still use: not those of runs that have ended, unless a call has a reservation of them.
const SELECT_BUDGETS: &str = "SELECT * FROM budgets WHERE day > ? AND (budget NOT GLOB '{\"Run\":*' \
                              OR json_extract(budget, '$.Run') IN (SELECT run FROM runs WHERE ended = 0) \
                              OR budget IN (SELECT b.value FROM reservations, json_each(reservation, '$.budgets') AS b))";
const INSERT_RESERVATION: &str = "INSERT INTO reservations (id, pod, reservation) VALUES (?, ?, ?)";

/// Minutes outside the usage window are deleted only once per this interval.
const CLEANUP_INTERVAL_MINUTES: i64 = 16;

/// Adds the statements that store the changes; the reservations are for calls of this pod.
pub(in crate::sqlite) fn add(deltas: &Deltas, pod: &PodId, statements: &mut StatementBatch) {
    if deltas.is_empty() {
        return;
    }
    for ((principal, minute), counts) in &deltas.minutes {
        let UsageCounts { calls, queries, tokens, cost } = *counts;
        let key = std::iter::once(SqlValue::from(*minute)).chain(principal_values(principal));
        let counts = [calls.into(), queries.into(), tokens.into(), cost.0.into()];
        statements.add_sum(ADD_MINUTE, key.chain(counts).collect());
    }
    for (key, entry) in &deltas.costs {
        statements.add_sum(ADD_COST, cost_values(key, entry));
    }
    for (budget, BudgetDelta { amount, day, models }) in &deltas.budgets {
        let (Some(budget), Some(models)) = (encode(budget), encode(models)) else { continue };
        let [input, output, cost] = amount_values(*amount);
        statements.add_sum(ADD_BUDGET, vec![budget, (*day).into(), input, output, cost, models]);
    }
    for record in &deltas.reserved {
        // A reservation that is settled in the same commit is not stored at all.
        if !deltas.settled.contains(&record.id)
            && let Some(text) = encode(record)
        {
            statements.add(INSERT_RESERVATION, vec![record.id.0.into(), pod.as_str().into(), text]);
        }
    }
    if !deltas.settled.is_empty() {
        let ids: Vec<_> = deltas.settled.iter().map(|id| id.0).collect();
        statements
            .add("DELETE FROM reservations WHERE id IN (SELECT value FROM json_each(?))", vec![encode(&ids).into()]);
    }
    let newest = deltas.minutes.keys().map(|(_, minute)| *minute).max();
    if let Some(minute) = newest.filter(|minute| minute % CLEANUP_INTERVAL_MINUTES == 0) {
        let oldest = minute.saturating_sub(window_minutes());
        statements.add("DELETE FROM usage_minutes WHERE minute <= ?", vec![oldest.into()]);
    }
    if let Some(today) = deltas.swept_on {
        for (kind, days) in [("{\"Execution\":*", EXECUTION_DAYS_MAX), ("{\"Run\":*", RUN_DAYS_MAX)] {
            statements.add(DELETE_BUDGETS, vec![kind.into(), today.saturating_sub(days).into()]);
        }
    }
}

/// A value of the ledger as JSON. Its serialiser does not fail; if it did, the value alone would be lost.
fn encode(value: &impl Serialize) -> Option<SqlValue> {
    let encoded = serde_json::to_string(value);
    encoded
        .inspect_err(|error| tracing::error!(error = %error, "a value of the ledger cannot be stored"))
        .ok()
        .map(SqlValue::from)
}

fn cost_values(key: &CostKey, entry: &CostEntry) -> Vec<SqlValue> {
    let [input, output, cost] = amount_values(entry.actual);
    let [estimated_input, estimated_output, estimated_cost] = amount_values(entry.estimated);
    let [issuer, tenant, user] = principal_values(&key.principal);
    vec![
        key.day.into(),
        issuer,
        tenant,
        user,
        key.agent.as_str().into(),
        key.workflow.as_ref().map_or("", |workflow| workflow.as_str()).into(),
        entry.calls.into(),
        input,
        output,
        cost,
        entry.calls_estimated.into(),
        estimated_input,
        estimated_output,
        estimated_cost,
        entry.calls_assumed.into(),
        entry.assumed.0.into(),
    ]
}

fn principal_values(principal: &PrincipalId) -> [SqlValue; 3] {
    let PrincipalId { issuer, tenant, user } = principal;
    [issuer.as_str().into(), tenant.as_str().into(), user.as_str().into()]
}

fn amount_values(amount: Amount) -> [SqlValue; 3] {
    [amount.tokens.input.into(), amount.tokens.output.into(), amount.cost.0.into()]
}

/// The sum of two columns over all rows. No term is so large that a sum of millions of rows overflows, which
/// would make the database unopenable.
macro_rules! sum {
    ($column:literal, $other:literal) => {
        concat!("SUM(MIN(", $column, ", 1000000000000) + MIN(", $other, ", 1000000000000)) AS ", $column)
    };
}

/// Loads the usage, the spending and the open reservations that still count.
pub(in crate::sqlite) fn load(conn: &Connection, shared: &Shared) -> Result<(), StoreError> {
    let now = shared.clock.now();
    let mut ledger = shared.ledger();
    select_each(conn, "SELECT * FROM usage_minutes WHERE minute > ?", oldest_minute(now), |row| {
        let cost = MicroUsd(row.number("cost")?);
        let (calls, queries) = (row.number("requests")?, row.number("queries")?);
        let counts = UsageCounts { calls, queries, tokens: row.number("tokens")?, cost };
        ledger.restore_minute(&row.principal()?, row.int("minute")?, counts);
        Ok(())
    })?;
    // Days before the longest sliding period are loaded as one sum.
    let first_day = day_of(now) - i64::from(PERIOD_DAYS_MAX);
    select_each(
        conn,
        concat!(
            "SELECT MAX(day) AS day, issuer, tenant, user, agent, ",
            sum!("tokens_input", "estimated_input"),
            ", ",
            sum!("tokens_output", "estimated_output"),
            ", ",
            sum!("cost", "estimated_cost"),
            " FROM costs GROUP BY MAX(day, ?), issuer, tenant, user, agent ORDER BY 1"
        ),
        first_day,
        |row| {
            let (principal, day, amount) = (row.principal()?, row.int("day")?, actual_amount(row)?);
            ledger.restore_spent(Budget::Tenant(principal.tenant.clone()), day, amount);
            ledger.restore_spent(Budget::User(principal), day, amount);
            ledger.restore_spent(Budget::Agent(row.id("agent")?), day, amount);
            Ok(())
        },
    )?;
    select_each(conn, SELECT_BUDGETS, day_of(now) - RUN_DAYS_MAX, |row| {
        let (budget, models) = (serde_json::from_str(row.text("budget")?)?, serde_json::from_str(row.text("models")?)?);
        ledger.restore_budget(budget, row.int("day")?, actual_amount(row)?, models);
        Ok(())
    })?;
    select_each(conn, "SELECT reservation FROM reservations WHERE id > ?", i64::MIN, |row| {
        ledger.restore_reservation(serde_json::from_str(row.text("reservation")?)?);
        Ok(())
    })
}

fn oldest_minute(now: Timestamp) -> i64 {
    minute_of(now).saturating_sub(window_minutes())
}

fn select_each(
    conn: &Connection,
    sql: &str,
    bound: i64,
    restore: impl FnMut(&Row<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    select(conn, sql, [bound], restore).map(drop)
}
