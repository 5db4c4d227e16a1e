//! Measures the overhead of a step of a durable workflow: fifty consecutive steps that do nothing, one run
//! at a time, with journal and audit on disk.

use anyhow::ensure;
use greenroom_client::client::CallParams;
use greenroom_integration_tests::bench::{Latencies, Threshold, record};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, start_pod, text};
use greenroom_protocol::{Status, WorkflowId};
use greenroom_supervisor::compose::Overrides;

/// Steps of a run.
const STEPS: usize = 50;
/// Measured runs.
const RUNS: usize = 40;

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        steps(StoreKind::Full, "SQLite FULL", 1.5, 10.0).await?;
        steps(StoreKind::Normal, "SQLite NORMAL", 0.5, 5.0).await
    })
}

async fn steps(store: StoreKind, name: &str, p50_ms: f64, p99_ms: f64) -> anyhow::Result<()> {
    let definitions = tempfile::tempdir()?;
    let definitions_dir = DefinitionsDir::new(definitions.path())?;
    definitions_dir.write_echo_agent("echo_agent")?;
    definitions_dir.write_row_workflow("row", "echo_agent", STEPS)?;
    let test_pod = start_pod(store, Some(definitions_dir.dir()), Overrides::default()).await?;
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
            gaps.extend(step_times(&test_pod, &reply.id).await?);
        }
    }
    let times: Latencies = gaps.into_iter().collect();
    record("step", format!("step overhead p50, {name}"), times.millis(0.5), "ms", Threshold::AtMost(p50_ms))?;
    record("step", format!("step overhead p99, {name}"), times.millis(0.99), "ms", Threshold::AtMost(p99_ms))?;
    test_pod.pod.shutdown().await;
    Ok(())
}

/// Reads from the journal the times between the starts of consecutive steps, which include everything.
async fn step_times(
    test_pod: &greenroom_integration_tests::test_pod::TestPod,
    run: &str,
) -> anyhow::Result<Vec<std::time::Duration>> {
    use greenroom_protocol::journal::Entry;
    let run = greenroom_protocol::RunId::new(run)?;
    let entries = test_pod.pod.stores().journal.read(&run, Default::default(), 1_000).await?;
    let starts: Vec<_> = entries
        .iter()
        .filter(|record| matches!(record.entry, Entry::StepStarted { .. }))
        .map(|record| record.at)
        .collect();
    Ok(starts.iter().zip(starts.iter().skip(1)).map(|(start, next)| next.saturating_duration_since(*start)).collect())
}
