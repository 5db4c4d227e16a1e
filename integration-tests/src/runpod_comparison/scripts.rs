//! The scripts: what RunPod does, and what a worker has done then, in words that do not depend on the speed of the machine.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::worker_kind::{ONE_AT_A_TIME, WorkerKind};
use crate::runpod_api::{CallKind, FakeRunPod, Reaction, RecordedCall};
use crate::wait::wait_until;

/// Longest wait for what each worker does.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// Longest wait for what a worker may not do at all.
const ABSENCE_WAIT_MAX: Duration = Duration::from_secs(8);
/// A shorter time between two polls is no delay.
const DELAY_MIN: Duration = Duration::from_millis(60);
/// Bytes of a result that RunPod accepts.
const RESULT_BYTES_MAX: usize = 20_000_000;
/// How long a poll is open in the script of the end.
const OPEN_POLL: Duration = Duration::from_secs(12);

/// Plays a script.
type Play = for<'p> fn(&'p WorkerKind) -> BoxFuture<'p, anyhow::Result<String>>;

/// A script.
pub(super) struct Script {
    pub(super) subject: &'static str,
    pub(super) play: Play,
}

/// The scripts, in the order of the table.
pub(super) static SCRIPTS: [Script; 11] = [
    Script { subject: "accepts a result, while other jobs wait", play: |kind| pause_after_a_job(kind).boxed() },
    Script { subject: "fails four polls (500)", play: |kind| failed_polls(kind).boxed() },
    Script { subject: "sends HTML, half a body, and a job without an id", play: |kind| false_polls(kind).boxed() },
    Script { subject: "sends an input that is no valid JSON", play: |kind| unreadable_input(kind).boxed() },
    Script { subject: "resets the connection of a result", play: |kind| reset_result(kind).boxed() },
    Script { subject: "refuses a result for too many requests (429)", play: |kind| throttled_result(kind).boxed() },
    Script { subject: "fails to take a result three times (502)", play: |kind| failed_result(kind).boxed() },
    Script { subject: "refuses a result of 25 MB", play: |kind| large_result(kind).boxed() },
    Script { subject: "delivers a job again after its result", play: |kind| repeated_job(kind).boxed() },
    Script { subject: "delivers a job after SIGTERM, to a poll that is open", play: |kind| late_job(kind).boxed() },
    Script { subject: "holds a poll for 12 s, and the worker gets SIGTERM", play: |kind| open_poll(kind).boxed() },
];

/// A RunPod with these reactions to its first polls, and the usual ones after that.
async fn runpod_with_polls(reactions: Vec<Reaction>) -> anyhow::Result<FakeRunPod> {
    let polls = AtomicUsize::new(0);
    FakeRunPod::start_with(move |call| match call.kind {
        CallKind::Take => reactions.get(polls.fetch_add(1, Ordering::SeqCst)).cloned().unwrap_or(Reaction::Default),
        CallKind::Done | CallKind::Stream | CallKind::Ping | CallKind::Stop | CallKind::Other => Reaction::Default,
    })
    .await
}

/// A RunPod with these reactions to the first results of the job `first`, which another job follows.
async fn runpod_with_results(reactions: Vec<Reaction>) -> anyhow::Result<FakeRunPod> {
    let results = AtomicUsize::new(0);
    let runpod = FakeRunPod::start_with(move |call| match call.job() {
        Some("first") => reactions.get(results.fetch_add(1, Ordering::SeqCst)).cloned().unwrap_or(Reaction::Default),
        Some(_) | None => Reaction::Default,
    })
    .await?;
    add_job(&runpod, "first", &json!({ "ret": 1 }));
    add_job(&runpod, "next", &json!({ "ret": 2 }));
    Ok(runpod)
}

fn add_job(runpod: &FakeRunPod, id: &str, input: &Value) {
    runpod.add_job(json!({ "id": id, "input": input }));
}

async fn result_of(runpod: &FakeRunPod, job: &str) -> anyhow::Result<Value> {
    wait_until(&format!("a result of {job}"), WAIT_MAX, || async { runpod.result(job) }).await
}

async fn pause_after_a_job(kind: &WorkerKind) -> anyhow::Result<String> {
    let runpod = FakeRunPod::start().await?;
    let jobs = ["a", "b", "c"];
    jobs.iter().for_each(|job| add_job(&runpod, job, &json!({ "ret": job })));
    let has_all = || async { (runpod.results() >= jobs.len()).then_some(()) };
    kind.play(&runpod, ONE_AT_A_TIME, wait_until("all results", WAIT_MAX, has_all)).await?;
    let mut at: Vec<Instant> = runpod.calls_of(CallKind::Done).iter().map(|call| call.at).collect();
    at.sort_unstable();
    let pauses = gaps(&at);
    let is_pause = pauses.iter().all(|pause| *pause > Duration::from_millis(500));
    Ok(if is_pause { "it takes the next job up to 1 s later" } else { "it takes the next job at once" }.to_owned())
}

async fn failed_polls(kind: &WorkerKind) -> anyhow::Result<String> {
    let failures = 4;
    let runpod = runpod_with_polls(vec![Reaction::Json(500, Value::Null); failures]).await?;
    add_job(&runpod, "first", &json!({ "ret": 1 }));
    kind.play(&runpod, ONE_AT_A_TIME, result_of(&runpod, "first")).await?;
    Ok(delays_of_polls(&runpod.calls_of(CallKind::Take), failures).to_owned())
}

async fn false_polls(kind: &WorkerKind) -> anyhow::Result<String> {
    let reactions = vec![
        Reaction::Text(200, "text/html", "<html>busy</html>".to_owned(), ""),
        Reaction::Half,
        Reaction::Json(200, json!({ "input": { "ret": 3 } })),
    ];
    let count = reactions.len();
    let runpod = runpod_with_polls(reactions).await?;
    add_job(&runpod, "first", &json!({ "ret": 1 }));
    kind.play(&runpod, ONE_AT_A_TIME, result_of(&runpod, "first")).await?;
    Ok(delays_of_polls(&runpod.calls_of(CallKind::Take), count).to_owned())
}

/// What the times between the first polls are, of which this many have failed.
fn delays_of_polls(polls: &[RecordedCall], failures: usize) -> &'static str {
    let at: Vec<Instant> = polls.iter().take(failures + 1).map(|poll| poll.at).collect();
    if gaps(&at).iter().all(|gap| *gap >= DELAY_MIN) {
        "it polls again after a delay"
    } else {
        "it polls again at once"
    }
}

fn gaps(at: &[Instant]) -> Vec<Duration> {
    let pairs = at.iter().zip(at.iter().skip(1));
    pairs.map(|(before, after)| after.saturating_duration_since(*before)).collect()
}

async fn unreadable_input(kind: &WorkerKind) -> anyhow::Result<String> {
    let job = format!(r#"{{"id":"deep","input":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let runpod = runpod_with_polls(vec![Reaction::Text(200, "application/json", job, "")]).await?;
    add_job(&runpod, "next", &json!({ "ret": 1 }));
    kind.play(&runpod, ONE_AT_A_TIME, result_of(&runpod, "next")).await?;
    // Both are executed one after the other.
    Ok(match runpod.result("deep") {
        Some(_) => "the job fails with the reason".to_owned(),
        None => "the job has no result, until its time has passed".to_owned(),
    })
}

async fn reset_result(kind: &WorkerKind) -> anyhow::Result<String> {
    delivery(kind, vec![Reaction::Reset]).await
}

async fn throttled_result(kind: &WorkerKind) -> anyhow::Result<String> {
    let throttled = Reaction::Text(429, "application/json", "{}".to_owned(), "retry-after: 1\r\n");
    delivery(kind, vec![throttled]).await
}

async fn failed_result(kind: &WorkerKind) -> anyhow::Result<String> {
    delivery(kind, vec![Reaction::Json(502, Value::Null); 3]).await
}

/// Whether a result is delivered after these reactions. A worker that executes one job at a time has given up on a result when
/// the next job has one.
async fn delivery(kind: &WorkerKind, reactions: Vec<Reaction>) -> anyhow::Result<String> {
    let runpod = runpod_with_results(reactions).await?;
    kind.play(&runpod, ONE_AT_A_TIME, result_of(&runpod, "next")).await?;
    let is_delivered = runpod.result("first").is_some();
    Ok(if is_delivered { "it sends the result again" } else { "the result is lost" }.to_owned())
}

async fn large_result(kind: &WorkerKind) -> anyhow::Result<String> {
    let runpod = FakeRunPod::start_with(|call| match call.body.len() {
        0..RESULT_BYTES_MAX => Reaction::Default,
        _ => Reaction::Json(400, json!({})),
    })
    .await?;
    add_job(&runpod, "first", &json!({ "big": 25_000_000 }));
    add_job(&runpod, "next", &json!({ "ret": 2 }));
    kind.play(&runpod, ONE_AT_A_TIME, result_of(&runpod, "next")).await?;
    Ok(match runpod.result("first") {
        Some(result) if result.get("error").is_some() => "it sends an error with the size".to_owned(),
        Some(_) => "it sends another result".to_owned(),
        None => "it sends the result once; the caller sees no output".to_owned(),
    })
}

async fn repeated_job(kind: &WorkerKind) -> anyhow::Result<String> {
    let runpod = FakeRunPod::start().await?;
    add_job(&runpod, "first", &json!({ "count": true }));
    let posts = || runpod.calls_of(CallKind::Done);
    let repetition = async {
        result_of(&runpod, "first").await?;
        add_job(&runpod, "first", &json!({ "count": true }));
        wait_until("a second result", WAIT_MAX, || async { posts().get(1).cloned() }).await
    };
    let second = kind.play(&runpod, ONE_AT_A_TIME, repetition).await?;
    Ok(match second.json().get("output").and_then(Value::as_u64) {
        Some(1) => "it sends the first result again".to_owned(),
        _ => "it executes the job again".to_owned(),
    })
}

async fn late_job(kind: &WorkerKind) -> anyhow::Result<String> {
    let job = json!({ "id": "late", "input": { "ret": 1 } });
    let reaction = Reaction::After(Duration::from_secs(1), Box::new(Reaction::Json(200, job)));
    let runpod = runpod_with_polls(vec![reaction]).await?;
    let is_polling = || async { (!runpod.calls_of(CallKind::Take).is_empty()).then_some(()) };
    kind.play(&runpod, ONE_AT_A_TIME, wait_until("a poll", WAIT_MAX, is_polling)).await?;
    let executed = wait_until("a result", ABSENCE_WAIT_MAX, || async { runpod.result("late") }).await.is_ok();
    Ok(if executed { "it executes the job" } else { "the job is lost" }.to_owned())
}

async fn open_poll(kind: &WorkerKind) -> anyhow::Result<String> {
    let runpod = FakeRunPod::start_with(|call| match call.kind {
        CallKind::Take | CallKind::Stop => Reaction::After(OPEN_POLL, Box::new(Reaction::Json(204, Value::Null))),
        CallKind::Done | CallKind::Stream | CallKind::Ping | CallKind::Other => Reaction::Default,
    })
    .await?;
    let is_polling = || async {
        let is_open = |poll| !runpod.calls_of(poll).is_empty();
        (is_open(CallKind::Take) && is_open(CallKind::Stop)).then_some(Instant::now())
    };
    let signalled_at = kind.play(&runpod, ONE_AT_A_TIME, wait_until("open polls", WAIT_MAX, is_polling)).await?;
    let is_soon = signalled_at.elapsed() < OPEN_POLL / 2;
    Ok(if is_soon { "it ends within a few seconds" } else { "it ends when its polls do" }.to_owned())
}
