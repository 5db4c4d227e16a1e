//! WebAssembly components: what a compiled one adds to a call. Each execution has an instance of its own.

use std::fs;

use greenroom_integration_tests::bench::Threshold;
use greenroom_protocol::AgentId;
use greenroom_runtimes::wasm::test_components::Behavior;
use greenroom_supervisor::config::WasmConfig;

use super::echo_pod::{MICROS, PodFolder, record_added};

/// The agent.
const AGENT: &str = "component_agent";
/// The name of its component, which returns its inputs.
const COMPONENT: &str = "echo.wasm";
/// MiB of all executions together.
const MEMORY_MIB: u32 = 2_048;

pub(super) async fn measure() -> anyhow::Result<()> {
    let folder = PodFolder::new()?;
    let components = folder.create("components")?;
    fs::write(components.join(COMPONENT), Behavior::Echo.component()?)?;
    folder.write_agent(AGENT, &format!("runtime: wasm\n  handler: {COMPONENT}\n  timeout: 60\n  memory: 8"))?;
    let wasm = WasmConfig { components, memory_mib: MEMORY_MIB };
    let pod = folder.start(Vec::new(), |config| config.wasm = Some(wasm)).await?;
    let agent = AgentId::new(AGENT)?;
    let (component, native) = pod.alternate(&agent).await?;
    record_added("WebAssembly", &MICROS, (&component, &native), Threshold::AtMost(50.0))?;
    pod.record_rate("WebAssembly", &agent, Threshold::Informational).await?;
    pod.shutdown().await;
    Ok(())
}
