//! The lease and the clock of this pod, as its metrics show them. What must not begin without the lease asks the store at that moment:
//! admission control, the lanes of the store, and whatever calls a model, a handler or a tool.

use std::sync::Arc;

use greenroom_actors::supervision::ChildKind;
use greenroom_registry::cluster::ClusterStore;

use crate::services::Service;
use crate::telemetry::Metrics;

/// Shows the lease of this pod, how many others it has declared dead, and how wrong the clock of its machine is.
pub(crate) fn membership(cluster: Arc<dyn ClusterStore>, metrics: Arc<Metrics>) -> Service {
    Service::droppable("membership", ChildKind::Periodic, move || observe(Arc::clone(&cluster), Arc::clone(&metrics)))
}

async fn observe(cluster: Arc<dyn ClusterStore>, metrics: Arc<Metrics>) -> Result<(), String> {
    let (mut lease, mut work) = (cluster.watch_lease(), cluster.watch());
    loop {
        metrics.set_lease(lease.status());
        let (pods_declared_dead, clock_offset_micros) = {
            let work = work.borrow_and_update();
            (work.pods_declared_dead, work.clock_offset_micros)
        };
        metrics.set_pods_declared_dead(pods_declared_dead);
        metrics.set_clock_offset(clock_offset_micros);
        let is_open = tokio::select! {
            is_open = lease.changed() => is_open,
            changed = work.changed() => changed.is_ok(),
        };
        if !is_open {
            // The store was dropped.
            return Ok(());
        }
    }
}
