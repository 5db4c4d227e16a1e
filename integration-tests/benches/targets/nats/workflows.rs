//! Measures durable five-step workflows over NATS, through the client, on SQLite with every commit synced; and compares them
//! with Restate, whose load program uses its ingress over HTTP.

use anyhow::ensure;
use greenroom_integration_tests::closed_loop::{self, Level};
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_protocol::Status;
use tokio::runtime::Runtime;

use super::GROUP;
use crate::peers::{LEVELS, level_duration, measure, rate_at, record_levels, record_ratio};
use crate::pod_folder::PodFolder;

/// At each of [`LEVELS`], our rate is at least so many times that of Restate.
const RESTATE_MIN: [f64; 4] = [3.0, 3.0, 2.0, 2.0];

pub(super) fn compare(runtime: &Runtime) -> anyhow::Result<()> {
    let ours = runtime.block_on(over_nats())?;
    record_levels(GROUP, &ours)?;
    let restate = measure(GROUP, "restate", None)?;
    for (in_flight, min) in LEVELS.into_iter().zip(RESTATE_MIN) {
        let name = format!("five-step workflows over NATS ÷ Restate, {in_flight} in flight");
        record_ratio(GROUP, &name, (ours.as_slice(), &restate), |levels| rate_at(levels, in_flight), min)?;
    }
    Ok(())
}

/// Measures `greenroom up` through its server of NATS. Both have ended when a peer is measured.
async fn over_nats() -> anyhow::Result<Vec<Level>> {
    let server = NatsServer::start().await?;
    let folder = PodFolder::over_nats(None, &server.url())?;
    let _pod = folder.start(0).await?;
    let client = server.client().await?;
    // The pod may not receive messages yet, for which the client waits.
    let reply = client.agents().await?;
    ensure!(reply.status == Status::Success, "{:?}", reply.error);
    let mut levels = Vec::new();
    for in_flight in LEVELS {
        levels.push(closed_loop::run("greenroom over NATS", &client, in_flight, level_duration()).await?);
    }
    Ok(levels)
}
