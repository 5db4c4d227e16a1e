//! Measures the overhead of a step of a durable workflow: fifty consecutive steps that do nothing, one run
//! at a time, with journal and audit on disk.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use greenroom_client::CallParams;
use greenroom_integration_tests::bench::{Latencies, Threshold, record};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, TestPod, start_pod, text};
use greenroom_protocol::journal::Entry;
use greenroom_protocol::{RunId, Status, WorkflowId};
use greenroom_supervisor::compose::Overrides;

/// Steps of a run.
const STEPS: usize = 50;
/// Measured runs.
const RUNS: usize = 40;

/// The targets of one store, in milliseconds.
pub(crate) struct StepMax {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        on_sqlite(StoreKind::Full, "SQLite FULL", &StepMax { p50_ms: 1.5, p99_ms: 10.0 }).await?;
        on_sqlite(StoreKind::Normal, "SQLite NORMAL", &StepMax { p50_ms: 0.5, p99_ms: 5.0 }).await
    })
}

async fn on_sqlite(store: StoreKind, name: &str, max: &StepMax) -> anyhow::Result<()> {
    let definitions = tempfile::tempdir()?;
    write_definitions(definitions.path())?;
    let test_pod = start_pod(store, Some(definitions.path()), Overrides::default()).await?;
    measure("step", &test_pod, name, max).await?;
    test_pod.pod.shutdown().await;
    Ok(())
}

/// Writes the workflow, which [`measure`] runs, and its agent.
pub(crate) fn write_definitions(folder: &Path) -> anyhow::Result<()> {
    let definitions_dir = DefinitionsDir::new(folder)?;
    definitions_dir.write_echo_agent("echo_agent")?;
    definitions_dir.write_row_workflow("row", "echo_agent", STEPS)
}

/// Measures the steps of a pod on this store.
pub(crate) async fn measure(group: &str, test_pod: &TestPod, store: &str, max: &StepMax) -> anyhow::Result<()> {
    let client = test_pod.admin()?;
    let workflow = WorkflowId::new("row")?;
    let mut gaps = Vec::new();
    for round in 0..=RUNS {
        let reply =
            client.run_workflow(workflow.clone(), CallParams { inputs: text("x"), ..CallParams::default() }).await?;
        ensure!(reply.status == Status::Success, "{:?}", reply.error);
        ensure!(reply.metadata.workflow_steps == STEPS as u32, "{} steps", reply.metadata.workflow_steps);
        // The first run activates the agent and is not measured.
        if round > 0 {
            gaps.extend(step_times(test_pod, &reply.id).await?);
        }
    }
    let times: Latencies = gaps.into_iter().collect();
    let StepMax { p50_ms, p99_ms } = *max;
    record(group, format!("step overhead p50, {store}"), times.millis(0.5), "ms", Threshold::AtMost(p50_ms))?;
    record(group, format!("step overhead p99, {store}"), times.millis(0.99), "ms", Threshold::AtMost(p99_ms))
}

/// Reads from the journal the times between the starts of consecutive steps, which include everything.
async fn step_times(test_pod: &TestPod, run: &str) -> anyhow::Result<Vec<Duration>> {
    let entries = test_pod.pod.stores().journal.read(&RunId::new(run)?, Default::default(), 1_000).await?;
    let starts: Vec<_> = entries
        .iter()
        .filter(|record| matches!(record.entry, Entry::StepStarted { .. }))
        .map(|record| record.at)
        .collect();
    Ok(starts.iter().zip(starts.iter().skip(1)).map(|(start, next)| next.saturating_duration_since(*start)).collect())
}
