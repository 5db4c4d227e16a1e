//! Runs of workflows: durable, resumable, cancellable.
//!
//! ```text
//! Runs                    the supervisor of all runs of this pod; `Runs` is also the cheap handle
//! └── Run                 one actor a run: decide → journal → apply → release → effects
//!     └── effects         linked tasks: calls through the door, timers, conditions, outputs
//! ```
//!
//! What a run does next is decided in [`machine`], which touches nothing. What does not live here:
//! how a step's agent works, where a request is judged, and how a journal is kept.

mod actor;
mod effects;
mod handle;
pub mod machine;
mod pinned;
mod recovery;
mod start;
mod supervisor;
#[cfg(test)]
pub(crate) mod tests;
mod values;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::{AgentId, Cause, Clock, PodId, RunId, TeamId};
use greenroom_registry::Stores;

pub use actor::RunInfo;
pub use handle::RunsHandle;
pub(crate) use handle::reply_to;
pub use recovery::RecoveryReport;
pub(crate) use start::team_dedup_key;
pub use supervisor::{RunSupervisor, RunSupervisorInfo};

use crate::definition_resolver::DefinitionResolver;
use crate::failure::RetryBudgets;
use crate::observer::Observer;
use crate::pipeline::PipelineHandle;

/// How long an owner holds a run without a sign of life.
pub const LEASE: Duration = Duration::from_secs(3);
/// How long a run may take that nobody waits for and whose workflow names no time.
pub const RUN_TIME_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long one write to the journal may take before the run's actor gives up.
pub const JOURNAL_WAIT_MAX: Duration = Duration::from_secs(30);
/// Runs that are taken up again at one time.
pub const RECOVERY_PARALLEL: usize = 64;

/// What every run on this pod works with.
pub struct RunEnv {
    /// The way back in, at the top.
    pub pipeline: PipelineHandle,
    /// Definitions, the present ones and those that runs are pinned to.
    pub resolver: Arc<dyn DefinitionResolver>,
    /// Runs, journals, artifacts.
    pub stores: Stores,
    /// What the time is.
    pub clock: Arc<dyn Clock>,
    /// Who is told what happens.
    pub observer: Arc<dyn Observer>,
    /// The retries that the calls of one run share.
    pub budgets: Arc<RetryBudgets>,
    /// This process.
    pub pod: PodId,
    /// How long this process holds a run without a sign of life.
    pub lease: Duration,
}

/// The teams of this pod, as a run that is taken up again needs them: its team must be there before its
/// steps are.
#[async_trait]
pub trait TeamRestorer: Send + Sync {
    /// Lets the team of a run come back.
    ///
    /// # Errors
    /// What kept it from being formed.
    async fn restore_team(&self, run: &RunId, team: &TeamId, members: &[AgentId]) -> Result<(), Cause>;
}
