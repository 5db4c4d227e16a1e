//! What a pod sends to others and to readers, recorded.

use std::sync::Mutex;

use crate::run::{StepDelta, StepDeltas, WakeUp, WakeUps};

/// Records for what other pods are woken.
#[derive(Default)]
pub(crate) struct RecordedWakeUps(Mutex<Vec<WakeUp>>);

impl WakeUps for RecordedWakeUps {
    fn hands_over_runs(&self) -> bool {
        true
    }

    fn wake(&self, kind: WakeUp) {
        self.0.lock().unwrap().push(kind);
    }
}

impl RecordedWakeUps {
    /// The wake-ups since the last call.
    pub(crate) fn take(&self) -> Vec<WakeUp> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

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
