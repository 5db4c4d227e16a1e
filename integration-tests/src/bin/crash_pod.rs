//! A pod of the product that crashes at a chosen write: `crash_pod WRITE before|after WORKFLOW [TEAM]` runs
//! the workflow with the configuration of the environment, approves every approval step, and prints the
//! number of writes if it reaches the end.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use futures::StreamExt;
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::crash_injection::CrashPoint;
use greenroom_protocol::event::{EventNumber, RunEventKind};
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
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: crash_pod WRITE before|after WORKFLOW [TEAM]";
    let write = arguments.next().context(usage)?.parse()?;
    let crash_point = CrashPoint::new(write, arguments.next().context(usage)?.parse()?);
    let workflow = WorkflowId::new(arguments.next().context(usage)?)?;
    let team = arguments.next().map(TeamId::new).transpose()?;

    let config = source::load(&Flags::default(), std::env::vars())?.config;
    let lock = DataDirLock::acquire(&config.data_dir).await?;
    let wrapper = Arc::clone(&crash_point);
    let overrides = Overrides {
        lock: Some(lock),
        stores: Some(Box::new(move |stores| wrapper.wrap(stores))),
        ..Overrides::default()
    };
    let pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides)
        .await
        .map_err(|cause| anyhow::anyhow!("{cause:?}"))?;
    let client = pod.client(&UserId::new("admin")?);
    let inputs = Values::from([("text".to_owned(), Json::from("hello"))]);
    let params = CallParams { inputs, detach: true, ..CallParams::default() };
    let accepted = match team {
        Some(team) => client.run_team(team, workflow, params).await?,
        None => client.run_workflow(workflow, params).await?,
    };
    anyhow::ensure!(accepted.error.is_none(), "{accepted:?}");
    follow(&client, &RunId::new(accepted.id)?).await?;
    pod.shutdown().await;
    Ok(crash_point.write_count())
}

/// Approves every approval step of a run until the run has ended.
async fn follow(client: &Client, run: &RunId) -> anyhow::Result<()> {
    let mut events = client.watch(run, EventNumber::START);
    while let Some(event) = events.next().await {
        match event?.kind {
            RunEventKind::ApprovalRequested { step, .. } => {
                let approved = client.approve(run.clone(), step).await?;
                anyhow::ensure!(approved.error.is_none(), "{approved:?}");
            }
            RunEventKind::RunEnded { .. } => return Ok(()),
            _ => {}
        }
    }
    anyhow::bail!("the watch ended before the run did")
}
