//! Group commit: many callers, one writer, one flush of the disk for all that came meanwhile.
//!
//! A caller hands over a command and waits for its answer; the writer takes all commands that are
//! there, in the order in which they came, makes them durable together, and answers them all. What
//! has patience does not start a commit of its own at once, but rides along with the next one: for
//! [`LINGER`] where nobody waits, for [`COMPANY_WAIT`] where somebody waits who knows that another
//! command follows at once.

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
/// How long a command whose company was promised waits for it. Company comes within microseconds; this
/// is the price where it does not come at all.
pub const COALESCE_WAIT: Duration = Duration::from_millis(1);

/// Whether a command starts a commit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitTiming {
    /// At once.
    Immediate,
    /// The caller hands in something else at once that does; until then it waits, for
    /// [`COMPANY_WAIT`] at most.
    Coalesce,
}

impl CommitTiming {
    /// How long the command waits for company.
    #[must_use]
    pub const fn max_delay(self) -> Duration {
        match self {
            Self::Immediate => Duration::ZERO,
            Self::Coalesce => COALESCE_WAIT,
        }
    }
}

/// Where a command's answer goes.
pub(crate) type ReplySender<T, E = StoreError> = oneshot::Sender<Result<T, E>>;

/// Something that a writer does.
pub(crate) trait BatchCommand: Send {
    /// How long it may wait for company; nothing if it starts a commit at once.
    fn max_delay(&self) -> Duration;
}

/// The callers' end.
#[derive(Debug)]
pub(crate) struct CommandSender<C>(mpsc::Sender<C>);

impl<C> Clone for CommandSender<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct CommandReceiver<C>(mpsc::Receiver<C>);

/// Makes both ends.
pub(crate) fn queue<C: BatchCommand>() -> (CommandSender<C>, CommandReceiver<C>) {
    let (sender, receiver) = mpsc::channel(QUEUE_LENGTH_MAX);
    (CommandSender(sender), CommandReceiver(receiver))
}

/// A command that was handed over, and whose answer may be waited for.
pub(crate) struct SubmittedCommand<T, E> {
    reply: oneshot::Receiver<Result<T, E>>,
    deadline: Instant,
}

impl<T, E: From<StoreError>> SubmittedCommand<T, E> {
    /// Waits for the answer; once it was given there is none any more.
    pub(crate) async fn wait_reply(&mut self) -> Result<T, E> {
        match timeout_at(self.deadline, &mut self.reply).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StoreError::Closed.into()),
            Err(_) => Err(StoreError::Timeout.into()),
        }
    }
}

impl<C: BatchCommand> CommandSender<C> {
    /// Hands over a command and waits for its answer.
    pub(crate) async fn request<T, E>(&self, command: impl FnOnce(ReplySender<T, E>) -> C) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        self.submit(command).await?.wait_reply().await
    }

    /// Hands over a command, whose answer is waited for later; waits for a place in the queue only.
    pub(crate) async fn submit<T, E>(
        &self,
        command: impl FnOnce(ReplySender<T, E>) -> C,
    ) -> Result<SubmittedCommand<T, E>, E>
    where
        E: From<StoreError>,
    {
        let (answer, answered) = oneshot::channel();
        let deadline = Instant::now() + COMMIT_WAIT_MAX;
        let command = match self.0.try_send(command(answer)) {
            Ok(()) => return Ok(SubmittedCommand { reply: answered, deadline }),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(StoreError::Closed.into()),
            Err(mpsc::error::TrySendError::Full(command)) => command,
        };
        match timeout_at(deadline, self.0.send(command)).await {
            Ok(Ok(())) => Ok(SubmittedCommand { reply: answered, deadline }),
            Ok(Err(_)) => Err(StoreError::Closed.into()),
            Err(_) => Err(StoreError::Overrun.into()),
        }
    }

    /// Hands over a command that nobody waits for; waits for a place in the queue only.
    pub(crate) async fn send(&self, command: C) -> Result<(), StoreError> {
        match timeout(COMMIT_WAIT_MAX, self.0.send(command)).await {
            Ok(sent) => sent.map_err(|_| StoreError::Closed),
            Err(_) => Err(StoreError::Overrun),
        }
    }

    /// The same where waiting is impossible.
    pub(crate) fn try_send(&self, command: C) -> Result<(), StoreError> {
        self.0.try_send(command).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StoreError::Overrun,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })
    }
}

impl<C: BatchCommand> CommandReceiver<C> {
    /// The next commands to be done together: at least one, unless `until` comes first or every
    /// caller is gone. False in the last case.
    pub(crate) async fn next_batch(&mut self, batch: &mut Vec<C>, until: Instant) -> bool {
        if let Ok(0) = timeout_at(until, self.0.recv_many(batch, BATCH_LENGTH_MAX)).await {
            return false;
        }
        let mut lingers_until = until;
        let mut seen = 0;
        while !batch.is_empty() && batch.len() < BATCH_LENGTH_MAX {
            let patience = batch.iter().skip(seen).map(BatchCommand::max_delay).min().unwrap_or(LINGER);
            if patience.is_zero() {
                break;
            }
            lingers_until = lingers_until.min(Instant::now() + patience);
            seen = batch.len();
            let room = BATCH_LENGTH_MAX - batch.len();
            match timeout_at(lingers_until, self.0.recv_many(batch, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        true
    }

    /// Lets no more commands in; those that are there can still be taken.
    pub(crate) fn close(&mut self) {
        self.0.close();
    }
}
