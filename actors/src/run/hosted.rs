//! The runs that this pod hosts, as other actors find and terminate them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use greenroom_protocol::{Cause, RunId};
use ractor::{ActorId, ActorProcessingErr, ActorRef};
use tokio::sync::watch;

use super::context::LastVersion;
use super::machine::CallWaits;
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

    /// Hosts a run and begins it: the first steps find their run here, and its actor gets no other message before.
    pub(super) fn begin(&self, run: RunId, hosted: HostedRun) -> Result<(), ActorProcessingErr> {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosted.actor.send_message(RunMsg::Begin)?;
        runs.insert(run, hosted);
        Ok(())
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

    /// Reports to the run that called one what that one waits for. A run that is not hosted learns it when it is
    /// resumed, because it asks then.
    pub(super) fn report_waits(&self, caller: &RunId, called: &RunId, waits: CallWaits) {
        if let Some(hosted) = self.find(caller) {
            // A run whose actor is stopping at this moment waits for nothing.
            let _ = hosted.actor.send_message(RunMsg::CallWaits(called.clone(), waits));
        }
    }

    /// Requests a called run to report what it waits for, if it is hosted already.
    pub(super) fn request_report(&self, called: &RunId) {
        if let Some(hosted) = self.find(called) {
            // A run whose actor is stopping at this moment waits for nothing.
            let _ = hosted.actor.send_message(RunMsg::ReportWaits);
        }
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
