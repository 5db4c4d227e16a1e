//! The error of a call whose caller wants its outputs: a refusal, a missing reply, or outputs of another shape. A caller
//! that wants the reply in every case uses `send`, whose only error is the transport's.

use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode, Reply, Status};

use crate::transport::TransportError;

/// Why a call has no outputs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request was rejected, denied, or has failed.
    #[error("{0}")]
    Refused(Cause),
    /// No reply arrived.
    #[error(transparent)]
    Transport(TransportError),
    /// The outputs arrived, and are not of the requested type. The request was executed.
    #[error("the outputs are not of the requested type")]
    Decode(#[source] serde_json::Error),
}

impl Error {
    /// The code of a refusal.
    #[must_use]
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(cause) => Some(cause.code),
            Self::Transport(_) | Self::Decode(_) => None,
        }
    }

    /// True if the same call may succeed later, unchanged. A call that may have been executed is repeated with the same
    /// idempotency key.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(cause) => cause.code.is_retryable(),
            Self::Transport(TransportError::Unreachable { .. } | TransportError::ConnectionLost) => true,
            Self::Transport(TransportError::InvalidResponse { .. } | TransportError::Rejected(_)) | Self::Decode(_) => {
                false
            }
        }
    }

    /// The delay after which a retry may succeed, if the pod has named one.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(cause) => cause.retry_after_ms.map(Duration::from_millis),
            Self::Transport(_) | Self::Decode(_) => None,
        }
    }
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Rejected(cause) => Self::Refused(cause),
            TransportError::Unreachable { .. }
            | TransportError::ConnectionLost
            | TransportError::InvalidResponse { .. } => Self::Transport(error),
        }
    }
}

/// Returns a reply that is a success.
///
/// # Errors
/// [`Error::Refused`] with the cause of any other reply.
pub fn require_success(reply: Reply) -> Result<Reply, Error> {
    match (reply.error, reply.status) {
        (None, Status::Success) => Ok(Reply { error: None, ..reply }),
        (Some(cause), _) => Err(Error::Refused(cause)),
        (None, Status::Failed | Status::Denied | Status::Cancelled | Status::TimedOut) => {
            let message = format!("the reply {} is {} and has no cause", reply.id, reply.status.as_str());
            Err(Error::Refused(Cause::new(ErrorCode::Internal, message)))
        }
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::{Metadata, Values, WrittenVersion};

    use super::*;

    fn reply(status: Status, error: Option<Cause>) -> Reply {
        let (id, outputs, metadata) = ("req_1".to_owned(), Values::new(), Metadata::default());
        Reply { id, status, outputs, error, metadata, protocol_version: WrittenVersion::OWN }
    }

    #[test]
    fn a_refusal_has_the_code_of_its_cause_and_the_delay_before_a_retry() {
        let cause = Cause::new(ErrorCode::Overloaded, "full").with_retry_after(Duration::from_millis(40));
        let error = require_success(reply(Status::Failed, Some(cause))).unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::Overloaded));
        assert_eq!((error.is_retryable(), error.retry_after()), (true, Some(Duration::from_millis(40))));
        let denied = Cause::new(ErrorCode::PolicyDenied, "no");
        assert!(!require_success(reply(Status::Denied, Some(denied))).unwrap_err().is_retryable());
    }

    #[test]
    fn a_reply_that_is_no_success_and_has_no_cause_is_refused_all_the_same() {
        let error = require_success(reply(Status::Cancelled, None)).unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::Internal));
        assert!(require_success(reply(Status::Success, None)).is_ok());
    }

    #[test]
    fn a_lost_connection_is_retried_and_a_rejection_is_a_refusal() {
        assert!(Error::from(TransportError::ConnectionLost).is_retryable());
        let rejected = TransportError::Rejected(Cause::new(ErrorCode::UnknownAgent, "none"));
        assert_eq!(Error::from(rejected).code(), Some(ErrorCode::UnknownAgent));
    }
}
