//! The requests of each user within the last hour, counted for several pods together; policy compares them with the
//! limits of the user. A single pod has those of its ledger ([`crate::ledger::UsageSummary`]) and needs no others.

use async_trait::async_trait;
use greenroom_protocol::{PrincipalId, Timestamp};

use crate::error::StoreError;
use crate::ledger::RequestKind;

/// A request of a user.
#[derive(Debug, Clone, Copy)]
pub struct CountedRequest<'r> {
    /// The user.
    pub user: &'r PrincipalId,
    /// Which of the user's two counters it increments.
    pub kind: RequestKind,
    /// How many requests of this kind the user may make in an hour. A request above the limit is not stored.
    pub limit: u64,
    /// What this pod alone has counted.
    pub of_pod: RequestCounts,
}

/// The requests of a user within the last hour, the current one included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestCounts {
    /// Requests that execute or change something.
    pub calls: u64,
    /// Requests that only read.
    pub queries: u64,
}

/// The windows that pods share.
#[async_trait]
pub trait RateWindows: Send + Sync {
    /// Counts a request before it is decided, and returns the requests of its user within the last hour.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be counted.
    async fn count(&self, request: CountedRequest<'_>, now: Timestamp) -> Result<RequestCounts, StoreError>;
}
