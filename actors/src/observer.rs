//! What each actor tells of itself: to the metrics, the log, and whoever asks.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{AgentId, CategoryId, ErrorCode, Status, TeamId, Tokens, WorkflowId};

/// Something worth counting. Ids only, never an input.
#[derive(Debug, Clone, PartialEq)]
pub enum ActorEvent {
    /// An agent's actor was seated.
    AgentActivated(AgentId),
    /// An agent's actor was spawned, linked, entered on the roster and seated on its slot.
    ActivationTimed {
        /// From the wish of its category to the seat.
        elapsed: Duration,
    },
    /// An agent's actor left its seat: idle, stopped or dead.
    AgentPassivated(AgentId),
    /// An execution ended.
    ExecutionEnded {
        /// The agent.
        agent: AgentId,
        /// Its category.
        category: CategoryId,
        /// From start to end.
        elapsed: Duration,
        /// How it ended.
        status: Status,
        /// Why, if not well.
        code: Option<ErrorCode>,
        /// What its model counted.
        tokens: Tokens,
        /// What answered, `provider.name` or `native`.
        model: Option<String>,
    },
    /// A team was formed, or could not be.
    TeamFormed {
        /// The team.
        team: TeamId,
        /// How long it took.
        elapsed: Duration,
    },
    /// A team has gone.
    TeamDisbanded(TeamId),
    /// A run ended.
    RunEnded {
        /// The workflow.
        workflow: WorkflowId,
        /// From start to end.
        elapsed: Duration,
        /// How it ended.
        status: Status,
    },
    /// A child died and was, or will be, started again.
    ChildRestarted {
        /// What kind of child.
        kind: &'static str,
    },
    /// A frozen actor could not be killed and was left behind.
    ChildAbandoned {
        /// What kind of child.
        kind: &'static str,
    },
}

/// Takes what is observed; it must be quick, since actors tell it in passing.
pub trait Observer: Send + Sync {
    /// Takes one observation.
    fn on_event(&self, what: ActorEvent);
}

/// Tells two what is observed, the first one first.
pub struct TeeObserver(pub Arc<dyn Observer>, pub Arc<dyn Observer>);

impl Observer for TeeObserver {
    fn on_event(&self, what: ActorEvent) {
        self.0.on_event(what.clone());
        self.1.on_event(what);
    }
}

/// Looks away; for tests and tools.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoopObserver;

impl Observer for NoopObserver {
    fn on_event(&self, _: ActorEvent) {}
}
