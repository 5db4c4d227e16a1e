//! The usage of a user: requests of the last hour, and what the user and the tenant have spent.

use greenroom_protocol::{Cause, Timestamp};
use greenroom_registry::ledger::{Periods, RequestKind, UsageKey};
use greenroom_registry::rate_windows::{CountedRequest, RequestCounts};
use greenroom_rego::{Authenticated, UsageFacts, UsageTotals};

use super::FactCollector;

impl FactCollector {
    /// The usage so far. A request of a user counts itself, a query apart from the calls; its nested requests
    /// are part of it, and the resumption of a run by the platform is no request of the user. Those need no shared
    /// windows, so they do not fail without them.
    pub(super) async fn usage(&self, request: &Authenticated, now: Timestamp) -> Result<UsageFacts, Cause> {
        let principal = request.principal();
        let scope = UsageKey { tenant: principal.tenant.clone(), user: principal.user.clone() };
        let counted = if request.chain().len() <= 1 && !request.is_recovery() {
            let (kind, limit) = match request.request().is_read() {
                true => (RequestKind::Query, principal.query_limit),
                false => (RequestKind::Call, principal.rate_limit),
            };
            let counted = self.rate_windows.count(CountedRequest { user: &scope, kind, limit }, now).await;
            Some(counted.map_err(|error| error.cause())?)
        } else {
            None
        };
        let periods = Periods { user: principal.limits.period, tenant: principal.tenant_limits.period };
        let usage = self.ledger.usage(&scope, periods, now).await.map_err(|error| error.cause())?;
        let of_pod = RequestCounts { calls: usage.calls_hour, queries: usage.queries_hour };
        let RequestCounts { calls, queries } = counted.unwrap_or(of_pod);
        Ok(UsageFacts {
            requests: calls,
            queries,
            user: UsageTotals { tokens: usage.tokens_spent, usd: usage.cost_spent },
            tenant: UsageTotals { tokens: usage.tenant_tokens_spent, usd: usage.tenant_cost_spent },
            available: true,
        })
    }
}
