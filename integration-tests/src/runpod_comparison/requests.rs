//! The requests of both workers for jobs without faults are the same: addresses, headers and bodies of results and of parts.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::worker_kind::{Settings, WorkerKind};
use crate::runpod_api::FakeRunPod;
use crate::runpod_api::trace::{ComparedCall, posts_of_worker};
use crate::wait::wait_until;

/// Longest wait for all results: the SDK pauses for a second after each.
const WAIT_MAX: Duration = Duration::from_secs(180);

/// The inputs of jobs whose results are values, or failures.
fn values() -> Vec<Value> {
    let values = [
        json!({ "hello": "wörld" }),
        json!("text"),
        json!(""),
        json!(null),
        json!(true),
        json!(0),
        json!(-1.5),
        json!([]),
        json!([1, { "a": [] }]),
        json!({}),
        json!({ "output": { "a": 1 } }),
    ];
    let raised = json!({ "raise": "bad" });
    values.into_iter().map(|value| json!({ "ret": value })).chain([raised]).collect()
}

/// The inputs of jobs whose results are streams.
fn streams() -> Vec<Value> {
    let streams = [
        json!(["a", { "k": 1 }, ["x"]]),
        json!(["a", "RAISE", "b"]),
        json!(["a", { "error": "yielded" }, "c"]),
        json!([]),
    ];
    streams.into_iter().map(|items| json!({ "items": items })).collect()
}

/// Gives both workers the same jobs; returns their number.
///
/// # Errors
/// If a request differs.
pub(super) async fn compare(sdk: &WorkerKind) -> anyhow::Result<usize> {
    let mut count = 0;
    for (inputs, streams) in [(values(), false), (streams(), true)] {
        let (theirs, ours) = (posts(sdk, &inputs, streams).await?, posts(&WorkerKind::Own, &inputs, streams).await?);
        for (job, expected) in &theirs {
            ensure!(ours.get(job) == Some(expected), "{job}: {expected:?} and {:?}", ours.get(job));
        }
        ensure!(ours.len() == inputs.len(), "{} jobs have results, of {}", ours.len(), inputs.len());
        count += inputs.len();
    }
    Ok(count)
}

async fn posts(
    kind: &WorkerKind,
    inputs: &[Value],
    streams: bool,
) -> anyhow::Result<BTreeMap<String, Vec<ComparedCall>>> {
    let runpod = FakeRunPod::start().await?;
    for (number, input) in inputs.iter().enumerate() {
        runpod.add_job(json!({ "id": format!("job-{number}-u1"), "input": input, "webhook": null }));
    }
    let results = wait_until("all results", WAIT_MAX, || async { (runpod.results() >= inputs.len()).then_some(()) });
    kind.play(&runpod, Settings { concurrency: 1, streams }, results).await?;
    Ok(posts_of_worker(&runpod.calls()))
}
