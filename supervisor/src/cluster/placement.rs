//! Where an agent with labels is executed: on this pod, or on the least loaded of those that are alive and have all of its
//! labels. Which pods there are is read from the store once a second; a pod that is missing there is not called, and one
//! that has died meanwhile is found out by its call.

pub mod choice;
pub mod remote_hosts;

use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::supervision::ChildKind;
use greenroom_registry::cluster::{ClusterStore, PodInfo};
use tokio::sync::watch;

use crate::services::Service;

/// How often the pods are read.
const READ_INTERVAL: Duration = Duration::from_secs(1);
/// How old the pods may be that are read: after that, there are none.
const READ_AGE_MAX: u32 = 10;

/// The pods that are alive, as the store shows them.
#[derive(Clone, Default)]
pub struct LivePods(Arc<watch::Sender<Arc<[PodInfo]>>>);

impl LivePods {
    /// The pods of the last reading.
    #[must_use]
    pub fn current(&self) -> Arc<[PodInfo]> {
        Arc::clone(&self.0.borrow())
    }

    /// Replaces the pods.
    pub fn set(&self, pods: Vec<PodInfo>) {
        self.0.send_replace(pods.into());
    }
}

/// Reads the pods once a second.
pub(crate) fn reader(cluster: Arc<dyn ClusterStore>, pods: LivePods) -> Service {
    Service::droppable("pods", ChildKind::Periodic, move || read(Arc::clone(&cluster), pods.clone()))
}

async fn read(cluster: Arc<dyn ClusterStore>, pods: LivePods) -> Result<(), String> {
    let mut ticks = tokio::time::interval(READ_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failures = 0_u32;
    loop {
        ticks.tick().await;
        match cluster.live_pods().await {
            Ok(read) => {
                failures = 0;
                pods.set(read);
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    tracing::warn!(error = %error, "the pods of the cluster cannot be read");
                }
                if failures == READ_AGE_MAX {
                    pods.set(Vec::new());
                }
            }
        }
    }
}
