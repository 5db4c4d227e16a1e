//! The ledger as rows: its changes as statements, and its state from the stored rows.

use greenroom_protocol as protocol;
use protocol::{MicroUsd, Timestamp, Tokens};
use rusqlite::{Connection, Row};

use crate::error::StoreError;
use crate::ledger::deltas::{CostEntry, CostKey, Deltas};
use crate::ledger::usage::{UsageCounts, day_of, minute_of, window_minutes};
use crate::ledger::{Amount, Budget, PERIOD_DAYS_MAX, UsageKey};
use crate::sqlite::columns::{Columns, select};
use crate::sqlite::shared::Shared;
use crate::sqlite::statement_batch::{SqlValue, StatementBatch};

const ADD_MINUTE: &str = "INSERT INTO usage_minutes (minute, tenant, user, requests, queries, tokens, cost) \
                       VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (minute, tenant, user) \
                       DO UPDATE SET requests = requests + excluded.requests, queries = queries + excluded.queries, \
                       tokens = tokens + excluded.tokens, cost = cost + excluded.cost";
const ADD_COST: &str = "INSERT INTO costs (day, tenant, user, agent, workflow, calls, tokens_input, tokens_output, \
                     cost, calls_estimated, estimated_input, estimated_output, estimated_cost, calls_assumed, \
                     assumed_cost) \
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
const ADD_BUDGET: &str = "INSERT INTO budgets (budget, day, tokens_input, tokens_output, cost) VALUES (?, ?, ?, ?, ?) \
                       ON CONFLICT (budget) DO UPDATE SET day = excluded.day, \
                       tokens_input = tokens_input + excluded.tokens_input, \
                       tokens_output = tokens_output + excluded.tokens_output, cost = cost + excluded.cost";
const INSERT_RESERVATION: &str = "INSERT INTO reservations (id, reservation) VALUES (?, ?)";

/// Minutes outside the usage window are deleted only once per this interval.
const CLEANUP_INTERVAL_MINUTES: i64 = 16;

/// Adds the statements that store the changes.
pub(in crate::sqlite) fn add(deltas: &Deltas, statements: &mut StatementBatch) -> Result<(), StoreError> {
    if deltas.is_empty() {
        return Ok(());
    }
    for ((usage_key, minute), counts) in &deltas.minutes {
        let UsageCounts { calls, queries, tokens, cost } = *counts;
        let (tenant, user) = (usage_key.tenant.as_str().into(), usage_key.user.as_str().into());
        let counts = [calls.into(), queries.into(), tokens.into(), cost.0.into()];
        statements.add(ADD_MINUTE, [(*minute).into(), tenant, user].into_iter().chain(counts).collect());
    }
    for (key, entry) in &deltas.costs {
        statements.add(ADD_COST, cost_values(key, entry));
    }
    for (budget, (amount, day)) in &deltas.budgets {
        let [input, output, cost] = amount_values(*amount);
        statements.add(ADD_BUDGET, vec![serde_json::to_string(budget)?.into(), (*day).into(), input, output, cost]);
    }
    for record in &deltas.reserved {
        // A reservation that is settled in the same commit is not stored at all.
        if !deltas.settled.contains(&record.id) {
            statements.add(INSERT_RESERVATION, vec![record.id.0.into(), serde_json::to_string(record)?.into()]);
        }
    }
    if !deltas.settled.is_empty() {
        let ids: Vec<_> = deltas.settled.iter().map(|id| id.0).collect();
        let ids = serde_json::to_string(&ids)?;
        statements.add("DELETE FROM reservations WHERE id IN (SELECT value FROM json_each(?))", vec![ids.into()]);
    }
    let newest = deltas.minutes.keys().map(|(_, minute)| *minute).max();
    if let Some(minute) = newest.filter(|minute| minute % CLEANUP_INTERVAL_MINUTES == 0) {
        let oldest = minute.saturating_sub(window_minutes());
        statements.add("DELETE FROM usage_minutes WHERE minute <= ?", vec![oldest.into()]);
    }
    Ok(())
}

fn cost_values(key: &CostKey, entry: &CostEntry) -> Vec<SqlValue> {
    let [input, output, cost] = amount_values(entry.actual);
    let [estimated_input, estimated_output, estimated_cost] = amount_values(entry.estimated);
    vec![
        key.day.into(),
        key.tenant.as_str().into(),
        key.user.as_str().into(),
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

fn amount_values(amount: Amount) -> [SqlValue; 3] {
    [amount.tokens.input.into(), amount.tokens.output.into(), amount.cost.0.into()]
}

/// Loads the usage, the spending and the open reservations that still count.
pub(in crate::sqlite) fn load(conn: &Connection, shared: &Shared) -> Result<(), StoreError> {
    let now = shared.clock.now();
    let mut ledger = shared.ledger();
    select_each(conn, "SELECT * FROM usage_minutes WHERE minute > ?", oldest_minute(now), |row| {
        let usage_key = UsageKey { tenant: row.id("tenant")?, user: row.id("user")? };
        let cost = MicroUsd(row.number("cost")?);
        let (calls, queries) = (row.number("requests")?, row.number("queries")?);
        let counts = UsageCounts { calls, queries, tokens: row.number("tokens")?, cost };
        ledger.restore_minute(&usage_key, row.int("minute")?, counts);
        Ok(())
    })?;
    // Days before the longest sliding period are loaded as one sum.
    let first_day = day_of(now) - i64::from(PERIOD_DAYS_MAX);
    select_each(
        conn,
        "SELECT MAX(day) AS day, tenant, user, agent, SUM(tokens_input + estimated_input) AS tokens_input, \
         SUM(tokens_output + estimated_output) AS tokens_output, SUM(cost + estimated_cost) AS cost \
         FROM costs GROUP BY MAX(day, ?), tenant, user, agent ORDER BY 1",
        first_day,
        |row| {
            let (tenant, user): (protocol::TenantId, protocol::UserId) = (row.id("tenant")?, row.id("user")?);
            let (day, amount) = (row.int("day")?, actual_amount(row)?);
            ledger.restore_spent(Budget::Tenant(tenant.clone()), day, amount);
            ledger.restore_spent(Budget::User(tenant, user), day, amount);
            ledger.restore_spent(Budget::Agent(row.id("agent")?), day, amount);
            Ok(())
        },
    )?;
    select_each(conn, "SELECT * FROM budgets WHERE day > ?", i64::MIN, |row| {
        ledger.restore_spent(serde_json::from_str(row.text("budget")?)?, row.int("day")?, actual_amount(row)?);
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
    sql: &'static str,
    bound: i64,
    restore: impl FnMut(&Row<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    select(conn, sql, [bound], restore).map(drop)
}

/// The actual tokens and cost of a row.
pub(super) fn actual_amount(row: &impl Columns) -> Result<Amount, StoreError> {
    let tokens = Tokens { input: row.number("tokens_input")?, output: row.number("tokens_output")? };
    Ok(Amount { tokens, cost: MicroUsd(row.number("cost")?) })
}

/// The estimated tokens and cost of a row.
pub(super) fn estimated_amount(row: &impl Columns) -> Result<Amount, StoreError> {
    let tokens = Tokens { input: row.number("estimated_input")?, output: row.number("estimated_output")? };
    Ok(Amount { tokens, cost: MicroUsd(row.number("estimated_cost")?) })
}
