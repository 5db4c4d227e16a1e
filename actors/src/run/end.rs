//! Ends the runs that a run has called before that run itself, and runs that have no actor: one whose caller does not
//! need it any more, one whose request was rejected after its record was written, and the runs of a tree that cannot be
//! resumed.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::journal::Entry;
use greenroom_protocol::{Cause, ErrorCode, RunId};
use greenroom_registry::journal::{AppendPosition, Seq};
use greenroom_registry::runs::Fence;

use super::booked_cost::{add_booked_cost, booked_cost};
use super::handle::RunsHandle;
use super::machine::{Phase, State, StepStatus, terminated_reply};
use super::message::{PendingResume, UnneededRun};
use super::pinned::PinnedDefinitions;
use super::tree::RunTree;
use super::{JOURNAL_WAIT_MAX, RunEnv};

/// Interval at which runs that should have ended are looked for in the store again.
const END_CHECK_INTERVAL: Duration = Duration::from_secs(5);

impl RunsHandle {
    /// Ends the runs that a run has called, and waits until all of them have ended, with their compensation: its own end
    /// follows theirs, and has their cost. No step of the run needs one of them any more. Each of them is bounded by its
    /// own `compensation_timeout`.
    pub(super) async fn end_inner_runs(&self, run: &RunId, tree: &Arc<RunTree>) {
        let starts = self.hosted_runs().wait_inner_starts(run);
        if tokio::time::timeout(JOURNAL_WAIT_MAX, starts).await.is_err() {
            tracing::warn!(run.id = %run, "the start of a called run takes too long");
        }
        loop {
            match self.open_inner_runs(run, tree).await {
                Ok(open) if open.is_empty() => return,
                Ok(open) => self.end_and_wait(run, open, tree).await,
                Err(cause) => {
                    tracing::warn!(run.id = %run, cause = %cause, "called runs cannot be read");
                    tokio::time::sleep(END_CHECK_INTERVAL).await;
                }
            }
        }
    }

    /// The runs that a run has called and that have not ended.
    async fn open_inner_runs(&self, run: &RunId, tree: &RunTree) -> Result<Vec<RunId>, Cause> {
        let open = self.env().stores.runs.list_tree(tree.root()).await.map_err(|error| error.cause())?;
        let called = open.into_iter().filter(|record| record.parent.as_ref() == Some(run));
        Ok(called.map(|record| record.run).collect())
    }

    /// Ends these runs and waits for their end, for at most [`END_CHECK_INTERVAL`]: the end of a run without an actor
    /// may fail.
    async fn end_and_wait(&self, caller: &RunId, open: Vec<RunId>, tree: &Arc<RunTree>) {
        for run in &open {
            let cause = Cause::new(ErrorCode::Cancelled, format!("the run {caller} that called it does not need it"));
            self.end_unneeded(UnneededRun { run: run.clone(), caller: None, tree: tree.clone(), cause });
        }
        let ended = async {
            for run in &open {
                if let Err(cause) = self.wait_reply(run).await {
                    tracing::debug!(run.id = %run, cause = %cause, "cannot observe the end of a called run");
                    std::future::pending::<()>().await;
                }
            }
        };
        // After the interval the store has those that are still open.
        let _ = tokio::time::timeout(END_CHECK_INTERVAL, ended).await;
    }

    /// Ends a run that its caller does not need any more and that has no actor, with all runs below it.
    pub(super) async fn end_unhosted(&self, run: &RunId, tree: &Arc<RunTree>, cause: &Cause) {
        if let Err(error) = self.try_end_unhosted(run, tree, cause).await {
            tracing::warn!(run.id = %run, error = %error, "run without a caller could not be ended; recovery ends it");
        }
    }

    async fn try_end_unhosted(&self, run: &RunId, tree: &Arc<RunTree>, cause: &Cause) -> Result<(), Cause> {
        let (seq, state) = self.replay(run).await?;
        if matches!(state.phase(), Phase::New | Phase::Ended(_)) {
            // It was not created, or it has ended by itself.
            return Ok(());
        }
        if self.has_compensation(&state).await {
            let pending = PendingResume { tree: tree.clone(), ticket: None, end: Some(cause.clone()) };
            match Box::pin(self.request_resume(run, pending)).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(run.id = %run, error = %error, "run without a caller ends without compensation");
                }
            }
        }
        self.end_inner_runs(run, tree).await;
        self.append_run_ended(run, tree.fence(), seq, &state, cause.clone()).await
    }

    /// True if a completed step of the run has a compensation, or one is under way.
    async fn has_compensation(&self, state: &State) -> bool {
        if matches!(state.phase(), Phase::Compensating { .. }) {
            return true;
        }
        let Some(started) = state.started() else { return false };
        let is_done = |status: &StepStatus| matches!(status, StepStatus::Done { .. });
        let mut completed = state.step_states().filter(|(_, step)| {
            is_done(&step.status) || step.items.iter().flat_map(|items| items.iter()).any(|(_, item)| is_done(item))
        });
        match PinnedDefinitions::from_recorded(started, &*self.env().resolver).await {
            Ok(pinned) => completed.any(|(step, _)| pinned.step(step).is_ok_and(|step| step.compensate.is_some())),
            Err(error) => {
                tracing::warn!(run.id = %started.run, error = %error, "definitions of a run are missing");
                false
            }
        }
    }

    /// Ends every run of a claimed tree that has not ended, each before the run that called it.
    ///
    /// # Errors
    /// An error of the stores.
    pub(super) async fn end_tree(&self, tree: &RunTree, cause: &Cause) -> Result<(), Cause> {
        for record in tree.claimed_runs().iter().rev() {
            let (seq, state) = self.replay(&record.run).await?;
            self.append_run_ended(&record.run, tree.fence(), seq, &state, cause.clone()).await?;
        }
        Ok(())
    }

    /// Ends a run whose record was written although its request is rejected.
    pub(super) async fn cancel_start(&self, run: &RunId, fence: Fence, seq: Seq, state: &State, cause: Cause) {
        if let Err(error) = self.append_run_ended(run, fence, seq, state, cause).await {
            // The run has neither started nor ended; if a pod resumes it, each of its steps is audited.
            tracing::error!(run.id = %run, error = %error, "rejected run could not be ended; recovery will resume it");
        }
    }

    /// Appends the end of a run that has no actor.
    ///
    /// # Errors
    /// An error of the journal.
    pub(super) async fn append_run_ended(
        &self,
        run: &RunId,
        fence: Fence,
        seq: Seq,
        state: &State,
        cause: Cause,
    ) -> Result<(), Cause> {
        let RunEnv { stores, clock, .. } = &**self.env();
        let mut reply = Box::new(terminated_reply(run, state, cause));
        if let Some(booked) = booked_cost(stores, run, false).await {
            add_booked_cost(&mut reply, &booked);
        }
        let ended = [Entry::RunEnded { reply }];
        let position = AppendPosition { run, fence, after: seq };
        let receipt = stores.core.append(position, &ended, clock.now()).await;
        receipt.map(drop).map_err(|error| error.cause())
    }
}
