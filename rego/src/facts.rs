//! What the host has found out about a request, flat and small. Facts state; Rego judges.
//!
//! The pipeline computes them from the catalogue and the ledger. A fact that was not established is
//! left at its default, and every default denies.

use greenroom_protocol::{AgentId, CategoryId, ContentHash, ContextKey, MicroUsd, RunId, TeamId, WorkflowId};

use crate::identity::NameSet;

/// What a request is about, pinned to the version that is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// An agent's definition.
    Agent {
        /// Which.
        agent: AgentId,
        /// The version that will be seated.
        version: ContentHash,
    },
    /// A workflow's definition.
    Workflow {
        /// Which.
        workflow: WorkflowId,
        /// The version that will run.
        version: ContentHash,
    },
    /// A team's definition.
    Team {
        /// Which.
        team: TeamId,
        /// The version that will be formed.
        version: ContentHash,
    },
    /// A run that exists.
    Run {
        /// Which.
        run: RunId,
        /// What it runs.
        workflow: WorkflowId,
        /// The version that it is pinned to.
        version: ContentHash,
        /// The team that it runs for.
        team: Option<TeamId>,
    },
    /// A team's shared context.
    Context {
        /// The run that the team was formed for.
        run: RunId,
        /// The key, at a write.
        key: Option<ContextKey>,
    },
    /// What an agent remembers for the tenant of the one who asks.
    Memory {
        /// Whose.
        agent: AgentId,
    },
    /// A tool that is not an agent.
    Tool {
        /// Its name.
        tool: String,
    },
    /// Something that is only looked at: the catalogue, lists, the audit, costs.
    Collection {
        /// What, in a word.
        kind: String,
    },
}

impl Resource {
    /// The version that is judged, where the target has versions.
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

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Agent { agent, .. } | Self::Memory { agent } => agent.as_str(),
            Self::Workflow { workflow, .. } => workflow.as_str(),
            Self::Team { team, .. } => team.as_str(),
            Self::Run { run, .. } | Self::Context { run, key: None } => run.as_str(),
            Self::Context { key: Some(key), .. } => key.as_str(),
            Self::Tool { tool } => tool,
            Self::Collection { kind: what } => what,
        }
    }
}

/// The agent at issue: the one that is called, or whose memory it is; for a tool call, or a context access of an agent, the
/// one that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentFacts {
    /// Which.
    pub agent: AgentId,
    /// Its category.
    pub category: CategoryId,
    /// Its capabilities.
    pub capabilities: NameSet,
    /// True if every model that may answer for it, fallbacks included, runs inside the house; true
    /// also for an agent without a model.
    pub internal_model: bool,
}

/// How the speaker stands to the target. Each is true only where it was looked up and found so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Relation {
    /// The run, or the run in whose name it is asked, belongs to the user's tenant; true as well
    /// where there is no run yet.
    pub own_tenant: bool,
    /// The speaking workflow has a step that calls this target.
    pub workflow_step: bool,
    /// The speaking team names this workflow, or names none.
    pub team_workflow: bool,
    /// The agent at issue is a member of the team in whose name it is asked.
    pub team_member: bool,
    /// The speaking agent has the called one in `collaboration.can_work_with`.
    pub can_work_with: bool,
    /// The speaking agent has the called agent or tool in its `tools`.
    pub tool_declared: bool,
    /// The speaking agent has the context key in `collaboration.provides_to_team`.
    pub provides_to_team: bool,
    /// The memory is the speaking agent's own.
    pub own_memory: bool,
}

/// What has been spent so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Tokens, reservations included.
    pub tokens: u64,
    /// Money, reservations included.
    pub usd: MicroUsd,
}

/// What the ledger says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageFacts {
    /// Requests of the user in the last hour, this one included: counted first, then judged.
    pub requests: u64,
    /// What the user has spent.
    pub user: Spent,
    /// What all users of the tenant have spent.
    pub tenant: Spent,
    /// True if the ledger has answered.
    pub available: bool,
}

/// Everything that the host adds to what is asked and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What it is about.
    pub resource: Resource,
    /// The agent at issue, where there is one.
    pub agent: Option<AgentFacts>,
    /// The `policies` of the target, and those of the team in whose name it is asked.
    pub policies: NameSet,
    /// The `policies` of the speaking agent; empty if no agent speaks.
    pub caller_policies: NameSet,
    /// How the speaker stands to the target.
    pub relation: Relation,
    /// Bytes of the largest value that travels with the request, see
    /// [`greenroom_protocol::value::size_bytes`].
    pub document_bytes: u64,
    /// What the ledger says.
    pub usage: UsageFacts,
    /// True if the agent, the workflow or the run has a limit in USD of its own.
    pub cost_limited: bool,
    /// True once the audit's bracket is open.
    pub audited: bool,
}

impl Facts {
    /// Facts about a target of which nothing else is known: almost everything is then denied.
    #[must_use]
    pub fn for_resource(resource: Resource) -> Self {
        Self {
            resource,
            agent: None,
            policies: NameSet::default(),
            caller_policies: NameSet::default(),
            relation: Relation::default(),
            document_bytes: 0,
            usage: UsageFacts::default(),
            cost_limited: false,
            audited: false,
        }
    }
}
