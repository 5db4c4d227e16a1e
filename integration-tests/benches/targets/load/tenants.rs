//! Between tenants: what a flood of one does to the times of another; and how soon a cancelled run has
//! given everything back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_client::client::{CallParams, Client};
use greenroom_integration_tests::bench::{Latencies, Threshold, record};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::test_pod::{StoreKind, test_config, text};
use greenroom_protocol::{AgentId, RunId, UserId, WorkflowId};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::pod::Pod;

use super::execute;

/// Requests of the quiet tenant that are measured, with the flood and without.
const QUIET: usize = 1_000;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(5);
/// Requests that the flooding tenant keeps in flight.
const FLOOD: usize = 512;
/// Runs that are cancelled.
const CANCELLED: usize = 200;
/// Nothing that is waited for here takes this long.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A house in this folder with a user `quiet` of a tenant of their own.
async fn pod(stand: &ModelFixture, server: Option<&ScriptServer>) -> anyhow::Result<Pod> {
    let mut config = test_config(stand.terminal.folder(), StoreKind::Full, Some(stand.definitions.dir()))?;
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
            wire: "openai".to_owned(),
            api_key: None,
            base_url: Some(server.url().to_owned()),
        });
        config.models.pod = Some("scripted-model".to_owned());
    }
    Ok(compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), Overrides::default()).await?)
}

async fn quiet_times(client: &Client, agent: &AgentId) -> anyhow::Result<Latencies> {
    let mut took = Vec::with_capacity(QUIET);
    for _ in 0..QUIET {
        took.push(execute(client, agent).await?);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(took.into_iter().collect())
}

/// The times of a quiet tenant, alone and beside one who keeps hundreds of requests in flight.
pub(super) async fn fair() -> anyhow::Result<()> {
    let stand = ModelFixture::asking("http://127.0.0.1:1/v1")?;
    stand.definitions.echo_agent("echo_agent")?;
    let pod = pod(&stand, None).await?;
    let agent = AgentId::new("echo_agent")?;
    let (quiet, flooding) = (pod.client(&UserId::new("quiet")?), pod.client(&UserId::new("admin")?));
    execute(&quiet, &agent).await?;
    let alone = quiet_times(&quiet, &agent).await?;
    let over = Arc::new(AtomicBool::new(false));
    let flood: Vec<_> = (0..FLOOD)
        .map(|_| {
            let (client, agent, over) = (flooding.clone(), agent.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    execute(&client, &agent).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    let beside = quiet_times(&quiet, &agent).await?;
    over.store(true, Ordering::Relaxed);
    for one in flood {
        one.await??;
    }
    let (alone, beside) = (alone.millis(0.99), beside.millis(0.99));
    record("crowd", "quiet tenant alone: p99", alone, "ms", Threshold::Informational)?;
    record(
        "crowd",
        format!("quiet tenant beside {FLOOD} in flight of another: p99"),
        beside,
        "ms",
        Threshold::Informational,
    )?;
    record("crowd", "  of them, flooded ÷ quiet", beside / alone, "×", Threshold::AtMost(2.0))?;
    pod.shutdown().await;
    Ok(())
}

/// From the word to cancel until the run has ended, its socket at the provider is closed and its
/// reservation is settled.
pub(super) async fn cancel() -> anyhow::Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Silence).await?;
    let stand = ModelFixture::asking(server.url())?;
    stand.asking_agent("asking_agent", 120, 100)?;
    stand.definitions.row_workflow("asking_once", "asking_agent", 1)?;
    let pod = pod(&stand, Some(&server)).await?;
    let client = pod.client(&UserId::new("admin")?);
    let mut took = Vec::with_capacity(CANCELLED);
    for settled in 1..=CANCELLED {
        let work = CallParams { inputs: text("hold"), detach: true, ..CallParams::default() };
        let begun = client.run_workflow(WorkflowId::new("asking_once")?, work).await?;
        ensure!(begun.error.is_none(), "{:?}", begun.error);
        let run = RunId::new(begun.id)?;
        wait(async || Ok(server.open() == 1)).await?;
        let began = Instant::now();
        client.cancel(run.clone()).await?;
        wait(async || {
            let ended = pod.stores().runs.get(&run).await?.is_some_and(|head| head.status.is_terminal());
            Ok(ended && server.open() == 0 && estimated(&pod).await? == settled as u64)
        })
        .await?;
        took.push(began.elapsed());
    }
    let times: Latencies = took.into_iter().collect();
    record("crowd", "cancelled to all freed, p50", times.millis(0.5), "ms", Threshold::Informational)?;
    record("crowd", "cancelled to all freed, p99", times.millis(0.99), "ms", Threshold::AtMost(100.0))?;
    pod.shutdown().await;
    Ok(())
}

/// Calls that were settled at their reservations.
async fn estimated(pod: &Pod) -> anyhow::Result<u64> {
    Ok(pod.stores().ledger.costs(None).await?.iter().map(|row| row.calls_estimated).sum())
}

async fn wait(is_so: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let waiting = async {
        while !is_so().await? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(WAIT_MAX, waiting).await.context("it never came")?
}
