//! The texts of the last hour, in a stream of JetStream: what a watcher has missed that begins, or continues, while a model
//! writes. It is bounded, and nothing depends on it: without it, or while it is full or away, watchers get the texts from now
//! on, and the journal has everything that is recorded.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::Context;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType, Stream};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use greenroom_actors::supervision::ChildKind;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::services::Service;

/// How long a text is stored.
const AGE_MAX: Duration = Duration::from_secs(3_600);
/// Messages that are stored of one run.
const MESSAGES_OF_RUN_MAX: i64 = 4_096;
/// How often the stream is looked for: a server that was set up anew has lost it.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// How often it is looked for after a failure: the pod may not be connected yet.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Longest wait for the server.
const SERVER_WAIT_MAX: Duration = Duration::from_secs(2);

/// The stream of texts.
#[derive(Clone)]
pub(crate) struct TextHistory {
    context: Context,
    name: String,
    subjects: String,
    bytes_max: i64,
    stream: Arc<watch::Sender<Option<Stream>>>,
}

impl TextHistory {
    /// A stream of at most this many bytes, with what is published to these subjects. Its name begins with the prefix, which
    /// may contain dots, and a name may not.
    pub(crate) fn new(client: async_nats::Client, prefix: &str, subjects: String, bytes_max: u64) -> Self {
        Self {
            context: async_nats::jetstream::new(client),
            name: format!("{}_texts", prefix.replace('.', "_")),
            subjects,
            bytes_max: i64::try_from(bytes_max).unwrap_or(i64::MAX),
            stream: Arc::default(),
        }
    }

    /// The service that creates the stream.
    pub(crate) fn service(self) -> Service {
        Service::droppable("stream of texts", ChildKind::Periodic, move || {
            let history = self.clone();
            async move { history.run().await }
        })
    }

    async fn run(&self) -> Result<(), String> {
        let mut is_failure_logged = false;
        loop {
            let looked = timeout(SERVER_WAIT_MAX, self.context.get_or_create_stream(self.config())).await;
            let failure = match looked {
                Ok(Ok(stream)) => {
                    self.stream.send_replace(Some(stream));
                    None
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_elapsed) => Some("the server does not reply in time".to_owned()),
            };
            // It is tried again and again, and once more is no news.
            if let Some(reason) = &failure
                && !is_failure_logged
            {
                tracing::warn!(error.message = reason, "JetStream stores no texts; watchers get those from now on");
            }
            is_failure_logged = failure.is_some();
            tokio::time::sleep(if is_failure_logged { RETRY_INTERVAL } else { LOOK_INTERVAL }).await;
        }
    }

    fn config(&self) -> Config {
        Config {
            name: self.name.clone(),
            subjects: vec![self.subjects.clone()],
            max_age: AGE_MAX,
            max_bytes: self.bytes_max,
            max_messages_per_subject: MESSAGES_OF_RUN_MAX,
            discard: DiscardPolicy::Old,
            storage: StorageType::File,
            allow_direct: true,
            // Nothing waits for an acknowledgement.
            no_ack: true,
            ..Config::default()
        }
    }

    /// The stored messages to a subject, the oldest first; none if the server does not reply in time.
    pub(crate) fn read(&self, subject: String) -> BoxStream<'static, StreamMessage> {
        let Some(stream) = self.stream.borrow().clone() else { return stream::empty().boxed() };
        let messages = stream::unfold((stream, subject, 1_u64), |(stream, subject, from)| async move {
            let reading = stream.direct_get_next_for_subject(subject.clone(), Some(from));
            let message = timeout(SERVER_WAIT_MAX, reading).await.ok()?.ok()?;
            let next = message.sequence.saturating_add(1);
            Some((message, (stream, subject, next)))
        });
        messages.boxed()
    }
}
