//! Measures a `for_each` step on SQLite: the time of a list of four times the length, and the memory of a long list of
//! large items.

use std::time::{Duration, Instant};

use anyhow::ensure;
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::bench::{Threshold, memory, record, scaled};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, start_pod};
use greenroom_protocol::{Json, Status, Values, WorkflowId};
use greenroom_supervisor::compose::Overrides;

/// Items of the short list; the long one has [`FACTOR`] times as many.
const ITEMS: u64 = 1_000;
/// The ratio of the lengths.
const FACTOR: u64 = 4;
/// Items of the list whose memory is measured, which is the maximum of a run.
const ITEMS_MAX: u64 = 10_000;
/// Bytes of one item.
const ITEM_BYTES: usize = 10 * 1024;
/// Measured runs of each length; the fastest counts.
const RUNS: usize = 3;

const WORKFLOW: &str = "workflow_id: each
name: each
inputs: [{ name: items, type: array, required: true }, { name: rule, type: text, required: true }]
steps:
  - id: each
    agent: echo_agent
    for_each: { items: \"${inputs.items}\", max_concurrency: 16 }
    inputs: { text: \"${item.text} ${inputs.rule}\" }
    outputs: [text]
";

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> anyhow::Result<()> {
    let definitions = tempfile::tempdir()?;
    let definitions_dir = DefinitionsDir::new(definitions.path())?;
    definitions_dir.write_echo_agent("echo_agent")?;
    definitions_dir.write_workflow("each", WORKFLOW)?;
    let test_pod = start_pod(StoreKind::Normal, Some(definitions_dir.dir()), Overrides::default()).await?;
    let client = test_pod.admin()?;
    // The first run activates the agent and is not measured.
    run(&client, 10).await?;
    let short = fastest(&client, scaled(ITEMS)).await?;
    let long = fastest(&client, scaled(ITEMS) * FACTOR).await?;
    let name = |items: u64| format!("{items} items of 10 KiB");
    record("for_each", name(scaled(ITEMS)), short.as_secs_f64() * 1e3, "ms", Threshold::Informational)?;
    record("for_each", name(scaled(ITEMS) * FACTOR), long.as_secs_f64() * 1e3, "ms", Threshold::Informational)?;
    let ratio = long.as_secs_f64() / short.as_secs_f64();
    record(
        "for_each",
        format!("  of them, the longer ÷ the shorter, {FACTOR} × the items"),
        ratio,
        "×",
        Threshold::AtMost(4.5),
    )?;
    let largest = run(&client, scaled(ITEMS_MAX)).await?;
    let peak = memory()?.peak;
    record("for_each", name(scaled(ITEMS_MAX)), largest.as_secs_f64() * 1e3, "ms", Threshold::Informational)?;
    record("for_each", format!("{}: peak memory", name(scaled(ITEMS_MAX))), peak, "MiB", Threshold::AtMost(1024.0))?;
    test_pod.pod.shutdown().await;
    Ok(())
}

async fn fastest(client: &Client, items: u64) -> anyhow::Result<Duration> {
    let mut fastest = Duration::MAX;
    for _ in 0..RUNS {
        fastest = fastest.min(run(client, items).await?);
    }
    Ok(fastest)
}

/// Runs the workflow over so many items, and returns its duration.
async fn run(client: &Client, items: u64) -> anyhow::Result<Duration> {
    let item = |number: u64| serde_json::json!({ "text": format!("{number} {}", "x".repeat(ITEM_BYTES)) });
    let inputs = Values::from([
        ("items".to_owned(), (0..items).map(item).collect::<Json>()),
        ("rule".to_owned(), Json::from("by the rule")),
    ]);
    let started_at = Instant::now();
    let reply = client.run_workflow(WorkflowId::new("each")?, CallParams { inputs, ..CallParams::default() }).await?;
    ensure!(reply.status == Status::Success, "{:?}", reply.error);
    ensure!(u64::from(reply.metadata.workflow_steps) == items, "{} steps", reply.metadata.workflow_steps);
    Ok(started_at.elapsed())
}
