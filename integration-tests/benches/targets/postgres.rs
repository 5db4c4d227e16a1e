//! Measures Greenroom on PostgreSQL, and compares it with DBOS and with LangGraph's checkpointer on the same server, and
//! with Restate.
//!
//! `scripts/bench` starts the server with the defaults of its installation: each commit waits until the disk has written
//! it. Server, pods, peers and load programs share the machine. Each part has databases of its own.

pub(crate) mod database;
mod many_chains;
mod parked_runs;
mod several_pods;
mod write_volume;

use greenroom_integration_tests::closed_loop::Level;
use greenroom_integration_tests::test_pod::start_pod_on;
use greenroom_supervisor::compose::Overrides;

use crate::peers::{LEVELS, PeerLevels, load_levels, measure, rate_at, record_levels, record_ratio};
use crate::pod_folder::PodFolder;
use crate::step::{self, StepMax};
use database::Server;

/// The name of the group.
const GROUP: &str = "postgres";
/// At each of [`LEVELS`], our rate is at least so many times that of Restate.
const RESTATE_MIN: [f64; 4] = [3.0, 3.0, 2.0, 2.0];
/// At each level, our rate is at least so many times that of DBOS.
const DBOS_MIN: [f64; 4] = [10.0; 4];
/// At each level, our rate is at least so many times that of LangGraph.
const LANGGRAPH_MIN: [f64; 4] = [10.0; 4];

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let server = Server::from_environment()?;
    runtime.block_on(server.require_durable())?;
    runtime.block_on(steps(&server))?;
    runtime.block_on(write_volume::measure(&server))?;
    runtime.block_on(parked_runs::measure(&server))?;
    runtime.block_on(many_chains::measure(&server))?;
    runtime.block_on(several_pods::measure(&server))?;
    runtime.block_on(compare(&server))
}

async fn steps(server: &Server) -> anyhow::Result<()> {
    let url = server.create_migrated("steps").await?;
    let definitions = tempfile::tempdir()?;
    step::write_definitions(definitions.path())?;
    let test_pod = start_pod_on(&url, Some(definitions.path()), Overrides::default()).await?;
    step::measure(GROUP, &test_pod, "PostgreSQL", &StepMax { p50_ms: 5.0, p99_ms: 25.0 }).await?;
    test_pod.pod.shutdown().await;
    server.drop_database("steps").await
}

/// Measures five-step workflows over the socket of `greenroom up`, and of the peers.
async fn compare(server: &Server) -> anyhow::Result<()> {
    let our_levels = over_socket(server).await?;
    record_levels(GROUP, &our_levels)?;
    let dbos = peer_on(server, "dbos").await?;
    let langgraph = peer_on(server, "langgraph-postgres").await?;
    let restate = measure(GROUP, "restate", None)?;
    record_ratios("DBOS", &our_levels, &dbos, DBOS_MIN)?;
    record_ratios("LangGraph", &our_levels, &langgraph, LANGGRAPH_MIN)?;
    record_ratios("Restate", &our_levels, &restate, RESTATE_MIN)
}

async fn over_socket(server: &Server) -> anyhow::Result<Vec<Level>> {
    let url = server.create_migrated("load").await?;
    let folder = PodFolder::new(Some(&url))?;
    let pod = folder.start(0).await?;
    let levels = load_levels(&mut folder.load(0)?)?;
    drop(pod);
    server.drop_database("load").await?;
    Ok(levels)
}

/// Measures a peer in an empty database.
async fn peer_on(server: &Server, peer: &str) -> anyhow::Result<PeerLevels> {
    let url = server.create("peer").await?;
    let levels = measure(GROUP, peer, Some(&url))?;
    server.drop_database("peer").await?;
    Ok(levels)
}

fn record_ratios(peer: &str, our_levels: &[Level], peer_levels: &PeerLevels, min: [f64; 4]) -> anyhow::Result<()> {
    for (in_flight, min) in LEVELS.into_iter().zip(min) {
        let name = format!("ours over the socket ÷ {peer}, {in_flight} in flight");
        record_ratio(GROUP, &name, (our_levels, peer_levels), |levels| rate_at(levels, in_flight), min)?;
    }
    Ok(())
}
