//! The end of a worker: the jobs under way get their results, a job that arrives after the signal too, and what cannot end in time
//! is not acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use greenroom_integration_tests::runpod_api::trace::{jobs_of, posts_of_trace, posts_of_worker, read_trace};
use greenroom_integration_tests::runpod_api::{CallKind, FakeRunPod, Reaction};
use greenroom_integration_tests::runpod_jobs::{DrivenWorker, VerbHandler, test_options};
use greenroom_integration_tests::wait::wait_until;
use serde_json::json;

use super::{WAIT_MAX, worker};

/// Waits for a request of this kind.
async fn received(runpod: &FakeRunPod, kind: CallKind) -> Result<()> {
    let is_received = || async { (!runpod.calls_of(kind).is_empty()).then_some(()) };
    wait_until("a request", WAIT_MAX, is_received).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_under_way_is_finished_after_the_signal() -> Result<()> {
    let trace = read_trace("term")?;
    let runpod = FakeRunPod::start().await?;
    // The trace has a job of nine seconds; two show the same.
    let job = json!({ "id": jobs_of(&trace)[0]["id"], "input": { "sleep": 2, "ret": 1 } });
    runpod.add_job(job);
    let is_executed = async {
        let is_pinged = || async {
            let pings = runpod.calls_of(CallKind::Ping);
            pings.iter().any(|call| call.target.contains("job_id=x1")).then_some(())
        };
        wait_until("the job is executed", WAIT_MAX, is_pinged).await
    };
    let ((), report) = worker(&runpod, 1)?.run_until(is_executed).await?;
    assert_eq!(posts_of_worker(&runpod.calls()), posts_of_trace(&trace));
    assert_eq!((report.accepted, report.unfinished), (1, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_poll_brings_after_the_signal_is_executed() -> Result<()> {
    let runpod = FakeRunPod::start_with(|call| match call.kind {
        CallKind::Take => {
            let job = json!({ "id": "late", "input": { "ret": 1 } });
            Reaction::After(Duration::from_millis(200), Box::new(Reaction::Json(200, job)))
        }
        CallKind::Done | CallKind::Stream | CallKind::Ping | CallKind::Stop | CallKind::Other => Reaction::Default,
    })
    .await?;
    let mut options = test_options(1);
    options.timing.drain_poll_timeout = Duration::from_secs(20);
    let worker = DrivenWorker::new(&runpod.environment(), Arc::new(VerbHandler::default()), options)?;
    let ((), report) = worker.run_until(received(&runpod, CallKind::Take)).await?;
    assert_eq!(runpod.result("late"), Some(json!({ "output": 1 })));
    assert_eq!((runpod.calls_of(CallKind::Take).len(), report.accepted), (1, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_does_not_end_in_time_is_not_acknowledged() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    runpod.add_job(json!({ "id": "endless", "input": { "sleep": 3_000 } }));
    let mut options = test_options(1);
    options.timing.drain_timeout = Duration::from_millis(300);
    let worker = DrivenWorker::new(&runpod.environment(), Arc::new(VerbHandler::default()), options)?;
    let is_executed = async {
        let is_pinged = || async {
            let pings = runpod.calls_of(CallKind::Ping);
            pings.iter().any(|call| call.target.contains("job_id=endless")).then_some(())
        };
        wait_until("the job is executed", WAIT_MAX, is_pinged).await
    };
    let ((), report) = worker.run_until(is_executed).await?;
    assert_eq!((report.unfinished, runpod.calls_of(CallKind::Done).len()), (1, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_poll_does_not_lengthen_the_time_of_the_jobs_under_way() -> Result<()> {
    let polls = AtomicUsize::new(0);
    let runpod = FakeRunPod::start_with(move |call| match call.kind {
        CallKind::Take if polls.fetch_add(1, Ordering::SeqCst) > 0 => {
            Reaction::After(WAIT_MAX * 10, Box::new(Reaction::Default))
        }
        CallKind::Take | CallKind::Done | CallKind::Stream | CallKind::Ping | CallKind::Stop | CallKind::Other => {
            Reaction::Default
        }
    })
    .await?;
    runpod.add_job(json!({ "id": "endless", "input": { "sleep": 3_000 } }));
    let mut options = test_options(2);
    options.timing.drain_poll_timeout = Duration::from_secs(2);
    options.timing.drain_timeout = Duration::from_millis(2_500);
    let worker = DrivenWorker::new(&runpod.environment(), Arc::new(VerbHandler::default()), options)?;
    let is_polling = async {
        let has_polled = || async { (runpod.calls_of(CallKind::Take).len() >= 2).then_some(()) };
        wait_until("a poll beside the job", WAIT_MAX, has_polled).await?;
        Ok(Instant::now())
    };
    let (signalled_at, report) = worker.run_until(is_polling).await?;
    let elapsed = signalled_at.elapsed();
    // One after the other, both would take 4.5 s.
    assert!(elapsed < Duration::from_secs(4), "{elapsed:?}");
    assert_eq!(report.unfinished, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_ends_although_its_polls_are_open() -> Result<()> {
    let runpod = FakeRunPod::start_with(|call| match call.kind {
        CallKind::Take | CallKind::Stop => Reaction::After(WAIT_MAX * 10, Box::new(Reaction::Default)),
        CallKind::Done | CallKind::Stream | CallKind::Ping | CallKind::Other => Reaction::Default,
    })
    .await?;
    let began_at = Instant::now();
    let polls = async {
        received(&runpod, CallKind::Take).await?;
        received(&runpod, CallKind::Stop).await
    };
    let ((), report) = worker(&runpod, 1)?.run_until(polls).await?;
    assert!(began_at.elapsed() < WAIT_MAX, "{:?}", began_at.elapsed());
    assert_eq!(report.executed, 0);
    Ok(())
}
