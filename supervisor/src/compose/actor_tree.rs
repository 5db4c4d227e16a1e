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
use greenroom_actors::observer::{Observed, Observer};
use greenroom_actors::supervision::{ChildKind, Exit, Intensity, LinkedTasks, Next};
use greenroom_protocol::{Cause, Code};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long one child may take to stop before it is killed.
const STOP_WAIT_MAX: Duration = Duration::from_secs(2);

/// Makes a child anew, under the root.
pub type Spawn = Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>;

/// A child of the root.
#[derive(Clone)]
pub struct Child {
    /// Its row in the table.
    pub kind: ChildKind,
    /// How to make it.
    pub spawn: Spawn,
}

/// What the root is told.
pub enum RootMsg {
    /// A child's pause is over.
    Fill(usize),
    /// A child is there that was not when the tree grew.
    Grow(Child, oneshot::Sender<Result<(), Cause>>),
}

impl ractor::Message for RootMsg {}

/// What the root holds.
pub struct RootState {
    children: Vec<Child>,
    seats: HashMap<ActorId, usize>,
    intensities: HashMap<usize, Intensity>,
    pauses: LinkedTasks<usize>,
}

/// The root of the tree.
pub struct Root {
    observer: Arc<dyn Observer>,
    closing: Arc<AtomicBool>,
    over: mpsc::Sender<&'static str>,
}

/// Where children are added to a tree that stands already.
#[derive(Clone)]
pub struct Trunk {
    root: ActorRef<RootMsg>,
}

impl Trunk {
    /// Adds a child; it stands when this returns, and is looked after like those before it.
    ///
    /// # Errors
    /// [`Code::Internal`] if it does not start, [`Code::ShuttingDown`] if the tree is being stopped.
    pub async fn grow(&self, child: Child) -> Result<(), Cause> {
        let stopped = || Cause::new(Code::ShuttingDown, "the actor tree is being stopped");
        let (told, grown) = oneshot::channel();
        self.root.send_message(RootMsg::Grow(child, told)).map_err(|_| stopped())?;
        grown.await.map_err(|_| stopped())?
    }
}

/// The grown tree.
pub struct Tree {
    root: ActorRef<RootMsg>,
    closing: Arc<AtomicBool>,
    over: mpsc::Receiver<&'static str>,
}

impl Tree {
    /// Grows the tree; it stands when this returns.
    ///
    /// # Errors
    /// [`Code::Internal`] if a child does not start.
    pub async fn grow(children: Vec<Child>, observer: Arc<dyn Observer>) -> Result<Self, Cause> {
        let (over_tx, over) = mpsc::channel(1);
        let closing = Arc::new(AtomicBool::new(false));
        let root = Root { observer, closing: Arc::clone(&closing), over: over_tx };
        let (root, _) = Actor::spawn(None, root, children).await.map_err(|error| not_grown(&error))?;
        Ok(Self { root, closing, over })
    }

    /// Where more children are added.
    #[must_use]
    pub fn trunk(&self) -> Trunk {
        Trunk { root: self.root.clone() }
    }

    /// Waits until a child has died too often to go on; answers its kind.
    pub async fn fallen(&mut self) -> &'static str {
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
    type Arguments = Vec<Child>;

    async fn pre_start(
        &self,
        myself: ActorRef<RootMsg>,
        children: Vec<Child>,
    ) -> Result<RootState, ActorProcessingErr> {
        let mut state = RootState {
            children: Vec::new(),
            seats: HashMap::new(),
            intensities: HashMap::new(),
            pauses: LinkedTasks::default(),
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
            RootMsg::Fill(index) => {
                state.pauses.ended(&index);
                self.fill(&myself, state, index).await?;
            }
            RootMsg::Grow(child, told) => {
                let grown = self.add(&myself, state, child).await;
                // Who has gone away does not need to know.
                let _ = told.send(grown.map_err(|error| not_grown(&error)));
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
        if let Exit::Ended { who, how, why } = Exit::read(event)
            && let Some(index) = state.seats.remove(&who)
            && let Some(child) = state.children.get(index)
            && !self.closing.load(Ordering::Acquire)
        {
            tracing::warn!(child.kind = child.kind.as_str(), child.how = ?how, child.why = %why, "child ended");
            let intensity = state.intensities.entry(index).or_default();
            match intensity.on_exit(&child.kind.rule(), how, Instant::now()) {
                Next::RestartAfter(pause) => {
                    self.observer.saw(Observed::Restarted { kind: child.kind.as_str() });
                    state.pauses.after(index, pause, move || {
                        let _ = myself.send_message(RootMsg::Fill(index));
                    });
                }
                Next::Leave => {}
                // Nothing above the root could do better, whatever the row says of giving up.
                Next::GiveUp(_) => drop(self.over.try_send(child.kind.as_str())),
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
        state.seats.insert(spawned.get_id(), index);
        Ok(())
    }

    /// Starts a child for the first time; one that does not start is no child.
    async fn add(&self, myself: &ActorRef<RootMsg>, state: &mut RootState, child: Child) -> Result<(), SpawnErr> {
        let spawned = (child.spawn)(myself.get_cell()).await?;
        state.seats.insert(spawned.get_id(), state.children.len());
        state.children.push(child);
        Ok(())
    }
}

fn not_grown(error: &SpawnErr) -> Cause {
    Cause::new(Code::Internal, format!("the actor tree did not grow: {error}"))
}
