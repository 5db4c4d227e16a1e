//! The handle through which the stores of one file read and submit commands to the writer.

use std::ops::Deref;
use std::sync::Arc;

use greenroom_protocol::Timestamp;
use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};

use crate::error::StoreError;
use crate::group_commit::{CommandSender, ReplySender, SubmittedCommand};
use crate::sqlite::command::{CloseStore, Command, Flush, WriteCommand, with_reply};
use crate::sqlite::error::sqlx_error;
use crate::sqlite::shared::Shared;

/// The queue of the writer; cheap to clone.
#[derive(Clone)]
pub(super) struct WriterQueue(CommandSender<Command>);

impl WriterQueue {
    pub(super) const fn new(sender: CommandSender<Command>) -> Self {
        Self(sender)
    }

    /// Submits a command and waits until it is durable.
    pub(super) async fn execute<C: WriteCommand>(&self, command: C) -> Result<C::Output, C::Error> {
        self.0.request(|reply| with_reply(command, reply)).await
    }

    /// Submits a command whose reply is awaited later.
    pub(super) async fn submit<T, E: From<StoreError>>(
        &self,
        command: impl FnOnce(ReplySender<T, E>) -> Command,
    ) -> Result<SubmittedCommand<T, E>, E> {
        self.0.submit(command).await
    }

    /// Submits a command without a reply.
    pub(super) async fn send(&self, command: Command) -> Result<(), StoreError> {
        self.0.send(command).await
    }

    /// Submits a command without a reply, for callers that cannot wait.
    pub(super) fn try_send(&self, command: Command) -> Result<(), StoreError> {
        self.0.try_send(command)
    }
}

/// The handle of each store of one file: the shared state with its readers, and the queue of the writer.
#[derive(Clone)]
pub(super) struct StoreHandle {
    shared: Arc<Shared>,
    pub(super) queue: WriterQueue,
}

impl Deref for StoreHandle {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl StoreHandle {
    pub(super) const fn new(shared: Arc<Shared>, queue: WriterQueue) -> Self {
        Self { shared, queue }
    }

    /// The shared state, for what outlives the handle.
    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The rows of a query, read at once.
    pub(super) async fn read_rows(
        &self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        query.fetch_all(&self.readers).await.map_err(|error| sqlx_error(&error))
    }

    /// The only row of a query, if there is one.
    pub(super) async fn read_row(
        &self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Option<SqliteRow>, StoreError> {
        query.fetch_optional(&self.readers).await.map_err(|error| sqlx_error(&error))
    }

    /// Waits until every command submitted before is durable.
    pub(super) async fn flush(&self) -> Result<(), StoreError> {
        self.queue.execute(Flush).await
    }

    /// As [`StoreHandle::flush`]; a closed store, which has nothing left to write, is no error.
    pub(super) async fn flush_if_open(&self) -> Result<(), StoreError> {
        match self.flush().await {
            Ok(()) | Err(StoreError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends the writer. Closing a closed store does nothing.
    pub(super) async fn close(&self, now: Timestamp) -> Result<(), StoreError> {
        match self.queue.0.request(|reply| Box::new(CloseStore { now, reply }) as Command).await {
            Ok(()) | Err(StoreError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
