//! What a pod sends to readers, recorded.

use std::sync::Mutex;

use crate::run::{StepDelta, StepDeltas};

/// Records the deltas of steps.
#[derive(Default)]
pub(crate) struct RecordedDeltas(Mutex<Vec<StepDelta>>);

impl StepDeltas for RecordedDeltas {
    fn publish(&self, delta: StepDelta) {
        self.0.lock().unwrap().push(delta);
    }
}

impl RecordedDeltas {
    pub(crate) fn all(&self) -> Vec<StepDelta> {
        self.0.lock().unwrap().clone()
    }
}
