//! The runs that this pod hosts, as other actors find and terminate them, and the runs that their steps call.
//!
//! A run that a step calls is registered by its caller before it is requested, and its start asks here whether it is
//! still needed. So it ends with its caller at every moment: before it is created, while its start is in a mailbox,
//! while it is in the store only, and while its actor is active. The end of the caller waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use greenroom_protocol::journal::RunStarted;
use greenroom_protocol::{Cause, ErrorCode, RunId};
use greenroom_registry::runs::Fence;
use ractor::{ActorId, ActorRef};
use tokio::sync::watch;

use super::context::ContextChanges;
use super::machine::CallWaits;
use super::message::{Progress, RunMsg};
use super::tree::RunTree;

/// A hosted run, as other actors see it.
#[derive(Clone)]
pub(super) struct HostedRun {
    pub(super) actor: ActorRef<RunMsg>,
    pub(super) progress: watch::Receiver<Progress>,
    /// The changes of the context of the team that was formed for it.
    pub(super) context: Option<Arc<ContextChanges>>,
    pub(super) started: Arc<RunStarted>,
    pub(super) tree: Arc<RunTree>,
}

/// What is known of a run that a step calls.
#[derive(Debug, Clone)]
enum InnerRun {
    /// Its start has not begun.
    Expected,
    /// Its start is under way.
    Starting,
    /// Its start was dropped, so it may exist without an actor.
    Dropped,
    /// Its actor is active, or has been.
    Activated,
    /// Its caller does not need it any more.
    Unneeded {
        cause: Cause,
        /// True until the start that is under way, or the end in the store, is complete.
        is_pending: bool,
    },
}

impl InnerRun {
    /// True if its start is under way, or may still begin.
    const fn may_start(&self) -> bool {
        match self {
            Self::Expected | Self::Starting | Self::Dropped => true,
            Self::Unneeded { is_pending, .. } => *is_pending,
            Self::Activated => false,
        }
    }
}

/// What becomes of a run whose actor was activated.
#[derive(Debug)]
pub(super) enum Activation {
    /// It runs.
    Needed,
    /// Its caller does not need it any more.
    Unneeded(Cause),
    /// Its caller has failed. The next attempt to resume the tree needs the run.
    CallerFailed,
}

/// What remains to be done for a run that its caller does not need any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InnerEnd {
    /// Nothing: it has ended, it will end, or its start will be rejected.
    None,
    /// It may exist without an actor.
    InStore,
}

#[derive(Default)]
struct Hosted {
    runs: HashMap<RunId, HostedRun>,
    /// The runs that steps call, by the caller.
    inner: HashMap<RunId, HashMap<RunId, InnerRun>>,
}

/// The runs that this pod hosts.
#[derive(Default)]
pub(super) struct HostedRuns {
    hosted: Mutex<Hosted>,
    /// Counts the activations, and the starts that are over.
    changes: watch::Sender<u64>,
}

impl HostedRuns {
    fn all(&self) -> MutexGuard<'_, Hosted> {
        self.hosted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notifies those who wait for an activation, or for the end of a start.
    fn notify(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Waits until a run is hosted.
    pub(super) async fn wait_hosted(&self, run: &RunId) -> HostedRun {
        let mut changes = self.changes.subscribe();
        loop {
            if let Some(hosted) = self.find(run) {
                return hosted;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until no run that the steps of this one have called is being started or will be. Its steps need none of
    /// them any more.
    pub(super) async fn wait_inner_starts(&self, parent: &RunId) {
        let mut changes = self.changes.subscribe();
        while self.has_inner_start(parent) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn has_inner_start(&self, parent: &RunId) -> bool {
        self.all().inner.get(parent).is_some_and(|inner| inner.values().any(InnerRun::may_start))
    }

    pub(super) fn find(&self, run: &RunId) -> Option<HostedRun> {
        self.all().runs.get(run).cloned()
    }

    /// Adds a run whose actor was activated, by a call of `caller` if there is one, and lets the actor begin: its first
    /// steps find it here, and every other message comes after the beginning.
    ///
    /// # Errors
    /// [`ErrorCode::ShuttingDown`] if the actor has stopped already.
    pub(super) fn insert(&self, run: RunId, hosted: HostedRun, caller: Option<&RunId>) -> Result<Activation, Cause> {
        let mut all = self.all();
        hosted.actor.send_message(RunMsg::Begin).map_err(|error| not_started_error(&error))?;
        all.runs.insert(run.clone(), hosted);
        self.notify();
        let Some(caller) = caller else { return Ok(Activation::Needed) };
        Ok(match all.inner.get_mut(caller).and_then(|inner| inner.get_mut(&run)) {
            Some(InnerRun::Unneeded { cause, .. }) => Activation::Unneeded(cause.clone()),
            Some(state) => {
                *state = InnerRun::Activated;
                Activation::Needed
            }
            None => Activation::CallerFailed,
        })
    }

    /// Removes a run whose actor has stopped, unless another actor hosts it by now. Of the runs that its steps called,
    /// those remain known that it does not need any more and that are still being started or ended.
    pub(super) fn remove(&self, run: &RunId, actor: ActorId) -> Option<HostedRun> {
        let mut all = self.all();
        if all.runs.get(run).is_none_or(|hosted| hosted.actor.get_id() != actor) {
            return None;
        }
        if let Some(inner) = all.inner.get_mut(run) {
            inner.retain(|_, state| matches!(state, InnerRun::Unneeded { is_pending: true, .. }));
            if inner.is_empty() {
                all.inner.remove(run);
            }
        }
        all.runs.remove(run)
    }

    /// Terminates a run. A run that is not hosted has ended or has not started.
    pub(super) fn terminate(&self, run: &RunId, cause: Cause) {
        if let Some(hosted) = self.find(run) {
            // A run whose actor is stopping at this moment does not continue either.
            let _ = hosted.actor.send_message(RunMsg::Terminate(cause));
        }
    }

    /// Reports to the run that called one what that one waits for. A caller that is not hosted will be
    /// resumed with its tree, and each run of the tree reports again then.
    pub(super) fn report_waits(&self, caller: &RunId, called: &RunId, waits: CallWaits) {
        if let Some(hosted) = self.find(caller) {
            // A run whose actor is stopping at this moment waits for nothing.
            let _ = hosted.actor.send_message(RunMsg::CallWaits(called.clone(), waits));
        }
    }

    /// Stops all actors of a tree that this pod does not own any more, or of which one has failed. They write
    /// nothing; the next owner resumes their runs.
    pub(super) fn stop_tree(&self, root: &RunId, fence: Fence) {
        for hosted in self.of_tree(root, fence) {
            // An actor that is stopping at this moment writes nothing either.
            let _ = hosted.actor.send_message(RunMsg::Fenced);
        }
    }

    /// The hosted runs of a tree of this owner, its root first.
    pub(super) fn of_tree(&self, root: &RunId, fence: Fence) -> Vec<HostedRun> {
        let is_in_tree = |hosted: &&HostedRun| hosted.tree.root() == root && hosted.tree.fence() == fence;
        let mut runs: Vec<HostedRun> = self.all().runs.values().filter(is_in_tree).cloned().collect();
        runs.sort_by_key(|hosted| hosted.started.run != *root);
        runs
    }

    /// True if an actor of the tree is active.
    pub(super) fn has_tree(&self, root: &RunId) -> bool {
        self.all().runs.values().any(|hosted| hosted.tree.root() == root)
    }

    pub(super) fn clear(&self) {
        let cleared = std::mem::take(&mut *self.all());
        // Dropped without the lock, because a tree that is dropped sends a message.
        drop(cleared);
    }

    pub(super) fn len(&self) -> usize {
        self.all().runs.len()
    }

    /// Registers a run that a step is about to call.
    pub(super) fn expect_inner(&self, parent: &RunId, run: RunId) {
        self.all().inner.entry(parent.clone()).or_default().entry(run).or_insert(InnerRun::Expected);
    }

    /// Begins the start of a run that a step calls, and returns its caller.
    ///
    /// # Errors
    /// The cause by which its caller does not need it any more.
    pub(super) fn begin_inner(&self, parent: &RunId, run: &RunId) -> Result<HostedRun, Cause> {
        let mut all = self.all();
        let hosted = all.runs.get(parent).cloned();
        let state = all.inner.get_mut(parent).and_then(|inner| inner.get_mut(run));
        let (Some(hosted), Some(state)) = (hosted, state) else {
            return Err(Cause::new(ErrorCode::Cancelled, format!("the run {parent} that calls this one has stopped")));
        };
        match state {
            InnerRun::Unneeded { cause, .. } => Err(cause.clone()),
            InnerRun::Activated => Ok(hosted),
            InnerRun::Expected | InnerRun::Starting | InnerRun::Dropped => {
                *state = InnerRun::Starting;
                Ok(hosted)
            }
        }
    }

    /// True if the run that calls this one still needs it.
    pub(super) fn needs_inner(&self, caller: &RunId, run: &RunId) -> bool {
        let all = self.all();
        let state = all.inner.get(caller).and_then(|inner| inner.get(run));
        all.runs.contains_key(caller) && state.is_some_and(|state| !matches!(state, InnerRun::Unneeded { .. }))
    }

    /// Records that the start of a run was dropped before its actor was activated. Returns the cause by which it has
    /// to end in the store, if its caller does not need it any more.
    pub(super) fn drop_start(&self, parent: &RunId, run: &RunId) -> Option<Cause> {
        let mut all = self.all();
        let state = all.inner.get_mut(parent)?.get_mut(run)?;
        if let InnerRun::Unneeded { cause, .. } = state {
            return Some(cause.clone());
        }
        if matches!(state, InnerRun::Starting) {
            *state = InnerRun::Dropped;
        }
        None
    }

    /// Records that the start of a run, or its end in the store, is complete.
    pub(super) fn complete_start(&self, parent: &RunId, run: &RunId) {
        let mut all = self.all();
        let is_hosted = all.runs.contains_key(parent);
        let Some(inner) = all.inner.get_mut(parent) else { return };
        match inner.get_mut(run) {
            Some(InnerRun::Unneeded { is_pending, .. }) if is_hosted => *is_pending = false,
            Some(InnerRun::Unneeded { .. }) => drop(inner.remove(run)),
            // It was active before its start, or it had ended.
            Some(state @ InnerRun::Starting) => *state = InnerRun::Activated,
            Some(InnerRun::Expected | InnerRun::Dropped | InnerRun::Activated) | None => {}
        }
        if inner.is_empty() {
            all.inner.remove(parent);
        }
        self.notify();
    }

    /// Ends a run that a step has called, because the step does not need it any more: its caller stops, its timeout
    /// has passed, or the call has ended.
    pub(super) fn end_inner(&self, parent: &RunId, run: &RunId, cause: Cause) -> InnerEnd {
        let hosted = {
            let mut all = self.all();
            let hosted = all.runs.get(run).cloned();
            let Some(inner) = all.inner.get_mut(parent) else { return InnerEnd::None };
            let was_dropped = matches!(inner.get(run), Some(InnerRun::Dropped));
            match (&hosted, inner.get_mut(run)) {
                // It has ended by itself.
                (None, Some(InnerRun::Activated)) => {
                    inner.remove(run);
                }
                (_, Some(InnerRun::Unneeded { .. }) | None) => {}
                (_, Some(state)) => {
                    let is_pending = matches!(state, InnerRun::Starting | InnerRun::Dropped);
                    *state = InnerRun::Unneeded { cause: cause.clone(), is_pending };
                }
            }
            self.notify();
            match hosted {
                Some(hosted) => hosted,
                None if was_dropped => return InnerEnd::InStore,
                None => return InnerEnd::None,
            }
        };
        // An actor that is stopping at this moment does not continue either.
        let _ = hosted.actor.send_message(RunMsg::Terminate(cause));
        InnerEnd::None
    }
}

/// The cause of a run whose actor could not be started.
pub(super) fn not_started_error(error: &dyn std::error::Error) -> Cause {
    Cause::new(ErrorCode::ShuttingDown, format!("the actor of the run could not be started: {error}"))
}
