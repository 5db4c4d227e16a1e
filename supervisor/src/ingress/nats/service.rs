//! Receives the messages of all endpoints, in one queue group with the other pods, and serves each as a task of its own. A
//! drain ends the subscriptions first, and then waits for the requests that have arrived, so that none of them is lost.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::Message;
use futures::stream::{SelectAll, select_all};
use futures::{FutureExt as _, Stream, StreamExt as _};
use greenroom_protocol::{Cause, ErrorCode, SubjectRequest};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::{NatsSubscription, result_now};
use super::discovery::Discovery;
use super::endpoints::{EndpointKind, endpoints};
use super::message::{Incoming, read, wants_frames};
use super::reply::ReplySubject;
use super::request::{refuse, refuse_now};
use super::starting::{Starting, StartingMessages};
use super::upload::Upload;
use super::{NatsIngress, QUEUE_GROUP, overloaded, request, upload, watch_run};
use crate::telemetry::metrics::DroppedMessage;

/// Longest wait of a drain for what the server has sent before the subscriptions ended.
const DRAIN_STEP_MAX: Duration = Duration::from_secs(5);

/// Longest wait until the server confirms the subscriptions; without that they exist as soon as it is back.
const SUBSCRIBE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Why the pod must not serve: `None` if it may, and a cause until that is known.
pub(crate) type Refusal = watch::Receiver<Option<Cause>>;

/// The service of one pod.
pub(crate) struct NatsService {
    ingress: Arc<NatsIngress>,
    discovery: Arc<Discovery>,
    refusal: Refusal,
    starting: StartingMessages,
    /// True while the server knows the subscriptions.
    serving: watch::Sender<bool>,
    /// Set once the subscriptions have ended and every message is admitted.
    drained: watch::Sender<bool>,
}

/// The subscription of one endpoint; its messages carry the index of the endpoint.
struct EndpointMessages {
    index: usize,
    subscription: NatsSubscription,
}

impl Stream for EndpointMessages {
    type Item = (usize, Message);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<(usize, Message)>> {
        let index = self.index;
        self.subscription.poll_next_unpin(context).map(|message| message.map(|message| (index, message)))
    }
}

/// Why the subscriptions have ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Drained,
    Refused,
}

impl NatsService {
    /// A service over this ingress, which serves once nothing refuses it.
    pub(crate) fn new(ingress: Arc<NatsIngress>, refusal: Refusal) -> Self {
        let endpoints = endpoints(ingress.connection.subjects());
        let discovery = Arc::new(Discovery::new(ingress.ids().next_id(), ingress.clock().now(), endpoints));
        let (serving, drained) = (watch::Sender::new(false), watch::Sender::new(false));
        Self { ingress, discovery, refusal, starting: StartingMessages::default(), serving, drained }
    }

    /// Notifies once the service receives messages.
    pub(crate) fn watch_serving(&self) -> watch::Receiver<bool> {
        self.serving.subscribe()
    }

    /// Notifies once the service is drained.
    pub(crate) fn watch_drained(&self) -> watch::Receiver<bool> {
        self.drained.subscribe()
    }

    /// Serves until the pod drains, and then until every task has ended. It pauses as long as it is refused.
    ///
    /// # Errors
    /// If the connection has ended for good; it is started again then.
    pub(crate) async fn serve(&self) -> Result<(), String> {
        let mut tasks = JoinSet::new();
        let (mut refusal, mut draining) = (self.refusal.clone(), self.ingress.draining.clone());
        loop {
            tokio::select! {
                // A sender that was dropped permits nothing.
                permitted = refusal.wait_for(Option::is_none) => if permitted.is_err() { return Ok(()) },
                _ = draining.wait_for(|is_draining| *is_draining) => break,
            }
            let ended = self.receive(&mut tasks).await;
            self.serving.send_replace(false);
            if ended? == Ended::Drained {
                break;
            }
        }
        self.drained.send_replace(true);
        while let Some(ended) = tasks.join_next().await {
            report_panic(ended);
        }
        Ok(())
    }

    /// Receives messages until the pod drains or is refused.
    async fn receive(&self, tasks: &mut JoinSet<()>) -> Result<Ended, String> {
        let connection = &self.ingress.connection;
        let mut subscriptions = Vec::new();
        for (index, endpoint) in self.discovery.endpoints().enumerate() {
            let subscribed = connection.subscribe(endpoint.subject.clone(), Some(QUEUE_GROUP)).await;
            let subscription = subscribed.map_err(|cause| cause.message)?;
            subscriptions.push(EndpointMessages { index, subscription });
        }
        let mut messages = select_all(subscriptions);
        let mut discovery = self.discovery.subscribe(connection).await.map_err(|cause| cause.message)?;
        let (mut refusal, mut draining) = (self.refusal.clone(), self.ingress.draining.clone());
        connection.round_trip(SUBSCRIBE_WAIT_MAX).await;
        self.serving.send_replace(true);
        tracing::info!(nats.prefix = connection.subjects().prefix(), "serving requests over NATS");
        loop {
            tokio::select! {
                received = messages.next() => match received {
                    Some((index, message)) => self.on_message(tasks, index, message),
                    None => return Err("the connection to NATS is closed".to_owned()),
                },
                Some(message) = discovery.next() => self.discovery.respond(connection, &message),
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => report_panic(ended),
                _ = refusal.wait_for(Option::is_some) => return Ok(Ended::Refused),
                _ = draining.wait_for(|is_draining| *is_draining) => break,
            }
        }
        drop(discovery);
        self.drain(&mut messages, tasks).await;
        Ok(Ended::Drained)
    }

    /// Ends the subscriptions at the server, and serves what it has sent before.
    async fn drain(&self, messages: &mut SelectAll<EndpointMessages>, tasks: &mut JoinSet<()>) {
        for endpoint in messages.iter_mut() {
            endpoint.subscription.drain().await;
        }
        if self.ingress.connection.is_connected() {
            let mut marker = Box::pin(self.ingress.connection.round_trip(DRAIN_STEP_MAX));
            loop {
                tokio::select! {
                    biased;
                    Some((index, message)) = messages.next() => self.on_message(tasks, index, message),
                    () = &mut marker => break,
                }
            }
        }
        // What has arrived before the marker is here already.
        while let Some(Some((index, message))) = result_now(messages.next()) {
            self.on_message(tasks, index, message);
        }
        self.starting.wait_none(DRAIN_STEP_MAX).await;
    }

    /// Begins to serve a message, or refuses it at once.
    fn on_message(&self, tasks: &mut JoinSet<()>, index: usize, message: Message) {
        let ingress = &self.ingress;
        let Some(reply_to) = ReplySubject::of(&message) else {
            ingress.metrics.nats().count_dropped(DroppedMessage::Unrepliable);
            tracing::info!(nats.subject = %message.subject, "a message without an inbox for its reply is dropped");
            return;
        };
        let kind = self.discovery.endpoints().nth(index).map_or(EndpointKind::Request, |endpoint| endpoint.kind);
        let (permits, bound) = match kind {
            EndpointKind::Request => (&ingress.requests, "requests"),
            EndpointKind::Watch => (&ingress.watches, "watches"),
            EndpointKind::Upload => (&ingress.uploads, "uploads"),
        };
        self.discovery.begin(index);
        let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
            let is_framed = kind == EndpointKind::Watch || wants_frames(&message);
            refuse_now(ingress, &reply_to, &overloaded(bound), is_framed);
            self.discovery.count(index, Duration::ZERO, Some(ErrorCode::Overloaded));
            return;
        };
        let (ingress, starting) = (Arc::clone(ingress), self.starting.begin());
        let served = Served { ingress: Arc::clone(&ingress), kind, reply_to: reply_to.clone(), starting, permit };
        let discovery = Arc::clone(&self.discovery);
        tasks.spawn(async move {
            let started_at = Instant::now();
            let code = match AssertUnwindSafe(served.serve(&message)).catch_unwind().await {
                Ok(code) => code,
                Err(_) => {
                    // The hook of the log has written where; the message of the panic may quote an input.
                    let cause = Cause::new(ErrorCode::Internal, "the pod failed to serve the message");
                    refuse(&ingress, &reply_to, cause, kind == EndpointKind::Watch || wants_frames(&message)).await
                }
            };
            discovery.count(index, started_at.elapsed(), code);
        });
    }
}

/// A message that is being served.
struct Served {
    ingress: Arc<NatsIngress>,
    kind: EndpointKind,
    reply_to: ReplySubject,
    starting: Starting,
    permit: OwnedSemaphorePermit,
}

impl Served {
    /// Serves the message, and returns the code of its error.
    async fn serve(self, message: &Message) -> Option<ErrorCode> {
        let Self { ingress, kind, reply_to, starting, permit } = self;
        let _counted = Counted::begin(&ingress, kind);
        let code = match read(message, ingress.connection.subjects()) {
            Ok(Incoming { request: SubjectRequest::Send(envelope), headers }) => {
                request::serve(&ingress, (*envelope, headers), &reply_to, starting).await
            }
            Ok(Incoming { request: SubjectRequest::Watch { run, after }, headers }) => {
                drop(starting);
                watch_run::serve(&ingress, (run, after), headers, &reply_to).await
            }
            Ok(Incoming { request: SubjectRequest::Upload { name, media_type }, headers }) => {
                upload::serve(&ingress, Upload { name, media_type }, headers, &reply_to, starting).await
            }
            Err(cause) => {
                let is_framed = kind == EndpointKind::Watch || wants_frames(message);
                refuse(&ingress, &reply_to, cause, is_framed).await
            }
        };
        drop(permit);
        code
    }
}

/// Counts a message in the metrics until it is dropped.
struct Counted<'i> {
    ingress: &'i NatsIngress,
    is_watch: bool,
}

impl<'i> Counted<'i> {
    fn begin(ingress: &'i NatsIngress, kind: EndpointKind) -> Self {
        let is_watch = kind == EndpointKind::Watch;
        let nats = ingress.metrics.nats();
        if is_watch {
            nats.begin_watch()
        } else {
            nats.begin_request()
        }
        Self { ingress, is_watch }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let nats = self.ingress.metrics.nats();
        if self.is_watch { nats.end_watch() } else { nats.end_request() }
    }
}

/// A panic ends its own message and no other one.
fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if ended.is_err() {
        tracing::error!("the task of a message of NATS panicked");
    }
}
