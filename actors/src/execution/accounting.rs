//! Accounting of model calls: reserves the worst-case cost before a byte is sent, and settles it after the
//! call. A call that is dropped before its end is settled at its reservation.

use std::sync::Arc;

use greenroom_protocol::{CallKey, Cause, Clock, ErrorCode, MicroUsd, PriceBasis, Tokens};
use greenroom_registry::ledger::{
    Account, Amount, Budget, Ledger, Limit, Period, Reservation, ReserveRequest, Settlement,
};
use greenroom_rego::{Caller, Grant, Limits, SpendingBound, SpendingScope};
use tokio::sync::mpsc;

use super::invocation::{Invocation, UsageMeter};
use super::model_registry::Candidate;
use crate::model::{Message, OutputSchema, Part, ToolSpec};

/// Maximum reservations of dropped calls that are queued for settlement; further ones are settled at the
/// next start.
const ORPHANED_MAX: usize = 65_536;
/// Share of the time of an execution for which a call waits for the reservations of others.
const WAIT_SHARE: f64 = 0.9;
/// Tokens that a provider may add to a message for its role and its delimiters.
const MESSAGE_TOKENS: u64 = 16;
/// Tokens that a provider may add to a request to explain tools and schemas.
const FRAME_TOKENS: u64 = 1_024;

/// Reserves and settles on the ledger. Cheap to clone.
#[derive(Clone)]
pub struct Accounting {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    orphaned: mpsc::Sender<Reservation>,
}

/// Settles the reservations of dropped calls, in the background.
pub struct OrphanedReservationSettler {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    orphaned: mpsc::Receiver<Reservation>,
}

impl OrphanedReservationSettler {
    /// Settles until every [`Accounting`] is dropped.
    pub async fn run(&mut self) {
        while let Some(reservation) = self.orphaned.recv().await {
            if let Err(error) = self.ledger.settle(reservation, Settlement::Estimated, self.clock.now()).await {
                tracing::error!(error = %error, "cannot settle reservation; it is settled as estimated at the next start");
            }
        }
    }
}

impl Accounting {
    /// Creates the accounting over this ledger, and the settler of its dropped calls.
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>, clock: Arc<dyn Clock>) -> (Self, OrphanedReservationSettler) {
        let (orphaned, receiver) = mpsc::channel(ORPHANED_MAX);
        let settler =
            OrphanedReservationSettler { ledger: Arc::clone(&ledger), clock: Arc::clone(&clock), orphaned: receiver };
        (Self { ledger, clock, orphaned }, settler)
    }

    /// Reserves the worst-case cost of one call in every budget above it. While only the reservations of other calls in
    /// flight are in its way, it waits for them, for most of the time that the execution has.
    ///
    /// # Errors
    /// [`ErrorCode::BudgetExceeded`], [`ErrorCode::PriceUnknown`] or [`ErrorCode::StoreUnavailable`]; nothing
    /// was reserved, and the call must not be sent.
    pub async fn reserve<'a>(
        &'a self,
        invocation: &Invocation,
        meter: &'a UsageMeter,
        candidate: &Candidate,
        upper_bound: Tokens,
        key: &CallKey,
    ) -> Result<OpenReservation<'a>, Cause> {
        let limits = limits(invocation);
        let cost = match candidate.price {
            Some(priced) => priced.price.cost(upper_bound),
            None if limits.iter().any(|limit| limit.cost_max.is_some()) => {
                let message = format!("{} has no price, and a budget is set; nothing was sent", candidate.name);
                return Err(Cause::new(ErrorCode::PriceUnknown, message));
            }
            None => MicroUsd::default(),
        };
        let upper_bound = Amount { tokens: upper_bound, cost };
        let now = self.clock.now();
        // Not all of it, so that the caller learns of the budget and not of a timeout.
        let wait_max = invocation.grant.deadline().remaining(now).min(invocation.agent.timeout()).mul_f64(WAIT_SHARE);
        let account = account(invocation, candidate.basis());
        let request = ReserveRequest { account, limits, upper_bound, key: key.clone() };
        let reservation = self.ledger.reserve(request, wait_max, now).await.map_err(|error| error.cause())?;
        let price = candidate.basis();
        Ok(OpenReservation { accounting: self, meter, reservation: Some(reservation), upper_bound, price })
    }
}

/// A reservation of a call in flight. If it is dropped, the settler settles it as estimated.
#[must_use]
pub struct OpenReservation<'a> {
    accounting: &'a Accounting,
    meter: &'a UsageMeter,
    reservation: Option<Reservation>,
    upper_bound: Amount,
    price: PriceBasis,
}

impl OpenReservation<'_> {
    /// The proof that the budgets cover the call.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] once it is settled.
    pub fn reservation(&self) -> Result<&Reservation, Cause> {
        self.reservation.as_ref().ok_or_else(|| Cause::new(ErrorCode::Internal, "a settled reservation was used again"))
    }

    /// Settles at the tokens that the provider reported.
    pub async fn settle_actual(mut self, tokens: Tokens, candidate: &Candidate) {
        let cost = candidate.price.map(|priced| priced.price.cost(tokens)).unwrap_or_default();
        self.meter.record_tokens(tokens, cost, self.price);
        self.settle(Settlement::Actual(Amount { tokens, cost })).await;
    }

    /// Settles at the full reservation, because the provider reported no tokens.
    pub async fn settle_estimated(mut self) {
        self.meter.record_estimate(self.upper_bound.cost, self.price);
        self.settle(Settlement::Estimated).await;
    }

    /// Releases the reservation of a call that cost nothing.
    pub async fn release(mut self) {
        self.settle(Settlement::Unused).await;
    }

    async fn settle(&mut self, settlement: Settlement) {
        let Some(reservation) = self.reservation.take() else { return };
        let settled = self.accounting.ledger.settle(reservation, settlement, self.accounting.clock.now()).await;
        if let Err(error) = settled {
            // The amount stays reserved until the next start settles it, so no budget is exceeded.
            tracing::error!(error = %error, "cannot settle reservation; it is settled as estimated at the next start");
        }
    }
}

impl Drop for OpenReservation<'_> {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            self.meter.record_estimate(self.upper_bound.cost, self.price);
            if self.accounting.orphaned.try_send(reservation).is_err() {
                tracing::error!("cannot settle reservation; it is settled as estimated at the next start");
            }
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
        run: invocation.grant.root().cloned(),
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

/// The budgets above a call, the nearest first: that of this execution, those of all runs and executions above it, and
/// those of the user and the tenant.
fn limits(invocation: &Invocation) -> Vec<Limit> {
    let principal = invocation.grant.principal();
    let (tenant, user) = (principal.tenant.clone(), principal.user.clone());
    let own = Limit {
        budget: Budget::Execution(invocation.key()),
        period: Period::AllTime,
        cost_max: invocation.agent.cost_max(),
        tokens_max: None,
    };
    let above = invocation.grant.spending().iter().rev().map(|SpendingBound { scope, limits }| Limit {
        budget: match scope {
            SpendingScope::Run(run) => Budget::Run(run.clone()),
            SpendingScope::Execution(key) => Budget::Execution(key.clone()),
        },
        period: Period::AllTime,
        cost_max: limits.cost_max,
        tokens_max: limits.tokens_max,
    });
    let periodic = |budget, limits: &Limits| Limit {
        budget,
        period: limits.period,
        cost_max: limits.usd,
        tokens_max: limits.tokens,
    };
    let accounts = [
        periodic(Budget::User(tenant.clone(), user), &principal.limits),
        periodic(Budget::Tenant(tenant), &principal.tenant_limits),
    ];
    let all = std::iter::once(own).chain(above).chain(accounts);
    all.filter(|limit| limit.cost_max.is_some() || limit.tokens_max.is_some()).collect()
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
