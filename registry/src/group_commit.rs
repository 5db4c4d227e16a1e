//! Group commit: one writer makes the commands of many callers durable with one flush of the disk.
//!
//! A caller submits a command and awaits its reply. The writer takes all queued commands in the order
//! of their submission, makes them durable in one transaction, and replies to all callers. A command
//! that may be delayed does not start a commit at once but joins the next one: for up to [`LINGER`]
//! if no caller awaits it, for up to [`COALESCE_WAIT`] if its caller knows that another command
//! follows at once. A command that may be delayed seldom wakes the writer ([`wakeup`]).
//!
//! A late reply means that the outcome is unknown: a caller that has waited for [`COMMIT_WAIT_MAX`] gets
//! [`StoreError::OutcomeUnknown`], never "nothing was written". A caller may also wait for as long as the writer
//! works. The writer does not execute a request whose caller has gone before it was decided; what has to follow from something that has happened (the closing of
//! an entry, a settlement, the reply under a key) is written whether or not its caller waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::error::StoreError;

pub(crate) use receiver::CommandReceiver;
use wakeup::{WakeOnDrop, Wakeup};

mod receiver;
mod wakeup;

/// How long a caller awaits its reply.
pub const COMMIT_WAIT_MAX: Duration = Duration::from_secs(30);
/// Commands that may be queued for the writer; further callers wait until the queue has room.
pub const QUEUE_LENGTH_MAX: usize = 65_536;
/// Commands in one commit.
pub const BATCH_LENGTH_MAX: usize = 1_024;
/// How long a command that no caller awaits may be delayed until another one starts a commit.
pub const LINGER: Duration = Duration::from_millis(20);
/// How long a coalescing command is delayed. The next command usually arrives within microseconds;
/// this is the delay if it does not arrive at all.
pub const COALESCE_WAIT: Duration = Duration::from_millis(1);

/// Whether a command starts a commit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitTiming {
    /// It starts a commit at once.
    Immediate,
    /// The caller submits another command at once that starts a commit. Until then the command waits,
    /// for at most [`COALESCE_WAIT`].
    Coalesce,
}

impl CommitTiming {
    /// How long the command may be delayed.
    #[must_use]
    pub const fn max_delay(self) -> Duration {
        match self {
            Self::Immediate => Duration::ZERO,
            Self::Coalesce => COALESCE_WAIT,
        }
    }
}

/// The writer's end of one caller's reply. If it is dropped without a reply, its caller learns that the
/// outcome is unknown.
#[derive(Debug)]
pub(crate) struct ReplySender<T, E = StoreError>(oneshot::Sender<Result<T, E>>);

impl<T, E> ReplySender<T, E> {
    /// Replies. A caller that does not wait any more is ignored.
    pub(crate) fn send(self, reply: Result<T, E>) {
        drop(self.0.send(reply));
    }

    /// True if the caller does not wait any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}

/// A command of a writer.
pub(crate) trait BatchCommand: Send {
    /// How long it may be delayed; zero if it starts a commit at once.
    fn max_delay(&self) -> Duration;
}

impl<C: BatchCommand + ?Sized> BatchCommand for Box<C> {
    fn max_delay(&self) -> Duration {
        (**self).max_delay()
    }
}

/// The callers' end of the queue; cheap to clone.
#[derive(Debug)]
pub(crate) struct CommandSender<C>(Arc<SendingEnd<C>>);

#[derive(Debug)]
struct SendingEnd<C> {
    commands: mpsc::Sender<C>,
    /// Dropped after the sender, so that the writer finds the queue closed.
    wakeup: WakeOnDrop,
}

impl<C> Clone for CommandSender<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Creates both ends of a queue.
pub(crate) fn queue<C: BatchCommand>() -> (CommandSender<C>, CommandReceiver<C>) {
    let (sender, receiver) = mpsc::channel(QUEUE_LENGTH_MAX);
    let wakeup = Arc::new(Wakeup::default());
    let end = SendingEnd { commands: sender, wakeup: WakeOnDrop::new(Arc::clone(&wakeup)) };
    (CommandSender(Arc::new(end)), CommandReceiver::new(receiver, wakeup))
}

/// A submitted command whose reply can be awaited.
pub(crate) struct SubmittedCommand<T, E> {
    reply: oneshot::Receiver<Result<T, E>>,
    /// None for a caller that waits for as long as the writer works.
    deadline: Option<Instant>,
}

#[cfg(feature = "testing")]
impl<T, E> SubmittedCommand<T, E> {
    /// A command whose reply comes from a test.
    pub(crate) const fn for_test(reply: oneshot::Receiver<Result<T, E>>) -> Self {
        Self { reply, deadline: None }
    }
}

impl<T, E: From<StoreError>> SubmittedCommand<T, E> {
    /// Waits for the reply, which can be received once.
    pub(crate) async fn wait_reply(&mut self) -> Result<T, E> {
        match wait_until(self.deadline, &mut self.reply).await {
            Some(Ok(reply)) => reply,
            // The reply is late, or the writer has ended with the command in its hands.
            Some(Err(_)) | None => Err(StoreError::OutcomeUnknown.into()),
        }
    }
}

impl<C: BatchCommand> CommandSender<C> {
    /// Submits a command and waits for its reply.
    pub(crate) async fn request<T, E>(&self, command: impl FnOnce(ReplySender<T, E>) -> C) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        self.submit(command).await?.wait_reply().await
    }

    /// Submits a command whose reply is awaited later; waits only until the queue has room.
    pub(crate) async fn submit<T, E>(
        &self,
        command: impl FnOnce(ReplySender<T, E>) -> C,
    ) -> Result<SubmittedCommand<T, E>, E>
    where
        E: From<StoreError>,
    {
        self.submit_within(Some(COMMIT_WAIT_MAX), command).await
    }

    /// As [`CommandSender::submit`], for a caller that waits for so long: for room in the queue, and with that for the
    /// reply. Without a bound, it waits for as long as the writer works.
    pub(crate) async fn submit_within<T, E>(
        &self,
        wait_max: Option<Duration>,
        command: impl FnOnce(ReplySender<T, E>) -> C,
    ) -> Result<SubmittedCommand<T, E>, E>
    where
        E: From<StoreError>,
    {
        let (sender, reply) = oneshot::channel();
        let deadline = wait_max.map(|wait_max| Instant::now() + wait_max);
        self.queue(deadline, command(ReplySender(sender))).await?;
        Ok(SubmittedCommand { reply, deadline })
    }

    /// Submits a command without a reply; waits only until the queue has room.
    pub(crate) async fn send(&self, command: C) -> Result<(), StoreError> {
        self.queue(Some(Instant::now() + COMMIT_WAIT_MAX), command).await
    }

    /// Queues a command, and waits for room until the deadline, if there is one.
    async fn queue(&self, deadline: Option<Instant>, command: C) -> Result<(), StoreError> {
        let command = match self.queue_now(command) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(StoreError::Closed),
            Err(mpsc::error::TrySendError::Full(command)) => command,
        };
        match wait_until(deadline, self.queue_when_possible(command)).await {
            Some(sent) => sent.map_err(|_| StoreError::Closed),
            None => Err(StoreError::Overrun),
        }
    }

    /// As [`CommandSender::send`], for callers that cannot wait: a full queue is an error.
    pub(crate) fn try_send(&self, command: C) -> Result<(), StoreError> {
        self.queue_now(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Overrun,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })
    }

    fn queue_now(&self, command: C) -> Result<(), mpsc::error::TrySendError<C>> {
        let max_delay = command.max_delay();
        self.0.commands.try_send(command)?;
        self.0.wakeup.on_queued(max_delay);
        Ok(())
    }

    /// Waits until the queue has room.
    async fn queue_when_possible(&self, command: C) -> Result<(), mpsc::error::SendError<C>> {
        let max_delay = command.max_delay();
        self.0.commands.send(command).await?;
        self.0.wakeup.on_queued(max_delay);
        Ok(())
    }
}

/// Waits for a result until the deadline, if there is one; `None` once it has passed.
async fn wait_until<F: Future>(deadline: Option<Instant>, result: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => timeout_at(deadline, result).await.ok(),
        None => Some(result.await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Request(ReplySender<u32>);

    impl BatchCommand for Request {
        fn max_delay(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[tokio::test]
    async fn a_late_reply_and_a_lost_one_mean_that_the_outcome_is_unknown() {
        let (sender, mut commands) = queue();
        let mut overdue = sender.submit(Request).await.unwrap();
        overdue.deadline = Some(Instant::now());
        assert!(matches!(overdue.wait_reply().await, Err(StoreError::OutcomeUnknown)));
        drop(overdue);
        let mut batch = Vec::new();
        assert!(commands.next_batch(&mut batch, Instant::now()).await);
        assert!(batch.pop().is_some_and(|Request(reply)| reply.is_abandoned()), "its caller has gone");
        let mut lost = sender.submit(Request).await.unwrap();
        assert!(commands.next_batch(&mut batch, Instant::now()).await);
        assert!(batch.pop().is_some_and(|Request(reply)| !reply.is_abandoned()));
        assert!(matches!(lost.wait_reply().await, Err(StoreError::OutcomeUnknown)));
        drop(commands);
        assert!(matches!(sender.submit(Request).await, Err(StoreError::Closed)), "nothing was submitted");
    }

    #[tokio::test]
    async fn a_caller_without_a_bound_waits_for_as_long_as_the_writer_works() {
        let (sender, mut commands) = queue();
        let mut batch = Vec::new();
        for ends in [false, true] {
            let mut submitted = sender.submit_within(None, Request).await.unwrap();
            assert_eq!(submitted.deadline, None);
            assert!(commands.next_batch(&mut batch, Instant::now()).await);
            let Some(Request(reply)) = batch.pop() else { panic!("it was submitted") };
            let mut waiting = Box::pin(submitted.wait_reply());
            assert!(futures::poll!(&mut waiting).is_pending());
            if ends {
                drop(reply);
            } else {
                reply.send(Ok(7));
            }
            let result = waiting.await;
            assert!(if ends { matches!(result, Err(StoreError::OutcomeUnknown)) } else { matches!(result, Ok(7)) });
        }
    }
}
