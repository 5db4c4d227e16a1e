//! Measures isolation between tenants: the effect of one tenant's load on the latency of another; and the
//! time in which a cancelled run releases its resources.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::bench::{Latencies, Threshold, record};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::test_pod::{StoreKind, test_config, text};
use greenroom_protocol::{AgentId, RunId, UserId, WorkflowId};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::pod::Pod;

use super::execute;

/// Measured requests of the quiet tenant, with the other tenant's load and without it.
const QUIET: usize = 1_000;
/// Interval between two of them.
const INTERVAL: Duration = Duration::from_millis(5);
/// Requests that the loading tenant keeps in flight.
const LOAD: usize = 512;
/// Cancelled runs.
const CANCELLED: usize = 200;
/// Bound of every wait in this file; no wait reaches it unless something hangs.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Starts a pod in this folder, with a user `quiet` who has a tenant of their own.
async fn pod(fixture: &ModelFixture, server: Option<&ScriptServer>) -> anyhow::Result<Pod> {
    let mut config = test_config(fixture.terminal.folder(), StoreKind::Full, Some(fixture.definitions.dir()))?;
    let admin = config.users.users.iter().find(|user| user.name.as_str() == "admin").context("no administrator")?;
    let quiet = greenroom_supervisor::config::UserConfig {
        name: UserId::new("quiet")?,
        tenant: "quiet_tenant".parse()?,
        ..admin.clone()
    };
    config.users.users.push(quiet);
    if let Some(server) = server {
        config.models.providers.push(greenroom_supervisor::config::ProviderConfig {
            name: "openai".to_owned(),
            api: "openai".to_owned(),
            api_key: None,
            base_url: Some(server.url().to_owned()),
            internal: false,
        });
        config.models.pod = Some("scripted-model".to_owned());
    }
    Ok(compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), Overrides::default()).await?)
}

async fn quiet_times(client: &Client, agent: &AgentId) -> anyhow::Result<Latencies> {
    let mut durations = Vec::with_capacity(QUIET);
    for _ in 0..QUIET {
        durations.push(execute(client, agent).await?);
        tokio::time::sleep(INTERVAL).await;
    }
    Ok(durations.into_iter().collect())
}

/// Measures the latency of a quiet tenant, alone and while another keeps hundreds of requests in flight.
pub(super) async fn fair() -> anyhow::Result<()> {
    let fixture = ModelFixture::with_openai("http://127.0.0.1:1/v1")?;
    fixture.definitions.write_echo_agent("echo_agent")?;
    let pod = pod(&fixture, None).await?;
    let agent = AgentId::new("echo_agent")?;
    let (quiet, loading) = (pod.client(&UserId::new("quiet")?), pod.client(&UserId::new("admin")?));
    execute(&quiet, &agent).await?;
    let alone = quiet_times(&quiet, &agent).await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..LOAD)
        .map(|_| {
            let (client, agent, is_over) = (loading.clone(), agent.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    execute(&client, &agent).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    let loaded = quiet_times(&quiet, &agent).await?;
    is_over.store(true, Ordering::Relaxed);
    for task in load {
        task.await??;
    }
    let (alone, loaded) = (alone.millis(0.99), loaded.millis(0.99));
    record("load", "quiet tenant alone: p99", alone, "ms", Threshold::Informational)?;
    record(
        "load",
        format!("quiet tenant with {LOAD} in flight of another: p99"),
        loaded,
        "ms",
        Threshold::Informational,
    )?;
    record("load", "  of them, loaded ÷ alone", loaded / alone, "×", Threshold::AtMost(2.0))?;
    pod.shutdown().await;
    Ok(())
}

/// Measures the time from the cancellation until the run has ended, its connection to the provider is
/// closed and its reservation is settled.
pub(super) async fn cancel() -> anyhow::Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Silence).await?;
    let fixture = ModelFixture::with_openai(server.url())?;
    fixture.write_llm_agent("llm_agent", 120, 100)?;
    fixture.definitions.write_row_workflow("one_call", "llm_agent", 1)?;
    let pod = pod(&fixture, Some(&server)).await?;
    let client = pod.client(&UserId::new("admin")?);
    let mut durations = Vec::with_capacity(CANCELLED);
    for settled in 1..=CANCELLED {
        let params = CallParams { inputs: text("hold"), detach: true, ..CallParams::default() };
        let accepted = client.run_workflow(WorkflowId::new("one_call")?, params).await?;
        ensure!(accepted.error.is_none(), "{:?}", accepted.error);
        let run = RunId::new(accepted.id)?;
        wait(async || Ok(server.open() == 1)).await?;
        let cancelled_at = Instant::now();
        client.cancel(run.clone()).await?;
        wait(async || {
            // The cheap question first, so that waiting disturbs little of what is measured.
            let is_closed = server.open() == 0;
            Ok(is_closed && has_ended(&pod, &run).await? && estimated(&pod).await? == settled as u64)
        })
        .await?;
        durations.push(cancelled_at.elapsed());
    }
    let times: Latencies = durations.into_iter().collect();
    record("load", "cancelled to all released, p50", times.millis(0.5), "ms", Threshold::Informational)?;
    record("load", "cancelled to all released, p99", times.millis(0.99), "ms", Threshold::AtMost(100.0))?;
    pod.shutdown().await;
    Ok(())
}

async fn has_ended(pod: &Pod, run: &RunId) -> anyhow::Result<bool> {
    Ok(pod.stores().runs.get(run).await?.is_some_and(|record| record.status.is_terminal()))
}

/// Number of calls that were settled as estimated.
async fn estimated(pod: &Pod) -> anyhow::Result<u64> {
    Ok(pod.stores().ledger.costs(None).await?.iter().map(|row| row.calls_estimated).sum())
}

async fn wait(is_true: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let waiting = async {
        while !is_true().await? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(WAIT_MAX, waiting).await.context("the condition did not become true")?
}
