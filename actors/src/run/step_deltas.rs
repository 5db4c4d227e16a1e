//! The text that the models of a run's steps write, while they write it. It is published once and stored nowhere: who
//! reads it loses what comes while it is away, and the result of the step is in the journal.

use greenroom_protocol::RunId;
use greenroom_protocol::journal::StepKey;

use crate::execution::stream::AnswerEvent;

/// The number of a delta. The deltas of an attempt have the number of the entry with which the attempt began, and follow
/// the event of that entry. A reader drops what has a lower fence than it has seen: another owner has repeated the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeltaId {
    /// The fence of the owner of the run.
    pub fence: u64,
    /// The number of the journal entry with which the attempt began.
    pub seq: u64,
    /// The number within the attempt, from 1.
    pub n: u64,
}

/// A part of the answer of a step's model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepDelta {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepKey,
    /// Its number.
    pub id: DeltaId,
    /// What has happened.
    pub event: DeltaEvent,
}

/// What has happened in an attempt of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeltaEvent {
    /// More text, or that the text of this attempt so far is void.
    Answer(AnswerEvent),
    /// The attempt has ended, so a reader waits for no more text before it passes on the end of the step.
    Ended,
}

/// Receives the deltas of the steps of all runs of this pod.
pub trait StepDeltas: Send + Sync {
    /// Publishes a delta. It does not wait: a reader never slows the model.
    fn publish(&self, delta: StepDelta);
}
