//! Measures the bridge as a process of its own, between the callers and a pod over NATS: what it adds to a call, how many
//! calls and probes it serves, and what its streams cost.
//!
//! Each part is a process of its own, which is the load program; pod, bridge and server of NATS are other processes. The
//! check of a token is measured by the group `identity`.

mod calls;
mod streams;

use std::sync::Arc;

use greenroom_client::Client;
use greenroom_integration_tests::nats_server::NatsServer;

use crate::caller::{AGENT, Caller};
use crate::http_connection::HttpConnections;
use crate::nats::one_thread;
use crate::pod_folder::PodFolder;
use crate::running_bridge::RunningBridge;
use crate::running_pod::RunningPod;
use crate::wire_load::{Processes, wait_ready};

/// The name of the group.
const GROUP: &str = "http";
/// The parts in their order.
const PARTS: [&str; 4] = ["latency", "throughput", "probes", "streams"];
/// A workflow that waits until a step is approved.
const WORKFLOW: &str = "approved";
/// The step.
const STEP: &str = "sign";

pub(crate) fn main(arguments: &[&str]) -> anyhow::Result<()> {
    match arguments {
        [] => PARTS.into_iter().try_for_each(|part| super::run_separately(&[GROUP, part])),
        ["latency"] => one_thread()?.block_on(calls::latency()),
        ["throughput"] => one_thread()?.block_on(calls::throughput()),
        ["probes"] => one_thread()?.block_on(calls::probes()),
        ["streams"] => one_thread()?.block_on(streams::measure()),
        other => anyhow::bail!("no part is named {}", other.join(" ")),
    }
}

/// A pod, a bridge, and the callers of both.
struct Host {
    bridge: RunningBridge,
    pod: RunningPod,
    server: NatsServer,
    _folder: PodFolder,
    client: Client,
    /// Calls through the client over NATS, which the bridge uses too.
    over_nats: Arc<Caller>,
    /// Calls through the bridge.
    over_http: Arc<Caller>,
}

impl Host {
    async fn start() -> anyhow::Result<Self> {
        let server = NatsServer::start().await?;
        let folder = PodFolder::over_nats(None, &server.url())?;
        let waits = format!(
            "workflow_id: {WORKFLOW}\nname: waits\ndescription: Waits\nversion: \"1.0.0\"\nsteps:\n\
             \x20 - {{ id: {STEP}, approval: {{ prompt: \"Send it?\" }} }}\n\
             \x20 - {{ id: send, agent: {AGENT}, depends_on: [{STEP}], inputs: {{ text: sent }}, outputs: [text] }}\n"
        );
        folder.definitions().write_workflow(WORKFLOW, &waits)?;
        let pod = folder.start(0).await?;
        let bridge = RunningBridge::start(&folder).await?;
        let client = server.client().await?;
        let over_nats = Arc::new(Caller::Client(client.clone()));
        let over_http = Arc::new(Caller::Http(HttpConnections::new(bridge.addr())));
        for caller in [&over_nats, &over_http] {
            wait_ready(caller).await?;
        }
        Ok(Self { bridge, pod, server, _folder: folder, client, over_nats, over_http })
    }

    /// The processes of a call over NATS.
    fn nats_processes(&self) -> Processes {
        Processes::new().with("pod", self.pod.process()).with("NATS server", self.server.process())
    }

    /// The processes of a call over HTTP.
    fn http_processes(&self) -> Processes {
        self.nats_processes().with("bridge", self.bridge.process())
    }
}
