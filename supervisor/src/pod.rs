//! A running pod: the handle of ingresses, tests and benchmarks, and its shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::guard::GuardHandle;
use greenroom_client::Client;
use greenroom_protocol::{Cause, ErrorCode, UserId};
use greenroom_registry::Stores;
use greenroom_registry::generation_store::Generations;

use crate::compose::actor_tree::ActorTree;
use crate::compose::nats::{self, NatsServices};
use crate::compose::parts::PodParts;
use crate::compose::{http, services};
use crate::config::Config;
use crate::data_dir::DataDirLock;
use crate::ingress::control::ControlServer;
use crate::ingress::local::LocalIngress;
use crate::pipeline::Pipeline;
use crate::readiness::Readiness;
use crate::reload::Reloader;
use crate::services::{Phase, Services};
use crate::telemetry::Metrics;

/// Time that services of the ingress phase get to stop; they stop at their next await point.
const INGRESS_STOP_MAX: Duration = Duration::from_secs(1);
/// Time that the writers of the stores get to write their queues.
pub(crate) const STORE_CLOSE_MAX: Duration = Duration::from_secs(10);
/// Time that each part of a dead pod's stores gets to end; none of them has anything to write.
const ABANDON_MAX: Duration = Duration::from_secs(2);

/// A running pod. Dropping it stops everything at once; [`Pod::shutdown`] drains it first.
pub struct Pod {
    pub(crate) parts: PodParts,
    pub(crate) ingress: LocalIngress,
    pub(crate) tree: ActorTree,
    pub(crate) services: Services,
    pub(crate) nats: Option<NatsServices>,
    pub(crate) reloader: Arc<Reloader>,
    /// Released when the pod has shut down or is dropped.
    pub(crate) _lock: Option<DataDirLock>,
}

impl Pod {
    /// Its configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.parts.config
    }

    /// The ingress of this process.
    #[must_use]
    pub const fn ingress(&self) -> &LocalIngress {
        &self.ingress
    }

    /// A client that authenticates as a user of the configuration.
    #[must_use]
    pub fn client(&self, user: &UserId) -> Client {
        self.ingress.client(user)
    }

    /// The request pipeline.
    #[must_use]
    pub const fn pipeline(&self) -> &Arc<Pipeline> {
        &self.ingress.pipeline
    }

    /// The stores.
    #[must_use]
    pub const fn stores(&self) -> &Stores {
        &self.ingress.stores
    }

    /// Requests in flight on this pod, and the runs that they have started.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.ingress.pipeline.admission.in_flight()
    }

    /// The guard.
    #[must_use]
    pub const fn guard(&self) -> &GuardHandle {
        &self.parts.guard
    }

    /// Whether the pod is ready for requests.
    #[must_use]
    pub const fn readiness(&self) -> &Arc<Readiness> {
        &self.parts.readiness
    }

    /// The generations of catalogue and policy that are active on this pod; zero for what is of its own source.
    #[must_use]
    pub fn active_generations(&self) -> Generations {
        *self.parts.active.borrow()
    }

    /// The metrics.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.parts.metrics
    }

    /// Listens on the control socket of the data directory.
    ///
    /// # Errors
    /// [`ErrorCode::StoreUnavailable`] if the socket cannot be bound.
    pub async fn listen(&mut self) -> Result<(), Cause> {
        let path = self.parts.config.control_socket();
        let server = ControlServer::bind(&path, &self.parts.config.runtime_dir)
            .await
            .map_err(|error| Cause::new(ErrorCode::StoreUnavailable, format!("{}: {error}", path.display())))?;
        self.services.start(services::control_socket(server, self.ingress.clone()));
        Ok(())
    }

    /// Takes requests over NATS, if the pod was assembled with a connection to it.
    ///
    /// # Errors
    /// [`ErrorCode::SharedStoreNeeded`] if another pod of the cluster uses another database; [`ErrorCode::Internal`] if a
    /// key cannot be derived. A server that cannot be reached is no error: the pod is not ready until it is.
    pub async fn serve_nats(&mut self) -> Result<(), Cause> {
        self.nats = nats::start(&mut self.services, &self.parts, &self.ingress)?;
        match &mut self.nats {
            Some(nats) => nats.wait_serving().await,
            None => Ok(()),
        }
    }

    /// Serves HTTP, if the configuration has an address, and returns the address.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if the address is in use, or is reached from other machines while no user has a
    /// key.
    pub fn serve_http(&mut self) -> Result<Option<SocketAddr>, Cause> {
        let Some(server) = http::bind(&self.parts, &self.ingress)? else { return Ok(None) };
        let addr = server.local_addr();
        self.services.start(http::service(server));
        Ok(Some(addr))
    }

    /// Watches the settings file, and the sources of definitions and policy, where the configuration names any.
    pub fn watch(&mut self) {
        if self.reloader.is_enabled() {
            self.services.start(services::watcher(Arc::clone(&self.reloader)));
        }
    }

    /// Resumes interrupted runs, now and whenever a run loses its owner; if pods share the store, as many as this one has
    /// capacity for.
    pub fn recover(&mut self) {
        self.services.start(services::recovery(Arc::clone(&self.ingress.pipeline.admin)));
    }

    /// Sweeps unreferenced artifacts, periodically.
    pub fn sweep(&mut self) {
        self.services.start(services::sweeper(Arc::clone(&self.ingress.pipeline.admin)));
    }

    /// Waits until a part has failed that the pod cannot work without; returns the failure as a message.
    pub async fn wait_failed(&mut self) -> String {
        tokio::select! {
            failed = self.services.wait_failed() => format!("{}: {}", failed.name, failed.reason),
            kind = self.tree.wait_failed() => format!("{kind} exceeded its restart limit"),
        }
    }

    /// Drops what is under way, because another pod has declared this one dead: nothing of it is written any more, and
    /// others continue its runs. Whatever of it still ends in this process writes nothing either.
    pub fn abandon(self) -> impl Future<Output = ()> {
        Box::pin(self.drop_work())
    }

    async fn drop_work(self) {
        let Self { ingress, tree, mut services, _lock: lock, .. } = self;
        ingress.pipeline.admission.close();
        services.stop(Phase::Ingress, INGRESS_STOP_MAX).await;
        tree.stop().await;
        // The lanes end with their next batch, which is refused.
        let closing = ingress.stores.maintenance.close(ingress.clock.now());
        if tokio::time::timeout(ABANDON_MAX, closing).await.is_err() {
            tracing::warn!("the stores of a dead pod do not end, and are dropped");
        }
        services.stop(Phase::Stores, ABANDON_MAX).await;
        drop(lock);
    }

    /// Ends the subscriptions of NATS, stops admission, waits (at most the configured time) until every caller has its
    /// reply, stops the actors leaves first, and closes the stores last. The future is boxed here, because it contains the pod.
    pub fn shutdown(self) -> impl Future<Output = ()> {
        Box::pin(self.drain_and_stop())
    }

    async fn drain_and_stop(self) {
        let Self { parts, ingress, tree, mut services, mut nats, .. } = self;
        // Before admission is stopped: what has arrived is admitted, and the other pods receive what follows.
        if let Some(nats) = &mut nats {
            nats.drain().await;
        }
        let admission = &ingress.pipeline.admission;
        admission.close();
        if tokio::time::timeout(parts.config.drain_timeout, admission.drained()).await.is_err() {
            tracing::warn!(requests.unanswered = admission.unanswered(), "drain timed out with requests in flight");
        }
        if let Some(nats) = &nats {
            nats.flush().await;
        }
        services.stop(Phase::Ingress, INGRESS_STOP_MAX).await;
        tree.stop().await;
        if let Err(error) = ingress.stores.maintenance.close(ingress.clock.now()).await {
            tracing::error!(error.message = %error, "cannot close the stores cleanly");
        }
        services.stop(Phase::Stores, STORE_CLOSE_MAX).await;
    }
}
