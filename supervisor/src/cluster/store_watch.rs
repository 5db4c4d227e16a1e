//! Whether another pod of the cluster uses another database. Both would take requests from one queue, so that one key, one
//! budget or one run would exist twice; therefore a pod serves over NATS only while it knows of no such pod.
//!
//! Each pod announces itself every second, and replies to a challenge. An announcement alone refuses nothing, because
//! anybody who has received one could send it again: it causes a challenge, and only a signed reply to that counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use futures::StreamExt as _;
use greenroom_actors::supervision::ChildKind;
use greenroom_protocol::{Cause, ErrorCode, IdGenerator, PodId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::keys::ClusterKey;
use super::signed::{read, sign};
use crate::ingress::nats::connection::NatsConnection;
use crate::readiness::Readiness;
use crate::services::Service;
use crate::telemetry::Metrics;

/// What the pod is not ready without.
const SUBJECT: &str = "store";
/// The subjects: announcements, and challenges.
const PODS: &str = "pods";
const HELLO: &str = "hello";
/// How often the state is checked.
const STEP: Duration = Duration::from_millis(250);
/// Steps between two announcements.
const ANNOUNCE_STEPS: u32 = 4;
/// How long a pod that starts waits for the replies to its challenge.
const REPLY_WAIT: Duration = Duration::from_millis(500);
/// How long a pod counts after its last reply.
const POD_TIMEOUT: Duration = Duration::from_secs(5);
/// Pods with other databases that are remembered.
const FOREIGN_MAX: usize = 256;

/// What is needed to watch the databases of the other pods.
pub(crate) struct StoreWatch {
    pub(crate) connection: NatsConnection,
    pub(crate) key: ClusterKey,
    /// The name of the cluster.
    pub(crate) cluster: String,
    /// The id of the database.
    pub(crate) store: String,
    /// This start of the pod.
    pub(crate) pod: PodId,
    pub(crate) ids: Arc<dyn IdGenerator>,
    /// Why this pod must not serve; `None` if it may.
    pub(crate) refusal: watch::Sender<Option<Cause>>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Arc<Metrics>,
}

/// What a pod says of itself, and the nonce of the challenge that it replies to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodNotice {
    cluster: String,
    store: String,
    pod: PodId,
    /// It takes requests, or did until it drained.
    is_serving: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
}

/// A challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    nonce: String,
}

/// What has been found out since the start.
struct Found {
    /// The nonce of the newest challenge, and when it was sent.
    challenge: Option<(String, Instant)>,
    /// Another database was announced, so a challenge is due.
    is_challenge_due: bool,
    /// Pods with other databases, each with its last reply.
    foreign: BTreeMap<PodId, (PodNotice, Instant)>,
}

/// Why a pod does not serve before it has looked for others.
pub(crate) fn not_looked_yet() -> Cause {
    Cause::new(ErrorCode::StoreUnavailable, "the pod has not looked for others of its cluster over NATS yet")
}

/// The service that announces this pod and watches the others.
pub(crate) fn service(watch: StoreWatch) -> Service {
    let watch = Arc::new(watch);
    Service::droppable("pod announcements", ChildKind::Periodic, move || {
        let watch = Arc::clone(&watch);
        async move { watch.run().await }
    })
}

impl StoreWatch {
    async fn run(&self) -> Result<(), String> {
        let inbox = self.connection.new_inbox();
        let pods = self.connection.subscribe(self.subject(PODS), None).await;
        let hellos = self.connection.subscribe(self.subject(HELLO), None).await;
        let replies = self.connection.subscribe(inbox.clone(), None).await;
        let (mut pods, mut hellos) = (pods.map_err(|cause| cause.message)?, hellos.map_err(|cause| cause.message)?);
        let mut replies = replies.map_err(|cause| cause.message)?;
        let mut found = Found { challenge: None, is_challenge_due: true, foreign: BTreeMap::new() };
        let (mut steps, mut step) = (tokio::time::interval(STEP), 0_u32);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_open = tokio::select! {
                _ = steps.tick() => {
                    self.on_step(&mut found, step, &inbox);
                    step = step.wrapping_add(1);
                    true
                }
                received = pods.next() => received.is_some_and(|message| {
                    let notice: Option<PodNotice> = read(&self.key, &self.metrics, &message);
                    found.is_challenge_due |= notice.is_some_and(|notice| self.is_foreign(&notice));
                    true
                }),
                received = hellos.next() => received.is_some_and(|message| {
                    self.on_hello(&message);
                    true
                }),
                received = replies.next() => received.is_some_and(|message| {
                    self.on_reply(&mut found, &message);
                    true
                }),
            };
            if !is_open {
                return Err("the connection to NATS is closed".to_owned());
            }
        }
    }

    fn subject(&self, name: &str) -> String {
        self.connection.subjects().internal(name)
    }

    fn notice(&self, nonce: Option<String>) -> PodNotice {
        let is_serving = self.refusal.borrow().is_none();
        let (cluster, store, pod) = (self.cluster.clone(), self.store.clone(), self.pod.clone());
        PodNotice { cluster, store, pod, is_serving, nonce }
    }

    fn is_foreign(&self, notice: &PodNotice) -> bool {
        notice.cluster == self.cluster && notice.store != self.store
    }

    /// Announces this pod, sends a challenge if one is due, and decides whether the pod may serve.
    fn on_step(&self, found: &mut Found, step: u32, inbox: &str) {
        if !self.connection.is_connected() {
            // What this pod knows of the others is out of date once it is connected again.
            found.is_challenge_due = true;
            return;
        }
        if step.is_multiple_of(ANNOUNCE_STEPS) {
            let subject = self.subject(PODS);
            if let Some((headers, body)) = sign(&self.key, &subject, &self.notice(None)) {
                self.connection.try_publish(subject.into(), headers, body);
            }
            found.is_challenge_due |= !found.foreign.is_empty();
        }
        if std::mem::take(&mut found.is_challenge_due) {
            self.challenge(found, inbox);
        }
        let is_decided = found.challenge.as_ref().is_some_and(|(_, sent_at)| sent_at.elapsed() >= REPLY_WAIT);
        if is_decided || !found.foreign.is_empty() {
            self.decide(found);
        }
    }

    fn challenge(&self, found: &mut Found, inbox: &str) {
        let (nonce, subject) = (format!("{:032x}", self.ids.next_id()), self.subject(HELLO));
        if let Some((headers, body)) = sign(&self.key, &subject, &Challenge { nonce: nonce.clone() }) {
            self.connection.try_request(subject.into(), inbox.to_owned(), headers, body);
            // A decision that was due is not put off by further challenges.
            let sent_at = found.challenge.take().map_or_else(Instant::now, |(_, sent_at)| sent_at);
            found.challenge = Some((nonce, sent_at));
        }
    }

    /// Replies to the challenge of a pod.
    fn on_hello(&self, message: &Message) {
        let challenge: Option<Challenge> = read(&self.key, &self.metrics, message);
        let Some((Challenge { nonce }, inbox)) = challenge.zip(message.reply.clone()) else { return };
        if let Some((headers, body)) = sign(&self.key, inbox.as_str(), &self.notice(Some(nonce))) {
            self.connection.try_publish(inbox, headers, body);
        }
    }

    fn on_reply(&self, found: &mut Found, message: &Message) {
        let notice: Option<PodNotice> = read(&self.key, &self.metrics, message);
        let Some(notice) = notice.filter(|notice| self.is_foreign(notice) && found.is_challenged_by(notice)) else {
            return;
        };
        if found.foreign.len() < FOREIGN_MAX || found.foreign.contains_key(&notice.pod) {
            found.foreign.insert(notice.pod.clone(), (notice, Instant::now()));
        }
    }

    /// Decides whether the pod may serve.
    fn decide(&self, found: &mut Found) {
        found.foreign.retain(|_, (_, replied_at)| replied_at.elapsed() < POD_TIMEOUT);
        let own = self.notice(None);
        let other = found.foreign.values().map(|(notice, _)| notice).find(|other| yields_to(&own, other));
        let refusal = other.map(|other| {
            let message = format!(
                "the pod {} of the cluster {} uses another database than this one: give all pods of a cluster the same \
                 PostgreSQL database, or this one another nats.prefix and another cluster.secret",
                other.pod, self.cluster
            );
            Cause::new(ErrorCode::SharedStoreNeeded, message).with_details(serde_json::json!({ "pod": other.pod }))
        });
        let code = |refusal: Option<&Cause>| refusal.map(|cause| cause.code);
        if code(self.refusal.borrow().as_ref()) != code(refusal.as_ref()) {
            // Whoever waits for the decision finds the readiness that follows from it.
            self.report(refusal.clone());
            self.refusal.send_replace(refusal);
        }
    }

    fn report(&self, refusal: Option<Cause>) {
        match refusal {
            Some(cause) => {
                tracing::error!(
                    error.code = %cause.code, error.message = cause.message, "requests over NATS are refused"
                );
                self.readiness.on_loss(SUBJECT, cause);
            }
            None => self.readiness.on_success(SUBJECT),
        }
        let _ = self.readiness.report(self.metrics.generations(), Instant::now());
    }
}

impl Found {
    /// True if the notice replies to the newest challenge.
    fn is_challenged_by(&self, notice: &PodNotice) -> bool {
        let nonce = self.challenge.as_ref().map(|(nonce, _)| nonce);
        nonce.is_some() && notice.nonce.as_ref() == nonce
    }
}

/// True if this pod must not serve because of the other one: a pod that serves already keeps its requests, and of two that
/// start at once, one does.
fn yields_to(own: &PodNotice, other: &PodNotice) -> bool {
    match (own.is_serving, other.is_serving) {
        (false, true) => true,
        (true, false) => false,
        (true, true) | (false, false) => other.pod < own.pod,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(pod: &str, is_serving: bool) -> PodNotice {
        let (cluster, store) = ("c".to_owned(), "s".to_owned());
        PodNotice { cluster, store, pod: PodId::new(pod).unwrap(), is_serving, nonce: None }
    }

    #[test]
    fn of_two_pods_exactly_one_yields() {
        for own_serving in [false, true] {
            for other_serving in [false, true] {
                let (own, other) = (notice("a", own_serving), notice("b", other_serving));
                assert_ne!(yields_to(&own, &other), yields_to(&other, &own), "{own_serving} {other_serving}");
            }
        }
        assert!(yields_to(&notice("a", false), &notice("b", true)), "a pod that serves keeps its requests");
    }

    #[test]
    fn only_a_reply_to_the_newest_challenge_counts() {
        let challenge = Some(("n2".to_owned(), Instant::now()));
        let found = Found { challenge, is_challenge_due: false, foreign: BTreeMap::new() };
        let with = |nonce: Option<&str>| PodNotice { nonce: nonce.map(str::to_owned), ..notice("b", true) };
        assert!(found.is_challenged_by(&with(Some("n2"))));
        assert!(!found.is_challenged_by(&with(Some("n1"))));
        assert!(!found.is_challenged_by(&with(None)));
        let none = Found { challenge: None, ..found };
        assert!(!none.is_challenged_by(&with(None)));
    }
}
