//! Polls with false responses: the worker survives each of them, waits before the next poll, and takes the next job.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use greenroom_integration_tests::runpod_api::{CallKind, FakeRunPod, KEY, Reaction};
use greenroom_integration_tests::runpod_jobs::{DrivenWorker, VerbHandler, test_options};
use greenroom_runpod::worker::{Job, JobContext, JobHandler, JobResult};
use serde_json::{Value, json};

use super::{result_of, results, worker};

/// A RunPod whose first polls have these reactions, and a job after them.
async fn runpod_with(reactions: Vec<Reaction>) -> Result<FakeRunPod> {
    let polls = AtomicUsize::new(0);
    let runpod = FakeRunPod::start_with(move |call| match call.kind {
        CallKind::Take => {
            let reaction = reactions.get(polls.fetch_add(1, Ordering::SeqCst));
            reaction.cloned().unwrap_or(Reaction::Default)
        }
        CallKind::Done | CallKind::Stream | CallKind::Ping | CallKind::Stop | CallKind::Other => Reaction::Default,
    })
    .await?;
    runpod.add_job(json!({ "id": "last", "input": { "ret": "ok" } }));
    Ok(runpod)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_survives_each_response_to_a_poll() -> Result<()> {
    let text = |status, media_type, body: &str| Reaction::Text(status, media_type, body.to_owned(), "");
    let responses = vec![
        Reaction::Json(204, Value::Null),
        Reaction::Json(400, json!({})),
        Reaction::Json(401, json!({ "error": KEY })),
        Reaction::Json(403, Value::Null),
        Reaction::Json(404, Value::Null),
        Reaction::Json(500, Value::Null),
        Reaction::Json(200, json!({ "id": "no-input" })),
        Reaction::Json(200, json!({ "input": {} })),
        Reaction::Json(200, json!([])),
        Reaction::Json(200, json!(7)),
        text(200, "application/json", ""),
        text(200, "application/json", "null"),
        text(200, "application/json", "{\"id\": \"cut"),
        text(200, "text/html", "<html>busy</html>"),
        Reaction::Text(302, "text/html", String::new(), "location: http://127.0.0.1:1/stolen\r\n"),
        Reaction::Reset,
        Reaction::Half,
    ];
    let count = responses.len();
    let runpod = runpod_with(responses).await?;
    let (result, report) = worker(&runpod, 1)?.run_until(result_of(&runpod, "last")).await?;
    assert_eq!((result, report.executed), (json!({ "output": "ok" }), 1));
    assert!(runpod.calls_of(CallKind::Take).len() > count);
    assert!(runpod.calls().iter().all(|call| !call.target.contains("stolen")), "no redirect is followed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_polls_are_farther_and_farther_apart() -> Result<()> {
    let runpod = runpod_with(vec![Reaction::Json(500, Value::Null); 6]).await?;
    worker(&runpod, 1)?.run_until(result_of(&runpod, "last")).await?;
    let polls = runpod.calls_of(CallKind::Take);
    // The delays are 5, 10, 20, 40, 80 and 100 ms, and half of each is random.
    let elapsed = polls[6].at - polls[0].at;
    assert!(elapsed >= Duration::from_millis(127), "{elapsed:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_followed_by_the_delay_that_runpod_names() -> Result<()> {
    let throttled = Reaction::Text(429, "application/json", "{}".to_owned(), "retry-after: 1\r\n");
    let runpod = runpod_with(vec![throttled]).await?;
    worker(&runpod, 1)?.run_until(result_of(&runpod, "last")).await?;
    let polls = runpod.calls_of(CallKind::Take);
    assert!(polls[1].at - polls[0].at >= Duration::from_secs(1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_without_a_delay_are_polls_farther_and_farther_apart() -> Result<()> {
    let throttled = Reaction::Text(429, "application/json", "{}".to_owned(), "retry-after: 0\r\n");
    let runpod = runpod_with(vec![throttled; 6]).await?;
    worker(&runpod, 1)?.run_until(result_of(&runpod, "last")).await?;
    let polls = runpod.calls_of(CallKind::Take);
    // The delays are those after failures.
    let elapsed = polls[6].at - polls[0].at;
    assert!(elapsed >= Duration::from_millis(127), "{elapsed:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_every_poll_brings_is_executed_once_and_not_polled_for_without_a_pause() -> Result<()> {
    let runpod = FakeRunPod::start_with(|call| match call.kind {
        CallKind::Take => Reaction::Json(200, json!({ "id": "same", "input": { "sleep": 1, "ret": 1 } })),
        CallKind::Done | CallKind::Stream | CallKind::Ping | CallKind::Stop | CallKind::Other => Reaction::Default,
    })
    .await?;
    let (result, report) = worker(&runpod, 2)?.run_until(result_of(&runpod, "same")).await?;
    assert_eq!((result, report.executed), (json!({ "output": 1 }), 1));
    let polls = runpod.calls_of(CallKind::Take).len();
    assert!(polls < 200, "{polls} polls during a second");
    Ok(())
}

/// Executes jobs, and counts how many of them at once.
#[derive(Default)]
struct CountingHandler {
    verbs: VerbHandler,
    executing: AtomicUsize,
    executing_max: AtomicUsize,
}

#[async_trait]
impl JobHandler for CountingHandler {
    async fn execute(&self, job: &Job, context: &JobContext) -> JobResult {
        let executing = self.executing.fetch_add(1, Ordering::SeqCst) + 1;
        self.executing_max.fetch_max(executing, Ordering::SeqCst);
        let result = self.verbs.execute(job, context).await;
        self.executing.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_beyond_the_capacity_of_a_worker_wait_for_it() -> Result<()> {
    let batch: Vec<Value> =
        (0..8).map(|number| json!({ "id": format!("j{number}"), "input": { "sleep": 0.1, "ret": number } })).collect();
    let runpod = runpod_with(vec![Reaction::Json(200, json!(batch))]).await?;
    let handler = Arc::new(CountingHandler::default());
    let worker = DrivenWorker::new(&runpod.environment(), handler.clone(), test_options(2))?;
    worker.run_until(results(&runpod, 9)).await?;
    assert_eq!(handler.executing_max.load(Ordering::SeqCst), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_executed_without_the_jobs_that_cannot_be_read() -> Result<()> {
    let batch = json!([
        { "id": "a", "input": { "ret": 1 } },
        { "id": "a/../b", "input": { "ret": 2 } },
        { "id": "c" },
        { "id": "d", "input": { "ret": 4 } },
        { "id": "e", "input": { "ret": 5 } },
        { "id": "f", "input": { "ret": 6 } },
    ]);
    let runpod = runpod_with(vec![Reaction::Json(200, batch)]).await?;
    // More than the worker has capacity for: they are executed all the same.
    worker(&runpod, 2)?.run_until(results(&runpod, 5)).await?;
    for (job, value) in [("a", 1), ("d", 4), ("e", 5), ("f", 6)] {
        assert_eq!(runpod.result(job), Some(json!({ "output": value })));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_input_cannot_be_read_fails_instead_of_waiting_for_its_timeout() -> Result<()> {
    let job = format!(r#"{{"id":"deep","input":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let runpod = runpod_with(vec![Reaction::Text(200, "application/json", job, "")]).await?;
    worker(&runpod, 1)?.run_until(results(&runpod, 2)).await?;
    let error = runpod.result("deep").unwrap();
    assert!(error["error"].as_str().unwrap().contains("the input cannot be read"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bodies_of_jobs_never_end_the_worker() -> Result<()> {
    // A generator of numbers with a fixed seed: the bodies are the same in each run.
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = move |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(bound).unwrap()).unwrap()
    };
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        "\"id\":",
        "\"input\":",
        "\"x\"",
        ",",
        "\\ud800",
        "null",
        "1e999",
        "-0",
        "\u{0}",
        "\"ü\"",
        "9",
    ];
    let mut reactions = Vec::new();
    for _ in 0..150 {
        let length = next(40);
        let body: String = (0..length).map(|_| pieces[next(pieces.len())]).collect();
        reactions.push(Reaction::Text(200, "application/json", body, ""));
    }
    let runpod = runpod_with(reactions).await?;
    let mut options = test_options(1);
    options.timing.failed_poll_delays = (Duration::from_millis(1), Duration::from_millis(2));
    let worker = DrivenWorker::new(&runpod.environment(), Arc::new(VerbHandler::default()), options)?;
    let (result, _) = worker.run_until(result_of(&runpod, "last")).await?;
    assert_eq!(result, json!({ "output": "ok" }));
    Ok(())
}
