//! Copies the root chain of the audit to a stream of JetStream from which no message can be deleted. Who can change the
//! database can rewrite the root chain; then it differs from its copy, which is in the log and in a metric, as is a copy
//! that cannot be continued. Each pod copies what is missing: the number of a record is the number of its message, so the
//! server takes each of them once. The copy has the records that are pruned in the database; one that begins later begins with
//! the first record that there is, an anchor.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::NATS_EXPECTED_LAST_SEQUENCE;
use async_nats::jetstream::context::{Context, PublishErrorKind};
use async_nats::jetstream::stream::{Config, StorageType, Stream};
use greenroom_actors::supervision::ChildKind;
use greenroom_registry::audit::{AuditLog, RootRecord};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::keys::ClusterKey;
use super::signed::{read_parts, sign};
use crate::ingress::nats::connection::NatsConnection;
use crate::services::Service;
use crate::telemetry::Metrics;

/// How often the root chain is copied: each pod appends to it as often.
const COPY_INTERVAL: Duration = Duration::from_secs(10);
/// Longest wait for one reply of the server.
const SERVER_WAIT_MAX: Duration = Duration::from_secs(5);
/// What follows `internal.` in the subject.
const SUBJECT: &str = "audit.root";

/// Copies the root chain.
pub(crate) struct RootCopy {
    pub(crate) connection: NatsConnection,
    pub(crate) key: ClusterKey,
    /// What the name of the stream begins with.
    pub(crate) prefix: String,
    pub(crate) replicas: usize,
    pub(crate) audit: Arc<dyn AuditLog>,
    pub(crate) metrics: Arc<Metrics>,
}

/// A record as it is copied.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CopiedRecord {
    number: u64,
    /// In hexadecimal digits.
    hash: String,
    record: String,
}

impl From<RootRecord> for CopiedRecord {
    fn from(RootRecord { number, hash, record }: RootRecord) -> Self {
        Self { number, hash: hash.to_string(), record }
    }
}

/// Why the copy is not continued.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    /// The server does not reply, or refuses.
    #[error("{0}")]
    Server(String),
    /// The root chain cannot be read.
    #[error("{0}")]
    Store(#[from] greenroom_registry::audit::AuditError),
    /// The database has another record than the copy, or none.
    #[error(
        "record {0} of the root chain is not the one that was copied: the database was rewritten, or is an older copy"
    )]
    Differs(u64),
    /// The database has later records than the copy, and not the one that was copied last.
    #[error(
        "record {copied} of the root chain was copied last, and the database begins with record {first}: it was pruned while \
         nothing could be copied, or was rewritten. To begin a new copy, remove the stream"
    )]
    Pruned { copied: u64, first: u64 },
}

impl RootCopy {
    /// The service that copies the root chain.
    pub(crate) fn service(self) -> Service {
        let copy = Arc::new(self);
        Service::droppable("copy of the root chain", ChildKind::Periodic, move || {
            let copy = Arc::clone(&copy);
            async move { copy.run().await }
        })
    }

    async fn run(&self) -> Result<(), String> {
        let context = async_nats::jetstream::new(self.connection.client());
        loop {
            let copied = self.copy(&context).await;
            let has_failed = matches!(copied, Err(CopyError::Server(_) | CopyError::Store(_)));
            self.metrics.nats().set_root_copy_failed(has_failed);
            match copied {
                Ok(()) => self.metrics.nats().set_root_differs(false),
                Err(error @ (CopyError::Differs(_) | CopyError::Pruned { .. })) => {
                    self.metrics.nats().set_root_differs(true);
                    tracing::error!(error.message = %error, "the audit differs from its copy");
                }
                Err(error @ (CopyError::Server(_) | CopyError::Store(_))) => {
                    tracing::warn!(error.message = %error, "the root chain of the audit is copied later");
                }
            }
            tokio::time::sleep(COPY_INTERVAL).await;
        }
    }

    /// Compares the last copied record, and copies what follows. Each record has the hash of the one before it, so a
    /// record that is the same has the same records before it.
    async fn copy(&self, context: &Context) -> Result<(), CopyError> {
        let stream = self.stream(context).await?;
        let state = in_time(stream.get_info()).await?.state;
        let mut copied = state.last_sequence;
        if state.messages > 0 {
            let last = self.audit.read_root(copied.saturating_sub(1)).await?.into_iter().next();
            if let Some(later) = last.as_ref().filter(|last| last.number > copied) {
                return Err(CopyError::Pruned { copied, first: later.number });
            }
            if last.map(CopiedRecord::from) != Some(self.read_copy(&stream, copied).await?) {
                return Err(CopyError::Differs(copied));
            }
        }
        loop {
            let records = self.audit.read_root(copied).await?;
            if records.is_empty() {
                return Ok(());
            }
            for record in records {
                let number = record.number;
                if number != copied.saturating_add(1) {
                    return Err(CopyError::Differs(copied));
                }
                if !self.publish(context, record.into(), copied).await? {
                    return Ok(());
                }
                copied = number;
            }
        }
    }

    /// The stream. A new one begins with the number of the first record.
    async fn stream(&self, context: &Context) -> Result<Stream, CopyError> {
        if let Ok(Ok(stream)) = timeout(SERVER_WAIT_MAX, context.get_stream(self.stream_name())).await {
            return Ok(stream);
        }
        let first = self.audit.read_root(0).await?.first().map_or(1, |record| record.number);
        in_time(context.get_or_create_stream(self.config(first))).await
    }

    fn stream_name(&self) -> String {
        format!("{}_audit_root", self.prefix.replace('.', "_"))
    }

    fn config(&self, first: u64) -> Config {
        Config {
            name: self.stream_name(),
            first_sequence: (first > 1).then_some(first),
            subjects: vec![self.subject()],
            storage: StorageType::File,
            num_replicas: self.replicas,
            deny_delete: true,
            deny_purge: true,
            allow_direct: true,
            ..Config::default()
        }
    }

    fn subject(&self) -> String {
        self.connection.subjects().internal(SUBJECT)
    }

    /// The copied record with this number. One without the signature of the cluster is none.
    async fn read_copy(&self, stream: &Stream, number: u64) -> Result<CopiedRecord, CopyError> {
        let message = in_time(stream.direct_get(number)).await?;
        let read = read_parts(&self.key, &self.metrics, &message.subject, Some(&message.headers), &message.payload);
        read.ok_or(CopyError::Differs(number))
    }

    /// Publishes the record that follows the last copied one. False if another pod has done so: it copies the rest.
    async fn publish(&self, context: &Context, record: CopiedRecord, copied: u64) -> Result<bool, CopyError> {
        let subject = self.subject();
        let unwritable = || CopyError::Server("a record cannot be written as JSON".to_owned());
        let (mut headers, body) = sign(&self.key, &subject, &record).ok_or_else(unwritable)?;
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, copied.to_string());
        let acknowledged = in_time(context.publish_with_headers(subject, headers, body)).await?;
        match timeout(SERVER_WAIT_MAX, acknowledged.into_future()).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(false),
            Ok(Err(error)) => Err(CopyError::Server(error.to_string())),
            Err(_elapsed) => Err(timed_out()),
        }
    }
}

/// Waits for a reply of the server.
async fn in_time<T, E: std::fmt::Display>(reply: impl Future<Output = Result<T, E>>) -> Result<T, CopyError> {
    match timeout(SERVER_WAIT_MAX, reply).await {
        Ok(replied) => replied.map_err(|error| CopyError::Server(error.to_string())),
        Err(_elapsed) => Err(timed_out()),
    }
}

fn timed_out() -> CopyError {
    CopyError::Server("JetStream does not reply in time".to_owned())
}
