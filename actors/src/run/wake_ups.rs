//! Wake-ups: this pod has left something to the other pods of its store, which would find it with their next tick. A
//! wake-up only saves that time, so it may be lost, and is sent after what it announces is durable.

use greenroom_protocol::PodId;

/// What other pods are woken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WakeUp {
    /// A tree of runs was created without an owner: any pod with capacity may claim it.
    Run,
    /// A message was sent to a run.
    Message {
        /// The last owner of the run. If it owns the run no more, the tree of the run is due.
        owner: PodId,
    },
}

/// Wakes the other pods of the store.
pub trait WakeUps: Send + Sync {
    /// True if wake-ups reach a pod within milliseconds. Then a detached run is left to whichever pod is woken; else it
    /// would wait for a tick, and the pod that accepts it owns it.
    fn hands_over_runs(&self) -> bool;

    /// Wakes a pod; it does not wait, and it does not fail.
    fn wake(&self, kind: WakeUp);
}

/// No pod is woken: all of them find what there is to do with their ticks.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWakeUps;

impl WakeUps for NoWakeUps {
    fn hands_over_runs(&self) -> bool {
        false
    }

    fn wake(&self, _: WakeUp) {}
}
