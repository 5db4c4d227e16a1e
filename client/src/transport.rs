//! The transport of requests and its errors. A denied or failed request is a [`Reply`]; only a
//! missing reply is a [`TransportError`].

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_protocol::event::{RunEvent, WatchedRun};
use greenroom_protocol::{Cause, Envelope, ErrorCode, Reply};

/// The reason for a missing reply.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No pod listens at the address, or it ended before it accepted the request, which was not executed.
    #[error("no pod listens at {address}: {reason}")]
    Unreachable {
        /// The address.
        address: String,
        /// The operating system's message.
        reason: String,
    },
    /// The connection ended before the reply arrived; the request may or may not have been executed.
    #[error("the connection ended before the reply arrived")]
    ConnectionLost,
    /// The response is not a reply.
    #[error("the reply cannot be decoded: {reason}")]
    InvalidResponse {
        /// The decoder's message.
        reason: String,
    },
    /// The pod rejected the request for a stream.
    #[error("{0}")]
    Rejected(Cause),
}

impl From<TransportError> for Cause {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Rejected(cause) => cause,
            TransportError::Unreachable { .. } => Cause::new(ErrorCode::ShuttingDown, error.to_string()),
            TransportError::ConnectionLost => Cause::new(ErrorCode::Interrupted, error.to_string()),
            TransportError::InvalidResponse { .. } => Cause::new(ErrorCode::Internal, error.to_string()),
        }
    }
}

/// The events of a run; the stream ends after the last one.
pub type Events = BoxStream<'static, Result<RunEvent, TransportError>>;

/// Sends requests to a running pod and returns its replies.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived; a denied or failed request is a reply.
    async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError>;

    /// Streams the events of a run after the number `after`; 0 means all of them.
    fn watch(&self, run: &WatchedRun, after: u64) -> Events;
}
