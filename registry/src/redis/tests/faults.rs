//! Connections that break within an operation: each operation has its result or a coded error in time,
//! and what became of it is never worse than a repetition.

use serde_json::json;

use super::rates::call;
use super::{proxied_redis, until_available};
use crate::rate_windows::RequestCounts;
use crate::redis::rates::OnRedisLoss;
use crate::suite::NOW;
use crate::suite::call_proxy::CallFault;

#[tokio::test]
async fn a_request_whose_connection_breaks_is_denied_and_counts_at_most_once() {
    for (fault, counts) in [
        (CallFault::CutBefore, 1..=1),
        (CallFault::CutWithin, 1..=1),
        (CallFault::CutUnderWay, 1..=2),
        (CallFault::CutAfter, 2..=2),
        (CallFault::CutReply, 2..=2),
    ] {
        let (redis, proxy) = proxied_redis().await;
        let windows = redis.rate_windows(OnRedisLoss::Deny);
        proxy.fail(&["_count"], &[fault]);
        let error = call(&*windows, 9, NOW).await.unwrap_err();
        assert_eq!(error.cause().details, json!({"store": "redis_unreachable"}), "{fault:?}");
        // The next request is another one.
        until_available(&redis).await;
        let counted = call(&*windows, 9, NOW).await.unwrap();
        assert!(counts.contains(&counted.calls), "{fault:?}: {counted:?}");
        assert_eq!(proxy.failed(), 1);
    }
}

#[tokio::test]
async fn a_pod_that_may_count_for_itself_does_so_while_the_connection_is_broken() {
    let (redis, proxy) = proxied_redis().await;
    let windows = redis.rate_windows(OnRedisLoss::Local);
    proxy.fail(&["_count"], &[CallFault::CutAfter]);
    assert_eq!(call(&*windows, 9, NOW).await.unwrap(), RequestCounts { calls: 7, queries: 5 });
}
