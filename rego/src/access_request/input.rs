//! The types of the policy input, without the code that builds one. Its schema is generated from these
//! types, and `opa check` type-checks the policies against the schema.

use std::borrow::Cow;

use greenroom_protocol::request::{Maintenance, MemoryChange, Query, Signal};
use greenroom_protocol::{AgentId, CategoryId, Request, TenantId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::identity::NameSet;

mod flag;
mod usage;

pub use flag::Flag;
pub(crate) use flag::InputIdentity;
pub use usage::UsageInput;

/// The remaining amount where there is no limit.
pub const NO_LIMIT: i128 = -1;

/// The action of a request, as finely as policy distinguishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Invoke an agent.
    Invoke,
    /// Start a workflow.
    StartRun,
    /// Form a team.
    StartTeam,
    /// Resume a run that was interrupted.
    ResumeRun,
    /// Cancel a run.
    CancelRun,
    /// Approve a step that awaits approval.
    ApproveStep,
    /// Reject a step that awaits approval.
    RejectStep,
    /// Read a team's shared context.
    ContextRead,
    /// Write a team's shared context.
    ContextWrite,
    /// Recall from an agent's memory.
    MemoryRead,
    /// Write to an agent's memory.
    MemoryWrite,
    /// Delete from an agent's memory.
    MemoryForget,
    /// Read a document into an agent's memory.
    MemoryIngest,
    /// Call a tool that is not an agent.
    CallTool,
    /// Query agents, workflows and teams.
    QueryCatalogue,
    /// Query runs and their events.
    QueryRuns,
    /// Query the audit.
    QueryAudit,
    /// Query costs.
    QueryCosts,
    /// Remove the tenant's runs that ended long ago.
    PruneRuns,
    /// Delete what all agents have remembered for the tenant, or for one of its users.
    ForgetMemories,
    /// Resume the tenant's runs that have no owner.
    ResumeRuns,
    /// Verify the audit chain.
    VerifyAudit,
    /// Remove old audit entries.
    PruneAudit,
    /// Check the files of the store.
    CheckStore,
    /// Copy the store.
    BackUpStore,
    /// Make a catalogue that of every pod.
    ApplyDefinitions,
    /// Make a policy that of every pod.
    ApplyPolicy,
    /// Replace the store by a copy.
    RestoreStore,
    /// Create, list and revoke API keys; revoke and reinstate subjects.
    ManageKeys,
}

impl Action {
    /// Every action, in the order of the access matrix.
    pub const ALL: [Self; 29] = [
        Self::Invoke,
        Self::StartRun,
        Self::StartTeam,
        Self::ResumeRun,
        Self::CancelRun,
        Self::ApproveStep,
        Self::RejectStep,
        Self::ContextRead,
        Self::ContextWrite,
        Self::MemoryRead,
        Self::MemoryWrite,
        Self::MemoryForget,
        Self::MemoryIngest,
        Self::CallTool,
        Self::QueryCatalogue,
        Self::QueryRuns,
        Self::QueryAudit,
        Self::QueryCosts,
        Self::PruneRuns,
        Self::ForgetMemories,
        Self::ResumeRuns,
        Self::VerifyAudit,
        Self::PruneAudit,
        Self::CheckStore,
        Self::BackUpStore,
        Self::ApplyDefinitions,
        Self::ApplyPolicy,
        Self::RestoreStore,
        Self::ManageKeys,
    ];

    /// The action of a request.
    #[must_use]
    pub const fn from_request(request: &Request) -> Self {
        match request {
            Request::Invoke(_) => Self::Invoke,
            Request::StartRun(_) => Self::StartRun,
            Request::StartTeam(_) => Self::StartTeam,
            Request::ResumeRun(_) => Self::ResumeRun,
            Request::ContextRead(_) => Self::ContextRead,
            Request::ContextWrite(_) => Self::ContextWrite,
            Request::MemoryRead(_) => Self::MemoryRead,
            Request::MemoryWrite(write) => match write.change {
                MemoryChange::Remember { source: None, .. } => Self::MemoryWrite,
                MemoryChange::Remember { source: Some(_), .. } => Self::MemoryIngest,
                MemoryChange::Forget { .. } => Self::MemoryForget,
            },
            Request::CallTool(_) => Self::CallTool,
            Request::SignalRun(signal) => match &signal.signal {
                Signal::Cancel => Self::CancelRun,
                // An event lets steps that wait for it continue, as an approval does.
                Signal::Approve { .. } | Signal::Event(_) => Self::ApproveStep,
                Signal::Reject { .. } => Self::RejectStep,
            },
            Request::Query(query) => match query {
                Query::Agents
                | Query::Agent { .. }
                | Query::Workflows
                | Query::Workflow { .. }
                | Query::Teams
                | Query::Team { .. } => Self::QueryCatalogue,
                // An artifact is an input or an output of a run.
                Query::Runs { .. } | Query::Run { .. } | Query::Events { .. } | Query::Artifact { .. } => {
                    Self::QueryRuns
                }
                Query::Audit { .. } | Query::AuditEntry { .. } => Self::QueryAudit,
                Query::Costs { .. } => Self::QueryCosts,
            },
            Request::Maintain(maintenance) => match maintenance {
                Maintenance::PruneRuns { .. } => Self::PruneRuns,
                Maintenance::ForgetMemories { .. } => Self::ForgetMemories,
                Maintenance::ResumeRuns => Self::ResumeRuns,
                Maintenance::VerifyAudit => Self::VerifyAudit,
                Maintenance::PruneAudit { .. } => Self::PruneAudit,
                // Who may read the whole store may count what is in it.
                Maintenance::CheckStore | Maintenance::CountTrees => Self::CheckStore,
                Maintenance::BackUpStore { .. } => Self::BackUpStore,
                Maintenance::ApplyDefinitions { .. } => Self::ApplyDefinitions,
                Maintenance::ApplyPolicy { .. } => Self::ApplyPolicy,
                Maintenance::RestoreStore { .. } => Self::RestoreStore,
                // Who may create a key may see and revoke it.
                Maintenance::CreateKey(_)
                | Maintenance::ListKeys
                | Maintenance::RevokeKey { .. }
                | Maintenance::RevokeSubject { .. }
                | Maintenance::ReinstateSubject { .. } => Self::ManageKeys,
            },
        }
    }

    /// The action's name in the policy input.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invoke => "invoke",
            Self::StartRun => "start_run",
            Self::StartTeam => "start_team",
            Self::ResumeRun => "resume_run",
            Self::CancelRun => "cancel_run",
            Self::ApproveStep => "approve_step",
            Self::RejectStep => "reject_step",
            Self::ContextRead => "context_read",
            Self::ContextWrite => "context_write",
            Self::MemoryRead => "memory_read",
            Self::MemoryWrite => "memory_write",
            Self::MemoryForget => "memory_forget",
            Self::MemoryIngest => "memory_ingest",
            Self::CallTool => "call_tool",
            Self::QueryCatalogue => "query_catalogue",
            Self::QueryRuns => "query_runs",
            Self::QueryAudit => "query_audit",
            Self::QueryCosts => "query_costs",
            Self::PruneRuns => "prune_runs",
            Self::ForgetMemories => "forget_memories",
            Self::ResumeRuns => "resume_runs",
            Self::VerifyAudit => "verify_audit",
            Self::PruneAudit => "prune_audit",
            Self::CheckStore => "check_store",
            Self::BackUpStore => "back_up_store",
            Self::ApplyDefinitions => "apply_definitions",
            Self::ApplyPolicy => "apply_policy",
            Self::RestoreStore => "restore_store",
            Self::ManageKeys => "manage_keys",
        }
    }

    /// True if the decision on the action depends on an agent's category.
    #[must_use]
    pub const fn needs_agent(self) -> bool {
        matches!(
            self,
            Self::Invoke
                | Self::CallTool
                | Self::MemoryRead
                | Self::MemoryWrite
                | Self::MemoryForget
                | Self::MemoryIngest
        )
    }
}

/// The policy input. [`crate::AccessRequest::new`] builds it; the guard can explain an input that was
/// read from JSON, but never makes a permit from it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The action of the request.
    #[schemars(with = "String")]
    pub action: Action,
    /// The agent that the request concerns; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AgentInput")]
    pub agent: Option<AgentInput>,
    /// The kind of the caller: `user`, `workflow`, `agent` or `team`.
    #[schemars(with = "String")]
    pub caller: Cow<'static, str>,
    /// The policies of the definitions of all callers; absent if there are none.
    #[serde(default, skip_serializing_if = "NameSet::is_empty")]
    pub caller_policies: NameSet,
    /// Bytes of the largest value in the request.
    pub document_bytes: u64,
    /// The facts that the host has established.
    pub facts: FactFlags,
    /// The number of callers in the call chain; 1 is the user alone.
    pub hops: u32,
    /// The policies of the resource's definition, and those of the definitions of all callers.
    pub policies: NameSet,
    /// The name of the resource, if it is not an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub resource: Option<String>,
    /// The usage so far, and the remaining amounts.
    pub usage: UsageInput,
    /// The user behind the call chain.
    pub user: UserInput,
    #[serde(skip)]
    #[schemars(skip)]
    pub(crate) identity: InputIdentity,
}

/// The agent that the request concerns.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct AgentInput {
    /// Its id.
    #[schemars(with = "String")]
    pub id: AgentId,
    /// Its category.
    #[schemars(with = "String")]
    pub category: CategoryId,
    /// Its capabilities; the hot decision receives only those that the policy reads.
    #[serde(default, skip_serializing_if = "NameSet::is_empty")]
    pub capabilities: NameSet,
}

/// The facts that the host has established.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct FactFlags {
    /// The audit entry is open.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub audited: Flag,
    /// The user was authenticated by the operating system, a credential or the record of a run.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub authenticated: Flag,
    /// Every model that may be called for the agent is an internal model.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub internal_model: Flag,
    /// The request, its agent, workflow or run has a limit in USD of its own.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub cost_limited: Flag,
    /// The run belongs to the user's tenant.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub own_tenant: Flag,
    /// No run is concerned: neither the resource nor a caller is one.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub without_run: Flag,
    /// The caller is a workflow, and one of its steps calls this resource.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub workflow_step: Flag,
    /// The caller is a team, and its definition names this workflow, or names none.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub team_workflow: Flag,
    /// The agent is a member of the team.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub team_member: Flag,
    /// The caller is an agent, and `can_work_with` of one of both names the other.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub can_work_with: Flag,
    /// The caller is an agent, and its `tools` name this resource.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub tool_declared: Flag,
    /// The caller is an agent, and its `provides_to_team` names this context key.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub provides_to_team: Flag,
    /// The caller is the agent that owns the memory.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub own_memory: Flag,
    /// The run, the context or the artifact that is read holds no personal data.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub no_personal_data: Flag,
    /// The host continues work that was permitted before: recovery resumes a run, or a run that was resumed calls an
    /// inner run that has started already.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub resumes: Flag,
    /// The call is a part of the compensation of a run: it reverses a step whose call was permitted before.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub compensates: Flag,
    /// No value has more bytes than the parameters of `max_document_size` allow, of the definition and of all callers.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub document_within_limit: Flag,
    /// The tool that is called does not communicate with anything outside of the organization.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub internal_tool: Flag,
}

/// The user behind the call chain.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct UserInput {
    /// The user's id.
    #[schemars(with = "String")]
    pub id: UserId,
    /// The user's tenant.
    #[schemars(with = "String")]
    pub tenant: TenantId,
    /// The user's roles.
    pub roles: NameSet,
    /// The permissions that restrict or extend the roles.
    pub permissions: PermissionsInput,
    /// Maximum requests per hour that are no queries.
    pub rate_limit: u64,
    /// Maximum queries per hour; only queries need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub query_limit: Option<u64>,
}

/// The permissions that restrict or extend the roles. An absent permission is not granted.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct PermissionsInput {
    /// The categories whose agents an operator may call; the hot decision receives only those that the policy reads.
    #[serde(skip_serializing_if = "NameSet::is_empty")]
    pub allowed_categories: NameSet,
    /// True if the user may process personal data.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pii_access: bool,
}
