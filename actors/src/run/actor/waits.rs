//! What a run waits for, between runs: a called run reports the approvals that it awaits to the run that called it, so
//! that the caller names them, and so that its own time does not pass either.

use greenroom_protocol::RunId;
use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::watch;

use super::{RunActor, RunActorState};
use crate::run::machine::{CallWaits, Event};
use crate::run::message::RunMsg;

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
        let approvals = state.machine.pending_approvals();
        let waits = CallWaits { approvals, idle: state.machine.is_paused() };
        let is_known = match &state.reported_waits {
            Some(reported) => *reported == waits,
            None => waits.approvals.is_empty(),
        };
        if !is_known {
            self.runs.hosted_runs().report_waits(caller, self.run(), waits.clone());
            state.reported_waits = Some(waits);
        }
    }
}
