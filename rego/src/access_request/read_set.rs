//! What a bundle declares that its policy reads, so that the hot decision receives nothing else. The
//! declaration comes with the bundle and never from code: another policy may read other fields.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::input::{Action, FactFlags, Flag, Input};
use crate::identity::NameSet;

/// The fields and names that a bundle declares that its policy reads. A policy whose bundle declares
/// nothing receives every field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyReadSet {
    /// The capabilities that rules read; `None` for all.
    pub capabilities: Option<NameSet>,
    /// The fields and names that rules read; `None` for all.
    pub reads: Option<FieldReads>,
}

/// A field of the input that is serialized only if a rule reads it.
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
    /// `user.query_limit`
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
}

/// A set of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct InputFields(u32);

impl InputFields {
    pub(crate) const ALL: Self = Self(u32::MAX);

    const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn contains(self, field: InputField) -> bool {
        self.0 & (1 << field as u32) != 0
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
        }
    }
}

impl FromIterator<InputField> for InputFields {
    fn from_iter<I: IntoIterator<Item = InputField>>(fields: I) -> Self {
        fields.into_iter().fold(Self::default(), |set, field| set.union(Self(1 << field as u32)))
    }
}

/// The fields that rules read, by action, by kind of caller, and by policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldReads {
    /// The roles that rules read.
    pub(crate) roles: NameSet,
    /// The policies that bind a definition as the resource of a call, and not as a caller.
    pub(crate) binds_resource: NameSet,
    /// The policies that bind an agent as a caller, and not as the resource of a call.
    pub(crate) binds_caller: NameSet,
    actions: BTreeMap<Action, InputFields>,
    callers: BTreeMap<String, InputFields>,
    policies: BTreeMap<String, InputFields>,
}

impl FieldReads {
    /// The fields that the rules read of this input.
    pub(crate) fn fields(&self, input: &Input) -> InputFields {
        let action = self.actions.get(&input.action).copied().unwrap_or_default();
        let caller = self.callers.get(&*input.caller).copied().unwrap_or_default();
        let policies = input.policies.iter().filter_map(|name| self.policies.get(name).copied());
        policies.fold(action.union(caller), InputFields::union)
    }
}

type FieldTable<K> = BTreeMap<K, BTreeMap<InputField, u8>>;

/// The `reads` of a bundle's `guard/checks`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadsManifest {
    roles: NameSet,
    binds: BTreeMap<String, PolicyScope>,
    actions: FieldTable<Action>,
    callers: FieldTable<String>,
    policies: FieldTable<String>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum PolicyScope {
    Resource,
    Caller,
}

fn to_field_sets<K: Ord>(table: FieldTable<K>) -> BTreeMap<K, InputFields> {
    table.into_iter().map(|(key, fields)| (key, fields.into_keys().collect())).collect()
}

impl From<ReadsManifest> for FieldReads {
    fn from(manifest: ReadsManifest) -> Self {
        let policies_of = |scope: &PolicyScope| {
            manifest.binds.iter().filter(|(_, binds)| *binds == scope).map(|(name, _)| name).collect()
        };
        Self {
            roles: manifest.roles,
            binds_resource: policies_of(&PolicyScope::Resource),
            binds_caller: policies_of(&PolicyScope::Caller),
            actions: to_field_sets(manifest.actions),
            callers: to_field_sets(manifest.callers),
            policies: to_field_sets(manifest.policies),
        }
    }
}
