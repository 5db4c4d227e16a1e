//! The interface between the writer and its commands: the rows that a command needs, its decision, and the
//! reply to its caller. The writer knows only this interface, and no command knows the writer.

use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::{RunId, TenantId};

use crate::error::StoreError;
use crate::group_commit::{BatchCommand, ReplySender};
use crate::sqlite::commit::Commit;
use crate::sqlite::writer_state::WriterState;

/// The rows that must be read before a command can be decided.
#[derive(Default)]
pub(super) struct Needs<'c> {
    /// The record of this run.
    pub(super) run: Option<&'c RunId>,
    /// The record of the run that calls it.
    pub(super) parent: Option<&'c RunId>,
    /// The records of all runs of this tree that have not ended, and of its root.
    pub(super) tree: Option<&'c RunId>,
    /// The shared context of this run.
    pub(super) context: Option<&'c RunId>,
    /// This idempotency key.
    pub(super) key: Option<(&'c str, &'c TenantId)>,
}

/// A write that one caller requests.
pub(super) trait WriteCommand: Send + 'static {
    /// The reply, which the caller gets once the commit is durable.
    type Output: Send + 'static;
    /// The error, which the caller gets at once.
    type Error: From<StoreError> + Send + 'static;

    /// How long the command may be delayed; zero if it starts a commit at once.
    fn max_delay(&self) -> Duration {
        Duration::ZERO
    }

    /// Names the rows that the writer prefetches for the command.
    fn needs(&self) -> Needs<'_> {
        Needs::default()
    }

    /// Decides the command on the state of the writer and adds its statements to the commit.
    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<Self::Output, Self::Error>;

    /// Is called instead of `apply` if the rows that the batch needs cannot be read.
    fn on_rejected(self, _state: &mut WriterState)
    where
        Self: Sized,
    {
    }
}

/// A command in the queue, together with the sender of its reply.
pub(super) trait QueuedCommand: BatchCommand {
    /// Names the rows that the writer prefetches for the command.
    fn needs(&self) -> Needs<'_>;

    /// Decides the command, and replies to its caller once the commit is durable.
    fn apply(self: Box<Self>, state: &mut WriterState, commit: &mut Commit);

    /// Rejects the caller, because the command could not be decided.
    fn reject(self: Box<Self>, state: &mut WriterState, error: &StoreError);
}

/// The items of the queue.
pub(super) type Command = Box<dyn QueuedCommand>;

struct Queued<C: WriteCommand> {
    command: C,
    /// None if no caller awaits the command.
    reply: Option<ReplySender<C::Output, C::Error>>,
}

/// A command whose caller awaits the reply.
pub(super) fn with_reply<C: WriteCommand>(command: C, reply: ReplySender<C::Output, C::Error>) -> Command {
    Box::new(Queued { command, reply: Some(reply) })
}

/// A command that no caller awaits.
pub(super) fn without_reply<C: WriteCommand>(command: C) -> Command {
    Box::new(Queued { command, reply: None })
}

impl<C: WriteCommand> BatchCommand for Queued<C> {
    fn max_delay(&self) -> Duration {
        self.command.max_delay()
    }
}

impl<C: WriteCommand> QueuedCommand for Queued<C> {
    fn needs(&self) -> Needs<'_> {
        self.command.needs()
    }

    fn apply(self: Box<Self>, state: &mut WriterState, commit: &mut Commit) {
        let Self { command, reply } = *self;
        match (command.apply(state, commit), reply) {
            (Ok(output), Some(reply)) => commit.reply(reply, output),
            (Err(error), Some(reply)) => reply.send(Err(error)),
            (Ok(_) | Err(_), None) => {}
        }
    }

    fn reject(self: Box<Self>, state: &mut WriterState, error: &StoreError) {
        let Self { command, reply } = *self;
        command.on_rejected(state);
        if let Some(reply) = reply {
            reply.send(Err(error.clone().into()));
        }
    }
}

/// Replies once every command before it is durable.
pub(super) struct Flush;

impl WriteCommand for Flush {
    type Output = ();
    type Error = StoreError;

    fn apply(self, _state: &mut WriterState, _commit: &mut Commit) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Writes every queued command, signs the end of the audit and ends the writer, which replies last.
pub(super) struct CloseStore {
    pub(super) reply: ReplySender<()>,
}

impl BatchCommand for CloseStore {
    fn max_delay(&self) -> Duration {
        Duration::ZERO
    }
}

impl QueuedCommand for CloseStore {
    fn needs(&self) -> Needs<'_> {
        Needs::default()
    }

    fn apply(self: Box<Self>, _state: &mut WriterState, commit: &mut Commit) {
        commit.close = Some(self.reply);
    }

    fn reject(self: Box<Self>, _state: &mut WriterState, error: &StoreError) {
        self.reply.send(Err(error.clone()));
    }
}
