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

pub use actor::CategorySupervisor;

use actor::CategoryMsg;

use crate::agent::{self, ExecutionResult, HostedAgent};
use crate::execution::ExecutionEnv;
use crate::execution::invocation::Invocation;
use crate::supervision::{ChildKind, RestartPolicy};

/// How categories look after their agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CategoryConfig {
    /// How long an agent is idle before it leaves.
    pub idle_timeout: Duration,
    /// How often idle, frozen and forgotten agents are looked for.
    pub tick_interval: Duration,
    /// What happens when an agent dies.
    pub restart_policy: RestartPolicy,
}

impl Default for CategoryConfig {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(300),
            tick_interval: Duration::from_secs(1),
            restart_policy: ChildKind::Agent.rule(),
        }
    }
}

/// The categories that have a supervisor here, as the stage sees them. It grows while the process runs:
/// a changed catalogue may name a category that was not there when the tree grew. Cheap to clone.
#[derive(Clone, Default)]
pub struct CategoryHandles {
    all: Arc<RwLock<HashMap<CategoryId, CategoryHandle>>>,
}

impl CategoryHandles {
    /// The way to a category; `None` if it has no supervisor here.
    #[must_use]
    pub fn get(&self, id: &CategoryId) -> Option<CategoryHandle> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Takes a category in. Its actor should be there already: from here on its agents are called.
    pub fn insert(&self, category: CategoryHandle) {
        let id = category.id().clone();
        self.all.write().unwrap_or_else(PoisonError::into_inner).insert(id, category);
    }
}

/// What outlives the category's actor.
struct Inner {
    id: CategoryId,
    manners: CategoryConfig,
    env: Arc<ExecutionEnv>,
    hosted: RwLock<HashMap<ContentHash, Arc<HostedAgent>>>,
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
    pub fn new(id: CategoryId, env: Arc<ExecutionEnv>, manners: CategoryConfig) -> Self {
        let inner = Inner {
            id,
            manners,
            env,
            hosted: RwLock::default(),
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
    pub async fn invoke(&self, assignment: Box<Invocation>) -> ExecutionResult {
        let hosted = self.hosted_agent(&assignment.agent);
        agent::invoke(&hosted, assignment, &*self.inner.env.clock, |hosted| self.request_activation(hosted)).await
    }

    /// The seat of this version; made at its first use.
    fn hosted_agent(&self, agent: &Arc<Agent>) -> Arc<HostedAgent> {
        let version = agent.hash();
        let hosted = &self.inner.hosted;
        if let Some(hosted) = hosted.read().unwrap_or_else(PoisonError::into_inner).get(&version) {
            return Arc::clone(hosted);
        }
        let mut hosted = hosted.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hosted.entry(version).or_insert_with(|| Arc::new(HostedAgent::new(Arc::clone(agent)))))
    }

    fn request_activation(&self, hosted: &Arc<HostedAgent>) {
        let actor = self.inner.actor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(actor) = actor {
            // A category that is dead or not there yet looks at every seat when it comes back.
            let _ = actor.send_message(CategoryMsg::Activate(Arc::clone(hosted)));
        }
    }

    /// Seats that are known, whether somebody sits there or not.
    #[must_use]
    pub fn hosted_count(&self) -> usize {
        self.inner.hosted.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Closes every slot for good: what waits is answered `shutting_down`, nobody is seated again.
    pub fn close(&self) {
        self.inner.closing.store(true, Ordering::Release);
        for hosted in self.inner.hosted.read().unwrap_or_else(PoisonError::into_inner).values() {
            drop(hosted.queue().close());
        }
    }

    /// Forgets the seats that nobody uses.
    fn evict_idle(&self) {
        let mut hosted = self.inner.hosted.write().unwrap_or_else(PoisonError::into_inner);
        hosted.retain(|_, hosted| {
            let used = Arc::strong_count(hosted) > 1 || Arc::strong_count(hosted.queue()) > 1;
            used || !hosted.queue().is_idle()
        });
    }

    fn hosted_agents(&self) -> Vec<Arc<HostedAgent>> {
        self.inner.hosted.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
