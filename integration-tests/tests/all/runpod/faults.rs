//! Faults after a job was taken: dropped connections, repeated deliveries, a handler that panics or keeps every thread busy, and a
//! suspension of the process. No job is lost, and none is executed twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use greenroom_integration_tests::runpod_api::{CallKind, FakeRunPod, Reaction};
use greenroom_integration_tests::runpod_jobs::{DrivenWorker, VerbHandler, test_options};
use greenroom_integration_tests::shifted_clock::ShiftedClock;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_runpod::worker::ResumeHook;
use serde_json::json;

use super::{WAIT_MAX, result_of, results, worker};

/// Jobs of the load with faults.
const FAULTY_JOBS: usize = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_delivered_after_dropped_connections() -> Result<()> {
    let attempts = AtomicUsize::new(0);
    let runpod = FakeRunPod::start_with(move |call| match call.kind {
        CallKind::Done if attempts.fetch_add(1, Ordering::SeqCst) < 4 => Reaction::Reset,
        CallKind::Done | CallKind::Take | CallKind::Stream | CallKind::Ping | CallKind::Stop | CallKind::Other => {
            Reaction::Default
        }
    })
    .await?;
    runpod.add_job(json!({ "id": "a", "input": { "ret": 1 } }));
    let (result, _) = worker(&runpod, 1)?.run_until(result_of(&runpod, "a")).await?;
    assert_eq!(result, json!({ "output": 1 }));
    assert!(runpod.calls_of(CallKind::Done).len() >= 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_redirected_is_sent_again_to_the_same_address() -> Result<()> {
    let attempts = AtomicUsize::new(0);
    let runpod = FakeRunPod::start_with(move |call| match call.kind {
        CallKind::Done if attempts.fetch_add(1, Ordering::SeqCst) < 2 => {
            Reaction::Text(307, "text/html", "<html>".to_owned(), "location: /v2/stolen\r\n")
        }
        CallKind::Done | CallKind::Take | CallKind::Stream | CallKind::Ping | CallKind::Stop | CallKind::Other => {
            Reaction::Default
        }
    })
    .await?;
    runpod.add_job(json!({ "id": "a", "input": { "ret": 1 } }));
    let (result, report) = worker(&runpod, 1)?.run_until(result_of(&runpod, "a")).await?;
    assert_eq!((result, report.accepted), (json!({ "output": 1 }), 1));
    assert!(runpod.calls().iter().all(|call| !call.target.contains("stolen")), "no redirect is followed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_stream_is_delivered_after_failures_as_a_result_is() -> Result<()> {
    let attempts = AtomicUsize::new(0);
    let runpod = FakeRunPod::start_with(move |call| match call.kind {
        CallKind::Stream if attempts.fetch_add(1, Ordering::SeqCst) < 5 => Reaction::Json(502, json!({})),
        CallKind::Stream | CallKind::Done | CallKind::Take | CallKind::Ping | CallKind::Stop | CallKind::Other => {
            Reaction::Default
        }
    })
    .await?;
    runpod.add_job(json!({ "id": "a", "input": { "items": ["x", "y"] } }));
    let (result, _) = worker(&runpod, 1)?.run_until(result_of(&runpod, "a")).await?;
    assert_eq!(result, json!({ "output": [] }));
    assert_eq!(runpod.parts("a"), [json!("x"), json!("y")]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_delivered_again_is_not_executed_again() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    let job = json!({ "id": "a", "input": { "sleep": 0.3, "ret": 1 } });
    for _ in 0..3 {
        runpod.add_job(job.clone());
    }
    let repetition = async {
        result_of(&runpod, "a").await?;
        runpod.add_job(job.clone());
        let repeated = || async { (runpod.calls_of(CallKind::Done).len() >= 2).then_some(()) };
        wait_until("the result is sent again", WAIT_MAX, repeated).await
    };
    let ((), report) = worker(&runpod, 4)?.run_until(repetition).await?;
    assert_eq!((report.executed, report.repeated), (1, 3));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_may_be_delivered_again_and_is_executed_again() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    let job = json!({ "id": "a", "input": { "raise": "bad" } });
    runpod.add_job(job.clone());
    let repetition = async {
        result_of(&runpod, "a").await?;
        runpod.add_job(job.clone());
        let repeated = || async { (runpod.calls_of(CallKind::Done).len() >= 2).then_some(()) };
        wait_until("a second result", WAIT_MAX, repeated).await
    };
    let ((), report) = worker(&runpod, 1)?.run_until(repetition).await?;
    assert_eq!(report.executed, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_fails_its_job_and_no_other() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    runpod.add_job(json!({ "id": "p", "input": { "panic": true } }));
    runpod.add_job(json!({ "id": "q", "input": { "ret": 2 } }));
    worker(&runpod, 1)?.run_until(results(&runpod, 2)).await?;
    assert!(runpod.result("p").unwrap()["error"].as_str().unwrap().contains("panicked"));
    assert_eq!(runpod.result("q"), Some(json!({ "output": 2 })));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_continue_while_handlers_keep_every_thread_busy() -> Result<()> {
    let runpod = FakeRunPod::start().await?;
    let mut variables: BTreeMap<String, String> = runpod.environment();
    variables.insert("RUNPOD_PING_INTERVAL".to_owned(), "300".to_owned());
    let worker = DrivenWorker::new(&variables, Arc::new(VerbHandler::default()), test_options(1))?;
    let busy = async {
        let is_announced = || async { (!runpod.calls_of(CallKind::Ping).is_empty()).then_some(()) };
        wait_until("a heartbeat without a job", WAIT_MAX, is_announced).await?;
        // The RunPod of the test needs a thread too, so one handler is busy while the worker has two threads.
        runpod.add_job(json!({ "id": "busy", "input": { "spin": 2.0, "ret": 1 } }));
        result_of(&runpod, "busy").await
    };
    worker.run_until(busy).await?;
    let with_job = runpod.calls_of(CallKind::Ping).into_iter().filter(|call| call.target.contains("job_id=busy"));
    assert!(with_job.count() >= 3);
    let first = &runpod.calls_of(CallKind::Ping)[0];
    assert!(!first.target.contains("job_id="), "{}", first.target);
    Ok(())
}

/// Proves itself at the third attempt, and records whether it was called.
struct Hook {
    attempts: AtomicU64,
    is_proven: Arc<AtomicBool>,
}

#[async_trait]
impl ResumeHook for Hook {
    async fn prove(&self) -> Result<(), Cause> {
        if self.attempts.fetch_add(1, Ordering::SeqCst) < 2 {
            return Err(Cause::new(ErrorCode::LeaseLost, "not yet"));
        }
        self.is_proven.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_suspension_nothing_is_acknowledged_before_the_host_has_proven_itself() -> Result<()> {
    let is_proven = Arc::new(AtomicBool::new(false));
    let early = Arc::new(Mutex::new(Vec::new()));
    let (observed, recorded) = (Arc::clone(&is_proven), Arc::clone(&early));
    let runpod = FakeRunPod::start_with(move |call| {
        if call.kind == CallKind::Done && !observed.load(Ordering::SeqCst) {
            recorded.lock().unwrap().push(call.target.clone());
        }
        Reaction::Default
    })
    .await?;
    let clock = Arc::new(ShiftedClock::default());
    let mut options = test_options(1);
    options.clock = clock.clone();
    options.resume_hook = Arc::new(Hook { attempts: AtomicU64::new(0), is_proven: Arc::clone(&is_proven) });
    let worker = DrivenWorker::new(&runpod.environment(), Arc::new(VerbHandler::default()), options)?;
    runpod.add_job(json!({ "id": "a", "input": { "sleep": 1.5, "ret": 1 } }));
    let suspended = async {
        let is_taken = || async { (!runpod.calls_of(CallKind::Take).is_empty()).then_some(()) };
        wait_until("the job is taken", WAIT_MAX, is_taken).await?;
        clock.put_forward(Duration::from_secs(3_600));
        result_of(&runpod, "a").await
    };
    let (result, report) = worker.run_until(suspended).await?;
    assert_eq!(result, json!({ "output": 1 }));
    assert!(report.resumes >= 1 && is_proven.load(Ordering::SeqCst));
    assert!(early.lock().unwrap().is_empty(), "{:?}", early.lock().unwrap());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_suspension_the_polls_and_the_results_have_new_connections() -> Result<()> {
    let polls = AtomicUsize::new(0);
    // The server has forgotten the connections of the first polls: nothing ever arrives on them.
    let runpod = FakeRunPod::start_with(move |call| match call.kind {
        CallKind::Take if polls.fetch_add(1, Ordering::SeqCst) == 0 => {
            Reaction::After(WAIT_MAX * 10, Box::new(Reaction::Default))
        }
        CallKind::Take | CallKind::Done | CallKind::Stream | CallKind::Ping | CallKind::Stop | CallKind::Other => {
            Reaction::Default
        }
    })
    .await?;
    let clock = Arc::new(ShiftedClock::default());
    let mut options = test_options(1);
    options.clock = clock.clone();
    let worker = DrivenWorker::new(&runpod.environment(), Arc::new(VerbHandler::default()), options)?;
    let resumed = async {
        let is_polling = || async { (!runpod.calls_of(CallKind::Take).is_empty()).then_some(()) };
        wait_until("the first poll", WAIT_MAX, is_polling).await?;
        let before = runpod.calls().iter().map(|call| call.connection).max();
        runpod.add_job(json!({ "id": "a", "input": { "ret": 1 } }));
        clock.put_forward(Duration::from_secs(3_600));
        result_of(&runpod, "a").await?;
        Ok(before)
    };
    let (before, report) = worker.run_until(resumed).await?;
    assert!(report.resumes >= 1);
    let done = &runpod.calls_of(CallKind::Done)[0];
    let taken = &runpod.calls_of(CallKind::Take)[1];
    assert!(Some(taken.connection) > before && Some(done.connection) > before, "{before:?}: {taken:?} {done:?}");
    Ok(())
}

/// One of a hundred requests meets a fault: a 5xx, a reset, or a delay.
fn fault(number: usize) -> Reaction {
    if number % 100 != 7 {
        return Reaction::Default;
    }
    match (number / 100) % 3 {
        0 => Reaction::Json(502, json!({})),
        1 => Reaction::Reset,
        _ => Reaction::After(Duration::from_millis(600), Box::new(Reaction::Default)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_job_is_lost_although_requests_fail_are_reset_or_stall() -> Result<()> {
    let requests = AtomicUsize::new(0);
    let runpod = FakeRunPod::start_for_load(move |call| match call.kind {
        // A reset of a poll that has taken jobs is the loss of RunPod, not of the worker.
        CallKind::Done => fault(requests.fetch_add(1, Ordering::SeqCst)),
        CallKind::Take | CallKind::Stream | CallKind::Ping | CallKind::Stop | CallKind::Other => Reaction::Default,
    })
    .await?;
    for number in 0..FAULTY_JOBS {
        runpod.add_job(json!({ "id": format!("j{number}"), "input": { "ret": number } }));
    }
    let mut options = test_options(32);
    // A stall is longer than the time of a result: the result is sent again.
    options.timing.post_timeout = Duration::from_millis(300);
    let worker = DrivenWorker::new(&runpod.environment(), Arc::new(VerbHandler::default()), options)?;
    let ((), report) = worker.run_until(results(&runpod, FAULTY_JOBS)).await?;
    let jobs = u64::try_from(FAULTY_JOBS)?;
    assert_eq!((report.executed, report.unfinished), (jobs, 0));
    for number in 0..FAULTY_JOBS {
        assert_eq!(runpod.result(&format!("j{number}")), Some(json!({ "output": number })));
    }
    Ok(())
}
