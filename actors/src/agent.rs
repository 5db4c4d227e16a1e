//! One agent: its seat, its actor, and how work reaches it.
//!
//! ```text
//! AgentSeat         the slot, the places and the definition; outlives the actor
//! └── AgentActor    spawned by the first job, leaves when it has been idle for a while
//!     └── executions   one linked task each
//! ```
//!
//! A seat belongs to one version of one definition. What does not live here: what an execution does
//! (`execution`), and who supervises the actor (`category`, and teams for their members).

mod actor;
mod handle;
mod running;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use greenroom_definitions::Agent;
use greenroom_protocol::Outcome;
use greenroom_protocol::reply::Usage;
use tokio::sync::oneshot;

pub use actor::{AgentActor, AgentInfo, AgentMsg};
pub use handle::invoke;

use crate::concurrency::{CONCURRENCY_DEFAULT, ConcurrencyLimit, ExecutionTicket, WAITERS_MAX};
use crate::execution::invocation::Invocation;
use crate::supervision::JobQueue;

/// Jobs that may wait in one agent's slot. A job lies there only until the actor has read it.
pub const AGENT_JOBS_MAX: usize = 131_072;

/// What came of an execution.
pub type ExecutionResult = Result<Outcome, ExecutionFailure>;

/// Why an execution failed, and what it took all the same.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionFailure {
    /// Why.
    pub cause: greenroom_protocol::Cause,
    /// What was used on the way.
    pub usage: Usage,
}

impl From<greenroom_protocol::Cause> for ExecutionFailure {
    fn from(cause: greenroom_protocol::Cause) -> Self {
        Self { cause, usage: Usage::default() }
    }
}

/// Names one execution inside this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutionId(u64);

impl ExecutionId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// One execution that waits for its agent.
pub struct ExecutionJob {
    id: ExecutionId,
    assignment: Box<Invocation>,
    ticket: ExecutionTicket,
    port: oneshot::Sender<ExecutionResult>,
}

/// The slot of an agent.
pub type AgentQueue = JobQueue<ExecutionJob, AgentMsg>;

/// Where one version of an agent sits, or would.
pub struct HostedAgent {
    agent: Arc<Agent>,
    queue: Arc<AgentQueue>,
    places: ConcurrencyLimit,
}

impl HostedAgent {
    /// An empty seat for this version.
    #[must_use]
    pub fn new(agent: Arc<Agent>) -> Self {
        let places = agent.spec().limits.max_concurrency.unwrap_or(CONCURRENCY_DEFAULT);
        Self {
            agent,
            queue: Arc::new(JobQueue::new(AGENT_JOBS_MAX)),
            places: ConcurrencyLimit::new(places, WAITERS_MAX),
        }
    }

    /// The definition.
    #[must_use]
    pub const fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// The slot, for the roster of whoever supervises the actor.
    #[must_use]
    pub const fn queue(&self) -> &Arc<AgentQueue> {
        &self.queue
    }
}
