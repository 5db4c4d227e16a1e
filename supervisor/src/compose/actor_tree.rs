//! The root of the actor tree and the order in which its children start: guard, categories, teams, runs.
//!
//! ```text
//! Root
//! ├── GuardSupervisor
//! ├── CategorySupervisor × 14
//! ├── TeamSupervisor
//! ├── RunSupervisor
//! └── NodeServer, Peer          added once the pipeline can serve calls, if the pod has a network
//! ```
//!
//! Children stop in the reverse order. A child that dies is restarted by its restart policy; if it
//! exceeds its restart intensity, the pod shuts down, since nothing works without it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use greenroom_actors::observer::{ActorEvent, Observer};
use greenroom_actors::supervision::{ChildEvent, ChildKind, ExitKind, LinkedTasks, RestartDecision, RestartIntensity};
use greenroom_protocol::{Cause, ErrorCode};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long one child may take to stop before it is killed.
const STOP_WAIT_MAX: Duration = Duration::from_secs(2);

/// Starts a child under the root.
pub type SpawnFn = Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>;

/// The spec of one child of the root.
#[derive(Clone)]
pub struct ChildSpec {
    /// Its kind, which selects its restart policy.
    pub kind: ChildKind,
    /// Starts it.
    pub spawn: SpawnFn,
}

/// Messages of the root.
pub enum RootMsg {
    /// The back-off of a child is over.
    Restart(usize),
    /// A child is added to the running tree.
    AddChild(ChildSpec, oneshot::Sender<Result<(), Cause>>),
}

impl ractor::Message for RootMsg {}

/// State of the root.
pub struct RootState {
    children: Vec<ChildSpec>,
    actors: HashMap<ActorId, usize>,
    intensities: HashMap<usize, RestartIntensity>,
    restart_timers: LinkedTasks<usize>,
}

/// The root of the tree.
pub struct Root {
    observer: Arc<dyn Observer>,
    closing: Arc<AtomicBool>,
    failed_tx: mpsc::Sender<&'static str>,
}

/// Adds children to a running tree.
#[derive(Clone)]
pub struct RootHandle {
    root: ActorRef<RootMsg>,
}

impl RootHandle {
    /// Adds a child and returns once it has started; the root supervises it like the others.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] if it does not start, [`ErrorCode::ShuttingDown`] if the tree is being stopped.
    pub async fn add_child(&self, child: ChildSpec) -> Result<(), Cause> {
        let stopped = || Cause::new(ErrorCode::ShuttingDown, "the actor tree is being stopped");
        let (reply_tx, reply) = oneshot::channel();
        self.root.send_message(RootMsg::AddChild(child, reply_tx)).map_err(|_| stopped())?;
        reply.await.map_err(|_| stopped())?
    }
}

/// The running tree.
pub struct ActorTree {
    root: ActorRef<RootMsg>,
    closing: Arc<AtomicBool>,
    failed: mpsc::Receiver<&'static str>,
}

impl ActorTree {
    /// Spawns the tree and returns once every child has started.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] if a child does not start.
    pub async fn spawn(children: Vec<ChildSpec>, observer: Arc<dyn Observer>) -> Result<Self, Cause> {
        let (failed_tx, failed) = mpsc::channel(1);
        let closing = Arc::new(AtomicBool::new(false));
        let root = Root { observer, closing: Arc::clone(&closing), failed_tx };
        let (root, _) = Actor::spawn(None, root, children).await.map_err(|error| spawn_failed(&error))?;
        Ok(Self { root, closing, failed })
    }

    /// A handle that adds children.
    #[must_use]
    pub fn root_handle(&self) -> RootHandle {
        RootHandle { root: self.root.clone() }
    }

    /// Waits until a child has exceeded its restart intensity; returns its kind.
    pub async fn wait_failed(&mut self) -> &'static str {
        match self.failed.recv().await {
            Some(kind) => kind,
            None => "root",
        }
    }

    /// Stops the children in reverse order of their start, then the root.
    pub async fn stop(self) {
        self.closing.store(true, Ordering::Release);
        let mut children = self.root.get_cell().get_children();
        children.sort_by_key(ActorCell::get_id);
        for child in children.into_iter().rev() {
            if child.stop_and_wait(None, Some(STOP_WAIT_MAX)).await.is_err() {
                child.kill();
            }
        }
        let _ = self.root.stop_and_wait(None, Some(STOP_WAIT_MAX)).await;
    }
}

impl Actor for Root {
    type Msg = RootMsg;
    type State = RootState;
    type Arguments = Vec<ChildSpec>;

    async fn pre_start(
        &self,
        myself: ActorRef<RootMsg>,
        children: Vec<ChildSpec>,
    ) -> Result<RootState, ActorProcessingErr> {
        let mut state = RootState {
            children: Vec::new(),
            actors: HashMap::new(),
            intensities: HashMap::new(),
            restart_timers: LinkedTasks::default(),
        };
        for child in children {
            self.add(&myself, &mut state, child).await?;
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<RootMsg>,
        message: RootMsg,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RootMsg::Restart(index) => self.restart(&myself, state, index).await,
            RootMsg::AddChild(child, reply_tx) => {
                let started = self.add(&myself, state, child).await;
                // The caller may have been dropped meanwhile.
                let _ = reply_tx.send(started.map_err(|error| spawn_failed(&error)));
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RootMsg>,
        event: SupervisionEvent,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        if let ChildEvent::Ended { child: actor, exit, reason } = ChildEvent::from_event(event)
            && let Some(index) = state.actors.remove(&actor)
        {
            self.on_child_exit(&myself, state, index, exit, &reason);
        }
        Ok(())
    }
}

impl Root {
    /// Restarts a child that has ended, or that did not start, after the delay of its restart policy.
    fn on_child_exit(
        &self,
        myself: &ActorRef<RootMsg>,
        state: &mut RootState,
        index: usize,
        exit: ExitKind,
        reason: &str,
    ) {
        let Some(child) = state.children.get(index) else { return };
        if self.closing.load(Ordering::Acquire) {
            return;
        }
        let kind = child.kind.as_str();
        tracing::warn!(child.kind = kind, child.exit = ?exit, child.reason = reason, "child ended");
        let intensity = state.intensities.entry(index).or_default();
        match intensity.on_exit(&child.kind.restart_policy(), exit, Instant::now()) {
            RestartDecision::RestartAfter(delay) => {
                let myself = myself.clone();
                state.restart_timers.run_after(index, delay, move || {
                    let _ = myself.send_message(RootMsg::Restart(index));
                });
            }
            RestartDecision::NoRestart => {}
            // The root has no supervisor to escalate to, whatever the restart policy is.
            RestartDecision::MaxRestarts(_) => drop(self.failed_tx.try_send(kind)),
        }
    }

    async fn restart(&self, myself: &ActorRef<RootMsg>, state: &mut RootState, index: usize) {
        state.restart_timers.acknowledge(&index);
        if self.closing.load(Ordering::Acquire) {
            return;
        }
        let Some(child) = state.children.get(index).cloned() else { return };
        match (child.spawn)(myself.get_cell()).await {
            Ok(spawned) => {
                self.observer.on_event(ActorEvent::ChildRestarted { kind: child.kind.as_str() });
                state.actors.insert(spawned.get_id(), index);
            }
            Err(error) => self.on_child_exit(myself, state, index, ExitKind::Crashed, &error.to_string()),
        }
    }

    /// Starts a child for the first time; a child that does not start is not added.
    async fn add(&self, myself: &ActorRef<RootMsg>, state: &mut RootState, child: ChildSpec) -> Result<(), SpawnErr> {
        let spawned = (child.spawn)(myself.get_cell()).await?;
        state.actors.insert(spawned.get_id(), state.children.len());
        state.children.push(child);
        Ok(())
    }
}

fn spawn_failed(error: &SpawnErr) -> Cause {
    Cause::new(ErrorCode::Internal, format!("cannot start the actor tree: {error}"))
}

#[cfg(test)]
mod tests;
