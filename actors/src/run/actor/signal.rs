//! Signals of users: cancel, approve, reject. A signal is confirmed only once it is in the journal.

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::request::{Signal, SignalRun};
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_rego::Permitted;
use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::process_event::EventOutcome;
use super::{RunActor, RunActorState};
use crate::run::machine::{Event, Phase, State, require_awaiting_approval};
use crate::run::message::RunMsg;

impl RunActor {
    pub(super) async fn on_signal(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        permit: Permitted<SignalRun>,
        port: oneshot::Sender<Result<RunStatus, Cause>>,
    ) -> Result<(), ActorProcessingErr> {
        let event = match signal_event(&state.machine, permit) {
            Ok(event) => event,
            Err(cause) => {
                // The caller may have dropped its request.
                let _ = port.send(Err(cause));
                return Ok(());
            }
        };
        let processed = self.process_event(myself, state, &event).await;
        let result = match &processed {
            Ok(EventOutcome::Recorded) => Ok(state.machine.run_status()),
            Ok(EventOutcome::Unchanged) => {
                Err(Cause::new(ErrorCode::RunNotActive, "the run does not accept this signal any more"))
            }
            Ok(EventOutcome::Fenced) => Err(Cause::new(
                ErrorCode::LeaseLost,
                "another process owns the run now, so the signal was not recorded",
            )),
            Err(_) => Err(unconfirmed_error()),
        };
        let _ = port.send(result);
        processed.map(drop)
    }
}

/// The event of a signal, if the run accepts it.
fn signal_event(state: &State, permit: Permitted<SignalRun>) -> Result<Event, Cause> {
    let (grant, signal) = permit.redeem();
    let by = grant.principal().id.user.clone();
    match signal.signal {
        Signal::Cancel => require_running(state).map(|()| Event::CancelRequested { by }),
        Signal::Approve { step } => require_awaiting_approval(state, &step).map(|()| Event::Approved { step, by }),
        Signal::Reject { step } => require_awaiting_approval(state, &step).map(|()| Event::Rejected { step, by }),
    }
}

fn require_running(state: &State) -> Result<(), Cause> {
    let message = match state.phase() {
        Phase::Running => return Ok(()),
        Phase::Compensating { .. } => {
            "the run is ending already: its finished steps, and those of the runs that it called, are being compensated"
        }
        Phase::New | Phase::Ended(_) => "the run has ended",
    };
    Err(Cause::new(ErrorCode::RunNotActive, message))
}

fn unconfirmed_error() -> Cause {
    let message = "the journal did not confirm the signal, so it may be recorded or not; `greenroom runs show` shows \
                   whether it is once the run is resumed";
    Cause::new(ErrorCode::OutcomeUnknown, message)
}
