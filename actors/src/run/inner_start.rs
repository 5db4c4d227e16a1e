//! The start of a run that a step of another run calls: it belongs to the tree of its caller, and ends as soon as its
//! caller does not need it any more.

use std::sync::Arc;

use greenroom_protocol::journal::RunStarted;
use greenroom_protocol::{Cause, RunId};
use greenroom_rego::Grant;

use super::handle::RunsHandle;
use super::hosted::HostedRun;
use super::message::UnneededRun;
use super::parent_run::parent_run;
use super::tree::RunTree;

/// The start of a run that a step calls. If it is dropped before the actor of the run is activated, and the caller does
/// not need the run any more, the run ends in the store.
pub(super) struct InnerStart {
    runs: RunsHandle,
    caller: HostedRun,
    run: RunId,
    is_activated: bool,
}

impl InnerStart {
    /// The tree of the caller.
    pub(super) const fn tree(&self) -> &Arc<RunTree> {
        &self.caller.tree
    }

    /// The start of the caller, which pins the definitions of all runs below it.
    pub(super) const fn caller(&self) -> &Arc<RunStarted> {
        &self.caller.started
    }

    /// Completes the start: the actor of the run is activated, or the run has ended.
    pub(super) fn complete(mut self) {
        self.is_activated = true;
        self.runs.hosted_runs().complete_start(&self.caller.started.run, &self.run);
    }
}

impl Drop for InnerStart {
    fn drop(&mut self) {
        if self.is_activated {
            return;
        }
        if let Some(cause) = self.runs.hosted_runs().drop_start(&self.caller.started.run, &self.run) {
            let (run, tree) = (self.run.clone(), self.caller.tree.clone());
            let caller = Some(self.caller.started.run.clone());
            self.runs.end_unneeded(UnneededRun { run, caller, tree, cause });
        }
    }
}

impl RunsHandle {
    /// Begins the start of a run; `None` if no run calls it.
    ///
    /// # Errors
    /// The cause by which its caller does not need it any more.
    pub(super) fn begin_inner_start(&self, grant: &Grant, run: &RunId) -> Result<Option<InnerStart>, Cause> {
        let Some(parent) = parent_run(grant) else { return Ok(None) };
        let caller = self.hosted_runs().begin_inner(&parent, run)?;
        Ok(Some(InnerStart { runs: self.clone(), caller, run: run.clone(), is_activated: false }))
    }
}
