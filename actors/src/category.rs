//! The supervisor of one business category: it seats the agents that are asked for, restarts those
//! that die by the table, and lets the idle ones leave.
//!
//! ```text
//! Root
//! └── Category × 14
//!     └── Agent           seated by its first job
//! ```
//!
//! The seats lie outside the actor, so a category that dies and comes back finds the work that waits.

mod actor;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use greenroom_definitions::Agent;
use greenroom_protocol::{CategoryId, ContentHash};
use ractor::ActorRef;

pub use actor::Category;

use actor::CategoryMsg;

use crate::agent::{self, AgentSeat, Done};
use crate::execution::Backstage;
use crate::execution::invocation::Assignment;
use crate::supervision::{ChildKind, Rule};

/// How categories look after their agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// How long an agent is idle before it leaves.
    pub idle_max: Duration,
    /// How often idle, frozen and forgotten agents are looked for.
    pub tick: Duration,
    /// What happens when an agent dies.
    pub rule: Rule,
}

impl Default for Manners {
    fn default() -> Self {
        Self { idle_max: Duration::from_secs(300), tick: Duration::from_secs(1), rule: ChildKind::Agent.rule() }
    }
}

/// The categories that have a supervisor here, as the stage sees them. It grows while the process runs:
/// a changed catalogue may name a category that was not there when the tree grew. Cheap to clone.
#[derive(Clone, Default)]
pub struct Categories {
    all: Arc<RwLock<HashMap<CategoryId, CategoryHandle>>>,
}

impl Categories {
    /// The way to a category; `None` if it has no supervisor here.
    #[must_use]
    pub fn get(&self, id: &CategoryId) -> Option<CategoryHandle> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Takes a category in. Its actor should be there already: from here on its agents are called.
    pub fn add(&self, category: CategoryHandle) {
        let id = category.id().clone();
        self.all.write().unwrap_or_else(PoisonError::into_inner).insert(id, category);
    }
}

/// What outlives the category's actor.
struct Inner {
    id: CategoryId,
    manners: Manners,
    backstage: Arc<Backstage>,
    seats: RwLock<HashMap<ContentHash, Arc<AgentSeat>>>,
    actor: Mutex<Option<ActorRef<CategoryMsg>>>,
    closing: AtomicBool,
}

/// The way to a category and its agents. Cheap to clone.
#[derive(Clone)]
pub struct CategoryHandle {
    inner: Arc<Inner>,
}

impl CategoryHandle {
    /// A category without an actor yet.
    #[must_use]
    pub fn new(id: CategoryId, backstage: Arc<Backstage>, manners: Manners) -> Self {
        let inner = Inner {
            id,
            manners,
            backstage,
            seats: RwLock::default(),
            actor: Mutex::default(),
            closing: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Which category.
    #[must_use]
    pub fn id(&self) -> &CategoryId {
        &self.inner.id
    }

    /// Lets an agent do the work, and waits for what comes of it.
    ///
    /// # Errors
    /// As [`agent::invoke`].
    pub async fn invoke(&self, assignment: Box<Assignment>) -> Done {
        let seat = self.seat(&assignment.agent);
        agent::invoke(&seat, assignment, &*self.inner.backstage.clock, |seat| self.fill(seat)).await
    }

    /// The seat of this version; made at its first use.
    fn seat(&self, agent: &Arc<Agent>) -> Arc<AgentSeat> {
        let version = agent.hash();
        let seats = &self.inner.seats;
        if let Some(seat) = seats.read().unwrap_or_else(PoisonError::into_inner).get(&version) {
            return Arc::clone(seat);
        }
        let mut seats = seats.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(seats.entry(version).or_insert_with(|| Arc::new(AgentSeat::new(Arc::clone(agent)))))
    }

    fn fill(&self, seat: &Arc<AgentSeat>) {
        let actor = self.inner.actor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(actor) = actor {
            // A category that is dead or not there yet looks at every seat when it comes back.
            let _ = actor.send_message(CategoryMsg::Fill(Arc::clone(seat)));
        }
    }

    /// Seats that are known, whether somebody sits there or not.
    #[must_use]
    pub fn seats(&self) -> usize {
        self.inner.seats.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Closes every slot for good: what waits is answered `shutting_down`, nobody is seated again.
    pub fn close(&self) {
        self.inner.closing.store(true, Ordering::Release);
        for seat in self.inner.seats.read().unwrap_or_else(PoisonError::into_inner).values() {
            drop(seat.slot().close());
        }
    }

    /// Forgets the seats that nobody uses.
    fn forget_deserted(&self) {
        let mut seats = self.inner.seats.write().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|_, seat| {
            let used = Arc::strong_count(seat) > 1 || Arc::strong_count(seat.slot()) > 1;
            used || !seat.slot().is_deserted()
        });
    }

    fn all_seats(&self) -> Vec<Arc<AgentSeat>> {
        self.inner.seats.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
