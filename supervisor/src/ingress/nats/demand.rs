//! What waits on NATS, for a scaler. Requests have no queue there: pods report the ones that they serve, and a request that is
//! sent while there is no pod has no receiver. Then this receives it, counts it, and refuses it with a delay after which its
//! caller sends it again, until a pod is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::pending;
use futures::stream::{SelectAll, select_all};
use greenroom_protocol::{
    Cause, ErrorCode, IdGenerator, Metadata, PodId, Reply, RequestId, Status, Values, WrittenVersion, header,
};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use super::QUEUE_GROUP;
use super::connection::{NatsConnection, NatsSubscription};
use super::endpoints::{EndpointKind, WATCH, endpoints};
use super::frames::refusal;
use super::message::{value, wants_frames};
use super::reply::{ReplySubject, to_body};
use crate::clock::TimeOrdered;
use crate::config::NatsConfig;
use crate::telemetry::Metrics;

/// The subject to which each pod replies with what its endpoints do.
const STATS: &str = "$SRV.STATS.greenroom";
/// The time between two looks for pods.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Silence after which every pod has replied, and the longest look.
const SILENCE: Duration = Duration::from_millis(400);
const LOOK_MAX: Duration = Duration::from_secs(3);
/// Looks without a pod, one after the other, after which there is none.
const EMPTY_LOOKS: u32 = 2;
/// When a caller may send its request again. A request that was not sent again for longer does not wait any more.
const RETRY_AFTER: Duration = Duration::from_secs(2);
const WAITING_AGE_MAX: Duration = Duration::from_secs(10);
/// Requests that are counted; more need as many workers as these.
const WAITING_MAX: usize = 65_536;
/// A result of a look that is older is not known any more.
const LOOK_AGE_MAX: Duration = Duration::from_secs(10);
/// Longest wait of a start for the first look.
const START_WAIT_MAX: Duration = Duration::from_secs(5);

/// The requests over NATS at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct NatsWork {
    /// Requests that no pod has received.
    pub(crate) waiting: u64,
    /// Requests that pods serve, without watches.
    pub(crate) under_way: u64,
}

/// Observes the requests over NATS, until it is dropped.
pub(crate) struct NatsDemand {
    observed: watch::Receiver<Option<(Instant, NatsWork)>>,
    /// Ends the observer.
    _tasks: JoinSet<()>,
}

/// Looks for pods, and receives in their place.
struct Observer {
    connection: NatsConnection,
    observed: watch::Sender<Option<(Instant, NatsWork)>>,
    /// When each request without a pod was sent last, by its name.
    waiting: BTreeMap<String, Instant>,
    empty_looks: u32,
}

/// What the pods have replied.
#[derive(Debug, Default, PartialEq, Eq)]
struct PodReplies {
    pods: u64,
    under_way: u64,
}

/// What is read of the reply of a pod.
#[derive(Deserialize)]
struct PodStats {
    endpoints: Vec<EndpointStats>,
}

#[derive(Deserialize)]
struct EndpointStats {
    name: String,
    subject: String,
    #[serde(default)]
    data: EndpointData,
}

#[derive(Default, Deserialize)]
struct EndpointData {
    #[serde(default)]
    under_way: u64,
}

impl NatsDemand {
    /// Connects, and begins to observe. A server that cannot be reached is no error: the demand is not known then.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if a file cannot be read, or the URL names no server.
    pub(crate) async fn open(config: &NatsConfig, pod: &PodId) -> Result<Self, Cause> {
        let metrics = Metrics::new().map_err(|message| Cause::new(ErrorCode::Internal, message))?;
        let connection = NatsConnection::open(config, pod, Arc::default(), Arc::new(metrics)).await?;
        let (sender, mut observed) = watch::channel(None);
        let observer = Observer { connection, observed: sender, waiting: BTreeMap::new(), empty_looks: 0 };
        let mut tasks = JoinSet::new();
        tasks.spawn(observer.run());
        // Without it, the first round of the scaler would fail.
        let _ = timeout(START_WAIT_MAX, observed.wait_for(Option::is_some)).await;
        Ok(Self { observed, _tasks: tasks })
    }

    /// The requests at this moment.
    ///
    /// # Errors
    /// [`ErrorCode::StoreUnavailable`] if they are not known.
    pub(crate) fn work(&self) -> Result<NatsWork, Cause> {
        let observed = *self.observed.borrow();
        let current = observed.filter(|(at, _)| at.elapsed() <= LOOK_AGE_MAX);
        current.map(|(_, work)| work).ok_or_else(|| {
            Cause::new(ErrorCode::StoreUnavailable, "there is no connection to NATS, so what waits there is not known")
        })
    }
}

impl Observer {
    async fn run(mut self) {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut messages = None;
        loop {
            tokio::select! {
                _ = looks.tick() => if let Some(look) = self.look().await {
                    self.empty_looks = if look.pods == 0 { self.empty_looks.saturating_add(1) } else { 0 };
                    if look.pods > 0 {
                        messages = None;
                        self.waiting.clear();
                    } else if self.empty_looks >= EMPTY_LOOKS && messages.is_none() {
                        messages = self.subscribe().await;
                    }
                    self.report(&look);
                },
                message = next(&mut messages) => match message {
                    Some(message) => self.refuse(&message),
                    None => messages = None,
                },
            }
        }
    }

    /// Requests of every pod what it does. `None` without a connection.
    async fn look(&self) -> Option<PodReplies> {
        if !self.connection.is_connected() {
            return None;
        }
        let inbox = self.connection.new_inbox();
        let mut replies = self.connection.subscribe(inbox.clone(), None).await.ok()?;
        self.connection.try_request(STATS.into(), inbox, HeaderMap::new(), Bytes::new());
        let (mut look, end) = (PodReplies::default(), Instant::now() + LOOK_MAX);
        while let Ok(Some(message)) = timeout_at(end.min(Instant::now() + SILENCE), replies.next()).await {
            // The message of the server that there is no pod has no body.
            if message.payload.is_empty() {
                break;
            }
            look.add(&message.payload, self.connection.subjects().prefix());
        }
        Some(look)
    }

    /// Receives what the pods would, except for watches: a watch needs no pod more than its run does.
    async fn subscribe(&self) -> Option<SelectAll<NatsSubscription>> {
        tracing::info!("there is no pod on NATS: requests are refused until one is there");
        let mut subscriptions = Vec::new();
        for endpoint in endpoints(self.connection.subjects()) {
            if endpoint.kind != EndpointKind::Watch {
                subscriptions.push(self.connection.subscribe(endpoint.subject, Some(QUEUE_GROUP)).await.ok()?);
            }
        }
        Some(select_all(subscriptions))
    }

    /// Counts a request, and refuses it.
    fn refuse(&mut self, message: &Message) {
        let Some(reply_to) = ReplySubject::of(message) else { return };
        // A caller that gives no name is counted by its inbox.
        let name = value(message, header::REQUEST_ID).or(message.reply.as_deref()).unwrap_or_default();
        if self.waiting.len() < WAITING_MAX || self.waiting.contains_key(name) {
            self.waiting.insert(name.to_owned(), Instant::now());
        }
        let cause = Cause::new(ErrorCode::Overloaded, "no pod receives requests yet").with_retry_after(RETRY_AFTER);
        let is_framed = wants_frames(message);
        let body = if is_framed { refusal(&cause) } else { to_body(&refused(cause.clone())) };
        if reply_to.try_send(&self.connection, Some(&cause), body) && is_framed {
            reply_to.try_end(&self.connection);
        }
    }

    fn report(&mut self, look: &PodReplies) {
        let now = Instant::now();
        self.waiting.retain(|_, sent_at| now.saturating_duration_since(*sent_at) <= WAITING_AGE_MAX);
        let waiting = u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        self.observed.send_replace(Some((now, NatsWork { waiting, under_way: look.under_way })));
    }
}

impl PodReplies {
    /// Adds the reply of a pod, if it is one with this prefix.
    fn add(&mut self, reply: &[u8], prefix: &str) {
        let Ok(PodStats { endpoints }) = serde_json::from_slice(reply) else { return };
        let is_own = |endpoint: &EndpointStats| {
            endpoint.subject.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(".v1."))
        };
        if !endpoints.iter().any(is_own) {
            return;
        }
        self.pods = self.pods.saturating_add(1);
        let work = endpoints.iter().filter(|endpoint| endpoint.name != WATCH).map(|endpoint| endpoint.data.under_way);
        self.under_way = self.under_way.saturating_add(work.sum());
    }
}

/// The next message; never, without subscriptions.
async fn next(messages: &mut Option<SelectAll<NatsSubscription>>) -> Option<Message> {
    match messages {
        Some(messages) => messages.next().await,
        None => pending().await,
    }
}

/// The reply to a request that is refused.
fn refused(cause: Cause) -> Reply {
    Reply {
        id: RequestId::from_u128(TimeOrdered.next_id()).to_string(),
        status: Status::from_cause(&cause),
        outputs: Values::new(),
        error: Some(cause),
        metadata: Metadata::default(),
        protocol_version: WrittenVersion::OWN,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::PodReplies;

    #[test]
    fn the_work_of_pods_with_another_prefix_and_watches_do_not_count() {
        let stats = |prefix: &str, under_way: u64| {
            let endpoint = |name: &str, under_way: u64| json!({ "name": name, "subject": format!("{prefix}.v1.x"), "data": { "under_way": under_way } });
            json!({ "endpoints": [endpoint("agents_execute", under_way), endpoint("runs_events", 50)] }).to_string()
        };
        let mut look = PodReplies::default();
        look.add(stats("p", 3).as_bytes(), "p");
        look.add(stats("p", 4).as_bytes(), "p");
        look.add(stats("q", 100).as_bytes(), "p");
        look.add(b"no stats", "p");
        assert_eq!(look, PodReplies { pods: 2, under_way: 7 });
        // A pod of a release that does not report it yet is one all the same.
        let older = json!({ "endpoints": [{ "name": "requests", "subject": "p.v1.requests" }] }).to_string();
        look.add(older.as_bytes(), "p");
        assert_eq!(look, PodReplies { pods: 3, under_way: 7 });
    }
}
