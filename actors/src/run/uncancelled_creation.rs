//! The creation of a run, which is not cancelled with its caller: a client that disconnects, a step whose time is up, or
//! the failed actor of a team.
//!
//! The caller polls the work itself, so that a start costs no task of its own. If the caller drops it, the supervisor of
//! the runs continues it as one of its linked tasks, with the capacity at admission control that it has. A drain does not
//! wait for it, as for every run without a caller: the next process resumes the run. A supervisor that has stopped
//! continues nothing either.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use greenroom_protocol::RunId;

use super::handle::RunsHandle;
use super::message::{ContinuedCreation, RunSupervisorMsg};
use crate::concurrency::OwnedTickets;

/// A creation that is under way, as its caller awaits it.
pub(super) struct UncancelledCreation<T: Send + 'static> {
    runs: RunsHandle,
    run: RunId,
    /// The run that calls it.
    caller: Option<RunId>,
    /// None once it has ended.
    work: Option<BoxFuture<'static, T>>,
}

impl<T: Send + 'static> UncancelledCreation<T> {
    /// The work holds the tickets of the current task, whoever continues it.
    pub(super) fn new(
        runs: RunsHandle,
        run: RunId,
        caller: Option<RunId>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        let work = OwnedTickets::of_task().scope(work).boxed();
        Self { runs, run, caller, work: Some(work) }
    }
}

impl<T: Send + 'static> Future for UncancelledCreation<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Taken, because work that panics is not continued.
        let Some(mut work) = self.work.take() else { return Poll::Pending };
        let polled = work.poll_unpin(cx);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for UncancelledCreation<T> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        if let Some(caller) = &self.caller
            && !self.runs.hosted_runs().needs_inner(caller, &self.run)
        {
            // The drop of its start ends the run in the store.
            return;
        }
        tracing::debug!(run.id = %self.run, "the creation of a run continues without its caller");
        let continued = ContinuedCreation { run: self.run.clone(), work: work.map(drop).boxed() };
        self.runs.notify_supervisor(RunSupervisorMsg::ContinueCreation(continued));
    }
}
