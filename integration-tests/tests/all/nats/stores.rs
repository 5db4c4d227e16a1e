//! What may be combined with NATS: one pod with a database of its own, or many with one of PostgreSQL, which wake each
//! other. A second pod with another database is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_integration_tests::test_pod::StoreKind;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::{ErrorCode, PodId, Status};
use greenroom_supervisor::config::{Config, Secret, StoreConfig, SyncMode};
use greenroom_supervisor::pod::Pod;
use serde_json::json;

use super::fixture::{CLUSTER_SECRET, Caller, NatsPod, ROW, WAIT_MAX, assemble, config, shared_url, start};
use super::wait_for_status;

/// Starts a pod of a PostgreSQL database; `shared` has what the pods share beside it.
pub(super) async fn start_on(url: &str, prefix: &str, database: &str, shared: &Path, name: &str) -> Result<NatsPod> {
    start_bounded(url, prefix, database, shared, (name, 1_000)).await
}

/// As [`start_on`], with a bound of requests and runs in flight.
async fn start_bounded(
    url: &str,
    prefix: &str,
    database: &str,
    shared: &Path,
    (name, in_flight_max): (&str, usize),
) -> Result<NatsPod> {
    let (mut config, folder) = config(url, prefix)?;
    config.pod = PodId::new(name)?;
    config.admission.max_in_flight = in_flight_max;
    let mut pod = assemble_on(&mut config, database, shared).await?;
    pod.serve_nats().await?;
    Ok(NatsPod { pod, _folder: folder })
}

/// Assembles a pod of a PostgreSQL database, with the artifacts and the key of the audit that its pods share.
pub(super) async fn assemble_on(config: &mut Config, database: &str, shared: &Path) -> Result<Pod> {
    config.store = StoreConfig::Postgres { url: Secret::new(database) };
    config.artifacts.shared = true;
    let (artifacts, key) = (shared.join("artifacts"), shared.join("audit.key"));
    fs::create_dir_all(&artifacts)?;
    symlink(&artifacts, config.artifacts_dir())?;
    if key.exists() {
        fs::copy(&key, config.audit_key_file())?;
    }
    let pod = assemble(config).await?;
    if !key.exists() {
        fs::copy(config.audit_key_file(), &key)?;
    }
    Ok(pod)
}

/// A pod with an SQLite file, or stores in memory, that does not serve over NATS yet.
async fn alone(url: &str, prefix: &str, store: StoreKind) -> Result<NatsPod> {
    let (mut config, folder) = config(url, prefix)?;
    if store != StoreKind::Memory {
        config.store = StoreConfig::Sqlite { path: folder.path().join("greenroom.db"), sync: SyncMode::Normal };
    }
    Ok(NatsPod { pod: assemble(&config).await?, _folder: folder })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_pod_with_a_database_of_its_own_is_refused_under_the_same_prefix_only() -> Result<()> {
    let url = shared_url()?;
    for (index, store) in [StoreKind::Memory, StoreKind::Normal].into_iter().enumerate() {
        let prefix = format!("t_alone_{index}");
        let mut first = alone(&url, &prefix, store).await?;
        first.pod.serve_nats().await?;
        let mut second = alone(&url, &prefix, store).await?;
        let refused = second.pod.serve_nats().await.err().context("a refusal")?;
        assert_eq!(refused.code, ErrorCode::SharedStoreNeeded, "{refused}");
        assert!(refused.details["pod"].as_str().is_some_and(|pod| pod.starts_with("local-")), "{refused:?}");
        let unready = second.pod.readiness().unready_cause().map(|cause| cause.code);
        assert_eq!(unready, Some(ErrorCode::SharedStoreNeeded));
        let caller = Caller::connect(&url, &prefix).await?;
        for _ in 0..16 {
            assert_eq!(caller.echo("x").await?.status, Status::Success);
        }
        assert!(first.shows("nats_requests{outcome=\"success\"} 16"), "the first pod has served all of them");
        let mut elsewhere = alone(&url, &format!("t_elsewhere_{index}"), store).await?;
        elsewhere.pod.serve_nats().await?;
        for pod in [first, second, elsewhere] {
            pod.pod.shutdown().await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pod_serves_once_the_other_one_has_ended() -> Result<()> {
    let url = shared_url()?;
    let first = start(&url, "t_succeeds").await?;
    let mut second = alone(&url, "t_succeeds", StoreKind::Memory).await?;
    assert!(second.pod.serve_nats().await.is_err());
    first.pod.shutdown().await;
    let caller = Caller::connect(&url, "t_succeeds").await?;
    let is_served = || async { (caller.echo("x").await.ok()?.status == Status::Success).then_some(()) };
    wait_until("the second pod serves", WAIT_MAX, is_served).await?;
    assert!(second.pod.readiness().unready_cause().is_none());
    second.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_one_database_serve_together_and_one_with_another_is_refused() -> Result<()> {
    let url = shared_url()?;
    let (database, shared) = (crate::postgres::create_database("nats_stores").await?, tempfile::tempdir()?);
    greenroom_registry::migrate_postgres(&database).await?;
    let first = start_on(&url, "t_stores", &database, shared.path(), "pod_a").await?;
    let second = start_on(&url, "t_stores", &database, shared.path(), "pod_b").await?;
    let mut alone = alone(&url, "t_stores", StoreKind::Normal).await?;
    assert_eq!(alone.pod.serve_nats().await.err().map(|cause| cause.code), Some(ErrorCode::SharedStoreNeeded));
    for pod in [alone, second, first] {
        pod.pod.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_one_pod_leaves_wakes_another_one() -> Result<()> {
    let url = shared_url()?;
    let (database, shared) = (crate::postgres::create_database("nats_wake").await?, tempfile::tempdir()?);
    greenroom_registry::migrate_postgres(&database).await?;
    // It has capacity for a request and none for the run that the request starts.
    let full = start_bounded(&url, "t_wake", &database, shared.path(), ("pod_full", 1)).await?;
    let caller = Caller::connect(&url, "t_wake").await?;
    let body = json!({ "inputs": { "text": "x" }, "detach": true });
    let started = caller.request(&format!("workflows.{ROW}.run"), &body).await?;
    assert_eq!(started.error, None);
    let is_sent = || async { full.shows("nats_wake_ups{event=\"sent\"} 1").then_some(()) };
    wait_until("the pod announces the run", WAIT_MAX, is_sent).await?;
    let mut other = start_on(&url, "t_wake", &database, shared.path(), "pod_free").await?;
    other.pod.recover();
    wait_for_status(&caller, &started.id, "success").await?;
    other.pod.shutdown().await;
    full.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_pod_needs_nats_a_secret_and_a_shared_database() -> Result<()> {
    let server = NatsServer::start().await?;
    let mut terminal = CliHarness::open()?;
    let refused = terminal.run(&["pod"]).await?.expect_error(2)?;
    assert_eq!(refused["code"], "invalid_configuration", "{refused}");
    terminal.set_variable("NATS_URL", &server.url());
    for command in ["pod", "up"] {
        let refused = terminal.run(&[command]).await?.expect_error(2)?;
        assert_eq!(refused["code"], "invalid_configuration", "{command}: {refused}");
        assert!(refused["message"].as_str().is_some_and(|text| text.contains("GREENROOM_CLUSTER_SECRET")), "{refused}");
    }
    terminal.set_variable("GREENROOM_CLUSTER_SECRET", CLUSTER_SECRET);
    let refused = terminal.run(&["pod"]).await?.expect_error(2)?;
    assert_eq!(refused["code"], "shared_store_needed", "{refused}");
    let up = terminal.start(&["up"])?;
    up.wait_for_output("greenroom is up").await?;
    let caller = Caller::connect(&server.url(), "greenroom").await?;
    // It has no user with a key.
    assert_eq!(caller.code("catalogue.agents.list", "").await?, ErrorCode::Unauthenticated);
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    Ok(())
}
