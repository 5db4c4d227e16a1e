//! Why there are no facts: a resource that does not exist, or a store that fails.

use greenroom_protocol::error::ErrorClass;
use greenroom_protocol::{Cause, ErrorCode};

/// Why the facts of a request are not collected.
#[derive(Debug)]
pub enum FactError {
    /// The request names something that does not exist, or its deadline has passed.
    Rejected(Cause),
    /// A fact could not be established, because a store failed: the request is denied.
    Unavailable(Cause),
}

impl From<Cause> for FactError {
    fn from(cause: Cause) -> Self {
        match cause.code.class() {
            ErrorClass::Rejected => Self::Rejected(cause),
            ErrorClass::Failed if cause.code == ErrorCode::TimedOut => Self::Rejected(cause),
            ErrorClass::Failed | ErrorClass::Denied => Self::Unavailable(cause),
        }
    }
}
