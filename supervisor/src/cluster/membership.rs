//! The lease and the clock of this pod, as its metrics show them. What must not begin without the lease asks the store at that moment:
//! admission control, the lanes of the store, and whatever calls a model, a handler or a tool.

use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::supervision::ChildKind;
use greenroom_registry::cluster::{ClusterStore, LeaseStatus};
use tokio::time::Instant;

use crate::services::Service;
use crate::telemetry::Metrics;

/// How old what is shown of the lease may be.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);

/// Shows the lease of this pod, how many others it has declared dead, and how wrong the clock of its machine is.
pub(crate) fn membership(cluster: Arc<dyn ClusterStore>, metrics: Arc<Metrics>) -> Service {
    Service::droppable("membership", ChildKind::Periodic, move || observe(Arc::clone(&cluster), Arc::clone(&metrics)))
}

async fn observe(cluster: Arc<dyn ClusterStore>, metrics: Arc<Metrics>) -> Result<(), String> {
    let (mut lease, mut work) = (cluster.watch_lease(), cluster.watch());
    let (is_shared, mut renewed_at) = (cluster.is_shared(), Instant::now());
    loop {
        metrics.set_lease(lease.status());
        if is_shared {
            metrics.membership().set_lease_age(renewed_at.elapsed());
        }
        let (pods_declared_dead, clock_offset_micros) = {
            let work = work.borrow_and_update();
            metrics.membership().set_work(&work);
            (work.pods_declared_dead, work.clock_offset_micros)
        };
        metrics.set_pods_declared_dead(pods_declared_dead);
        metrics.set_clock_offset(clock_offset_micros);
        let is_open = tokio::select! {
            is_open = lease.changed() => {
                // It notifies of a lapse and of the end, too.
                if lease.status() == LeaseStatus::Live {
                    renewed_at = Instant::now();
                }
                is_open
            }
            changed = work.changed() => changed.is_ok(),
            // A pod that cannot reach the store is notified of nothing.
            () = tokio::time::sleep(SHOW_INTERVAL), if is_shared => true,
        };
        if !is_open {
            // The store was dropped.
            return Ok(());
        }
    }
}
