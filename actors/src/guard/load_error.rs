//! Why a bundle was not activated: it is invalid, or it was not examined.

use greenroom_protocol::{Cause, ErrorCode};

/// Why a bundle was not activated; the active policy is unchanged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// The bundle is not a valid policy.
    #[error(transparent)]
    Rejected(Cause),
    /// The bundle was not examined: the guard is being restarted, or other bundles wait for their validation. The same
    /// bundle may be sent again.
    #[error("the guard is being restarted or is busy; nothing was changed")]
    Unavailable,
}

impl From<LoadError> for Cause {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Rejected(cause) => cause,
            LoadError::Unavailable => Self::new(ErrorCode::Overloaded, error.to_string()),
        }
    }
}
