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
pub trait WakeMessage: ractor::Message {
    /// The wake-up.
    fn wake() -> Self;
}

/// What became of a job that was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It waits, and whoever has to know does.
    Queued,
    /// It waits, and nobody sits here: the pusher must ask the roster to fill the seat.
    NeedsActor,
}

/// Why a job was not taken in; the job comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushError<J> {
    /// The slot is full.
    Full(J),
    /// Its actor died too often and rests for this long.
    Barred(J, Duration),
    /// The house is closing.
    Closed(J),
}

enum Consumer<M> {
    /// Nobody sits here, and nobody was asked for.
    None,
    /// Somebody was asked for.
    Starting,
    /// An actor sits here.
    Attached { actor: ActorRef<M>, since: Instant },
    /// Nobody may sit here until then.
    CircuitOpen { until: Instant },
    /// Nobody will sit here again.
    Closed,
}

struct Inner<J, M> {
    queue: VecDeque<(Instant, J)>,
    consumer: Consumer<M>,
    /// A wake-up is under way, so that a burst sends one and not thousands.
    woken: bool,
}

/// A bounded inbox and the seat behind it.
pub struct JobQueue<J, M> {
    inner: Mutex<Inner<J, M>>,
    jobs_max: usize,
}

impl<J, M: WakeMessage> JobQueue<J, M> {
    /// An empty slot that holds at most `jobs_max` jobs.
    #[must_use]
    pub const fn new(jobs_max: usize) -> Self {
        let inner = Inner { queue: VecDeque::new(), consumer: Consumer::None, woken: false };
        Self { inner: Mutex::new(inner), jobs_max }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<J, M>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job in, and wakes the actor if one sits here.
    ///
    /// # Errors
    /// [`Refused`], with the job.
    pub fn push(&self, job: J, now: Instant) -> Result<Pushed, PushError<J>> {
        let mut inner = self.lock();
        match inner.consumer {
            Consumer::Closed => return Err(PushError::Closed(job)),
            Consumer::CircuitOpen { until } if until > now => {
                return Err(PushError::Barred(job, until.duration_since(now)));
            }
            Consumer::CircuitOpen { .. } => inner.consumer = Consumer::None,
            Consumer::None | Consumer::Starting | Consumer::Attached { .. } => {}
        }
        if inner.queue.len() >= self.jobs_max {
            return Err(PushError::Full(job));
        }
        inner.queue.push_back((now, job));
        match inner.consumer {
            Consumer::None => {
                inner.consumer = Consumer::Starting;
                Ok(Pushed::NeedsActor)
            }
            Consumer::Attached { .. } => {
                inner.wake();
                Ok(Pushed::Queued)
            }
            Consumer::Starting | Consumer::CircuitOpen { .. } | Consumer::Closed => Ok(Pushed::Queued),
        }
    }

    /// The oldest job. An actor that was woken takes until there is none, or wakes itself again.
    pub fn pop(&self) -> Option<J> {
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
    pub fn attach(&self, actor: ActorRef<M>, now: Instant) {
        let mut inner = self.lock();
        if matches!(inner.consumer, Consumer::Closed) {
            return;
        }
        inner.consumer = Consumer::Attached { actor, since: now };
        inner.woken = false;
        if !inner.queue.is_empty() {
            inner.wake();
        }
    }

    /// The actor wants to leave. True, and its seat is empty, if nothing waits; a job that comes
    /// later asks for a new one. False if there is work, or if it does not sit here any more.
    pub fn try_detach(&self, who: ActorId) -> bool {
        let mut inner = self.lock();
        let sits = matches!(&inner.consumer, Consumer::Attached { actor, .. } if actor.get_id() == who);
        let leaves = sits && inner.queue.is_empty();
        if leaves {
            inner.consumer = Consumer::None;
        }
        leaves
    }

    /// The actor is dead, and will be followed by another one: jobs wait for it.
    pub fn expect_restart(&self) {
        let mut inner = self.lock();
        if !matches!(inner.consumer, Consumer::Closed) {
            inner.consumer = Consumer::Starting;
        }
    }

    /// The actor is gone, and nobody follows unless work waits: then true, and somebody is awaited.
    pub fn detach(&self) -> bool {
        let mut inner = self.lock();
        let waits = !inner.queue.is_empty();
        match inner.consumer {
            Consumer::Closed | Consumer::CircuitOpen { .. } => false,
            Consumer::None | Consumer::Starting | Consumer::Attached { .. } => {
                inner.consumer = if waits { Consumer::Starting } else { Consumer::None };
                waits
            }
        }
    }

    /// Bars the seat, and gives back what waited.
    pub fn open_circuit(&self, until: Instant) -> Vec<J> {
        self.empty_into(Consumer::CircuitOpen { until })
    }

    /// Closes the slot for good, and gives back what waited.
    pub fn close(&self) -> Vec<J> {
        self.empty_into(Consumer::Closed)
    }

    fn empty_into(&self, consumer: Consumer<M>) -> Vec<J> {
        let mut inner = self.lock();
        if !matches!(inner.consumer, Consumer::Closed) {
            inner.consumer = consumer;
        }
        inner.queue.drain(..).map(|(_, job)| job).collect()
    }

    /// Tells the actor something out of turn, if one sits here.
    pub fn notify(&self, message: M) {
        let actor = match &self.lock().consumer {
            Consumer::Attached { actor, .. } => Some(actor.clone()),
            Consumer::None | Consumer::Starting | Consumer::CircuitOpen { .. } | Consumer::Closed => None,
        };
        if let Some(actor) = actor {
            // A dead actor has dropped what the message is about.
            let _ = actor.send_message(message);
        }
    }

    /// For how long the seat is still barred.
    pub fn circuit_open_for(&self, now: Instant) -> Option<Duration> {
        match self.lock().consumer {
            Consumer::CircuitOpen { until } if until > now => Some(until.duration_since(now)),
            Consumer::CircuitOpen { .. }
            | Consumer::None
            | Consumer::Starting
            | Consumer::Attached { .. }
            | Consumer::Closed => None,
        }
    }

    /// How long the oldest job has waited for the actor that sits here; `None` if nobody does.
    pub fn stalled_for(&self, now: Instant) -> Option<Duration> {
        let inner = self.lock();
        let (pushed, _) = inner.queue.front()?;
        match &inner.consumer {
            Consumer::Attached { since, .. } => Some(now.duration_since(*since.max(pushed))),
            Consumer::None | Consumer::Starting | Consumer::CircuitOpen { .. } | Consumer::Closed => None,
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
    pub fn is_attached(&self) -> bool {
        matches!(self.lock().consumer, Consumer::Attached { .. })
    }

    /// True if no job waits and nobody sits here or is awaited.
    pub fn is_idle(&self) -> bool {
        let inner = self.lock();
        inner.queue.is_empty() && matches!(inner.consumer, Consumer::None)
    }
}

impl<J, M: WakeMessage> Inner<J, M> {
    fn wake(&mut self) {
        if let (Consumer::Attached { actor, .. }, false) = (&self.consumer, self.woken) {
            // If the actor is dead, its parent hears of it and seats another one, who is woken then.
            self.woken = actor.send_message(M::wake()).is_ok();
        }
    }
}

#[cfg(test)]
mod tests;
