//! The ingress over NATS. [`service`] receives the messages of all endpoints in one queue group with the other pods;
//! [`request`], [`watch_run`] and [`upload`] serve one message each. [`message`] reads a message, [`reply`] and [`frames`] write
//! what its sender gets, [`claim_check`] makes it fit. A request passes the same pipeline as one of the control socket.
//!
//! This file holds what they share: the parts of the pod, and the bounds.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{Cause, Clock, ErrorCode, IdGenerator, Reply, RequestId};
use tokio::sync::{Semaphore, watch};

use self::connection::NatsConnection;
use super::local::LocalIngress;
use crate::pipeline::Pipeline;
use crate::telemetry::Metrics;

mod claim_check;
pub(crate) mod connection;
pub(crate) mod demand;
mod discovery;
mod endpoints;
mod frames;
mod message;
mod reply;
mod request;
pub(crate) mod service;
mod starting;
mod upload;
mod watch_run;

/// The queue group of all pods: each message is received by one of them.
pub(crate) const QUEUE_GROUP: &str = "greenroom";
/// Watches that are served concurrently: as many as one bridge has connections without another setting.
const WATCHES_MAX: usize = 16_384;
/// Uploads that are served concurrently.
const UPLOADS_MAX: usize = 64;
/// When a caller may repeat a message that was refused for the number of messages.
const OVERLOADED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the messages of one pod are served with.
pub(crate) struct NatsIngress {
    pub(crate) local: LocalIngress,
    pub(crate) connection: NatsConnection,
    pub(crate) metrics: Arc<Metrics>,
    /// Messages under way, without watches and uploads.
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) watches: Arc<Semaphore>,
    pub(crate) uploads: Arc<Semaphore>,
    /// The pod is shutting down: a watch ends, and its reader continues on another pod.
    pub(crate) draining: watch::Receiver<bool>,
}

impl NatsIngress {
    /// An ingress that serves this many messages concurrently.
    pub(crate) fn new(
        local: LocalIngress,
        connection: NatsConnection,
        metrics: Arc<Metrics>,
        requests_max: usize,
        draining: watch::Receiver<bool>,
    ) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        let (requests, watches, uploads) = (semaphore(requests_max), semaphore(WATCHES_MAX), semaphore(UPLOADS_MAX));
        Self { local, connection, metrics, requests, watches, uploads, draining }
    }

    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.local.pipeline
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.local.clock
    }

    pub(crate) fn ids(&self) -> &dyn IdGenerator {
        &*self.local.ids
    }

    /// The reply to a message that is not served: it is logged and counted, and a refusal for a credential as such.
    pub(crate) fn refuse(&self, cause: Cause) -> Reply {
        let id = RequestId::from_u128(self.ids().next_id());
        self.metrics.count_denial(cause.code);
        self.pipeline().reject_unread(&id, cause)
    }
}

/// The error of a message beyond a bound.
pub(crate) fn overloaded(subject: &str) -> Cause {
    Cause::new(ErrorCode::Overloaded, format!("the pod is at its limit of {subject} over NATS"))
        .with_retry_after(OVERLOADED_RETRY_AFTER)
}
