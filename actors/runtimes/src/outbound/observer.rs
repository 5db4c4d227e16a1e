//! What becomes of each request to a service or a tool, for those who operate the pod. Nothing here names a host.

use std::time::Duration;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// An execution of an agent by a service.
    Service,
    /// A call of a tool.
    Tool,
    /// The document that describes tools.
    Document,
}

impl CallKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Service, Self::Tool, Self::Document];

    /// The kind in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Tool => "tool",
            Self::Document => "document",
        }
    }
}

/// The end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// A response with a status below 400.
    Success,
    /// A response with a status from 400.
    Rejected,
    /// No response, or none that can be read.
    Failed,
    /// No response in time.
    TimedOut,
    /// Nothing was sent, because the address is not allowed.
    Refused,
}

impl CallOutcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Success, Self::Rejected, Self::Failed, Self::TimedOut, Self::Refused];

    /// The outcome in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Refused => "refused",
        }
    }
}

/// Receives what becomes of each request that was not abandoned.
pub trait OutboundObserver: Send + Sync {
    /// A request has ended after this time.
    fn on_call(&self, kind: CallKind, outcome: CallOutcome, elapsed: Duration);
}

/// Observes nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl OutboundObserver for Unobserved {
    fn on_call(&self, _: CallKind, _: CallOutcome, _: Duration) {}
}
