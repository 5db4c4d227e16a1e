//! Usage and money: calls, queries and tokens of the last hour, and a tree of budgets. Before a model call
//! sends anything, its worst case is reserved in every budget above it; after the call the reservation
//! is settled. Both are written by a [`crate::core::Unit`]: the settlement with what the call has produced.

use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
pub use protocol::Period;
use protocol::{
    AgentId, CallKey, Cause, ErrorCode, MicroUsd, PriceBasis, PrincipalId, RunId, TenantId, Timestamp, Tokens,
    WorkflowId,
};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

pub use charged_models::{CHARGED_MODELS_MAX, ChargedModels};
pub use counters::{Periods, RequestKind, UsageSummary};
pub use reservation::{Reservation, ReserveTicket, Settled};

mod charged_models;
mod counters;
pub(crate) mod decode;
pub(crate) mod deltas;
pub(crate) mod reservation;
pub(crate) mod reserve;
pub(crate) mod state;
pub(crate) mod usage;
pub(crate) mod waiting;

/// The window in which usage is counted.
pub const USAGE_WINDOW: Duration = Duration::from_secs(60 * 60);
/// The longest sliding period of a budget, in days.
pub const PERIOD_DAYS_MAX: u16 = 31;
/// Budgets that limit one reservation, or are only charged with it: for a call chain of eight hops, three for each.
pub const LIMITS_MAX: usize = 32;
/// Calls that may wait at once for the reservations of others; a further one is rejected.
pub const WAITING_MAX: usize = 10_000;

/// The account that a call is charged to, and the model that it pays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Account {
    /// The principal behind the call.
    pub principal: PrincipalId,
    /// The agent that makes the call.
    pub agent: AgentId,
    /// The workflow that the agent works for.
    pub workflow: Option<WorkflowId>,
    /// The run that the agent works for.
    pub run: Option<RunId>,
    /// The model (`provider.name`).
    pub model: String,
    /// The basis of its price.
    #[serde(default)]
    pub price: PriceBasis,
}

/// A node in the tree of budgets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Budget {
    /// One execution of an agent with all its attempts and turns.
    Execution(CallKey),
    /// One run with all its steps.
    Run(RunId),
    /// All executions of one agent.
    Agent(AgentId),
    /// One principal.
    User(PrincipalId),
    /// One tenant.
    Tenant(TenantId),
}

impl Budget {
    /// The budget's kind, for messages: `execution`, `run`, `agent`, `user`, `tenant`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Execution(_) => "execution",
            Self::Run(_) => "run",
            Self::Agent(_) => "agent",
            Self::User(_) => "user",
            Self::Tenant(_) => "tenant",
        }
    }

    /// The name of the budget's owner.
    #[must_use]
    pub fn owner(&self) -> &str {
        match self {
            Self::Execution(key) => key.as_str(),
            Self::Run(run) => run.as_str(),
            Self::Agent(agent) => agent.as_str(),
            Self::User(principal) => principal.user.as_str(),
            Self::Tenant(tenant) => tenant.as_str(),
        }
    }

    /// True if the budget has a row of its own, with its models; the others are computed from the costs.
    pub(crate) const fn has_row(&self) -> bool {
        match self {
            Self::Execution(_) | Self::Run(_) => true,
            Self::Agent(_) | Self::User(_) | Self::Tenant(_) => false,
        }
    }
}

/// The limit of one budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The budget.
    pub budget: Budget,
    /// The period; at most [`PERIOD_DAYS_MAX`] days.
    pub period: Period,
    /// The maximum cost.
    pub cost_max: Option<MicroUsd>,
    /// The maximum of input and output tokens together.
    pub tokens_max: Option<u64>,
}

/// Tokens and their cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amount {
    /// Tokens.
    pub tokens: Tokens,
    /// Money.
    pub cost: MicroUsd,
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.cost += other.cost;
    }
}

/// What a budget has been charged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Charged {
    /// The settled calls, of all time.
    pub settled: Amount,
    /// The reservations of calls in flight.
    pub reserved: Amount,
    /// The models of both, for a run or an execution; the other budgets have none.
    pub models: ChargedModels,
}

/// The actual usage of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The provider reported it.
    Actual(Amount),
    /// The provider reported nothing: the whole reservation is charged, and marked as estimated.
    Estimated,
    /// The call cost nothing: it was not sent, or the provider rejected it unbilled.
    Unused,
}

impl Settlement {
    /// The amount that is charged for a reservation.
    #[must_use]
    pub fn amount(self, upper_bound: Amount) -> Amount {
        match self {
            Self::Actual(amount) => amount,
            Self::Estimated => upper_bound,
            Self::Unused => Amount::default(),
        }
    }
}

/// Which limit of a budget would be exceeded. What calls in flight have reserved is their worst case: once they are
/// settled, most of it is free again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// The limit of the cost.
    Cost {
        /// The limit.
        max: MicroUsd,
        /// Spent already.
        spent: MicroUsd,
        /// Reserved by calls in flight.
        reserved: MicroUsd,
        /// Requested by this call.
        requested: MicroUsd,
    },
    /// The limit of the tokens.
    Tokens {
        /// The limit.
        max: u64,
        /// Spent already.
        spent: u64,
        /// Reserved by calls in flight.
        reserved: u64,
        /// Requested by this call.
        requested: u64,
    },
}

/// An error of a reservation. Nothing was reserved.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReserveError {
    /// The worst case of the call would exceed a budget.
    #[error("the call could exceed the budget of the {} `{}`", .budget.kind(), .budget.owner())]
    Exceeded {
        /// The budget.
        budget: Budget,
        /// The limit and the amounts.
        by: Exceeded,
    },
    /// More limits than [`LIMITS_MAX`], or a period that is too long.
    #[error("a reservation has at most {LIMITS_MAX} limits with periods of at most {PERIOD_DAYS_MAX} days")]
    Bounds,
    /// The ledger cannot be written.
    #[error("the ledger cannot be written")]
    Store(#[from] StoreError),
}

impl ReserveError {
    /// True if only the reservations of calls in flight are in the way of the call.
    #[must_use]
    pub fn may_fit_later(&self) -> bool {
        matches!(self, Self::Exceeded { by, .. } if by.may_fit_later())
    }

    /// The cause that a user sees.
    #[must_use]
    pub fn cause(&self) -> Cause {
        let (budget, by) = match self {
            Self::Exceeded { budget, by } => (budget, by),
            Self::Bounds => return Cause::new(ErrorCode::Internal, self.to_string()),
            Self::Store(error) => return error.cause(),
        };
        let (message, mut details) = match *by {
            Exceeded::Cost { max, spent, reserved, requested } => (
                format!(
                    "{self}: it may cost up to {requested}; of {max}, {spent} are spent and {reserved} only reserved by \
                     calls in flight"
                ),
                serde_json::json!({ "max_usd": max.as_usd(), "max_micro_usd": max,
                    "spent_usd": spent.as_usd(), "spent_micro_usd": spent,
                    "reserved_usd": reserved.as_usd(), "reserved_micro_usd": reserved,
                    "requested_usd": requested.as_usd(), "requested_micro_usd": requested }),
            ),
            Exceeded::Tokens { max, spent, reserved, requested } => (
                format!(
                    "{self}: it may use up to {requested} tokens; of {max}, {spent} are spent and {reserved} only \
                     reserved by calls in flight"
                ),
                serde_json::json!({ "max_tokens": max, "spent_tokens": spent,
                    "reserved_tokens": reserved, "requested_tokens": requested }),
            ),
        };
        if let Some(members) = details.as_object_mut() {
            members.insert("budget".into(), budget.kind().into());
            members.insert("owner".into(), budget.owner().into());
        }
        Cause::new(ErrorCode::BudgetExceeded, message).with_details(details)
    }
}

/// The costs of one day, principal, agent and workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostRow {
    /// The start of the day, UTC.
    pub day: Timestamp,
    /// The principal.
    pub principal: PrincipalId,
    /// The agent.
    pub agent: AgentId,
    /// The workflow that the agent worked for.
    pub workflow: Option<WorkflowId>,
    /// Calls that were settled with actual usage.
    pub calls: u64,
    /// Their tokens and money, as the providers reported them.
    pub actual: Amount,
    /// Calls that were settled as estimated.
    pub calls_estimated: u64,
    /// Their reservations, which count as spent and are shown separately.
    pub estimated: Amount,
    /// Calls of either kind whose model has no price of its own.
    pub calls_assumed: u64,
    /// The part of the money that was computed with the price of their tier.
    pub assumed: MicroUsd,
}

/// A call whose worst case is to be reserved.
#[derive(Debug, Clone, Copy)]
pub struct ReservationRequest<'r> {
    /// The account that it is charged to.
    pub account: &'r Account,
    /// The limits that apply, beside the budgets of the account.
    pub limits: &'r [Limit],
    /// Its worst case.
    pub upper_bound: Amount,
    /// Its key.
    pub key: &'r CallKey,
}

/// The ledger of usage and money.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Counts one request of this principal and returns the usage, with spending summed over these periods.
    /// The count survives a restart, except for the requests of the last second before a crash.
    ///
    /// # Errors
    /// [`StoreError`] once the store is closed.
    async fn count(
        &self,
        principal: &PrincipalId,
        kind: RequestKind,
        periods: Periods,
        now: Timestamp,
    ) -> Result<UsageSummary, StoreError>;

    /// Returns the usage without counting a request.
    ///
    /// # Errors
    /// [`StoreError`] once the store is closed.
    async fn usage(
        &self,
        principal: &PrincipalId,
        periods: Periods,
        now: Timestamp,
    ) -> Result<UsageSummary, StoreError>;

    /// Waits until a call fits into the budgets of its account and of every limit, for at most `wait_max`: if it would
    /// fit but for the reservations of calls in flight, it waits for them. The calls that wait for one budget are served
    /// in the order of their arrival, before later ones. The ticket is for [`crate::core::Unit::reserve_with`].
    ///
    /// # Errors
    /// [`ReserveError::Exceeded`] names the first limit that would be exceeded; nothing was reserved.
    async fn wait_for_budgets(
        &self,
        request: ReservationRequest<'_>,
        wait_max: Duration,
        now: Timestamp,
    ) -> Result<ReserveTicket, ReserveError>;

    /// Settles a reservation: replaces it by the actual usage of the call. Budgets and usage have it at once; the
    /// unit that the settlement is added to makes it durable, together with what the call has produced.
    fn settle(&self, reservation: Reservation, settlement: Settlement, now: Timestamp) -> Settled;

    /// Returns what a budget has been charged.
    ///
    /// # Errors
    /// [`StoreError`] once the store is closed.
    async fn charged(&self, budget: &Budget) -> Result<Charged, StoreError>;

    /// Lists the costs from the day of this time on, the oldest day first.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    async fn costs(&self, since: Option<Timestamp>) -> Result<Vec<CostRow>, StoreError>;
}
