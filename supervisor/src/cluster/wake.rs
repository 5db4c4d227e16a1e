//! Wake-ups between pods: after a tree was created without an owner, one pod looks for it at once; after a message was sent
//! to a run, every pod does, because the sender does not know which one owns the run, and so it is after definitions or a
//! policy were applied, which all pods use. A wake-up has no content, and a lost one costs the time until the next tick.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use futures::StreamExt as _;
use greenroom_actors::supervision::ChildKind;
use greenroom_protocol::PodId;
use greenroom_registry::cluster::{Announcements, ClusterStore};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::keys::ClusterKey;
use super::signed::{read, sign};
use crate::ingress::nats::QUEUE_GROUP;
use crate::ingress::nats::connection::NatsConnection;
use crate::services::Service;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::WakeUp;

/// The subjects of wake-ups: to one pod, and to all. The latter is named after what was the first reason for one; a pod of
/// an earlier release knows it.
const TREES: &str = "wake";
const MESSAGES: &str = "wake.messages";
/// The shortest time between two wake-ups of this pod; what is announced meanwhile has one wake-up.
const WAKE_INTERVAL: Duration = Duration::from_millis(10);
/// Pods whose numbers are remembered.
const PODS_MAX: usize = 4_096;

/// Sends and receives wake-ups.
pub(crate) struct Wake {
    pub(crate) connection: NatsConnection,
    pub(crate) key: ClusterKey,
    /// This start of the pod.
    pub(crate) pod: PodId,
    pub(crate) cluster: Arc<dyn ClusterStore>,
    pub(crate) metrics: Arc<Metrics>,
}

/// One wake-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeMessage {
    pod: PodId,
    /// The number of the wake-ups of the pod to this subject, from 1.
    n: u64,
}

/// The numbers of the last wake-ups to all pods.
#[derive(Debug, Default)]
struct Numbers(HashMap<PodId, u64>);

/// The service that sends and receives wake-ups.
pub(crate) fn service(wake: Wake) -> Service {
    let wake = Arc::new(wake);
    Service::droppable("wake-ups", ChildKind::Periodic, move || {
        let wake = Arc::clone(&wake);
        async move { wake.run().await }
    })
}

impl Wake {
    async fn run(&self) -> Result<(), String> {
        let subject = |name| self.connection.subjects().internal(name);
        let trees = self.connection.subscribe(subject(TREES), Some(QUEUE_GROUP)).await;
        let messages = self.connection.subscribe(subject(MESSAGES), None).await;
        let (mut trees, mut messages) =
            (trees.map_err(|cause| cause.message)?, messages.map_err(|cause| cause.message)?);
        let mut announced = self.cluster.watch_announcements();
        let (mut is_shared, mut is_pending, mut next_at) = (true, false, Instant::now());
        let (mut sent, mut numbers) = (Announcements::default(), Numbers::default());
        let (mut trees_sent, mut messages_sent) = (0, 0);
        loop {
            tokio::select! {
                changed = announced.changed(), if is_shared => match changed {
                    Ok(()) => is_pending = true,
                    // The store has no other pods.
                    Err(_) => is_shared = false,
                },
                () = tokio::time::sleep_until(next_at), if is_pending => {
                    (is_pending, next_at) = (false, Instant::now() + WAKE_INTERVAL);
                    let current = *announced.borrow_and_update();
                    if current.trees != sent.trees {
                        trees_sent += 1;
                        self.send(TREES, trees_sent);
                    }
                    if (current.messages, current.generations) != (sent.messages, sent.generations) {
                        messages_sent += 1;
                        self.send(MESSAGES, messages_sent);
                    }
                    sent = current;
                }
                received = trees.next() => match received {
                    Some(message) => drop(self.on_wake_up(&message)),
                    None => return Err("the connection to NATS is closed".to_owned()),
                },
                received = messages.next() => match received {
                    Some(message) => {
                        if let Some(wake) = self.on_wake_up(&message) {
                            self.metrics.nats().count_wake_ups(WakeUp::Missed, numbers.missed_before(wake));
                        }
                    }
                    None => return Err("the connection to NATS is closed".to_owned()),
                },
            }
        }
    }

    fn send(&self, name: &str, n: u64) {
        let subject = self.connection.subjects().internal(name);
        let Some((headers, body)) = sign(&self.key, &subject, &WakeMessage { pod: self.pod.clone(), n }) else {
            return;
        };
        if self.connection.try_publish(subject.into(), headers, body) {
            self.metrics.nats().count_wake_ups(WakeUp::Sent, 1);
        }
    }

    /// Looks for what there is to do, if the message is a wake-up; the store bounds how often. This pod receives its own
    /// ones too: it may have capacity again.
    fn on_wake_up(&self, message: &Message) -> Option<WakeMessage> {
        let wake: WakeMessage = read(&self.key, &self.metrics, message)?;
        self.metrics.nats().count_wake_ups(WakeUp::Received, 1);
        self.cluster.nudge();
        Some(wake)
    }
}

impl Numbers {
    /// How many wake-ups of the same pod before this one have not arrived.
    fn missed_before(&mut self, wake: WakeMessage) -> u64 {
        if self.0.len() >= PODS_MAX && !self.0.contains_key(&wake.pod) {
            self.0.clear();
        }
        match self.0.insert(wake.pod, wake.n) {
            Some(last) => wake.n.saturating_sub(last).saturating_sub(1),
            // Those before the start of this pod were not for it.
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_in_the_numbers_of_a_pod_is_what_was_missed() {
        let mut numbers = Numbers::default();
        let wake = |pod: &str, n| WakeMessage { pod: PodId::new(pod).unwrap(), n };
        let missed: Vec<u64> = [("a", 7), ("a", 8), ("b", 1), ("a", 12), ("a", 3), ("b", 3)]
            .map(|(pod, n)| numbers.missed_before(wake(pod, n)))
            .into();
        assert_eq!(missed, [0, 0, 0, 3, 0, 1]);
    }
}
