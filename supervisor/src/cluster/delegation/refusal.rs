//! Why a delegation is refused: each reason has a code for the caller, a metric and a line in the log.

use greenroom_protocol::{Cause, ErrorCode, PodId};

/// Why a delegation is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusedDelegation {
    /// It cannot be read.
    Unreadable,
    /// It was not issued with the secret of this cluster, or was changed.
    Foreign,
    /// It is for another pod.
    Audience,
    /// It was issued later than this pod's clock shows.
    Early,
    /// Its time has passed.
    Expired,
    /// It lives longer than a delegation may.
    Lifetime,
    /// It was issued for another request.
    Body,
    /// It was issued for another call key, or another principal than it names.
    Binding,
    /// It was accepted before.
    Replayed,
    /// The tree of its run has a later owner.
    OldFence,
    /// More delegations arrive than can be remembered.
    Overloaded,
}

impl RefusedDelegation {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Unreadable,
        Self::Foreign,
        Self::Audience,
        Self::Early,
        Self::Expired,
        Self::Lifetime,
        Self::Body,
        Self::Binding,
        Self::Replayed,
        Self::OldFence,
        Self::Overloaded,
    ];

    /// The reason in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Foreign => "foreign",
            Self::Audience => "audience",
            Self::Early => "early",
            Self::Expired => "expired",
            Self::Lifetime => "lifetime",
            Self::Body => "body",
            Self::Binding => "binding",
            Self::Replayed => "replayed",
            Self::OldFence => "old_fence",
            Self::Overloaded => "overloaded",
        }
    }

    /// True if the clocks of two pods may be the reason, and a delegation with other times would be accepted.
    #[must_use]
    pub const fn is_of_clocks(self) -> bool {
        matches!(self, Self::Early | Self::Expired)
    }

    /// The cause that the caller receives.
    #[must_use]
    pub fn cause(self) -> Cause {
        let (code, message) = match self {
            Self::Unreadable => (ErrorCode::Unauthenticated, "the delegation cannot be read"),
            Self::Foreign => (ErrorCode::Unauthenticated, "the delegation was not issued by a pod of this cluster"),
            Self::Audience => (ErrorCode::Unauthenticated, "the delegation is for another pod"),
            Self::Early => {
                (ErrorCode::Unauthenticated, "the delegation was issued later than the clock of this pod shows")
            }
            Self::Expired => (ErrorCode::Unauthenticated, "the delegation has expired"),
            Self::Lifetime => (ErrorCode::Unauthenticated, "the delegation lives longer than a minute"),
            Self::Body => (ErrorCode::Unauthenticated, "the delegation was issued for another request"),
            Self::Binding => (ErrorCode::Unauthenticated, "the delegation was issued for another call or principal"),
            Self::Replayed => (ErrorCode::Unauthenticated, "the delegation was accepted before"),
            Self::OldFence => (ErrorCode::LeaseLost, "the run has another owner than the pod that calls"),
            Self::Overloaded => (ErrorCode::Overloaded, "the pod receives more delegations than it can remember"),
        };
        Cause::new(code, message)
    }
}

/// Receives the delegations that are refused.
pub trait DelegationObserver: Send + Sync {
    /// A delegation was refused. The issuer is the one that it names, which is proved only if the reason is not
    /// [`RefusedDelegation::Foreign`].
    fn on_refused(&self, issuer: Option<&PodId>, reason: RefusedDelegation);
}

/// An observer that logs only.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogDelegations;

impl DelegationObserver for LogDelegations {
    fn on_refused(&self, issuer: Option<&PodId>, reason: RefusedDelegation) {
        let issuer = issuer.map(PodId::as_str).unwrap_or_default();
        tracing::warn!(
            peer.pod = issuer, delegation.reason = reason.as_str(), error.code = %reason.cause().code,
            "delegation refused"
        );
    }
}
