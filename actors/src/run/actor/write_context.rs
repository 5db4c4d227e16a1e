//! Writes of the context of a team, which the actor of its run decides, and the view that others read.

use greenroom_protocol::request::ContextWrite;
use greenroom_protocol::{Cause, ErrorCode, EventId, Values};
use greenroom_registry::context::{Snapshot, ViewError};
use greenroom_rego::{Caller, Grant, Permitted};
use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::process_event::EventOutcome;
use super::{RunActor, RunActorState};
use crate::run::context::{lease_lost_error, no_context_error, outcome, write_outcome};
use crate::run::machine::{Event, Phase, State};
use crate::run::message::{FailedRead, ReadFailure, RunMsg, WritePort};
use crate::run::sent_message::SentWrite;

impl RunActor {
    /// Decides a write of the context on its data, and replies with the number of its entry.
    pub(super) async fn on_write_context(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        permit: Permitted<ContextWrite>,
        port: WritePort,
    ) -> Result<(), ActorProcessingErr> {
        let (grant, write) = permit.redeem();
        let is_handler = matches!(grant.caller(), Caller::Agent { .. });
        let request = is_handler.then(|| EventId::for_request(grant.request_id()));
        let event = match self.is_outdated(&grant) {
            true => Err(lease_lost_error()),
            false => self.write_event(state, write, None, request),
        };
        self.write(myself, state, event, port).await
    }

    /// True if another pod has placed the call that writes on this one before this one has claimed the tree.
    fn is_outdated(&self, grant: &Grant) -> bool {
        let tree = &self.ctx.tree;
        let is_earlier = grant.delegated_fence().is_some_and(|fence| fence < tree.fence().0);
        is_earlier && grant.root() == Some(tree.root())
    }

    /// Decides a write that another pod has permitted. The sender finds the entry of it, also if it was recorded before.
    pub(super) async fn on_sent_write(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        sent: SentWrite,
        port: WritePort,
    ) -> Result<(), ActorProcessingErr> {
        let SentWrite { write, id, handler, .. } = sent;
        if state.machine.has_written(&id) {
            let _ = port.send(Ok(outcome(Values::new())));
            return Ok(());
        }
        let event = self.write_event(state, write, Some(id), handler.map(|handler| handler.request));
        self.write(myself, state, event, port).await
    }

    async fn write(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        event: Result<Event, Cause>,
        port: WritePort,
    ) -> Result<(), ActorProcessingErr> {
        let event = match event {
            Ok(event) => event,
            Err(cause) => {
                // The caller may have dropped its request.
                let _ = port.send(Err(cause));
                return Ok(());
            }
        };
        let after = state.seq;
        let processed = self.process_event(myself, state, &event).await;
        let result = match &processed {
            // The change is the first entry of its decision.
            Ok(EventOutcome::Recorded) => Ok(write_outcome(after.plus(1))),
            Ok(EventOutcome::Unchanged) => Err(ended_error()),
            Ok(EventOutcome::Fenced) => Err(lease_lost_error()),
            Err(error) => Err(Cause::new(ErrorCode::OutcomeUnknown, format!("the value may not be written: {error}"))),
        };
        let _ = port.send(result);
        processed.map(drop)
    }

    fn write_event(
        &self,
        state: &RunActorState,
        write: ContextWrite,
        id: Option<EventId>,
        request: Option<EventId>,
    ) -> Result<Event, Cause> {
        let context = state.context.as_ref().ok_or_else(|| no_context_error(self.run()))?;
        require_active(&state.machine)?;
        context.write_event(write, id, request, self.ctx.env.clock.now())
    }

    /// Replies with the values that the run has itself, because its view could not be read. A view that was lost is
    /// claimed again for the next readers.
    pub(super) async fn on_read_context(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        read: &FailedRead,
        port: oneshot::Sender<Result<Snapshot, Cause>>,
    ) -> Result<(), ActorProcessingErr> {
        let result = match &state.context {
            Some(context) => {
                let claimed = match read.failure {
                    ReadFailure::Lost => context.claim_view().await,
                    ReadFailure::Store => Ok(()),
                };
                match self.keeps_view(myself, claimed) {
                    true => Ok(context.snapshot(&read.keys, self.ctx.env.clock.now())),
                    false => Err(ViewError::Fenced.cause()),
                }
            }
            None => Err(no_context_error(self.run())),
        };
        // The caller may have dropped its request.
        let _ = port.send(result);
        Ok(())
    }

    /// False if another owner has claimed the view, and so the run. Any other failure loses the view only, which is
    /// claimed again when it is read.
    pub(super) fn keeps_view(&self, myself: &ActorRef<RunMsg>, written: Result<(), ViewError>) -> bool {
        match written {
            Ok(()) => true,
            Err(ViewError::Fenced) => {
                self.stop(myself, "fenced");
                false
            }
            Err(error @ (ViewError::Lost | ViewError::Store(_))) => {
                tracing::warn!(run.id = %self.run(), error = %error, "the view of a context was lost");
                true
            }
        }
    }
}

/// A run that compensates has its context until it has ended.
fn require_active(state: &State) -> Result<(), Cause> {
    match state.phase() {
        Phase::Running | Phase::Compensating { .. } => Ok(()),
        Phase::New | Phase::Ended(_) => Err(ended_error()),
    }
}

fn ended_error() -> Cause {
    Cause::new(ErrorCode::RunNotActive, "the run has ended")
}
