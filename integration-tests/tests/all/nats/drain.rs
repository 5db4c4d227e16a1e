//! A pod that ends loses no message: it ends its subscriptions first, and every message that has reached it has its reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use futures::future::join_all;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{ErrorCode, Frame, Status};
use serde_json::json;

use super::fixture::{Caller, SLOW, WAIT_MAX, shared_url, start};
use super::stores::start_on;
use super::{pod_and_caller, start_signed};

/// Callers that send one request after the other.
const CALLERS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_while_one_of_two_pods_ends() -> Result<()> {
    let url = shared_url()?;
    let database = crate::postgres::create_database("nats_drain").await?;
    greenroom_registry::migrate_postgres(&database).await?;
    let shared = tempfile::tempdir()?;
    let first = start_on(&url, "t_drain", &database, shared.path(), "pod_a").await?;
    let second = start_on(&url, "t_drain", &database, shared.path(), "pod_b").await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let callers = (0..CALLERS).map(|_| {
        let (url, is_over) = (url.clone(), Arc::clone(&is_over));
        async move {
            let caller = Caller::connect(&url, "t_drain").await?;
            let mut served = 0_u32;
            while !is_over.load(Ordering::Acquire) {
                let reply = caller.echo("x").await?;
                anyhow::ensure!(reply.status == Status::Success, "{reply:?}");
                served += 1;
            }
            anyhow::Ok(served)
        }
    });
    let ending = async {
        let is_busy = || async {
            let page = first.pod.metrics().render();
            let count = page.lines().find_map(|line| line.strip_prefix("nats_requests{outcome=\"success\"} "))?;
            (count.parse::<u64>().ok()? > 100).then_some(())
        };
        let waited = wait_until("the first pod is busy", WAIT_MAX, is_busy).await;
        first.pod.shutdown().await;
        is_over.store(true, Ordering::Release);
        waited
    };
    let (served, ended) = tokio::join!(join_all(callers), ending);
    ended?;
    for count in served {
        assert!(count? > 0);
    }
    second.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_under_way_has_its_reply_before_the_pod_ends() -> Result<()> {
    let (pod, caller) = pod_and_caller("t_ends").await?;
    let body = json!({ "inputs": { "text": "x" } });
    let mut frames = caller.open(&format!("agents.{SLOW}.execute"), &body).await?;
    assert!(matches!(frames.next().await?, Some(Frame::Accepted { .. })));
    pod.pod.shutdown().await;
    let mut last = None;
    while let Some(frame) = frames.next().await? {
        last = Some(frame);
    }
    assert!(matches!(&last, Some(Frame::Reply { reply }) if reply.status == Status::Success), "{last:?}");
    let error = caller.echo("x").await.err().map(|error| format!("{error:?}"));
    assert!(error.is_some_and(|text| text.contains("no responders")), "no pod is left");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_a_pod_that_ends_is_refused_in_a_way_that_passes() -> Result<()> {
    let url = shared_url()?;
    let pod = start(&url, "t_watch_ends").await?;
    let caller = Caller::connect(&url, "t_watch_ends").await?;
    let run = start_signed(&caller).await?;
    let mut watch = caller.open(&format!("runs.{run}.events"), &json!({})).await?;
    assert!(matches!(watch.next().await?, Some(Frame::Accepted { .. })));
    pod.pod.shutdown().await;
    let mut last = None;
    while let Some(frame) = watch.next().await? {
        last = Some(frame);
    }
    let cause = match last {
        Some(Frame::Refused { cause }) => cause,
        other => panic!("{other:?}"),
    };
    assert_eq!((cause.code, cause.code.is_retryable()), (ErrorCode::ShuttingDown, true));
    Ok(())
}
