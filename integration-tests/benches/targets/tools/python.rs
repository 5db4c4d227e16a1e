//! Handlers in Python: what a warm one adds to a call, the first call of a new one, and how many calls a pod serves.

use std::fs;

use greenroom_integration_tests::bench::{Latencies, Threshold, record, scaled};
use greenroom_protocol::AgentId;

use super::GROUP;
use super::echo_pod::{MILLIS, PodFolder, record_added, sized_text};

/// The handler: it returns its input.
const HANDLER: &str = "def execute(inputs, context):\n    return {\"text\": inputs[\"text\"]}\n";
/// The agent whose process serves many calls.
const WARM: &str = "warm_agent";
/// Agents that are called once.
const COLD: u64 = 40;

pub(super) async fn measure() -> anyhow::Result<()> {
    let folder = PodFolder::new()?;
    let handlers = folder.create("handlers")?;
    let cold: Vec<String> = (0..scaled(COLD)).map(|number| format!("cold_{number}_agent")).collect();
    for id in cold.iter().map(String::as_str).chain([WARM]) {
        fs::write(handlers.join(format!("{id}.py")), HANDLER)?;
        folder.write_agent(id, &format!("runtime: python\n  handler: {id}.execute\n  timeout: 60"))?;
    }
    let pod = folder.start(Vec::new(), |config| config.python.settings.handlers = handlers).await?;
    let warm = AgentId::new(WARM)?;
    // It finds the interpreter and what the machine isolates with, which the pod does once.
    let first = pod.call(&warm, &sized_text("first")).await?.total.as_secs_f64() * 1e3;
    record(GROUP, "Python: the first call of a pod", first, "ms", Threshold::Informational)?;
    let mut times = Vec::new();
    for id in &cold {
        times.push(pod.call(&AgentId::new(id)?, &sized_text(id)).await?.total);
    }
    let times: Latencies = times.into_iter().collect();
    let name = "Python: the first call of a handler, which starts its process";
    record(GROUP, format!("{name}, p50"), times.millis(0.5), "ms", Threshold::AtMost(150.0))?;
    record(GROUP, format!("  {name}, worst"), times.millis(1.0), "ms", Threshold::Informational)?;
    let (python, native) = pod.alternate(&warm).await?;
    record_added("Python", &MILLIS, (&python, &native), Threshold::AtMost(1.0))?;
    pod.record_rate("Python", &warm, Threshold::AtLeast(1_000.0)).await?;
    pod.shutdown().await;
    Ok(())
}
