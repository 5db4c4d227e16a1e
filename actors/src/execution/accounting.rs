//! Money: the worst case of a call is set aside before a byte is sent, and settled after. A call that
//! is dropped in the middle is settled too, at its reservation.

use std::sync::Arc;

use greenroom_protocol::{CallKey, Cause, Clock, ErrorCode, MicroUsd, PriceBasis, Tokens};
use greenroom_registry::ledger::{Account, Amount, Budget, Ledger, Limit, Period, Reservation, Settlement};
use greenroom_rego::{Caller, Grant, Limits};
use tokio::sync::mpsc;

use super::invocation::{Invocation, UsageMeter};
use super::model_registry::Candidate;
use crate::model::{Message, OutputSchema, Part, ToolSpec};

/// Dropped reservations that may wait to be settled; one more is settled at the next start.
const ORPHANED_MAX: usize = 65_536;
/// Tokens that a provider may add to a message for its role and its ends.
const MESSAGE_TOKENS: u64 = 16;
/// Tokens that a provider may add to a request for the words that explain tools and schemas.
const FRAME_TOKENS: u64 = 1_024;

/// The ledger as executions use it. Cheap to clone.
#[derive(Clone)]
pub struct Accounting {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    late: mpsc::Sender<Reservation>,
}

/// Settles what dropped executions leave behind; the tree's root runs it.
pub struct OrphanedReservationSettler {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    late: mpsc::Receiver<Reservation>,
}

impl OrphanedReservationSettler {
    /// Settles until the last [`Treasury`] is gone.
    pub async fn run(&mut self) {
        while let Some(reservation) = self.late.recv().await {
            if let Err(error) = self.ledger.settle(reservation, Settlement::Estimated, self.clock.now()).await {
                tracing::error!(error = %error, "reservation could not be settled and waits for the next start");
            }
        }
    }
}

impl Accounting {
    /// A treasury over this ledger, and what settles late.
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>, clock: Arc<dyn Clock>) -> (Self, OrphanedReservationSettler) {
        let (late, settled) = mpsc::channel(ORPHANED_MAX);
        let settler =
            OrphanedReservationSettler { ledger: Arc::clone(&ledger), clock: Arc::clone(&clock), late: settled };
        (Self { ledger, clock, late }, settler)
    }

    /// Sets the worst case of one call aside in every budget above it.
    ///
    /// # Errors
    /// [`ErrorCode::BudgetExceeded`], [`ErrorCode::PriceUnknown`] or [`ErrorCode::StoreUnavailable`]; nothing was
    /// set aside, and nothing may be sent.
    pub async fn reserve<'t>(
        &'t self,
        job: &Invocation,
        meter: &'t UsageMeter,
        candidate: &Candidate,
        worst: Tokens,
        key: &CallKey,
    ) -> Result<OpenReservation<'t>, Cause> {
        let limits = limits(job);
        let cost = match candidate.price {
            Some(priced) => priced.price.cost(worst),
            None if limits.iter().any(|limit| limit.cost_max.is_some()) => {
                let message = format!("{} has no price, and a budget is set; nothing was sent", candidate.name);
                return Err(Cause::new(ErrorCode::PriceUnknown, message));
            }
            None => MicroUsd::default(),
        };
        let worst = Amount { tokens: worst, cost };
        let reservation = self
            .ledger
            .reserve(&account(job, candidate.basis()), &limits, worst, key, self.clock.now())
            .await
            .map_err(|refusal| refusal.cause())?;
        Ok(OpenReservation { accounting: self, meter, reservation: Some(reservation), worst, price: candidate.basis() })
    }
}

/// A reservation under way. Dropping it settles it as estimated, later.
#[must_use]
pub struct OpenReservation<'t> {
    accounting: &'t Accounting,
    meter: &'t UsageMeter,
    reservation: Option<Reservation>,
    worst: Amount,
    price: PriceBasis,
}

impl OpenReservation<'_> {
    /// The proof that the call is paid for.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] once it is settled.
    pub fn reservation(&self) -> Result<&Reservation, Cause> {
        self.reservation.as_ref().ok_or_else(|| Cause::new(ErrorCode::Internal, "a settled reservation was used again"))
    }

    /// The provider has counted.
    pub async fn settle_actual(mut self, tokens: Tokens, candidate: &Candidate) {
        let cost = candidate.price.map(|priced| priced.price.cost(tokens)).unwrap_or_default();
        self.meter.record_tokens(tokens, cost, self.price);
        self.settle(Settlement::Actual(Amount { tokens, cost })).await;
    }

    /// The provider has not counted: the whole reservation is taken.
    pub async fn settle_estimated(mut self) {
        self.meter.record_estimate(self.worst.cost, self.price);
        self.settle(Settlement::Estimated).await;
    }

    /// Nothing was worked on.
    pub async fn release(mut self) {
        self.settle(Settlement::Unused).await;
    }

    async fn settle(&mut self, settlement: Settlement) {
        let Some(reservation) = self.reservation.take() else { return };
        let settled = self.accounting.ledger.settle(reservation, settlement, self.accounting.clock.now()).await;
        if let Err(error) = settled {
            // The money is set aside still, and the next start settles it: nothing is overspent.
            tracing::error!(error = %error, "reservation could not be settled and waits for the next start");
        }
    }
}

impl Drop for OpenReservation<'_> {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            self.meter.record_estimate(self.worst.cost, self.price);
            if self.accounting.late.try_send(reservation).is_err() {
                tracing::error!("reservation could not be settled and waits for the next start");
            }
        }
    }
}

/// On whose account a call goes, and by whose price.
fn account(job: &Invocation, price: PriceBasis) -> Account {
    let principal = job.grant.principal();
    Account {
        tenant: principal.tenant.clone(),
        user: principal.user.clone(),
        agent: job.agent.id().clone(),
        workflow: workflow_of(&job.grant),
        run: job.grant.run().cloned(),
        price,
    }
}

/// The workflow of the innermost run in the chain.
fn workflow_of(grant: &Grant) -> Option<greenroom_protocol::WorkflowId> {
    grant.chain().iter().rev().find_map(|speaker| match speaker {
        Caller::Workflow { workflow, .. } => Some(workflow.clone()),
        Caller::User { .. } | Caller::Agent { .. } | Caller::Team { .. } | Caller::None => None,
    })
}

/// The budgets above a call, the nearest first. A limit of the request is the run's where there is a
/// run, so that all its steps share it; else it is this execution's.
fn limits(job: &Invocation) -> Vec<Limit> {
    let principal = job.grant.principal();
    let asked = job.invoke.options.cost_max;
    let run = job.grant.run();
    let of_execution = match (job.agent.cost_max(), asked.filter(|_| run.is_none())) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let (tenant, user) = (principal.tenant.clone(), principal.user.clone());
    let ever = |budget, cost_max| Limit { budget, period: Period::AllTime, cost_max, tokens_max: None };
    let of = |budget, limits: &Limits| Limit {
        budget,
        period: limits.period,
        cost_max: limits.usd,
        tokens_max: limits.tokens,
    };
    let all = [
        Some(ever(Budget::Execution(job.key()), of_execution)),
        run.map(|run| ever(Budget::Run(run.clone()), asked)),
        Some(of(Budget::User(tenant.clone(), user), &principal.limits)),
        Some(of(Budget::Tenant(tenant), &principal.tenant_limits)),
    ];
    all.into_iter().flatten().filter(|limit| limit.cost_max.is_some() || limit.tokens_max.is_some()).collect()
}

/// The most that a request may be counted as: one token a byte of everything that is sent.
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
