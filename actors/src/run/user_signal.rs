//! A signal of a user to a run, after its permit was redeemed: by the pod that owns the run, or by another pod, which sends
//! it to the owner as a message.

use greenroom_protocol::request::{Signal, SignalRun};
use greenroom_protocol::{Cause, ErrorCode, EventId, ToolCallId, UserId};
use greenroom_rego::{Grant, Permitted};
use serde::{Deserialize, Serialize};

use super::machine::{Event, Phase, State, ToolResolution, require_awaiting_approval, require_event_capacity};

/// What a decision without the id of a call is about, as it is sent to the pod that owns the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Subject {
    /// The step, before its start.
    Step,
    /// These calls of its tools, for which the step waited when a pod of an earlier build received the signal. Such a
    /// signal is read and not sent any more.
    Calls(Vec<ToolCallId>),
}

/// A signal that policy has permitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UserSignal {
    signal: Signal,
    /// Who sends it.
    by: UserId,
    /// The id of an event: that of its request, or that of its idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<EventId>,
    /// What a decision is about, if it was sent by another pod: it decides nothing that waits later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Subject>,
}

impl UserSignal {
    #[cfg(test)]
    pub(super) const fn new(signal: Signal, by: UserId, event: Option<EventId>) -> Self {
        Self { signal, by, event, subject: None }
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
        (grant, Self { signal, by, event, subject: None })
    }

    /// The same signal, as it is sent to another pod: it is delivered later, perhaps twice, and to a pod of an earlier build
    /// a decision without a call is one about all calls for which the step waits then.
    pub(super) fn for_owner(self) -> Self {
        let subject = match &self.signal {
            Signal::Approve { call: None, .. } | Signal::Reject { call: None, .. } => Some(Subject::Step),
            Signal::Approve { call: Some(_), .. }
            | Signal::Reject { call: Some(_), .. }
            | Signal::Cancel
            | Signal::Event(_) => None,
        };
        Self { subject, ..self }
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
        let Self { signal, by, event: id, subject } = self;
        match signal {
            Signal::Cancel => require_running(state).map(|()| Event::CancelRequested { by }),
            Signal::Approve { step, call } => {
                let calls = call.into_iter().collect();
                decision(state, subject, ToolResolution { step, calls, approved: true, by, reason: None })
            }
            Signal::Reject { step, call, reason } => {
                let calls = call.into_iter().collect();
                decision(state, subject, ToolResolution { step, calls, approved: false, by, reason })
            }
            Signal::Event(event) => {
                require_event_capacity(state, &event.name)?;
                let id = id.ok_or_else(|| Cause::new(ErrorCode::Internal, "an event has no id"))?;
                Ok(Event::EventPublished { id, event, by })
            }
        }
    }
}

/// The event of a decision about a step before its start, or about the calls that it names.
fn decision(state: &State, subject: Option<Subject>, decided: ToolResolution) -> Result<Event, Cause> {
    let ToolResolution { step, calls: named, approved, by, reason } = decided;
    let calls = match subject {
        Some(Subject::Calls(calls)) => calls,
        Some(Subject::Step) | None => named,
    };
    require_awaiting_approval(state, &step, &calls)?;
    Ok(if !calls.is_empty() {
        Event::ToolCallsResolved(ToolResolution { step, calls, approved, by, reason })
    } else if approved {
        Event::Approved { step, by }
    } else {
        Event::Rejected { step, by, reason }
    })
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
