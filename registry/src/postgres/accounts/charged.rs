//! What budgets have been charged, as this pod reads it. Nothing is written, so that is no batch and has no commit.
//!
//! A settlement of this pod counts from the moment of its decision, as in the other stores, although its unit may not be
//! durable yet: the end of a run is decided, with its cost, before the unit that has the settlement of its last call.

use std::collections::HashSet;

use greenroom_protocol::{MicroUsd, PriceBasis, Tokens};
use serde::Deserialize;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;

use crate::error::StoreError;
use crate::ledger::{Amount, Budget, Charged, ChargedModels};
use crate::postgres::connection::{STATEMENT_TIMEOUT, in_time};
use crate::postgres::ledger::open::OpenReservations;
use crate::postgres::ledger::settled::SettledJson;

const SELECT_CHARGED: &str = "SELECT greenroom_charged_v3($1, $2, $3)";

/// What is read: the names of the budgets, and the settlements in them that may not be durable yet.
pub(in crate::postgres) struct ChargedQuery {
    accounts: Vec<String>,
    settling: Vec<SettledJson>,
}

impl ChargedQuery {
    /// What these budgets have been charged, with the settlements that this pod has decided until now.
    pub(in crate::postgres) fn new<'b>(
        budgets: impl Iterator<Item = &'b Budget>,
        reservations: &OpenReservations,
    ) -> Self {
        let budgets: HashSet<&Budget> = budgets.collect();
        let settling = reservations.settling(&budgets);
        Self { accounts: budgets.into_iter().map(account_of).collect(), settling }
    }

    /// Reads it.
    pub(in crate::postgres) async fn read(
        &self,
        connection: &mut PgConnection,
        pod: i64,
    ) -> Result<ChargedRows, StoreError> {
        let accounts = self.accounts.as_slice();
        let query = sqlx::query_scalar(SELECT_CHARGED).bind(pod).bind(accounts).bind(Json(&self.settling));
        let text: String = in_time(STATEMENT_TIMEOUT, query.fetch_one(connection)).await?;
        Ok(serde_json::from_str(&text)?)
    }
}

/// What was read.
#[derive(Deserialize)]
pub(in crate::postgres) struct ChargedRows(Vec<AccountRow>);

impl ChargedRows {
    /// What a budget has been charged.
    pub(in crate::postgres) fn charged(&self, budget: &Budget) -> Charged {
        let name = account_of(budget);
        self.0.iter().find(|row| row.account == name).map_or_else(Charged::default, AccountRow::charged)
    }
}

/// A model, and whether its price is assumed.
#[derive(Deserialize)]
struct ModelRow {
    model: String,
    assumed: bool,
}

#[derive(Deserialize)]
struct AccountRow {
    account: String,
    tokens_input: u64,
    tokens_output: u64,
    cost: u64,
    reserved_input: u64,
    reserved_output: u64,
    reserved_cost: u64,
    /// Of the settled calls; none for a budget that has no models.
    models: Vec<String>,
    assumed: bool,
    /// Of the calls in flight.
    open: Vec<ModelRow>,
}

impl AccountRow {
    fn charged(&self) -> Charged {
        let mut models = ChargedModels::default();
        let price = price_of(self.assumed);
        self.models.iter().for_each(|model| models.add(model, price));
        self.open.iter().for_each(|row| models.add(&row.model, price_of(row.assumed)));
        Charged {
            settled: amount(self.tokens_input, self.tokens_output, self.cost),
            reserved: amount(self.reserved_input, self.reserved_output, self.reserved_cost),
            models,
        }
    }
}

const fn price_of(is_assumed: bool) -> PriceBasis {
    if is_assumed { PriceBasis::Assumed } else { PriceBasis::Listed }
}

/// The name of a budget in the accounts. The serialiser of a budget does not fail; if it did, all budgets would be one.
pub(in crate::postgres) fn account_of(budget: &Budget) -> String {
    serde_json::to_string(budget).unwrap_or_default()
}

/// An amount of these columns.
pub(in crate::postgres) const fn amount(input: u64, output: u64, cost: u64) -> Amount {
    Amount { tokens: Tokens { input, output }, cost: MicroUsd(cost) }
}
