//! The guard actor: it tries and swaps policy, and keeps its shards alive.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use greenroom_protocol::{Cause, Code};
use greenroom_rego::{Bundle, PolicySnapshot, SnapshotError};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::handle::GuardHandle;
use super::worker::{GuardShard, ShardJob, ShardMsg};
use crate::observer::{Observed, Observer};
use crate::supervision::child_table::{Change, KILL_WAIT, Roster};
use crate::supervision::{ChildKind, Ended, Exit, LinkedTasks};

/// How often the keeper looks for frozen shards.
const TICK: Duration = Duration::from_millis(250);
/// Bundles that may wait to be tried.
const LOADS_MAX: usize = 16;
/// How long a compilation and its trial may take.
const TRIAL_MAX: Duration = Duration::from_secs(60);

/// Who waits for a bundle to be in force.
type LoadPort = oneshot::Sender<Result<Arc<str>, Cause>>;

/// What the keeper is told.
pub(super) enum KeeperMsg {
    /// Try a bundle and put it in force.
    Load(Box<Bundle>, LoadPort),
    /// The trial of the bundle at the head of the line has ended.
    Tried(Ended<Result<Arc<PolicySnapshot>, SnapshotError>>),
    /// Seat a shard.
    Fill(usize),
    /// Look for frozen shards.
    Tick,
    /// A frozen shard could not be killed in time.
    Outlived(ActorCell),
}

impl ractor::Message for KeeperMsg {}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Task {
    Ticks,
    Trial,
    Fill(usize),
    Kill(ractor::ActorId),
}

/// What the keeper holds.
struct KeeperState {
    roster: Roster<usize, ShardJob, ShardMsg>,
    tasks: LinkedTasks<Task>,
    loads: VecDeque<(Box<Bundle>, LoadPort)>,
}

/// The guard actor.
pub struct GuardKeeper {
    handle: GuardHandle,
    observer: Arc<dyn Observer>,
}

impl GuardKeeper {
    /// A keeper over what the handle holds.
    #[must_use]
    pub fn new(handle: GuardHandle, observer: Arc<dyn Observer>) -> Self {
        Self { handle, observer }
    }

    /// Spawns a keeper under `parent`.
    ///
    /// # Errors
    /// What ractor says, if the parent is stopping.
    pub async fn spawn_under(self, parent: ActorCell) -> Result<ActorCell, ractor::SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, Desk(self), (), parent).await?;
        Ok(actor.get_cell())
    }
}

/// The actor behind [`GuardKeeper`]; its messages stay in this module.
struct Desk(GuardKeeper);

impl Actor for Desk {
    type Msg = KeeperMsg;
    type State = KeeperState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<KeeperMsg>, (): ()) -> Result<KeeperState, ActorProcessingErr> {
        let mut tasks = LinkedTasks::default();
        tasks.every(Task::Ticks, TICK, move || myself.send_message(KeeperMsg::Tick).is_ok());
        Ok(KeeperState { roster: Roster::new(ChildKind::GuardShard), tasks, loads: VecDeque::new() })
    }

    async fn post_start(&self, myself: ActorRef<KeeperMsg>, state: &mut KeeperState) -> Result<(), ActorProcessingErr> {
        for shard in 0..self.0.handle.inner.slots.len() {
            self.0.fill(&myself, state, shard).await?;
        }
        *self.0.handle.inner.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(myself);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<KeeperMsg>,
        message: KeeperMsg,
        state: &mut KeeperState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            KeeperMsg::Load(bundle, port) => self.0.load(&myself, state, bundle, port),
            KeeperMsg::Tried(ended) => self.0.tried(&myself, state, ended),
            KeeperMsg::Fill(shard) => self.0.fill(&myself, state, shard).await?,
            KeeperMsg::Tick => GuardKeeper::kill_frozen(&myself, state),
            KeeperMsg::Outlived(shard) => self.0.abandon(&myself, state, &shard)?,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<KeeperMsg>,
        event: SupervisionEvent,
        state: &mut KeeperState,
    ) -> Result<(), ActorProcessingErr> {
        match Exit::read(event) {
            Exit::Ended { who, how, why } => {
                state.tasks.abort(&Task::Kill(who));
                tracing::warn!(child.kind = "guard_shard", child.how = ?how, child.why = %why, "child ended");
                let change = state.roster.on_exit(who, how, Instant::now());
                self.0.carry_out(&myself, state, change)
            }
            Exit::Started(_) | Exit::Other => Ok(()),
        }
    }
}

impl GuardKeeper {
    async fn fill(
        &self,
        myself: &ActorRef<KeeperMsg>,
        state: &mut KeeperState,
        shard: usize,
    ) -> Result<(), ActorProcessingErr> {
        let Some(slot) = self.handle.inner.slots.get(shard).cloned() else { return Ok(()) };
        let actor = GuardShard { slot: Arc::clone(&slot), in_force: Arc::clone(&self.handle.inner.in_force) };
        let parent = myself.get_cell();
        let spawn = || async move { Ok(Actor::spawn_linked(None, actor, (), parent).await?.0) };
        let change = state.roster.fill(shard, slot, spawn).await;
        self.carry_out(myself, state, change)
    }

    /// Does what the roster says. An error here is the keeper's own death.
    fn carry_out(
        &self,
        myself: &ActorRef<KeeperMsg>,
        state: &mut KeeperState,
        change: Change<usize>,
    ) -> Result<(), ActorProcessingErr> {
        match change {
            Change::Nothing | Change::Left(_) | Change::Barred(_) => Ok(()),
            Change::FillAfter { key, after, died } => {
                if died {
                    self.observer.saw(Observed::Restarted { kind: ChildKind::GuardShard.as_str() });
                }
                let me = myself.clone();
                state.tasks.after(Task::Fill(key), after, move || {
                    let _ = me.send_message(KeeperMsg::Fill(key));
                });
                Ok(())
            }
            Change::Escalate(shard) | Change::StopPod(shard) => {
                Err(format!("shard {shard} of the guard died too often").into())
            }
        }
    }

    fn kill_frozen(myself: &ActorRef<KeeperMsg>, state: &mut KeeperState) {
        for shard in state.roster.frozen(Instant::now()) {
            tracing::error!(child.kind = "guard_shard", "child is frozen and will be killed");
            let me = myself.clone();
            let doomed = shard.clone();
            let kill = async move { shard.kill_and_wait(Some(KILL_WAIT)).await.is_ok() };
            state.tasks.link(Task::Kill(doomed.get_id()), 2 * KILL_WAIT, kill, move |ended| {
                if ended != Ended::Done(true) {
                    let _ = me.send_message(KeeperMsg::Outlived(doomed));
                }
            });
        }
    }

    fn abandon(
        &self,
        myself: &ActorRef<KeeperMsg>,
        state: &mut KeeperState,
        shard: &ActorCell,
    ) -> Result<(), ActorProcessingErr> {
        let change = state.roster.abandon(shard, myself.get_cell(), Instant::now());
        if change != Change::Nothing {
            self.observer.saw(Observed::Abandoned { kind: ChildKind::GuardShard.as_str() });
        }
        self.carry_out(myself, state, change)
    }

    /// Bundles are tried one after the other, so the one that came last is the one in force.
    fn load(&self, myself: &ActorRef<KeeperMsg>, state: &mut KeeperState, bundle: Box<Bundle>, port: LoadPort) {
        if state.loads.len() >= LOADS_MAX {
            let _ = port.send(Err(Cause::new(Code::Overloaded, "too many bundles wait to be tried")));
            return;
        }
        state.loads.push_back((bundle, port));
        if state.loads.len() == 1 {
            self.begin_trial(myself, state);
        }
    }

    fn begin_trial(&self, myself: &ActorRef<KeeperMsg>, state: &mut KeeperState) {
        let Some((bundle, _)) = state.loads.front() else { return };
        let (compiler, bundle) = (self.handle.inner.compiler.clone(), bundle.clone());
        let me = myself.clone();
        let trial = async move {
            let compiled = tokio::task::spawn_blocking(move || compiler.compile(&bundle)).await;
            let compiled = compiled.map_err(|error| SnapshotError::Compile(error.to_string()))??;
            PolicySnapshot::trial(compiled).await
        };
        state.tasks.link(Task::Trial, TRIAL_MAX, trial, move |ended| {
            let _ = me.send_message(KeeperMsg::Tried(ended));
        });
    }

    fn tried(
        &self,
        myself: &ActorRef<KeeperMsg>,
        state: &mut KeeperState,
        ended: Ended<Result<Arc<PolicySnapshot>, SnapshotError>>,
    ) {
        state.tasks.ended(&Task::Trial);
        let Some((_, port)) = state.loads.pop_front() else { return };
        let answer = match ended {
            Ended::Done(Ok(snapshot)) => {
                let revision = Arc::clone(snapshot.revision());
                tracing::info!(policy.revision = %revision, "policy is in force");
                self.handle.inner.in_force.store(snapshot);
                Ok(revision)
            }
            Ended::Done(Err(error)) => Err(Cause::from(error)),
            Ended::TimedOut => Err(Cause::new(Code::InvalidPolicy, "the bundle took too long to compile")),
            Ended::Panicked(said) => Err(Cause::new(Code::InvalidPolicy, format!("the trial panicked: {said}"))),
        };
        if let Err(cause) = &answer {
            tracing::error!(error.message = %cause.message, "policy was refused and the old one stays in force");
        }
        let _ = port.send(answer);
        self.begin_trial(myself, state);
    }
}
