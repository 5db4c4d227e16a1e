//! One agent: the record that the pod hosts, its actor, and its invocation.
//!
//! ```text
//! HostedAgent       queue and definition; survives the actor
//! └── AgentActor    activated by the first job, passivated when idle
//!     └── executions   one linked task each
//! ```
//!
//! A hosted agent belongs to one version of one definition. What does not live here: the execution (`execution`) and
//! the supervision of the actor (`category`, also for members of teams).

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

use crate::concurrency::{AgentConcurrency, CONCURRENCY_DEFAULT, OwnedTickets};
use crate::execution::invocation::Invocation;
use crate::supervision::JobQueue;

/// Jobs that may wait in one agent's queue. A job waits only until the actor has read it.
pub const AGENT_JOBS_MAX: usize = 131_072;

/// The result of an execution.
pub type ExecutionResult = Result<Outcome, ExecutionFailure>;

/// The failure of an execution, with its usage.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionFailure {
    /// The cause.
    pub cause: greenroom_protocol::Cause,
    /// The usage until the failure.
    pub usage: Usage,
}

impl From<greenroom_protocol::Cause> for ExecutionFailure {
    fn from(cause: greenroom_protocol::Cause) -> Self {
        Self { cause, usage: Usage::default() }
    }
}

/// Identifies one execution inside this process.
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
    invocation: Box<Invocation>,
    /// The ticket of the execution, and those of the work that has issued it.
    tickets: OwnedTickets,
    port: oneshot::Sender<ExecutionResult>,
}

/// The queue of an agent.
pub type AgentQueue = JobQueue<ExecutionJob, AgentMsg>;

/// The record that this pod keeps for one version of an agent, active or not.
pub struct HostedAgent {
    agent: Arc<Agent>,
    queue: Arc<AgentQueue>,
    /// The executions of the agent on this pod, in all of its versions and teams.
    concurrency: Arc<AgentConcurrency>,
}

impl HostedAgent {
    /// Creates the record of an agent that is not active.
    #[must_use]
    pub fn new(agent: Arc<Agent>, concurrency: Arc<AgentConcurrency>) -> Self {
        Self { agent, queue: Arc::new(JobQueue::new(AGENT_JOBS_MAX)), concurrency }
    }

    /// How many executions of the agent may run at once, by this version.
    fn concurrency_max(&self) -> u32 {
        self.agent.spec().limits.max_concurrency.unwrap_or(CONCURRENCY_DEFAULT)
    }

    /// The definition.
    #[must_use]
    pub const fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// The queue, for the child table of the supervisor.
    #[must_use]
    pub const fn queue(&self) -> &Arc<AgentQueue> {
        &self.queue
    }
}
