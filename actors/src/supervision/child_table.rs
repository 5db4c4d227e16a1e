//! The children of one supervisor: their queues, actors and restart intensities. The table starts children, counts
//! restarts and returns an action, which the supervisor applies.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorId, ActorRef, SpawnErr};
use tokio::time::Instant;

use super::child_event::ExitKind;
use super::intensity::{RestartDecision, RestartIntensity};
use super::job_queue::{JobQueue, WakeMessage};
use super::restart_policy::{OnMaxRestarts, RestartMode, RestartPolicy};

/// Timeout of a kill; after it the stalled actor is abandoned.
pub const KILL_TIMEOUT: Duration = Duration::from_secs(1);

/// The action that a supervisor must apply after a change of its child table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SupervisorAction<K> {
    /// No action: the event concerns no child of this table.
    None,
    /// The child has stopped; the next job starts it again, unless its queue is closed.
    Stopped(K),
    /// Start the child again after a delay.
    RestartAfter {
        /// The key of the child.
        key: K,
        /// The delay.
        after: Duration,
        /// True if the start counts as a restart.
        is_restart: bool,
    },
    /// The child exceeded its restart intensity, and its queue rejects jobs until the cooldown ends.
    CircuitOpened(K),
    /// The child exceeded its restart intensity, and its supervisor must fail.
    Escalate(K),
    /// The child exceeded its restart intensity, and the pod must stop.
    StopPod(K),
}

struct ChildEntry<J, M> {
    queue: Arc<JobQueue<J, M>>,
    actor: Option<ActorRef<M>>,
    intensity: RestartIntensity,
    /// It is stalled and being killed, so its exit counts as [`ExitKind::Stalled`].
    is_stalled: bool,
    /// The number of jobs that it had taken while others waited, and since when that has not changed.
    unchanged: Option<(u64, Instant)>,
}

/// The children of one kind under one supervisor.
pub struct ChildTable<K, J, M> {
    policy: RestartPolicy,
    entries: HashMap<K, ChildEntry<J, M>>,
    keys: HashMap<ActorId, K>,
    /// When the children were last checked for progress.
    checked_at: Option<Instant>,
}

impl<K: Eq + Hash + Clone, J, M: WakeMessage> ChildTable<K, J, M> {
    /// Creates an empty table for children with this restart policy.
    #[must_use]
    pub fn new(policy: RestartPolicy) -> Self {
        Self { policy, entries: HashMap::new(), keys: HashMap::new(), checked_at: None }
    }

    /// Starts an actor for a queue, unless one is active. A child that is not permanent is started only if a job
    /// waits.
    pub async fn start<S, F>(&mut self, key: K, queue: Arc<JobQueue<J, M>>, spawn: S) -> SupervisorAction<K>
    where
        S: FnOnce() -> F,
        F: Future<Output = Result<ActorRef<M>, SpawnErr>>,
    {
        let entry = self.entries.entry(key.clone()).or_insert_with(|| ChildEntry {
            queue,
            actor: None,
            intensity: RestartIntensity::default(),
            is_stalled: false,
            unchanged: None,
        });
        if entry.actor.is_some() {
            return SupervisorAction::None;
        }
        if !entry.queue.detach() && self.policy.mode != RestartMode::Permanent {
            return SupervisorAction::None;
        }
        match spawn().await {
            Ok(actor) => {
                self.keys.insert(actor.get_id(), key);
                (entry.is_stalled, entry.unchanged) = (false, None);
                entry.queue.attach(actor.clone());
                entry.actor = Some(actor);
                SupervisorAction::None
            }
            Err(error) => {
                tracing::warn!(error = %error, "child could not start");
                self.on_child_exit(key, ExitKind::Crashed, Instant::now())
            }
        }
    }

    /// Records the exit of a child. The jobs in its queue remain.
    pub fn on_exit(&mut self, child: ActorId, exit: ExitKind, now: Instant) -> SupervisorAction<K> {
        let Some(key) = self.keys.remove(&child) else { return SupervisorAction::None };
        let was_stalled = self.entries.get(&key).is_some_and(|entry| entry.is_stalled);
        self.on_child_exit(key, if was_stalled { ExitKind::Stalled } else { exit }, now)
    }

    fn on_child_exit(&mut self, key: K, exit: ExitKind, now: Instant) -> SupervisorAction<K> {
        let Some(entry) = self.entries.get_mut(&key) else { return SupervisorAction::None };
        entry.actor = None;
        (entry.is_stalled, entry.unchanged) = (false, None);
        if entry.queue.is_closed() {
            return SupervisorAction::Stopped(key);
        }
        match entry.intensity.on_exit(&self.policy, exit, now) {
            RestartDecision::RestartAfter(after) => {
                entry.queue.expect_restart();
                SupervisorAction::RestartAfter { key, after, is_restart: true }
            }
            RestartDecision::NoRestart if entry.queue.detach() => {
                SupervisorAction::RestartAfter { key, after: Duration::ZERO, is_restart: false }
            }
            RestartDecision::NoRestart => SupervisorAction::Stopped(key),
            RestartDecision::MaxRestarts(OnMaxRestarts::OpenCircuit { cooldown }) => {
                // Dropping a job closes its port; the caller then reads the cause from the queue.
                drop(entry.queue.open_circuit(now + cooldown));
                SupervisorAction::CircuitOpened(key)
            }
            // A queue serves many callers, so there is no one run to end.
            RestartDecision::MaxRestarts(OnMaxRestarts::Escalate | OnMaxRestarts::EndRun | OnMaxRestarts::GiveUp) => {
                SupervisorAction::Escalate(key)
            }
            RestartDecision::MaxRestarts(OnMaxRestarts::StopPod) => SupervisorAction::StopPod(key),
        }
    }

    /// The children that have taken no job for too long although jobs wait; the length of a queue, and the time that
    /// a job waits in it, do not matter. Each child is returned once, to be killed within [`KILL_TIMEOUT`], or else
    /// unlinked with [`ChildTable::unlink`].
    ///
    /// It compares the progress between its calls. If a call is late by as much as a child may take, then the machine
    /// was suspended or has no time for anything, and no child is judged by that time.
    pub fn stalled(&mut self, now: Instant) -> Vec<ActorCell> {
        let Some(after) = self.policy.stalled_after else { return Vec::new() };
        let was_suspended = self.checked_at.replace(now).is_some_and(|at| now.duration_since(at) >= after);
        let mut stalled = Vec::new();
        for entry in self.entries.values_mut().filter(|entry| !entry.is_stalled) {
            let Some(actor) = &entry.actor else { continue };
            let Some(taken) = entry.queue.taken_while_waiting() else {
                entry.unchanged = None;
                continue;
            };
            match entry.unchanged {
                Some((before, since)) if before == taken && !was_suspended => {
                    if now.duration_since(since) >= after {
                        entry.is_stalled = true;
                        stalled.push(actor.get_cell());
                    }
                }
                Some(_) | None => entry.unchanged = Some((taken, now)),
            }
        }
        stalled
    }

    /// Unlinks a stalled child that could not be killed from `parent`, and restarts the child. Returns
    /// [`SupervisorAction::None`] if it has ended meanwhile.
    pub fn unlink(&mut self, child: &ActorCell, parent: ActorCell, now: Instant) -> SupervisorAction<K> {
        let Some(key) = self.keys.remove(&child.get_id()) else { return SupervisorAction::None };
        child.unlink(parent);
        self.on_child_exit(key, ExitKind::Stalled, now)
    }

    /// Evicts idle children whose restart intensity has expired.
    pub fn evict(&mut self, now: Instant) {
        let policy = &self.policy;
        self.entries.retain(|_, entry| {
            entry.actor.is_some() || !entry.queue.is_idle() || !entry.intensity.is_expired(policy, now)
        });
    }

    /// The active children and their keys.
    pub fn active(&self) -> impl Iterator<Item = (&K, &ActorRef<M>)> {
        self.entries.iter().filter_map(|(key, entry)| entry.actor.as_ref().map(|actor| (key, actor)))
    }
}
