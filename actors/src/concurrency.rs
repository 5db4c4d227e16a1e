//! The places of one agent: how many executions of it run at once on this pod. Who finds none waits
//! in a bounded line, until his deadline. The places of the pod and of the tenants are elsewhere, at
//! the door, before anything is audited or judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places of an agent whose definition does not say; the pod's own bound is lower.
pub const CONCURRENCY_DEFAULT: u32 = 1_000_000;
/// Executions that may wait for a place of one agent.
pub const WAITERS_MAX: usize = 100_000;
/// After how long a refused caller may try again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The places of one agent.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    available: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// A place, taken until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct ExecutionTicket {
    _permit: OwnedSemaphorePermit,
}

/// One who waits, counted while he does.
struct WaiterCount<'a>(&'a AtomicUsize);

impl Drop for WaiterCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl ConcurrencyLimit {
    /// This many places, and this many who may wait for one.
    #[must_use]
    pub fn new(places: u32, waiting_max: usize) -> Self {
        let available = Arc::new(Semaphore::new(usize::try_from(places).unwrap_or(usize::MAX >> 3)));
        Self { available, waiting: AtomicUsize::new(0), waiting_max }
    }

    /// Takes a place, or waits for one for at most `wait_max`.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] with a time to come back, if the line is full or the wait is over.
    pub async fn acquire(&self, wait_max: Duration) -> Result<ExecutionTicket, Cause> {
        if let Ok(permit) = Arc::clone(&self.available).try_acquire_owned() {
            return Ok(ExecutionTicket { _permit: permit });
        }
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = WaiterCount(&self.waiting);
        if before >= self.waiting_max {
            return Err(overloaded(format!("{before} executions wait for this agent already")));
        }
        match tokio::time::timeout(wait_max, Arc::clone(&self.available).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(ExecutionTicket { _permit: permit }),
            Ok(Err(_closed)) => Err(Cause::new(ErrorCode::ShuttingDown, "the process is about to end")),
            Err(_elapsed) => Err(overloaded("this agent had no place free before the deadline".to_owned())),
        }
    }

    /// Places that are free now.
    #[must_use]
    pub fn available(&self) -> usize {
        self.available.available_permits()
    }
}

/// The answer of a full house.
#[must_use]
pub fn overloaded(message: String) -> Cause {
    Cause::new(ErrorCode::Overloaded, message).with_retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_until_his_deadline() {
        let places = ConcurrencyLimit::new(1, 8);
        let taken = places.acquire(SECOND).await.unwrap();
        let refused = places.acquire(SECOND).await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::Overloaded, Some(1_000)));
        let (next, ()) = tokio::join!(places.acquire(SECOND), async { drop(taken) });
        assert!(next.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_is_bounded_and_forgets_who_goes_away() {
        let places = ConcurrencyLimit::new(1, 1);
        let _taken = places.acquire(SECOND).await.unwrap();
        let mut first = Box::pin(places.acquire(SECOND));
        assert!(futures::poll!(&mut first).is_pending());
        assert_eq!(places.acquire(SECOND).await.unwrap_err().code, ErrorCode::Overloaded);
        drop(first);
        let mut second = Box::pin(places.acquire(SECOND));
        assert!(futures::poll!(&mut second).is_pending(), "the line has room again");
    }
}
