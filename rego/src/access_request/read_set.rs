//! What a bundle says that its policy reads, so that nothing else is sent to be judged. The words
//! come with the bundle and never from code: another policy may read other parts.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::input::{Action, FactFlags, Flag, Input};
use crate::identity::NameSet;

/// The names that a bundle says its policy reads. A bundle that says nothing is sent everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyReadSet {
    /// The capabilities that rules read; `None` for all.
    pub capabilities: Option<NameSet>,
    /// The parts and names that rules read; `None` for all.
    pub reads: Option<FieldReads>,
}

/// A part of the input that is sent only where a rule reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputField {
    /// `agent.id`
    AgentId,
    /// `resource`
    Resource,
    /// `user.id`
    UserId,
    /// `user.tenant`
    Tenant,
    /// `user.rate_limit`
    RateLimit,
    /// `user.permissions.pii_access`; read as well where the agent has a capability that rules read
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
}

/// A set of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct InputFields(u32);

impl InputFields {
    pub(crate) const ALL: Self = Self(u32::MAX);

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has(self, part: InputField) -> bool {
        self.0 & (1 << part as u32) != 0
    }

    pub(crate) fn of<T>(self, part: InputField, value: T) -> Option<T> {
        self.has(part).then_some(value)
    }

    /// The facts among these parts.
    pub(crate) fn cut(self, proven: FactFlags) -> FactFlags {
        let cut = |flag: Flag, part| Flag(flag.0 && self.has(part));
        FactFlags {
            audited: cut(proven.audited, InputField::Audited),
            authenticated: cut(proven.authenticated, InputField::Authenticated),
            internal_model: cut(proven.internal_model, InputField::InternalModel),
            cost_limited: cut(proven.cost_limited, InputField::CostLimited),
            own_tenant: cut(proven.own_tenant, InputField::OwnTenant),
            workflow_step: cut(proven.workflow_step, InputField::WorkflowStep),
            team_workflow: cut(proven.team_workflow, InputField::TeamWorkflow),
            team_member: cut(proven.team_member, InputField::TeamMember),
            can_work_with: cut(proven.can_work_with, InputField::CanWorkWith),
            tool_declared: cut(proven.tool_declared, InputField::ToolDeclared),
            provides_to_team: cut(proven.provides_to_team, InputField::ProvidesToTeam),
            own_memory: cut(proven.own_memory, InputField::OwnMemory),
        }
    }
}

impl FromIterator<InputField> for InputFields {
    fn from_iter<I: IntoIterator<Item = InputField>>(parts: I) -> Self {
        parts.into_iter().fold(Self::default(), |all, part| all.and(Self(1 << part as u32)))
    }
}

/// Which parts the rules read: those of the action, of who speaks, and of each policy at issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldReads {
    /// The roles that rules know.
    pub(crate) roles: NameSet,
    /// The policies that bind a definition when it is called, and not when it speaks.
    pub(crate) binds_resource: NameSet,
    /// The policies that bind an agent when it speaks, and not when it is called.
    pub(crate) binds_caller: NameSet,
    actions: BTreeMap<Action, InputFields>,
    callers: BTreeMap<String, InputFields>,
    policies: BTreeMap<String, InputFields>,
}

impl FieldReads {
    /// The parts that the rules read of this input.
    pub(crate) fn parts(&self, input: &Input) -> InputFields {
        let action = self.actions.get(&input.action).copied().unwrap_or_default();
        let caller = self.callers.get(&*input.caller).copied().unwrap_or_default();
        let policies = input.policies.iter().filter_map(|name| self.policies.get(name).copied());
        policies.fold(action.and(caller), InputFields::and)
    }
}

type Listed<K> = BTreeMap<K, BTreeMap<InputField, u8>>;

/// What a bundle says, as it says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadsManifest {
    roles: NameSet,
    binds: BTreeMap<String, PolicyScope>,
    actions: Listed<Action>,
    callers: Listed<String>,
    policies: Listed<String>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum PolicyScope {
    Resource,
    Caller,
}

fn parts<K: Ord>(listed: Listed<K>) -> BTreeMap<K, InputFields> {
    listed.into_iter().map(|(key, parts)| (key, parts.into_keys().collect())).collect()
}

impl From<ReadsManifest> for FieldReads {
    fn from(said: ReadsManifest) -> Self {
        let binding =
            |whom: &PolicyScope| said.binds.iter().filter(|(_, binds)| *binds == whom).map(|(name, _)| name).collect();
        Self {
            roles: said.roles,
            binds_resource: binding(&PolicyScope::Resource),
            binds_caller: binding(&PolicyScope::Caller),
            actions: parts(said.actions),
            callers: parts(said.callers),
            policies: parts(said.policies),
        }
    }
}
