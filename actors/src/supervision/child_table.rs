//! Who sits where under one parent: slots, actors and how often each has died. Categories and teams
//! have one; it spawns, counts, and says what changed, and its parent does the rest.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorId, ActorRef, SpawnErr};
use tokio::time::Instant;

use super::child_event::ExitKind;
use super::intensity::{RestartDecision, RestartIntensity};
use super::job_queue::{JobQueue, WakeMessage};
use super::restart_policy::{ChildKind, OnMaxRestarts, RestartMode, RestartPolicy};

/// How long a frozen actor has to die before it is left behind.
pub const KILL_TIMEOUT: Duration = Duration::from_secs(1);

/// What a parent has to do after something changed on its roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SupervisorAction<K> {
    /// Nothing: the event was about nobody who sits here.
    None,
    /// This one has left for now; a job brings it back.
    Stopped(K),
    /// Fill this seat after a while. `died` is true if that counts as a restart.
    RestartAfter {
        /// Whose seat.
        key: K,
        /// After how long.
        after: Duration,
        /// True if a death led here.
        died: bool,
    },
    /// This one died too often, and its slot refuses for a while.
    CircuitOpened(K),
    /// This one died too often, and the parent must die of it.
    Escalate(K),
    /// This one died too often, and the process must end.
    StopPod(K),
}

struct ChildEntry<J, M> {
    queue: Arc<JobQueue<J, M>>,
    actor: Option<ActorRef<M>>,
    intensity: RestartIntensity,
    /// It was found frozen and is being killed, so its end counts as [`How::Frozen`].
    freezing: bool,
}

/// The children of one kind under one parent.
pub struct ChildTable<K, J, M> {
    rule: RestartPolicy,
    entries: HashMap<K, ChildEntry<J, M>>,
    keys: HashMap<ActorId, K>,
}

impl<K: Eq + Hash + Clone, J, M: WakeMessage> ChildTable<K, J, M> {
    /// An empty roster for children of this kind.
    #[must_use]
    pub fn new(kind: ChildKind) -> Self {
        Self::with_rule(kind.rule())
    }

    /// An empty roster with a rule of its own; a test shortens its windows so.
    #[must_use]
    pub fn with_rule(rule: RestartPolicy) -> Self {
        Self { rule, entries: HashMap::new(), keys: HashMap::new() }
    }

    /// Seats an actor on a slot, unless somebody sits there already. Where children are not permanent,
    /// nobody is seated if nothing waits.
    pub async fn start<S, F>(&mut self, key: K, queue: Arc<JobQueue<J, M>>, spawn: S) -> SupervisorAction<K>
    where
        S: FnOnce() -> F,
        F: Future<Output = Result<ActorRef<M>, SpawnErr>>,
    {
        let entry = self.entries.entry(key.clone()).or_insert_with(|| ChildEntry {
            queue,
            actor: None,
            intensity: RestartIntensity::default(),
            freezing: false,
        });
        if entry.actor.is_some() {
            return SupervisorAction::None;
        }
        if !entry.queue.detach() && self.rule.restart != RestartMode::Permanent {
            return SupervisorAction::None;
        }
        match spawn().await {
            Ok(actor) => {
                self.keys.insert(actor.get_id(), key);
                entry.freezing = false;
                entry.queue.attach(actor.clone(), Instant::now());
                entry.actor = Some(actor);
                SupervisorAction::None
            }
            Err(error) => {
                tracing::warn!(error = %error, "child could not start");
                self.on_child_exit(key, ExitKind::Crashed, Instant::now())
            }
        }
    }

    /// A child has ended. What waits in its slot stays there.
    pub fn on_exit(&mut self, who: ActorId, exit: ExitKind, now: Instant) -> SupervisorAction<K> {
        let Some(key) = self.keys.remove(&who) else { return SupervisorAction::None };
        let freezing = self.entries.get(&key).is_some_and(|entry| entry.freezing);
        self.on_child_exit(key, if freezing { ExitKind::Stalled } else { exit }, now)
    }

    fn on_child_exit(&mut self, key: K, exit: ExitKind, now: Instant) -> SupervisorAction<K> {
        let Some(entry) = self.entries.get_mut(&key) else { return SupervisorAction::None };
        entry.actor = None;
        entry.freezing = false;
        match entry.intensity.on_exit(&self.rule, exit, now) {
            RestartDecision::RestartAfter(after) => {
                entry.queue.expect_restart();
                SupervisorAction::RestartAfter { key, after, died: true }
            }
            RestartDecision::Stay if entry.queue.detach() => {
                SupervisorAction::RestartAfter { key, after: Duration::ZERO, died: false }
            }
            RestartDecision::Stay => SupervisorAction::Stopped(key),
            RestartDecision::MaxRestarts(OnMaxRestarts::OpenCircuit { cooldown }) => {
                // Dropping a job closes its port, and who waits there asks the slot why.
                drop(entry.queue.open_circuit(now + cooldown));
                SupervisorAction::CircuitOpened(key)
            }
            RestartDecision::MaxRestarts(OnMaxRestarts::Escalate) => SupervisorAction::Escalate(key),
            RestartDecision::MaxRestarts(OnMaxRestarts::StopPod) => SupervisorAction::StopPod(key),
        }
    }

    /// The children whose oldest job has waited too long; each is named once, to be killed within
    /// [`KILL_WAIT`], and left behind with [`Roster::abandon`] if that is not enough.
    pub fn stalled(&mut self, now: Instant) -> Vec<ActorCell> {
        let Some(after) = self.rule.stalled_after else { return Vec::new() };
        let mut found = Vec::new();
        for entry in self.entries.values_mut().filter(|entry| !entry.freezing) {
            if let Some(actor) = &entry.actor
                && entry.queue.stalled_for(now).is_some_and(|ignored| ignored >= after)
            {
                entry.freezing = true;
                found.push(actor.get_cell());
            }
        }
        found
    }

    /// A frozen child could not be killed: it is unlinked from `parent` and forgotten, and its slot
    /// gets another one. [`Change::Nothing`] if it has died in time after all.
    pub fn unlink(&mut self, child: &ActorCell, parent: ActorCell, now: Instant) -> SupervisorAction<K> {
        let Some(key) = self.keys.remove(&child.get_id()) else { return SupervisorAction::None };
        child.unlink(parent);
        self.on_child_exit(key, ExitKind::Stalled, now)
    }

    /// The slot of a child that this roster has seated before.
    #[must_use]
    pub fn queue(&self, key: &K) -> Option<&Arc<JobQueue<J, M>>> {
        self.entries.get(key).map(|entry| &entry.queue)
    }

    /// Forgets the empty seats whose past does not count any more.
    pub fn evict(&mut self, now: Instant) {
        let rule = &self.rule;
        self.entries.retain(|_, entry| {
            entry.actor.is_some() || !entry.queue.is_idle() || !entry.intensity.is_expired(rule, now)
        });
    }

    /// The children that sit, with their names.
    pub fn active(&self) -> impl Iterator<Item = (&K, &ActorRef<M>)> {
        self.entries.iter().filter_map(|(key, entry)| entry.actor.as_ref().map(|actor| (key, actor)))
    }

    /// Closes every slot, and drops what waited there.
    pub fn close(&self) {
        for entry in self.entries.values() {
            drop(entry.queue.close());
        }
    }
}
