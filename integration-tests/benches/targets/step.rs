//! What a step of a durable workflow costs beside its work: a row of fifty steps that do nothing, one
//! run at a time, journal and audit on disk.

use anyhow::ensure;
use greenroom_client::client::CallParams;
use greenroom_integration_tests::bench::{Latencies, Threshold, record};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, start_pod, text};
use greenroom_protocol::{Status, WorkflowId};
use greenroom_supervisor::compose::Overrides;

/// Steps of a run.
const STEPS: usize = 50;
/// Runs that are measured.
const RUNS: usize = 40;

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        steps(StoreKind::Full, "SQLite FULL", 1.5, 10.0).await?;
        steps(StoreKind::Normal, "SQLite NORMAL", 0.5, 5.0).await
    })
}

async fn steps(keeps: StoreKind, name: &str, p50_ms: f64, p99_ms: f64) -> anyhow::Result<()> {
    let definitions = tempfile::tempdir()?;
    let stagehand = DefinitionsDir::new(definitions.path())?;
    stagehand.echo_agent("echo_agent")?;
    stagehand.row_workflow("row", "echo_agent", STEPS)?;
    let rented = start_pod(keeps, Some(stagehand.dir()), Overrides::default()).await?;
    let client = rented.admin()?;
    let workflow = WorkflowId::new("row")?;
    let mut gaps = Vec::new();
    for round in 0..=RUNS {
        let reply =
            client.run_workflow(workflow.clone(), CallParams { inputs: text("x"), ..CallParams::default() }).await?;
        ensure!(reply.status == Status::Success, "{:?}", reply.error);
        ensure!(reply.metadata.workflow_steps == STEPS as u32, "{} steps", reply.metadata.workflow_steps);
        // The first run seats the agent and is not measured.
        if round > 0 {
            gaps.extend(step_times(&rented, &reply.id).await?);
        }
    }
    let times: Latencies = gaps.into_iter().collect();
    record("step", format!("step overhead p50, {name}"), times.millis(0.5), "ms", Threshold::AtMost(p50_ms))?;
    record("step", format!("step overhead p99, {name}"), times.millis(0.99), "ms", Threshold::AtMost(p99_ms))?;
    rented.pod.shutdown().await;
    Ok(())
}

/// From the start of one step to the start of the next, as the journal says: everything is in it.
async fn step_times(
    rented: &greenroom_integration_tests::test_pod::TestPod,
    run: &str,
) -> anyhow::Result<Vec<std::time::Duration>> {
    use greenroom_protocol::journal::Entry;
    let run = greenroom_protocol::RunId::new(run)?;
    let entries = rented.pod.stores().journal.read(&run, Default::default(), 1_000).await?;
    let starts: Vec<_> = entries
        .iter()
        .filter(|written| matches!(written.entry, Entry::StepStarted { .. }))
        .map(|written| written.at)
        .collect();
    Ok(starts.iter().zip(starts.iter().skip(1)).map(|(start, next)| next.saturating_duration_since(*start)).collect())
}
