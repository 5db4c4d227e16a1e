//! The errors of a store that pass although its caller changes nothing: what waits for the store is repeated after them.

use greenroom_protocol as protocol;
use protocol::{Cause, ErrorCode, Json};

use super::{ServerFault, StoreError};

/// The kinds of these errors in the details of a cause, and that of an outcome that is not known.
const OUTAGES: [&str; 10] = [
    "disk_full",
    "disk",
    "read_only",
    "locked",
    "timeout",
    "overrun",
    "no_connections",
    "unreachable",
    "lapsed",
    "outcome_unknown",
];

impl StoreError {
    /// True if nothing of the request was executed, and the same one may be executed later although its caller changes
    /// nothing: the server of the store is away, or it cannot write at present.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        match self {
            Self::Full
            | Self::Disk(_)
            | Self::ReadOnly
            | Self::Locked
            | Self::Timeout
            | Self::Overrun
            | Self::Unreachable(_)
            | Self::Lapsed => true,
            Self::Refused { fault, .. } => matches!(fault, ServerFault::NoConnections),
            Self::InUse { .. }
            | Self::Corrupt(_)
            | Self::Version(_)
            | Self::Unmigrated(_)
            | Self::Closed
            | Self::OutcomeUnknown
            | Self::Codec(_)
            | Self::Chain(_)
            | Self::HeadPruned { .. }
            | Self::OtherDatabase(_)
            | Self::OtherDirectory(_)
            | Self::ArtifactsNotShared { .. }
            | Self::PodDead
            | Self::Unsupported(_)
            | Self::Redis(_)
            | Self::Qdrant(_)
            | Self::S3 { .. }
            | Self::Failed(_) => false,
        }
    }

    /// True if a cause that a user sees is that of such an error, or of an outcome that is not known: what only reads may
    /// be repeated.
    #[must_use]
    pub fn is_outage_cause(cause: &Cause) -> bool {
        let is_of_store = matches!(
            cause.code,
            ErrorCode::StoreUnavailable
                | ErrorCode::AuditUnavailable
                | ErrorCode::OutcomeUnknown
                | ErrorCode::LeaseLost
        );
        let kind = cause.details.get("store").and_then(Json::as_str);
        is_of_store && kind.is_some_and(|kind| OUTAGES.contains(&kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::S3Fault;

    #[test]
    fn the_cause_of_an_outage_is_recognized() {
        let refused = |fault| StoreError::Refused { fault, reason: "too many clients".to_owned() };
        let outages = [
            StoreError::Full,
            StoreError::Disk("EIO".to_owned()),
            StoreError::ReadOnly,
            StoreError::Locked,
            StoreError::Timeout,
            StoreError::Overrun,
            refused(ServerFault::NoConnections),
            StoreError::Unreachable("refused".to_owned()),
            StoreError::Lapsed,
        ];
        for error in outages {
            assert!(error.is_outage() && StoreError::is_outage_cause(&error.cause()), "{error}");
            assert!(StoreError::is_outage_cause(&error.audit_cause()), "{error}");
        }
        assert!(!StoreError::OutcomeUnknown.is_outage(), "it may have been executed");
        assert!(StoreError::is_outage_cause(&StoreError::OutcomeUnknown.cause()));
        let s3 = StoreError::S3 { fault: S3Fault::Slow, reason: "no reply".to_owned() };
        let [denied, untrusted] = [ServerFault::Denied, ServerFault::Untrusted].map(refused);
        for error in [StoreError::PodDead, StoreError::Closed, StoreError::Codec(String::new()), s3, denied, untrusted]
        {
            assert!(!error.is_outage() && !StoreError::is_outage_cause(&error.cause()), "{error}");
        }
    }
}
