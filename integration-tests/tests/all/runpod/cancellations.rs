//! Jobs that RunPod takes back: they end soon, have no result, and the worker takes the next job.

use std::time::{Duration, Instant};

use anyhow::Result;
use greenroom_integration_tests::runpod_api::{CallKind, FakeRunPod, Reaction};
use greenroom_integration_tests::wait::wait_until;
use serde_json::json;

use super::{WAIT_MAX, result_of, worker};

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_has_no_result_and_the_next_one_is_taken() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    runpod.add_job(json!({ "id": "endless", "input": { "sleep": 3_000 } }));
    let cancelled = async {
        let is_pinged = || async {
            let mut pings = runpod.calls_of(CallKind::Ping).into_iter();
            pings.any(|call| call.target.contains("job_id=endless")).then_some(())
        };
        wait_until("the job is executed", WAIT_MAX, is_pinged).await?;
        runpod.cancel("endless");
        runpod.cancel("unknown");
        runpod.add_job(json!({ "id": "next", "input": { "ret": 1 } }));
        let began_at = Instant::now();
        result_of(&runpod, "next").await?;
        Ok(began_at.elapsed())
    };
    let (elapsed, report) = worker(&runpod, 1)?.run_until(cancelled).await?;
    // The grace of a job that ignores its cancellation is two seconds.
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    assert_eq!((report.cancelled, report.executed, runpod.result("endless")), (1, 2, None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_for_cancellations_survives_each_response() -> Result<()> {
    let polls = std::sync::atomic::AtomicUsize::new(0);
    let responses = [
        Reaction::Json(500, json!({})),
        Reaction::Json(200, json!([1])),
        Reaction::Text(200, "text/html", "<html>".to_owned(), ""),
        Reaction::Json(200, json!({ "jobsToStop": [] })),
        Reaction::Json(200, json!({ "jobsToStop": ["x", "y"] })),
        Reaction::Reset,
    ];
    let count = responses.len();
    let runpod = FakeRunPod::start_with(move |call| match call.kind {
        CallKind::Stop => {
            let number = polls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            responses.get(number).cloned().unwrap_or(Reaction::Default)
        }
        CallKind::Take | CallKind::Done | CallKind::Stream | CallKind::Ping | CallKind::Other => Reaction::Default,
    })
    .await?;
    runpod.add_job(json!({ "id": "a", "input": { "sleep": 3_000 } }));
    let cancelled = async {
        let has_polled = || async { (runpod.calls_of(CallKind::Stop).len() > count).then_some(()) };
        wait_until("every response was received", WAIT_MAX, has_polled).await?;
        runpod.cancel("a");
        runpod.add_job(json!({ "id": "b", "input": { "ret": 1 } }));
        result_of(&runpod, "b").await
    };
    let (_, report) = worker(&runpod, 1)?.run_until(cancelled).await?;
    assert_eq!(report.cancelled, 1);
    Ok(())
}
