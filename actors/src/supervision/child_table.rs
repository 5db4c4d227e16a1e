//! Who sits where under one parent: slots, actors and how often each has died. Categories and teams
//! have one; it spawns, counts, and says what changed, and its parent does the rest.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorId, ActorRef, SpawnErr};
use tokio::time::Instant;

use super::child_event::How;
use super::intensity::{Intensity, Next};
use super::job_queue::{Slot, Wakes};
use super::restart_policy::{ChildKind, GiveUp, Restart, Rule};

/// How long a frozen actor has to die before it is left behind.
pub const KILL_WAIT: Duration = Duration::from_secs(1);

/// What a parent has to do after something changed on its roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<K> {
    /// Nothing: the event was about nobody who sits here.
    Nothing,
    /// This one has left for now; a job brings it back.
    Left(K),
    /// Fill this seat after a while. `died` is true if that counts as a restart.
    FillAfter {
        /// Whose seat.
        key: K,
        /// After how long.
        after: Duration,
        /// True if a death led here.
        died: bool,
    },
    /// This one died too often, and its slot refuses for a while.
    Barred(K),
    /// This one died too often, and the parent must die of it.
    Escalate(K),
    /// This one died too often, and the process must end.
    StopPod(K),
}

struct Seat<J, M> {
    slot: Arc<Slot<J, M>>,
    actor: Option<ActorRef<M>>,
    intensity: Intensity,
    /// It was found frozen and is being killed, so its end counts as [`How::Frozen`].
    freezing: bool,
}

/// The children of one kind under one parent.
pub struct Roster<K, J, M> {
    rule: Rule,
    seats: HashMap<K, Seat<J, M>>,
    keys: HashMap<ActorId, K>,
}

impl<K: Eq + Hash + Clone, J, M: Wakes> Roster<K, J, M> {
    /// An empty roster for children of this kind.
    #[must_use]
    pub fn new(kind: ChildKind) -> Self {
        Self::with_rule(kind.rule())
    }

    /// An empty roster with a rule of its own; a test shortens its windows so.
    #[must_use]
    pub fn with_rule(rule: Rule) -> Self {
        Self { rule, seats: HashMap::new(), keys: HashMap::new() }
    }

    /// Seats an actor on a slot, unless somebody sits there already. Where children are not permanent,
    /// nobody is seated if nothing waits.
    pub async fn fill<S, F>(&mut self, key: K, slot: Arc<Slot<J, M>>, spawn: S) -> Change<K>
    where
        S: FnOnce() -> F,
        F: Future<Output = Result<ActorRef<M>, SpawnErr>>,
    {
        let seat = self.seats.entry(key.clone()).or_insert_with(|| Seat {
            slot,
            actor: None,
            intensity: Intensity::default(),
            freezing: false,
        });
        if seat.actor.is_some() {
            return Change::Nothing;
        }
        if !seat.slot.vacate() && self.rule.restart != Restart::Permanent {
            return Change::Nothing;
        }
        match spawn().await {
            Ok(actor) => {
                self.keys.insert(actor.get_id(), key);
                seat.freezing = false;
                seat.slot.seat(actor.clone(), Instant::now());
                seat.actor = Some(actor);
                Change::Nothing
            }
            Err(error) => {
                tracing::warn!(error = %error, "child could not start");
                self.died(key, How::Crashed, Instant::now())
            }
        }
    }

    /// A child has ended. What waits in its slot stays there.
    pub fn on_exit(&mut self, who: ActorId, how: How, now: Instant) -> Change<K> {
        let Some(key) = self.keys.remove(&who) else { return Change::Nothing };
        let freezing = self.seats.get(&key).is_some_and(|seat| seat.freezing);
        self.died(key, if freezing { How::Frozen } else { how }, now)
    }

    fn died(&mut self, key: K, how: How, now: Instant) -> Change<K> {
        let Some(seat) = self.seats.get_mut(&key) else { return Change::Nothing };
        seat.actor = None;
        seat.freezing = false;
        match seat.intensity.on_exit(&self.rule, how, now) {
            Next::RestartAfter(after) => {
                seat.slot.await_next();
                Change::FillAfter { key, after, died: true }
            }
            Next::Leave if seat.slot.vacate() => Change::FillAfter { key, after: Duration::ZERO, died: false },
            Next::Leave => Change::Left(key),
            Next::GiveUp(GiveUp::Bar { cooldown }) => {
                // Dropping a job closes its port, and who waits there asks the slot why.
                drop(seat.slot.bar(now + cooldown));
                Change::Barred(key)
            }
            Next::GiveUp(GiveUp::Escalate) => Change::Escalate(key),
            Next::GiveUp(GiveUp::StopPod) => Change::StopPod(key),
        }
    }

    /// The children whose oldest job has waited too long; each is named once, to be killed within
    /// [`KILL_WAIT`], and left behind with [`Roster::abandon`] if that is not enough.
    pub fn frozen(&mut self, now: Instant) -> Vec<ActorCell> {
        let Some(after) = self.rule.frozen_after else { return Vec::new() };
        let mut found = Vec::new();
        for seat in self.seats.values_mut().filter(|seat| !seat.freezing) {
            if let Some(actor) = &seat.actor
                && seat.slot.ignored_for(now).is_some_and(|ignored| ignored >= after)
            {
                seat.freezing = true;
                found.push(actor.get_cell());
            }
        }
        found
    }

    /// A frozen child could not be killed: it is unlinked from `parent` and forgotten, and its slot
    /// gets another one. [`Change::Nothing`] if it has died in time after all.
    pub fn abandon(&mut self, child: &ActorCell, parent: ActorCell, now: Instant) -> Change<K> {
        let Some(key) = self.keys.remove(&child.get_id()) else { return Change::Nothing };
        child.unlink(parent);
        self.died(key, How::Frozen, now)
    }

    /// The slot of a child that this roster has seated before.
    #[must_use]
    pub fn slot(&self, key: &K) -> Option<&Arc<Slot<J, M>>> {
        self.seats.get(key).map(|seat| &seat.slot)
    }

    /// Forgets the empty seats whose past does not count any more.
    pub fn forget(&mut self, now: Instant) {
        let rule = &self.rule;
        self.seats
            .retain(|_, seat| seat.actor.is_some() || !seat.slot.is_deserted() || !seat.intensity.is_calm(rule, now));
    }

    /// The children that sit, with their names.
    pub fn seated(&self) -> impl Iterator<Item = (&K, &ActorRef<M>)> {
        self.seats.iter().filter_map(|(key, seat)| seat.actor.as_ref().map(|actor| (key, actor)))
    }

    /// Closes every slot, and drops what waited there.
    pub fn close(&self) {
        for seat in self.seats.values() {
            drop(seat.slot.close());
        }
    }
}
