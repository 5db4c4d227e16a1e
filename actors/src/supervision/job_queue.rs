//! A bounded job queue that survives its actor.
//!
//! ractor's mailbox is unbounded and is lost with its actor. So jobs wait in this queue, the mailbox carries only
//! wake-ups, and a restarted actor continues with the same queue. Every job in it may start, because callers wait for a
//! ticket before they push: an actor that takes none of them is stalled, whereas a long queue is only load.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::{ActorId, ActorRef};
use tokio::time::Instant;

/// A message type with a wake-up, on which the actor reads its queue.
pub trait WakeMessage: ractor::Message {
    /// The wake-up.
    fn wake() -> Self;
}

/// The result of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The job is queued, and an actor is attached or starting.
    Queued,
    /// The job is queued, and the caller must request a start of the actor.
    NeedsActor,
}

/// The reason for which a job was rejected, with the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushError<J> {
    /// The queue is full.
    Full(J),
    /// The circuit is open for this long.
    CircuitOpen(J, Duration),
    /// The queue is closed.
    Closed(J),
}

enum Consumer<M> {
    /// No actor, and none was requested.
    None,
    /// A start was requested.
    Starting,
    /// An actor is attached.
    Attached(ActorRef<M>),
    /// The circuit is open until then.
    CircuitOpen { until: Instant },
    /// The queue is closed for good.
    Closed,
}

struct Inner<J, M> {
    queue: VecDeque<J>,
    consumer: Consumer<M>,
    /// A wake-up was sent, so that a burst sends one and not thousands.
    woken: bool,
    /// Jobs that actors have taken since the queue was created.
    taken: u64,
}

/// A bounded queue of jobs and its consumer.
pub struct JobQueue<J, M> {
    inner: Mutex<Inner<J, M>>,
    jobs_max: usize,
}

impl<J, M: WakeMessage> JobQueue<J, M> {
    /// Creates an empty queue for at most `jobs_max` jobs.
    #[must_use]
    pub const fn new(jobs_max: usize) -> Self {
        let inner = Inner { queue: VecDeque::new(), consumer: Consumer::None, woken: false, taken: 0 };
        Self { inner: Mutex::new(inner), jobs_max }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<J, M>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pushes a job and wakes the actor if one is attached.
    ///
    /// # Errors
    /// [`PushError`], with the job.
    pub fn push(&self, job: J, now: Instant) -> Result<Pushed, PushError<J>> {
        let mut inner = self.lock();
        match inner.consumer {
            Consumer::Closed => return Err(PushError::Closed(job)),
            Consumer::CircuitOpen { until } if until > now => {
                return Err(PushError::CircuitOpen(job, until.duration_since(now)));
            }
            Consumer::CircuitOpen { .. } => inner.consumer = Consumer::None,
            Consumer::None | Consumer::Starting | Consumer::Attached(_) => {}
        }
        if inner.queue.len() >= self.jobs_max {
            return Err(PushError::Full(job));
        }
        inner.queue.push_back(job);
        match inner.consumer {
            Consumer::None => {
                inner.consumer = Consumer::Starting;
                Ok(Pushed::NeedsActor)
            }
            Consumer::Attached(_) => {
                inner.wake();
                Ok(Pushed::Queued)
            }
            Consumer::Starting | Consumer::CircuitOpen { .. } | Consumer::Closed => Ok(Pushed::Queued),
        }
    }

    /// Pops the oldest job. A woken actor pops until the queue is empty, or sends itself another wake-up.
    pub fn pop(&self) -> Option<J> {
        let mut inner = self.lock();
        match inner.queue.pop_front() {
            Some(job) => {
                inner.taken = inner.taken.wrapping_add(1);
                Some(job)
            }
            None => {
                inner.woken = false;
                None
            }
        }
    }

    /// Attaches an actor and wakes it if a job waits.
    pub fn attach(&self, actor: ActorRef<M>) {
        let mut inner = self.lock();
        if matches!(inner.consumer, Consumer::Closed) {
            return;
        }
        inner.consumer = Consumer::Attached(actor);
        inner.woken = false;
        if !inner.queue.is_empty() {
            inner.wake();
        }
    }

    /// Detaches an idle actor. Returns true if no job waits; a later job then requests a new actor. Returns false if
    /// a job waits or the actor is not attached.
    pub fn try_detach(&self, actor_id: ActorId) -> bool {
        let mut inner = self.lock();
        let is_attached = matches!(&inner.consumer, Consumer::Attached(actor) if actor.get_id() == actor_id);
        let detaches = is_attached && inner.queue.is_empty();
        if detaches {
            inner.consumer = Consumer::None;
        }
        detaches
    }

    /// The actor has stopped and will be restarted: jobs wait for it. An open circuit stays open.
    pub fn expect_restart(&self) {
        let mut inner = self.lock();
        match inner.consumer {
            Consumer::Closed | Consumer::CircuitOpen { .. } => {}
            Consumer::None | Consumer::Starting | Consumer::Attached(_) => inner.consumer = Consumer::Starting,
        }
    }

    /// The actor has stopped. Returns true if a job waits, and then expects a restart.
    pub fn detach(&self) -> bool {
        let mut inner = self.lock();
        let has_jobs = !inner.queue.is_empty();
        match inner.consumer {
            Consumer::Closed | Consumer::CircuitOpen { .. } => false,
            Consumer::None | Consumer::Starting | Consumer::Attached(_) => {
                inner.consumer = if has_jobs { Consumer::Starting } else { Consumer::None };
                has_jobs
            }
        }
    }

    /// Opens the circuit and returns the waiting jobs.
    pub fn open_circuit(&self, until: Instant) -> Vec<J> {
        self.drain_into(Consumer::CircuitOpen { until })
    }

    /// Closes the queue for good and returns the waiting jobs.
    pub fn close(&self) -> Vec<J> {
        self.drain_into(Consumer::Closed)
    }

    fn drain_into(&self, consumer: Consumer<M>) -> Vec<J> {
        let mut inner = self.lock();
        if !matches!(inner.consumer, Consumer::Closed) {
            inner.consumer = consumer;
        }
        inner.queue.drain(..).collect()
    }

    /// Sends a message to the actor directly, if one is attached.
    pub fn notify(&self, message: M) {
        let actor = match &self.lock().consumer {
            Consumer::Attached(actor) => Some(actor.clone()),
            Consumer::None | Consumer::Starting | Consumer::CircuitOpen { .. } | Consumer::Closed => None,
        };
        if let Some(actor) = actor {
            // A stopped actor has dropped the execution that the message names.
            let _ = actor.send_message(message);
        }
    }

    /// The time until the circuit closes; `None` if it is not open.
    pub fn circuit_open_for(&self, now: Instant) -> Option<Duration> {
        match self.lock().consumer {
            Consumer::CircuitOpen { until } if until > now => Some(until.duration_since(now)),
            Consumer::CircuitOpen { .. }
            | Consumer::None
            | Consumer::Starting
            | Consumer::Attached(_)
            | Consumer::Closed => None,
        }
    }

    /// The number of jobs that were taken until now, if a job waits for the attached actor; `None` without a job or an
    /// actor. As long as it does not change, the actor makes no progress.
    pub fn taken_while_waiting(&self) -> Option<u64> {
        let inner = self.lock();
        match &inner.consumer {
            Consumer::Attached(_) => (!inner.queue.is_empty()).then_some(inner.taken),
            Consumer::None | Consumer::Starting | Consumer::CircuitOpen { .. } | Consumer::Closed => None,
        }
    }

    /// Number of waiting jobs.
    pub fn len(&self) -> usize {
        self.lock().queue.len()
    }

    /// True if no job waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if an actor is attached.
    pub fn is_attached(&self) -> bool {
        matches!(self.lock().consumer, Consumer::Attached(_))
    }

    /// True if the queue is closed for good.
    pub fn is_closed(&self) -> bool {
        matches!(self.lock().consumer, Consumer::Closed)
    }

    /// True if no job waits and no actor is attached or starting.
    pub fn is_idle(&self) -> bool {
        let inner = self.lock();
        inner.queue.is_empty() && matches!(inner.consumer, Consumer::None)
    }
}

impl<J, M: WakeMessage> Inner<J, M> {
    fn wake(&mut self) {
        if let (Consumer::Attached(actor), false) = (&self.consumer, self.woken) {
            // If the actor has stopped, its supervisor restarts it and the new actor is woken.
            self.woken = actor.send_message(M::wake()).is_ok();
        }
    }
}

#[cfg(test)]
mod tests;
