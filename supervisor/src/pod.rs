//! A running house: what ingresses, tests and benchmarks hold, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::guard::GuardHandle;
use greenroom_actors::run::Recovered;
use greenroom_client::Client;
use greenroom_protocol::{Cause, Code, UserId};
use greenroom_registry::Stores;
use greenroom_registry::artifacts::Swept;
use tokio::time::Instant;

use crate::compose::actor_tree::Tree;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::ingress::control::Control;
use crate::ingress::local::Front;
use crate::pipeline::Pipeline;
use crate::reload::Reloader;
use crate::tasks::{OnEnd, Tasks};
use crate::telemetry::Meters;

/// How often runs that lost their owner are looked for.
const RECOVERY_PAUSE: Duration = Duration::from_secs(2);
/// When a host first looks for artifacts that nothing names; what a crash left is taken up before.
const SWEEP_DELAY: Duration = Duration::from_secs(5 * 60);
/// How often it looks again.
const SWEEP_PAUSE: Duration = Duration::from_secs(6 * 60 * 60);
/// How long the writers of the stores may take for what they still hold.
const WRITERS_WAIT_MAX: Duration = Duration::from_secs(10);

/// A running house. Dropping it stops everything at once; [`House::shutdown`] drains it first.
pub struct House {
    pub(crate) config: Config,
    pub(crate) front: Front,
    pub(crate) tree: Option<Tree>,
    pub(crate) tasks: Tasks,
    pub(crate) guard: GuardHandle,
    pub(crate) meters: Arc<Meters>,
    pub(crate) reloader: Option<Reloader>,
    pub(crate) owned: Option<DataDir>,
}

impl House {
    /// What it was told.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What stands behind every local way in.
    #[must_use]
    pub const fn front(&self) -> &Front {
        &self.front
    }

    /// A client that speaks for a user of the configuration.
    #[must_use]
    pub fn client(&self, user: &UserId) -> Client {
        self.front.client(user)
    }

    /// The stages of a request.
    #[must_use]
    pub const fn pipeline(&self) -> &Arc<Pipeline> {
        &self.front.pipeline
    }

    /// The stores.
    #[must_use]
    pub const fn stores(&self) -> &Stores {
        &self.front.stores
    }

    /// Requests that have a place on this pod right now.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.front.pipeline.gate.inside()
    }

    /// The guard.
    #[must_use]
    pub const fn guard(&self) -> &GuardHandle {
        &self.guard
    }

    /// What has been counted.
    #[must_use]
    pub const fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Keeps the proof that this process owns the data directory for as long as the house stands.
    pub fn hold(&mut self, owned: DataDir) {
        self.owned = Some(owned);
    }

    /// Listens on the control socket of the data directory.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`] if the socket cannot be made.
    pub fn listen(&mut self) -> Result<(), Cause> {
        let path = self.config.control_socket();
        let control = Control::bind(&path)
            .map_err(|error| Cause::new(Code::StoreUnavailable, format!("{}: {error}", path.display())))?;
        self.tasks.run("control socket", OnEnd::GoOn, control.serve(self.front.clone()));
        Ok(())
    }

    /// Watches the folders of definitions and policies, where the configuration names any.
    pub fn watch(&mut self) {
        if let Some(reloader) = self.reloader.take().filter(Reloader::has_work) {
            self.tasks.run("watcher", OnEnd::GoOn, reloader.run());
        }
    }

    /// Takes up what a crash left, now and whenever a run loses its owner.
    pub fn recover(&mut self) {
        let chores = Arc::clone(&self.front.chores);
        self.tasks.run("recovery", OnEnd::GoOn, async move {
            let mut rounds = tokio::time::interval(RECOVERY_PAUSE);
            rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                rounds.tick().await;
                match chores.recover().await {
                    Ok(Recovered { resumed: 0, refused: 0, left: 0 }) => {}
                    Ok(round) => tracing::info!(
                        runs.resumed = round.resumed,
                        runs.refused = round.refused,
                        runs.left = round.left,
                        "interrupted runs were taken up"
                    ),
                    Err(cause) => tracing::error!(error.code = %cause.code, "interrupted runs were not taken up"),
                }
            }
        });
    }

    /// Drops, now and then, the artifacts that nothing names any more.
    pub fn sweep(&mut self) {
        let chores = Arc::clone(&self.front.chores);
        self.tasks.run("sweeper", OnEnd::GoOn, async move {
            let mut rounds = tokio::time::interval_at(Instant::now() + SWEEP_DELAY, SWEEP_PAUSE);
            rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                rounds.tick().await;
                match chores.sweep().await {
                    Ok(Swept { artifacts: 0, bytes: _ }) => {}
                    Ok(Swept { artifacts, bytes }) => {
                        tracing::info!(artifacts.dropped = artifacts, artifacts.bytes = bytes, "artifacts were swept");
                    }
                    Err(cause) => tracing::error!(error.code = %cause.code, "artifacts were not swept"),
                }
            }
        });
    }

    /// Waits until something has died without which nothing may go on; answers what.
    pub async fn fallen(&mut self) -> String {
        let Some(tree) = self.tree.as_mut() else { return std::future::pending().await };
        tokio::select! {
            fallen = self.tasks.fallen() => format!("{}: {}", fallen.name, fallen.reason),
            kind = tree.fallen() => format!("{kind} died too often"),
        }
    }

    /// Takes nothing new, waits for what is under way (with the configured bound), stops the actors
    /// leaves first, and closes the stores.
    pub async fn shutdown(mut self) {
        let pipeline = Arc::clone(&self.front.pipeline);
        pipeline.gate.close();
        if tokio::time::timeout(self.config.drain, pipeline.gate.drained()).await.is_err() {
            tracing::warn!(requests.left = pipeline.gate.inside(), "drain ended before everything was done");
        }
        for name in ["control socket", "watcher", "metrics", "recovery", "sweeper", "rates", "late settler"] {
            self.tasks.stop(name);
        }
        if let Some(tree) = self.tree.take() {
            tree.stop().await;
        }
        if let Err(error) = self.front.stores.upkeep.close(self.front.clock.now()).await {
            tracing::error!(error.message = %error, "stores were not closed cleanly");
        }
        self.tasks.finish(WRITERS_WAIT_MAX).await;
    }
}
