//! The counters of a principal: what they count, and over which periods.

use greenroom_protocol as protocol;
use protocol::{MicroUsd, Period};

/// The periods over which spending is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Periods {
    /// The period of the user.
    pub user: Period,
    /// The period of the tenant, for all its users.
    pub tenant: Period,
}

/// Which of a user's two counters a request increments. Each has a limit of its own, so that a dashboard
/// that polls cannot use up the requests that execute something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// It executes or changes something.
    Call,
    /// It only reads.
    Query,
}

/// The usage of one user and of the user's tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageSummary {
    /// Calls of the last hour, including the current one.
    pub calls_hour: u64,
    /// Queries of the last hour, including the current one.
    pub queries_hour: u64,
    /// Tokens of the last hour.
    pub tokens_hour: u64,
    /// Money of the last hour.
    pub cost_hour: MicroUsd,
    /// Settled tokens of this user in the user's period.
    pub tokens_spent: u64,
    /// Settled money of this user in the user's period.
    pub cost_spent: MicroUsd,
    /// Settled tokens of all users of the tenant in its period.
    pub tenant_tokens_spent: u64,
    /// Settled money of all users of the tenant in its period.
    pub tenant_cost_spent: MicroUsd,
}
