//! What must hold before a request is executed, within its deadline.

use std::time::Duration;

use greenroom_protocol::{Cause, Deadline, ErrorCode, Timestamp};
use greenroom_registry::audit::OpenAuditEntry;
use greenroom_registry::core::PendingAuditEntry;
use greenroom_rego::Authenticated;

/// True if an actor of a run has issued the request. The run would fail with it, or with what it has in memory, if the
/// request did not wait for a server that is away; a user repeats a request.
pub(super) const fn is_of_run(request: &Authenticated) -> bool {
    request.root().is_some()
}

/// How long the audit entry of a request is waited for, also if the deadline of the request has passed: what a request
/// was refused for is recorded.
const ENTRY_WAIT_MIN: Duration = Duration::from_secs(1);

/// Waits until the opening of the audit entry is durable.
pub(super) async fn wait_opening(audit_entry: &mut PendingAuditEntry) -> Result<&OpenAuditEntry, Cause> {
    audit_entry.wait_durable().await.map_err(|error| error.cause())
}

/// As [`wait_opening`], up to the deadline of the request.
///
/// # Errors
/// Those of the audit; [`ErrorCode::TimedOut`] at the deadline.
pub(super) async fn wait_opening_within(
    audit_entry: &mut PendingAuditEntry,
    deadline: Deadline,
    now: Timestamp,
) -> Result<(), Cause> {
    within_deadline(deadline, now, wait_opening(audit_entry)).await?.map(|_opened| ())
}

/// Waits until the audit entry of a request is open, so that it can be closed. A request that was executed has waited for
/// that already.
///
/// # Errors
/// Those of the audit; [`ErrorCode::TimedOut`] at the deadline if the store does not reply.
pub(super) async fn wait_entry(
    audit_entry: PendingAuditEntry,
    deadline: Deadline,
    now: Timestamp,
) -> Result<OpenAuditEntry, Cause> {
    let time_max = deadline.remaining(now).max(ENTRY_WAIT_MIN);
    match tokio::time::timeout(time_max, audit_entry.into_open_entry()).await {
        Ok(opened) => opened.map_err(|error| error.cause()),
        Err(_elapsed) => {
            let cause = Cause::new(ErrorCode::TimedOut, "the deadline passed before the request was in the audit");
            Err(cause.with_details(serde_json::json!({ "store": "timeout" })))
        }
    }
}

/// Rejects a request whose deadline has passed.
pub(super) fn check_deadline(deadline: Deadline, now: Timestamp) -> Result<(), Cause> {
    if deadline.has_passed(now) {
        return Err(Cause::new(ErrorCode::TimedOut, "the deadline passed before the request was executed"));
    }
    Ok(())
}

/// Waits for what the stores read or write for a request, up to its deadline: an artifact may be on a server that does
/// not reply.
///
/// # Errors
/// [`ErrorCode::TimedOut`] at the deadline; the work is dropped then.
pub(super) async fn within_deadline<F: Future>(
    deadline: Deadline,
    now: Timestamp,
    work: F,
) -> Result<F::Output, Cause> {
    tokio::time::timeout(deadline.remaining(now), work).await.map_err(|_elapsed| {
        Cause::new(ErrorCode::TimedOut, "the deadline passed while a store was read or written for the request")
    })
}
