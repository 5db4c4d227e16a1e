//! The concurrency limit of one agent: how many of its executions run at once on this pod. Further invocations wait
//! in a bounded queue until their deadline. The limits of the pod and of tenants belong to admission control, which
//! precedes audit and authorization.
//!
//! A ticket belongs to the work and not to its caller: what still works holds its tickets ([`OwnedTickets`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

mod owned_tickets;

pub use owned_tickets::{OwnedTickets, spawn_blocking};

/// Limit of an agent whose definition sets none; the limit of the pod is lower.
pub const CONCURRENCY_DEFAULT: u32 = 1_000_000;
/// Invocations that may wait for a ticket of one agent.
pub const WAITERS_MAX: usize = 100_000;
/// Retry-after of a rejected invocation.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The concurrency limit of one agent.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    available: Arc<Semaphore>,
    waiters: AtomicUsize,
    waiters_max: usize,
}

/// A ticket for one execution, released on drop.
#[derive(Debug)]
#[must_use]
pub struct ExecutionTicket {
    _permit: OwnedSemaphorePermit,
}

/// Counts a waiter until it is dropped.
struct WaiterCount<'a>(&'a AtomicUsize);

impl Drop for WaiterCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl ConcurrencyLimit {
    /// Creates a limit with a maximum number of waiters.
    #[must_use]
    pub fn new(limit: u32, waiters_max: usize) -> Self {
        let available = Arc::new(Semaphore::new(usize::try_from(limit).unwrap_or(usize::MAX >> 3)));
        Self { available, waiters: AtomicUsize::new(0), waiters_max }
    }

    /// Acquires a ticket, waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] with a retry-after, if the queue is full or the timeout has passed.
    pub async fn acquire(&self, timeout: Duration) -> Result<ExecutionTicket, Cause> {
        if let Ok(permit) = Arc::clone(&self.available).try_acquire_owned() {
            return Ok(ExecutionTicket { _permit: permit });
        }
        let waiters = self.waiters.fetch_add(1, Ordering::AcqRel);
        let _waiting = WaiterCount(&self.waiters);
        if waiters >= self.waiters_max {
            return Err(overloaded_error(format!("{waiters} executions wait for this agent already")));
        }
        match tokio::time::timeout(timeout, Arc::clone(&self.available).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(ExecutionTicket { _permit: permit }),
            Ok(Err(_closed)) => {
                Err(Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down and accepts no new requests"))
            }
            Err(_elapsed) => {
                Err(overloaded_error("no ticket of this agent was available before the deadline".to_owned()))
            }
        }
    }

    /// Number of tickets that are available now.
    #[must_use]
    pub fn available(&self) -> usize {
        self.available.available_permits()
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
        let limit = ConcurrencyLimit::new(1, 8);
        let ticket = limit.acquire(SECOND).await.unwrap();
        let rejected = limit.acquire(SECOND).await.unwrap_err();
        assert_eq!((rejected.code, rejected.retry_after_ms), (ErrorCode::Overloaded, Some(1_000)));
        let (next, ()) = tokio::join!(limit.acquire(SECOND), async { drop(ticket) });
        assert!(next.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_waiting_queue_is_bounded_and_a_dropped_waiter_does_not_count() {
        let limit = ConcurrencyLimit::new(1, 1);
        let _ticket = limit.acquire(SECOND).await.unwrap();
        let mut first = Box::pin(limit.acquire(SECOND));
        assert!(futures::poll!(&mut first).is_pending());
        assert_eq!(limit.acquire(SECOND).await.unwrap_err().code, ErrorCode::Overloaded);
        drop(first);
        let mut second = Box::pin(limit.acquire(SECOND));
        assert!(futures::poll!(&mut second).is_pending(), "the queue is not full any more");
    }
}
