//! The requests of a user within the last hour, by kind, whichever store counts them.

use super::*;
use crate::ledger::{RequestKind, UsageKey};
use crate::rate_windows::{CountedRequest, RateWindows, RequestCounts, ledger_rate_windows};
use crate::redis::rates::OnRedisLoss;

async fn each_windows() -> Vec<(TestStores, Arc<dyn RateWindows>)> {
    let mut each = Vec::new();
    for stores in TestStores::each().await {
        let windows = ledger_rate_windows(stores.stores.ledger.clone());
        each.push((stores, windows));
    }
    let stores = TestStores::in_memory();
    let local = ledger_rate_windows(stores.stores.ledger.clone());
    let shared = crate::redis::tests::shared_redis().await.rate_windows(local, OnRedisLoss::Deny);
    each.push((stores, shared));
    each
}

fn user(name: &str) -> UsageKey {
    UsageKey { tenant: tenant("acme"), user: UserId::new(name).unwrap() }
}

#[tokio::test]
async fn each_user_has_a_window_for_calls_and_one_for_queries() {
    for (_stores, windows) in each_windows().await {
        let (alice, bob) = (user("alice"), user("bob"));
        let count = async |user, kind| windows.count(CountedRequest { user, kind, limit: 100 }, NOW).await.unwrap();
        for calls in 1..=3 {
            assert_eq!(count(&alice, RequestKind::Call).await, RequestCounts { calls, queries: 0 });
        }
        assert_eq!(count(&alice, RequestKind::Query).await, RequestCounts { calls: 3, queries: 1 });
        assert_eq!(count(&bob, RequestKind::Call).await, RequestCounts { calls: 1, queries: 0 });
    }
}

#[tokio::test]
async fn a_request_counts_for_an_hour() {
    for (_stores, windows) in each_windows().await {
        let alice = user("alice");
        let request = CountedRequest { user: &alice, kind: RequestKind::Call, limit: 100 };
        let count = async |now| windows.count(request, now).await.unwrap().calls;
        assert_eq!(count(NOW).await, 1);
        assert_eq!(count(NOW.saturating_add(MINUTE * 59)).await, 2);
        assert_eq!(count(NOW.saturating_add(MINUTE * 62)).await, 2, "the first request is older than an hour");
    }
}
