//! The record of a run as a row.

use greenroom_protocol::PrincipalId;

use crate::runs::RunRecord;
use crate::sqlite::statement_batch::SqlValue;

/// Selects run records; the argument is the rest of the statement. A run without its principal is an error, and not a
/// run that does not exist.
macro_rules! select_records {
    ($rest:literal) => {
        concat!(
            "SELECT number, run, issuer, principals.tenant AS tenant, user, workflow, version, team, parent, root, ",
            "request_hash, personal_data, status, pending_approvals, fence, pod, failures, created, updated, ",
            "COALESCE((SELECT MAX(seq) FROM journal WHERE journal.run = runs.number), 0) AS seq ",
            "FROM runs LEFT JOIN principals ON principals.hash = runs.principal ",
            $rest
        )
    };
}
pub(super) use select_records;

pub(in crate::sqlite) const INSERT_RUN: &str = "INSERT INTO runs (number, run, tenant, principal, workflow, version, team, parent, \
                                     root, request_hash, personal_data, status, ended, pending_approvals, fence, pod, \
                                     failures, created, updated) \
                                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Inserts the principal who owns a run, if it is the first run of this principal.
pub(in crate::sqlite) const INSERT_PRINCIPAL: &str = "INSERT INTO principals (hash, issuer, tenant, user) VALUES (?, ?, ?, ?) \
                                           ON CONFLICT (hash) DO NOTHING";

/// Updates the columns of an existing run that can change.
pub(in crate::sqlite) const UPDATE_RUN: &str = "UPDATE runs SET status = ?, ended = ?, pending_approvals = ?, fence = ?, pod = ?, \
                                     failures = ?, updated = ? WHERE number = ?";

/// Transfers all runs of a tree that have not ended.
pub(in crate::sqlite) const UPDATE_TREE: &str = "UPDATE runs SET fence = ?, pod = ? WHERE root = ? AND ended = 0";

/// Sets the number of failures of a tree.
pub(in crate::sqlite) const UPDATE_FAILURES: &str = "UPDATE runs SET failures = ? WHERE run = ?";

/// Marks a run, and the runs that called it, as runs with personal data.
pub(in crate::sqlite) const MARK_PERSONAL_DATA: &str = "WITH RECURSIVE callers(run) AS (SELECT ? UNION SELECT runs.parent FROM runs \
                                             JOIN callers ON runs.run = callers.run WHERE runs.parent IS NOT NULL) \
                                             UPDATE runs SET personal_data = 1 WHERE run IN (SELECT run FROM callers)";

/// The values of [`UPDATE_RUN`].
pub(in crate::sqlite) fn update_values(number: i64, record: &RunRecord) -> Vec<SqlValue> {
    vec![
        record.status.as_str().into(),
        i64::from(record.status.is_terminal()).into(),
        i64::from(record.pending_approvals).into(),
        record.fence.0.into(),
        record.pod.as_str().into(),
        i64::from(record.failures).into(),
        record.updated.as_micros().into(),
        number.into(),
    ]
}

/// The values of [`INSERT_PRINCIPAL`].
pub(in crate::sqlite) fn principal_values(principal: &PrincipalId) -> Vec<SqlValue> {
    let PrincipalId { issuer, tenant, user } = principal;
    vec![SqlValue::from(&principal.hash()), issuer.as_str().into(), tenant.as_str().into(), user.as_str().into()]
}

/// The values of [`INSERT_RUN`].
pub(in crate::sqlite) fn insert_values(number: i64, record: &RunRecord) -> Vec<SqlValue> {
    vec![
        number.into(),
        record.run.as_str().into(),
        record.owner.tenant.as_str().into(),
        SqlValue::from(&record.owner.hash()),
        record.workflow.as_str().into(),
        SqlValue::from(&record.version),
        record.team.as_ref().map(|team| team.as_str()).into(),
        record.parent.as_ref().map(|parent| parent.as_str()).into(),
        record.root.as_str().into(),
        SqlValue::from(&record.request_hash),
        i64::from(record.personal_data).into(),
        record.status.as_str().into(),
        i64::from(record.status.is_terminal()).into(),
        i64::from(record.pending_approvals).into(),
        record.fence.0.into(),
        record.pod.as_str().into(),
        i64::from(record.failures).into(),
        record.created.as_micros().into(),
        record.updated.as_micros().into(),
    ]
}
