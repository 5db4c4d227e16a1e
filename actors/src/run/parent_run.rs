//! The run that calls another one.

use greenroom_protocol::RunId;
use greenroom_rego::{Caller, Grant};

/// The run that calls this one as a step, if there is one.
pub(crate) fn parent_run(grant: &Grant) -> Option<RunId> {
    grant.chain().iter().rev().find_map(|caller| match caller {
        Caller::Workflow { run, .. } => Some(run.clone()),
        Caller::User { .. } | Caller::Agent { .. } | Caller::Team { .. } | Caller::None => None,
    })
}
