//! Permitted reads and writes of the context of a hosted run: a read takes the view, a write goes to the actor of the
//! run, which decides it.

use std::sync::Arc;

use greenroom_protocol::request::{ContextRead, ContextWrite};
use greenroom_protocol::{Cause, Outcome, RunId, Values};
use greenroom_registry::context::ViewError;
use greenroom_rego::{Caller, Permitted};

use super::RunEnv;
use super::context::{ContextChanges, no_context_error, outcome, snapshot_outcome};
use super::handle::RunsHandle;
use super::message::{FailedRead, ReadFailure, RunMsg};

impl RunsHandle {
    /// Reads some values of a context, or all of them: from the view, or from the run itself if the view has lost
    /// something or its store fails.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownRun`] if there is no run of a team with this id, or it has ended; [`ErrorCode::LeaseLost`] if
    /// this pod has owned the run and another one does now; [`ErrorCode::TimedOut`].
    pub(crate) async fn read_context(&self, permit: Permitted<ContextRead>) -> Result<Outcome, Cause> {
        let deadline = permit.grant().deadline();
        let (_, ContextRead { run, keys }) = permit.redeem();
        let Ok(changes) = self.context_changes(&run) else {
            return self.read_foreign_context(&run, &keys, deadline).await;
        };
        let RunEnv { stores, clock, .. } = &**self.env();
        let now = clock.now();
        let read = stores.context.read(&run, &keys, changes.last(), now);
        let failure = match tokio::time::timeout(deadline.remaining(now), read).await {
            Ok(Ok(snapshot)) => return Ok(snapshot_outcome(snapshot)),
            Ok(Err(ViewError::Lost)) => ReadFailure::Lost,
            // A read has no fence. If another owner has claimed the run, its next write finds that out.
            Ok(Err(ViewError::Fenced | ViewError::Store(_))) | Err(_) => ReadFailure::Store,
        };
        let read = FailedRead { failure, keys };
        let snapshot = self.request(&run, deadline, |port| RunMsg::ReadContext(read, port)).await?;
        snapshot.ok_or_else(|| no_context_error(&run))?.map(snapshot_outcome)
    }

    /// Writes one value of a context, and returns its version once the change is durable.
    ///
    /// What a run itself writes is what one of its steps provides: the run records it together with the end of the
    /// step, so here the permit is all that it gets.
    ///
    /// # Errors
    /// [`ErrorCode::LeaseLost`] if another pod claims the run at this moment; [`ErrorCode::VersionConflict`] if the key has
    /// another version than expected; as [`RunsHandle::read_context`].
    pub(crate) async fn write_context(&self, permit: Permitted<ContextWrite>) -> Result<Outcome, Cause> {
        let run = permit.request().run.clone();
        if self.context_changes(&run).is_err() {
            return self.write_foreign_context(permit).await;
        }
        if matches!(permit.grant().caller(), Caller::Workflow { run: caller, .. } if *caller == run) {
            drop(permit.redeem());
            return Ok(outcome(Values::new()));
        }
        let deadline = permit.grant().deadline();
        let written = self.request(&run, deadline, |port| RunMsg::WriteContext(permit, port)).await?;
        written.ok_or_else(|| no_context_error(&run))?
    }

    fn context_changes(&self, run: &RunId) -> Result<Arc<ContextChanges>, Cause> {
        let hosted = self.hosted_runs().find(run);
        hosted.and_then(|hosted| hosted.context).ok_or_else(|| no_context_error(run))
    }
}
