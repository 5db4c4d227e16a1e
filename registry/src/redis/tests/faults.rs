//! Connections that break or become silent within an operation: each operation has its result or a coded error in time,
//! and what became of it is never worse than a repetition.

use std::time::Instant;

use serde_json::json;

use super::rates::call;
use super::{claim, data, error_of, proxied_redis, read, until_available};
use crate::context::{ContextData, Version};
use crate::rate_windows::RequestCounts;
use crate::redis::connection::OPERATION_TIMEOUT;
use crate::redis::error::RedisError;
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

#[tokio::test]
async fn a_connection_that_becomes_silent_delays_an_operation_for_a_bounded_time() {
    let silent = async |fault| {
        let (redis, proxy) = proxied_redis().await;
        claim(&redis, &data()).await.unwrap();
        proxy.fail(&["_claim"], &[fault]);
        let started = Instant::now();
        let whole = ContextData::new([], Version(5)).unwrap();
        let error = error_of(claim(&redis, &whole).await);
        assert!(matches!(error, RedisError::Timeout | RedisError::Unreachable(_)), "{fault:?}: {error}");
        assert!(started.elapsed() < OPERATION_TIMEOUT * 4, "{fault:?}: {:?}", started.elapsed());
        until_available(&redis).await;
        claim(&redis, &whole).await.unwrap();
        assert_eq!(read(&redis).await.unwrap(), whole.snapshot(&[], NOW), "{fault:?}");
    };
    tokio::join!(silent(CallFault::Swallow), silent(CallFault::Silence));
}
