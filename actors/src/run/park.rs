//! Parking: a tree of runs in which everything waits for people, for events, or for a retry that is not due soon, leaves the
//! memory of its pod after a while, returns its capacity and has no owner until a signal or its time wakes it; then any pod
//! that has capacity claims and resumes it.
//!
//! The actors stop first, and the ownership ends after that, so that nothing of the tree is decided in between. A signal
//! that comes meanwhile is sent as a message, and a tree with a message is not parked. The teams of its runs are disbanded
//! in between, and formed again for the resumed runs, as after the death of a pod.
//!
//! A tree whose caller waits for its reply remains. The request of the caller has the capacity and keeps it until it gets
//! the reply, so nothing would be returned, and the claim of a woken tree would need capacity a second time. Such a wait
//! is bounded by the deadline of the request.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{Deadline, RunId, Timestamp};

use super::RunEnv;
use super::handle::RunsHandle;
use super::hosted::HostedRun;
use super::machine::State;
use super::message::{ParkedRun, RunMsg};
use super::tree::RunTree;
use crate::observer::ActorEvent;

/// How long the root of a tree only waits until the tree is parked.
pub const PARK_DELAY: Duration = Duration::from_secs(60);
/// Longest wait for an actor to stop.
const STOP_WAIT_MAX: Duration = Duration::from_secs(30);

/// What has become of the actors of a tree.
enum StoppedTree {
    /// All of them have stopped; the tree continues at this time at the latest.
    All(Option<Timestamp>),
    /// Some of them.
    Part,
    /// None, because its root does not only wait any more.
    None,
}

/// The run as it is parked; none if it does anything but wait for people or for a retry after `soon`, or if a caller
/// waits for it. The time of a run that waits for a retry passes, so it continues at its deadline at the latest.
pub(super) fn parked_run(state: &State, soon: Timestamp) -> Option<ParkedRun> {
    if state.has_unneeded_runs() || state.request_deadline().is_some() {
        return None;
    }
    let next = if state.is_paused() { None } else { Some(late_retry(state, soon)?) };
    let approvals = state.pending_approvals().into_iter().filter_map(|approval| approval.until);
    let waits = state.pending_waits().into_iter().filter_map(|wait| wait.until);
    Some(ParkedRun { wake_at: approvals.chain(waits).chain(next).min() })
}

/// When a run continues that does nothing but wait for a retry after `soon`, its own or that of a run that it called; none
/// if it does anything else.
pub(super) fn late_retry(state: &State, soon: Timestamp) -> Option<Timestamp> {
    if state.is_paused() || state.has_unneeded_runs() {
        return None;
    }
    let retry_at = state.next_retry()?;
    let at = state.deadline().map_or(retry_at, |deadline| retry_at.min(deadline.0));
    (at > soon).then_some(at)
}

impl RunsHandle {
    /// Parks a tree whose root has only waited for a while.
    pub(super) async fn park_tree(&self, tree: Arc<RunTree>) {
        let RunEnv { stores, clock, observer, .. } = &**self.env();
        let (root, fence) = (tree.root(), tree.fence());
        let hosted = self.hosted_runs().of_tree(root, fence);
        let has_team = |run: &&HostedRun| run.started.team_run.as_ref() == Some(&run.started.run);
        let teams: Vec<RunId> = hosted.iter().filter(has_team).map(|run| run.started.run.clone()).collect();
        let wake_at = match self.stop_waiting_runs(hosted).await {
            StoppedTree::All(wake_at) => wake_at,
            // The rest stops too. The tree is released with its last actor, and resumed as a whole.
            StoppedTree::Part => return self.hosted_runs().stop_tree(root, fence),
            StoppedTree::None => return,
        };
        // Before the ownership ends: the team of a run that is resumed at once is another one.
        if let Some(team_restorer) = self.team_restorer() {
            for run in &teams {
                team_restorer.release_team(run).await;
            }
        }
        match stores.cluster.park(root, fence, wake_at, clock.now()).await {
            Ok(true) => {
                tree.set_released();
                observer.on_event(ActorEvent::TreeParked);
                let wake_at = wake_at.map(tracing::field::display);
                tracing::info!(run.id = %root, run.wake_at = wake_at, "parked a tree of runs that only waits");
            }
            Ok(false) => tracing::debug!(run.id = %root, "a tree of runs was not parked, because it has a message"),
            Err(error) => tracing::warn!(run.id = %root, error = %error, "a tree of runs was not parked"),
        }
    }

    /// Stops the actors of a tree, its root first, if each of them only waits.
    async fn stop_waiting_runs(&self, hosted: Vec<HostedRun>) -> StoppedTree {
        let mut wake_at: Option<Timestamp> = None;
        for (index, run) in hosted.iter().enumerate() {
            let deadline = Deadline::after(self.env().clock.now(), STOP_WAIT_MAX);
            match self.request_from(run, deadline, RunMsg::Park).await {
                Ok(Some(Some(parked))) => wake_at = wake_at.into_iter().chain(parked.wake_at).min(),
                _ if index == 0 => return StoppedTree::None,
                Ok(_) | Err(_) => return StoppedTree::Part,
            }
        }
        StoppedTree::All(wake_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_has_not_started_is_not_parked() {
        assert_eq!(parked_run(&State::default(), Timestamp::default()), None);
    }
}
