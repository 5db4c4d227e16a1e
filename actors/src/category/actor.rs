//! The category's actor: a roster and a tick.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use greenroom_protocol::ContentHash;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::time::Instant;

use super::CategoryHandle;
use crate::agent::{AgentActor, AgentMsg, AgentSeat, Job};
use crate::observer::Observed;
use crate::supervision::child_table::{Change, KILL_WAIT, Roster};
use crate::supervision::{ChildKind, Ended, Exit, LinkedTasks};

/// What a category is told.
pub(super) enum CategoryMsg {
    /// Somebody is needed here.
    Fill(Arc<AgentSeat>),
    /// A while has passed.
    Tick,
    /// A frozen agent could not be killed in time.
    Outlived(ActorCell),
}

impl ractor::Message for CategoryMsg {}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Task {
    Ticks,
    Fill(ContentHash),
    Kill(ractor::ActorId),
}

/// What a category holds.
struct CategoryState {
    roster: Roster<ContentHash, Job, AgentMsg>,
    tasks: LinkedTasks<Task>,
}

/// The supervisor of one category.
pub struct Category {
    handle: CategoryHandle,
}

impl Category {
    /// Spawns the actor of a category under `parent`.
    ///
    /// # Errors
    /// What ractor says, if the parent is stopping.
    pub async fn spawn_under(handle: CategoryHandle, parent: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, Desk(Self { handle }), (), parent).await?;
        Ok(actor.get_cell())
    }
}

/// The actor behind [`Category`]; its messages stay in this module.
struct Desk(Category);

impl Actor for Desk {
    type Msg = CategoryMsg;
    type State = CategoryState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<CategoryMsg>, (): ()) -> Result<CategoryState, ActorProcessingErr> {
        let mut tasks = LinkedTasks::default();
        let tick = self.0.handle.inner.manners.tick;
        tasks.every(Task::Ticks, tick, move || myself.send_message(CategoryMsg::Tick).is_ok());
        Ok(CategoryState { roster: Roster::with_rule(self.0.handle.inner.manners.rule), tasks })
    }

    async fn post_start(
        &self,
        myself: ActorRef<CategoryMsg>,
        state: &mut CategoryState,
    ) -> Result<(), ActorProcessingErr> {
        *self.0.handle.inner.actor.lock().unwrap_or_else(PoisonError::into_inner) = Some(myself.clone());
        // The agents of a category that died are dead too, and the work in their slots still waits.
        for seat in self.0.handle.all_seats() {
            seat.slot().await_next();
            self.0.fill(&myself, state, seat).await?;
        }
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<CategoryMsg>,
        message: CategoryMsg,
        state: &mut CategoryState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CategoryMsg::Fill(seat) => self.0.fill(&myself, state, seat).await?,
            CategoryMsg::Tick => self.0.tick(&myself, state),
            CategoryMsg::Outlived(child) => self.0.abandon(&myself, state, &child)?,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<CategoryMsg>,
        event: SupervisionEvent,
        state: &mut CategoryState,
    ) -> Result<(), ActorProcessingErr> {
        match Exit::read(event) {
            Exit::Ended { who, how, why } => {
                state.tasks.abort(&Task::Kill(who));
                tracing::debug!(child.kind = "agent", child.how = ?how, child.why = %why, "child ended");
                let change = state.roster.on_exit(who, how, Instant::now());
                self.0.carry_out(&myself, state, change)
            }
            Exit::Started(_) | Exit::Other => Ok(()),
        }
    }
}

impl Category {
    async fn fill(
        &self,
        myself: &ActorRef<CategoryMsg>,
        state: &mut CategoryState,
        seat: Arc<AgentSeat>,
    ) -> Result<(), ActorProcessingErr> {
        if self.handle.inner.closing.load(Ordering::Acquire) {
            drop(seat.slot().close());
            return Ok(());
        }
        let (key, slot) = (seat.agent().hash(), Arc::clone(seat.slot()));
        let (backstage, parent) = (Arc::clone(&self.handle.inner.backstage), myself.get_cell());
        let (began, mut wanted) = (std::time::Instant::now(), false);
        let spawn = || {
            wanted = true;
            AgentActor::spawn_under(seat, backstage, parent)
        };
        let change = state.roster.fill(key, slot, spawn).await;
        if wanted && change == Change::Nothing {
            self.handle.inner.backstage.observer.saw(Observed::SeatFilled { elapsed: began.elapsed() });
        }
        self.carry_out(myself, state, change)
    }

    /// Does what the roster says. An error here is the category's own death.
    fn carry_out(
        &self,
        myself: &ActorRef<CategoryMsg>,
        state: &mut CategoryState,
        change: Change<ContentHash>,
    ) -> Result<(), ActorProcessingErr> {
        let closing = self.handle.inner.closing.load(Ordering::Acquire);
        match change {
            Change::Nothing | Change::Left(_) => Ok(()),
            Change::FillAfter { .. } if closing => Ok(()),
            Change::FillAfter { key, after, died } => {
                if died {
                    self.handle.inner.backstage.observer.saw(Observed::Restarted { kind: ChildKind::Agent.as_str() });
                }
                self.fill_after(myself, state, key, after);
                Ok(())
            }
            Change::Barred(key) => {
                tracing::error!(agent.version = %key, "agent died too often and is barred for a while");
                Ok(())
            }
            Change::Escalate(key) | Change::StopPod(key) => Err(format!("agent {key} died too often").into()),
        }
    }

    fn fill_after(
        &self,
        myself: &ActorRef<CategoryMsg>,
        state: &mut CategoryState,
        key: ContentHash,
        after: std::time::Duration,
    ) {
        let seat = self.handle.inner.seats.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let Some(seat) = seat else { return };
        let me = myself.clone();
        state.tasks.after(Task::Fill(key), after, move || {
            let _ = me.send_message(CategoryMsg::Fill(seat));
        });
    }

    fn tick(&self, myself: &ActorRef<CategoryMsg>, state: &mut CategoryState) {
        let now = Instant::now();
        for child in state.roster.frozen(now) {
            tracing::error!(child.kind = "agent", "child is frozen and will be killed");
            let (me, doomed) = (myself.clone(), child.clone());
            let kill = async move { child.kill_and_wait(Some(KILL_WAIT)).await.is_ok() };
            state.tasks.link(Task::Kill(doomed.get_id()), 2 * KILL_WAIT, kill, move |ended| {
                if ended != Ended::Done(true) {
                    let _ = me.send_message(CategoryMsg::Outlived(doomed));
                }
            });
        }
        for (_, agent) in state.roster.seated() {
            // A dead one is heard of by its event.
            let _ = agent.send_message(AgentMsg::Tick(self.handle.inner.manners.idle_max));
        }
        state.roster.forget(now);
        self.handle.forget_deserted();
    }

    fn abandon(
        &self,
        myself: &ActorRef<CategoryMsg>,
        state: &mut CategoryState,
        child: &ActorCell,
    ) -> Result<(), ActorProcessingErr> {
        let change = state.roster.abandon(child, myself.get_cell(), Instant::now());
        if change != Change::Nothing {
            self.handle.inner.backstage.observer.saw(Observed::Abandoned { kind: ChildKind::Agent.as_str() });
        }
        self.carry_out(myself, state, change)
    }
}
