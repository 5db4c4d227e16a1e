//! The windows of several pods: exact, shared, and replaced by those of the pod if the policy allows that.

use std::sync::Arc;

use greenroom_protocol::Timestamp;

use super::server::{Server, free_port, url};
use super::{connect, connect_started, prefix, shared_redis, shared_url};
use crate::error::StoreError;
use crate::ledger::{RequestKind, USAGE_WINDOW};
use crate::rate_windows::{CountedRequest, RateWindows, RequestCounts};
use crate::redis::rates::OnRedisLoss;
use crate::suite::{NOW, principal};

/// What the pod itself has counted.
const OF_POD: RequestCounts = RequestCounts { calls: 7, queries: 5 };

/// Counts a call of one user.
pub(super) async fn call(windows: &dyn RateWindows, limit: u64, now: Timestamp) -> Result<RequestCounts, StoreError> {
    let request = CountedRequest { user: &principal("alice"), kind: RequestKind::Call, limit, of_pod: OF_POD };
    windows.count(request, now).await
}

#[tokio::test]
async fn a_request_counts_for_exactly_an_hour() {
    let redis = shared_redis().await;
    let windows = redis.rate_windows(OnRedisLoss::Deny);
    let second = std::time::Duration::from_secs(1);
    assert_eq!(call(&*windows, 9, NOW).await.unwrap().calls, 1);
    assert_eq!(call(&*windows, 9, NOW).await.unwrap().calls, 2, "two requests of one microsecond are two");
    assert_eq!(call(&*windows, 9, NOW.saturating_add(second)).await.unwrap().calls, 3);
    let before_end = Timestamp::from_micros(NOW.saturating_add(USAGE_WINDOW).as_micros() - 1);
    assert_eq!(call(&*windows, 9, before_end).await.unwrap().calls, 4);
    assert_eq!(call(&*windows, 9, NOW.saturating_add(USAGE_WINDOW)).await.unwrap().calls, 3);
    assert_eq!(call(&*windows, 9, NOW.saturating_add(USAGE_WINDOW + second)).await.unwrap().calls, 3);
}

#[tokio::test]
async fn a_request_above_the_limit_is_not_stored() {
    let redis = shared_redis().await;
    let windows = redis.rate_windows(OnRedisLoss::Deny);
    for expected in [1, 2, 3, 3, 3] {
        assert_eq!(call(&*windows, 2, NOW).await.unwrap().calls, expected);
    }
    assert_eq!(call(&*windows, 0, NOW).await.unwrap().calls, 3);
    assert_eq!(call(&*windows, 5, NOW).await.unwrap().calls, 3, "the two below the limit, and this one");
}

#[tokio::test]
async fn two_pods_share_the_window_of_a_user() {
    let prefix = prefix();
    let pods = [
        connect(&shared_url(), prefix.clone(), &Arc::default()).await.unwrap(),
        connect(&shared_url(), prefix, &Arc::default()).await.unwrap(),
    ];
    let windows = pods.map(|pod| pod.rate_windows(OnRedisLoss::Deny));
    let counts = (0..100).map(|number| call(&*windows[number % 2], 1_000, NOW));
    let mut counts: Vec<u64> =
        futures::future::join_all(counts).await.into_iter().map(|counts| counts.unwrap().calls).collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=100).collect::<Vec<_>>(), "each request has a number of its own");
}

#[tokio::test]
async fn a_lost_server_denies_or_leaves_the_windows_of_the_pod() {
    let mut server = Server::start(&[]);
    let (redis, _) = connect_started(&server).await;
    let (deny, local) = (redis.rate_windows(OnRedisLoss::Deny), redis.rate_windows(OnRedisLoss::Local));
    assert_eq!(call(&*local, 9, NOW).await.unwrap().calls, 1);
    assert_eq!(call(&*deny, 9, NOW).await.unwrap().calls, 2);
    server.kill();
    let error = call(&*deny, 9, NOW).await.unwrap_err();
    assert_eq!(error.cause().details, serde_json::json!({"store": "redis_unreachable"}));
    assert_eq!(call(&*local, 9, NOW).await.unwrap(), OF_POD);
    let absent = connect(&url(free_port()), prefix(), &Arc::default()).await.unwrap();
    assert_eq!(call(&*absent.rate_windows(OnRedisLoss::Local), 9, NOW).await.unwrap(), OF_POD);
    assert!(call(&*absent.rate_windows(OnRedisLoss::Deny), 9, NOW).await.is_err());
}
