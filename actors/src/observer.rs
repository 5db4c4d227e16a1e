//! What each actor tells of itself: to the metrics, the log, and whoever asks.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{AgentId, CategoryId, Code, Status, TeamId, Tokens, WorkflowId};

/// Something worth counting. Ids only, never an input.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// An agent's actor was seated.
    AgentSeated(AgentId),
    /// An agent's actor was spawned, linked, entered on the roster and seated on its slot.
    SeatFilled {
        /// From the wish of its category to the seat.
        elapsed: Duration,
    },
    /// An agent's actor left its seat: idle, stopped or dead.
    AgentLeft(AgentId),
    /// An execution ended.
    Executed {
        /// The agent.
        agent: AgentId,
        /// Its category.
        category: CategoryId,
        /// From start to end.
        elapsed: Duration,
        /// How it ended.
        status: Status,
        /// Why, if not well.
        code: Option<Code>,
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
    Restarted {
        /// What kind of child.
        kind: &'static str,
    },
    /// A frozen actor could not be killed and was left behind.
    Abandoned {
        /// What kind of child.
        kind: &'static str,
    },
}

/// Takes what is observed; it must be quick, since actors tell it in passing.
pub trait Observer: Send + Sync {
    /// Takes one observation.
    fn saw(&self, what: Observed);
}

/// Tells two what is observed, the first one first.
pub struct Both(pub Arc<dyn Observer>, pub Arc<dyn Observer>);

impl Observer for Both {
    fn saw(&self, what: Observed) {
        self.0.saw(what.clone());
        self.1.saw(what);
    }
}

/// Looks away; for tests and tools.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn saw(&self, _: Observed) {}
}
