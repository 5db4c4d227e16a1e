//! Agents that are placed by labels: two whole pods on one PostgreSQL database, with sessions over NATS between them.

mod restarts;

use std::fs;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use futures::future::join_all;
use greenroom_client::CallParams;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::session_pod::{Network, WAIT_MAX};
use greenroom_integration_tests::test_pod::{StoreKind, test_config, text};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{AgentId, ErrorCode, PodId, Reply, Status, UserId, WorkflowId};
use greenroom_registry::migrate_postgres;
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::{ClusterConfig, Config, NatsConfig, Secret, StoreConfig};
use greenroom_supervisor::pod::Pod;
use tempfile::TempDir;

use crate::postgres::create_database;

/// A step on any pod, and one on a pod with the label.
const WORKFLOW: &str = "\
workflow_id: both
name: Both
description: A step on each pod
version: \"1.0.0\"
inputs:
  - { name: text, type: text, required: true }
steps:
  - { id: here, agent: plain_agent, inputs: { text: \"${inputs.text}\" }, outputs: [text] }
  - { id: there, agent: gpu_agent, inputs: { text: \"${steps.here.outputs.text}\" }, outputs: [text] }
final_output: \"${steps.there.outputs.text}\"
";

/// A run of it uses capacity for as long as its caller waits for an approval.
const WAITING: &str = "\
workflow_id: waiting
name: Waiting
description: Awaits an approval
version: \"1.0.0\"
inputs:
  - { name: text, type: text, required: true }
steps:
  - { id: sign, approval: { prompt: \"Continue?\" } }
  - { id: here, agent: plain_agent, depends_on: [sign], inputs: { text: \"${inputs.text}\" }, outputs: [text] }
";
/// The capacity of each pod, and how much of it is reserved for calls of the other one.
const IN_FLIGHT_MAX: usize = 8;
const RESERVED: usize = IN_FLIGHT_MAX / 4;

/// Two pods of one cluster; the second one has the label `gpu`.
struct Pods {
    plain: Pod,
    gpu: Pod,
    _server: NatsServer,
    _folder: TempDir,
}

impl Pods {
    async fn start(name: &str) -> Result<Self> {
        let (url, server) = (create_database(name).await?, NatsServer::start().await?);
        migrate_postgres(&url).await?;
        let (network, folder) = (Network::new(&server.url()), tempfile::tempdir()?);
        fs::create_dir(folder.path().join("artifacts"))?;
        let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
        definitions.write_echo_agent("plain_agent")?;
        let placed = "runtime: native\n  handler: native.echo\n  timeout: 60\n  placement: { labels: [gpu] }";
        definitions.write_agent("gpu_agent", "business_ops", placed)?;
        definitions.write_workflow("both", WORKFLOW)?;
        definitions.write_workflow("waiting", WAITING)?;
        let plain = start(folder.path(), "plain", &url, &network, &definitions, |_| {}).await?;
        let gpu = start(folder.path(), "gpu", &url, &network, &definitions, |_| {}).await?;
        Ok(Self { plain, gpu, _server: server, _folder: folder })
    }

    async fn invoke(&self, agent: &str) -> Result<Reply> {
        let params = CallParams { inputs: text("hello"), ..CallParams::default() };
        Ok(self.plain.client(&UserId::new("admin")?).run_agent(AgentId::new(agent)?, params).await?)
    }

    /// The reply of the placed agent, once the pod with its label is found.
    async fn invoke_placed(&self) -> Result<Reply> {
        let invoke = || async {
            let reply = self.invoke("gpu_agent").await.ok()?;
            let is_missing = reply.error.as_ref().is_some_and(|cause| cause.code == ErrorCode::NoPodForLabels);
            (!is_missing).then_some(reply)
        };
        wait_until("the pod with the label is found", WAIT_MAX, invoke).await
    }
}

/// Starts a pod; the name is its label too, unless it is `plain`. Tests may change its configuration.
pub(super) async fn start(
    folder: &Path,
    name: &str,
    url: &str,
    network: &Network,
    definitions: &DefinitionsDir,
    change: impl FnOnce(&mut Config),
) -> Result<Pod> {
    let (dir, key) = (folder.join(name), folder.join("audit.key"));
    fs::create_dir(&dir)?;
    let mut config = test_config(&dir, StoreKind::Memory, Some(definitions.dir()))?;
    config.store = StoreConfig::Postgres { url: Secret::new(url) };
    config.pod = PodId::new(name)?;
    config.artifacts.shared = true;
    config.admission.max_in_flight = IN_FLIGHT_MAX;
    config.admission.max_in_flight_per_tenant = IN_FLIGHT_MAX;
    if name != "plain" {
        config.labels = vec![name.to_owned()];
    }
    // Pods of one database have one key of the audit, and one folder of artifacts.
    std::os::unix::fs::symlink(folder.join("artifacts"), config.artifacts_dir())?;
    if key.exists() {
        fs::copy(&key, config.audit_key_file())?;
    }
    config.nats = Some(NatsConfig { prefix: network.prefix.clone(), ..NatsConfig::for_url(&network.url) });
    config.cluster = ClusterConfig { name: network.cluster.clone(), secret: Some(Secret::new(&network.secret)) };
    change(&mut config);
    let overrides = Overrides { uses_nats: true, ..Overrides::default() };
    let pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides).await;
    let pod = pod.context("the pod cannot be assembled")?;
    if !key.exists() {
        fs::copy(config.audit_key_file(), &key)?;
    }
    Ok(pod)
}

/// The successful executions of agents by a pod.
pub(super) fn executions(pod: &Pod) -> Option<f64> {
    let page = pod.metrics().render();
    let line = "agent_execution_time_count{status=\"success\"} ";
    page.lines().find_map(|other| other.strip_prefix(line)?.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_executed_by_the_pod_that_has_its_label() -> Result<()> {
    let pods = Pods::start("placed").await?;
    let reply = pods.invoke_placed().await?;
    ensure!(reply.status == Status::Success && reply.outputs["text"] == "hello", "{reply:?}");
    assert_eq!(reply.metadata.agents, [AgentId::new("gpu_agent")?], "its usage is that of the other pod");
    assert_eq!(executions(&pods.gpu), Some(1.0));
    assert_eq!(executions(&pods.plain).unwrap_or_default(), 0.0);
    let params = CallParams { inputs: text("hello"), ..CallParams::default() };
    let client = pods.plain.client(&UserId::new("admin")?);
    let reply = client.run_workflow(WorkflowId::new("both")?, params).await?;
    ensure!(reply.status == Status::Success, "{reply:?}");
    assert_eq!((executions(&pods.plain), executions(&pods.gpu)), (Some(1.0), Some(2.0)));
    ensure!(pods.gpu.stores().audit.verify().await?.is_valid(), "both pods have audited the calls");
    let offered = ractor::registry::pid_registry::get_all_pids();
    let names: Vec<_> = offered.into_iter().filter(|actor| actor.supports_remoting()).map(|a| a.get_name()).collect();
    let is_peer = |name: &Option<String>| name.as_ref().is_some_and(|name| name.starts_with("greenroom.peer."));
    assert!(names.len() >= 2 && names.iter().all(is_peer), "nothing else is offered to other pods: {names:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_fails_with_a_code_once_the_pod_with_its_label_has_left() -> Result<()> {
    let Pods { plain, gpu, _server, _folder } = {
        let pods = Pods::start("unplaced").await?;
        ensure!(pods.invoke_placed().await?.status == Status::Success);
        pods
    };
    gpu.shutdown().await;
    let client = plain.client(&UserId::new("admin")?);
    let has_code = || async {
        let params = CallParams { inputs: text("hello"), ..CallParams::default() };
        let reply = client.run_agent(AgentId::new("gpu_agent").ok()?, params).await.ok()?;
        reply.error.filter(|cause| cause.code == ErrorCode::NoPodForLabels)
    };
    let cause = wait_until("no pod has the label", WAIT_MAX, has_code).await?;
    assert!(cause.code.is_retryable() && cause.details["labels"][0] == "gpu", "{cause:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_without_capacity_for_further_requests_executes_the_calls_of_other_pods() -> Result<()> {
    let pods = Pods::start("reserved").await?;
    ensure!(pods.invoke_placed().await?.status == Status::Success);
    let client = pods.gpu.client(&UserId::new("admin")?);
    let (workflow, agent) = (WorkflowId::new("waiting")?, AgentId::new("plain_agent")?);
    let params = || CallParams { inputs: text("hello"), ..CallParams::default() };
    let waiting = (0..IN_FLIGHT_MAX - RESERVED).map(|_| client.run_workflow(workflow.clone(), params()));
    let mut waiting = pin!(join_all(waiting));
    let is_full = || async { (pods.gpu.in_flight() == IN_FLIGHT_MAX - RESERVED).then_some(()) };
    tokio::select! {
        ended = &mut waiting => bail!("nobody has approved a run: {ended:?}"),
        full = wait_until("the pod has no capacity for requests", WAIT_MAX, is_full) => full?,
    }
    let refused = client.run_agent(agent, params()).await?.error.context("a refusal")?;
    assert_eq!((refused.code, refused.code.is_retryable()), (ErrorCode::Overloaded, true), "{refused}");
    let before = executions(&pods.gpu);
    let reply = pods.invoke("gpu_agent").await?;
    ensure!(reply.status == Status::Success && reply.outputs["text"] == "hello", "{reply:?}");
    assert_eq!(executions(&pods.gpu), before.map(|count| count + 1.0));
    Ok(())
}
