//! The places of one agent: how many executions of it run at once on this pod. Who finds none waits
//! in a bounded line, until his deadline. The places of the pod and of the tenants are elsewhere, at
//! the door, before anything is audited or judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenroom_protocol::{Cause, Code};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places of an agent whose definition does not say; the pod's own bound is lower.
pub const PLACES_DEFAULT: u32 = 1_000_000;
/// Executions that may wait for a place of one agent.
pub const WAITING_MAX: usize = 100_000;
/// After how long a refused caller may try again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The places of one agent.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// A place, taken until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// One who waits, counted while he does.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Places {
    /// This many places, and this many who may wait for one.
    #[must_use]
    pub fn new(places: u32, waiting_max: usize) -> Self {
        let free = Arc::new(Semaphore::new(usize::try_from(places).unwrap_or(usize::MAX >> 3)));
        Self { free, waiting: AtomicUsize::new(0), waiting_max }
    }

    /// Takes a place, or waits for one for at most `wait_max`.
    ///
    /// # Errors
    /// [`Code::Overloaded`] with a time to come back, if the line is full or the wait is over.
    pub async fn enter(&self, wait_max: Duration) -> Result<Place, Cause> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(Place { _permit: permit });
        }
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        if before >= self.waiting_max {
            return Err(overloaded(format!("{before} executions wait for this agent already")));
        }
        match tokio::time::timeout(wait_max, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place { _permit: permit }),
            Ok(Err(_closed)) => Err(Cause::new(Code::ShuttingDown, "the process is about to end")),
            Err(_elapsed) => Err(overloaded("this agent had no place free before the deadline".to_owned())),
        }
    }

    /// Places that are free now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.available_permits()
    }
}

/// The answer of a full house.
#[must_use]
pub fn overloaded(message: String) -> Cause {
    Cause::new(Code::Overloaded, message).retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_until_his_deadline() {
        let places = Places::new(1, 8);
        let taken = places.enter(SECOND).await.unwrap();
        let refused = places.enter(SECOND).await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after_ms), (Code::Overloaded, Some(1_000)));
        let (next, ()) = tokio::join!(places.enter(SECOND), async { drop(taken) });
        assert!(next.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_is_bounded_and_forgets_who_goes_away() {
        let places = Places::new(1, 1);
        let _taken = places.enter(SECOND).await.unwrap();
        let mut first = Box::pin(places.enter(SECOND));
        assert!(futures::poll!(&mut first).is_pending());
        assert_eq!(places.enter(SECOND).await.unwrap_err().code, Code::Overloaded);
        drop(first);
        let mut second = Box::pin(places.enter(SECOND));
        assert!(futures::poll!(&mut second).is_pending(), "the line has room again");
    }
}
