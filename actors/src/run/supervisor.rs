//! The supervisor of all runs of this pod: it starts their actors, removes those that have stopped, and renews the
//! leases of their trees. It restarts no actor: if the actor of a run fails, all actors of its tree stop, and
//! recovery resumes the tree.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use greenroom_protocol::{Cause, RunId};
use greenroom_registry::runs::Fence;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::{oneshot, watch};

use super::RunEnv;
use super::actor::RunActor;
use super::handle::RunsHandle;
use super::hosted::{Activation, HostedRun, not_started_error};
use super::message::{
    ContinuedCreation, Progress, RunArgs, RunMsg, RunSupervisorInfo, RunSupervisorMsg, SupervisorTask, UnneededRun,
};
use super::tree::{RunTree, renew_lease};
use crate::supervision::linked_tasks::UNBOUNDED;
use crate::supervision::{ChildEvent, ExitKind, LinkedTasks, TaskOutcome};

impl RunsHandle {
    /// Starts the supervisor of the runs, linked to `parent`.
    ///
    /// # Errors
    /// The error of ractor, if the parent is stopping.
    pub async fn start_supervisor(&self, parent: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, RunSupervisor { runs: self.clone() }, (), parent).await?;
        Ok(actor.get_cell())
    }
}

/// The supervisor of all runs of this pod.
struct RunSupervisor {
    runs: RunsHandle,
}

/// State of the supervisor.
#[derive(Default)]
struct RunSupervisorState {
    runs: HashMap<ActorId, RunId>,
    tasks: LinkedTasks<SupervisorTask>,
    /// Number of creations that it has continued.
    creations: u64,
}

impl Actor for RunSupervisor {
    type Msg = RunSupervisorMsg;
    type State = RunSupervisorState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<RunSupervisorMsg>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        self.runs.set_supervisor(myself);
        Ok(RunSupervisorState::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<RunSupervisorMsg>,
        message: RunSupervisorMsg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RunSupervisorMsg::Activate(args, port) => self.host(&myself, state, *args, port).await,
            RunSupervisorMsg::ContinueCreation(creation) => self.continue_creation(&myself, state, creation),
            RunSupervisorMsg::RenewLease(tree) => self.renew_lease(&myself, state, tree),
            RunSupervisorMsg::ReleaseLease(root, fence) => self.release_lease(&myself, state, root, fence),
            RunSupervisorMsg::TreeLost(root, fence) => self.runs.hosted_runs().stop_tree(&root, fence),
            RunSupervisorMsg::Park(tree) => self.park_tree(&myself, state, tree),
            RunSupervisorMsg::End(unneeded) => self.end_run(&myself, state, unneeded),
            RunSupervisorMsg::TaskEnded(task) => drop(state.tasks.acknowledge(&task)),
            // The caller may have dropped its request.
            RunSupervisorMsg::GetInfo(port) => drop(port.send(RunSupervisorInfo { hosted: self.runs.hosted() })),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RunSupervisorMsg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let ChildEvent::Ended { child, exit, reason } = ChildEvent::from_event(event)
            && let Some(run) = state.runs.remove(&child)
        {
            let hosted = self.runs.hosted_runs().remove(&run, child);
            if exit != ExitKind::Stopped {
                tracing::error!(run.id = %run, child.exit = ?exit, child.reason = %reason, "actor of a run failed; recovery resumes its tree");
                if let Some(hosted) = hosted {
                    self.fail_tree(&myself, state, &hosted.tree);
                }
            }
        }
        Ok(())
    }
}

impl RunSupervisor {
    async fn host(
        &self,
        myself: &ActorRef<RunSupervisorMsg>,
        state: &mut RunSupervisorState,
        args: RunArgs,
        port: oneshot::Sender<Result<(), Cause>>,
    ) {
        let run = args.run().clone();
        let (started, tree, caller) = (args.ctx.started.clone(), args.ctx.tree.clone(), args.caller.clone());
        let (progress_sender, progress) = watch::channel(Progress::default());
        let (actor, start) = RunActor::new(args, progress_sender, self.runs.clone());
        let context = start.context_changes();
        let result = Actor::spawn_linked(None, actor, start, myself.get_cell()).await;
        let result = match result {
            Ok((actor, _)) => {
                state.runs.insert(actor.get_id(), run.clone());
                let hosted = HostedRun { actor: actor.clone(), progress, context, started, tree };
                let activation = self.runs.hosted_runs().insert(run, hosted, caller.as_ref());
                let message = match &activation {
                    Ok(Activation::Needed) | Err(_) => None,
                    Ok(Activation::Unneeded(cause)) => Some(RunMsg::Terminate(cause.clone())),
                    Ok(Activation::CallerFailed) => Some(RunMsg::Fenced),
                };
                if let Some(message) = message {
                    // An actor that is stopping at this moment does not continue either.
                    let _ = actor.send_message(message);
                }
                activation.map(drop)
            }
            Err(error) => Err(not_started_error(&error)),
        };
        // If the caller has dropped its request, the run continues.
        let _ = port.send(result);
    }

    /// Completes the creation of a run whose caller has gone. It requests the activation of the run like every creation.
    fn continue_creation(
        &self,
        myself: &ActorRef<RunSupervisorMsg>,
        state: &mut RunSupervisorState,
        creation: ContinuedCreation,
    ) {
        let ContinuedCreation { run, work } = creation;
        state.creations = state.creations.wrapping_add(1);
        let (task, me) = (SupervisorTask::Create(state.creations), myself.clone());
        state.tasks.spawn(task.clone(), UNBOUNDED, work, move |outcome| {
            if let TaskOutcome::Panicked(message) = outcome {
                tracing::error!(run.id = %run, "the creation of a run panicked");
                tracing::debug!(run.id = %run, panic.message = %message, "the creation of a run panicked");
            }
            // If the supervisor has stopped, its tasks have too.
            let _ = me.send_message(RunSupervisorMsg::TaskEnded(task));
        });
    }

    /// Renews the lease of a tree for as long as this pod uses the tree.
    fn renew_lease(&self, myself: &ActorRef<RunSupervisorMsg>, state: &mut RunSupervisorState, tree: Weak<RunTree>) {
        let Some(current) = tree.upgrade() else { return };
        let (root, fence) = (current.root().clone(), current.fence());
        drop(current);
        let env = self.runs.env();
        let work = renew_lease(tree, env.stores.core.clone(), env.clock.clone(), env.lease);
        let (task, me) = (SupervisorTask::Lease(root.clone(), fence), myself.clone());
        state.tasks.spawn(task.clone(), UNBOUNDED, work, move |outcome| {
            // If the supervisor has stopped, so have all actors.
            if outcome != TaskOutcome::Completed(true) {
                let _ = me.send_message(RunSupervisorMsg::TreeLost(root, fence));
            }
            let _ = me.send_message(RunSupervisorMsg::TaskEnded(task));
        });
    }

    fn release_lease(
        &self,
        myself: &ActorRef<RunSupervisorMsg>,
        state: &mut RunSupervisorState,
        root: RunId,
        fence: Fence,
    ) {
        state.tasks.abort(&SupervisorTask::Lease(root.clone(), fence));
        let RunEnv { stores, clock, .. } = &**self.runs.env();
        let (core, now, me) = (stores.core.clone(), clock.now(), myself.clone());
        let task = SupervisorTask::Release(root.clone(), fence);
        let work = async move { core.release_tree(&root, fence, now).await };
        state.tasks.spawn(task.clone(), UNBOUNDED, work, move |_| {
            // If the supervisor has stopped, its tasks have too.
            let _ = me.send_message(RunSupervisorMsg::TaskEnded(task));
        });
    }

    /// Parks a tree that only waits.
    fn park_tree(&self, myself: &ActorRef<RunSupervisorMsg>, state: &mut RunSupervisorState, tree: Arc<RunTree>) {
        let task = SupervisorTask::Park(tree.root().clone(), tree.fence());
        let (runs, me) = (self.runs.clone(), myself.clone());
        let work = async move { runs.park_tree(tree).await };
        state.tasks.spawn(task.clone(), UNBOUNDED, work, move |_| {
            // If the supervisor has stopped, its tasks have too.
            let _ = me.send_message(RunSupervisorMsg::TaskEnded(task));
        });
    }

    /// Stops all actors of a tree, because one of them has failed, and counts the failure.
    fn fail_tree(&self, myself: &ActorRef<RunSupervisorMsg>, state: &mut RunSupervisorState, tree: &RunTree) {
        let (root, fence) = (tree.root().clone(), tree.fence());
        let delay = self.runs.delay_recovery(tree);
        self.runs.hosted_runs().stop_tree(&root, fence);
        let RunEnv { stores, clock, .. } = &**self.runs.env();
        let (core, now) = (stores.core.clone(), clock.now());
        let retry_at = now.saturating_add(delay);
        let (me, task) = (myself.clone(), SupervisorTask::Fail(root.clone()));
        let work = async move {
            if let Err(error) = core.fail_tree_until(&root, fence, retry_at, now).await {
                tracing::warn!(run.id = %root, error = %error, "failure of a tree of runs was not counted");
            }
        };
        state.tasks.spawn(task.clone(), UNBOUNDED, work, move |_| {
            // If the supervisor has stopped, its tasks have too.
            let _ = me.send_message(RunSupervisorMsg::TaskEnded(task));
        });
    }

    /// Ends a run that may have no actor: its caller did not need it any more while it was being started.
    fn end_run(&self, myself: &ActorRef<RunSupervisorMsg>, state: &mut RunSupervisorState, unneeded: UnneededRun) {
        let UnneededRun { run, caller, tree, cause } = unneeded;
        // Its activation, if it was requested, is before this message in the mailbox.
        if let Some(caller) = caller {
            self.runs.hosted_runs().complete_start(&caller, &run);
        }
        if self.runs.hosted_runs().find(&run).is_some() {
            return self.runs.hosted_runs().terminate(&run, cause);
        }
        let task = SupervisorTask::End(run.clone());
        if state.tasks.contains(&task) {
            // Its end is under way, and may resume it; a second one would give it a second actor.
            return;
        }
        let (runs, me) = (self.runs.clone(), myself.clone());
        let work = async move { runs.end_unhosted(&run, &tree, &cause).await };
        state.tasks.spawn(task.clone(), UNBOUNDED, work, move |_| {
            // If the supervisor has stopped, its tasks have too.
            let _ = me.send_message(RunSupervisorMsg::TaskEnded(task));
        });
    }
}
