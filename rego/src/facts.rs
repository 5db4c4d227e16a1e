//! The facts that the host tells policy about a request. They state what is; only Rego decides.
//!
//! The pipeline collects them from the catalogue and the ledger. A fact that was not established keeps
//! its default, and every default denies.

use greenroom_protocol::{AgentId, CategoryId, ContentHash, ContextKey, MicroUsd, RunId, TeamId, TenantId, WorkflowId};

use crate::identity::NameSet;

/// The resource of a request, pinned to the version that is authorized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// An agent's definition.
    Agent {
        /// The agent's id.
        agent: AgentId,
        /// The version that will execute.
        version: ContentHash,
    },
    /// A workflow's definition.
    Workflow {
        /// The workflow's id.
        workflow: WorkflowId,
        /// The version that will run.
        version: ContentHash,
    },
    /// A team's definition.
    Team {
        /// The team's id.
        team: TeamId,
        /// The version that will be formed.
        version: ContentHash,
    },
    /// A run that exists.
    Run {
        /// The run's id.
        run: RunId,
        /// The root of its tree.
        root: RunId,
        /// The workflow that it executes.
        workflow: WorkflowId,
        /// The version that it is pinned to.
        version: ContentHash,
        /// The team that it runs for.
        team: Option<TeamId>,
        /// The tenant that it belongs to.
        tenant: TenantId,
    },
    /// A team's shared context.
    Context {
        /// The run that the team was formed for.
        run: RunId,
        /// The key of a write; none for a read.
        key: Option<ContextKey>,
    },
    /// An agent's memory for the user's tenant.
    Memory {
        /// The agent that owns the memory.
        agent: AgentId,
    },
    /// A tool that is not an agent.
    Tool {
        /// Its name.
        tool: String,
    },
    /// A collection that can only be queried: the catalogue, runs, the audit, costs.
    Collection {
        /// The kind of its members, in one word.
        kind: String,
    },
}

impl Resource {
    /// The version that is authorized, if the resource has versions.
    #[must_use]
    pub const fn version(&self) -> Option<&ContentHash> {
        match self {
            Self::Agent { version, .. }
            | Self::Workflow { version, .. }
            | Self::Team { version, .. }
            | Self::Run { version, .. } => Some(version),
            Self::Context { .. } | Self::Memory { .. } | Self::Tool { .. } | Self::Collection { .. } => None,
        }
    }

    /// The name of the resource in the policy input.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Agent { agent, .. } | Self::Memory { agent } => agent.as_str(),
            Self::Workflow { workflow, .. } => workflow.as_str(),
            Self::Team { team, .. } => team.as_str(),
            Self::Run { run, .. } | Self::Context { run, key: None } => run.as_str(),
            Self::Context { key: Some(key), .. } => key.as_str(),
            Self::Tool { tool } => tool,
            Self::Collection { kind } => kind,
        }
    }
}

/// The agent that a request concerns: the called one, or the owner of the memory; the caller for a tool
/// call or a context access by an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentFacts {
    /// The agent's id.
    pub agent: AgentId,
    /// Its category.
    pub category: CategoryId,
    /// Its capabilities.
    pub capabilities: NameSet,
    /// True if every model that may be called for it, fallbacks included, is an internal model; also
    /// true for an agent without a model.
    pub internal_model: bool,
}

/// How the caller relates to the resource. Each field is true only if the host has established it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Relation {
    /// The run that is the resource, or else the innermost run of the call chain, belongs to the user's
    /// tenant.
    pub own_tenant: bool,
    /// No run is concerned: neither the resource nor a caller is one.
    pub without_run: bool,
    /// The caller is a workflow, and one of its steps calls this resource.
    pub workflow_step: bool,
    /// The caller is a team, and its definition names this workflow, or names none.
    pub team_workflow: bool,
    /// The agent is a member of the innermost team of the call chain.
    pub team_member: bool,
    /// The caller is an agent, and `collaboration.can_work_with` of one of both names the other.
    pub can_work_with: bool,
    /// The caller is an agent, and its `tools` name the called agent or tool.
    pub tool_declared: bool,
    /// The caller is an agent, and its `collaboration.provides_to_team` names the context key.
    pub provides_to_team: bool,
    /// The caller is the agent that owns the memory.
    pub own_memory: bool,
    /// The run, the context or the artifact that is read holds no personal data; also true for a list.
    pub no_personal_data: bool,
}

/// The amounts used so far in the period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageTotals {
    /// Tokens, reservations included.
    pub tokens: u64,
    /// Money, reservations included.
    pub usd: MicroUsd,
}

/// The usage that the ledger reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageFacts {
    /// Requests of the user in the last hour that are no queries, this one included: it is counted before it
    /// is decided.
    pub requests: u64,
    /// Queries of the user in the last hour, this one included.
    pub queries: u64,
    /// The user's usage.
    pub user: UsageTotals,
    /// The usage of all users of the tenant together.
    pub tenant: UsageTotals,
    /// True if the ledger could be read.
    pub available: bool,
}

/// Everything that the host adds to an authenticated request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The resource of the request.
    pub resource: Resource,
    /// The agent that the request concerns, if there is one.
    pub agent: Option<AgentFacts>,
    /// The `policies` of the resource's definition. Those of the callers come from the grant that issued
    /// the request.
    pub policies: NameSet,
    /// How the caller relates to the resource.
    pub relation: Relation,
    /// Bytes of the largest value in the request, see
    /// [`greenroom_protocol::value::size_bytes`].
    pub document_bytes: u64,
    /// The usage that the ledger reports.
    pub usage: UsageFacts,
    /// True if the agent, the workflow or the run has a limit in USD of its own.
    pub cost_limited: bool,
    /// True if the run that the request starts has started already: the run that calls it was resumed.
    pub resumes: bool,
    /// True if the call compensates a step of the run that makes it. The call of the step was permitted before.
    pub compensates: bool,
    /// True if the tool that is called does not communicate with anything outside of the organization.
    pub internal_tool: bool,
    /// True once the audit entry is open.
    pub audited: bool,
}

impl Facts {
    /// Facts about a resource of which nothing else is known; policy then denies almost every action.
    #[must_use]
    pub fn for_resource(resource: Resource) -> Self {
        Self {
            resource,
            agent: None,
            policies: NameSet::default(),
            relation: Relation::default(),
            document_bytes: 0,
            usage: UsageFacts::default(),
            cost_limited: false,
            resumes: false,
            compensates: false,
            internal_tool: false,
            audited: false,
        }
    }
}
