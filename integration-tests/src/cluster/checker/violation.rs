//! What the checker has found to be wrong.

use std::fmt;
use std::time::Duration;

use crate::cluster::moment::Moment;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A run, or one that it called, has not ended.
    NotEnded {
        /// The run.
        run: String,
    },
    /// A run has failed, although no fault is a reason for it to fail.
    Failed {
        /// The run.
        run: String,
        /// The code of its error.
        code: String,
    },
    /// No client knows this run: a request has started two.
    NotAccepted {
        /// The run.
        run: String,
    },
    /// The numbers of a journal have a gap, or an entry follows the end.
    BrokenJournal {
        /// The run.
        run: String,
        /// The entry.
        seq: u64,
    },
    /// The model server has received a call that no journal has.
    UnknownCall {
        /// The key of the call.
        key: String,
    },
    /// A call was made although its result was recorded.
    RecordedCallRepeated {
        /// The key of the call.
        key: String,
        /// When it arrived.
        arrived_at: Moment,
    },
    /// A call was made more often than its pods have died.
    RepeatedTooOften {
        /// The key of the call.
        key: String,
        /// How often it has arrived.
        calls: usize,
        /// How often it may have.
        calls_max: usize,
    },
    /// A call was paid twice, and the reply of the run does not mark its cost as estimated.
    OrphanNotEstimated {
        /// The run that no run called.
        run: String,
        /// The key of the call.
        key: String,
    },
    /// The model server has charged a user more than the budget allows.
    Overspent {
        /// The user.
        payer: String,
        /// What was charged, in millionths of a US dollar.
        charged: u64,
        /// The limit.
        limit: u64,
    },
    /// A pod without a fault was declared dead.
    UnexplainedDeath {
        /// The id of its start.
        pod: String,
    },
    /// A chain of the audit does not verify.
    AuditInvalid,
    /// More than one in a thousand requests has no final reply, although its client repeats it.
    TooFewReplies {
        /// The requests.
        sent: usize,
        /// Those with a final reply.
        replied: usize,
    },
    /// A request that is shorter than the bound of a drain has failed while pods were drained.
    FailedInDrain {
        /// Why.
        reason: String,
    },
    /// A run or a pod is in another cluster than the one that it belongs to, or is missing there.
    ClustersMixed {
        /// The run, or the start of the pod.
        id: String,
    },
    /// Trees of runs without an owner were resumed too slowly.
    ResumedSlowly {
        /// The 99th percentile.
        p99: Duration,
        /// Its bound.
        max: Duration,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEnded { run } => write!(f, "the run {run} has not ended"),
            Self::Failed { run, code } => write!(f, "the run {run} has failed: {code}"),
            Self::NotAccepted { run } => write!(f, "the run {run} belongs to no accepted request"),
            Self::BrokenJournal { run, seq } => write!(f, "the journal of {run} is broken at entry {seq}"),
            Self::UnknownCall { key } => write!(f, "no journal has the call {key:?}"),
            Self::RecordedCallRepeated { key, arrived_at } => {
                write!(f, "the call {key} was made again after its result was recorded, at {} us", arrived_at.0)
            }
            Self::RepeatedTooOften { key, calls, calls_max } => {
                write!(f, "the call {key} was made {calls} times, at most {calls_max} are allowed")
            }
            Self::OrphanNotEstimated { run, key } => {
                write!(f, "the call {key} was made again, and the cost of {run} is not marked as estimated")
            }
            Self::Overspent { payer, charged, limit } => {
                write!(f, "the budget of {payer} is {limit} millionths of a dollar, {charged} were charged")
            }
            Self::UnexplainedDeath { pod } => write!(f, "the pod {pod} had no fault, and was declared dead"),
            Self::TooFewReplies { sent, replied } => write!(f, "of {sent} requests, {replied} have a final reply"),
            Self::FailedInDrain { reason } => write!(f, "a request has failed while a pod was drained: {reason}"),
            Self::ClustersMixed { id } => write!(f, "{id} is in the wrong one of two clusters, or missing in its own"),
            Self::AuditInvalid => f.write_str("a chain of the audit is not valid"),
            Self::ResumedSlowly { p99, max } => {
                write!(f, "99 of 100 trees were resumed within {p99:.1?}, the bound is {max:.1?}")
            }
        }
    }
}
