//! The supervisor of one category: it activates the agents that are invoked, restarts failed ones by their restart
//! policy, and passivates idle ones.
//!
//! ```text
//! Root
//! └── CategorySupervisor × 14
//!     └── AgentActor            activated by its first job
//! ```
//!
//! The hosted agents are stored outside the actor, so a restarted supervisor finds the waiting jobs.

mod handle;
mod message;
mod supervisor;

use std::time::Duration;

pub use handle::{CategoryHandle, CategoryHandles};

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

#[cfg(test)]
mod tests;
