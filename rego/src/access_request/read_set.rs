//! What a policy reads of the input, so that the hot decision receives nothing else. It is derived from the
//! rules of the bundle, or comes with the embedded one; never from code, because another policy may read
//! other fields.

use std::collections::BTreeMap;

use super::input::{Action, FactFlags, Flag, Input};
use crate::identity::NameSet;

/// The fields and names of the input that a policy reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyReadSet {
    /// The members of `agent.capabilities`.
    pub(crate) capabilities: NameReads,
    /// The members of `user.roles`.
    pub(crate) roles: NameReads,
    /// The members of `user.permissions.allowed_categories`.
    pub(crate) categories: CategoryReads,
    /// The members of `policies`.
    pub(crate) policies: NameReads,
    /// The members of `caller_policies`.
    pub(crate) caller_policies: NameReads,
    /// The fields that are read of every input.
    pub(crate) unconditional: InputFields,
    /// The fields that are read of some inputs.
    pub(crate) conditional: ConditionalFields,
}

/// The members of a set that rules read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NameReads {
    All,
    Only(NameSet),
    Except(NameSet),
}

/// The allowed categories that rules read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CategoryReads {
    None,
    /// That of the agent.
    OfAgent,
    All,
}

/// A field of the input that is serialized only if a rule reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InputField {
    /// `agent.id`
    AgentId,
    /// `resource`
    Resource,
    /// `user.id`
    UserId,
    /// `user.tenant`
    Tenant,
    /// `user.rate_limit`, and `usage.requests` with it
    RateLimit,
    /// `user.query_limit`, and `usage.queries` with it
    QueryLimit,
    /// `user.permissions.pii_access`; it is also read if the agent has a capability that rules read
    PiiAccess,
    /// `facts.audited`
    Audited,
    /// `facts.authenticated`
    Authenticated,
    /// `facts.internal_model`
    InternalModel,
    /// `facts.cost_limited`
    CostLimited,
    /// `facts.own_tenant`
    OwnTenant,
    /// `facts.without_run`
    WithoutRun,
    /// `facts.workflow_step`
    WorkflowStep,
    /// `facts.team_workflow`
    TeamWorkflow,
    /// `facts.team_member`
    TeamMember,
    /// `facts.can_work_with`
    CanWorkWith,
    /// `facts.tool_declared`
    ToolDeclared,
    /// `facts.provides_to_team`
    ProvidesToTeam,
    /// `facts.own_memory`
    OwnMemory,
    /// `facts.no_personal_data`
    NoPersonalData,
    /// `facts.resumes`
    Resumes,
    /// `facts.compensates`
    Compensates,
    /// `facts.document_within_limit`
    DocumentWithinLimit,
    /// `facts.internal_tool`
    InternalTool,
}

impl InputField {
    /// Every field, with its name in the `reads` of a bundle and its path below `input`.
    pub(crate) const ALL: [(Self, &'static str, &'static str); 25] = [
        (Self::AgentId, "agent_id", "agent.id"),
        (Self::Resource, "resource", "resource"),
        (Self::UserId, "user_id", "user.id"),
        (Self::Tenant, "tenant", "user.tenant"),
        (Self::RateLimit, "rate_limit", "user.rate_limit"),
        (Self::QueryLimit, "query_limit", "user.query_limit"),
        (Self::PiiAccess, "pii_access", "user.permissions.pii_access"),
        (Self::Audited, "audited", "facts.audited"),
        (Self::Authenticated, "authenticated", "facts.authenticated"),
        (Self::InternalModel, "internal_model", "facts.internal_model"),
        (Self::CostLimited, "cost_limited", "facts.cost_limited"),
        (Self::OwnTenant, "own_tenant", "facts.own_tenant"),
        (Self::WithoutRun, "without_run", "facts.without_run"),
        (Self::WorkflowStep, "workflow_step", "facts.workflow_step"),
        (Self::TeamWorkflow, "team_workflow", "facts.team_workflow"),
        (Self::TeamMember, "team_member", "facts.team_member"),
        (Self::CanWorkWith, "can_work_with", "facts.can_work_with"),
        (Self::ToolDeclared, "tool_declared", "facts.tool_declared"),
        (Self::ProvidesToTeam, "provides_to_team", "facts.provides_to_team"),
        (Self::OwnMemory, "own_memory", "facts.own_memory"),
        (Self::NoPersonalData, "no_personal_data", "facts.no_personal_data"),
        (Self::Resumes, "resumes", "facts.resumes"),
        (Self::Compensates, "compensates", "facts.compensates"),
        (Self::DocumentWithinLimit, "document_within_limit", "facts.document_within_limit"),
        (Self::InternalTool, "internal_tool", "facts.internal_tool"),
    ];

    /// The field that a bundle's `reads` calls by this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map(|(field, _, _)| *field)
    }
}

/// A set of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct InputFields(u32);

impl InputFields {
    pub(crate) const ALL: Self = Self((1 << InputField::ALL.len()) - 1);

    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn contains(self, field: InputField) -> bool {
        self.0 & (1 << field as u32) != 0
    }

    pub(crate) const fn insert(&mut self, field: InputField) {
        self.0 |= 1 << field as u32;
    }

    /// The paths of the fields.
    pub(crate) fn paths(self) -> impl Iterator<Item = &'static str> {
        InputField::ALL.into_iter().filter(move |(field, _, _)| self.contains(*field)).map(|(_, _, path)| path)
    }

    /// The value, if its field is in the set.
    pub(crate) fn select<T>(self, field: InputField, value: T) -> Option<T> {
        self.contains(field).then_some(value)
    }

    /// The facts whose fields are in the set.
    pub(crate) fn select_facts(self, facts: FactFlags) -> FactFlags {
        let select = |flag: Flag, field| Flag(flag.0 && self.contains(field));
        FactFlags {
            audited: select(facts.audited, InputField::Audited),
            authenticated: select(facts.authenticated, InputField::Authenticated),
            internal_model: select(facts.internal_model, InputField::InternalModel),
            cost_limited: select(facts.cost_limited, InputField::CostLimited),
            own_tenant: select(facts.own_tenant, InputField::OwnTenant),
            without_run: select(facts.without_run, InputField::WithoutRun),
            workflow_step: select(facts.workflow_step, InputField::WorkflowStep),
            team_workflow: select(facts.team_workflow, InputField::TeamWorkflow),
            team_member: select(facts.team_member, InputField::TeamMember),
            can_work_with: select(facts.can_work_with, InputField::CanWorkWith),
            tool_declared: select(facts.tool_declared, InputField::ToolDeclared),
            provides_to_team: select(facts.provides_to_team, InputField::ProvidesToTeam),
            own_memory: select(facts.own_memory, InputField::OwnMemory),
            no_personal_data: select(facts.no_personal_data, InputField::NoPersonalData),
            resumes: select(facts.resumes, InputField::Resumes),
            compensates: select(facts.compensates, InputField::Compensates),
            document_within_limit: select(facts.document_within_limit, InputField::DocumentWithinLimit),
            internal_tool: select(facts.internal_tool, InputField::InternalTool),
        }
    }
}

impl FromIterator<InputField> for InputFields {
    fn from_iter<I: IntoIterator<Item = InputField>>(fields: I) -> Self {
        let mut set = Self::default();
        fields.into_iter().for_each(|field| set.insert(field));
        set
    }
}

/// The fields that rules read by action, by kind of caller, and by policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ConditionalFields {
    pub(crate) actions: BTreeMap<Action, InputFields>,
    pub(crate) callers: BTreeMap<String, InputFields>,
    pub(crate) policies: BTreeMap<String, InputFields>,
}

impl ConditionalFields {
    /// The fields that the rules read of this input.
    fn for_input(&self, input: &Input) -> InputFields {
        let action = self.actions.get(&input.action).copied().unwrap_or_default();
        let caller = self.callers.get(&*input.caller).copied().unwrap_or_default();
        let policies = input.policies.iter().filter_map(|name| self.policies.get(name).copied());
        policies.fold(action.union(caller), InputFields::union)
    }

    /// The fields that the rules read of any input.
    pub(crate) fn all(&self) -> InputFields {
        let fields = self.actions.values().chain(self.callers.values()).chain(self.policies.values());
        fields.copied().fold(InputFields::default(), InputFields::union)
    }
}

impl PolicyReadSet {
    /// The read set of a policy of which nothing is known: it receives the whole input.
    #[must_use]
    pub fn whole() -> Self {
        Self {
            capabilities: NameReads::All,
            roles: NameReads::All,
            categories: CategoryReads::All,
            policies: NameReads::All,
            caller_policies: NameReads::All,
            unconditional: InputFields::ALL,
            conditional: ConditionalFields::default(),
        }
    }

    /// True if the policy receives the whole input.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::whole()
    }

    /// The fields that the rules read of this input.
    pub(crate) fn fields(&self, input: &Input) -> InputFields {
        self.unconditional.union(self.conditional.for_input(input))
    }

    /// The fields that the rules read of any input, as paths below `input`; a set of names is read if any of
    /// its names is. A path that every input has is not listed.
    #[must_use]
    pub fn paths(&self) -> Vec<&'static str> {
        let sets = [
            ("agent.capabilities", &self.capabilities),
            ("caller_policies", &self.caller_policies),
            ("policies", &self.policies),
            ("user.roles", &self.roles),
        ];
        let sets = sets.into_iter().filter(|(_, names)| !names.is_none()).map(|(path, _)| path);
        let categories =
            (self.categories != CategoryReads::None).then_some("user.permissions.allowed_categories").into_iter();
        let mut paths: Vec<_> =
            self.unconditional.union(self.conditional.all()).paths().chain(sets).chain(categories).collect();
        paths.sort_unstable();
        paths
    }
}

impl NameReads {
    /// No names.
    pub(crate) fn none() -> Self {
        Self::Only(NameSet::default())
    }

    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::Only(names) if names.is_empty())
    }
}
