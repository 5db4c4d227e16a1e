//! The concurrency limit of one agent: how many of its executions run at once on this pod, in all versions of its
//! definition and as a member of any team. Further invocations wait in a bounded queue, in the order of their arrival,
//! until their deadline. The limits of the pod and of tenants belong to admission control, which precedes audit and
//! authorization.
//!
//! A ticket belongs to the work and not to its caller: what still works holds its tickets ([`OwnedTickets`]).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use greenroom_protocol::{AgentId, Cause, ErrorCode};
use tokio::sync::oneshot;

mod owned_tickets;

pub use owned_tickets::{OwnedTickets, spawn_blocking};

/// Limit of an agent whose definition sets none; the limit of the pod is lower.
pub const CONCURRENCY_DEFAULT: u32 = 1_000_000;
/// Invocations that may wait for a ticket of one agent.
pub const WAITERS_MAX: usize = 100_000;
/// Retry-after of a rejected invocation.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Number of agents at which those that are not hosted any more are removed.
const SWEEP_THRESHOLD: usize = 4_096;

/// The executions of one agent on this pod.
#[derive(Debug)]
pub struct AgentConcurrency {
    executions: Mutex<Executions>,
    waiters_max: usize,
}

#[derive(Debug, Default)]
struct Executions {
    running: u32,
    waiting: VecDeque<Waiter>,
}

/// An invocation that waits.
#[derive(Debug)]
struct Waiter {
    /// The limit of its version of the agent.
    limit: u32,
    port: oneshot::Sender<ExecutionTicket>,
}

/// A ticket for one execution, released on drop.
#[derive(Debug)]
#[must_use]
pub struct ExecutionTicket {
    /// `None` for a ticket that did not reach its waiter.
    agent: Option<Arc<AgentConcurrency>>,
}

impl ExecutionTicket {
    fn new(agent: &Arc<AgentConcurrency>) -> Self {
        Self { agent: Some(Arc::clone(agent)) }
    }
}

impl Drop for ExecutionTicket {
    fn drop(&mut self) {
        if let Some(agent) = &self.agent {
            agent.release();
        }
    }
}

impl AgentConcurrency {
    /// Creates the executions of an agent, with a maximum number of waiters.
    #[must_use]
    pub fn new(waiters_max: usize) -> Arc<Self> {
        Arc::new(Self { executions: Mutex::default(), waiters_max })
    }

    /// Acquires a ticket under this limit, waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] with a retry-after, if the queue is full or the timeout has passed.
    pub async fn acquire(self: &Arc<Self>, limit: u32, timeout: Duration) -> Result<ExecutionTicket, Cause> {
        let waiting = {
            let mut executions = self.lock();
            if executions.waiting.is_empty() && executions.running < limit {
                executions.running += 1;
                return Ok(ExecutionTicket::new(self));
            }
            if executions.waiting.len() >= self.waiters_max {
                executions.waiting.retain(|waiter| !waiter.port.is_closed());
            }
            let waiters = executions.waiting.len();
            if waiters >= self.waiters_max {
                return Err(overloaded_error(format!("{waiters} executions wait for this agent already")));
            }
            let (port, waiting) = oneshot::channel();
            executions.waiting.push_back(Waiter { limit, port });
            // Those before it may have gone.
            self.serve(&mut executions);
            waiting
        };
        match tokio::time::timeout(timeout, waiting).await {
            Ok(Ok(ticket)) => Ok(ticket),
            Ok(Err(_closed)) => {
                Err(Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down and accepts no new requests"))
            }
            Err(_elapsed) => {
                Err(overloaded_error("no ticket of this agent was available before the deadline".to_owned()))
            }
        }
    }

    /// Number of executions that have a ticket now.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.lock().running
    }

    fn release(self: &Arc<Self>) {
        let mut executions = self.lock();
        executions.running = executions.running.saturating_sub(1);
        self.serve(&mut executions);
    }

    /// Grants tickets to those who wait, as their limits allow.
    fn serve(self: &Arc<Self>, executions: &mut Executions) {
        while let Some(waiter) = executions.waiting.pop_front() {
            if waiter.port.is_closed() {
                continue;
            }
            if executions.running >= waiter.limit {
                executions.waiting.push_front(waiter);
                return;
            }
            executions.running += 1;
            if let Err(mut unused) = waiter.port.send(ExecutionTicket::new(self)) {
                // Its drop would wait for the lock.
                unused.agent = None;
                executions.running -= 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Executions> {
        self.executions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The executions of every agent that this pod hosts.
#[derive(Debug, Default)]
pub struct PodConcurrency {
    agents: Mutex<HashMap<AgentId, Weak<AgentConcurrency>>>,
}

impl PodConcurrency {
    /// The executions of an agent, which all of its versions and teams share.
    #[must_use]
    pub fn for_agent(&self, agent: &AgentId) -> Arc<AgentConcurrency> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = agents.get(agent).and_then(Weak::upgrade) {
            return known;
        }
        if agents.len() >= SWEEP_THRESHOLD {
            agents.retain(|_, agent| agent.strong_count() > 0);
        }
        let created = AgentConcurrency::new(WAITERS_MAX);
        agents.insert(agent.clone(), Arc::downgrade(&created));
        created
    }
}

/// The error of a full queue.
#[must_use]
pub fn overloaded_error(message: String) -> Cause {
    Cause::new(ErrorCode::Overloaded, message).with_retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_invocation_without_a_ticket_waits_until_its_deadline() {
        let agent = AgentConcurrency::new(8);
        let ticket = agent.acquire(1, SECOND).await.unwrap();
        let rejected = agent.acquire(1, SECOND).await.unwrap_err();
        assert_eq!((rejected.code, rejected.retry_after_ms), (ErrorCode::Overloaded, Some(1_000)));
        let (next, ()) = tokio::join!(agent.acquire(1, SECOND), async { drop(ticket) });
        assert!(next.is_ok());
        drop(next);
        assert_eq!(agent.running(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_waiting_queue_is_bounded_and_a_dropped_waiter_does_not_count() {
        let agent = AgentConcurrency::new(1);
        let _ticket = agent.acquire(1, SECOND).await.unwrap();
        let mut first = Box::pin(agent.acquire(1, SECOND));
        assert!(futures::poll!(&mut first).is_pending());
        assert_eq!(agent.acquire(1, SECOND).await.unwrap_err().code, ErrorCode::Overloaded);
        drop(first);
        let mut second = Box::pin(agent.acquire(1, SECOND));
        assert!(futures::poll!(&mut second).is_pending(), "the queue is not full any more");
    }

    #[tokio::test(start_paused = true)]
    async fn versions_with_different_limits_share_the_executions_of_their_agent() {
        let pod = PodConcurrency::default();
        let id = AgentId::new("writer").unwrap();
        let (one, other) = (pod.for_agent(&id), pod.for_agent(&id));
        let first = one.acquire(2, SECOND).await.unwrap();
        let second = other.acquire(2, SECOND).await.unwrap();
        assert!(one.acquire(2, SECOND).await.is_err());
        assert!(other.acquire(3, SECOND).await.is_ok(), "a newer version allows three");
        let mut waiting = Box::pin(other.acquire(1, SECOND));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(first);
        assert!(futures::poll!(&mut waiting).is_pending(), "its own version allows one");
        drop(second);
        assert!(waiting.await.is_ok());
    }
}
