//! The requests of each user within the last hour, which policy compares with the limits of the user.
//!
//! The embedded windows are those of the ledger, which count the requests of one pod. Several pods share those of
//! [`crate::redis::Redis`].

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::Timestamp;

use crate::error::StoreError;
use crate::ledger::{Ledger, Periods, RequestKind, UsageKey};

/// A request of a user.
#[derive(Debug, Clone, Copy)]
pub struct CountedRequest<'r> {
    /// The user.
    pub user: &'r UsageKey,
    /// Which of the user's two counters it increments.
    pub kind: RequestKind,
    /// How many requests of this kind the user may make in an hour. Windows need not store a request above the limit.
    pub limit: u64,
}

/// The requests of a user within the last hour, the current one included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestCounts {
    /// Requests that execute or change something.
    pub calls: u64,
    /// Requests that only read.
    pub queries: u64,
}

/// Counts requests.
#[async_trait]
pub trait RateWindows: Send + Sync {
    /// Counts a request before it is decided, and returns the requests of its user within the last hour.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be counted.
    async fn count(&self, request: CountedRequest<'_>, now: Timestamp) -> Result<RequestCounts, StoreError>;
}

/// The windows of a ledger, in which a request counts until its minute is an hour old.
struct LedgerRateWindows(Arc<dyn Ledger>);

/// Creates the windows of one pod.
#[must_use]
pub fn ledger_rate_windows(ledger: Arc<dyn Ledger>) -> Arc<dyn RateWindows> {
    Arc::new(LedgerRateWindows(ledger))
}

#[async_trait]
impl RateWindows for LedgerRateWindows {
    async fn count(&self, request: CountedRequest<'_>, now: Timestamp) -> Result<RequestCounts, StoreError> {
        let usage = self.0.count(request.user, request.kind, Periods::default(), now).await?;
        Ok(RequestCounts { calls: usage.calls_hour, queries: usage.queries_hour })
    }
}
