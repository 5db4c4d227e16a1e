//! Where permits are redeemed on this pod. Nothing else reaches an actor: each verb has one method,
//! which takes its permit by value and borrows the audit's open bracket as a proof that it is written.
//!
//! ```text
//! invoke                        → the team's own seat, if a team that runs here has the agent, else its category
//! start_run, resume, signal     → runs
//! start_team, context           → teams
//! call_tool                     → the native tool
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{
    CallTool, ContextRead, ContextWrite, Invoke, ResumeRun, SignalRun, StartRun, StartTeam,
};
use greenroom_protocol::{Cause, ErrorCode, Metadata, Outcome, Reply, RunId, Status, Values};
use greenroom_registry::audit::{OpenAuditEntry, PendingAuditEntry};
use greenroom_rego::{Permitted, Resource};

use crate::agent::{ExecutionFailure, ExecutionResult};
use crate::category::CategoryHandles;
use crate::execution::invocation::Invocation;
use crate::execution::{DeltaSink, ExecutionEnv};

/// The output under which a tool's result stands.
pub const TOOL_RESULT: &str = "result";

/// What a run holds for as long as it is seated here, such as its place on the pod.
pub type RunTicket = Box<dyn Send + Sync>;

/// The runs of this pod, as the stage sees them.
#[async_trait]
pub trait RunHost: Send + Sync {
    /// Starts a run and waits for its end, or until it is durable. Its record is written behind the
    /// opening, and nothing is done before that is durable.
    async fn start(
        &self,
        permit: Permitted<StartRun>,
        opened: &mut PendingAuditEntry,
        held: Option<RunTicket>,
    ) -> Reply;
    /// Goes on with a run that was interrupted.
    async fn resume(&self, permit: Permitted<ResumeRun>) -> Reply;
    /// Cancels a run, or answers a step that waits for a person.
    async fn signal(&self, permit: Permitted<SignalRun>) -> Reply;
}

/// The teams of this pod, as the stage sees them.
#[async_trait]
pub trait TeamHost: Send + Sync {
    /// Forms a team, lets it run its workflow, and waits for the end, or until the run is durable.
    async fn start(&self, permit: Permitted<StartTeam>) -> Reply;
    /// Lets a member of the team that was formed for this run work in the team's own seat. The
    /// assignment comes back if no such team runs here, or if the agent is not one of its members.
    async fn invoke(&self, run: &RunId, assignment: Box<Invocation>) -> Result<ExecutionResult, Box<Invocation>>;
    /// Reads a team's shared context.
    async fn read(&self, permit: Permitted<ContextRead>) -> Result<Outcome, Cause>;
    /// Writes a team's shared context.
    async fn write(&self, permit: Permitted<ContextWrite>) -> Result<Outcome, Cause>;
}

/// What a stage is made of.
pub struct DispatcherParts {
    /// The categories; whoever holds a clone may add to them.
    pub categories: CategoryHandles,
    /// The runs.
    pub runs: Arc<dyn RunHost>,
    /// The teams.
    pub teams: Arc<dyn TeamHost>,
    /// What executions share.
    pub env: Arc<ExecutionEnv>,
}

/// The way from a permit to an actor. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    categories: CategoryHandles,
    runs: Arc<dyn RunHost>,
    teams: Arc<dyn TeamHost>,
    env: Arc<ExecutionEnv>,
}

impl Dispatcher {
    /// Sets the stage.
    #[must_use]
    pub fn new(parts: DispatcherParts) -> Self {
        let DispatcherParts { categories, runs, teams, env } = parts;
        Self { categories, runs, teams, env }
    }

    /// Lets an agent work, in exactly the version that was judged.
    ///
    /// # Errors
    /// What the execution says, with what it took.
    pub async fn invoke(&self, audit_entry: &OpenAuditEntry, permit: Permitted<Invoke>) -> ExecutionResult {
        self.invoke_streaming(audit_entry, permit, None).await
    }

    /// As [`Stage::invoke`], and shows the model's answer as it comes.
    ///
    /// # Errors
    /// As [`Stage::invoke`].
    pub async fn invoke_streaming(
        &self,
        _audit_entry: &OpenAuditEntry,
        permit: Permitted<Invoke>,
        sink: Option<DeltaSink>,
    ) -> ExecutionResult {
        // Boxed, so that who waits for the agent does not hold the permit beside the assignment.
        let (run, mut assignment) = Box::pin(self.resolve_invocation(permit, sink)).await?;
        if let Some(run) = run {
            assignment = match self.teams.invoke(&run, assignment).await {
                Ok(done) => return done,
                Err(back) => back,
            };
        }
        let category = &assignment.agent.spec().category;
        match self.categories.get(category) {
            Some(category) => category.invoke(assignment).await,
            None => Err(Cause::new(ErrorCode::Internal, format!("the category {category} has no supervisor")).into()),
        }
    }

    /// Redeems a permit for the version that was judged, and says which run's team may have a seat
    /// for it.
    async fn resolve_invocation(
        &self,
        permit: Permitted<Invoke>,
        sink: Option<DeltaSink>,
    ) -> Result<(Option<RunId>, Box<Invocation>), Cause> {
        let (id, version) = match permit.grant().resource() {
            Resource::Agent { agent, version } => (agent.clone(), *version),
            Resource::Workflow { .. }
            | Resource::Team { .. }
            | Resource::Run { .. }
            | Resource::Context { .. }
            | Resource::Memory { .. }
            | Resource::Tool { .. }
            | Resource::Collection { .. } => {
                return Err(Cause::new(ErrorCode::Internal, "the permit was not given for an agent"));
            }
        };
        let agent = self.env.resolver.agent(&id, Some(&version)).await?;
        let run = permit.grant().team().and_then(|_| permit.grant().run()).cloned();
        Ok((run, Invocation::from_permit(permit, agent, sink)?))
    }

    /// Starts a run. Its opening need not be durable yet: it is, before the run does anything.
    pub async fn start_run(
        &self,
        opened: &mut PendingAuditEntry,
        permit: Permitted<StartRun>,
        held: Option<RunTicket>,
    ) -> Reply {
        self.runs.start(permit, opened, held).await
    }

    /// Goes on with a run.
    pub async fn resume_run(&self, _audit_entry: &OpenAuditEntry, permit: Permitted<ResumeRun>) -> Reply {
        self.runs.resume(permit).await
    }

    /// Tells a run something.
    pub async fn signal_run(&self, _audit_entry: &OpenAuditEntry, permit: Permitted<SignalRun>) -> Reply {
        self.runs.signal(permit).await
    }

    /// Forms a team.
    pub async fn start_team(&self, _audit_entry: &OpenAuditEntry, permit: Permitted<StartTeam>) -> Reply {
        self.teams.start(permit).await
    }

    /// Reads a shared context.
    ///
    /// # Errors
    /// What the team's context says.
    pub async fn context_read(&self, _audit_entry: &OpenAuditEntry, permit: Permitted<ContextRead>) -> ExecutionResult {
        Ok(self.teams.read(permit).await?)
    }

    /// Writes a shared context.
    ///
    /// # Errors
    /// What the team's context says.
    pub async fn context_write(
        &self,
        _audit_entry: &OpenAuditEntry,
        permit: Permitted<ContextWrite>,
    ) -> ExecutionResult {
        Ok(self.teams.write(permit).await?)
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownTool`]; [`ErrorCode::TimedOut`]; a cause of the tool.
    pub async fn call_tool(&self, _audit_entry: &OpenAuditEntry, permit: Permitted<CallTool>) -> ExecutionResult {
        let (grant, call) = permit.redeem();
        let left = grant.deadline().remaining(self.env.clock.now());
        let used = tokio::time::timeout(left, self.env.call_tool(&call.tool, call.arguments)).await;
        let late =
            |_| Cause::new(ErrorCode::TimedOut, format!("the tool {} was not done before the deadline", call.tool));
        let result = used.map_err(late)??;
        Ok(Outcome { outputs: Values::from([(TOOL_RESULT.to_owned(), result)]), usage: Usage::default() })
    }
}

impl ExecutionFailure {
    /// The reply that says so, with what was used all the same.
    #[must_use]
    pub fn into_reply(self, id: String) -> Reply {
        let Self { cause, usage } = self;
        Reply {
            id,
            status: Status::from_cause(&cause),
            outputs: Values::new(),
            error: Some(cause),
            metadata: Metadata::from(usage),
        }
    }
}

#[cfg(test)]
mod tests;
