//! Jobs that RunPod takes back: they end soon, have no result, and the worker takes the next job.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use async_trait::async_trait;
use futures::{StreamExt, stream};
use greenroom_client::{Client, Events, Progress, ProgressStream, Transport, TransportError};
use greenroom_integration_tests::runpod_api::{CallKind, FakeRunPod, Reaction};
use greenroom_integration_tests::runpod_jobs::{DrivenWorker, test_options};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::event::{EventNumber, WatchedRun};
use greenroom_protocol::request::{Request, Signal, SignalRun};
use greenroom_protocol::{Envelope, Metadata, PodId, Reply, RunId, Status, Values, WrittenVersion};
use greenroom_runpod::worker::execution::{ExecutionHandler, Startup};
use greenroom_runpod::worker::lease::NoLeaseWork;
use greenroom_runpod::worker::{Job, JobContext, JobHandler, JobResult};
use serde_json::json;
use tokio::sync::watch;

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

/// Ends a job that waits as soon as it is cancelled.
struct Obedient;

#[async_trait]
impl JobHandler for Obedient {
    async fn execute(&self, job: &Job, context: &JobContext) -> JobResult {
        if job.input.as_ref().is_ok_and(|input| input["wait"] == true) {
            context.cancelled().await;
        }
        JobResult::Returned(json!(1))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_honours_its_cancellation_is_over_within_a_second() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    runpod.add_job(json!({ "id": "endless", "input": { "wait": true } }));
    let cancelled = async {
        let is_pinged = || async {
            let mut pings = runpod.calls_of(CallKind::Ping).into_iter();
            pings.any(|call| call.target.contains("job_id=endless")).then_some(())
        };
        wait_until("the job is executed", WAIT_MAX, is_pinged).await?;
        runpod.add_job(json!({ "id": "next", "input": {} }));
        let began_at = Instant::now();
        runpod.cancel("endless");
        result_of(&runpod, "next").await?;
        Ok(began_at.elapsed())
    };
    let worker = DrivenWorker::new(&runpod.environment(), Arc::new(Obedient), test_options(1))?;
    let (elapsed, report) = worker.run_until(cancelled).await?;
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
    assert_eq!((report.cancelled, runpod.result("endless")), (1, None));
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

#[tokio::test(flavor = "multi_thread")]
async fn too_many_polls_for_cancellations_without_a_delay_are_not_repeated_without_a_pause() -> Result<()> {
    let runpod = FakeRunPod::start_with(|call| match call.kind {
        CallKind::Stop => Reaction::Text(429, "application/json", "{}".to_owned(), "retry-after: 0\r\n"),
        CallKind::Take | CallKind::Done | CallKind::Stream | CallKind::Ping | CallKind::Other => Reaction::Default,
    })
    .await?;
    runpod.add_job(json!({ "id": "a", "input": { "sleep": 1, "ret": 1 } }));
    worker(&runpod, 1)?.run_until(result_of(&runpod, "a")).await?;
    let polls = runpod.calls_of(CallKind::Stop).len();
    // The delay is 20 ms in tests.
    assert!(polls < 200, "{polls} polls during a second");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_cancelled_before_the_worker_has_capacity_is_not_executed() -> Result<()> {
    let polls = AtomicUsize::new(0);
    let runpod = FakeRunPod::start_with(move |call| match call.kind {
        CallKind::Take if polls.fetch_add(1, Ordering::SeqCst) == 0 => {
            let waiting = json!({ "id": "waiting", "input": { "ret": 1 } });
            Reaction::Json(200, json!([{ "id": "endless", "input": { "sleep": 3_000 } }, waiting]))
        }
        CallKind::Take | CallKind::Done | CallKind::Stream | CallKind::Ping | CallKind::Stop | CallKind::Other => {
            Reaction::Default
        }
    })
    .await?;
    let cancelled = async {
        let is_pinged = || async {
            let mut pings = runpod.calls_of(CallKind::Ping).into_iter();
            pings.any(|call| call.target.contains("job_id=endless%2Cwaiting")).then_some(())
        };
        wait_until("both jobs are taken", WAIT_MAX, is_pinged).await?;
        runpod.cancel("waiting");
        runpod.cancel("endless");
        runpod.add_job(json!({ "id": "next", "input": { "ret": 1 } }));
        result_of(&runpod, "next").await
    };
    let (_, report) = worker(&runpod, 1)?.run_until(cancelled).await?;
    assert_eq!((report.cancelled, report.executed, runpod.result("waiting")), (2, 2, None));
    Ok(())
}

/// A pod that accepts a run, streams a text of it, and never ends it.
#[derive(Default)]
pub(super) struct EndlessRun {
    is_cancelled: AtomicBool,
}

#[async_trait]
impl Transport for EndlessRun {
    async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError> {
        let is_cancellation = matches!(envelope.request, Request::SignalRun(SignalRun { signal: Signal::Cancel, .. }));
        self.is_cancelled.fetch_or(is_cancellation, Ordering::SeqCst);
        Ok(Reply {
            id: "req_1".into(),
            status: Status::Success,
            outputs: Values::new(),
            error: None,
            metadata: Metadata::default(),
            protocol_version: WrittenVersion::OWN,
        })
    }

    fn watch(&self, _: &WatchedRun, _: EventNumber) -> Events {
        stream::empty().boxed()
    }

    fn stream(self: Arc<Self>, _: Envelope) -> ProgressStream {
        let ids = (PodId::new("pod"), RunId::new("run_1"));
        let (Ok(pod), Ok(run)) = ids else { return stream::empty().boxed() };
        let accepted = Progress::Accepted { pod, run: Some(run) };
        let first = [Ok(accepted), Ok(Progress::Text("once".to_owned()))];
        stream::iter(first).chain(stream::pending()).boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_cancels_its_run_also_while_a_part_of_its_stream_is_sent() -> Result<()> {
    let runpod = FakeRunPod::start_with(|call| match call.kind {
        CallKind::Stream => Reaction::After(WAIT_MAX * 10, Box::new(Reaction::Default)),
        CallKind::Take | CallKind::Done | CallKind::Ping | CallKind::Stop | CallKind::Other => Reaction::Default,
    })
    .await?;
    runpod.add_job(json!({ "id": "s", "input": { "workflow": "report", "stream": true } }));
    let pod = Arc::new(EndlessRun::default());
    let (_startup, is_started) = watch::channel(Startup::Ready(Client::new(pod.clone())));
    let handler = Arc::new(ExecutionHandler::new(is_started, Arc::new(NoLeaseWork)));
    let worker = DrivenWorker::new(&runpod.environment(), handler, test_options(1))?;
    let cancelled = async {
        let is_streaming = || async { (!runpod.calls_of(CallKind::Stream).is_empty()).then_some(()) };
        wait_until("a part of the stream", WAIT_MAX, is_streaming).await?;
        runpod.cancel("s");
        let is_cancelled = || async { pod.is_cancelled.load(Ordering::SeqCst).then_some(()) };
        wait_until("the run is cancelled", WAIT_MAX, is_cancelled).await
    };
    let ((), report) = worker.run_until(cancelled).await?;
    assert_eq!((report.cancelled, runpod.result("s")), (1, None));
    Ok(())
}
