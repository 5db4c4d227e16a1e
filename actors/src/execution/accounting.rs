//! Accounting of model calls: reserves the worst-case cost before a byte is sent, and settles it after the
//! call. A call that is dropped before its end is settled at its reservation. The settlement becomes durable in the
//! unit that records what the call was for: the end of a step, the reply to a request, or the next reservation.

use std::sync::Arc;
use std::time::Duration;

use greenroom_definitions::models::{Priced, TokenCounts};
use greenroom_protocol::{CallKey, Cause, Clock, ErrorCode, MicroUsd, PriceBasis, Tokens};
use greenroom_registry::Stores;
use greenroom_registry::cluster::{ClusterStore, LeaseStatus};
use greenroom_registry::core::CoreStore;
use greenroom_registry::ledger::{
    Account, Amount, Budget, Ledger, Limit, Period, Reservation, ReservationRequest, Settlement,
};
use greenroom_rego::{Caller, Grant, Limits, SpendingBound, SpendingScope};

use super::invocation::{Invocation, UsageMeter};
use super::model_registry::Candidate;
use super::runtime::ExecutionContext;
use crate::model::{Message, OutputSchema, Part, ToolSpec};
use crate::pipeline::Settlements;

mod embedding;

pub use embedding::EmbeddingCall;

/// Share of the time left to an execution for which a call waits for the reservations of others.
const WAIT_SHARE: f64 = 0.9;
/// Tokens that a provider may add to a message for its role and its delimiters.
const MESSAGE_TOKENS: u64 = 16;
/// Tokens that a provider may add to a request to explain tools and schemas.
const FRAME_TOKENS: u64 = 1_024;

/// Reserves and settles on the ledger. Cheap to clone.
#[derive(Clone)]
pub struct Accounting {
    core: Arc<dyn CoreStore>,
    ledger: Arc<dyn Ledger>,
    cluster: Arc<dyn ClusterStore>,
    clock: Arc<dyn Clock>,
}

impl Accounting {
    /// Creates the accounting over these stores.
    #[must_use]
    pub fn new(stores: &Stores, clock: Arc<dyn Clock>) -> Self {
        let Stores { core, ledger, cluster, .. } = stores.clone();
        Self { core, ledger, cluster, clock }
    }

    /// Waits as long as the lease of this pod has lapsed. What has an effect outside begins only after this: the process
    /// may have been stopped since the last write of its caller was durable.
    ///
    /// # Errors
    /// [`ErrorCode::LeaseLost`] if another pod has declared this one dead.
    pub async fn wait_lease(&self) -> Result<(), Cause> {
        self.cluster.wait_lease().await.map_err(|error| error.cause())
    }

    /// True if this pod has its lease at this moment.
    #[must_use]
    pub fn has_lease(&self) -> bool {
        self.cluster.lease_status() == LeaseStatus::Live
    }

    /// Reserves the worst-case cost of one call in every budget above it. The settlements of the calls before it become
    /// durable in the same unit. While only the reservations of other calls in flight are in its way, it waits for them,
    /// for most of the time that is left to the execution.
    ///
    /// # Errors
    /// [`ErrorCode::BudgetExceeded`], [`ErrorCode::PriceUnknown`] or [`ErrorCode::StoreUnavailable`]; nothing
    /// was reserved, and the call must not be sent.
    pub async fn reserve<'a>(
        &'a self,
        ctx: &ExecutionContext<'a>,
        candidate: &Candidate,
        upper_bound: Tokens,
        key: &CallKey,
    ) -> Result<OpenReservation<'a>, Cause> {
        let (invocation, meter) = (ctx.invocation, ctx.meter);
        // Not all of it, so that the caller learns of the budget and not of a timeout.
        let wait_max = ctx.time_left().mul_f64(WAIT_SHARE);
        let (account, limits) = (account(invocation, candidate), limits(invocation));
        let settlements = &invocation.settlements;
        let price = candidate.price;
        self.reserve_call(Booking { account, limits, price, upper_bound, key, meter, settlements, wait_max }).await
    }

    /// Reserves the worst-case cost of a call.
    async fn reserve_call<'a>(&'a self, booking: Booking<'a, '_>) -> Result<OpenReservation<'a>, Cause> {
        let Booking { account, limits, price, upper_bound, key, meter, settlements, wait_max } = booking;
        let cost = match price {
            Some(priced) => priced.price.cost_max(upper_bound),
            None if limits.iter().any(|limit| limit.cost_max.is_some()) => {
                let message = format!("{} has no price, and a budget is set; nothing was sent", account.model);
                return Err(Cause::new(ErrorCode::PriceUnknown, message));
            }
            None => MicroUsd::default(),
        };
        let upper_bound = Amount { tokens: upper_bound, cost };
        let request = ReservationRequest { account: &account, limits: &limits, upper_bound, key };
        let now = self.clock.now();
        let reserved = self.core.reserve_or_wait(request, settlements.take(), &*self.ledger, wait_max, now).await;
        let reservation = Some(reserved.map_err(|error| error.cause())?);
        let Account { model, price, .. } = account;
        Ok(OpenReservation { accounting: self, meter, settlements, reservation, upper_bound, model, price })
    }
}

/// What is reserved for one call, and where its settlement goes.
struct Booking<'a, 'k> {
    account: Account,
    limits: Vec<Limit>,
    price: Option<Priced>,
    upper_bound: Tokens,
    key: &'k CallKey,
    meter: &'a UsageMeter,
    settlements: &'a Settlements,
    wait_max: Duration,
}

/// A reservation of a call in flight. If it is dropped, it is settled as estimated.
#[must_use]
pub struct OpenReservation<'a> {
    accounting: &'a Accounting,
    meter: &'a UsageMeter,
    settlements: &'a Settlements,
    reservation: Option<Reservation>,
    upper_bound: Amount,
    model: String,
    price: PriceBasis,
}

impl OpenReservation<'_> {
    /// The maximum usage of the call.
    #[must_use]
    pub const fn upper_bound(&self) -> Amount {
        self.upper_bound
    }

    /// The proof that the budgets cover the call.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] once it is settled.
    pub fn reservation(&self) -> Result<&Reservation, Cause> {
        self.reservation.as_ref().ok_or_else(|| Cause::new(ErrorCode::Internal, "a settled reservation was used again"))
    }

    /// Settles at the tokens that the provider reported.
    pub fn settle_actual(self, counts: TokenCounts, candidate: &Candidate) {
        self.settle_counts(counts, candidate.price);
    }

    /// Settles at the tokens that the provider reported, at this price.
    pub fn settle_counts(mut self, counts: TokenCounts, price: Option<Priced>) {
        let cost = price.map(|priced| priced.price.cost(counts)).unwrap_or_default();
        let tokens = counts.tokens();
        self.meter.record_tokens(&self.model, tokens, cost, self.price);
        self.settle(Settlement::Actual(Amount { tokens, cost }));
    }

    /// Settles at the full reservation, because the provider reported no credible tokens.
    pub fn settle_estimated(mut self) {
        self.meter.record_estimate(&self.model, self.upper_bound.cost, self.price);
        self.settle(Settlement::Estimated);
    }

    /// Releases the reservation of a call that cost nothing.
    pub fn release(mut self) {
        self.settle(Settlement::Unused);
    }

    fn settle(&mut self, settlement: Settlement) {
        let Some(reservation) = self.reservation.take() else { return };
        let Accounting { ledger, clock, .. } = self.accounting;
        self.settlements.add(ledger.settle(reservation, settlement, clock.now()));
    }
}

impl Drop for OpenReservation<'_> {
    fn drop(&mut self) {
        if self.reservation.is_some() {
            self.meter.record_estimate(&self.model, self.upper_bound.cost, self.price);
            self.settle(Settlement::Estimated);
        }
    }
}

/// The account that a call is charged to.
fn account(invocation: &Invocation, candidate: &Candidate) -> Account {
    Account {
        principal: invocation.grant.principal().id.clone(),
        agent: invocation.agent.id().clone(),
        workflow: workflow_of(&invocation.grant),
        run: invocation.grant.root().cloned(),
        model: candidate.name.to_string(),
        price: candidate.basis(),
    }
}

/// The workflow of the innermost run in the chain.
fn workflow_of(grant: &Grant) -> Option<greenroom_protocol::WorkflowId> {
    grant.chain().iter().rev().find_map(|caller| match caller {
        Caller::Workflow { workflow, .. } => Some(workflow.clone()),
        Caller::User { .. } | Caller::Agent { .. } | Caller::Team { .. } | Caller::None => None,
    })
}

/// The runs of the call chain. Those without a limit are charged too, so that the ledger has the cost of each run with
/// all that it called. The account has the root.
fn charged_runs(grant: &Grant) -> impl Iterator<Item = Limit> {
    let root = grant.root();
    let runs = grant.chain().iter().filter_map(move |caller| match caller {
        Caller::Workflow { run, .. } if Some(run) != root => Some(run.clone()),
        Caller::Workflow { .. } | Caller::User { .. } | Caller::Agent { .. } | Caller::Team { .. } | Caller::None => {
            None
        }
    });
    runs.map(|run| Limit { budget: Budget::Run(run), period: Period::AllTime, cost_max: None, tokens_max: None })
}

/// The budget that a limit above a call applies to. The compensation of a run has one of its own with the same limit,
/// and so has it in each run above: a run whose budget is exhausted is reversed all the same, and the reversal is
/// bounded too.
fn budget_above(scope: &SpendingScope, is_compensation: bool) -> Budget {
    match scope {
        SpendingScope::Run(run) if is_compensation => Budget::Execution(CallKey::for_run_compensation(run)),
        SpendingScope::Run(run) => Budget::Run(run.clone()),
        SpendingScope::Execution(key) => Budget::Execution(key.clone()),
    }
}

/// The limits of the user and the tenant. A compensation is charged to both, but what they have left does not limit it,
/// because the call that it reverses was permitted: its own budget does. If no run above it has a limit, that budget is
/// as large as what the user and the tenant may use in all.
fn account_limits(grant: &Grant) -> Vec<Limit> {
    let principal = grant.principal();
    let accounts = [
        (Budget::User(principal.id.clone()), principal.limits),
        (Budget::Tenant(principal.id.tenant.clone()), principal.tenant_limits),
    ];
    let limit =
        |budget, period, limits: Limits| Limit { budget, period, cost_max: limits.usd, tokens_max: limits.tokens };
    let is_limited = grant.spending().iter().any(|bound| matches!(bound.scope, SpendingScope::Run(_)));
    match grant.root().filter(|_| grant.is_compensation()) {
        None => accounts.map(|(budget, limits)| limit(budget, limits.period, limits)).to_vec(),
        Some(_) if is_limited => Vec::new(),
        Some(root) => {
            let own = Budget::Execution(CallKey::for_run_compensation(root));
            accounts.map(|(_, limits)| limit(own.clone(), Period::AllTime, limits)).to_vec()
        }
    }
}

/// The budgets above a call, the nearest first: that of this execution, those of all runs and executions above it, and
/// those of the user and the tenant; then those that are only charged.
fn limits(invocation: &Invocation) -> Vec<Limit> {
    let own = Limit {
        budget: Budget::Execution(invocation.budget_key()),
        period: Period::AllTime,
        cost_max: invocation.agent.cost_max(),
        tokens_max: None,
    };
    grant_limits(&invocation.grant, Some(own))
}

/// As [`limits`], with the budget of an execution if the call belongs to one.
fn grant_limits(grant: &Grant, own: Option<Limit>) -> Vec<Limit> {
    let is_compensation = grant.is_compensation();
    let above = grant.spending().iter().rev().map(|SpendingBound { scope, limits }| Limit {
        budget: budget_above(scope, is_compensation),
        period: Period::AllTime,
        cost_max: limits.cost_max,
        tokens_max: limits.tokens_max,
    });
    let all = own.into_iter().chain(above).chain(account_limits(grant));
    let mut limits: Vec<Limit> = all.filter(|limit| limit.cost_max.is_some() || limit.tokens_max.is_some()).collect();
    for charged in charged_runs(grant) {
        if limits.iter().all(|limit| limit.budget != charged.budget) {
            limits.push(charged);
        }
    }
    limits
}

/// The upper bound of a request's tokens: one token per byte of everything that is sent.
#[must_use]
pub fn request_tokens(system: &str, messages: &[Message], schema: Option<&OutputSchema>, tools: &[ToolSpec]) -> u64 {
    let part = |part: &Part| match part {
        Part::Text(text) => text.len(),
        Part::ToolCall(call) => call.id.len() + call.name.len() + call.arguments.to_string().len(),
        Part::ToolResult { id, content, .. } => id.len() + content.len(),
    };
    let of_messages =
        |message: &Message| MESSAGE_TOKENS + message.parts.iter().map(|each| part(each) as u64).sum::<u64>();
    let of_schema = schema.map_or(0, |schema| schema.name.len() + schema.schema.to_string().len());
    let of_tools: usize =
        tools.iter().map(|tool| tool.name.len() + tool.description.len() + tool.parameters.to_string().len()).sum();
    let frame = if schema.is_some() || !tools.is_empty() { FRAME_TOKENS } else { 0 };
    frame
        + MESSAGE_TOKENS
        + (system.len() + of_schema + of_tools) as u64
        + messages.iter().map(of_messages).sum::<u64>()
}
