//! What is known of a server that may be away. After [`FAILURES_MAX`] failures in a row operations fail at once, with the
//! error of the last one, and not each of them after its own time. After [`PAUSE`] one operation tries the server again,
//! while the others still fail at once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row after which a server counts as away.
const FAILURES_MAX: u32 = 2;
/// How long operations fail at once before one of them tries the server again.
pub const PAUSE: Duration = Duration::from_secs(5);

/// What is known of one server; `E` is the error of an operation that it has not served.
#[derive(Debug)]
pub struct Outage<E> {
    state: Mutex<State<E>>,
}

#[derive(Debug)]
struct State<E> {
    /// Failures since the last success.
    failures: u32,
    pause: Option<Pause<E>>,
}

#[derive(Debug)]
struct Pause<E> {
    error: E,
    ends_at: Instant,
    /// True while an operation tries the server again.
    is_tried: bool,
}

impl<E> Default for Outage<E> {
    fn default() -> Self {
        Self { state: Mutex::new(State { failures: 0, pause: None }) }
    }
}

impl<E: Clone> Outage<E> {
    /// Begins an operation.
    ///
    /// # Errors
    /// The error of the last failure, if the server counts as away.
    pub fn begin(&self) -> Result<Attempt<'_, E>, E> {
        self.begin_at(Instant::now())
    }

    fn begin_at(&self, now: Instant) -> Result<Attempt<'_, E>, E> {
        let is_trial = match &mut self.state().pause {
            None => false,
            Some(pause) if pause.is_tried || now < pause.ends_at => return Err(pause.error.clone()),
            Some(pause) => {
                pause.is_tried = true;
                true
            }
        };
        Ok(Attempt { outage: self, is_trial, has_ended: false })
    }
}

impl<E> Outage<E> {
    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An operation. One that is dropped before it has ended shows nothing; if it was to try the server again, another one does
/// so after a further pause.
#[derive(Debug)]
pub struct Attempt<'o, E> {
    outage: &'o Outage<E>,
    is_trial: bool,
    has_ended: bool,
}

impl<E> Attempt<'_, E> {
    /// The server has replied, be it with an error.
    pub fn succeed(mut self) {
        self.has_ended = true;
        let mut state = self.outage.state();
        state.failures = 0;
        state.pause = None;
    }

    /// The server has not replied.
    pub fn fail(self, error: E) {
        self.fail_at(error, Instant::now());
    }

    fn fail_at(mut self, error: E, now: Instant) {
        self.has_ended = true;
        let mut state = self.outage.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES_MAX {
            state.pause = Some(Pause { error, ends_at: now + PAUSE, is_tried: false });
        }
    }
}

impl<E> Drop for Attempt<'_, E> {
    fn drop(&mut self) {
        if self.has_ended || !self.is_trial {
            return;
        }
        if let Some(pause) = &mut self.outage.state().pause {
            pause.is_tried = false;
            pause.ends_at = Instant::now() + PAUSE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(outage: &Outage<&'static str>, now: Instant) {
        outage.begin_at(now).unwrap().fail_at("away", now);
    }

    #[test]
    fn a_server_counts_as_away_after_failures_in_a_row_and_is_tried_by_one_operation_after_the_pause() {
        let (outage, now) = (Outage::default(), Instant::now());
        fail(&outage, now);
        outage.begin_at(now).unwrap().succeed();
        fail(&outage, now);
        outage.begin_at(now).map(drop).unwrap();
        fail(&outage, now);
        assert_eq!(outage.begin_at(now).map(drop), Err("away"));
        assert_eq!(outage.begin_at(now + PAUSE / 2).map(drop), Err("away"));
        let trial = outage.begin_at(now + PAUSE).unwrap();
        assert_eq!(outage.begin_at(now + PAUSE * 2).map(drop), Err("away"), "one operation tries");
        trial.fail_at("still away", now + PAUSE);
        assert_eq!(outage.begin_at(now + PAUSE).map(drop), Err("still away"));
        outage.begin_at(now + PAUSE * 2).unwrap().succeed();
        outage.begin_at(now + PAUSE * 2).map(drop).unwrap();
    }

    #[test]
    fn a_trial_that_is_dropped_is_repeated_by_another_operation_after_a_pause() {
        let (outage, now) = (Outage::default(), Instant::now());
        fail(&outage, now);
        fail(&outage, now);
        outage.begin_at(now + PAUSE).map(drop).unwrap();
        assert_eq!(outage.begin_at(now).map(drop), Err("away"));
        outage.begin_at(Instant::now() + PAUSE).unwrap().succeed();
        outage.begin_at(now).map(drop).unwrap();
    }

    #[test]
    fn an_operation_that_began_before_the_pause_ends_it_by_its_success() {
        let (outage, now) = (Outage::default(), Instant::now());
        let slow = outage.begin_at(now).unwrap();
        fail(&outage, now);
        fail(&outage, now);
        slow.succeed();
        outage.begin_at(now).map(drop).unwrap();
    }
}
