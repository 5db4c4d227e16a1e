//! A running house: what ingresses, tests and benchmarks hold, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::guard::GuardHandle;
use greenroom_actors::run::RecoveryReport;
use greenroom_client::Client;
use greenroom_protocol::{Cause, ErrorCode, UserId};
use greenroom_registry::Stores;
use greenroom_registry::artifacts::SweepReport;
use tokio::time::Instant;

use crate::compose::actor_tree::ActorTree;
use crate::config::Config;
use crate::data_dir::DataDirLock;
use crate::ingress::control::ControlServer;
use crate::ingress::local::LocalIngress;
use crate::pipeline::Pipeline;
use crate::reload::Reloader;
use crate::tasks::{BackgroundTasks, OnExit};
use crate::telemetry::Metrics;

/// How often runs that lost their owner are looked for.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(2);
/// When a host first looks for artifacts that nothing names; what a crash left is taken up before.
const SWEEP_DELAY: Duration = Duration::from_secs(5 * 60);
/// How often it looks again.
const SWEEP_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);
/// How long the writers of the stores may take for what they still hold.
const STORE_CLOSE_MAX: Duration = Duration::from_secs(10);

/// A running house. Dropping it stops everything at once; [`House::shutdown`] drains it first.
pub struct Pod {
    pub(crate) config: Config,
    pub(crate) ingress: LocalIngress,
    pub(crate) tree: Option<ActorTree>,
    pub(crate) tasks: BackgroundTasks,
    pub(crate) guard: GuardHandle,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reloader: Option<Reloader>,
    pub(crate) owned: Option<DataDirLock>,
}

impl Pod {
    /// What it was told.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What stands behind every local way in.
    #[must_use]
    pub const fn ingress(&self) -> &LocalIngress {
        &self.ingress
    }

    /// A client that speaks for a user of the configuration.
    #[must_use]
    pub fn client(&self, user: &UserId) -> Client {
        self.ingress.client(user)
    }

    /// The stages of a request.
    #[must_use]
    pub const fn pipeline(&self) -> &Arc<Pipeline> {
        &self.ingress.pipeline
    }

    /// The stores.
    #[must_use]
    pub const fn stores(&self) -> &Stores {
        &self.ingress.stores
    }

    /// Requests that have a place on this pod right now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.ingress.pipeline.admission.in_flight()
    }

    /// The guard.
    #[must_use]
    pub const fn guard(&self) -> &GuardHandle {
        &self.guard
    }

    /// What has been counted.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Keeps the proof that this process owns the data directory for as long as the house stands.
    pub fn attach_lock(&mut self, owned: DataDirLock) {
        self.owned = Some(owned);
    }

    /// Listens on the control socket of the data directory.
    ///
    /// # Errors
    /// [`ErrorCode::StoreUnavailable`] if the socket cannot be made.
    pub fn listen(&mut self) -> Result<(), Cause> {
        let path = self.config.control_socket();
        let control = ControlServer::bind(&path)
            .map_err(|error| Cause::new(ErrorCode::StoreUnavailable, format!("{}: {error}", path.display())))?;
        self.tasks.run("control socket", OnExit::Continue, control.serve(self.ingress.clone()));
        Ok(())
    }

    /// Watches the folders of definitions and policies, where the configuration names any.
    pub fn watch(&mut self) {
        if let Some(reloader) = self.reloader.take().filter(Reloader::is_enabled) {
            self.tasks.run("watcher", OnExit::Continue, reloader.run());
        }
    }

    /// Takes up what a crash left, now and whenever a run loses its owner.
    pub fn recover(&mut self) {
        let admin = Arc::clone(&self.ingress.admin);
        self.tasks.run("recovery", OnExit::Continue, async move {
            let mut rounds = tokio::time::interval(RECOVERY_INTERVAL);
            rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                rounds.tick().await;
                match admin.recover().await {
                    Ok(RecoveryReport { resumed: 0, terminated: 0, deferred: 0 }) => {}
                    Ok(round) => tracing::info!(
                        runs.resumed = round.resumed,
                        runs.terminated = round.terminated,
                        runs.deferred = round.deferred,
                        "interrupted runs were taken up"
                    ),
                    Err(cause) => tracing::error!(error.code = %cause.code, "interrupted runs were not taken up"),
                }
            }
        });
    }

    /// Drops, now and then, the artifacts that nothing names any more.
    pub fn sweep(&mut self) {
        let admin = Arc::clone(&self.ingress.admin);
        self.tasks.run("sweeper", OnExit::Continue, async move {
            let mut rounds = tokio::time::interval_at(Instant::now() + SWEEP_DELAY, SWEEP_INTERVAL);
            rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                rounds.tick().await;
                match admin.sweep().await {
                    Ok(SweepReport { artifacts: 0, bytes: _ }) => {}
                    Ok(SweepReport { artifacts, bytes }) => {
                        tracing::info!(artifacts.dropped = artifacts, artifacts.bytes = bytes, "artifacts were swept");
                    }
                    Err(cause) => tracing::error!(error.code = %cause.code, "artifacts were not swept"),
                }
            }
        });
    }

    /// Waits until something has died without which nothing may go on; answers what.
    pub async fn wait_failed(&mut self) -> String {
        let Some(tree) = self.tree.as_mut() else { return std::future::pending().await };
        tokio::select! {
            fallen = self.tasks.wait_failed() => format!("{}: {}", fallen.name, fallen.reason),
            kind = tree.wait_failed() => format!("{kind} died too often"),
        }
    }

    /// Takes nothing new, waits for what is under way (with the configured bound), stops the actors
    /// leaves first, and closes the stores.
    pub async fn shutdown(mut self) {
        let pipeline = Arc::clone(&self.ingress.pipeline);
        pipeline.admission.close();
        if tokio::time::timeout(self.config.drain_timeout, pipeline.admission.drained()).await.is_err() {
            tracing::warn!(
                requests.in_flight = pipeline.admission.in_flight(),
                "drain ended before everything was done"
            );
        }
        for name in ["control socket", "watcher", "metrics", "recovery", "sweeper", "rates", "reservation settler"] {
            self.tasks.stop(name);
        }
        if let Some(tree) = self.tree.take() {
            tree.stop().await;
        }
        if let Err(error) = self.ingress.stores.maintenance.close(self.ingress.clock.now()).await {
            tracing::error!(error.message = %error, "stores were not closed cleanly");
        }
        self.tasks.join(STORE_CLOSE_MAX).await;
    }
}
