//! Which version of journals a run needs, and whether it may be written: no pod of an earlier release may become the owner
//! of a run whose journal it cannot read.

use greenroom_protocol::{Cause, ErrorCode};
use greenroom_registry::cluster::{ClusterStore, JOURNAL_VERSION, JOURNAL_VERSION_MIN};

use super::pinned::PinnedDefinitions;

/// The version of the journal of a run of these definitions: version 2 has waits, and approvals of calls of tools.
pub(super) fn needed_version(pinned: &PinnedDefinitions) -> u32 {
    if pinned.plan.has_waits() || pinned.needs_tool_approval() { JOURNAL_VERSION } else { JOURNAL_VERSION_MIN }
}

/// Rejects a run with a version of journals that the pods of the store have not agreed on.
///
/// # Errors
/// [`ErrorCode::NotFinalized`]; those of the store.
pub(super) async fn check_version(cluster: &dyn ClusterStore, version: u32) -> Result<(), Cause> {
    if version <= JOURNAL_VERSION_MIN {
        return Ok(());
    }
    let finalized = cluster.journal_version().await.map_err(|error| error.cause())?;
    if version <= finalized {
        return Ok(());
    }
    let message = format!(
        "a run with `wait_for`, or with a tool that needs an approval, needs journals of version {version}, and the pods \
         have agreed on version {finalized}; run `greenroom cluster finalize` once all of them are of this release"
    );
    Err(Cause::new(ErrorCode::NotFinalized, message))
}
