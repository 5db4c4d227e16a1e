//! A run's head as a row, and back.

use greenroom_protocol as protocol;
use protocol::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::StoreError;
use crate::journal::Seq;
use crate::runs::record::parse_status;
use crate::runs::{Fence, RunRecord};
use crate::sqlite::failed;
use crate::sqlite::statement_batch::{SqlValue, from_int};
use crate::sqlite::writer::hash_of;

/// Selects heads; what follows says which.
macro_rules! select_heads {
    ($which:literal) => {
        concat!(
            "SELECT number, run, tenant, owner, workflow, version, team, parent, request_hash, status, pending_approvals, fence, pod, ",
            "created, updated, ",
            "COALESCE((SELECT MAX(seq) FROM journal WHERE journal.run = runs.number), 0) AS seq FROM runs ",
            $which
        )
    };
}
pub(super) use select_heads;

pub(super) const BEGIN: &str = "INSERT INTO runs (number, run, tenant, owner, workflow, version, team, parent, request_hash, \
                               status, ended, pending_approvals, fence, pod, created, updated) \
                               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Of a run that is there, what can change.
pub(super) const CHANGE: &str =
    "UPDATE runs SET status = ?, ended = ?, pending_approvals = ?, fence = ?, pod = ?, updated = ? WHERE number = ?";

/// The values of [`CHANGE`].
pub(super) fn changed(number: i64, head: &RunRecord) -> Vec<SqlValue> {
    vec![
        head.status.as_str().into(),
        i64::from(head.status.is_terminal()).into(),
        i64::from(head.pending_approvals).into(),
        head.fence.0.into(),
        head.pod.as_str().into(),
        head.updated.as_micros().into(),
        number.into(),
    ]
}

/// The values of [`BEGIN`].
pub(super) fn row_of(number: i64, head: &RunRecord) -> Vec<SqlValue> {
    vec![
        number.into(),
        head.run.as_str().into(),
        head.tenant.as_str().into(),
        head.owner.as_str().into(),
        head.workflow.as_str().into(),
        SqlValue::from(&head.version),
        head.team.as_ref().map(|team| team.as_str()).into(),
        head.parent.as_ref().map(|parent| parent.as_str()).into(),
        SqlValue::from(&head.request_hash),
        head.status.as_str().into(),
        i64::from(head.status.is_terminal()).into(),
        i64::from(head.pending_approvals).into(),
        head.fence.0.into(),
        head.pod.as_str().into(),
        head.created.as_micros().into(),
        head.updated.as_micros().into(),
    ]
}

/// Reads a head, and its number.
pub(super) fn head_of(row: &SqliteRow) -> Result<(i64, RunRecord), StoreError> {
    let text = |column: &str| row.try_get::<&str, _>(column).map_err(|error| failed(&error));
    let maybe = |column: &str| row.try_get::<Option<&str>, _>(column).map_err(|error| failed(&error));
    let int = |column: &str| row.try_get::<i64, _>(column).map_err(|error| failed(&error));
    let hash = |column: &str| row.try_get::<&[u8], _>(column).map_err(|error| failed(&error)).and_then(hash_of);
    let state = text("status")?;
    let head = RunRecord {
        run: id(text("run")?)?,
        tenant: id(text("tenant")?)?,
        owner: id(text("owner")?)?,
        workflow: id(text("workflow")?)?,
        version: hash("version")?,
        team: maybe("team")?.map(id).transpose()?,
        parent: maybe("parent")?.map(id).transpose()?,
        request_hash: hash("request_hash")?,
        status: parse_status(state)
            .ok_or_else(|| StoreError::Codec(format!("a run is in no state called {state:?}")))?,
        pending_approvals: u32::try_from(int("pending_approvals")?).unwrap_or_default(),
        fence: Fence(from_int(int("fence")?)),
        pod: id(text("pod")?)?,
        seq: Seq(from_int(int("seq")?)),
        created: Timestamp::from_micros(int("created")?),
        updated: Timestamp::from_micros(int("updated")?),
    };
    Ok((int("number")?, head))
}

/// An id as it was kept.
pub(in crate::sqlite) fn id<T: std::str::FromStr<Err = protocol::id::IdError>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error: protocol::id::IdError| StoreError::Codec(error.to_string()))
}
