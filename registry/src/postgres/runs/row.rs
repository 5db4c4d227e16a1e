//! The record of a run as a row.

use greenroom_protocol::{RunId, Timestamp};
use sqlx::PgExecutor;

use crate::error::StoreError;
use crate::postgres::connection::{STATEMENT_TIMEOUT, in_time};
use crate::runs::decode::decode_record;
use crate::runs::{OwnerActivity, RunRecord};

/// Selects run records; the argument is the rest of the statement. A run without its principal is an error, and not a
/// run that does not exist.
macro_rules! select_records {
    ($rest:literal) => {
        concat!(
            "SELECT r.number, r.run, p.issuer, p.tenant, p.user_id AS \"user\", r.workflow, r.version, r.team, r.parent, ",
            "r.root, ",
            "r.request_hash, r.personal_data::integer::bigint AS personal_data, r.status, ",
            "r.pending_approvals::bigint AS pending_approvals, t.fence, t.pod, ",
            "CASE WHEN r.run = r.root THEN t.failures ELSE 0 END::bigint AS failures, r.seq, r.created, r.updated ",
            "FROM runs r JOIN trees t ON t.root = r.root LEFT JOIN principals p ON p.hash = r.principal ",
            $rest
        )
    };
}
pub(in crate::postgres) use select_records;

/// The activity of an owner, of two columns that are NULL together.
pub(in crate::postgres) fn activity(since: Option<i64>, until: Option<i64>) -> Option<OwnerActivity> {
    let (since, until) = (Timestamp::from_micros(since?), Timestamp::from_micros(until?));
    Some(OwnerActivity { since, until })
}

/// Selects the runs of a tree that have not ended, each after the run that called it.
pub(in crate::postgres) async fn select_open_runs(
    executor: impl PgExecutor<'_>,
    root: &RunId,
) -> Result<Vec<RunRecord>, StoreError> {
    let numbered = select_numbered(executor, root).await?;
    Ok(numbered.into_iter().map(|(_, record)| record).collect())
}

/// As [`select_open_runs`], with the numbers of the runs.
pub(in crate::postgres) async fn select_numbered(
    executor: impl PgExecutor<'_>,
    root: &RunId,
) -> Result<Vec<(i64, RunRecord)>, StoreError> {
    let reading = sqlx::query(select_records!("WHERE r.root = $1 AND NOT r.ended ORDER BY r.number"))
        .bind(root.as_str())
        .fetch_all(executor);
    let rows = in_time(STATEMENT_TIMEOUT, reading).await?;
    rows.iter().map(decode_record).collect()
}
