//! The requests of a user within the last hour, by kind, in the ledger of one pod and in the windows that pods share.

use async_trait::async_trait;

use super::call_proxy::{CallFault, CallProxy};
use super::*;
use crate::ledger::{Ledger, Periods, RequestKind};
use crate::rate_windows::{CountedRequest, RateWindows, RequestCounts};
use crate::redis::rates::OnRedisLoss;

/// What counts requests.
enum Windows {
    OfPod(Arc<dyn Ledger>),
    Shared(Arc<dyn RateWindows>),
}

impl Windows {
    async fn count(&self, user: &PrincipalId, kind: RequestKind, now: Timestamp) -> RequestCounts {
        match self {
            Self::OfPod(ledger) => {
                let usage = ledger.count(user, kind, Periods::default(), now).await.unwrap();
                RequestCounts { calls: usage.calls_hour, queries: usage.queries_hour }
            }
            Self::Shared(windows) => {
                let request = CountedRequest { user, kind, limit: 100, of_pod: RequestCounts::default() };
                windows.count(request, now).await.unwrap()
            }
        }
    }
}

/// Windows in which a request is counted again while that fails.
struct RepeatingWindows(Arc<dyn RateWindows>);

#[async_trait]
impl RateWindows for RepeatingWindows {
    async fn count(&self, request: CountedRequest<'_>, now: Timestamp) -> Result<RequestCounts, StoreError> {
        let mut attempts = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..500 {
            attempts.tick().await;
            if let Ok(counts) = self.0.count(request, now).await {
                return Ok(counts);
            }
        }
        self.0.count(request, now).await
    }
}

/// Windows of each kind, with what they need. A request that Redis has counted without a reply would count twice when it is
/// repeated, so the faults are those before its execution.
async fn each_windows() -> Vec<(Option<TestStores>, Option<CallProxy>, Windows)> {
    let mut each = Vec::new();
    for stores in TestStores::each().await {
        let windows = Windows::OfPod(stores.stores.ledger.clone());
        each.push((Some(stores), None, windows));
    }
    let shared = crate::redis::tests::shared_redis().await.rate_windows(OnRedisLoss::Deny);
    each.push((None, None, Windows::Shared(shared)));
    let (redis, proxy) = crate::redis::tests::proxied_redis().await;
    let faults = CallFault::spread(&[CallFault::CutBefore, CallFault::CutWithin, CallFault::Delay]);
    proxy.fail_repeatedly(&["_count"], &faults);
    let repeating = RepeatingWindows(redis.rate_windows(OnRedisLoss::Deny));
    each.push((None, Some(proxy), Windows::Shared(Arc::new(repeating))));
    each
}

#[tokio::test]
async fn each_user_has_a_window_for_calls_and_one_for_queries() {
    for (_stores, _proxy, windows) in each_windows().await {
        let alice = principal("alice");
        for calls in 1..=3 {
            let counts = windows.count(&alice, RequestKind::Call, NOW).await;
            assert_eq!(counts, RequestCounts { calls, queries: 0 });
        }
        let counts = windows.count(&alice, RequestKind::Query, NOW).await;
        assert_eq!(counts, RequestCounts { calls: 3, queries: 1 });
        // Another user, the user of another tenant, and that of another issuer.
        let others = [
            principal("bob"),
            PrincipalId { tenant: tenant("other"), ..alice.clone() },
            PrincipalId { issuer: Issuer::new("idp").unwrap(), ..alice },
        ];
        for other in others {
            let counts = windows.count(&other, RequestKind::Call, NOW).await;
            assert_eq!(counts, RequestCounts { calls: 1, queries: 0 }, "{other}");
        }
    }
}

#[tokio::test]
async fn a_request_counts_for_an_hour() {
    for (_stores, _proxy, windows) in each_windows().await {
        let alice = principal("alice");
        let count = async |now| windows.count(&alice, RequestKind::Call, now).await.calls;
        assert_eq!(count(NOW).await, 1);
        assert_eq!(count(NOW.saturating_add(MINUTE * 59)).await, 2);
        assert_eq!(count(NOW.saturating_add(MINUTE * 62)).await, 2, "the first request is older than an hour");
    }
}
