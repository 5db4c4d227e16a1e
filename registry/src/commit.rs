//! Group commit: many callers, one writer, one flush of the disk for all that came meanwhile.
//!
//! A caller hands over a command and waits for its answer; the writer takes all commands that are
//! there, makes them durable together, and answers them all. What nobody waits for does not start a
//! commit of its own at once, but rides along with the next one, or goes after [`LINGER`].

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::StoreError;

/// How long a caller waits for its answer.
pub const COMMIT_WAIT_MAX: Duration = Duration::from_secs(30);
/// Commands that may wait for the writer; callers beyond that wait for a place.
pub const QUEUE_LENGTH_MAX: usize = 65_536;
/// Commands that one commit takes at most.
pub const BATCH_LENGTH_MAX: usize = 1_024;
/// How long something that nobody waits for may wait for company.
pub const LINGER: Duration = Duration::from_millis(20);

/// Where a command's answer goes.
pub(crate) type Answer<T, E = StoreError> = oneshot::Sender<Result<T, E>>;

/// Something that a writer does.
pub(crate) trait Command: Send {
    /// True if somebody waits for it.
    fn is_urgent(&self) -> bool;
}

/// The callers' end.
#[derive(Debug)]
pub(crate) struct Queue<C>(mpsc::Sender<C>);

impl<C> Clone for Queue<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct Inbox<C>(mpsc::Receiver<C>);

/// Makes both ends.
pub(crate) fn queue<C: Command>() -> (Queue<C>, Inbox<C>) {
    let (sender, receiver) = mpsc::channel(QUEUE_LENGTH_MAX);
    (Queue(sender), Inbox(receiver))
}

impl<C: Command> Queue<C> {
    /// Hands over a command and waits for its answer.
    pub(crate) async fn ask<T, E>(&self, command: impl FnOnce(Answer<T, E>) -> C) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        let (answer, answered) = oneshot::channel();
        let deadline = Instant::now() + COMMIT_WAIT_MAX;
        match timeout_at(deadline, self.0.send(command(answer))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(StoreError::Closed.into()),
            Err(_) => return Err(StoreError::Overrun.into()),
        }
        match timeout_at(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StoreError::Closed.into()),
            Err(_) => Err(StoreError::Late.into()),
        }
    }

    /// Hands over a command that nobody waits for; waits for a place in the queue only.
    pub(crate) async fn tell(&self, command: C) -> Result<(), StoreError> {
        match timeout(COMMIT_WAIT_MAX, self.0.send(command)).await {
            Ok(sent) => sent.map_err(|_| StoreError::Closed),
            Err(_) => Err(StoreError::Overrun),
        }
    }

    /// The same where waiting is impossible.
    pub(crate) fn drop_in(&self, command: C) -> Result<(), StoreError> {
        self.0.try_send(command).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StoreError::Overrun,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })
    }
}

impl<C: Command> Inbox<C> {
    /// The next commands to be done together: at least one, unless `until` comes first or every
    /// caller is gone. False in the last case.
    pub(crate) async fn gather(&mut self, batch: &mut Vec<C>, until: Instant) -> bool {
        if let Ok(0) = timeout_at(until, self.0.recv_many(batch, BATCH_LENGTH_MAX)).await {
            return false;
        }
        let lingers_until = until.min(Instant::now() + LINGER);
        while !batch.is_empty() && batch.len() < BATCH_LENGTH_MAX && !batch.iter().any(Command::is_urgent) {
            let room = BATCH_LENGTH_MAX - batch.len();
            match timeout_at(lingers_until, self.0.recv_many(batch, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        true
    }

    /// Lets no more commands in; those that are there can still be taken.
    pub(crate) fn shut(&mut self) {
        self.0.close();
    }
}
