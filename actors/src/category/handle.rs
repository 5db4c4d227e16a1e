//! The handle of a category, through which its agents are invoked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use greenroom_definitions::Agent;
use greenroom_protocol::{CategoryId, ContentHash};
use ractor::ActorRef;

use super::CategoryConfig;
use super::message::CategoryMsg;
use crate::agent::{self, ExecutionResult, HostedAgent};
use crate::execution::ExecutionEnv;
use crate::execution::invocation::Invocation;

/// The categories of this pod, as the dispatcher sees them. A category may be added while the pod runs, because a
/// changed catalogue may name a new one. Cheap to clone.
#[derive(Clone, Default)]
pub struct CategoryHandles {
    all: Arc<RwLock<HashMap<CategoryId, CategoryHandle>>>,
}

impl CategoryHandles {
    /// The handle of a category; `None` if it has no supervisor on this pod.
    #[must_use]
    pub fn get(&self, id: &CategoryId) -> Option<CategoryHandle> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Adds a category. Its supervisor should be started before, because its agents can be invoked from now on.
    pub fn insert(&self, category: CategoryHandle) {
        let id = category.id().clone();
        self.all.write().unwrap_or_else(PoisonError::into_inner).insert(id, category);
    }
}

/// State that survives a restart of the category's supervisor.
pub(super) struct Inner {
    id: CategoryId,
    pub(super) config: CategoryConfig,
    pub(super) env: Arc<ExecutionEnv>,
    hosted: RwLock<HashMap<ContentHash, Arc<HostedAgent>>>,
    pub(super) supervisor: Mutex<Option<ActorRef<CategoryMsg>>>,
    pub(super) closing: AtomicBool,
}

/// The handle of a category and its agents. Cheap to clone.
#[derive(Clone)]
pub struct CategoryHandle {
    pub(super) inner: Arc<Inner>,
}

impl CategoryHandle {
    /// Creates a category without a supervisor.
    #[must_use]
    pub fn new(id: CategoryId, env: Arc<ExecutionEnv>, config: CategoryConfig) -> Self {
        let inner = Inner {
            id,
            config,
            env,
            hosted: RwLock::default(),
            supervisor: Mutex::default(),
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
        let create = || {
            let concurrency = self.inner.env.concurrency().for_agent(agent.id());
            Arc::new(HostedAgent::new(Arc::clone(agent), concurrency))
        };
        Arc::clone(hosted.entry(version).or_insert_with(create))
    }

    fn request_activation(&self, hosted: &Arc<HostedAgent>) {
        let supervisor = self.inner.supervisor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(supervisor) = supervisor {
            // A supervisor that is not running activates every agent with waiting jobs when it starts.
            let _ = supervisor.send_message(CategoryMsg::Activate(Arc::clone(hosted)));
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
    pub(super) fn evict_idle(&self) {
        let mut hosted = self.inner.hosted.write().unwrap_or_else(PoisonError::into_inner);
        hosted.retain(|_, hosted| {
            let used = Arc::strong_count(hosted) > 1 || Arc::strong_count(hosted.queue()) > 1;
            used || !hosted.queue().is_idle()
        });
    }

    /// The hosted agent of this version; `None` if it was evicted.
    pub(super) fn find_hosted(&self, version: &ContentHash) -> Option<Arc<HostedAgent>> {
        self.inner.hosted.read().unwrap_or_else(PoisonError::into_inner).get(version).cloned()
    }

    #[cfg(test)]
    pub(crate) fn kill_supervisor(&self) {
        self.inner.supervisor.lock().unwrap().as_ref().unwrap().kill();
    }

    pub(super) fn hosted_agents(&self) -> Vec<Arc<HostedAgent>> {
        self.inner.hosted.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
