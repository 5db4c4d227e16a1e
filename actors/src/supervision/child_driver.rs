//! The driver of a child table: it starts the children of one supervisor, kills stalled ones and restarts failed ones.
//!
//! The driver sends [`ChildMsg`]s to its supervisor, because only the supervisor can create an actor for a key. An
//! error of a method terminates the supervisor, whose own restart policy then decides.

use std::fmt::Display;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr};
use tokio::time::Instant;

use super::child_event::ChildEvent;
use super::child_table::{ChildTable, KILL_TIMEOUT, SupervisorAction};
use super::job_queue::{JobQueue, WakeMessage};
use super::linked_tasks::{LinkedTasks, TaskOutcome};
use super::restart_policy::{ChildKind, RestartMode, RestartPolicy};
use crate::observer::{ActorEvent, Observer};

/// A message of the driver to its supervisor.
#[derive(Debug, Clone)]
pub enum ChildMsg<K> {
    /// Start the child of this key with [`ChildDriver::start`].
    Start(K),
    /// Call [`ChildDriver::kill_stalled`].
    Tick,
    /// A stalled child could not be killed in time: call [`ChildDriver::on_kill_timeout`].
    KillTimedOut(ActorCell),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Task<K> {
    Ticks,
    Restart(K),
    Kill(ActorId),
}

/// The children of one kind under one supervisor, with their restart timers. It is part of the state of the
/// supervisor, so its timers stop with the supervisor.
pub struct ChildDriver<K, J, M> {
    kind: ChildKind,
    mode: RestartMode,
    table: ChildTable<K, J, M>,
    tasks: LinkedTasks<Task<K>>,
    observer: Arc<dyn Observer>,
}

impl<K, J, M> ChildDriver<K, J, M>
where
    K: Eq + Hash + Clone + Display + Send + 'static,
    M: WakeMessage,
{
    /// Creates a driver without children. `policy` is usually that of `kind`; tests shorten its windows.
    #[must_use]
    pub fn new(kind: ChildKind, policy: RestartPolicy, observer: Arc<dyn Observer>) -> Self {
        let table = ChildTable::new(policy);
        Self { kind, mode: policy.mode, table, tasks: LinkedTasks::default(), observer }
    }

    /// Sends a [`ChildMsg::Tick`] to the supervisor in this interval.
    pub fn start_ticks<S: From<ChildMsg<K>> + ractor::Message>(&mut self, supervisor: ActorRef<S>, interval: Duration) {
        self.tasks.run_every(Task::Ticks, interval, move || supervisor.send_message(ChildMsg::Tick.into()).is_ok());
    }

    /// Starts a child as [`ChildTable::start`] does. Returns true if an actor was started.
    ///
    /// # Errors
    /// The actor could not be started, and the child exceeded its restart intensity.
    pub async fn start<S, F, R>(
        &mut self,
        supervisor: &ActorRef<S>,
        key: K,
        queue: Arc<JobQueue<J, M>>,
        spawn: F,
    ) -> Result<bool, ActorProcessingErr>
    where
        S: From<ChildMsg<K>> + ractor::Message,
        F: FnOnce() -> R,
        R: Future<Output = Result<ActorRef<M>, SpawnErr>>,
    {
        let mut needs_actor = false;
        let spawn = || {
            needs_actor = true;
            spawn()
        };
        let action = self.table.start(key, queue, spawn).await;
        let is_started = needs_actor && action == SupervisorAction::None;
        self.apply(supervisor, action)?;
        Ok(is_started)
    }

    /// Handles the exit of a child.
    ///
    /// # Errors
    /// The child exceeded its restart intensity.
    pub fn on_child_event<S: From<ChildMsg<K>> + ractor::Message>(
        &mut self,
        supervisor: &ActorRef<S>,
        event: ChildEvent,
    ) -> Result<(), ActorProcessingErr> {
        let ChildEvent::Ended { child, exit, reason } = event else { return Ok(()) };
        self.tasks.abort(&Task::Kill(child));
        let kind = self.kind.as_str();
        if self.mode == RestartMode::Permanent {
            tracing::warn!(child.kind = kind, child.exit = ?exit, child.reason = %reason, "child ended");
        } else {
            // A child of another mode also ends when it is idle.
            tracing::debug!(child.kind = kind, child.exit = ?exit, child.reason = %reason, "child ended");
        }
        let action = self.table.on_exit(child, exit, Instant::now());
        self.apply(supervisor, action)
    }

    /// Starts to kill each child that is stalled.
    pub fn kill_stalled<S: From<ChildMsg<K>> + ractor::Message>(&mut self, supervisor: &ActorRef<S>) {
        for child in self.table.stalled(Instant::now()) {
            tracing::error!(child.kind = self.kind.as_str(), "child is stalled and will be killed");
            let (supervisor, stalled) = (supervisor.clone(), child.clone());
            let kill = async move { child.kill_and_wait(Some(KILL_TIMEOUT)).await.is_ok() };
            self.tasks.spawn(Task::Kill(stalled.get_id()), 2 * KILL_TIMEOUT, kill, move |outcome| {
                if outcome != TaskOutcome::Completed(true) {
                    // If the supervisor has stopped, its children have stopped with it.
                    let _ = supervisor.send_message(ChildMsg::KillTimedOut(stalled).into());
                }
            });
        }
    }

    /// Abandons a stalled child that could not be killed in time, and restarts it.
    ///
    /// # Errors
    /// The child exceeded its restart intensity.
    pub fn on_kill_timeout<S: From<ChildMsg<K>> + ractor::Message>(
        &mut self,
        supervisor: &ActorRef<S>,
        child: &ActorCell,
    ) -> Result<(), ActorProcessingErr> {
        let action = self.table.unlink(child, supervisor.get_cell(), Instant::now());
        if action != SupervisorAction::None {
            self.observer.on_event(ActorEvent::ChildAbandoned { kind: self.kind.as_str() });
        }
        self.apply(supervisor, action)
    }

    /// The actors of the active children.
    pub fn active(&self) -> impl Iterator<Item = &ActorRef<M>> {
        self.table.active().map(|(_, actor)| actor)
    }

    /// Evicts idle children whose restart intensity has expired.
    pub fn evict(&mut self) {
        self.table.evict(Instant::now());
    }

    /// Applies an action of the child table.
    fn apply<S: From<ChildMsg<K>> + ractor::Message>(
        &mut self,
        supervisor: &ActorRef<S>,
        action: SupervisorAction<K>,
    ) -> Result<(), ActorProcessingErr> {
        let kind = self.kind.as_str();
        match action {
            SupervisorAction::None | SupervisorAction::Stopped(_) => Ok(()),
            SupervisorAction::RestartAfter { key, after, is_restart } => {
                if is_restart {
                    self.observer.on_event(ActorEvent::ChildRestarted { kind });
                }
                let supervisor = supervisor.clone();
                self.tasks.run_after(Task::Restart(key.clone()), after, move || {
                    // A restarted supervisor starts the children whose jobs wait.
                    let _ = supervisor.send_message(ChildMsg::Start(key).into());
                });
                Ok(())
            }
            SupervisorAction::CircuitOpened(key) => {
                tracing::error!(
                    child.kind = kind,
                    child.key = %key,
                    "child exceeded its restart intensity, and its circuit is open"
                );
                Ok(())
            }
            SupervisorAction::Escalate(key) | SupervisorAction::StopPod(key) => {
                Err(format!("{kind} {key} exceeded its restart intensity").into())
            }
        }
    }
}
