//! Runs of workflows: durable, resumable, cancellable.
//!
//! ```text
//! RunSupervisor           supervises all runs of this pod; `RunsHandle` is its handle
//! └── RunActor            one per run: decide → journal → apply → release → effects
//!     └── effects         linked tasks: calls through the pipeline, timers, conditions, outputs
//! ```
//!
//! A run and the runs that its steps call are a tree. A tree has one owner, one lease and one fence, one budget of
//! retries, and is resumed from its root: each run resumes those that its steps have in flight. A run is ended with the
//! call that started it, and the run of that call ends after it: the reply of a run has the cost of all runs below.
//!
//! [`machine`] decides the next effects of a run without side effects. The execution of an agent, authorization
//! and the storage of the journal are elsewhere.

mod actor;
mod artifacts;
mod booked_cost;
mod call_origins;
mod context;
mod context_requests;
mod create;
mod dead;
mod dedup_key;
mod deliver;
mod effects;
mod end;
mod end_wait;
mod evaluate;
mod first_calls;
mod foreign_context;
mod foreign_write;
mod handle;
mod host;
mod hosted;
mod inner_start;
mod journal_version;
mod loops;
pub mod machine;
mod message;
mod offload;
mod owned_trees;
mod parent_run;
mod park;
mod personal_data;
mod pinned;
mod recovery;
mod resume;
mod sent_message;
mod signals;
mod start;
mod step_deltas;
mod supervisor;
mod task;
#[cfg(test)]
pub(crate) mod tests;
mod tree;
mod uncancelled_creation;
mod user_signal;
mod values;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::{AgentId, Cause, Clock, IdGenerator, PodId, RunId, TeamId};
use greenroom_registry::Stores;
use greenroom_rego::Authenticator;

pub(crate) use context::{handler_write_id, initial_context};
pub use handle::RunsHandle;
pub(crate) use handle::into_reply;
pub use message::{RunInfo, RunSupervisorInfo};
pub(crate) use parent_run::parent_run;
pub use park::PARK_DELAY;
pub use recovery::RecoveryReport;
pub use sent_message::rewrite_message;
pub use step_deltas::{DeltaEvent, DeltaId, StepDelta, StepDeltas};

use crate::definition_resolver::DefinitionResolver;
use crate::dispatcher::RunAdmission;
use crate::failure::RetryBudgets;
use crate::observer::Observer;
use crate::pipeline::PipelineHandle;

/// Duration of a lease that its owner does not renew.
pub const LEASE: Duration = Duration::from_secs(3);
/// Longest duration of a detached run whose workflow has no timeout.
pub const RUN_TIME_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Longest duration of one append to the journal of a store that one process owns; after it the run's actor fails.
pub const JOURNAL_WAIT_MAX: Duration = Duration::from_secs(30);
/// Trees that one recovery resumes concurrently.
pub const RECOVERY_CONCURRENCY: usize = 64;

/// Dependencies that all runs of this pod share.
pub struct RunEnv {
    /// The request pipeline, for nested requests.
    pub pipeline: PipelineHandle,
    /// Definitions: the current ones and the versions that runs are pinned to.
    pub resolver: Arc<dyn DefinitionResolver>,
    /// Runs, journals, artifacts.
    pub stores: Stores,
    /// Supplies the time.
    pub clock: Arc<dyn Clock>,
    /// Receives the actors' events.
    pub observer: Arc<dyn Observer>,
    /// The retry budgets of the runs.
    pub budgets: Arc<RetryBudgets>,
    /// Admits the runs that this pod resumes.
    pub admission: Arc<dyn RunAdmission>,
    /// Authenticates the recorded owner of a run that is resumed.
    pub authenticator: Authenticator,
    /// Generates the ids of requests that resume runs.
    pub ids: Arc<dyn IdGenerator>,
    /// The id of this pod.
    pub pod: PodId,
    /// Duration of the leases of this pod.
    pub lease: Duration,
    /// How long a tree of runs only waits until it is parked, if pods share the store: [`PARK_DELAY`].
    pub park_delay: Duration,
    /// True if announcements of the store reach a pod within milliseconds. Then a detached run is left to whichever pod is
    /// woken; else it would wait for a tick, and the pod that accepts it owns it.
    pub creates_runs_unowned: bool,
    /// Receives what the models of the steps write; `None` publishes it nowhere.
    pub step_deltas: Option<Arc<dyn StepDeltas>>,
}

/// Restores the team of a resumed run, which must be formed before the steps of the run start, and disbands that of a
/// parked one.
#[async_trait]
pub trait TeamRestorer: Send + Sync {
    /// Forms the team of a run again.
    ///
    /// # Errors
    /// The cause for which the team could not be formed.
    async fn restore_team(&self, run: &RunId, team: &TeamId, members: &[AgentId]) -> Result<(), Cause>;

    /// Disbands the team of a run whose actor has stopped because the run only waits.
    async fn release_team(&self, run: &RunId);
}
