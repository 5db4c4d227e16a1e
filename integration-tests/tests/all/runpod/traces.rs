//! The worker is given the jobs of each trace of the Python SDK, and its requests are compared with those of the trace.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use greenroom_integration_tests::runpod_api::trace::{
    TraceLine, jobs_of, posts_of_trace, posts_of_worker, read_trace, shape,
};
use greenroom_integration_tests::runpod_api::{CallKind, FakeRunPod, Reaction, RecordedCall};
use greenroom_integration_tests::runpod_jobs::{DrivenWorker, VerbHandler, test_options};
use greenroom_integration_tests::wait::wait_until;
use serde_json::{Value, json};

use super::{WAIT_MAX, results, worker};

/// The targets of the requests of a kind, without what may differ.
fn shapes_of_trace(trace: &[TraceLine], kinds: &[&str]) -> BTreeSet<String> {
    trace.iter().filter(|line| kinds.contains(&line.kind.as_str())).map(|line| shape(&line.target)).collect()
}

fn shapes_of_worker(calls: &[RecordedCall], kind: CallKind) -> BTreeSet<String> {
    calls.iter().filter(|call| call.kind == kind).map(|call| shape(&call.target)).collect()
}

/// Gives the jobs of a trace to a worker; returns its requests.
async fn replay(trace: &[TraceLine], concurrency: usize) -> Result<Vec<RecordedCall>> {
    let runpod = FakeRunPod::start().await?;
    let jobs = jobs_of(trace);
    jobs.iter().cloned().for_each(|job| runpod.add_job(job));
    let finished = async {
        results(&runpod, jobs.len()).await?;
        let has_all = || async {
            let has = |kind| !runpod.calls_of(kind).is_empty();
            (has(CallKind::Stop) && has(CallKind::Ping)).then_some(())
        };
        wait_until("a heartbeat and a poll for cancellations", WAIT_MAX, has_all).await
    };
    worker(&runpod, concurrency)?.run_until(finished).await?;
    Ok(runpod.calls())
}

#[tokio::test(flavor = "multi_thread")]
async fn results_parts_and_progress_are_those_of_the_sdk() -> Result<()> {
    for (name, concurrency) in [("basic", 1), ("gen", 1), ("progress", 1), ("conc", 3)] {
        let trace = read_trace(name)?;
        let calls = replay(&trace, concurrency).await?;
        assert_eq!(posts_of_worker(&calls), posts_of_trace(&trace), "{name}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_and_heartbeats_have_the_addresses_of_the_sdk() -> Result<()> {
    let trace = read_trace("basic")?;
    let calls = replay(&trace, 1).await?;
    let expected = shapes_of_trace(&trace, &["job-take"]);
    assert_eq!(shapes_of_worker(&calls, CallKind::Take), expected);
    assert_eq!(shapes_of_worker(&calls, CallKind::Stop), shapes_of_trace(&trace, &["job-stop"]));
    let pings = shapes_of_worker(&calls, CallKind::Ping);
    assert!(pings.is_superset(&shapes_of_trace(&trace, &["ping"])), "{pings:?}");
    for call in calls.iter().filter(|call| matches!(call.kind, CallKind::Take | CallKind::Stop)) {
        let headers = (call.header("authorization"), call.header("content-type"), call.header("x-request-id"));
        assert_eq!(headers, (Some("fake-key-123"), Some("application/json"), None), "{}", call.target);
    }
    let ping = calls.iter().find(|call| call.kind == CallKind::Ping).unwrap();
    assert_eq!((ping.header("authorization"), ping.header("content-type")), (Some("fake-key-123"), None));
    assert!(ping.target.contains("runpod_version=rust-greenroom%2F"), "{}", ping.target);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_heartbeat_is_sent_at_once_and_before_any_job() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    let mut environment = runpod.environment();
    // Longer than any wait of this test, so there is no other heartbeat until the last one.
    environment.insert("RUNPOD_PING_INTERVAL".to_owned(), "600000".to_owned());
    let worker = DrivenWorker::new(&environment, Arc::new(VerbHandler::default()), test_options(1))?;
    let started = async {
        let has = |kind| !runpod.calls_of(kind).is_empty();
        let has_both = || async { (has(CallKind::Ping) && has(CallKind::Take)).then_some(()) };
        wait_until("a heartbeat and a poll", WAIT_MAX, has_both).await?;
        runpod.add_job(json!({ "id": "a", "input": { "ret": 1 } }));
        results(&runpod, 1).await?;
        Ok(runpod.calls_of(CallKind::Ping))
    };
    let (pings, _) = worker.run_until(started).await?;
    assert!(pings.len() == 1 && !pings[0].target.contains("job_id"), "{pings:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_capacity_polls_for_a_batch_while_it_works() -> Result<()> {
    let trace = read_trace("conc")?;
    let calls = replay(&trace, 3).await?;
    let takes = shapes_of_worker(&calls, CallKind::Take);
    let first = calls.iter().find(|call| call.kind == CallKind::Take).unwrap();
    assert_eq!(first.target, "/v2/ep123/job-take-batch/pod-abc?gpu=NVIDIA+A40&batch_size=3&job_in_progress=0");
    assert!(takes.iter().any(|take| take.ends_with("&job_in_progress=1")), "{takes:?}");
    let pings: Vec<&str> =
        calls.iter().filter(|call| call.kind == CallKind::Ping).map(|call| call.target.as_str()).collect();
    assert!(pings.iter().any(|ping| ping.contains("&job_id=") && ping.contains("%2C")), "{pings:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_runpod_fails_to_take_is_sent_as_often_as_the_sdk_does_and_delivered() -> Result<()> {
    let trace = read_trace("done500")?;
    let failures = std::sync::atomic::AtomicU32::new(3);
    let runpod = FakeRunPod::start_with(move |call| {
        use std::sync::atomic::Ordering::Relaxed;
        let fails =
            call.job() == Some("d1") && failures.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        if fails { Reaction::Json(500, json!({})) } else { Reaction::Default }
    })
    .await?;
    jobs_of(&trace).into_iter().for_each(|job| runpod.add_job(job));
    let mut options = test_options(1);
    options.timing.result_delay_unit = std::time::Duration::from_secs(1);
    let worker = DrivenWorker::new(&runpod.environment(), Arc::new(VerbHandler::default()), options)?;
    worker.run_until(results(&runpod, 2)).await?;
    let posts = posts_of_worker(&runpod.calls());
    let expected = posts_of_trace(&trace);
    assert_eq!((posts["d1"].len(), expected["d1"].len()), (4, 3));
    assert_eq!((&posts["d1"][..3], &posts["d2"]), (&expected["d1"][..], &expected["d2"]));
    let at: Vec<std::time::Instant> =
        runpod.calls().iter().filter(|call| call.job() == Some("d1")).map(|call| call.at).collect();
    assert!(at[1] - at[0] >= std::time::Duration::from_secs(2), "two seconds before the second attempt");
    assert!(at[2] - at[1] >= std::time::Duration::from_secs(3), "three seconds before the third attempt");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_runpod_refuses_is_sent_once_and_then_an_error() -> Result<()> {
    let trace = read_trace("done400")?;
    let runpod = FakeRunPod::start_with(|call| {
        let is_output = call.kind == CallKind::Done && call.json().get("output").is_some();
        if is_output { Reaction::Json(400, json!({})) } else { Reaction::Default }
    })
    .await?;
    jobs_of(&trace).into_iter().for_each(|job| runpod.add_job(job));
    let ((), report) = worker(&runpod, 1)?.run_until(results(&runpod, 2)).await?;
    let posts = posts_of_worker(&runpod.calls());
    for (job, expected) in posts_of_trace(&trace) {
        assert_eq!(posts[&job][..1], expected[..], "{job}");
        assert_eq!(posts[&job].len(), 2, "one attempt, and the error");
        assert!(runpod.result(&job).unwrap()["error"].as_str().unwrap().contains("refused"));
    }
    assert_eq!((report.refused, report.accepted), (2, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_replaced_reports_it_and_takes_no_other_job() -> Result<()> {
    let trace = read_trace("refresh")?;
    let runpod = FakeRunPod::start().await?;
    jobs_of(&trace).into_iter().for_each(|job| runpod.add_job(job));
    let mut options = test_options(1);
    options.refresh_worker = true;
    let worker = DrivenWorker::new(&runpod.environment(), Arc::new(VerbHandler::default()), options)?;
    let report = worker.run_to_end().await?;
    assert_eq!(posts_of_worker(&runpod.calls()), posts_of_trace(&trace));
    assert_eq!((report.accepted, runpod.calls_of(CallKind::Take).len()), (1, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_key_works_and_sends_no_heartbeat() -> Result<()> {
    let trace = read_trace("nokey")?;
    let runpod = FakeRunPod::start().await?;
    jobs_of(&trace).into_iter().for_each(|job| runpod.add_job(job));
    let mut variables = runpod.environment();
    variables.remove("RUNPOD_AI_API_KEY");
    let worker = DrivenWorker::new(&variables, Arc::new(VerbHandler::default()), test_options(1))?;
    worker.run_until(results(&runpod, 1)).await?;
    assert_eq!(posts_of_worker(&runpod.calls()), posts_of_trace(&trace));
    assert!(runpod.calls_of(CallKind::Ping).is_empty());
    assert_eq!(runpod.calls_of(CallKind::Take)[0].header("authorization"), Some(""));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_too_large_is_an_error_and_is_never_sent() -> Result<()> {
    let trace = read_trace("big")?;
    let calls = replay(&trace, 1).await?;
    let (posts, expected) = (posts_of_worker(&calls), posts_of_trace(&trace));
    assert_eq!(posts["b2"], expected["b2"]);
    let error = posts["b1"][0].body["error"].as_str().unwrap();
    assert!(error.contains("output too large: 25000013 bytes"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_harness_of_the_hub_gets_the_bytes_that_it_expects() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    runpod.add_job(json!({ "id": "h1", "input": { "ret": 1 } }));
    let mut variables = runpod.environment();
    for name in ["RUNPOD_WEBHOOK_PING", "RUNPOD_WEBHOOK_POST_STREAM"] {
        variables.remove(name);
    }
    let base = format!("{}/IDE", runpod.endpoints_url());
    variables.insert("RUNPOD_WEBHOOK_GET_JOB".to_owned(), format!("{base}/job-take/$RUNPOD_POD_ID"));
    let done = format!("{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=$RUNPOD_GPU_TYPE_ID");
    variables.insert("RUNPOD_WEBHOOK_POST_OUTPUT".to_owned(), done);
    let worker = DrivenWorker::new(&variables, Arc::new(VerbHandler::default()), test_options(1))?;
    worker.run_until(results(&runpod, 1)).await?;
    assert_eq!(runpod.calls_of(CallKind::Take)[0].target, "/v2/IDE/job-take/$RUNPOD_POD_ID&job_in_progress=0");
    let done = &runpod.calls_of(CallKind::Done)[0].target;
    assert_eq!(done, "/v2/IDE/job-done/pod-abc/h1?gpu=$RUNPOD_GPU_TYPE_ID&isStream=false");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_value_that_a_handler_returns_has_its_body() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    let returned = [json!("ü"), json!(null), json!(true), json!([1]), json!({}), json!({ "a": 1 })];
    let expected = [
        json!({ "output": "ü" }),
        json!({ "output": null }),
        json!({ "output": true }),
        json!({ "output": [1] }),
        json!({}),
        json!({ "output": { "a": 1 } }),
    ];
    for (number, value) in returned.iter().enumerate() {
        runpod.add_job(json!({ "id": format!("r{number}"), "input": { "ret": value } }));
    }
    runpod.add_job(json!({ "id": "raised", "input": { "raise": "bad" } }));
    worker(&runpod, 4)?.run_until(results(&runpod, returned.len() + 1)).await?;
    for (number, expected) in expected.iter().enumerate() {
        assert_eq!(runpod.result(&format!("r{number}")).as_ref(), Some(expected));
    }
    let raised = runpod.result("raised").unwrap();
    let inner: Value = serde_json::from_str(raised["error"].as_str().unwrap())?;
    assert_eq!((&inner["error_message"], &inner["worker_id"]), (&json!("bad"), &json!("pod-abc")));
    let ascii = runpod.calls_of(CallKind::Done).into_iter().find(|call| call.job() == Some("r0")).unwrap();
    assert!(String::from_utf8(ascii.body)?.contains('ü'), "text is not escaped");
    Ok(())
}
