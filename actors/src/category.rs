//! The supervisor of one category: it activates the agents that are invoked, restarts failed ones by their restart
//! policy, and passivates idle ones.
//!
//! ```text
//! Root
//! └── Category × 14
//!     └── Agent           activated by its first job
//! ```
//!
//! The hosted agents are stored outside the actor, so a restarted category finds the waiting jobs.

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

/// Configuration of a category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CategoryConfig {
    /// Idle time after which an agent is passivated.
    pub idle_timeout: Duration,
    /// Interval between two checks for idle and stalled agents.
    pub tick_interval: Duration,
    /// The restart policy of agents.
    pub restart_policy: RestartPolicy,
}

impl Default for CategoryConfig {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(300),
            tick_interval: Duration::from_secs(1),
            restart_policy: ChildKind::Agent.restart_policy(),
        }
    }
}

/// The categories of this pod, as the dispatcher sees them. A category may be added while the pod runs, because a
/// changed catalogue may name a new one. Cheap to clone.
#[derive(Clone, Default)]
pub struct CategoryHandles {
    all: Arc<RwLock<HashMap<CategoryId, CategoryHandle>>>,
}

impl CategoryHandles {
    /// The handle of a category; `None` if it has no supervisor here.
    #[must_use]
    pub fn get(&self, id: &CategoryId) -> Option<CategoryHandle> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Adds a category. Its actor should be started before, because its agents can be invoked from now on.
    pub fn insert(&self, category: CategoryHandle) {
        let id = category.id().clone();
        self.all.write().unwrap_or_else(PoisonError::into_inner).insert(id, category);
    }
}

/// State that survives a restart of the category's actor.
struct Inner {
    id: CategoryId,
    config: CategoryConfig,
    env: Arc<ExecutionEnv>,
    hosted: RwLock<HashMap<ContentHash, Arc<HostedAgent>>>,
    actor: Mutex<Option<ActorRef<CategoryMsg>>>,
    closing: AtomicBool,
}

/// The handle of a category and its agents. Cheap to clone.
#[derive(Clone)]
pub struct CategoryHandle {
    inner: Arc<Inner>,
}

impl CategoryHandle {
    /// Creates a category without an actor.
    #[must_use]
    pub fn new(id: CategoryId, env: Arc<ExecutionEnv>, config: CategoryConfig) -> Self {
        let inner = Inner {
            id,
            config,
            env,
            hosted: RwLock::default(),
            actor: Mutex::default(),
            closing: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The id of the category.
    #[must_use]
    pub fn id(&self) -> &CategoryId {
        &self.inner.id
    }

    /// Invokes an agent and awaits the result.
    ///
    /// # Errors
    /// As [`agent::invoke`].
    pub async fn invoke(&self, invocation: Box<Invocation>) -> ExecutionResult {
        let hosted = self.hosted_agent(&invocation.agent);
        agent::invoke(&hosted, invocation, &*self.inner.env.clock, |hosted| self.request_activation(hosted)).await
    }

    /// The hosted agent of this version; created at its first use.
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
            // A category that is not running activates every agent with waiting jobs when it starts.
            let _ = actor.send_message(CategoryMsg::Activate(Arc::clone(hosted)));
        }
    }

    /// Number of hosted agents, active or not.
    #[must_use]
    pub fn hosted_count(&self) -> usize {
        self.inner.hosted.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Closes every queue for good: later invocations fail with `shutting_down`, and no agent is activated again.
    pub fn close(&self) {
        self.inner.closing.store(true, Ordering::Release);
        for hosted in self.inner.hosted.read().unwrap_or_else(PoisonError::into_inner).values() {
            drop(hosted.queue().close());
        }
    }

    /// Evicts hosted agents that are not in use.
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
