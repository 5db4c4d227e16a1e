//! The errors of Qdrant, one variant for each that an operator resolves differently.

use std::error::Error as _;

use tonic::{Code, Status};

use crate::authorities::is_untrusted;

/// Every value of [`QdrantError::detail`].
pub const QDRANT_ERROR_DETAILS: [&str; 8] = [
    "qdrant_unreachable",
    "qdrant_untrusted",
    "qdrant_timeout",
    "qdrant_rejected",
    "qdrant_missing",
    "qdrant_incompatible",
    "qdrant_full",
    "qdrant_failed",
];
/// Characters of a reason of the server that a message repeats.
const REASON_CHARS_MAX: usize = 300;

/// An error of Qdrant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QdrantError {
    /// No connection: the server is stopped, starts, or cannot be reached.
    #[error("qdrant cannot be reached: {0}")]
    Unreachable(String),
    /// No trusted authority has signed the certificate of the server for its address.
    #[error("the certificate of qdrant is not trusted: {0}")]
    Untrusted(String),
    /// The server did not reply within the time of an operation.
    #[error("qdrant did not reply in time")]
    Timeout,
    /// The server rejects the key, or it may not do this.
    #[error("qdrant rejects this client: {0}")]
    Rejected(String),
    /// The collection does not exist, and was deleted again while it was created.
    #[error("qdrant has no collection: {0}")]
    Missing(String),
    /// The collection has another dimension or another distance than the vectors.
    #[error("the collection of qdrant does not fit: {0}")]
    Incompatible(String),
    /// The server has no space left, or accepts no more for now.
    #[error("qdrant accepts no more: {0}")]
    Full(String),
    /// Any other error.
    #[error("qdrant failed: {0}")]
    Failed(String),
}

impl QdrantError {
    /// One word for each kind, for details, logs and metrics.
    #[must_use]
    pub const fn detail(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "qdrant_unreachable",
            Self::Untrusted(_) => "qdrant_untrusted",
            Self::Timeout => "qdrant_timeout",
            Self::Rejected(_) => "qdrant_rejected",
            Self::Missing(_) => "qdrant_missing",
            Self::Incompatible(_) => "qdrant_incompatible",
            Self::Full(_) => "qdrant_full",
            Self::Failed(_) => "qdrant_failed",
        }
    }

    /// The remedy, for the message that a user sees.
    pub(crate) const fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "start it, or check `qdrant.url` (the port of gRPC) and the network; retry later",
            Self::Untrusted(_) => {
                "let `qdrant.ca_file` (QDRANT_CA_FILE) name the certificate of the authority that has signed that of the \
                 server, and `qdrant.url` a name in it"
            }
            Self::Timeout => "it is overloaded or suspended; retry later",
            Self::Rejected(_) => "check `qdrant.api_key` (QDRANT_API_KEY); the key must be allowed to write",
            Self::Missing(_) => "something else deletes its collections; retry later",
            Self::Incompatible(_) => {
                "delete the collection if nothing needs it, or configure the embedder that has filled it \
                 (`memory.embedder`, `memory.model`, `memory.dimensions`)"
            }
            Self::Full(_) => "free some space, or raise its limits",
            Self::Failed(_) => "the log of Qdrant has the reason",
        }
    }

    /// True if waiting does not help a pod that starts: an operator has to change the server or the configuration.
    pub(crate) const fn is_misconfiguration(&self) -> bool {
        match self {
            Self::Untrusted(_) | Self::Rejected(_) | Self::Incompatible(_) => true,
            // A server that fails, perhaps because it starts, does not prevent a pod from working without memory.
            Self::Unreachable(_) | Self::Timeout | Self::Missing(_) | Self::Full(_) | Self::Failed(_) => false,
        }
    }

    /// True if the server has not replied at all.
    pub(super) const fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Timeout => true,
            Self::Untrusted(_)
            | Self::Rejected(_)
            | Self::Missing(_)
            | Self::Incompatible(_)
            | Self::Full(_)
            | Self::Failed(_) => false,
        }
    }

    /// The error of the client or of the server.
    pub(super) fn from_status(status: &Status) -> Self {
        let text = describe(status);
        if is_untrusted(&text) {
            return Self::Untrusted(text);
        }
        // An error of the connection has a source, and one of the server has none.
        let is_of_connection = status.source().is_some() || text.starts_with("Service was not ready");
        match status.code() {
            Code::Unavailable => Self::Unreachable(text),
            Code::DeadlineExceeded => Self::Timeout,
            Code::Cancelled if text.contains("Timeout expired") => Self::Timeout,
            Code::Unauthenticated | Code::PermissionDenied => Self::Rejected(text),
            Code::NotFound => Self::Missing(text),
            Code::ResourceExhausted => Self::Full(text),
            Code::Internal | Code::Unknown if text.contains("No space left") => Self::Full(text),
            Code::Internal | Code::Unknown | Code::Cancelled if is_of_connection => Self::Unreachable(text),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::InvalidArgument
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss => Self::Failed(text),
        }
    }
}

/// The message of a status with those of its sources, each once.
fn describe(status: &Status) -> String {
    let mut texts = vec![status.message().to_owned()];
    let mut source = status.source();
    while let Some(error) = source {
        let text = error.to_string();
        if texts.iter().all(|known| !known.contains(&text)) {
            texts.push(text);
        }
        source = error.source();
    }
    let text = texts.join(": ");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_server_has_its_kind() {
        for (code, text, detail) in [
            (Code::Unavailable, "tcp connect error", "qdrant_unreachable"),
            (Code::Unavailable, "invalid peer certificate: UnknownIssuer", "qdrant_untrusted"),
            (Code::DeadlineExceeded, "too slow", "qdrant_timeout"),
            (Code::Cancelled, "Timeout expired", "qdrant_timeout"),
            (Code::Unauthenticated, "Invalid API key or JWT", "qdrant_rejected"),
            (Code::PermissionDenied, "Global write access is required", "qdrant_rejected"),
            (Code::NotFound, "Not found: Collection `x` doesn't exist!", "qdrant_missing"),
            (Code::ResourceExhausted, "rate limit", "qdrant_full"),
            (Code::Internal, "Service internal error: No space left on device", "qdrant_full"),
            (Code::Internal, "Service internal error: panic", "qdrant_failed"),
            (Code::InvalidArgument, "Wrong input: Vector dimension error", "qdrant_failed"),
            (Code::Unimplemented, "", "qdrant_failed"),
        ] {
            let error = QdrantError::from_status(&Status::new(code, text));
            assert_eq!(error.detail(), detail, "{text}");
            assert!(QDRANT_ERROR_DETAILS.contains(&detail), "{detail}");
        }
        assert!(QDRANT_ERROR_DETAILS.contains(&QdrantError::Incompatible(String::new()).detail()));
    }

    #[test]
    fn an_error_of_the_connection_is_no_failure_of_the_server_and_is_described_with_its_sources() {
        let broken = std::io::Error::new(std::io::ErrorKind::BrokenPipe, "broken\npipe");
        let error = QdrantError::from_status(&Status::from_error(Box::new(std::io::Error::other(broken))));
        assert_eq!(error.detail(), "qdrant_unreachable", "{error}");
        assert!(error.to_string().contains("broken pipe"), "{error}");
        let long = QdrantError::from_status(&Status::new(Code::Internal, "x".repeat(10_000)));
        assert!(long.to_string().len() < 1_000);
    }
}
