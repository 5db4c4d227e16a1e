//! The connection of one lane: it sends one batch at a time, and knows of each whether it was committed.
//!
//! If the connection is lost, the batch may have been committed or not, or may still be. A new connection makes the
//! batch's id void: it inserts the id into `batches`, or raises the last id in the row of the lane's chain, wherever the
//! function of the batch records its outcome. Both functions do that in the same transaction as everything else, so either
//! the id is void first, and the batch never can be committed and is sent again under another id; or the batch is first,
//! and its result is read. A transaction that has recorded its outcome and has not ended is waited for.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection};
use sqlx::query::Query;
use tokio::time::{Instant, sleep, timeout};

use crate::columns::Columns as _;
use crate::error::StoreError;
use crate::postgres::connection::connect;
use crate::postgres::error::{Failure, sqlx_error};

/// How long a batch may take until its outcome is resolved.
const BATCH_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a batch waits for the server before it fails; nothing of it was sent then.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(20);
/// How long an outcome is resolved. Its upper bound is the hour after which another pod removes the ids of batches: an id
/// that is removed could be made void although its batch was committed, and the batch would be executed twice. Half of
/// it leaves time for the last attempt. A shorter time would end the lane, whose chain cannot be continued without its
/// tip, in an outage that the pod survives.
///
/// No caller waits for that long. The lane sends nothing meanwhile, so each unit that waits for it has
/// [`StoreError::OutcomeUnknown`] after [`crate::group_commit::COMMIT_WAIT_MAX`]; a unit of a run, which outlasts an
/// outage, is waited for by a request until its deadline and no longer.
const RESOLVE_WAIT_MAX: Duration = Duration::from_secs(30 * 60);
/// How often a batch is sent again because of another transaction.
const RETRIES_MAX: u32 = 10;
const RETRY_DELAY: Duration = Duration::from_millis(5);
const RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// The delay between attempts to resolve an outcome doubles up to this one.
const RESOLVE_DELAY_MAX: Duration = Duration::from_secs(2);

/// The reply to a batch of a pod that is dead, and to one whose id is void.
const DEAD: &str = r#"{"state":"dead"}"#;
const VOID: &str = r#"{"state":"void"}"#;
/// The reply to a batch that is taken as a whole, if a part of it is not taken.
const REFUSED: &str = r#"{"state":"refused"}"#;

const INSERT_VOID: &str =
    "INSERT INTO batches (pod, lane, batch, void) VALUES ($1, $2, $3, true) ON CONFLICT DO NOTHING";
const SELECT_RESULT: &str = "SELECT result FROM batches WHERE pod = $1 AND lane = $2 AND batch = $3 AND NOT void";
const RAISE_BATCH: &str = "UPDATE audit_chains SET batch = $2, result = NULL WHERE chain = $1 AND batch < $2";
const SELECT_CHAIN_RESULT: &str =
    "SELECT result FROM audit_chains WHERE chain = $1 AND batch = $2 AND result IS NOT NULL";

/// A statement whose arguments are its own.
type Statement = Query<'static, Postgres, PgArguments>;

/// The id of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchId {
    pub(super) pod: i64,
    pub(super) lane: i32,
    pub(super) batch: i64,
}

/// Where the outcome of a batch is recorded.
#[derive(Debug, Clone, Copy)]
pub(super) enum OutcomeRow {
    /// A row of `batches`.
    Batch,
    /// The row of this chain, which belongs to the lane.
    Chain(i64),
}

/// A batch: one call of a function, which is a transaction of its own and returns a text.
pub(super) trait BatchCall: Sync {
    /// Calls the function.
    fn call<'c>(&'c self, connection: &'c mut PgConnection, id: BatchId) -> BoxFuture<'c, Result<String, sqlx::Error>>;

    /// Where the function records the outcome.
    fn outcome_row(&self) -> OutcomeRow {
        OutcomeRow::Batch
    }
}

/// The connection of one lane.
pub(super) struct Link {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    last: BatchId,
}

impl Link {
    /// A link that connects with its first batch.
    pub(super) const fn new(options: PgConnectOptions, pod: i64, lane: i32) -> Self {
        Self { options, connection: None, last: BatchId { pod, lane, batch: 0 } }
    }

    /// As [`Self::execute`], for a batch that is taken as a whole or not at all; `None` if it is not taken.
    pub(super) async fn execute_whole(&mut self, batch: &dyn BatchCall) -> Result<Option<String>, StoreError> {
        let result = self.execute(batch).await?;
        Ok((result != REFUSED).then_some(result))
    }

    /// Executes a batch exactly once, and returns its result.
    ///
    /// # Errors
    /// [`StoreError`], and then nothing of it was executed; [`StoreError::OutcomeUnknown`] if the server was away for
    /// so long that this cannot be known.
    pub(super) async fn execute(&mut self, batch: &dyn BatchCall) -> Result<String, StoreError> {
        let mut retries = 0;
        loop {
            self.last.batch += 1;
            let id = self.last;
            let connection = self.connect(CONNECT_WAIT_MAX).await?;
            let failure = match timeout(BATCH_TIMEOUT, batch.call(connection, id)).await {
                Ok(Ok(result)) if result == DEAD => return Err(StoreError::PodDead),
                Ok(Ok(result)) if result == VOID => continue,
                Ok(Ok(result)) => return Ok(result),
                Ok(Err(error)) => Failure::from_error(&error),
                Err(_) => Failure::Unknown(StoreError::Timeout),
            };
            match failure {
                Failure::Rejected(error) => {
                    if matches!(error, StoreError::ReadOnly) {
                        // The session remains read-only, whatever the database becomes.
                        self.connection = None;
                    }
                    return Err(error);
                }
                Failure::NotTaken(_) => return Ok(REFUSED.to_owned()),
                Failure::Retry(error) => {
                    retries += 1;
                    if retries > RETRIES_MAX {
                        return Err(error);
                    }
                    sleep(RETRY_DELAY * retries).await;
                }
                Failure::Unknown(error) => {
                    tracing::warn!(error = %error, "a batch has lost its connection, and its outcome is resolved");
                    self.connection = None;
                    if let Some(result) = self.resolve(id, batch.outcome_row()).await? {
                        return Ok(result);
                    }
                }
            }
        }
    }

    /// The connection of this lane, for what it reads after a batch.
    pub(super) async fn reader(&mut self) -> Result<&mut PgConnection, StoreError> {
        self.connect(CONNECT_WAIT_MAX).await
    }

    /// Drops a connection on which a statement was not finished.
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
    }

    async fn connect(&mut self, wait_max: Duration) -> Result<&mut PgConnection, StoreError> {
        let until = Instant::now() + wait_max;
        while self.connection.is_none() {
            match connect(&self.options).await {
                Ok(connection) => self.connection = Some(connection),
                Err(error) if Instant::now() >= until => return Err(error),
                Err(error) => {
                    tracing::debug!(error = %error, "a lane cannot connect to its database");
                    sleep(RECONNECT_DELAY).await;
                }
            }
        }
        self.connection.as_mut().ok_or(StoreError::Closed)
    }

    /// Resolves the outcome of a batch: its result if it was committed; `None` if it never can be.
    async fn resolve(&mut self, id: BatchId, row: OutcomeRow) -> Result<Option<String>, StoreError> {
        let until = Instant::now() + RESOLVE_WAIT_MAX;
        let mut delay = RECONNECT_DELAY;
        loop {
            let attempt = match self.connect(BATCH_TIMEOUT).await {
                Ok(connection) => timeout(BATCH_TIMEOUT, try_resolve(connection, id, row)).await,
                Err(error) => Ok(Err(error)),
            };
            match attempt {
                Ok(Ok(resolved)) => return Ok(resolved),
                Ok(Err(error)) => tracing::warn!(error = %error, "the outcome of a batch is not known yet"),
                Err(_) => tracing::warn!("the transaction of a batch has not ended yet"),
            }
            self.connection = None;
            if Instant::now() >= until {
                return Err(StoreError::OutcomeUnknown);
            }
            sleep(delay).await;
            delay = RESOLVE_DELAY_MAX.min(delay * 2);
        }
    }
}

/// Makes the id of a batch void, unless the batch was committed; then its result is returned.
pub(super) async fn try_resolve(
    connection: &mut PgConnection,
    id: BatchId,
    row: OutcomeRow,
) -> Result<Option<String>, StoreError> {
    let BatchId { pod, lane, batch } = id;
    let (make_void, select): (Statement, Statement) = match row {
        OutcomeRow::Batch => {
            let select = sqlx::query(SELECT_RESULT).bind(pod).bind(lane).bind(batch);
            (sqlx::query(INSERT_VOID).bind(pod).bind(lane).bind(batch), select)
        }
        OutcomeRow::Chain(chain) => {
            (sqlx::query(RAISE_BATCH).bind(chain).bind(batch), sqlx::query(SELECT_CHAIN_RESULT).bind(chain).bind(batch))
        }
    };
    let changed = make_void.execute(&mut *connection).await;
    if changed.map_err(|error| sqlx_error(&error))?.rows_affected() == 1 {
        return Ok(None);
    }
    let row = select.fetch_optional(connection).await;
    match row.map_err(|error| sqlx_error(&error))? {
        Some(row) => Ok(Some(row.text("result")?.to_owned())),
        // An earlier attempt has made it void.
        None => Ok(None),
    }
}
