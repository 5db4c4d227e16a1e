//! The usage of a user: requests of the last hour, and what the user and the tenant have spent.

use greenroom_protocol::{Cause, ErrorCode, Timestamp};
use greenroom_registry::ledger::{Periods, RequestKind};
use greenroom_registry::rate_windows::{CountedRequest, RequestCounts};
use greenroom_rego::{Authenticated, UsageFacts, UsageTotals};

use super::FactCollector;

impl FactCollector {
    /// The usage so far. A request of a user counts itself, a query apart from the calls; its nested requests
    /// are part of it, the resumption of a run by the platform is no request of the user, and the pod that delegates a
    /// request has counted it. Those need no shared windows, so they do not fail without them.
    pub(super) async fn usage(&self, request: &Authenticated, now: Timestamp) -> Result<UsageFacts, Cause> {
        let principal = request.principal();
        let periods = Periods { user: principal.limits.period, tenant: principal.tenant_limits.period };
        let is_counted = request.chain().len() <= 1 && !request.is_recovery() && !request.is_delegated();
        let (kind, limit) = if request.request().is_read() {
            (RequestKind::Query, principal.query_limit)
        } else {
            (RequestKind::Call, principal.rate_limit)
        };
        let usage = if is_counted {
            self.ledger.count(&principal.id, kind, periods, now).await
        } else {
            self.ledger.usage(&principal.id, periods, now).await
        };
        let usage = usage.map_err(|error| error.cause())?;
        let of_pod = RequestCounts { calls: usage.calls_hour, queries: usage.queries_hour };
        let RequestCounts { calls, queries } = if is_counted {
            self.count_shared(request, CountedRequest { user: &principal.id, kind, limit, of_pod }, now).await?
        } else {
            of_pod
        };
        Ok(UsageFacts {
            requests: calls,
            queries,
            user: UsageTotals { tokens: usage.tokens_spent, usd: usage.cost_spent },
            tenant: UsageTotals { tokens: usage.tenant_tokens_spent, usd: usage.tenant_cost_spent },
            available: true,
        })
    }

    /// Counts a request for all pods together, before its deadline; without shared windows, the pod has counted it.
    async fn count_shared(
        &self,
        request: &Authenticated,
        counted: CountedRequest<'_>,
        now: Timestamp,
    ) -> Result<RequestCounts, Cause> {
        let Some(windows) = &self.rate_windows else { return Ok(counted.of_pod) };
        match tokio::time::timeout(request.deadline().remaining(now), windows.count(counted, now)).await {
            Ok(counts) => counts.map_err(|error| error.cause()),
            Err(_elapsed) => Err(Cause::new(ErrorCode::TimedOut, "the deadline passed while the request was counted")),
        }
    }
}
