//! How one execution is asked of an agent: a place, the slot, and a wait that tells the agent when
//! nobody waits any more.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{Cause, Clock, Code};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{AgentMsg, AgentSeat, Done, ExecutionId, Job};
use crate::concurrency::overloaded;
use crate::execution::invocation::Assignment;
use crate::supervision::{Pushed, Refused};

/// How much longer than its deadline an execution may take to say that it is over.
const GRACE: Duration = Duration::from_millis(500);

/// Tells the agent that nobody waits, unless there was an answer.
struct Waiting<'a> {
    seat: &'a AgentSeat,
    id: ExecutionId,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.seat.slot.tell(AgentMsg::Abandoned(self.id));
        }
    }
}

/// Lets the agent of this seat do the work, and waits for what comes of it. `fill` is called if
/// nobody sits there: it asks the supervisor to seat an actor. Dropping the future aborts the work.
///
/// # Errors
/// `overloaded` if there is no place, `agent_barred` while the agent rests, `agent_crashed` if its
/// actor died over the work, `timed_out`, or what the execution itself says.
pub async fn invoke(
    seat: &Arc<AgentSeat>,
    assignment: Box<Assignment>,
    clock: &dyn Clock,
    fill: impl FnOnce(&Arc<AgentSeat>) + Send,
) -> Done {
    let deadline = assignment.grant.deadline();
    let left = deadline.left(clock.now());
    if left.is_zero() {
        return Err(late().into());
    }
    let place = seat.places.enter(left).await?;
    let (port, mut answer) = oneshot::channel();
    let id = ExecutionId::next();
    match seat.slot.push(Job { id, assignment, place, port }, Instant::now()) {
        Ok(Pushed::Waits) => {}
        Ok(Pushed::Unseated) => fill(seat),
        Err(Refused::Full(_)) => return Err(overloaded("this agent's slot is full".to_owned()).into()),
        Err(Refused::Barred(_, rest)) => return Err(barred(seat, rest).into()),
        Err(Refused::Closed(_)) => {
            return Err(Cause::new(Code::ShuttingDown, "the process is about to end").into());
        }
    }
    let mut waiting = Waiting { seat, id, answered: false };
    let left = deadline.left(clock.now()).saturating_add(GRACE);
    match tokio::time::timeout(left, &mut answer).await {
        Ok(Ok(done)) => {
            waiting.answered = true;
            done
        }
        Ok(Err(_closed)) => {
            waiting.answered = true;
            Err(match seat.slot.barred_for(Instant::now()) {
                Some(rest) => barred(seat, rest),
                None => Cause::new(Code::AgentCrashed, format!("the actor of {} died", seat.agent.id())),
            }
            .into())
        }
        Err(_elapsed) => Err(late().into()),
    }
}

fn late() -> Cause {
    Cause::new(Code::TimedOut, "the deadline passed before the work was done")
}

fn barred(seat: &AgentSeat, rest: Duration) -> Cause {
    let message = format!("{} died too often and rests for a while", seat.agent.id());
    Cause::new(Code::AgentBarred, message).retry_after(rest)
}
