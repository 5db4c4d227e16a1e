//! How one execution is asked of an agent: a place, the slot, and a wait that tells the agent when
//! nobody waits any more.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{Cause, Clock, ErrorCode};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{AgentMsg, ExecutionId, ExecutionJob, ExecutionResult, HostedAgent};
use crate::concurrency::overloaded;
use crate::execution::invocation::Invocation;
use crate::supervision::{PushError, Pushed};

/// How much longer than its deadline an execution may take to say that it is over.
const KILL_GRACE: Duration = Duration::from_millis(500);

/// Tells the agent that nobody waits, unless there was an answer.
struct AbortOnDrop<'a> {
    hosted: &'a HostedAgent,
    id: ExecutionId,
    answered: bool,
}

impl Drop for AbortOnDrop<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.hosted.queue.notify(AgentMsg::CallerGone(self.id));
        }
    }
}

/// Lets the agent of this seat do the work, and waits for what comes of it. `fill` is called if
/// nobody sits there: it asks the supervisor to seat an actor. Dropping the future aborts the work.
///
/// # Errors
/// `overloaded` if there is no place, `agent_circuit_open` while the agent rests, `agent_crashed` if its
/// actor died over the work, `timed_out`, or what the execution itself says.
pub async fn invoke(
    hosted: &Arc<HostedAgent>,
    assignment: Box<Invocation>,
    clock: &dyn Clock,
    fill: impl FnOnce(&Arc<HostedAgent>) + Send,
) -> ExecutionResult {
    let deadline = assignment.grant.deadline();
    let left = deadline.remaining(clock.now());
    if left.is_zero() {
        return Err(deadline_error().into());
    }
    let ticket = hosted.places.acquire(left).await?;
    let (port, mut answer) = oneshot::channel();
    let id = ExecutionId::next();
    match hosted.queue.push(ExecutionJob { id, assignment, ticket, port }, Instant::now()) {
        Ok(Pushed::Queued) => {}
        Ok(Pushed::NeedsActor) => fill(hosted),
        Err(PushError::Full(_)) => return Err(overloaded("this agent's slot is full".to_owned()).into()),
        Err(PushError::Barred(_, rest)) => return Err(circuit_open_error(hosted, rest).into()),
        Err(PushError::Closed(_)) => {
            return Err(Cause::new(ErrorCode::ShuttingDown, "the process is about to end").into());
        }
    }
    let mut waiting = AbortOnDrop { hosted, id, answered: false };
    let left = deadline.remaining(clock.now()).saturating_add(KILL_GRACE);
    match tokio::time::timeout(left, &mut answer).await {
        Ok(Ok(done)) => {
            waiting.answered = true;
            done
        }
        Ok(Err(_closed)) => {
            waiting.answered = true;
            Err(match hosted.queue.circuit_open_for(Instant::now()) {
                Some(rest) => circuit_open_error(hosted, rest),
                None => Cause::new(ErrorCode::AgentCrashed, format!("the actor of {} died", hosted.agent.id())),
            }
            .into())
        }
        Err(_elapsed) => Err(deadline_error().into()),
    }
}

fn deadline_error() -> Cause {
    Cause::new(ErrorCode::TimedOut, "the deadline passed before the work was done")
}

fn circuit_open_error(hosted: &HostedAgent, rest: Duration) -> Cause {
    let message = format!("{} died too often and rests for a while", hosted.agent.id());
    Cause::new(ErrorCode::AgentCircuitOpen, message).with_retry_after(rest)
}
