//! Signals of users: cancel, approve, reject, an event. A signal is confirmed only once it is in the journal.

use greenroom_protocol::{Cause, ErrorCode};
use ractor::{ActorProcessingErr, ActorRef};

use super::process_event::EventOutcome;
use super::{RunActor, RunActorState};
use crate::run::message::{RunMsg, SignalPort};
use crate::run::user_signal::UserSignal;

impl RunActor {
    pub(super) async fn on_signal(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        signal: UserSignal,
        port: SignalPort,
    ) -> Result<(), ActorProcessingErr> {
        if signal.is_recorded(&state.machine) {
            let _ = port.send(Ok(state.machine.run_status()));
            return Ok(());
        }
        let event = match signal.event(&state.machine) {
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

fn unconfirmed_error() -> Cause {
    let message = "the journal did not confirm the signal, so it may be recorded or not; `greenroom runs show` shows \
                   whether it is once the run is resumed";
    Cause::new(ErrorCode::OutcomeUnknown, message)
}
