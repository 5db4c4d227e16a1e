//! The invocation of an agent: acquires a ticket, pushes the job, and aborts the execution if the caller drops the
//! future.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{Cause, Clock, ErrorCode};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{AgentMsg, ExecutionId, ExecutionJob, ExecutionResult, HostedAgent};
use crate::concurrency::{OwnedTickets, overloaded_error};
use crate::execution::invocation::Invocation;
use crate::supervision::{PushError, Pushed};

/// Grace after its deadline within which an execution reports its end.
const KILL_GRACE: Duration = Duration::from_millis(500);

/// Aborts the execution on drop, unless it has ended.
struct AbortOnDrop<'a> {
    hosted: &'a HostedAgent,
    id: ExecutionId,
    is_completed: bool,
}

impl Drop for AbortOnDrop<'_> {
    fn drop(&mut self) {
        if !self.is_completed {
            self.hosted.queue.notify(AgentMsg::CallerGone(self.id));
        }
    }
}

/// Invokes a hosted agent and awaits the result. Calls `request_activation` if no actor is active; it requests one
/// from the supervisor. Dropping the future aborts the execution.
///
/// # Errors
/// `overloaded` if no ticket is available, `agent_circuit_open` during the cooldown, `agent_crashed` if the actor
/// failed during the execution, `timed_out`, or the cause of the execution.
pub async fn invoke(
    hosted: &Arc<HostedAgent>,
    invocation: Box<Invocation>,
    clock: &dyn Clock,
    request_activation: impl FnOnce(&Arc<HostedAgent>) + Send,
) -> ExecutionResult {
    let deadline = invocation.grant.deadline();
    let time_left = deadline.remaining(clock.now());
    if time_left.is_zero() {
        return Err(deadline_error().into());
    }
    let ticket = hosted.concurrency.acquire(hosted.concurrency_max(), time_left).await?;
    let (port, mut result) = oneshot::channel();
    let id = ExecutionId::next();
    let tickets = OwnedTickets::of_task().with(Arc::new(ticket));
    match hosted.queue.push(ExecutionJob { id, invocation, tickets, port }, Instant::now()) {
        Ok(Pushed::Queued) => {}
        Ok(Pushed::NeedsActor) => request_activation(hosted),
        Err(PushError::Full(_)) => return Err(overloaded_error("this agent's job queue is full".to_owned()).into()),
        Err(PushError::CircuitOpen(_, cooldown)) => return Err(circuit_open_error(hosted, cooldown).into()),
        Err(PushError::Closed(_)) => {
            let message = "the pod, or the team of this agent, is stopping and accepts no new requests";
            return Err(Cause::new(ErrorCode::ShuttingDown, message).into());
        }
    }
    let mut abort_guard = AbortOnDrop { hosted, id, is_completed: false };
    let time_left = deadline.remaining(clock.now()).saturating_add(KILL_GRACE);
    match tokio::time::timeout(time_left, &mut result).await {
        Ok(Ok(result)) => {
            abort_guard.is_completed = true;
            result
        }
        Ok(Err(_closed)) => {
            abort_guard.is_completed = true;
            Err(match hosted.queue.circuit_open_for(Instant::now()) {
                Some(cooldown) => circuit_open_error(hosted, cooldown),
                None => Cause::new(ErrorCode::AgentCrashed, format!("the actor of {} failed", hosted.agent.id())),
            }
            .into())
        }
        Err(_elapsed) => Err(deadline_error().into()),
    }
}

fn deadline_error() -> Cause {
    Cause::new(ErrorCode::TimedOut, "the deadline passed before the execution ended")
}

fn circuit_open_error(hosted: &HostedAgent, cooldown: Duration) -> Cause {
    let message = format!("{} exceeded its restart intensity, and its circuit is open", hosted.agent.id());
    Cause::new(ErrorCode::AgentCircuitOpen, message).with_retry_after(cooldown)
}
