//! Accounting of model calls: reserves the worst-case cost before a byte is sent, and settles it after the
//! call. A call that is dropped before its end is settled at its reservation. The settlement becomes durable in the
//! unit that records what the call was for: the end of a step, the reply to a request, or the next reservation.

use std::sync::Arc;

use greenroom_definitions::models::TokenCounts;
use greenroom_protocol::{CallKey, Cause, Clock, ErrorCode, MicroUsd, PriceBasis, RunId, Tokens};
use greenroom_registry::Stores;
use greenroom_registry::core::{CoreStore, Unit};
use greenroom_registry::ledger::{
    Account, Amount, Budget, Ledger, Limit, Period, Reservation, ReservationRequest, Settlement,
};
use greenroom_rego::{Caller, Grant, Limits};

use super::invocation::{Invocation, UsageMeter};
use super::model_registry::Candidate;
use crate::model::{Message, OutputSchema, Part, ToolSpec};
use crate::pipeline::Settlements;

/// Tokens that a provider may add to a message for its role and its delimiters.
const MESSAGE_TOKENS: u64 = 16;
/// Tokens that a provider may add to a request to explain tools and schemas.
const FRAME_TOKENS: u64 = 1_024;

/// Reserves and settles on the ledger. Cheap to clone.
#[derive(Clone)]
pub struct Accounting {
    core: Arc<dyn CoreStore>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
}

impl Accounting {
    /// Creates the accounting over these stores.
    #[must_use]
    pub fn new(stores: &Stores, clock: Arc<dyn Clock>) -> Self {
        Self { core: Arc::clone(&stores.core), ledger: Arc::clone(&stores.ledger), clock }
    }

    /// Reserves the worst-case cost of one call in every budget above it. The settlements of the calls before it become
    /// durable in the same unit.
    ///
    /// # Errors
    /// [`ErrorCode::BudgetExceeded`], [`ErrorCode::PriceUnknown`] or [`ErrorCode::StoreUnavailable`]; nothing
    /// was reserved, and the call must not be sent.
    pub async fn reserve<'a>(
        &'a self,
        invocation: &'a Invocation,
        meter: &'a UsageMeter,
        candidate: &Candidate,
        upper_bound: Tokens,
        key: &CallKey,
    ) -> Result<OpenReservation<'a>, Cause> {
        let limits = limits(invocation);
        let cost = match candidate.price {
            Some(priced) => priced.price.cost_max(upper_bound),
            None if limits.iter().any(|limit| limit.cost_max.is_some()) => {
                let message = format!("{} has no price, and a budget is set; nothing was sent", candidate.name);
                return Err(Cause::new(ErrorCode::PriceUnknown, message));
            }
            None => MicroUsd::default(),
        };
        let upper_bound = Amount { tokens: upper_bound, cost };
        let (model, price) = (candidate.name.to_string(), candidate.basis());
        let account = account(invocation, price);
        let request = ReservationRequest { account: &account, limits: &limits, upper_bound, key };
        let unit = Unit::new(self.clock.now()).reserve(request).settle(invocation.settlements.take());
        let receipts = self.core.commit(unit).await.map_err(|error| error.cause())?;
        let settlements = &invocation.settlements;
        Ok(OpenReservation {
            accounting: self,
            meter,
            settlements,
            reservation: receipts.reservation,
            upper_bound,
            model,
            price,
        })
    }
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
    pub fn settle_actual(mut self, counts: TokenCounts, candidate: &Candidate) {
        let cost = candidate.price.map(|priced| priced.price.cost(counts)).unwrap_or_default();
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
fn account(invocation: &Invocation, price: PriceBasis) -> Account {
    let principal = invocation.grant.principal();
    Account {
        tenant: principal.tenant.clone(),
        user: principal.user.clone(),
        agent: invocation.agent.id().clone(),
        workflow: workflow_of(&invocation.grant),
        run: invocation.grant.run().cloned(),
        price,
    }
}

/// The workflow of the innermost run in the chain.
fn workflow_of(grant: &Grant) -> Option<greenroom_protocol::WorkflowId> {
    grant.chain().iter().rev().find_map(|caller| match caller {
        Caller::Workflow { workflow, .. } => Some(workflow.clone()),
        Caller::User { .. } | Caller::Agent { .. } | Caller::Team { .. } | Caller::None => None,
    })
}

/// The runs in whose steps the run of the call is nested. They have no limit here, and are charged too, so that the
/// ledger has the cost of each run with all that it called.
fn outer_runs(grant: &Grant) -> impl Iterator<Item = Limit> {
    let innermost = grant.run();
    let runs = grant.chain().iter().filter_map(move |caller| match caller {
        Caller::Workflow { run, .. } if Some(run) != innermost => Some(run.clone()),
        Caller::Workflow { .. } | Caller::User { .. } | Caller::Agent { .. } | Caller::Team { .. } | Caller::None => {
            None
        }
    });
    runs.map(|run| Limit { budget: Budget::Run(run), period: Period::AllTime, cost_max: None, tokens_max: None })
}

/// The budgets above a call, the nearest first. The limit of a request applies to the whole request: inside a run to
/// the run, so that all its steps share it, otherwise to the outermost execution, so that the agents that it calls
/// share it, also if they are called at the same time.
fn limits(invocation: &Invocation) -> Vec<Limit> {
    let principal = invocation.grant.principal();
    let requested = invocation.invoke.options.cost_max;
    let run = invocation.grant.run();
    let key = invocation.budget_key();
    let outermost = key.root();
    let outermost_limit = requested.filter(|_| run.is_none());
    let own_limit = match (invocation.agent.cost_max(), outermost_limit.filter(|_| key == outermost)) {
        (Some(agent), Some(request)) => Some(agent.min(request)),
        (agent, request) => agent.or(request),
    };
    let (tenant, user) = (principal.tenant.clone(), principal.user.clone());
    let all_time = |budget, cost_max| Limit { budget, period: Period::AllTime, cost_max, tokens_max: None };
    let periodic = |budget, limits: &Limits| Limit {
        budget,
        period: limits.period,
        cost_max: limits.usd,
        tokens_max: limits.tokens,
    };
    let all = [
        Some(all_time(Budget::Execution(key.clone()), own_limit)),
        (key != outermost).then(|| all_time(Budget::Execution(outermost.clone()), outermost_limit)),
        run.map(|run| all_time(run_budget(invocation, run), requested)),
        Some(periodic(Budget::User(tenant.clone(), user), &principal.limits)),
        Some(periodic(Budget::Tenant(tenant), &principal.tenant_limits)),
    ];
    let limits = all.into_iter().flatten().filter(|limit| limit.cost_max.is_some() || limit.tokens_max.is_some());
    limits.chain(outer_runs(&invocation.grant)).collect()
}

/// The budget of a run. Its compensation has one of its own with the same limit: a run whose budget is exhausted is
/// reversed all the same, and the reversal is bounded too.
fn run_budget(invocation: &Invocation, run: &RunId) -> Budget {
    invocation.key().run_compensation().map_or_else(|| Budget::Run(run.clone()), Budget::Execution)
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
