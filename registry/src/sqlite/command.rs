//! The interface between the writer and its commands: the rows that a command needs, its decision, and the
//! reply to its caller. The writer knows only this interface, and no command knows the writer.

use std::time::Duration;

use greenroom_protocol::{RunId, Timestamp};

use crate::error::StoreError;
use crate::group_commit::{BatchCommand, LINGER, ReplySender};
use crate::idempotency::StoredKey;
use crate::sqlite::commit::Commit;
use crate::sqlite::writer_state::WriterState;

/// The rows that must be read before the commands of a batch can be decided.
#[derive(Default)]
pub(super) struct Needs<'c> {
    /// The records of these runs.
    pub(super) runs: Vec<&'c RunId>,
    /// The records of all runs of these trees that have not ended.
    pub(super) trees: Vec<&'c RunId>,
    /// These idempotency keys.
    pub(super) keys: Vec<&'c StoredKey>,
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

    /// Adds the rows that the writer prefetches for the command.
    fn add_needs<'c>(&'c self, _needs: &mut Needs<'c>) {}

    /// Decides the command on the state of the writer and adds its statements to the commit.
    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<Self::Output, Self::Error>;
}

/// A command in the queue, together with the sender of its reply.
pub(super) trait QueuedCommand: BatchCommand {
    /// Adds the rows that the writer prefetches for the command.
    fn add_needs<'c>(&'c self, needs: &mut Needs<'c>);

    /// Decides the command, and replies to its caller once the commit is durable. A request whose caller has gone
    /// is not executed.
    fn apply(self: Box<Self>, state: &mut WriterState, commit: &mut Commit);
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
    fn add_needs<'c>(&'c self, needs: &mut Needs<'c>) {
        self.command.add_needs(needs);
    }

    fn apply(self: Box<Self>, state: &mut WriterState, commit: &mut Commit) {
        let Self { command, reply } = *self;
        if reply.as_ref().is_some_and(ReplySender::is_abandoned) {
            return;
        }
        match (command.apply(state, commit), reply) {
            (Ok(output), Some(reply)) => commit.reply(reply, output),
            (Err(error), Some(reply)) => reply.send(Err(error)),
            (Ok(_) | Err(_), None) => {}
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

/// Records that this pod is active, because it hosts a run that writes nothing.
pub(super) struct RecordActive {
    pub(super) now: Timestamp,
}

impl WriteCommand for RecordActive {
    type Output = ();
    type Error = StoreError;

    fn max_delay(&self) -> Duration {
        LINGER
    }

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        state.shared.pods.record_active(self.now, &mut commit.statements);
        Ok(())
    }
}

/// Writes every queued command, records until when this pod was active, signs the end of the audit and ends the
/// writer, which replies last.
pub(super) struct CloseStore {
    pub(super) now: Timestamp,
    pub(super) reply: ReplySender<()>,
}

impl BatchCommand for CloseStore {
    fn max_delay(&self) -> Duration {
        Duration::ZERO
    }
}

impl QueuedCommand for CloseStore {
    fn add_needs<'c>(&'c self, _needs: &mut Needs<'c>) {}

    fn apply(self: Box<Self>, state: &mut WriterState, commit: &mut Commit) {
        state.shared.pods.record_active(self.now, &mut commit.statements);
        commit.close = Some(self.reply);
    }
}
