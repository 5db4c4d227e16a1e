//! A batch of the accounts' lane as JSON, and its result.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use greenroom_protocol as protocol;
use protocol::{MicroUsd, PriceBasis, PrincipalId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::types::Json;

use crate::columns::to_int;
use crate::ledger::reservation::{ReservationId, SettlementRecord};
use crate::ledger::usage::{BudgetUsage, UsageCounts, day_of, first_day, minute_of, window_minutes};
use crate::ledger::waiting::OwnedRequest;
use crate::ledger::{Amount, Budget, Exceeded, Limit, PERIOD_DAYS_MAX, ReserveError};
use crate::postgres::accounts::charged::{ChargedRows, account_of, amount};
use crate::postgres::ledger::settled::{SettledJson, amounts};
use crate::postgres::ledger::usage::{Minutes, UserUsage};
use crate::postgres::link::{BatchCall, BatchId};

#[derive(Serialize)]
struct MinuteJson {
    issuer: String,
    tenant: String,
    user_id: String,
    minute: i64,
    requests: i64,
    queries: i64,
}

#[derive(Serialize)]
struct LimitJson {
    index: usize,
    account: String,
    first_day: Option<i64>,
    cost_max: Option<i64>,
    tokens_max: Option<i64>,
}

#[derive(Serialize)]
struct ReserveJson {
    n: u64,
    key: String,
    issuer: String,
    tenant: String,
    user_id: String,
    agent: String,
    workflow: String,
    model: String,
    assumed: bool,
    budgets: Vec<String>,
    limits: Vec<LimitJson>,
    queue: Option<String>,
    input: i64,
    output: i64,
    cost: i64,
    at: i64,
    day: i64,
}

#[derive(Serialize)]
struct UsageJson {
    issuer: String,
    tenant: String,
    user_id: String,
    first_minute: i64,
}

#[derive(Serialize)]
struct DaysJson {
    account: String,
    first_day: i64,
}

/// A batch.
#[derive(Serialize, Default)]
pub(in crate::postgres) struct AccountsBatch {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    settled: Vec<SettledJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    minutes: Vec<MinuteJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reserve: Vec<ReserveJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    charged: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    days: Vec<DaysJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    usage: Vec<UsageJson>,
}

impl AccountsBatch {
    /// Adds a settlement.
    pub(in crate::postgres) fn settle(&mut self, record: &SettlementRecord) {
        self.settled.push(SettledJson::new(record));
    }

    /// Adds counts of requests.
    pub(in crate::postgres) fn count(&mut self, principal: &PrincipalId, minutes: &Minutes) {
        self.minutes.extend(minutes.iter().map(|(minute, counts)| MinuteJson {
            issuer: principal.issuer.to_string(),
            tenant: principal.tenant.to_string(),
            user_id: principal.user.to_string(),
            minute: *minute,
            requests: to_int(counts.calls),
            queries: to_int(counts.queries),
        }));
    }

    /// Adds a reservation; `queue` is a budget for which an earlier call waits.
    pub(in crate::postgres) fn reserve(
        &mut self,
        id: ReservationId,
        request: &OwnedRequest,
        budgets: &[Budget],
        queue: Option<&Budget>,
        at: Timestamp,
    ) {
        let OwnedRequest { account, limits, upper_bound, key } = request;
        let [input, output, cost] = amounts(*upper_bound);
        let today = day_of(at);
        let limit = |(index, limit): (usize, &Limit)| LimitJson {
            index,
            account: account_of(&limit.budget),
            first_day: first_day(limit.period, today),
            cost_max: limit.cost_max.map(|max| to_int(max.0)),
            tokens_max: limit.tokens_max.map(to_int),
        };
        self.reserve.push(ReserveJson {
            n: id.0,
            key: key.to_string(),
            issuer: account.principal.issuer.to_string(),
            tenant: account.principal.tenant.to_string(),
            user_id: account.principal.user.to_string(),
            agent: account.agent.to_string(),
            workflow: account.workflow.as_ref().map(ToString::to_string).unwrap_or_default(),
            model: account.model.clone(),
            assumed: account.price == PriceBasis::Assumed,
            budgets: budgets.iter().map(account_of).collect(),
            limits: limits.iter().enumerate().map(limit).collect(),
            queue: queue.map(account_of),
            input,
            output,
            cost,
            at: at.as_micros(),
            day: today,
        });
    }

    /// Reads the usage of a user.
    pub(in crate::postgres) fn read_usage(&mut self, principal: &PrincipalId, now: Timestamp) {
        for budget in budgets_of_user(principal) {
            let account = account_of(&budget);
            self.days.push(DaysJson { account: account.clone(), first_day: oldest_day(now) });
            self.charged.push(account);
        }
        let first_minute = minute_of(now).saturating_sub(window_minutes());
        let PrincipalId { issuer, tenant, user } = principal;
        let (issuer, tenant, user_id) = (issuer.to_string(), tenant.to_string(), user.to_string());
        self.usage.push(UsageJson { issuer, tenant, user_id, first_minute });
    }
}

impl BatchCall for AccountsBatch {
    fn call<'c>(&'c self, connection: &'c mut PgConnection, id: BatchId) -> BoxFuture<'c, Result<String, sqlx::Error>> {
        let BatchId { pod, lane, batch } = id;
        Box::pin(async move {
            sqlx::query_scalar("SELECT greenroom_accounts_v2($1, $2, $3, $4)")
                .bind(pod)
                .bind(lane)
                .bind(batch)
                .bind(Json(self))
                .fetch_one(connection)
                .await
        })
    }
}

/// The day before the longest period that has to be summed by day.
fn oldest_day(now: Timestamp) -> i64 {
    day_of(now).saturating_sub(i64::from(PERIOD_DAYS_MAX))
}

/// The budgets that the usage of a user is read from: that of the user, and that of the tenant.
fn budgets_of_user(principal: &PrincipalId) -> [Budget; 2] {
    [Budget::User(principal.clone()), Budget::Tenant(principal.tenant.clone())]
}

#[derive(Deserialize)]
struct RefusalRow {
    index: usize,
    spent_input: u64,
    spent_output: u64,
    spent_cost: u64,
    reserved_input: u64,
    reserved_output: u64,
    reserved_cost: u64,
}

/// The decision about one reservation.
#[derive(Deserialize)]
pub(in crate::postgres) struct ReservedRow {
    pub(in crate::postgres) n: u64,
    refusal: Option<RefusalRow>,
}

impl ReservedRow {
    /// Why the reservation is not made; `None` if it is.
    pub(in crate::postgres) fn error(&self, request: &OwnedRequest) -> Option<ReserveError> {
        let row = self.refusal.as_ref()?;
        let Some(limit) = request.limits.get(row.index) else { return Some(ReserveError::Bounds) };
        let (requested, spent) = (request.upper_bound, amount(row.spent_input, row.spent_output, row.spent_cost));
        let reserved = amount(row.reserved_input, row.reserved_output, row.reserved_cost);
        let cost = limit.cost_max.map(|max| Exceeded::Cost {
            max,
            spent: spent.cost,
            reserved: reserved.cost,
            requested: requested.cost,
        });
        let tokens = limit.tokens_max.map(|max| Exceeded::Tokens {
            max,
            spent: spent.tokens.total(),
            reserved: reserved.tokens.total(),
            requested: requested.tokens.total(),
        });
        // A call that only must not overtake another one is compared by the cost, if that is limited.
        let by = [cost, tokens].into_iter().flatten().find(Exceeded::is_exceeded).or(cost).or(tokens);
        Some(by.map_or(ReserveError::Bounds, |by| ReserveError::Exceeded { budget: limit.budget.clone(), by }))
    }
}

#[derive(Deserialize)]
struct DayRow {
    account: String,
    day: i64,
    tokens_input: u64,
    tokens_output: u64,
    cost: u64,
}

#[derive(Deserialize)]
struct MinuteRow {
    issuer: String,
    tenant: String,
    user_id: String,
    minute: i64,
    requests: u64,
    queries: u64,
    tokens: u64,
    cost: u64,
}

/// The result of a batch.
#[derive(Deserialize)]
pub(in crate::postgres) struct AccountsResult {
    pub(in crate::postgres) reserved: Vec<ReservedRow>,
    /// Settlements that are shown in the accounts now.
    pub(in crate::postgres) settlements: usize,
    accounts: ChargedRows,
    days: Vec<DayRow>,
    minutes: Vec<MinuteRow>,
}

impl AccountsResult {
    /// The usage of a user.
    pub(in crate::postgres) fn usage(&self, principal: &PrincipalId, now: Timestamp) -> UserUsage {
        let [user, tenant] = budgets_of_user(principal);
        let (user, tenant) = (self.spending(&user, now), self.spending(&tenant, now));
        let mut usage = UserUsage { user, tenant, ..UserUsage::default() };
        let PrincipalId { issuer, tenant, user } = principal;
        let is_own = |row: &&MinuteRow| {
            row.issuer == issuer.as_str() && row.tenant == tenant.as_str() && row.user_id == user.as_str()
        };
        let minutes: BTreeMap<i64, &MinuteRow> =
            self.minutes.iter().filter(is_own).map(|row| (row.minute, row)).collect();
        for (minute, row) in minutes {
            let cost = MicroUsd(row.cost);
            let counts = UsageCounts { calls: row.requests, queries: row.queries, tokens: row.tokens, cost };
            usage.window.add(minute, counts);
        }
        usage
    }

    /// What a budget has spent, by day; what is older than the longest period is one sum.
    fn spending(&self, budget: &Budget, now: Timestamp) -> BudgetUsage {
        let name = account_of(budget);
        let days: BTreeMap<i64, Amount> = self
            .days
            .iter()
            .filter(|row| row.account == name)
            .map(|row| (row.day, amount(row.tokens_input, row.tokens_output, row.cost)))
            .collect();
        let total = self.accounts.charged(budget).settled;
        let mut recent = Amount::default();
        days.values().for_each(|day| recent += *day);
        let mut spending = BudgetUsage::default();
        spending.spend(oldest_day(now), remainder(total, recent));
        days.into_iter().for_each(|(day, spent)| spending.spend(day, spent));
        spending
    }
}

fn remainder(total: Amount, recent: Amount) -> Amount {
    let (tokens, other) = (total.tokens, recent.tokens);
    amount(
        tokens.input.saturating_sub(other.input),
        tokens.output.saturating_sub(other.output),
        total.cost.0.saturating_sub(recent.cost.0),
    )
}
