//! Who used what: requests and tokens of the last hour, and money as a tree of budgets. A call's
//! worst case is reserved in every budget above it before a byte is sent, and settled after.

use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
pub use protocol::Period;
use protocol::{
    AgentId, CallKey, Cause, ErrorCode, MicroUsd, PriceBasis, RunId, TenantId, Timestamp, Tokens, UserId, WorkflowId,
};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

pub(crate) mod deltas;
pub(crate) mod state;
pub(crate) mod usage;

/// How far back usage is counted.
pub const USAGE_WINDOW: Duration = Duration::from_secs(60 * 60);
/// The longest sliding period of a budget, in days.
pub const PERIOD_DAYS_MAX: u16 = 31;
/// Budgets that one reservation may stand in.
pub const LIMITS_MAX: usize = 16;

/// Whose requests are counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
}

/// Over which time what is spent is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Periods {
    /// Of the user.
    pub user: Period,
    /// Of all users of the tenant.
    pub tenant: Period,
}

/// What a user has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageSummary {
    /// Requests of the last hour, this one included.
    pub requests_hour: u64,
    /// Tokens of the last hour.
    pub tokens_hour: u64,
    /// Money of the last hour.
    pub cost_hour: MicroUsd,
    /// Tokens of this user in their period: what has been settled.
    pub tokens_spent: u64,
    /// Money of this user in their period: what has been settled.
    pub cost_spent: MicroUsd,
    /// Tokens of all users of the tenant in its period: what has been settled.
    pub tenant_tokens_spent: u64,
    /// Money of all users of the tenant in its period: what has been settled.
    pub tenant_cost_spent: MicroUsd,
}

/// On whose account a call goes, and by whose price it is reckoned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Account {
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// The agent that makes the call.
    pub agent: AgentId,
    /// The workflow that the agent works for.
    pub workflow: Option<WorkflowId>,
    /// The run that the agent works for.
    pub run: Option<RunId>,
    /// Whose price it is.
    #[serde(default)]
    pub price: PriceBasis,
}

/// A node of the tree of budgets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Budget {
    /// One execution of an agent, all its attempts and turns together.
    Execution(CallKey),
    /// One run, all its steps together.
    Run(RunId),
    /// All executions of one agent.
    Agent(AgentId),
    /// One user of one tenant.
    User(TenantId, UserId),
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
            Self::User(..) => "user",
            Self::Tenant(_) => "tenant",
        }
    }

    /// The name of what the budget belongs to.
    #[must_use]
    pub fn owner(&self) -> &str {
        match self {
            Self::Execution(key) => key.as_str(),
            Self::Run(run) => run.as_str(),
            Self::Agent(agent) => agent.as_str(),
            Self::User(_, user) => user.as_str(),
            Self::Tenant(tenant) => tenant.as_str(),
        }
    }
}

/// What one budget may not exceed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The budget.
    pub budget: Budget,
    /// Over which time; at most [`PERIOD_DAYS_MAX`] days.
    pub period: Period,
    /// Money at most.
    pub cost_max: Option<MicroUsd>,
    /// Tokens at most, read and written together.
    pub tokens_max: Option<u64>,
}

/// Tokens and what they cost.
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

/// What a call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The provider said so.
    Actual(Amount),
    /// The provider's word never arrived: the whole reservation is taken, and marked.
    Estimated,
    /// Nothing was sent.
    Unused,
}

/// The number of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReservationId(pub(crate) u64);

/// Called with a reservation's number when it is dropped without having been settled.
pub(crate) type OnDrop = Box<dyn FnOnce(ReservationId) + Send + Sync>;

/// Money that is set aside for one call, durably. A model call borrows it and [`Ledger::settle`]
/// takes it; one that is dropped, or that a crash left, is settled as estimated. Only a ledger
/// makes it:
///
/// ```compile_fail
/// use greenroom_registry::ledger::Reservation;
/// let reservation = Reservation { id: todo!(), key: todo!(), worst: todo!(), abandoned: None };
/// ```
///
/// ```compile_fail
/// use greenroom_registry::ledger::Reservation;
/// let reservation = Reservation::new(todo!(), todo!(), todo!(), None);
/// ```
#[must_use = "a reservation is to be settled"]
pub struct Reservation {
    id: ReservationId,
    key: CallKey,
    upper_bound: Amount,
    on_drop: Option<OnDrop>,
}

impl Reservation {
    pub(crate) const fn new(id: ReservationId, key: CallKey, upper_bound: Amount, on_drop: Option<OnDrop>) -> Self {
        Self { id, key, upper_bound, on_drop }
    }

    /// A reservation for tests of other crates; never in the product.
    #[cfg(feature = "testing")]
    pub const fn for_test(key: CallKey, worst: Amount) -> Self {
        Self::new(ReservationId(0), key, worst, None)
    }

    /// Takes the reservation for settling: from here on its drop does nothing.
    pub(crate) fn into_id(mut self) -> ReservationId {
        self.on_drop = None;
        self.id
    }

    /// The call that it is for.
    #[must_use]
    pub const fn key(&self) -> &CallKey {
        &self.key
    }

    /// What the call may come to at most.
    #[must_use]
    pub const fn upper_bound(&self) -> Amount {
        self.upper_bound
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(abandoned) = self.on_drop.take() {
            abandoned(self.id);
        }
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation").field("key", &self.key).field("worst", &self.upper_bound).finish_non_exhaustive()
    }
}

/// Which side of a budget would be exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// Money: the limit, what is spent, what others have set aside, what was asked for.
    Cost {
        /// The limit.
        max: MicroUsd,
        /// Spent.
        spent: MicroUsd,
        /// Set aside by calls under way.
        reserved: MicroUsd,
        /// Asked for.
        requested: MicroUsd,
    },
    /// Tokens, likewise.
    Tokens {
        /// The limit.
        max: u64,
        /// Spent.
        spent: u64,
        /// Set aside by calls under way.
        reserved: u64,
        /// Asked for.
        requested: u64,
    },
}

/// Why nothing was reserved.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReserveError {
    /// The call's worst case would exceed a budget.
    #[error("the call could exceed the budget of the {} `{}`", .budget.kind(), .budget.owner())]
    Exceeded {
        /// The budget.
        budget: Budget,
        /// By what.
        by: Exceeded,
    },
    /// More limits than [`LIMITS_MAX`], or a period that is too long.
    #[error("a reservation stands in at most {LIMITS_MAX} budgets of at most {PERIOD_DAYS_MAX} days")]
    Bounds,
    /// The ledger cannot be kept.
    #[error("the ledger cannot be kept")]
    Store(#[from] StoreError),
}

impl ReserveError {
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
                format!("{self}: {requested} on top of {spent} spent and {reserved} reserved is more than {max}"),
                serde_json::json!({ "max_usd": max.as_usd(), "spent_usd": spent.as_usd(),
                    "reserved_usd": reserved.as_usd(), "requested_usd": requested.as_usd() }),
            ),
            Exceeded::Tokens { max, spent, reserved, requested } => (
                format!(
                    "{self}: {requested} tokens on top of {spent} spent and {reserved} reserved is more than {max}"
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

/// Who spent what on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostRow {
    /// The day's first moment, UTC.
    pub day: Timestamp,
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// The agent.
    pub agent: AgentId,
    /// The workflow that the agent worked for.
    pub workflow: Option<WorkflowId>,
    /// Calls that were settled.
    pub calls: u64,
    /// Tokens and money, as the providers said.
    pub actual: Amount,
    /// Calls whose word never arrived.
    pub calls_estimated: u64,
    /// Their reservations: counted as spent, and shown apart.
    pub estimated: Amount,
    /// Calls of either kind whose model has no price of its own.
    pub calls_assumed: u64,
    /// The part of the money that was reckoned by the price of their tier.
    pub assumed: MicroUsd,
}

/// Keeps usage and money.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Counts one request of this user, then answers; what is spent is summed over these periods. The
    /// count survives a restart, but for those of the last second before a crash.
    ///
    /// # Errors
    /// [`StoreError`] once the store is closed.
    async fn count(&self, who: &UsageKey, over: Periods, now: Timestamp) -> Result<UsageSummary, StoreError>;

    /// Answers without counting.
    ///
    /// # Errors
    /// [`StoreError`] once the store is closed.
    async fn usage(&self, who: &UsageKey, over: Periods, now: Timestamp) -> Result<UsageSummary, StoreError>;

    /// Sets the worst case aside in the account's budgets and in every limit's, or in none. Calls
    /// that come at the same time cannot overspend together. The reservation is durable.
    ///
    /// # Errors
    /// [`Refusal::Exceeded`] names the first limit that does not hold; nothing was set aside.
    async fn reserve(
        &self,
        account: &Account,
        limits: &[Limit],
        worst: Amount,
        key: &CallKey,
        now: Timestamp,
    ) -> Result<Reservation, ReserveError>;

    /// Replaces a reservation by what the call came to, and answers what was booked. It is in force
    /// at once, and durable before anything that is journalled after it.
    ///
    /// # Errors
    /// [`StoreError`] once the store is closed; the reservation is then settled at the next start.
    async fn settle(
        &self,
        reservation: Reservation,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Amount, StoreError>;

    /// Who spent what on the days from this moment's on, the oldest day first.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    async fn costs(&self, since: Option<Timestamp>) -> Result<Vec<CostRow>, StoreError>;
}
