//! What a step, or one item of its list, does at present.

use std::sync::Arc;

use greenroom_protocol::journal::{ResultRef, WaitTarget};
use greenroom_protocol::{Cause, Timestamp};

/// The status of a step or of one of its items.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum StepStatus {
    /// It waits for a dependency.
    #[default]
    Waiting,
    /// Its condition, items or approval prompt are being evaluated.
    Evaluating,
    /// It awaits approval.
    AwaitingApproval {
        /// Since when.
        since: Timestamp,
        /// The time at which it fails without an approval; `None` if it waits without limit.
        until: Option<Timestamp>,
    },
    /// It waits for a value of the context, or for an event.
    AwaitingEvent {
        /// 1 for the first attempt.
        attempt: u32,
        /// Since when.
        since: Timestamp,
        /// The time at which the attempt fails; `None` if it waits without limit.
        until: Option<Timestamp>,
        /// What it waits for.
        target: Arc<WaitTarget>,
    },
    /// Its agent has called tools that need an approval, and waits for the decisions.
    AwaitingToolApproval {
        /// The attempt that continues with them.
        attempt: u32,
        /// Since when.
        since: Timestamp,
    },
    /// A user approved it, and it may start.
    Approved,
    /// Its items are executed; it has ended when all of them have.
    RunningItems,
    /// A call is in flight.
    InFlight {
        /// 1 for the first attempt.
        attempt: u32,
        /// Since when.
        since: Timestamp,
    },
    /// It waits for a retry.
    Backoff {
        /// The attempt that failed.
        attempt: u32,
        /// The time of the retry.
        at: Timestamp,
    },
    /// It has completed.
    Done {
        /// Its index in the order of completion.
        order: u32,
        /// Its result.
        result: Arc<ResultRef>,
    },
    /// Its condition is false, or it refers to a skipped step.
    Skipped,
    /// It failed without a further retry.
    Failed {
        /// Why.
        cause: Arc<Cause>,
    },
    /// It was cancelled.
    Cancelled,
    /// It is being compensated.
    Compensating {
        /// 1 for the first attempt.
        attempt: u32,
        /// Since when.
        since: Timestamp,
        /// Its result.
        result: Arc<ResultRef>,
    },
    /// It was compensated.
    Compensated,
    /// Its compensation failed.
    CompensationFailed,
}

impl StepStatus {
    /// True while a call is in flight or waits for a retry: it counts towards the run's concurrent calls.
    #[must_use]
    pub const fn is_in_flight(&self) -> bool {
        matches!(self, Self::InFlight { .. } | Self::Backoff { .. })
    }

    /// True while the item of a list has started and not ended: it counts towards the concurrent items of its list.
    pub(super) const fn is_open(&self) -> bool {
        self.is_in_flight() || matches!(self, Self::AwaitingToolApproval { .. })
    }

    /// True if only a compensation can change it.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        match self {
            Self::Waiting
            | Self::Evaluating
            | Self::AwaitingApproval { .. }
            | Self::AwaitingEvent { .. }
            | Self::AwaitingToolApproval { .. }
            | Self::Approved
            | Self::RunningItems
            | Self::InFlight { .. }
            | Self::Backoff { .. } => false,
            Self::Done { .. }
            | Self::Skipped
            | Self::Failed { .. }
            | Self::Cancelled
            | Self::Compensating { .. }
            | Self::Compensated
            | Self::CompensationFailed => true,
        }
    }

    /// Its result, unless it was compensated.
    #[must_use]
    pub const fn result(&self) -> Option<&Arc<ResultRef>> {
        match self {
            Self::Done { result, .. } | Self::Compensating { result, .. } => Some(result),
            Self::Waiting
            | Self::Evaluating
            | Self::AwaitingApproval { .. }
            | Self::AwaitingEvent { .. }
            | Self::AwaitingToolApproval { .. }
            | Self::Approved
            | Self::RunningItems
            | Self::InFlight { .. }
            | Self::Backoff { .. }
            | Self::Skipped
            | Self::Failed { .. }
            | Self::Cancelled
            | Self::Compensated
            | Self::CompensationFailed => None,
        }
    }
}
