//! How a request travels and what may go wrong on the way. What was asked and what was answered is
//! not judged here: a refusal is a [`Reply`], and only a lost one is a [`TransportError`].

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_protocol::event::RunEvent;
use greenroom_protocol::{Cause, Envelope, ErrorCode, Reply, RunId};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Nobody listens at the other end.
    #[error("nobody answers at {at}: {reason}")]
    Unreachable {
        /// Where the other end should be.
        at: String,
        /// What the operating system says.
        reason: String,
    },
    /// The connection ended before the answer came; what was asked may or may not have been done.
    #[error("the connection ended before the answer came")]
    ConnectionLost,
    /// The other end sent something that is not an answer.
    #[error("the answer cannot be read: {reason}")]
    InvalidResponse {
        /// What was wrong with it.
        reason: String,
    },
    /// The other end answered with a refusal where a stream was expected.
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

/// The events of a run as they come; the stream ends after the run's last one.
pub type Events = BoxStream<'static, Result<RunEvent, TransportError>>;

/// Carries requests to a running platform and its replies back.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// [`TransportError`], if no reply came; a refused request is a reply.
    async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError>;

    /// Follows a run, from the event after `after` on; 0 means from its start.
    fn watch(&self, run: &RunId, after: u64) -> Events;
}
