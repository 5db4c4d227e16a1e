//! The ledger's changes as rows, and the rows as a ledger.

use protocol::{MicroUsd, Timestamp, Tokens};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use greenroom_protocol as protocol;

use crate::error::StoreError;
use crate::ledger::deltas::{CostEntry, CostKey, Deltas};
use crate::ledger::usage::{UsageCounts, minute_of, window_minutes};
use crate::ledger::{Amount, Budget, PERIOD_DAYS_MAX, UsageKey};
use crate::sqlite::runs::row::id;
use crate::sqlite::statement_batch::{SqlValue, StatementBatch, from_int};
use crate::sqlite::{Shared, failed};

const MINUTES: &str = "INSERT INTO usage_minutes (minute, tenant, user, requests, tokens, cost) VALUES (?, ?, ?, ?, ?, ?) \
                       ON CONFLICT (minute, tenant, user) DO UPDATE SET requests = requests + excluded.requests, \
                       tokens = tokens + excluded.tokens, cost = cost + excluded.cost";
const COSTS: &str = "INSERT INTO costs (day, tenant, user, agent, workflow, calls, tokens_input, tokens_output, cost, \
                     calls_estimated, estimated_input, estimated_output, estimated_cost, calls_assumed, assumed_cost) \
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
                     ON CONFLICT (day, tenant, user, agent, workflow) DO UPDATE SET calls = calls + excluded.calls, \
                     tokens_input = tokens_input + excluded.tokens_input, \
                     tokens_output = tokens_output + excluded.tokens_output, cost = cost + excluded.cost, \
                     calls_estimated = calls_estimated + excluded.calls_estimated, \
                     estimated_input = estimated_input + excluded.estimated_input, \
                     estimated_output = estimated_output + excluded.estimated_output, \
                     estimated_cost = estimated_cost + excluded.estimated_cost, \
                     calls_assumed = calls_assumed + excluded.calls_assumed, \
                     assumed_cost = assumed_cost + excluded.assumed_cost";
const BUDGETS: &str = "INSERT INTO budgets (budget, day, tokens_input, tokens_output, cost) VALUES (?, ?, ?, ?, ?) \
                       ON CONFLICT (budget) DO UPDATE SET day = excluded.day, \
                       tokens_input = tokens_input + excluded.tokens_input, \
                       tokens_output = tokens_output + excluded.tokens_output, cost = cost + excluded.cost";
const RESERVATIONS: &str = "INSERT INTO reservations (id, reservation) VALUES (?, ?)";

/// Minutes are kept somewhat longer than they count, so that they are cleared away rarely.
const CLEANUP_INTERVAL_MINUTES: i64 = 16;

/// Adds what changed.
pub(in crate::sqlite) fn add(deltas: &Deltas, script: &mut StatementBatch) -> Result<(), StoreError> {
    if deltas.is_empty() {
        return Ok(());
    }
    for ((who, minute), counts) in &deltas.minutes {
        let UsageCounts { requests, tokens, cost } = *counts;
        let (tenant, user) = (who.tenant.as_str().into(), who.user.as_str().into());
        script.add(MINUTES, vec![(*minute).into(), tenant, user, requests.into(), tokens.into(), cost.0.into()]);
    }
    for (key, spend) in &deltas.costs {
        script.add(COSTS, cost_row(key, spend));
    }
    for (budget, (amount, day)) in &deltas.budgets {
        let [input, output, cost] = amount_values(*amount);
        script.add(BUDGETS, vec![serde_json::to_string(budget)?.into(), (*day).into(), input, output, cost]);
    }
    for held in &deltas.reserved {
        // One that is settled within the same commit need not be written at all.
        if !deltas.settled.contains(&held.id) {
            script.add(RESERVATIONS, vec![held.id.0.into(), serde_json::to_string(held)?.into()]);
        }
    }
    if !deltas.settled.is_empty() {
        let ids: Vec<_> = deltas.settled.iter().map(|id| id.0).collect();
        let ids = serde_json::to_string(&ids)?;
        script.add("DELETE FROM reservations WHERE id IN (SELECT value FROM json_each(?))", vec![ids.into()]);
    }
    let newest = deltas.minutes.keys().map(|(_, minute)| *minute).max();
    if let Some(minute) = newest.filter(|minute| minute % CLEANUP_INTERVAL_MINUTES == 0) {
        let oldest = minute.saturating_sub(window_minutes());
        script.add("DELETE FROM usage_minutes WHERE minute <= ?", vec![oldest.into()]);
    }
    Ok(())
}

fn cost_row(key: &CostKey, spend: &CostEntry) -> Vec<SqlValue> {
    let [input, output, cost] = amount_values(spend.actual);
    let [estimated_input, estimated_output, estimated_cost] = amount_values(spend.estimated);
    vec![
        key.day.into(),
        key.tenant.as_str().into(),
        key.user.as_str().into(),
        key.agent.as_str().into(),
        key.workflow.as_ref().map_or("", |workflow| workflow.as_str()).into(),
        spend.calls.into(),
        input,
        output,
        cost,
        spend.calls_estimated.into(),
        estimated_input,
        estimated_output,
        estimated_cost,
        spend.calls_assumed.into(),
        spend.assumed.0.into(),
    ]
}

fn amount_values(amount: Amount) -> [SqlValue; 3] {
    [amount.tokens.input.into(), amount.tokens.output.into(), amount.cost.0.into()]
}

/// Reads what still counts.
pub(in crate::sqlite) async fn load(connection: &mut SqliteConnection, shared: &Shared) -> Result<(), StoreError> {
    let now = shared.clock.now();
    let minutes = rows(connection, "SELECT * FROM usage_minutes WHERE minute > ?", oldest_minute(now)).await?;
    for row in &minutes {
        let who = UsageKey { tenant: id(text(row, "tenant")?)?, user: id(text(row, "user")?)? };
        let cost = MicroUsd(number(row, "cost")?);
        let counts = UsageCounts { requests: number(row, "requests")?, tokens: number(row, "tokens")?, cost };
        shared.state().restore_minute(&who, int(row, "minute")?, counts);
    }
    // Days that no sliding budget looks back to are taken in as one sum.
    let costs = rows(
        connection,
        "SELECT MAX(day) AS day, tenant, user, agent, SUM(tokens_input + estimated_input) AS tokens_input, \
         SUM(tokens_output + estimated_output) AS tokens_output, SUM(cost + estimated_cost) AS cost \
         FROM costs GROUP BY MAX(day, ?), tenant, user, agent ORDER BY 1",
        crate::ledger::usage::day_of(now) - i64::from(PERIOD_DAYS_MAX),
    )
    .await?;
    for row in &costs {
        let (tenant, user) = (id(text(row, "tenant")?)?, id(text(row, "user")?)?);
        let (day, amount) = (int(row, "day")?, amount_of(row)?);
        let mut state = shared.state();
        state.restore_spent(Budget::Tenant(protocol::TenantId::clone(&tenant)), day, amount);
        state.restore_spent(Budget::User(tenant, user), day, amount);
        state.restore_spent(Budget::Agent(id(text(row, "agent")?)?), day, amount);
    }
    for row in &rows(connection, "SELECT * FROM budgets WHERE day > ?", i64::MIN).await? {
        let budget = serde_json::from_str(text(row, "budget")?)?;
        shared.state().restore_spent(budget, int(row, "day")?, amount_of(row)?);
    }
    for row in &rows(connection, "SELECT reservation FROM reservations WHERE id > ?", i64::MIN).await? {
        shared.state().restore_reservation(serde_json::from_str(text(row, "reservation")?)?);
    }
    Ok(())
}

fn oldest_minute(now: Timestamp) -> i64 {
    minute_of(now).saturating_sub(window_minutes())
}

async fn rows(connection: &mut SqliteConnection, sql: &'static str, bound: i64) -> Result<Vec<SqliteRow>, StoreError> {
    sqlx::query(sql).bind(bound).fetch_all(connection).await.map_err(|error| failed(&error))
}

/// The tokens and the cost of a row.
pub(super) fn amount_of(row: &SqliteRow) -> Result<Amount, StoreError> {
    let tokens = Tokens { input: number(row, "tokens_input")?, output: number(row, "tokens_output")? };
    Ok(Amount { tokens, cost: MicroUsd(number(row, "cost")?) })
}

/// What was estimated in a row.
pub(super) fn estimated_of(row: &SqliteRow) -> Result<Amount, StoreError> {
    let tokens = Tokens { input: number(row, "estimated_input")?, output: number(row, "estimated_output")? };
    Ok(Amount { tokens, cost: MicroUsd(number(row, "estimated_cost")?) })
}

/// A text of a row.
pub(super) fn text<'r>(row: &'r SqliteRow, column: &str) -> Result<&'r str, StoreError> {
    row.try_get(column).map_err(|error| failed(&error))
}

/// A number of a row.
pub(super) fn int(row: &SqliteRow, column: &str) -> Result<i64, StoreError> {
    row.try_get(column).map_err(|error| failed(&error))
}

/// A number of a row that is never negative.
pub(super) fn number(row: &SqliteRow, column: &str) -> Result<u64, StoreError> {
    int(row, column).map(from_int)
}
