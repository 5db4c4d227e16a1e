//! The product's own house, with a plug that is pulled at a chosen write: `crash_pod AT
//! before|after WORKFLOW [TEAM]` runs the workflow with what the environment configures, approves
//! whatever asks, and prints how many writes there were, if it lives to see the end.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use futures::StreamExt;
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::crash_injection::CrashPoint;
use greenroom_protocol::event::RunEventKind;
use greenroom_protocol::{Json, RunId, TeamId, UserId, Values, WorkflowId};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::{Flags, source};
use greenroom_supervisor::data_dir::DataDirLock;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let writes = runtime.block_on(pod())?;
    writeln!(std::io::stdout(), "{writes}")?;
    Ok(())
}

async fn pod() -> anyhow::Result<u64> {
    let mut words = std::env::args().skip(1);
    let usage = "usage: crash_pod AT before|after WORKFLOW [TEAM]";
    let at = words.next().context(usage)?.parse()?;
    let plug = CrashPoint::new(at, words.next().context(usage)?.parse()?);
    let workflow = WorkflowId::new(words.next().context(usage)?)?;
    let team = words.next().map(TeamId::new).transpose()?;

    let config = source::load(&Flags::default(), std::env::vars())?.config;
    let owned = DataDirLock::acquire(&config.data_dir)?;
    let around = Arc::clone(&plug);
    let extras = Overrides { stores: Some(Box::new(move |stores| around.around(stores))), ..Overrides::default() };
    let mut pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), extras)
        .await
        .map_err(|cause| anyhow::anyhow!("{cause:?}"))?;
    pod.attach_lock(owned);
    let client = pod.client(&UserId::new("admin")?);
    let inputs = Values::from([("text".to_owned(), Json::from("hello"))]);
    let work = CallParams { inputs, detach: true, ..CallParams::default() };
    let accepted = match team {
        Some(team) => client.run_team(team, workflow, work).await?,
        None => client.run_workflow(workflow, work).await?,
    };
    anyhow::ensure!(accepted.error.is_none(), "{accepted:?}");
    follow(&client, &RunId::new(accepted.id)?).await?;
    pod.shutdown().await;
    Ok(plug.seen())
}

/// Says yes to whatever a run asks, until it has ended.
async fn follow(client: &Client, run: &RunId) -> anyhow::Result<()> {
    let mut events = client.watch(run, 0);
    while let Some(event) = events.next().await {
        match event?.kind {
            RunEventKind::ApprovalRequested { step, .. } => {
                let answered = client.approve(run.clone(), step).await?;
                anyhow::ensure!(answered.error.is_none(), "{answered:?}");
            }
            RunEventKind::RunEnded { .. } => return Ok(()),
            _ => {}
        }
    }
    anyhow::bail!("the watch ended before the run did")
}
