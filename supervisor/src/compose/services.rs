//! The background services of a pod. The writers of the stores, the metrics and the key releaser start with the pod; the
//! others once the pod listens, watches or recovers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_actors::observer::{Observer, TeeObserver};
use greenroom_actors::run::{RecoveryReport, RunsHandle};
use greenroom_actors::supervision::ChildKind;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_registry::StoreTask;
use greenroom_registry::artifacts::SweepReport;
use greenroom_runtimes::wasm::EpochTicker;
use tokio::sync::{Mutex, Notify};

use super::category_spawner::CategorySpawner;
use super::in_service::InService;
use super::parts::PodParts;
use crate::admin::AdminOps;
use crate::cluster::{membership, tick};
use crate::ingress::control::ControlServer;
use crate::ingress::local::LocalIngress;
use crate::pipeline::idempotency::KeyReleaser;
use crate::reload::{Reloader, UserFile};
use crate::services::{Phase, RunService, Service, Services, run_once};
use crate::telemetry::{Metrics, MetricsServer, metrics};

/// How often recovery looks for runs that have lost their owner.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(2);
/// Delay of the first sweep of artifacts: recovery has resumed interrupted runs by then.
const SWEEP_DELAY: Duration = Duration::from_secs(5 * 60);
/// How often artifacts are swept.
const SWEEP_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);

/// Starts the writers of the stores, each on a thread of its own.
pub(crate) fn start_writers(services: &mut Services, writers: Vec<StoreTask>) {
    for StoreTask { name, run } in writers {
        let write = run_once(async move { run.await.map_err(|error| error.to_string()) });
        services.start_on_thread(Service {
            name,
            phase: Phase::Stores,
            restart: ChildKind::AuditWriter,
            // A writer ends when its store is closed, after it has written its queue.
            run: Arc::new(move |_| write()),
        });
    }
}

/// Creates the metrics, updates their rates, and serves them at `addr` if there is one.
///
/// # Errors
/// [`ErrorCode::InvalidConfiguration`] if they cannot be served at that address.
pub(crate) fn start_metrics(services: &mut Services, addr: Option<SocketAddr>) -> Result<Arc<Metrics>, Cause> {
    let invalid = |message| Cause::new(ErrorCode::InvalidConfiguration, message);
    let metrics = Arc::new(Metrics::new().map_err(invalid)?);
    if let Some(addr) = addr {
        let (server, served) = (Arc::new(MetricsServer::bind(addr).map_err(invalid)?), Arc::clone(&metrics));
        services.start(Service::droppable("metrics", ChildKind::Metrics, move || {
            let (server, metrics) = (Arc::clone(&server), Arc::clone(&served));
            async move { server.serve(&metrics).await }
        }));
    }
    let ticked = Arc::clone(&metrics);
    services.start(Service::droppable("rates", ChildKind::Periodic, move || tick_metrics(Arc::clone(&ticked))));
    Ok(metrics)
}

/// The metrics as an observer, with another observer beside them if there is one.
pub(crate) fn tee_observer(metrics: &Arc<Metrics>, other: Option<Arc<dyn Observer>>) -> Arc<dyn Observer> {
    let metrics: Arc<dyn Observer> = metrics.clone();
    match other {
        Some(other) => Arc::new(TeeObserver(metrics, other)),
        None => metrics,
    }
}

/// Starts what ends the idempotency keys of disconnected callers, and those whose reply could not be stored at once.
pub(crate) fn start_key_releaser(services: &mut Services, releaser: KeyReleaser) {
    let releaser = Arc::new(Mutex::new(releaser));
    services.start(Service::droppable("key releaser", ChildKind::Periodic, move || {
        let releaser = Arc::clone(&releaser);
        async move {
            releaser.lock().await.run().await;
            Ok(())
        }
    }));
}

/// Serves the control socket.
pub(crate) fn control_socket(server: ControlServer, ingress: LocalIngress) -> Service {
    let server = Arc::new(server);
    Service::droppable("control socket", ChildKind::Ingress, move || {
        let (server, ingress) = (Arc::clone(&server), ingress.clone());
        async move { server.serve(ingress).await }
    })
}

/// Starts what lets components yield, on a thread of its own: components may keep every thread of tokio busy. It ends
/// after the actors, because an execution is dropped when it yields.
pub(crate) fn start_ticker(services: &mut Services, ticker: Option<EpochTicker>) {
    let Some(ticker) = ticker else { return };
    let run: RunService = Arc::new(move |stop| {
        let ticker = ticker.clone();
        Box::pin(stop.run_until_stopped(async move {
            ticker.run().await;
            Ok(())
        }))
    });
    let (name, phase, restart) = ("epochs of components", Phase::Stores, ChildKind::Periodic);
    services.start_on_thread(Service { name, phase, restart, run });
}

/// Creates what reloads users, definitions and policies. It activates what is applied for every pod from now on, unless
/// the pod restores a database.
pub(crate) fn start_reloader(
    services: &mut Services,
    parts: &PodParts,
    spawner: CategorySpawner,
    in_service: InService,
) -> Arc<Reloader> {
    let reloader = Arc::new(reloader(parts, spawner, in_service));
    if parts.restores.is_none() {
        let follower = Arc::clone(&reloader);
        services.start(Service::droppable("generations", ChildKind::Watcher, move || {
            let follower = Arc::clone(&follower);
            async move { follower.follow().await }
        }));
    }
    reloader
}

/// What reloads users, definitions and policy.
pub(crate) fn reloader(parts: &PodParts, spawner: CategorySpawner, in_service: InService) -> Reloader {
    Reloader {
        definitions: Arc::clone(&parts.definitions),
        in_service,
        host_names: parts.host_names.clone(),
        spawner,
        guard: parts.guard.clone(),
        core: Arc::clone(&parts.stores.core),
        generations: Arc::clone(&parts.stores.generations),
        active: Arc::clone(&parts.active),
        readiness: Arc::clone(&parts.readiness),
        clock: Arc::clone(&parts.clock),
        metrics: Arc::clone(&parts.metrics),
        strict: parts.config.strict,
        sources: parts.sources.clone(),
        users: user_file(parts),
        activating: Mutex::default(),
        policy_changed: Notify::new(),
        failing_sources: std::sync::Mutex::default(),
    }
}

/// The settings file with the users whom the pod knows.
fn user_file(parts: &PodParts) -> Option<UserFile> {
    let (path, identities) = (parts.config.settings_file.clone()?, parts.identities.clone()?.users);
    Some(UserFile { path, identities, settings_hash: Arc::clone(&parts.settings_hash) })
}

/// Reloads users, definitions and policy when their files change.
pub(crate) fn watcher(reloader: Arc<Reloader>) -> Service {
    Service::droppable("watcher", ChildKind::Watcher, move || {
        let reloader = Arc::clone(&reloader);
        async move { reloader.run().await }
    })
}

/// Starts what shows the lease of the pod, and what delivers the messages that other pods send to its runs.
pub(crate) fn start_cluster(services: &mut Services, parts: &PodParts, runs: &RunsHandle) {
    services.start(membership::membership(Arc::clone(&parts.stores.cluster), Arc::clone(&parts.metrics)));
    services.start(tick::deliveries(runs.clone()));
}

/// Resumes runs that have no owner, now and whenever a run loses its owner. Pods that share the store claim them.
pub(crate) fn recovery(admin: Arc<AdminOps>) -> Service {
    if admin.stores.cluster.is_shared() {
        return tick::claims(admin.runs.clone());
    }
    Service::droppable("recovery", ChildKind::Periodic, move || recover_periodically(Arc::clone(&admin)))
}

async fn recover_periodically(admin: Arc<AdminOps>) -> Result<(), String> {
    let mut rounds = tokio::time::interval(RECOVERY_INTERVAL);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        match admin.recover(None).await {
            Ok(RecoveryReport { resumed: 0, terminated: 0, dead: 0, deferred: 0 }) => {}
            Ok(RecoveryReport { resumed, terminated, dead, deferred }) => tracing::info!(
                runs.resumed = resumed,
                runs.terminated = terminated,
                runs.dead = dead,
                runs.deferred = deferred,
                "recovered interrupted runs"
            ),
            Err(cause) => tracing::error!(error.code = %cause.code, "cannot recover interrupted runs"),
        }
    }
}

/// Sweeps artifacts that no live record references, periodically.
pub(crate) fn sweeper(admin: Arc<AdminOps>) -> Service {
    Service::droppable("sweeper", ChildKind::Periodic, move || sweep_periodically(Arc::clone(&admin)))
}

async fn sweep_periodically(admin: Arc<AdminOps>) -> Result<(), String> {
    let first = Instant::now() + SWEEP_DELAY;
    let mut rounds = tokio::time::interval_at(first.into(), SWEEP_INTERVAL);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        match admin.sweep(None).await {
            Ok(SweepReport { artifacts: 0, bytes: _, tombstones: 0 }) => {}
            Ok(SweepReport { artifacts, bytes, tombstones }) => tracing::info!(
                artifacts.dropped = artifacts,
                artifacts.bytes = bytes,
                artifacts.unreferenced = tombstones,
                "swept artifacts"
            ),
            Err(cause) => tracing::error!(error.code = %cause.code, "cannot sweep artifacts"),
        }
    }
}

async fn tick_metrics(metrics: Arc<Metrics>) -> Result<(), String> {
    let mut ticks = tokio::time::interval(metrics::TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        metrics.tick(Instant::now());
    }
}
