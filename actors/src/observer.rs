//! The events of the actors, for metrics and log.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{AgentId, CategoryId, ErrorCode, Status, TeamId, Tokens, WorkflowId};

/// An event of an actor. Contains ids only, never an input.
#[derive(Debug, Clone, PartialEq)]
pub enum ActorEvent {
    /// An agent's actor was activated.
    AgentActivated(AgentId),
    /// An activation has ended: the actor is started, linked and attached to its queue.
    ActivationTimed {
        /// From the request for the activation to its end.
        elapsed: Duration,
    },
    /// An agent's actor has stopped: idle, on request or by a failure.
    AgentPassivated(AgentId),
    /// An execution ended.
    ExecutionEnded {
        /// The agent.
        agent: AgentId,
        /// Its category.
        category: CategoryId,
        /// From start to end.
        elapsed: Duration,
        /// The final status.
        status: Status,
        /// The error code, if it failed.
        code: Option<ErrorCode>,
        /// The tokens that its model reported.
        tokens: Tokens,
        /// The model, `provider.name` or `native`.
        model: Option<String>,
    },
    /// A team was formed.
    TeamFormed {
        /// The team.
        team: TeamId,
        /// The duration of the formation.
        elapsed: Duration,
    },
    /// A team has disbanded.
    TeamDisbanded(TeamId),
    /// A run ended.
    RunEnded {
        /// The workflow.
        workflow: WorkflowId,
        /// From start to end.
        elapsed: Duration,
        /// The final status.
        status: Status,
    },
    /// This pod has claimed a tree of runs that had no owner, or whose owner is dead.
    TreeClaimed {
        /// The tree was parked, and a signal or its time has woken it.
        was_parked: bool,
    },
    /// A tree of runs that only waits has no owner and no actor any more.
    TreeParked,
    /// A child failed and was, or will be, restarted.
    ChildRestarted {
        /// The kind of the child.
        kind: &'static str,
    },
    /// A stalled actor could not be killed and was abandoned.
    ChildAbandoned {
        /// The kind of the child.
        kind: &'static str,
    },
}

/// Receives events; it must return quickly, because actors call it while they handle messages.
pub trait Observer: Send + Sync {
    /// Receives one event.
    fn on_event(&self, event: ActorEvent);
}

/// Forwards each event to two observers, in order.
pub struct TeeObserver(pub Arc<dyn Observer>, pub Arc<dyn Observer>);

impl Observer for TeeObserver {
    fn on_event(&self, event: ActorEvent) {
        self.0.on_event(event.clone());
        self.1.on_event(event);
    }
}

/// Ignores every event; for tests and tools.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoopObserver;

impl Observer for NoopObserver {
    fn on_event(&self, _: ActorEvent) {}
}
