//! Measures durable five-step workflows on SQLite with FULL sync at 1, 8, 64 and 256 runs in flight, and
//! compares them with LangGraph on its SQLite checkpointer and with Restate, measured in the same run.
//!
//! Greenroom is measured twice: over the socket of `greenroom up`, by a load program in a process of its own,
//! as the peers are; and in one process with its callers, which the ratios do not use. Every program checks
//! the value of each workflow. Greenroom does more work: it authenticates, audits and authorizes each step.
//! `GREENROOM_BENCH_COMPARISONS=off` skips the peers; their rows then give that as the reason.

use greenroom_integration_tests::closed_loop::{self, Level};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, start_pod};
use greenroom_supervisor::compose::Overrides;

use crate::peers::{LEVELS, PeerLevels, level_duration, load_levels, measure, rate_at, record_levels, record_ratio};
use crate::pod_folder::PodFolder;

/// The name of the group.
const GROUP: &str = "durable";

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    record_levels(GROUP, &runtime.block_on(in_process())?)?;
    let ours = runtime.block_on(over_socket())?;
    record_levels(GROUP, &ours)?;
    let langgraph = measure(GROUP, "langgraph", None)?;
    let restate = measure(GROUP, "restate", None)?;
    compare(&ours, &langgraph, &restate)
}

/// Measures a pod that shares its process with the callers.
async fn in_process() -> anyhow::Result<Vec<Level>> {
    let definitions = tempfile::tempdir()?;
    let definitions_dir = DefinitionsDir::new(definitions.path())?;
    closed_loop::write_definitions(&definitions_dir)?;
    let test_pod = start_pod(StoreKind::Full, Some(definitions_dir.dir()), Overrides::default()).await?;
    let client = test_pod.admin()?;
    let mut levels = Vec::new();
    for in_flight in LEVELS {
        levels.push(closed_loop::run("greenroom in process", &client, in_flight, level_duration()).await?);
    }
    test_pod.pod.shutdown().await;
    Ok(levels)
}

/// Measures `greenroom up` by its socket.
async fn over_socket() -> anyhow::Result<Vec<Level>> {
    let folder = PodFolder::new(None)?;
    let _pod = folder.start(0).await?;
    load_levels(&mut folder.load(0)?)
}

fn compare(ours: &[Level], langgraph: &PeerLevels, restate: &PeerLevels) -> anyhow::Result<()> {
    let best_rate = |levels: &[Level]| Some(levels.iter().map(|level| level.per_second).fold(0.0, f64::max));
    record_ratio(GROUP, "our best over the socket ÷ LangGraph's best", (ours, langgraph), best_rate, 20.0)?;
    for in_flight in LEVELS {
        let name = format!("ours over the socket ÷ Restate, {in_flight} in flight");
        record_ratio(GROUP, &name, (ours, restate), |levels| rate_at(levels, in_flight), 3.0)?;
    }
    Ok(())
}
