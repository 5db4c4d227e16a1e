//! What a bundle says that its policy reads, so that nothing else is sent to be judged. The words
//! come with the bundle and never from code: another policy may read other parts.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::input::{Action, Flag, Input, Proven};
use crate::identity::Names;

/// The names that a bundle says its policy reads. A bundle that says nothing is sent everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vocabulary {
    /// The capabilities that rules read; `None` for all.
    pub capabilities: Option<Names>,
    /// The parts and names that rules read; `None` for all.
    pub reads: Option<Reads>,
}

/// A part of the input that is sent only where a rule reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// `agent.id`
    AgentId,
    /// `target`
    Target,
    /// `user.id`
    UserId,
    /// `user.tenant`
    Tenant,
    /// `user.rate_limit`
    RateLimit,
    /// `user.permissions.pii_access`; read as well where the agent has a capability that rules read
    PiiAccess,
    /// `proven.audited`
    Audited,
    /// `proven.authenticated`
    Authenticated,
    /// `proven.internal_model`
    InternalModel,
    /// `proven.capped`
    Capped,
    /// `proven.own_tenant`
    OwnTenant,
    /// `proven.workflow_step`
    WorkflowStep,
    /// `proven.team_workflow`
    TeamWorkflow,
    /// `proven.team_member`
    TeamMember,
    /// `proven.can_work_with`
    CanWorkWith,
    /// `proven.tool_declared`
    ToolDeclared,
    /// `proven.provides_to_team`
    ProvidesToTeam,
    /// `proven.own_memory`
    OwnMemory,
}

/// A set of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Parts(u32);

impl Parts {
    pub(crate) const ALL: Self = Self(u32::MAX);

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has(self, part: Part) -> bool {
        self.0 & (1 << part as u32) != 0
    }

    pub(crate) fn of<T>(self, part: Part, value: T) -> Option<T> {
        self.has(part).then_some(value)
    }

    /// The facts among these parts.
    pub(crate) fn cut(self, proven: Proven) -> Proven {
        let cut = |flag: Flag, part| Flag(flag.0 && self.has(part));
        Proven {
            audited: cut(proven.audited, Part::Audited),
            authenticated: cut(proven.authenticated, Part::Authenticated),
            internal_model: cut(proven.internal_model, Part::InternalModel),
            capped: cut(proven.capped, Part::Capped),
            own_tenant: cut(proven.own_tenant, Part::OwnTenant),
            workflow_step: cut(proven.workflow_step, Part::WorkflowStep),
            team_workflow: cut(proven.team_workflow, Part::TeamWorkflow),
            team_member: cut(proven.team_member, Part::TeamMember),
            can_work_with: cut(proven.can_work_with, Part::CanWorkWith),
            tool_declared: cut(proven.tool_declared, Part::ToolDeclared),
            provides_to_team: cut(proven.provides_to_team, Part::ProvidesToTeam),
            own_memory: cut(proven.own_memory, Part::OwnMemory),
        }
    }
}

impl FromIterator<Part> for Parts {
    fn from_iter<I: IntoIterator<Item = Part>>(parts: I) -> Self {
        parts.into_iter().fold(Self::default(), |all, part| all.and(Self(1 << part as u32)))
    }
}

/// Which parts the rules read: those of the action, of who speaks, and of each policy at issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reads {
    /// The roles that rules know.
    pub(crate) roles: Names,
    /// The policies that bind a definition when it is called, and not when it speaks.
    pub(crate) binds_target: Names,
    /// The policies that bind an agent when it speaks, and not when it is called.
    pub(crate) binds_speaker: Names,
    actions: BTreeMap<Action, Parts>,
    speakers: BTreeMap<String, Parts>,
    policies: BTreeMap<String, Parts>,
}

impl Reads {
    /// The parts that the rules read of this input.
    pub(crate) fn parts(&self, input: &Input) -> Parts {
        let action = self.actions.get(&input.action).copied().unwrap_or_default();
        let speaker = self.speakers.get(&*input.speaker).copied().unwrap_or_default();
        let policies = input.policies.iter().filter_map(|name| self.policies.get(name).copied());
        policies.fold(action.and(speaker), Parts::and)
    }
}

type Listed<K> = BTreeMap<K, BTreeMap<Part, u8>>;

/// What a bundle says, as it says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    roles: Names,
    binds: BTreeMap<String, Binds>,
    actions: Listed<Action>,
    speakers: Listed<String>,
    policies: Listed<String>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Binds {
    Target,
    Speaker,
}

fn parts<K: Ord>(listed: Listed<K>) -> BTreeMap<K, Parts> {
    listed.into_iter().map(|(key, parts)| (key, parts.into_keys().collect())).collect()
}

impl From<Said> for Reads {
    fn from(said: Said) -> Self {
        let binding =
            |whom: &Binds| said.binds.iter().filter(|(_, binds)| *binds == whom).map(|(name, _)| name).collect();
        Self {
            roles: said.roles,
            binds_target: binding(&Binds::Target),
            binds_speaker: binding(&Binds::Speaker),
            actions: parts(said.actions),
            speakers: parts(said.speakers),
            policies: parts(said.policies),
        }
    }
}
