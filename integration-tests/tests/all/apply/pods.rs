//! Pods of one database of which only some have a handler: the others keep what they have, and are not ready.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_trait::async_trait;
use greenroom_actors::handler::{FileAccess, Handler, HandlerInput, HandlerMode};
use greenroom_client::CallParams;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, test_config, text};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::request::Maintenance;
use greenroom_protocol::{AgentId, Cause, ErrorCode, Json, UserId, Values};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::{Secret, StoreConfig};
use greenroom_supervisor::pod::Pod;
use greenroom_supervisor::reload::RELOAD_MAX;

use super::WAIT_MAX;
use crate::postgres::create_database;

/// A handler that only a newer release has.
struct NewHandler;

#[async_trait]
impl Handler for NewHandler {
    fn name(&self) -> &str {
        "native.test_new"
    }

    fn mode(&self) -> HandlerMode {
        HandlerMode::Async
    }

    async fn run(&self, input: &HandlerInput, _: &FileAccess) -> Result<Values, Cause> {
        Ok(input.inputs.clone())
    }
}

/// A pod over this database.
async fn start(url: &str, dir: &Path, handlers: Vec<Arc<dyn Handler>>) -> Result<Pod> {
    let mut config = test_config(dir, StoreKind::Memory, None)?;
    config.store = StoreConfig::Postgres { url: Secret::new(url) };
    config.artifacts.shared = true;
    let overrides = Overrides { handlers, ..Overrides::default() };
    compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides).await.context("the pod does not start")
}

async fn apply(pod: &Pod, definitions: &DefinitionsDir) -> Result<Json> {
    let from = definitions.dir().to_str().context("a path of words")?.to_owned();
    let reply = pod.client(&UserId::new("admin")?).maintain(Maintenance::ApplyDefinitions { from }).await?;
    match reply.error {
        Some(cause) => Err(cause.into()),
        None => Ok(reply.outputs["report"].clone()),
    }
}

async fn code_of_run(pod: &Pod, agent: &str) -> Result<Option<ErrorCode>> {
    let params = CallParams { inputs: text("hello"), ..CallParams::default() };
    let reply = pod.client(&UserId::new("admin")?).run_agent(AgentId::new(agent)?, params).await?;
    Ok(reply.error.map(|cause| cause.code))
}

/// Waits until a pod has this generation of the catalogue, and returns how long it took.
async fn wait_for_catalogue(pod: &Pod, generation: u64) -> Result<Duration> {
    let started_at = Instant::now();
    let probe = || async { (pod.active_generations().catalogue == generation).then_some(()) };
    wait_until("the generation is active", WAIT_MAX, probe).await?;
    Ok(started_at.elapsed())
}

/// Waits until the page of metrics has this line.
async fn wait_for_line(pod: &Pod, line: &str) -> Result<()> {
    let probe = || async { pod.metrics().render().lines().any(|found| found == line).then_some(()) };
    wait_until(line, WAIT_MAX, probe).await.with_context(|| pod.metrics().render())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_a_handler_keeps_the_old_definitions_and_is_not_ready_until_a_rollback() -> Result<()> {
    let (url, [first, second]) = (create_database("handlers").await?, [tempfile::tempdir()?, tempfile::tempdir()?]);
    greenroom_registry::migrate_postgres(&url).await?;
    let newer = start(&url, first.path(), vec![Arc::new(NewHandler)]).await?;
    fs::copy(first.path().join("audit.key"), second.path().join("audit.key"))?;
    let older = start(&url, second.path(), Vec::new()).await?;
    let definitions = DefinitionsDir::new(&first.path().join("applied"))?;
    let mut delays = Vec::new();
    for generation in 1..=3 {
        definitions.write_echo_agent(&format!("echo_{generation}_agent"))?;
        assert_eq!(apply(&newer, &definitions).await?["active"], true);
        delays.push(wait_for_catalogue(&older, generation).await?);
    }
    // A busy machine may delay some of them, but not all.
    assert!(delays.iter().min().is_some_and(|quickest| *quickest <= RELOAD_MAX), "{delays:?}");

    definitions.write_agent("new_agent", "business_ops", "runtime: native\n  handler: native.test_new")?;
    assert_eq!(apply(&newer, &definitions).await?["generation"], 4);
    wait_for_line(&older, "reload_failures{subject=\"definitions\"} 1").await?;
    let probe = || async { older.readiness().unready_cause() };
    let cause = wait_until("the pod is not ready", WAIT_MAX, probe).await?;
    assert_eq!(cause.code, ErrorCode::InvalidDefinition);
    assert!(cause.message.contains("native.test_new"), "{cause}");
    wait_for_line(&older, "pod_ready 0").await?;
    wait_for_line(&older, "catalogue_generation 3").await?;
    assert_eq!(code_of_run(&older, "echo_3_agent").await?, None, "it keeps the old definitions");
    assert_eq!(code_of_run(&older, "new_agent").await?, Some(ErrorCode::UnknownAgent));
    assert_eq!(code_of_run(&newer, "new_agent").await?, None);
    assert!(newer.readiness().unready_cause().is_none());
    assert!(apply(&older, &definitions).await.is_err(), "it cannot check them itself");

    // A rollback is an application too.
    fs::remove_file(definitions.dir().join("agents/business_ops/new_agent.yaml"))?;
    assert_eq!(apply(&older, &definitions).await?["generation"], 5);
    wait_for_line(&older, "pod_ready 1").await?;
    assert!(older.readiness().unready_cause().is_none());
    wait_for_catalogue(&newer, 5).await?;
    assert_eq!(code_of_run(&newer, "new_agent").await?, Some(ErrorCode::UnknownAgent));
    newer.shutdown().await;
    older.shutdown().await;
    Ok(())
}
