//! The linked tasks of a run's actor, by what they work on.

use greenroom_protocol::journal::StepKey;

use super::machine::TimerId;

/// Identifies a linked task of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Task {
    Call(StepKey, u32),
    Compensate(StepKey, u32),
    Evaluate(StepKey),
    EndInnerRuns,
    CollectOutputs,
    Timer(TimerId),
}
