//! The owner of a run dies while its model writes: a watcher on another pod learns that the text so far is void, and has the
//! whole text of the attempt that the next owner makes.

use anyhow::{Result, bail, ensure};
use futures::TryStreamExt as _;
use greenroom_client::{Client, Observation, Observations};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::event::RunEventKind;
use greenroom_protocol::{FrameId, RunId, UserId};
use greenroom_supervisor::pod::Pod;
use sqlx::PgPool;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::{Cluster, PIECES, Settings, WAIT_MAX, until_requested, written};

/// Between two pieces of an answer: the pod ends within this time after the first piece.
const GAP_MS: u64 = 2_000;

fn new_runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Ends a pod with everything that it executes, as a crash does: it does not leave the database.
fn crash(pod: Pod, runtime: Runtime) {
    let context = runtime.enter();
    drop(pod);
    drop(context);
    drop(runtime);
}

/// Waits until the one run of the database has started.
async fn started_run(cluster: &Cluster) -> Result<RunId> {
    let pool = PgPool::connect(&cluster.url).await?;
    let read = || async {
        let run: Option<String> = sqlx::query_scalar("SELECT run FROM runs").fetch_optional(&pool).await.ok()?;
        run
    };
    Ok(RunId::new(wait_until("the run has started", WAIT_MAX, read).await?)?)
}

/// Approves that the model writes, and returns its first text.
async fn first_text(client: &Client, run: &RunId, observations: &mut Observations) -> Result<Observation> {
    client.run(run).approve("sign").timeout(WAIT_MAX).reply().await?;
    let first = async {
        while let Some(observation) = observations.try_next().await? {
            if let Observation::Text { .. } = observation {
                return Ok(observation);
            }
        }
        bail!("the run has ended before")
    };
    timeout(WAIT_MAX, first).await?
}

/// The fence of the owner that an observation of text is of.
fn fence(observation: &Observation) -> Option<u64> {
    match observation {
        Observation::Text { id: FrameId { fence, .. }, .. } => Some(*fence),
        Observation::Event(_) | Observation::Restarted { .. } => None,
    }
}

fn expect_restarted_once(observations: &[Observation]) -> Result<()> {
    let is_restart = |observation: &&Observation| matches!(observation, Observation::Restarted { .. });
    let restarts: Vec<_> = observations.iter().filter(is_restart).collect();
    let [Observation::Restarted { id, step: Some(step) }] = &restarts[..] else { bail!("{observations:?}") };
    assert_eq!(step.step.as_str(), "write");
    let mut parts = observations.splitn(2, |observation| matches!(observation, Observation::Restarted { .. }));
    let (void, valid) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (whole, started) = (PIECES.concat(), written(void));
    ensure!(!started.is_empty() && started.len() < whole.len() && whole.starts_with(&started), "{observations:?}");
    assert_eq!(written(valid), whole, "the text of the next owner: {observations:?}");
    ensure!(void.iter().filter_map(fence).all(|fence| fence < id.fence), "{observations:?}");
    ensure!(valid.iter().filter_map(fence).all(|fence| fence == id.fence), "{observations:?}");
    let Some(Observation::Event(last)) = valid.last() else { bail!("{observations:?}") };
    ensure!(matches!(&last.kind, RunEventKind::RunEnded { reply } if reply.error.is_none()), "{last:?}");
    Ok(())
}

#[test]
fn a_watcher_on_another_pod_has_the_text_anew_when_the_owner_dies_while_the_model_writes() -> Result<()> {
    let (runtime, owner_runtime) = (new_runtime()?, new_runtime()?);
    let cluster = runtime.block_on(Cluster::create("failover", Settings { gap_ms: GAP_MS, ..Settings::default() }))?;
    let survivor = runtime.block_on(cluster.start("plain"))?;
    let mut owner = owner_runtime.block_on(cluster.assemble("owner"))?;
    let caller = owner.client(&UserId::new("admin")?);
    // Its caller waits in the process of the owner, which therefore has the run, and ends with it.
    owner_runtime.spawn(async move { caller.workflow("signed").input("text", "x").send().await });
    let (client, run, mut observations) = runtime.block_on(async {
        let (client, run) = (cluster.client().await?, started_run(&cluster).await?);
        // Only the other pod takes requests over NATS so far, so it serves the watch.
        let opened = timeout(WAIT_MAX, until_requested(client.run(&run).watch())).await??;
        anyhow::Ok((client, run, opened))
    })?;
    // With that, it publishes the text of its models.
    owner_runtime.block_on(owner.serve_nats())?;
    let first = runtime.block_on(first_text(&client, &run, &mut observations))?;
    crash(owner, owner_runtime);
    let rest = runtime.block_on(async { timeout(WAIT_MAX, observations.try_collect::<Vec<_>>()).await })??;
    let all: Vec<Observation> = std::iter::once(first).chain(rest).collect();
    expect_restarted_once(&all)?;
    runtime.block_on(survivor.shutdown());
    Ok(())
}
