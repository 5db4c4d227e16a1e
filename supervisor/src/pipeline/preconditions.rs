//! What must hold before a request is executed.

use greenroom_protocol::{Cause, Deadline, ErrorCode, Timestamp};
use greenroom_registry::audit::OpenAuditEntry;
use greenroom_registry::core::PendingAuditEntry;

/// Waits until the opening of the audit entry is durable.
pub(super) async fn wait_opening(audit_entry: &mut PendingAuditEntry) -> Result<&OpenAuditEntry, Cause> {
    audit_entry.wait_durable().await.map_err(|error| error.cause())
}

/// Rejects a request whose deadline has passed.
pub(super) fn check_deadline(deadline: Deadline, now: Timestamp) -> Result<(), Cause> {
    if deadline.has_passed(now) {
        return Err(Cause::new(ErrorCode::TimedOut, "the deadline passed before the request was executed"));
    }
    Ok(())
}
