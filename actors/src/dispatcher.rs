//! The dispatcher consumes permits on this pod. There is no other path to an actor: each action has one method, which
//! takes its permit by value and borrows the open audit entry as a proof that it is durable.
//!
//! ```text
//! invoke                        → another pod, if the agent needs labels that this one lacks; else the team, if a team
//!                                 of this pod has the agent as a member; else the category
//! start_run, resume, signal     → runs
//! start_team, context           → teams
//! call_tool                     → the tool
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_definitions::Agent;
use greenroom_protocol::header::Traceparent;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{
    CallTool, ContextRead, ContextWrite, Invoke, ResumeRun, SignalRun, StartRun, StartTeam,
};
use greenroom_protocol::{Cause, ErrorCode, Metadata, Outcome, Reply, RunId, Status, TenantId, Values, WrittenVersion};
use greenroom_registry::artifacts::ArtifactOwner;
use greenroom_registry::audit::OpenAuditEntry;
use greenroom_registry::core::PendingAuditEntry;
use greenroom_registry::runs::Fence;
use greenroom_rego::{Caller, Grant, Permitted, Resource};

use crate::agent::{ExecutionFailure, ExecutionResult};
use crate::category::CategoryHandles;
use crate::execution::invocation::Invocation;
use crate::execution::{DeltaSink, ExecutionEnv};
use crate::handler::FileAccess;
use crate::pipeline::Settlements;
use crate::remote::{Host, RemoteCall, RemoteHosts, no_pod_error};
use crate::tool::{TOOL_RESULT, ToolInput};

/// The capacity at admission control that a run has while this pod hosts it; released with its last clone.
pub type RunTicket = Arc<dyn Send + Sync>;

/// The runs without a waiting request that a pod can admit now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunVacancy {
    /// How many; none once the pod shuts down.
    pub runs: usize,
    /// The tenants that are at their limit.
    pub full_tenants: Vec<TenantId>,
}

/// Admission control, as the runs see it.
pub trait RunAdmission: Send + Sync {
    /// Admits a run that has no waiting request.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] if the pod or the tenant is at its limit.
    fn admit(&self, tenant: &TenantId) -> Result<RunTicket, Cause>;

    /// What can be admitted now.
    fn vacancy(&self) -> RunVacancy;
}

/// The runs of this pod, as the dispatcher sees them.
#[async_trait]
pub trait RunHost: Send + Sync {
    /// Starts a run and waits for its end, or until its start is durable. Its record is written after the audit
    /// entry, and no effect starts before both are durable.
    async fn start(
        &self,
        permit: Permitted<StartRun>,
        audit_entry: &mut PendingAuditEntry,
        ticket: Option<RunTicket>,
    ) -> Reply;
    /// Resumes an interrupted run.
    async fn resume(&self, permit: Permitted<ResumeRun>) -> Reply;
    /// Cancels a run, or approves or rejects a step that awaits approval.
    async fn signal(&self, permit: Permitted<SignalRun>) -> Reply;
    /// The fence of a tree of runs that this pod owns and uses, by its root.
    fn fence(&self, root: &RunId) -> Option<Fence>;
}

/// The teams of this pod, as the dispatcher sees them.
#[async_trait]
pub trait TeamHost: Send + Sync {
    /// Forms a team, runs its workflow, and waits for the end, or until the start of the run is durable.
    async fn start(&self, permit: Permitted<StartTeam>, ticket: Option<RunTicket>) -> Reply;
    /// Invokes a member of the team of this run. Returns the invocation if this pod hosts no such team, or if the
    /// agent is not a member.
    async fn invoke(&self, run: &RunId, invocation: Box<Invocation>) -> Result<ExecutionResult, Box<Invocation>>;
    /// Reads a team's shared context.
    async fn read(&self, permit: Permitted<ContextRead>) -> Result<Outcome, Cause>;
    /// Writes a team's shared context.
    async fn write(&self, permit: Permitted<ContextWrite>) -> Result<Outcome, Cause>;
}

/// Constructor arguments of a dispatcher.
pub struct DispatcherParts {
    /// The categories; each clone may add to them.
    pub categories: CategoryHandles,
    /// The runs.
    pub runs: Arc<dyn RunHost>,
    /// The teams.
    pub teams: Arc<dyn TeamHost>,
    /// The environment of executions.
    pub env: Arc<ExecutionEnv>,
    /// The pods that have labels.
    pub remote: Arc<dyn RemoteHosts>,
}

/// Where an invocation is executed.
enum Target {
    /// On this pod: by the team of this run, if the agent is a member of it, else by its category.
    Local(Option<RunId>, Box<Invocation>),
    /// On another pod.
    Remote(Arc<Agent>, Box<RemoteCall>),
}

/// Dispatches a permit to an actor. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    categories: CategoryHandles,
    runs: Arc<dyn RunHost>,
    teams: Arc<dyn TeamHost>,
    env: Arc<ExecutionEnv>,
    remote: Arc<dyn RemoteHosts>,
}

impl Dispatcher {
    /// Creates a dispatcher.
    #[must_use]
    pub fn new(parts: DispatcherParts) -> Self {
        let DispatcherParts { categories, runs, teams, env, remote } = parts;
        Self { categories, runs, teams, env, remote }
    }

    /// Invokes an agent, in exactly the version that was authorized.
    ///
    /// # Errors
    /// The cause of the execution, with its usage.
    pub async fn invoke(&self, audit_entry: &OpenAuditEntry, permit: Permitted<Invoke>) -> ExecutionResult {
        self.invoke_within(audit_entry, permit, None, Settlements::default()).await
    }

    /// As [`Dispatcher::invoke`]; streams the model's answer, and collects the settlements of what it costs.
    ///
    /// # Errors
    /// As [`Dispatcher::invoke`].
    pub async fn invoke_within(
        &self,
        _audit_entry: &OpenAuditEntry,
        permit: Permitted<Invoke>,
        sink: Option<DeltaSink>,
        settlements: Settlements,
    ) -> ExecutionResult {
        // Boxed, so that the future of a waiting caller does not contain the permit beside the invocation.
        let (run, mut invocation) = match Box::pin(self.resolve_invocation(permit, sink, settlements)).await? {
            Target::Local(run, invocation) => (run, invocation),
            Target::Remote(agent, call) => return self.remote.invoke(agent.labels(), *call).await,
        };
        if let Some(run) = run {
            invocation = match self.teams.invoke(&run, invocation).await {
                Ok(result) => return result,
                Err(returned) => returned,
            };
        }
        let category = &invocation.agent.spec().category;
        match self.categories.get(category) {
            Some(category) => category.invoke(invocation).await,
            None => Err(Cause::new(ErrorCode::Internal, format!("the category {category} has no supervisor")).into()),
        }
    }

    /// Consumes a permit for the authorized version, and returns the run of the team that may have the agent as a member;
    /// or what another pod is to execute, if this one lacks a label that the agent needs.
    async fn resolve_invocation(
        &self,
        permit: Permitted<Invoke>,
        sink: Option<DeltaSink>,
        settlements: Settlements,
    ) -> Result<Target, Cause> {
        let (id, version) = match permit.grant().resource() {
            Resource::Agent { agent, version } => (agent.clone(), *version),
            Resource::Workflow { .. }
            | Resource::Team { .. }
            | Resource::Run { .. }
            | Resource::Context { .. }
            | Resource::Memory { .. }
            | Resource::Tool { .. }
            | Resource::Collection { .. } => {
                return Err(Cause::new(ErrorCode::Internal, "the permit is not for an agent"));
            }
        };
        let agent = self.env.resolver.agent(&id, Some(&version)).await?;
        match self.remote.host(agent.labels()) {
            Host::Here => {
                let run = permit.grant().team_run().cloned();
                Ok(Target::Local(run, Invocation::from_permit(permit, agent, sink, settlements)?))
            }
            // A pod that has received the request from another one passes it to no third one.
            Host::Pod(_) if !permit.grant().is_delegated() => {
                Ok(Target::Remote(Arc::clone(&agent), Box::new(self.remote_call(permit, &agent, sink))))
            }
            Host::Pod(_) | Host::None => Err(no_pod_error(agent.labels())),
        }
    }

    /// Turns a permit into the request that another pod decides again. What the execution costs is settled on that pod.
    fn remote_call(&self, permit: Permitted<Invoke>, agent: &Agent, sink: Option<DeltaSink>) -> RemoteCall {
        let (grant, mut invoke) = permit.redeem();
        invoke.version = Some(agent.hash());
        invoke.key.get_or_insert_with(|| grant.effect_key());
        let fence = grant.root().and_then(|root| self.runs.fence(root));
        RemoteCall { grant, invoke, fence, sink }
    }

    /// Starts a run. Its audit entry may be pending: it becomes durable before the run starts an effect.
    pub async fn start_run(
        &self,
        audit_entry: &mut PendingAuditEntry,
        permit: Permitted<StartRun>,
        ticket: Option<RunTicket>,
    ) -> Reply {
        self.runs.start(permit, audit_entry, ticket).await
    }

    /// Resumes a run.
    pub async fn resume_run(&self, _audit_entry: &OpenAuditEntry, permit: Permitted<ResumeRun>) -> Reply {
        self.runs.resume(permit).await
    }

    /// Signals a run.
    pub async fn signal_run(&self, _audit_entry: &OpenAuditEntry, permit: Permitted<SignalRun>) -> Reply {
        self.runs.signal(permit).await
    }

    /// Forms a team.
    pub async fn start_team(
        &self,
        _audit_entry: &OpenAuditEntry,
        permit: Permitted<StartTeam>,
        ticket: Option<RunTicket>,
    ) -> Reply {
        self.teams.start(permit, ticket).await
    }

    /// Reads a shared context.
    ///
    /// # Errors
    /// An error of the team's context.
    pub async fn context_read(&self, _audit_entry: &OpenAuditEntry, permit: Permitted<ContextRead>) -> ExecutionResult {
        Ok(self.teams.read(permit).await?)
    }

    /// Writes a shared context.
    ///
    /// # Errors
    /// An error of the team's context.
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
        let timeout = grant.deadline().remaining(self.env.clock.now());
        let files = self.caller_files(&grant).await?;
        let CallTool { tool, arguments, key } = call;
        let key = key.unwrap_or_else(|| grant.effect_key());
        let trace = Traceparent::for_call(grant.trace(), &key);
        let input = ToolInput { arguments, key, trace };
        let result = tokio::time::timeout(timeout, self.env.call_tool(&tool, input, &files)).await;
        let deadline_error =
            |_| Cause::new(ErrorCode::TimedOut, format!("the tool {tool} did not return before the deadline"));
        let result = result.map_err(deadline_error)??;
        Ok(Outcome { outputs: Values::from([(TOOL_RESULT.to_owned(), result)]), usage: Usage::default() })
    }

    /// The file access of a caller of a tool: that of the calling agent.
    async fn caller_files(&self, grant: &Grant) -> Result<FileAccess, Cause> {
        let tenant = &grant.principal().id.tenant;
        match grant.caller() {
            Caller::Agent { agent, version } => {
                let agent = self.env.resolver.agent(agent, Some(version)).await?;
                Ok(self.env.files.for_agent(tenant, &agent, grant.run()))
            }
            Caller::User { .. } | Caller::Workflow { .. } | Caller::Team { .. } | Caller::None => {
                let owner = ArtifactOwner { tenant: tenant.clone(), personal_data: false };
                Ok(self.env.files.for_owner(owner, grant.run()))
            }
        }
    }
}

impl ExecutionFailure {
    /// Converts the failure into a reply, with its usage.
    #[must_use]
    pub fn into_reply(self, id: String) -> Reply {
        let Self { cause, usage } = self;
        Reply {
            id,
            status: Status::from_cause(&cause),
            outputs: Values::new(),
            error: Some(cause),
            metadata: Metadata::from(usage),
            protocol_version: WrittenVersion::OWN,
        }
    }
}

#[cfg(test)]
mod tests;
