//! Definitions by id, for the checks that follow a reference.

use std::collections::BTreeMap;

use greenroom_protocol::AgentId;

use crate::agent::Agent;
use crate::catalogue::without_ordinal;
use crate::definition_set::DefinitionSet;
use crate::kind::DefinitionKind;

/// Agents by their ids, and by their ids without the ordinal.
pub(super) struct Index<'a> {
    pub(super) agents: BTreeMap<&'a str, Option<&'a Agent>>,
    pub(super) workflows: BTreeMap<&'a str, Option<&'a crate::workflow::WorkflowSpec>>,
    pub(super) teams: BTreeMap<&'a str, Option<&'a crate::team::TeamSpec>>,
}

/// The result of looking up an id.
pub(super) enum Lookup<'a, T> {
    /// The definition.
    Found(&'a T),
    /// An invalid definition, whose own problems are reported already.
    Unreadable,
    /// No definition.
    Missing,
}

impl<'a> Index<'a> {
    pub(super) fn new(all: &'a DefinitionSet) -> Self {
        let agents = all.agents.iter().map(|definition| (definition.value.id().as_str(), Some(&definition.value)));
        let mut agents: BTreeMap<&str, Option<&Agent>> = with_undecoded(all, DefinitionKind::Agent, agents);
        let full: Vec<_> = agents.iter().map(|(id, agent)| (*id, *agent)).collect();
        for (id, agent) in full {
            if let Some(short) = without_ordinal(id) {
                agents.entry(short).or_insert(agent);
            }
        }
        let workflows = all.workflows.iter().map(|definition| &definition.value.spec);
        let workflows = workflows.map(|spec| (spec.workflow_id.as_str(), Some(spec)));
        let teams = all.teams.iter().map(|definition| (definition.value.id().as_str(), Some(definition.value.spec())));
        Self {
            agents,
            workflows: with_undecoded(all, DefinitionKind::Workflow, workflows),
            teams: with_undecoded(all, DefinitionKind::Team, teams),
        }
    }

    pub(super) fn agent(&self, id: &AgentId) -> Lookup<'a, Agent> {
        lookup(&self.agents, id.as_str())
    }
}

/// Definitions by id, with those that could not be decoded.
fn with_undecoded<'a, T>(
    all: &'a DefinitionSet,
    kind: DefinitionKind,
    decoded: impl Iterator<Item = (&'a str, Option<&'a T>)>,
) -> BTreeMap<&'a str, Option<&'a T>> {
    all.undecoded_ids(kind).map(|id| (id, None)).chain(decoded).collect()
}

pub(super) fn lookup<'a, T>(all: &BTreeMap<&str, Option<&'a T>>, id: &str) -> Lookup<'a, T> {
    match all.get(id) {
        Some(Some(found)) => Lookup::Found(found),
        Some(None) => Lookup::Unreadable,
        None => Lookup::Missing,
    }
}

/// Formats a suggestion for a problem, `did you mean `x`?`, or an empty text.
pub(super) fn hint<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    crate::problem::did_you_mean(found, known).map(crate::decode::trimmed).unwrap_or_default()
}
