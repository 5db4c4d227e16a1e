//! A signal of a user to a run, after its permit was redeemed: by the pod that owns the run, or by another pod, which sends
//! it to the owner as a message.

use greenroom_protocol::request::{Signal, SignalRun};
use greenroom_protocol::{Cause, ErrorCode, UserId};
use greenroom_rego::{Grant, Permitted};
use serde::{Deserialize, Serialize};

use super::machine::{Event, Phase, State, require_awaiting_approval};

/// A signal that policy has permitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UserSignal {
    signal: Signal,
    /// Who sends it.
    by: UserId,
}

impl UserSignal {
    /// Redeems the permit of a signal.
    pub(super) fn from_permit(permit: Permitted<SignalRun>) -> (Grant, Self) {
        let (grant, SignalRun { signal, .. }) = permit.redeem();
        let by = grant.principal().id.user.clone();
        (grant, Self { signal, by })
    }

    /// The user who cancels the run; none if it is another signal.
    pub(super) const fn canceller(&self) -> Option<&UserId> {
        match self.signal {
            Signal::Cancel => Some(&self.by),
            Signal::Approve { .. } | Signal::Reject { .. } => None,
        }
    }

    /// The event of the signal. A run accepts each signal once, so one that is delivered again has none.
    ///
    /// # Errors
    /// [`ErrorCode::RunNotActive`] or [`ErrorCode::UnknownStep`] if a run in this state does not accept it.
    pub(super) fn event(self, state: &State) -> Result<Event, Cause> {
        let Self { signal, by } = self;
        match signal {
            Signal::Cancel => require_running(state).map(|()| Event::CancelRequested { by }),
            Signal::Approve { step } => require_awaiting_approval(state, &step).map(|()| Event::Approved { step, by }),
            Signal::Reject { step } => require_awaiting_approval(state, &step).map(|()| Event::Rejected { step, by }),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_as_it_was_sent() {
        let by = UserId::new("alice").unwrap();
        let step = greenroom_protocol::StepId::new("release").unwrap();
        for signal in [Signal::Cancel, Signal::Approve { step: step.clone() }, Signal::Reject { step }] {
            let sent = UserSignal { signal, by: by.clone() };
            let body = serde_json::to_string(&sent).unwrap();
            assert_eq!(serde_json::from_str::<UserSignal>(&body).unwrap(), sent, "{body}");
        }
    }
}
