//! The runs that this pod hosts, as other actors find and terminate them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use greenroom_protocol::{Cause, RunId};
use ractor::{ActorId, ActorRef};
use tokio::sync::watch;

use super::context::LastVersion;
use super::message::{Progress, RunMsg};

/// A hosted run, as other actors see it.
#[derive(Clone)]
pub(super) struct HostedRun {
    pub(super) actor: ActorRef<RunMsg>,
    pub(super) progress: watch::Receiver<Progress>,
    /// The last version of its team's context, if a team runs it.
    pub(super) context: Option<Arc<LastVersion>>,
}

/// The runs that this pod hosts.
#[derive(Default)]
pub(super) struct HostedRuns(Mutex<HashMap<RunId, HostedRun>>);

impl HostedRuns {
    pub(super) fn find(&self, run: &RunId) -> Option<HostedRun> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(run).cloned()
    }

    pub(super) fn insert(&self, run: RunId, hosted: HostedRun) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(run, hosted);
    }

    /// Removes a run whose actor has stopped, unless another actor hosts it by now.
    pub(super) fn remove(&self, run: &RunId, actor: ActorId) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.get(run).is_some_and(|hosted| hosted.actor.get_id() == actor) {
            runs.remove(run);
        }
    }

    /// Terminates a run. A run that is not hosted has ended or has not started.
    pub(super) fn terminate(&self, run: &RunId, cause: Cause) {
        if let Some(hosted) = self.find(run) {
            // A run whose actor is stopping at this moment does not continue either.
            let _ = hosted.actor.send_message(RunMsg::Terminate(cause));
        }
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
