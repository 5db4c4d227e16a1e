//! The connections that read, and those of transactions outside of the lanes: a few, which are opened when they are needed
//! and used again. Each statement on them ends in time, so that a server which accepts what is sent and is silent delays
//! no caller without a bound. A connection on which a statement was not finished is closed, and never used again.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, TryFutureExt as _};
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection as _, Either, Execute, Executor, Postgres, SqlStr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::StoreError;
use crate::postgres::connection::{STATEMENT_TIMEOUT, connect};
use crate::postgres::error::{overdue, unsent};
use crate::postgres::lock::lock;

/// Connections of a pod.
const READERS_MAX: usize = 4;
/// How long a caller waits until a connection is free.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection may take to prove that it is open.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// The server ends a transaction in which it has received nothing for this long: its locks would delay other pods.
const IDLE_TRANSACTION_TIMEOUT: (&str, &str) = ("idle_in_transaction_session_timeout", "10s");

/// A row, or the number of rows that a statement has changed.
type Item = Either<PgQueryResult, PgRow>;

/// The connections; cheap to clone.
#[derive(Clone)]
pub(super) struct Readers(Arc<Connections>);

struct Connections {
    options: PgConnectOptions,
    idle: Mutex<Vec<PgConnection>>,
    tickets: Arc<Semaphore>,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options have the password.
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

/// A connection in use. It is closed when it is dropped, unless it is released.
#[derive(Debug)]
pub(super) struct Reader {
    connection: PgConnection,
    ticket: OwnedSemaphorePermit,
}

impl Readers {
    /// Connections to this database.
    pub(super) fn new(options: PgConnectOptions) -> Self {
        let options = options.options([IDLE_TRANSACTION_TIMEOUT]);
        let tickets = Arc::new(Semaphore::new(READERS_MAX));
        Self(Arc::new(Connections { options, idle: Mutex::default(), tickets }))
    }

    /// Takes a connection for one caller.
    ///
    /// # Errors
    /// [`StoreError::Timeout`] if all are in use; those of a new connection.
    pub(super) async fn acquire(&self) -> Result<Reader, StoreError> {
        let free = timeout(ACQUIRE_TIMEOUT, Arc::clone(&self.0.tickets).acquire_owned()).await;
        let ticket = free.map_err(|_| StoreError::Timeout)?.map_err(|_| StoreError::Closed)?;
        while let Some(mut connection) = self.take_idle() {
            // It may have been lost since its last use.
            if let Ok(Ok(())) = timeout(PING_TIMEOUT, connection.ping()).await {
                return Ok(Reader { connection, ticket });
            }
        }
        Ok(Reader { connection: connect(&self.0.options).await?, ticket })
    }

    /// Returns a connection whose statements have all been finished.
    pub(super) fn release(&self, reader: Reader) {
        let Reader { connection, ticket } = reader;
        lock(&self.0.idle).push(connection);
        drop(ticket);
    }

    fn take_idle(&self) -> Option<PgConnection> {
        lock(&self.0.idle).pop()
    }

    async fn collect<'q, E>(&self, query: E) -> Result<Vec<Item>, sqlx::Error>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let mut reader = self.acquire().await.map_err(unsent)?;
        let items = reader.collect(query).await?;
        self.release(reader);
        Ok(items)
    }
}

impl Reader {
    /// Executes a statement to its end.
    async fn collect<'q, E>(&mut self, query: E) -> Result<Vec<Item>, sqlx::Error>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let items = self.connection.fetch_many(query).try_collect::<Vec<_>>();
        timeout(STATEMENT_TIMEOUT, items).await.unwrap_or_else(|_| Err(overdue()))
    }
}

impl std::ops::Deref for Reader {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl std::ops::DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl<'p> Executor<'p> for &'p Readers {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Item, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        stream_of(self.collect(query))
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.collect(query).map_ok(first_row).boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut reader = self.acquire().await.map_err(unsent)?;
            let statement = reader.connection.prepare_with(sql, parameters).await?;
            self.release(reader);
            Ok(statement)
        })
    }
}

impl<'c> Executor<'c> for &'c mut Reader {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Item, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        stream_of(self.collect(query))
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.collect(query).map_ok(first_row).boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        self.connection.prepare_with(sql, parameters)
    }
}

fn stream_of<'e>(
    items: impl Future<Output = Result<Vec<Item>, sqlx::Error>> + Send + 'e,
) -> BoxStream<'e, Result<Item, sqlx::Error>> {
    let items = items.map_ok(|items| stream::iter(items.into_iter().map(Ok::<_, sqlx::Error>)));
    stream::once(items).try_flatten().boxed()
}

fn first_row(items: Vec<Item>) -> Option<PgRow> {
    items.into_iter().find_map(Either::right)
}
