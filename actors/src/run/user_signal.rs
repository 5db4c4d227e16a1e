//! A signal of a user to a run, after its permit was redeemed: by the pod that owns the run, or by another pod, which sends
//! it to the owner as a message.

use greenroom_protocol::request::{Signal, SignalRun};
use greenroom_protocol::{Cause, ErrorCode, EventId, UserId};
use greenroom_rego::{Grant, Permitted};
use serde::{Deserialize, Serialize};

use super::machine::{
    Event, Phase, State, ToolResolution, is_awaiting_approval, require_awaiting_approval, require_event_capacity,
};

/// A signal that policy has permitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UserSignal {
    signal: Signal,
    /// Who sends it.
    by: UserId,
    /// The id of an event: that of its request, or that of its idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<EventId>,
}

impl UserSignal {
    #[cfg(test)]
    pub(super) const fn new(signal: Signal, by: UserId, event: Option<EventId>) -> Self {
        Self { signal, by, event }
    }

    /// Redeems the permit of a signal.
    pub(super) fn from_permit(permit: Permitted<SignalRun>) -> (Grant, Self) {
        let (grant, SignalRun { signal, .. }) = permit.redeem();
        let by = grant.principal().id.user.clone();
        let event = match (&signal, grant.idempotency()) {
            (Signal::Event(_), Some(sent)) => Some(EventId::for_key(&grant.principal().id, &sent.key)),
            (Signal::Event(_), None) => Some(EventId::for_request(grant.request_id())),
            (Signal::Cancel | Signal::Approve { .. } | Signal::Reject { .. }, _) => None,
        };
        (grant, Self { signal, by, event })
    }

    /// True if it is an event that was published to the run before, so that there is nothing to do.
    pub(super) fn is_recorded(&self, state: &State) -> bool {
        self.event.as_ref().is_some_and(|id| state.has_received(id))
    }

    /// The user who cancels the run; none if it is another signal.
    pub(super) const fn canceller(&self) -> Option<&UserId> {
        match self.signal {
            Signal::Cancel => Some(&self.by),
            Signal::Approve { .. } | Signal::Reject { .. } | Signal::Event(_) => None,
        }
    }

    /// The event of the signal. A run accepts each signal once, so one that is delivered again has none.
    ///
    /// # Errors
    /// [`ErrorCode::RunNotActive`] or [`ErrorCode::UnknownStep`] if a run in this state does not accept it;
    /// [`ErrorCode::Overloaded`] if too many events wait for a step.
    pub(super) fn event(self, state: &State) -> Result<Event, Cause> {
        let Self { signal, by, event: id } = self;
        match signal {
            Signal::Cancel => require_running(state).map(|()| Event::CancelRequested { by }),
            Signal::Approve { step, call } => {
                require_awaiting_approval(state, &step, call.as_ref())?;
                Ok(match is_awaiting_approval(state, &step) {
                    true => Event::Approved { step, by },
                    false => {
                        let approved = true;
                        Event::ToolCallsResolved(ToolResolution { step, call, approved, by, reason: None })
                    }
                })
            }
            Signal::Reject { step, call, reason } => {
                require_awaiting_approval(state, &step, call.as_ref())?;
                Ok(match is_awaiting_approval(state, &step) {
                    true => Event::Rejected { step, by, reason },
                    false => Event::ToolCallsResolved(ToolResolution { step, call, approved: false, by, reason }),
                })
            }
            Signal::Event(event) => {
                require_event_capacity(state, &event.name)?;
                let id = id.ok_or_else(|| Cause::new(ErrorCode::Internal, "an event has no id"))?;
                Ok(Event::EventPublished { id, event, by })
            }
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
