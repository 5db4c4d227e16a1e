//! The flat document that Rego sees, and nothing that makes one. Its schema is generated from these
//! types, and `opa check` reads the policies against it.

use std::borrow::Cow;
use std::sync::Arc;

use greenroom_protocol::request::{MemoryChange, Query, Signal};
use greenroom_protocol::{AgentId, CategoryId, Request, TenantId, UserId};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identity::NameSet;

/// What is left where nothing is limited.
pub const NO_LIMIT: i64 = -1;

/// What is asked, as finely as policy distinguishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Let an agent work.
    Invoke,
    /// Start a workflow.
    StartRun,
    /// Form a team.
    StartTeam,
    /// Go on with a run that was interrupted.
    ResumeRun,
    /// Stop a run.
    CancelRun,
    /// Let a waiting step go on.
    ApproveStep,
    /// Let a waiting step fail.
    RejectStep,
    /// Read a team's context.
    ContextRead,
    /// Write a team's context.
    ContextWrite,
    /// Read what an agent remembers.
    MemoryRead,
    /// Let an agent remember something.
    MemoryWrite,
    /// Let an agent forget.
    MemoryForget,
    /// Use a tool that is not an agent.
    CallTool,
    /// Look at agents, workflows and teams.
    QueryCatalogue,
    /// Look at runs and their events.
    QueryRuns,
    /// Look at the audit.
    QueryAudit,
    /// Look at what was spent.
    QueryCosts,
}

impl Action {
    /// Every action, in the order of the policy table.
    pub const ALL: [Self; 17] = [
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
        Self::CallTool,
        Self::QueryCatalogue,
        Self::QueryRuns,
        Self::QueryAudit,
        Self::QueryCosts,
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
                MemoryChange::Remember { .. } => Self::MemoryWrite,
                MemoryChange::Forget { .. } => Self::MemoryForget,
            },
            Request::CallTool(_) => Self::CallTool,
            Request::SignalRun(signal) => match &signal.signal {
                Signal::Cancel => Self::CancelRun,
                Signal::Approve { .. } => Self::ApproveStep,
                Signal::Reject { .. } => Self::RejectStep,
            },
            Request::Query(look) => match look {
                Query::Agents
                | Query::Agent { .. }
                | Query::Workflows
                | Query::Workflow { .. }
                | Query::Teams
                | Query::Team { .. } => Self::QueryCatalogue,
                Query::Runs { .. } | Query::Run { .. } | Query::Events { .. } => Self::QueryRuns,
                Query::Audit { .. } | Query::AuditEntry { .. } => Self::QueryAudit,
                Query::Costs { .. } => Self::QueryCosts,
            },
        }
    }

    /// The action as Rego sees it.
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
            Self::CallTool => "call_tool",
            Self::QueryCatalogue => "query_catalogue",
            Self::QueryRuns => "query_runs",
            Self::QueryAudit => "query_audit",
            Self::QueryCosts => "query_costs",
        }
    }

    /// True if the category of an agent matters to it.
    #[must_use]
    pub const fn needs_agent(self) -> bool {
        matches!(self, Self::Invoke | Self::CallTool | Self::MemoryRead | Self::MemoryWrite | Self::MemoryForget)
    }
}

/// A fact that is proven, or absent: written `1`, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flag(pub bool);

impl Flag {
    const fn is_off(&self) -> bool {
        !self.0
    }
}

impl Serialize for Flag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(u8::from(self.0))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            1 => Ok(Self(true)),
            other => Err(D::Error::custom(format!("a proven fact is written 1, not {other}"))),
        }
    }
}

/// What is identical only with itself: a verdict carries that of the input it was made from.
#[derive(Debug, Clone)]
pub(crate) struct InputIdentity(Arc<()>);

impl InputIdentity {
    pub(crate) fn new() -> Self {
        Self(Arc::new(()))
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Default for InputIdentity {
    fn default() -> Self {
        Self::new()
    }
}

/// The document that Rego sees. It is made by [`crate::Question::new`]; one that was read from JSON
/// can be explained, but no permit comes of it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What is asked.
    #[schemars(with = "String")]
    pub action: Action,
    /// The agent at issue; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AgentInput")]
    pub agent: Option<AgentInput>,
    /// Who asks at this hop: `user`, `workflow`, `agent` or `team`.
    #[schemars(with = "String")]
    pub caller: Cow<'static, str>,
    /// The policies that bind the speaker: those of a speaking agent; absent if there are none.
    #[serde(default, skip_serializing_if = "NameSet::is_empty")]
    pub caller_policies: NameSet,
    /// Bytes of the largest value that travels with the request.
    pub document_bytes: u64,
    /// What the host has looked up and found to be so.
    pub facts: FactFlags,
    /// Speakers so far; 1 is the user.
    pub hops: u32,
    /// The definition's policies, and those of the team.
    pub policies: NameSet,
    /// What it is about, where that is not an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub resource: Option<String>,
    /// What was used, and what is left.
    pub usage: UsageInput,
    /// On whose behalf.
    pub user: UserInput,
    #[serde(skip)]
    #[schemars(skip)]
    pub(crate) identity: InputIdentity,
}

/// The agent at issue.
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
    /// Its capabilities; the engine sends those that the policy says it reads, if there are any.
    #[serde(default, skip_serializing_if = "NameSet::is_empty")]
    pub capabilities: NameSet,
}

/// What the host has looked up and found to be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct FactFlags {
    /// The audit's bracket is open.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub audited: Flag,
    /// The user was proven by the system, a credential or a record.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub authenticated: Flag,
    /// Every model that may answer runs inside the house.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub internal_model: Flag,
    /// The request, its agent, workflow or run has a limit in USD of its own.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub cost_limited: Flag,
    /// The run belongs to the user's tenant, or there is none yet.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub own_tenant: Flag,
    /// The speaking workflow has a step that calls this target.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub workflow_step: Flag,
    /// The speaking team names this workflow, or names none.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub team_workflow: Flag,
    /// The agent at issue is a member of the team.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub team_member: Flag,
    /// The speaking agent may work with the called one.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub can_work_with: Flag,
    /// The speaking agent has the target among its tools.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub tool_declared: Flag,
    /// The speaking agent provides this key to its team.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub provides_to_team: Flag,
    /// The memory is the speaking agent's own.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub own_memory: Flag,
}

/// What was used, and what is left.
///
/// Empty if the ledger has not answered: rules that need a number then deny.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct UsageInput {
    /// Requests of the user in the last hour, this one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub requests: Option<u64>,
    /// Neither tokens nor money are limited; both numbers are then left out.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub unlimited: Flag,
    /// Tokens that the user and the tenant may still use; −1 without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub tokens_left: Option<i64>,
    /// Millionths of a dollar that the user and the tenant may still spend; −1 without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub usd_left: Option<i64>,
}

/// On whose behalf.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct UserInput {
    /// Who.
    #[schemars(with = "String")]
    pub id: UserId,
    /// On whose account.
    #[schemars(with = "String")]
    pub tenant: TenantId,
    /// Their roles.
    pub roles: NameSet,
    /// What narrows them.
    pub permissions: PermissionsInput,
    /// Requests an hour.
    pub rate_limit: u64,
}

/// What narrows the roles. What is absent is not permitted.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct PermissionsInput {
    /// The categories whose agents an operator may call; the engine sends the one at issue.
    #[serde(skip_serializing_if = "NameSet::is_empty")]
    pub allowed_categories: NameSet,
    /// May work with personal data.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pii_access: bool,
}
