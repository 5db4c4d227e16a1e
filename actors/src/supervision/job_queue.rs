//! The bounded inbox that outlives its actor.
//!
//! ractor's mailbox has no bound and dies with its actor. So work waits here, the mailbox carries
//! only wake-ups, and the next incarnation goes on where the last one ended. A job that lies here
//! may start: who may not yet waits in front of the slot, so the age of the oldest job says whether
//! the actor is frozen.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::{ActorId, ActorRef};
use tokio::time::Instant;

/// A message type that can say "look into your slot".
pub trait Wakes: ractor::Message {
    /// The wake-up.
    fn wake() -> Self;
}

/// What became of a job that was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It waits, and whoever has to know does.
    Waits,
    /// It waits, and nobody sits here: the pusher must ask the roster to fill the seat.
    Unseated,
}

/// Why a job was not taken in; the job comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused<J> {
    /// The slot is full.
    Full(J),
    /// Its actor died too often and rests for this long.
    Barred(J, Duration),
    /// The house is closing.
    Closed(J),
}

enum Seat<M> {
    /// Nobody sits here, and nobody was asked for.
    Empty,
    /// Somebody was asked for.
    Awaited,
    /// An actor sits here.
    Taken { actor: ActorRef<M>, since: Instant },
    /// Nobody may sit here until then.
    Barred { until: Instant },
    /// Nobody will sit here again.
    Closed,
}

struct Inner<J, M> {
    queue: VecDeque<(Instant, J)>,
    seat: Seat<M>,
    /// A wake-up is under way, so that a burst sends one and not thousands.
    woken: bool,
}

/// A bounded inbox and the seat behind it.
pub struct Slot<J, M> {
    inner: Mutex<Inner<J, M>>,
    jobs_max: usize,
}

impl<J, M: Wakes> Slot<J, M> {
    /// An empty slot that holds at most `jobs_max` jobs.
    #[must_use]
    pub const fn new(jobs_max: usize) -> Self {
        let inner = Inner { queue: VecDeque::new(), seat: Seat::Empty, woken: false };
        Self { inner: Mutex::new(inner), jobs_max }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<J, M>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job in, and wakes the actor if one sits here.
    ///
    /// # Errors
    /// [`Refused`], with the job.
    pub fn push(&self, job: J, now: Instant) -> Result<Pushed, Refused<J>> {
        let mut inner = self.lock();
        match inner.seat {
            Seat::Closed => return Err(Refused::Closed(job)),
            Seat::Barred { until } if until > now => {
                return Err(Refused::Barred(job, until.duration_since(now)));
            }
            Seat::Barred { .. } => inner.seat = Seat::Empty,
            Seat::Empty | Seat::Awaited | Seat::Taken { .. } => {}
        }
        if inner.queue.len() >= self.jobs_max {
            return Err(Refused::Full(job));
        }
        inner.queue.push_back((now, job));
        match inner.seat {
            Seat::Empty => {
                inner.seat = Seat::Awaited;
                Ok(Pushed::Unseated)
            }
            Seat::Taken { .. } => {
                inner.wake();
                Ok(Pushed::Waits)
            }
            Seat::Awaited | Seat::Barred { .. } | Seat::Closed => Ok(Pushed::Waits),
        }
    }

    /// The oldest job. An actor that was woken takes until there is none, or wakes itself again.
    pub fn take(&self) -> Option<J> {
        let mut inner = self.lock();
        match inner.queue.pop_front() {
            Some((_, job)) => Some(job),
            None => {
                inner.woken = false;
                None
            }
        }
    }

    /// Seats an actor, and wakes it if work waits.
    pub fn seat(&self, actor: ActorRef<M>, now: Instant) {
        let mut inner = self.lock();
        if matches!(inner.seat, Seat::Closed) {
            return;
        }
        inner.seat = Seat::Taken { actor, since: now };
        inner.woken = false;
        if !inner.queue.is_empty() {
            inner.wake();
        }
    }

    /// The actor wants to leave. True, and its seat is empty, if nothing waits; a job that comes
    /// later asks for a new one. False if there is work, or if it does not sit here any more.
    pub fn retire(&self, who: ActorId) -> bool {
        let mut inner = self.lock();
        let sits = matches!(&inner.seat, Seat::Taken { actor, .. } if actor.get_id() == who);
        let leaves = sits && inner.queue.is_empty();
        if leaves {
            inner.seat = Seat::Empty;
        }
        leaves
    }

    /// The actor is dead, and will be followed by another one: jobs wait for it.
    pub fn await_next(&self) {
        let mut inner = self.lock();
        if !matches!(inner.seat, Seat::Closed) {
            inner.seat = Seat::Awaited;
        }
    }

    /// The actor is gone, and nobody follows unless work waits: then true, and somebody is awaited.
    pub fn vacate(&self) -> bool {
        let mut inner = self.lock();
        let waits = !inner.queue.is_empty();
        match inner.seat {
            Seat::Closed | Seat::Barred { .. } => false,
            Seat::Empty | Seat::Awaited | Seat::Taken { .. } => {
                inner.seat = if waits { Seat::Awaited } else { Seat::Empty };
                waits
            }
        }
    }

    /// Bars the seat, and gives back what waited.
    pub fn bar(&self, until: Instant) -> Vec<J> {
        self.empty_into(Seat::Barred { until })
    }

    /// Closes the slot for good, and gives back what waited.
    pub fn close(&self) -> Vec<J> {
        self.empty_into(Seat::Closed)
    }

    fn empty_into(&self, seat: Seat<M>) -> Vec<J> {
        let mut inner = self.lock();
        if !matches!(inner.seat, Seat::Closed) {
            inner.seat = seat;
        }
        inner.queue.drain(..).map(|(_, job)| job).collect()
    }

    /// Tells the actor something out of turn, if one sits here.
    pub fn tell(&self, message: M) {
        let actor = match &self.lock().seat {
            Seat::Taken { actor, .. } => Some(actor.clone()),
            Seat::Empty | Seat::Awaited | Seat::Barred { .. } | Seat::Closed => None,
        };
        if let Some(actor) = actor {
            // A dead actor has dropped what the message is about.
            let _ = actor.send_message(message);
        }
    }

    /// For how long the seat is still barred.
    pub fn barred_for(&self, now: Instant) -> Option<Duration> {
        match self.lock().seat {
            Seat::Barred { until } if until > now => Some(until.duration_since(now)),
            Seat::Barred { .. } | Seat::Empty | Seat::Awaited | Seat::Taken { .. } | Seat::Closed => None,
        }
    }

    /// How long the oldest job has waited for the actor that sits here; `None` if nobody does.
    pub fn ignored_for(&self, now: Instant) -> Option<Duration> {
        let inner = self.lock();
        let (pushed, _) = inner.queue.front()?;
        match &inner.seat {
            Seat::Taken { since, .. } => Some(now.duration_since(*since.max(pushed))),
            Seat::Empty | Seat::Awaited | Seat::Barred { .. } | Seat::Closed => None,
        }
    }

    /// Jobs that wait.
    pub fn len(&self) -> usize {
        self.lock().queue.len()
    }

    /// True if no job waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if an actor sits here.
    pub fn is_seated(&self) -> bool {
        matches!(self.lock().seat, Seat::Taken { .. })
    }

    /// True if no job waits and nobody sits here or is awaited.
    pub fn is_deserted(&self) -> bool {
        let inner = self.lock();
        inner.queue.is_empty() && matches!(inner.seat, Seat::Empty)
    }
}

impl<J, M: Wakes> Inner<J, M> {
    fn wake(&mut self) {
        if let (Seat::Taken { actor, .. }, false) = (&self.seat, self.woken) {
            // If the actor is dead, its parent hears of it and seats another one, who is woken then.
            self.woken = actor.send_message(M::wake()).is_ok();
        }
    }
}

#[cfg(test)]
mod tests;
