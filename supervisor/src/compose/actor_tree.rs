//! The root of the actor tree, and the order in which it grows: guard, categories, teams, runs.
//!
//! ```text
//! Root
//! ├── GuardKeeper
//! ├── Category × 14
//! ├── Teams
//! └── Runs
//! ```
//!
//! Children that grew last are stopped first. One that dies is started again by the table; one that
//! dies too often ends the process, since nothing works without it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use greenroom_actors::observer::{ActorEvent, Observer};
use greenroom_actors::supervision::{ChildEvent, ChildKind, LinkedTasks, RestartDecision, RestartIntensity};
use greenroom_protocol::{Cause, ErrorCode};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long one child may take to stop before it is killed.
const STOP_WAIT_MAX: Duration = Duration::from_secs(2);

/// Makes a child anew, under the root.
pub type SpawnFn = Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>;

/// A child of the root.
#[derive(Clone)]
pub struct ChildSpec {
    /// Its row in the table.
    pub kind: ChildKind,
    /// How to make it.
    pub spawn: SpawnFn,
}

/// What the root is told.
pub enum RootMsg {
    /// A child's pause is over.
    Restart(usize),
    /// A child is there that was not when the tree grew.
    AddChild(ChildSpec, oneshot::Sender<Result<(), Cause>>),
}

impl ractor::Message for RootMsg {}

/// What the root holds.
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

/// Where children are added to a tree that stands already.
#[derive(Clone)]
pub struct RootHandle {
    root: ActorRef<RootMsg>,
}

impl RootHandle {
    /// Adds a child; it stands when this returns, and is looked after like those before it.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] if it does not start, [`ErrorCode::ShuttingDown`] if the tree is being stopped.
    pub async fn add_child(&self, child: ChildSpec) -> Result<(), Cause> {
        let stopped = || Cause::new(ErrorCode::ShuttingDown, "the actor tree is being stopped");
        let (told, grown) = oneshot::channel();
        self.root.send_message(RootMsg::AddChild(child, told)).map_err(|_| stopped())?;
        grown.await.map_err(|_| stopped())?
    }
}

/// The grown tree.
pub struct ActorTree {
    root: ActorRef<RootMsg>,
    closing: Arc<AtomicBool>,
    over: mpsc::Receiver<&'static str>,
}

impl ActorTree {
    /// Grows the tree; it stands when this returns.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] if a child does not start.
    pub async fn spawn(children: Vec<ChildSpec>, observer: Arc<dyn Observer>) -> Result<Self, Cause> {
        let (over_tx, over) = mpsc::channel(1);
        let closing = Arc::new(AtomicBool::new(false));
        let root = Root { observer, closing: Arc::clone(&closing), failed_tx: over_tx };
        let (root, _) = Actor::spawn(None, root, children).await.map_err(|error| spawn_failed(&error))?;
        Ok(Self { root, closing, over })
    }

    /// Where more children are added.
    #[must_use]
    pub fn root_handle(&self) -> RootHandle {
        RootHandle { root: self.root.clone() }
    }

    /// Waits until a child has died too often to go on; answers its kind.
    pub async fn wait_failed(&mut self) -> &'static str {
        match self.over.recv().await {
            Some(kind) => kind,
            None => "root",
        }
    }

    /// Stops the children, those that grew last first, and then the root.
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
            RootMsg::Restart(index) => {
                state.restart_timers.acknowledge(&index);
                self.fill(&myself, state, index).await?;
            }
            RootMsg::AddChild(child, told) => {
                let grown = self.add(&myself, state, child).await;
                // Who has gone away does not need to know.
                let _ = told.send(grown.map_err(|error| spawn_failed(&error)));
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
        if let ChildEvent::Ended { child: who, exit: how, reason: why } = ChildEvent::from_event(event)
            && let Some(index) = state.actors.remove(&who)
            && let Some(child) = state.children.get(index)
            && !self.closing.load(Ordering::Acquire)
        {
            tracing::warn!(child.kind = child.kind.as_str(), child.exit = ?how, child.reason = %why, "child ended");
            let intensity = state.intensities.entry(index).or_default();
            match intensity.on_exit(&child.kind.rule(), how, Instant::now()) {
                RestartDecision::RestartAfter(pause) => {
                    self.observer.on_event(ActorEvent::ChildRestarted { kind: child.kind.as_str() });
                    state.restart_timers.run_after(index, pause, move || {
                        let _ = myself.send_message(RootMsg::Restart(index));
                    });
                }
                RestartDecision::Stay => {}
                // Nothing above the root could do better, whatever the row says of giving up.
                RestartDecision::MaxRestarts(_) => drop(self.failed_tx.try_send(child.kind.as_str())),
            }
        }
        Ok(())
    }
}

impl Root {
    async fn fill(
        &self,
        myself: &ActorRef<RootMsg>,
        state: &mut RootState,
        index: usize,
    ) -> Result<(), ActorProcessingErr> {
        if self.closing.load(Ordering::Acquire) {
            return Ok(());
        }
        let Some(child) = state.children.get(index) else { return Ok(()) };
        let spawned = (child.spawn)(myself.get_cell()).await?;
        state.actors.insert(spawned.get_id(), index);
        Ok(())
    }

    /// Starts a child for the first time; one that does not start is no child.
    async fn add(&self, myself: &ActorRef<RootMsg>, state: &mut RootState, child: ChildSpec) -> Result<(), SpawnErr> {
        let spawned = (child.spawn)(myself.get_cell()).await?;
        state.actors.insert(spawned.get_id(), state.children.len());
        state.children.push(child);
        Ok(())
    }
}

fn spawn_failed(error: &SpawnErr) -> Cause {
    Cause::new(ErrorCode::Internal, format!("the actor tree did not grow: {error}"))
}
