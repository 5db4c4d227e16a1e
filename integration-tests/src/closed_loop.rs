//! A closed loop of callers: each starts a five-step workflow, checks the value that returns, and starts the
//! next. It drives any transport, so that the same load reaches a pod in this process and one over its socket.

use std::time::{Duration, Instant};

use anyhow::ensure;
use greenroom_client::{CallParams, Client};
use greenroom_protocol::{Json, Status, WorkflowId};
use serde::{Deserialize, Serialize};

use crate::bench::Latencies;
use crate::definitions_dir::DefinitionsDir;
use crate::test_pod::text;

/// The workflow of the loop.
pub const WORKFLOW: &str = "five_steps";

/// Measurements of one level of load: the line of JSON that each load program prints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Level {
    /// What was measured.
    pub peer: String,
    /// Callers, each with one workflow in flight.
    pub in_flight: usize,
    /// Workflows per second.
    pub per_second: f64,
    /// Median duration of a workflow, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, in milliseconds.
    pub p99_ms: f64,
}

/// Writes the workflow of the loop and its agent, which returns its input.
///
/// # Errors
/// If a file cannot be written.
pub fn write_definitions(dir: &DefinitionsDir) -> anyhow::Result<()> {
    dir.write_echo_agent("echo_agent")?;
    dir.write_row_workflow(WORKFLOW, "echo_agent", 5)
}

/// Keeps `in_flight` workflows in flight for `duration`.
///
/// # Errors
/// If a workflow fails or returns another value than it was given.
#[expect(clippy::disallowed_methods, reason = "every spawned caller is awaited")]
pub async fn run(peer: &str, client: &Client, in_flight: usize, duration: Duration) -> anyhow::Result<Level> {
    let workflow = WorkflowId::new(WORKFLOW)?;
    let started_at = Instant::now();
    let callers: Vec<_> = (0..in_flight)
        .map(|caller| {
            let (client, workflow) = (client.clone(), workflow.clone());
            tokio::spawn(async move {
                let mut durations = Vec::new();
                while started_at.elapsed() < duration {
                    let value = format!("{caller}/{}", durations.len());
                    durations.push(call(&client, &workflow, value).await?);
                }
                anyhow::Ok(durations)
            })
        })
        .collect();
    let mut durations = Vec::new();
    for caller in callers {
        durations.extend(caller.await??);
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of samples")]
    let per_second = durations.len() as f64 / started_at.elapsed().as_secs_f64();
    let latencies: Latencies = durations.into_iter().collect();
    let (p50_ms, p99_ms) = (latencies.millis(0.5), latencies.millis(0.99));
    Ok(Level { peer: peer.to_owned(), in_flight, per_second, p50_ms, p99_ms })
}

/// Runs one workflow, and checks that its last step returned what its first was given.
async fn call(client: &Client, workflow: &WorkflowId, value: String) -> anyhow::Result<Duration> {
    let started_at = Instant::now();
    let params = CallParams { inputs: text(value.as_str()), ..CallParams::default() };
    let reply = client.run_workflow(workflow.clone(), params).await?;
    let elapsed = started_at.elapsed();
    ensure!(reply.status == Status::Success, "{:?}", reply.error);
    let is_returned = reply.outputs.values().any(|output| output.as_str() == Some(value.as_str()));
    ensure!(is_returned, "{value} was sent, {} returned", Json::from_iter(reply.outputs));
    Ok(elapsed)
}
