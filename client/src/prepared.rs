//! One request that is ready to be sent, with what belongs to this call alone: its deadline, its idempotency key, its
//! trace and its name.

use std::time::Duration;

use futures::FutureExt;
use futures::future::{self, BoxFuture};
use futures::stream::{self, StreamExt};
use greenroom_protocol::{Cause, Deadline, Envelope, IdempotencyKey, Json, Reply, Request, RequestId, TraceId, Values};
use serde::de::DeserializeOwned;

use crate::connection::Connection;
use crate::error::{Error, require_success};
use crate::transport::{ProgressStream, TransportError};

/// The reply to a request, or the transport error.
pub type ReplyResult = Result<Reply, TransportError>;

/// What belongs to one call, beside its request.
#[derive(Debug, Clone, Default)]
pub(crate) struct SendOptions {
    pub(crate) deadline: Option<Deadline>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
    pub(crate) trace: Option<TraceId>,
    pub(crate) request_id: Option<RequestId>,
}

/// A request that is ready to be sent.
#[must_use = "a request does nothing until it is sent"]
pub struct PreparedRequest<'c> {
    connection: &'c Connection,
    request: Result<Request, Cause>,
    options: SendOptions,
}

impl<'c> PreparedRequest<'c> {
    /// Prepares a request; one that is invalid is rejected when it is sent.
    pub(crate) fn new(connection: &'c Connection, request: Result<Request, Cause>) -> Self {
        Self { connection, request, options: SendOptions::default() }
    }

    /// Sets everything that belongs to this call.
    pub(crate) fn options(mut self, options: SendOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the time until which the caller waits.
    pub fn deadline(mut self, deadline: Deadline) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// Sets the time for which the caller waits, from the moment in which the request is sent. If it has a deadline too,
    /// the earlier one counts.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Sets the idempotency key: repeating the request with the same key returns the first reply.
    pub fn idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.options.idempotency_key = Some(key);
        self
    }

    /// Sets the trace that the request belongs to.
    pub fn trace(mut self, trace: TraceId) -> Self {
        self.options.trace = Some(trace);
        self
    }

    /// Names the request. Another request of the same caller with this name is the same request.
    pub fn request_id(mut self, id: RequestId) -> Self {
        self.options.request_id = Some(id);
        self
    }

    /// Sends the request and returns its reply, whatever its status. The future is the transport's own, so that thousands
    /// of pending calls do not hold a second future each.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub fn send(self) -> BoxFuture<'c, ReplyResult> {
        let connection = self.connection;
        match self.envelope() {
            Ok(envelope) => connection.transport.send(envelope),
            Err(cause) => future::ready(Err(TransportError::Rejected(cause))).boxed(),
        }
    }

    /// Sends the request and returns its reply, which is a success.
    ///
    /// # Errors
    /// [`Error::Refused`] if the reply is no success; [`Error::Transport`] if none arrived.
    pub async fn reply(self) -> Result<Reply, Error> {
        require_success(self.send().await?)
    }

    /// Sends the request and returns its outputs, by name.
    ///
    /// # Errors
    /// As [`PreparedRequest::reply`].
    pub async fn execute(self) -> Result<Values, Error> {
        Ok(self.reply().await?.outputs)
    }

    /// Sends the request and returns its outputs as a value of this type.
    ///
    /// # Errors
    /// As [`PreparedRequest::reply`]; [`Error::Decode`] if the outputs are of another type.
    pub async fn execute_as<T: DeserializeOwned>(self) -> Result<T, Error> {
        decode_outputs(self.execute().await?)
    }

    /// Sends the request and streams its progress, which ends with its reply.
    #[must_use]
    pub fn stream(self) -> ProgressStream {
        let transport = self.connection.transport.clone();
        match self.envelope() {
            Ok(envelope) => transport.stream(envelope),
            Err(cause) => stream::once(future::ready(Err(TransportError::Rejected(cause)))).boxed(),
        }
    }

    fn envelope(self) -> Result<Envelope, Cause> {
        let SendOptions { deadline, timeout, idempotency_key, trace, request_id } = self.options;
        let mut envelope = Envelope::new(self.request?);
        envelope.credential.clone_from(&self.connection.credential);
        envelope.id = request_id;
        envelope.deadline = deadline;
        envelope.timeout_ms = timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        envelope.idempotency_key = idempotency_key;
        envelope.trace = trace;
        Ok(envelope)
    }
}

/// Decodes outputs by their names.
///
/// # Errors
/// [`Error::Decode`].
pub(crate) fn decode_outputs<T: DeserializeOwned>(outputs: Values) -> Result<T, Error> {
    serde_json::from_value(Json::Object(outputs.into_iter().collect())).map_err(Error::Decode)
}
