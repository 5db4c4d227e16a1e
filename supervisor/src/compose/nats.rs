//! From the connection of a pod to the services of NATS: the ingress, the watch over the databases of other pods, and
//! wake-ups.

use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::supervision::ChildKind;
use greenroom_protocol::{Cause, ErrorCode};
use tokio::sync::watch;
use tokio::time::Instant;

use super::parts::PodParts;
use super::pod_nats::PodNats;
use crate::cluster::keys::{ClusterKey, KeyLabel};
use crate::cluster::root_copy::RootCopy;
use crate::cluster::runtime::ClusterNetwork;
use crate::cluster::store_watch::{self, StoreWatch};
use crate::cluster::wake::{self, Wake};
use crate::config::NatsConfig;
use crate::ingress::local::LocalIngress;
use crate::ingress::nats::NatsIngress;
use crate::ingress::nats::connection::NatsConnection;
use crate::ingress::nats::service::NatsService;
use crate::readiness::Readiness;
use crate::services::{Service, Services};
use crate::telemetry::Metrics;

/// Longest wait of a start for NATS, and for the other pods of the cluster. Without a reply the pod starts, and serves over
/// NATS once it has one.
const START_WAIT_MAX: Duration = Duration::from_secs(3);
/// Longest wait of a drain for what was sent to this pod before its subscriptions ended.
const DRAIN_WAIT_MAX: Duration = Duration::from_secs(12);
/// Longest wait for the last replies to be written.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(2);

/// The running services of NATS, for the shutdown.
pub(crate) struct NatsServices {
    connection: NatsConnection,
    refused: watch::Receiver<Option<Cause>>,
    serving: watch::Receiver<bool>,
    draining: watch::Sender<bool>,
    drained: watch::Receiver<bool>,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
}

impl NatsServices {
    /// Waits until the pod serves over NATS. Without a server it returns after a while, and the pod serves once it is
    /// connected.
    ///
    /// # Errors
    /// [`ErrorCode::SharedStoreNeeded`] if another pod of the cluster uses another database. This one serves once the
    /// other one has ended.
    pub(crate) async fn wait_serving(&mut self) -> Result<(), Cause> {
        let is_refused =
            |refusal: &Option<Cause>| refusal.as_ref().is_some_and(|cause| cause.code == ErrorCode::SharedStoreNeeded);
        let refusal = tokio::select! {
            refusal = self.refused.wait_for(is_refused) => refusal.ok().and_then(|refusal| refusal.clone()),
            _ = self.serving.wait_for(|is_serving| *is_serving) => return Ok(()),
            () = tokio::time::sleep(START_WAIT_MAX) => None,
        };
        if let Some(cause) = refusal {
            return Err(cause);
        }
        tracing::warn!("the pod starts without NATS, and serves requests there once it is connected");
        // The next report is that of the connection.
        let _ = self.readiness.report(self.metrics.generations(), Instant::now());
        Ok(())
    }

    /// Ends the subscriptions, and returns once every request that has arrived is admitted.
    pub(crate) async fn drain(&mut self) {
        self.draining.send_replace(true);
        let drained = self.drained.wait_for(|is_drained| *is_drained);
        if tokio::time::timeout(DRAIN_WAIT_MAX, drained).await.is_err() {
            tracing::warn!("the subscriptions of NATS have not ended in time");
        }
    }

    /// Writes the last replies.
    pub(crate) async fn flush(&self) {
        if self.connection.is_connected() {
            self.connection.flush(FLUSH_WAIT_MAX).await;
        }
    }
}

/// What copies the root chain of the audit.
fn root_copy(parts: &PodParts, connection: &NatsConnection, prefix: &str, key: ClusterKey) -> RootCopy {
    RootCopy {
        connection: connection.clone(),
        key,
        prefix: prefix.to_owned(),
        replicas: parts.config.nats.as_ref().map_or(1, |nats| nats.audit_replicas),
        audit: Arc::clone(&parts.stores.audit),
        metrics: Arc::clone(&parts.metrics),
    }
}

/// Starts the services of NATS over the connection of the pod, if it has one.
///
/// # Errors
/// [`ErrorCode::Internal`] if a key cannot be derived.
pub(crate) fn start(
    services: &mut Services,
    parts: &PodParts,
    ingress: &LocalIngress,
) -> Result<Option<NatsServices>, Cause> {
    let (Some(PodNats { connection, network, .. }), Some(NatsConfig { requests_max, .. })) =
        (&parts.nats, &parts.config.nats)
    else {
        return Ok(None);
    };
    let ClusterNetwork { prefix, cluster, secret, .. } = network;
    let key = |label| secret.key(label, prefix.as_bytes());
    let (pods_key, wake_key) = (key(KeyLabel::Pods)?, key(KeyLabel::Wake)?);
    let (readiness, metrics) = (Arc::clone(&parts.readiness), Arc::clone(&parts.metrics));
    let (draining, is_draining) = watch::channel(false);
    let (refusal, refused) = watch::channel(Some(store_watch::not_looked_yet()));
    services.start(store_watch::service(StoreWatch {
        connection: connection.clone(),
        key: pods_key,
        cluster: cluster.clone(),
        store: parts.stores.id.clone(),
        pod: parts.pod.clone(),
        ids: Arc::clone(&parts.ids),
        refusal,
        readiness,
        metrics: Arc::clone(&metrics),
    }));
    services.start(wake::service(Wake {
        connection: connection.clone(),
        key: wake_key,
        pod: parts.pod.clone(),
        cluster: Arc::clone(&parts.stores.cluster),
        metrics: Arc::clone(&metrics),
    }));
    if parts.config.nats.as_ref().is_some_and(|nats| nats.audit_replicas > 0) {
        services.start(root_copy(parts, connection, prefix, key(KeyLabel::RootCopy)?).service());
    }
    if let Some(texts) = &ingress.step_texts {
        services.start(Arc::clone(texts).service());
        if let Some(history) = texts.history() {
            services.start(history.service());
        }
    }
    let nats_ingress = NatsIngress::new(ingress.clone(), connection.clone(), metrics, *requests_max, is_draining);
    let service = Arc::new(NatsService::new(Arc::new(nats_ingress), refused.clone()));
    let (serving, drained) = (service.watch_serving(), service.watch_drained());
    services.start(Service::droppable("nats requests", ChildKind::Ingress, move || {
        let service = Arc::clone(&service);
        async move { service.serve().await }
    }));
    let (readiness, metrics) = (Arc::clone(&parts.readiness), Arc::clone(&parts.metrics));
    let connection = connection.clone();
    Ok(Some(NatsServices { connection, refused, serving, draining, drained, readiness, metrics }))
}
