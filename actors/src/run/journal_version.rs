//! Which version of journals a run needs, and whether it may be written: no pod of an earlier release may become the owner
//! of a run whose journal it cannot read.

use greenroom_definitions::plan::Plan;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_registry::cluster::{ClusterStore, JOURNAL_VERSION, JOURNAL_VERSION_MIN};

/// The version of the journal of a run of this plan: version 2 has waits.
pub(super) fn needed_version(plan: &Plan) -> u32 {
    if plan.has_waits() { JOURNAL_VERSION } else { JOURNAL_VERSION_MIN }
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
        "a run with `wait_for` needs journals of version {version}, and the pods have agreed on version {finalized}; run \
         `greenroom cluster finalize` once all of them are of this release"
    );
    Err(Cause::new(ErrorCode::NotFinalized, message))
}
