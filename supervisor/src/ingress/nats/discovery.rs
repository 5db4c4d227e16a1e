//! Discovery of the service by the protocol of NATS micro services: who is there (`PING`), what it takes (`INFO`), and how
//! much it did (`STATS`). The subscriptions of the library cannot be drained without loss, so its service is not used.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::Message;
use futures::stream::{SelectAll, select_all};
use greenroom_protocol::{Cause, ErrorCode, Timestamp};
use serde::Serialize;

use super::QUEUE_GROUP;
use super::connection::{NatsConnection, NatsSubscription};
use super::endpoints::Endpoint;
use super::reply::{ReplySubject, to_body};

/// The name of the service.
const NAME: &str = "greenroom";
const DESCRIPTION: &str = "Runs declarative AI agents, teams and workflows; every message is authorized and audited.";
/// What the subjects of discovery begin with.
const PREFIX: &str = "$SRV";
const VERBS: [&str; 3] = ["PING", "INFO", "STATS"];

/// What is known of the service, and what its endpoints have done.
pub(super) struct Discovery {
    /// The id of this instance.
    id: String,
    started_at: Timestamp,
    endpoints: Vec<(Endpoint, Counts)>,
}

/// What one endpoint has done.
#[derive(Default)]
struct Counts {
    under_way: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    nanos: AtomicU64,
    last_error: Mutex<String>,
}

/// What every document has.
#[derive(Serialize)]
struct Head<'d> {
    r#type: &'static str,
    name: &'static str,
    id: &'d str,
    version: &'static str,
    metadata: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Info<'d> {
    #[serde(flatten)]
    head: Head<'d>,
    description: &'static str,
    endpoints: Vec<EndpointInfo<'d>>,
}

#[derive(Serialize)]
struct EndpointInfo<'d> {
    name: &'static str,
    subject: &'d str,
    queue_group: &'static str,
    metadata: &'d BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Stats<'d> {
    #[serde(flatten)]
    head: Head<'d>,
    started: Timestamp,
    endpoints: Vec<EndpointStats<'d>>,
}

#[derive(Serialize)]
struct EndpointStats<'d> {
    name: &'static str,
    subject: &'d str,
    queue_group: &'static str,
    num_requests: u64,
    num_errors: u64,
    last_error: String,
    /// Nanoseconds.
    processing_time: u64,
    average_processing_time: u64,
    /// What a scaler reads.
    data: EndpointData,
}

#[derive(Serialize)]
struct EndpointData {
    /// Messages that are served at the moment.
    under_way: u64,
}

impl Discovery {
    /// The service with these endpoints. The number becomes the id of this instance.
    pub(super) fn new(number: u128, started_at: Timestamp, endpoints: Vec<Endpoint>) -> Self {
        let endpoints = endpoints.into_iter().map(|endpoint| (endpoint, Counts::default())).collect();
        Self { id: format!("{number:032x}"), started_at, endpoints }
    }

    /// The endpoints, in the order of their indexes.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().map(|(endpoint, _)| endpoint)
    }

    /// Counts a message of the endpoint with this index as one that is served, until [`Discovery::count`].
    pub(super) fn begin(&self, index: usize) {
        if let Some((_, counts)) = self.endpoints.get(index) {
            counts.under_way.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a message of the endpoint with this index, which is not served any more.
    pub(super) fn count(&self, index: usize, elapsed: Duration, error: Option<ErrorCode>) {
        let Some((_, counts)) = self.endpoints.get(index) else { return };
        counts.under_way.fetch_sub(1, Ordering::Relaxed);
        counts.requests.fetch_add(1, Ordering::Relaxed);
        counts.nanos.fetch_add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if let Some(code) = error {
            counts.errors.fetch_add(1, Ordering::Relaxed);
            let text = format!("{}:{code}", code.http_status());
            *counts.last_error.lock().unwrap_or_else(PoisonError::into_inner) = text;
        }
    }

    /// Subscribes to every subject of discovery.
    ///
    /// # Errors
    /// Those of the subscription.
    pub(super) async fn subscribe(&self, connection: &NatsConnection) -> Result<SelectAll<NatsSubscription>, Cause> {
        let mut subscriptions = Vec::new();
        for verb in VERBS {
            let of_all = format!("{PREFIX}.{verb}");
            let of_service = format!("{of_all}.{NAME}");
            let of_instance = format!("{of_service}.{}", self.id);
            for subject in [of_all, of_service, of_instance] {
                subscriptions.push(connection.subscribe(subject, None).await?);
            }
        }
        Ok(select_all(subscriptions))
    }

    /// Replies to a message of discovery.
    pub(super) fn respond(&self, connection: &NatsConnection, message: &Message) {
        let Some(reply_to) = ReplySubject::of(message) else { return };
        let document = match message.subject.as_str().split('.').nth(1) {
            Some("PING") => to_body(&self.head("io.nats.micro.v1.ping_response")),
            Some("INFO") => to_body(&self.info()),
            Some("STATS") => to_body(&self.stats()),
            Some(_) | None => return,
        };
        reply_to.try_send(connection, None, document);
    }

    const fn head(&self, kind: &'static str) -> Head<'_> {
        let version = env!("CARGO_PKG_VERSION");
        Head { r#type: kind, name: NAME, id: self.id.as_str(), version, metadata: BTreeMap::new() }
    }

    fn info(&self) -> Info<'_> {
        let endpoints = self.endpoints().map(|endpoint| EndpointInfo {
            name: endpoint.name,
            subject: &endpoint.subject,
            queue_group: QUEUE_GROUP,
            metadata: &endpoint.metadata,
        });
        let head = self.head("io.nats.micro.v1.info_response");
        Info { head, description: DESCRIPTION, endpoints: endpoints.collect() }
    }

    fn stats(&self) -> Stats<'_> {
        let endpoints = self.endpoints.iter().map(|(endpoint, counts)| {
            let (num_requests, processing_time) =
                (counts.requests.load(Ordering::Relaxed), counts.nanos.load(Ordering::Relaxed));
            EndpointStats {
                name: endpoint.name,
                subject: &endpoint.subject,
                queue_group: QUEUE_GROUP,
                num_requests,
                num_errors: counts.errors.load(Ordering::Relaxed),
                last_error: counts.last_error(),
                processing_time,
                average_processing_time: processing_time / num_requests.max(1),
                data: EndpointData { under_way: counts.under_way.load(Ordering::Relaxed) },
            }
        });
        let head = self.head("io.nats.micro.v1.stats_response");
        Stats { head, started: self.started_at, endpoints: endpoints.collect() }
    }
}

impl Counts {
    fn last_error(&self) -> String {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::Subjects;
    use serde_json::Value;

    use super::super::endpoints::endpoints;
    use super::*;

    fn discovery() -> Discovery {
        Discovery::new(7, Timestamp::from_micros(5), endpoints(&Subjects::new("p").unwrap()))
    }

    fn document(document: &impl Serialize) -> Value {
        serde_json::from_slice(&to_body(document)).unwrap()
    }

    #[test]
    fn the_documents_have_the_members_of_the_protocol() {
        let discovery = discovery();
        let ping = document(&discovery.head("io.nats.micro.v1.ping_response"));
        assert_eq!(
            (ping["type"].as_str(), ping["name"].as_str()),
            (Some("io.nats.micro.v1.ping_response"), Some(NAME))
        );
        assert_eq!(ping["id"], "00000000000000000000000000000007");
        let info = document(&discovery.info());
        let of_agents =
            info["endpoints"].as_array().unwrap().iter().find(|one| one["name"] == "agents_execute").unwrap();
        assert_eq!(of_agents["subject"], "p.v1.agents.*.execute");
        assert_eq!(of_agents["queue_group"], QUEUE_GROUP);
        assert!(of_agents["metadata"]["request_schema"].as_str().unwrap().contains("inputs"));
        assert!(to_body(&discovery.info()).len() < 512 * 1024, "it fits into a message");
    }

    #[test]
    fn the_messages_of_an_endpoint_are_counted_with_their_time_and_their_last_error() {
        let discovery = discovery();
        (0..3).for_each(|_| discovery.begin(0));
        discovery.begin(1_000);
        discovery.count(0, Duration::from_nanos(10), None);
        discovery.count(0, Duration::from_nanos(30), Some(ErrorCode::UnknownAgent));
        discovery.count(1_000, Duration::from_nanos(1), None);
        let stats = document(&discovery.stats());
        let first = &stats["endpoints"][0];
        assert_eq!((first["num_requests"].as_u64(), first["num_errors"].as_u64()), (Some(2), Some(1)));
        assert_eq!(
            (first["processing_time"].as_u64(), first["average_processing_time"].as_u64()),
            (Some(40), Some(20))
        );
        assert_eq!(first["last_error"], "404:unknown_agent");
        assert_eq!(first["data"]["under_way"], 1);
        assert_eq!(stats["endpoints"][1]["num_requests"], 0);
    }
}
