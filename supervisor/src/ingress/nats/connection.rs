//! The connection of a pod to NATS: how it is opened, what happens to it, and how messages are sent over it. It knows
//! neither requests nor replies. No secret is in a log line: errors of the library name servers, and no credentials.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::{Client, Event, HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use futures::{FutureExt as _, Stream, StreamExt as _};
use greenroom_protocol::{Cause, ErrorCode, PodId, Subjects};
use tokio::sync::watch;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use self::options::{options, secured, servers};
use crate::config::{NatsAuth, NatsConfig};
use crate::readiness::Readiness;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::DroppedMessage;

mod options;

/// What the pod is not ready without.
const SUBJECT: &str = "nats";
/// Longest wait for the connection to take a message: it takes none while the server is lost.
const PUBLISH_WAIT_MAX: Duration = Duration::from_secs(10);
/// More messages than a subscription ever has, for [`NatsSubscription::drain`].
const MESSAGES_NEVER_REACHED: u64 = 1_000_000_000_000_000;

/// A connection to NATS, which is made again whenever it is lost. Cheap to clone.
#[derive(Clone)]
pub(crate) struct NatsConnection {
    client: Client,
    subjects: Arc<Subjects>,
    metrics: Arc<Metrics>,
    connected: watch::Receiver<bool>,
}

/// A subscription that can be drained without the loss of a message.
pub(crate) struct NatsSubscription(Subscriber);

/// What happens to the connection.
struct ConnectionEvents {
    connected: watch::Sender<bool>,
    was_connected: AtomicBool,
    /// That it cannot be made is in the log.
    is_failure_logged: AtomicBool,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
}

impl NatsConnection {
    /// Begins to connect. A server that cannot be reached, or that rejects the pod, is no error: it is tried until it can
    /// be used, and the pod is not ready meanwhile.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if a file cannot be read, or the URL names no server.
    pub(crate) async fn open(
        config: &NatsConfig,
        pod: &PodId,
        readiness: Arc<Readiness>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Cause> {
        let subjects = Arc::new(Subjects::new(&config.prefix)?);
        let (sender, connected) = watch::channel(false);
        let events = ConnectionEvents {
            connected: sender,
            was_connected: AtomicBool::new(false),
            is_failure_logged: AtomicBool::new(false),
            readiness,
            metrics: Arc::clone(&metrics),
        };
        // It is reported if it lasts.
        events.readiness.on_loss(SUBJECT, lost("the pod has not connected to NATS yet"));
        let (servers, auth) = servers(config.url.reveal())?;
        let auth = if config.auth == NatsAuth::None { auth } else { config.auth.clone() };
        let options = secured(options(pod), &auth, &config.tls).await?.event_callback(move |event| {
            events.on_event(&event);
            std::future::ready(())
        });
        let client = options
            .connect(servers)
            .await
            .map_err(|error| Cause::new(ErrorCode::InvalidConfiguration, format!("nats.url: {error}")))?;
        Ok(Self { client, subjects, metrics, connected })
    }

    /// The client of the library, for what is no message of an ingress: the sessions between pods.
    #[must_use]
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// An inbox of this pod.
    #[must_use]
    pub(crate) fn new_inbox(&self) -> String {
        self.client.new_inbox()
    }

    /// The subjects of this cluster.
    #[must_use]
    pub(crate) fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// True while there is a connection.
    #[must_use]
    pub(crate) fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Bytes of the largest message, headers included, that the server accepts.
    #[must_use]
    pub(crate) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Subscribes, in a queue group if there is one.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] for a subject that is none.
    pub(crate) async fn subscribe(&self, subject: String, queue: Option<&str>) -> Result<NatsSubscription, Cause> {
        let subscribed = match queue {
            Some(queue) => self.client.queue_subscribe(subject, queue.to_owned()).await,
            None => self.client.subscribe(subject).await,
        };
        subscribed
            .map(NatsSubscription)
            .map_err(|error| Cause::new(ErrorCode::Internal, format!("cannot subscribe: {error}")))
    }

    /// Sends a message as soon as the connection takes it. It never waits for those who read it. False, and the message is
    /// counted as dropped, if the connection takes none for too long.
    pub(crate) async fn publish(&self, subject: Subject, headers: HeaderMap, body: Bytes) -> bool {
        let sending = self.send(subject, headers, body);
        let is_sent = tokio::time::timeout(PUBLISH_WAIT_MAX, sending).await.unwrap_or(false);
        if !is_sent {
            self.metrics.nats().count_dropped(DroppedMessage::Outgoing);
        }
        is_sent
    }

    /// As [`NatsConnection::try_publish`], with an inbox for the reply.
    pub(crate) fn try_request(&self, subject: Subject, inbox: String, headers: HeaderMap, body: Bytes) {
        let sending = self.client.publish_with_reply_and_headers(subject, inbox, headers, body);
        if !matches!(result_now(sending), Some(Ok(()))) {
            self.metrics.nats().count_dropped(DroppedMessage::Outgoing);
        }
    }

    /// As [`NatsConnection::publish`], for a caller that cannot wait at all.
    pub(crate) fn try_publish(&self, subject: Subject, headers: HeaderMap, body: Bytes) -> bool {
        let is_sent = result_now(self.send(subject, headers, body)) == Some(true);
        if !is_sent {
            self.metrics.nats().count_dropped(DroppedMessage::Outgoing);
        }
        is_sent
    }

    async fn send(&self, subject: Subject, headers: HeaderMap, body: Bytes) -> bool {
        let sent = if headers.is_empty() {
            self.client.publish(subject, body).await
        } else {
            self.client.publish_with_headers(subject, headers, body).await
        };
        if let Err(error) = &sent {
            tracing::warn!(error.message = %error, "a message cannot be sent over NATS");
        }
        sent.is_ok()
    }

    /// Writes what was published, at most for `timeout`.
    pub(crate) async fn flush(&self, timeout: Duration) {
        if !matches!(tokio::time::timeout(timeout, self.client.flush()).await, Ok(Ok(()))) {
            tracing::warn!("what was published over NATS is not written in time");
        }
    }

    /// Waits until the server has processed everything that was sent before, and until everything that it had sent to
    /// this pod by then has arrived; at most for `timeout`.
    pub(crate) async fn round_trip(&self, timeout: Duration) {
        let inbox = self.client.new_inbox();
        let returning = async {
            let mut marker = self.client.subscribe(inbox.clone()).await.ok()?;
            self.client.publish(inbox, Bytes::new()).await.ok()?;
            marker.next().await
        };
        if !matches!(tokio::time::timeout(timeout, returning).await, Ok(Some(_))) {
            tracing::warn!("NATS does not reply in time");
        }
    }
}

impl Stream for NatsSubscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        self.0.poll_next_unpin(context)
    }
}

impl NatsSubscription {
    /// Ends the subscription at the server, and keeps it here: what the server has sent before still arrives. The library
    /// has two other ways, and both drop what is on its way: it forgets the subscription when it writes the request, or
    /// after the next bytes that it reads. An end after a number of messages is kept on this side until that number is
    /// reached, which it never is. The server reads no number of more than nine digits, and ends the subscription at once;
    /// one that did read it would continue to send, and its messages would be refused as those of a pod that shuts down.
    pub(crate) async fn drain(&mut self) {
        if self.0.unsubscribe_after(MESSAGES_NEVER_REACHED).await.is_err() {
            tracing::debug!("the connection to NATS has ended before the subscription");
        }
    }
}

/// The result of a future that has one now; it is not polled again. A task that has done much since it began to run has no
/// budget of tokio left, and every channel of tokio seems to have nothing, and to take nothing, until the task has yielded.
/// What cannot wait would be dropped then, although the connection takes it.
pub(super) fn result_now<F: Future>(future: F) -> Option<F::Output> {
    unconstrained(future).now_or_never()
}

fn lost(message: &str) -> Cause {
    Cause::new(ErrorCode::StoreUnavailable, message)
}

impl ConnectionEvents {
    fn on_event(&self, event: &Event) {
        match event {
            Event::Connected => self.on_connected(),
            Event::Disconnected => {
                tracing::warn!("the connection to NATS is lost, and is made again");
                self.on_lost("the connection to NATS is lost");
            }
            // The pod has ended.
            Event::Draining | Event::Closed => {}
            Event::LameDuckMode => tracing::info!("the NATS server is shutting down"),
            Event::SlowConsumer(_) => self.metrics.nats().count_dropped(DroppedMessage::Incoming),
            Event::ServerError(error) => tracing::warn!(error.message = %error, "NATS reports an error"),
            Event::ClientError(error) => self.on_failed_attempt(error),
        }
    }

    /// A server cannot be reached, or refuses the pod: it is tried again.
    fn on_failed_attempt(&self, error: &async_nats::ClientError) {
        if !*self.connected.borrow() {
            self.readiness.on_loss(SUBJECT, lost(&format!("NATS cannot be used: {error}")));
        }
        // It is tried several times a second, and once more is no news.
        if !self.is_failure_logged.swap(true, Ordering::AcqRel) {
            tracing::warn!(error.message = %error, "NATS cannot be used, and is tried until it can");
        }
    }

    fn on_connected(&self) {
        if self.was_connected.swap(true, Ordering::AcqRel) {
            self.metrics.nats().count_reconnect();
        }
        self.is_failure_logged.store(false, Ordering::Release);
        tracing::info!("connected to NATS");
        self.metrics.nats().set_connected(true);
        self.readiness.on_success(SUBJECT);
        self.report();
        self.connected.send_replace(true);
    }

    fn on_lost(&self, message: &str) {
        self.metrics.nats().set_connected(false);
        self.readiness.on_loss(SUBJECT, lost(message));
        self.report();
        self.connected.send_replace(false);
    }

    fn report(&self) {
        // When the next report is due, the reloader reports it.
        let _ = self.readiness.report(self.metrics.generations(), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_has_sent_many_messages_without_a_pause_sends_the_next_one_too() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let (config, pod) = (NatsConfig::for_url("nats://127.0.0.1:1"), PodId::new("pod").unwrap());
        let opened = NatsConnection::open(&config, &pod, Arc::default(), Arc::clone(&metrics)).await;
        let connection = opened.unwrap();
        // Texts of more steps than a task may send before it has to yield.
        for number in 0..1_000 {
            assert!(connection.try_publish("texts".into(), HeaderMap::new(), Bytes::new()), "message {number}");
        }
        assert!(metrics.render().contains("nats_dropped{message=\"outgoing\"} 0"));
    }
}
