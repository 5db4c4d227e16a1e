//! What a run waits for, between runs: a called run reports the approvals that it awaits to the run that called it, so
//! that the caller names them, and so that its own time does not pass either. A root that only waits for long is parked
//! with its tree; so a called run reports a late retry too, if there is a use for that.

use greenroom_protocol::{RunId, Timestamp};
use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::{oneshot, watch};

use super::{RunActor, RunActorState};
use crate::run::machine::{CallWaits, Event};
use crate::run::message::{ParkedRun, RunMsg, RunSupervisorMsg};
use crate::run::park::{late_retry, parked_run};

/// A run that a step in flight has started.
pub(super) struct CalledRun {
    pub(super) run: RunId,
    /// True while that run only waits for approvals.
    pub(super) idle: watch::Sender<bool>,
}

impl RunActor {
    /// Records what a called run waits for. A run that no step in flight has called is ignored.
    pub(super) async fn on_call_waits(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        run: &RunId,
        waits: CallWaits,
    ) -> Result<(), ActorProcessingErr> {
        let Some((key, called)) = state.children.iter().find(|(_, called)| called.run == *run) else { return Ok(()) };
        called.idle.send_replace(waits.idle);
        let event = Event::CallWaits { key: key.clone(), waits };
        self.process_event(myself, state, &event).await.map(drop)
    }

    /// Reports to the calling run what this one waits for, if that changed.
    pub(super) fn report_waits(&self, state: &mut RunActorState) {
        let Some(caller) = &self.ctx.started.parent else { return };
        let machine = &state.machine;
        // An early retry is not worth an entry.
        let is_shared = self.ctx.env.stores.cluster.is_shared();
        let retry_at = if is_shared { late_retry(machine, self.parked_after()) } else { None };
        let (approvals, waits) = (machine.pending_approvals(), machine.pending_waits());
        let waits = CallWaits { approvals, waits, idle: machine.is_paused(), retry_at };
        let is_known = match &state.reported_waits {
            Some(reported) => *reported == waits,
            None => waits.is_empty(),
        };
        if !is_known {
            self.runs.hosted_runs().report_waits(caller, self.run(), waits.clone());
            state.reported_waits = Some(waits);
        }
    }

    /// Begins to measure how long the root of a tree only waits, or ends that. Pods that share the store have a use for
    /// its capacity.
    pub(super) fn observe_waiting(&self, myself: &ActorRef<RunMsg>, state: &mut RunActorState) {
        if !self.is_root() || !self.ctx.env.stores.cluster.is_shared() {
            return;
        }
        state.park_timer.abort(&());
        if self.parked_run(state).is_some() {
            let me = myself.clone();
            state.park_timer.run_after((), self.ctx.env.park_delay, move || {
                // If the actor has stopped, it waits for nothing.
                let _ = me.send_message(RunMsg::WaitsLong);
            });
        }
    }

    /// The run as it is parked now. A retry within the next delay is not worth it.
    fn parked_run(&self, state: &RunActorState) -> Option<ParkedRun> {
        parked_run(&state.machine, self.parked_after())
    }

    /// The time after which it may be worth it.
    fn parked_after(&self) -> Timestamp {
        self.ctx.env.clock.now().saturating_add(self.ctx.env.park_delay)
    }

    pub(super) fn on_waits_long(&self, state: &mut RunActorState) {
        if state.park_timer.acknowledge(&()) {
            self.runs.notify_supervisor(RunSupervisorMsg::Park(self.ctx.tree.clone()));
        }
    }

    /// Stops the actor if its run only waits.
    pub(super) fn on_park(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &RunActorState,
        port: oneshot::Sender<Option<ParkedRun>>,
    ) {
        let parked = self.parked_run(state);
        if parked.is_some() {
            self.stop(myself, "parked");
        }
        if port.send(parked).is_err() && parked.is_some() {
            // The tree is not parked any more, so it is resumed as a whole.
            self.runs.hosted_runs().stop_tree(self.ctx.tree.root(), self.ctx.tree.fence());
        }
    }
}
